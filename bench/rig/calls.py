"""Counts the system calls of servers: with perf, or with strace where perf may not."""
import os
import re
import signal
import subprocess
import time

from . import machine

# Told one by one; the rest is told as their sum.
CALLS = ['accept', 'accept4', 'clock_gettime', 'close', 'epoll_ctl', 'epoll_pwait', 'epoll_pwait2', 'epoll_wait',
         'fcntl', 'futex',
         'io_uring_enter', 'newfstatat', 'openat', 'pread64', 'read', 'readv', 'recvfrom', 'recvmsg', 'sendfile',
         'sendfile64', 'sendmsg', 'sendto', 'setsockopt', 'shutdown', 'write', 'writev']
ALL = 'raw_syscalls:sys_enter'


def perf_works():
    try:
        done = subprocess.run(['perf', 'stat', '-x,', '-e', ALL, 'true'], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and re.search(r'^\d+,', done.stderr, re.MULTILINE) is not None


class Perf:
    """Counts from begin() to end()."""
    name = 'perf (does not slow the server)'

    def __init__(self):
        events = '/sys/kernel/tracing/events/syscalls/sys_enter_'
        if not os.path.isdir('/sys/kernel/tracing/events'):
            events = '/sys/kernel/debug/tracing/events/syscalls/sys_enter_'
        self.events = [ALL] + [f'syscalls:sys_enter_{call}' for call in CALLS if os.path.isdir(events + call)]

    def begin(self, pids, _directory):
        self.process = subprocess.Popen(['perf', 'stat', '-x,', '-e', ','.join(self.events),
                                         '-p', ','.join(map(str, pids))],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True)
        time.sleep(1)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        counts = {}
        for line in self.process.communicate(timeout=20)[1].splitlines():
            fields = line.split(',')
            if len(fields) > 2 and fields[0].isdigit():
                counts[fields[2].replace('syscalls:sys_enter_', '')] = int(fields[0])
        total = counts.pop(ALL, 0)
        return total, counts


class PerfThreads:
    """All calls of several servers that have their load in turns: each counted for itself, with one perf for all."""

    def begin(self, pids):
        self.process = subprocess.Popen(['perf', 'stat', '--per-thread', '-x,', '-e', ALL, '-p',
                                         ','.join(map(str, pids))],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True)
        time.sleep(0.5)

    def end(self):
        """{thread id: calls}"""
        self.process.send_signal(signal.SIGINT)
        counts = {}
        for line in self.process.communicate(timeout=20)[1].splitlines():
            found = re.match(r'.*-(\d+),(\d+),', line)
            if found:
                counts[int(found[1])] = int(found[2])
        return counts


class Strace:
    """The same with strace -c."""
    name = 'strace (slows the server: batches are fuller than they would be)'

    def begin(self, pids, directory):
        self.file = os.path.join(directory, 'strace')
        self.process = subprocess.Popen(['strace', '-f', '-c', '-o', self.file]
                                        + [word for pid in pids for word in ('-p', str(pid))],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        total, counts = 0, {}
        for line in machine.read(self.file).splitlines():
            fields = line.split()
            if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != 'total':
                total += int(fields[3])
                counts[fields[-1]] = int(fields[3])
        return total, counts
