"""A lock file that is held while something is measured: others who share the machine can wait for it with flock(1)."""
import fcntl
import os
import time

HELD_MAX = 170  # seconds at a time


class Quiet:
    """path '' or None: there is no lock, and nobody to wait for."""

    def __init__(self, path):
        self.path = path
        self.file = None
        self.since = 0

    def hold(self, seconds):
        """For so many seconds to come. What is held already is held on to, as long as it is not for too long in all."""
        if not self.path:
            return
        if self.file and time.monotonic() - self.since + seconds > HELD_MAX:
            self.release()
            time.sleep(0.5)
        if not self.file:
            self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.since = time.monotonic()

    def release(self):
        if self.file:
            os.close(self.file)
            self.file = None
