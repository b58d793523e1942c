#!/usr/bin/env python3
"""Starts the server with each call that a start makes failing, at each place.

    start.py LOOM-FAULTS BACKEND [--slice N|--first] [--jobs N] [--table FILE] [--row CALL]

LOOM-FAULTS is the server's objects with the seam in front of the C library (start.c). After each fault either the server
says one clear line and ends with status 1 (2: what the command line asks for cannot be had), or it serves, answers, and ends
with status 0 when it is told to. A crash, an assertion, a silent end and one that hangs are failures. The last line is
`N passed, N failed, N skipped`.
"""
import argparse
import concurrent.futures
import errno
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak"))
import watch  # noqa: E402  pylint: disable=wrong-import-position

BOUND = 30
LINE_BOUND = 2  # seconds until it is asked whether it serves, though it has not said so
PLACES_MAX = 3000

MEMORY = ("ENOMEM",)
LATE = ("libdeflate_alloc_compressor", "BrotliEncoderCreateInstance", "ZSTD_createCCtx")
OPEN = ("EACCES", "EINTR", "EISDIR", "ELOOP", "EMFILE", "ENFILE", "ENOENT", "ENOMEM", "ENOSPC", "ENOTDIR", "EPERM", "EROFS",
        "EIO")
STAT = ("EACCES", "EBADF", "EFAULT", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR", "EOVERFLOW")
OPTION = ("EBADF", "EFAULT", "EINVAL", "ENOPROTOOPT", "ENOTSOCK", "ENOMEM")
BOTH = {
    "socket": ("EACCES", "EAFNOSUPPORT", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPROTONOSUPPORT", "EPERM"),
    "bind": ("EACCES", "EADDRINUSE", "EBADF", "EINVAL", "ENOTSOCK", "EADDRNOTAVAIL", "EFAULT", "ELOOP", "ENAMETOOLONG", "ENOENT",
             "ENOMEM", "ENOTDIR", "EROFS"),
    "listen": ("EADDRINUSE", "EBADF", "ENOTSOCK", "EOPNOTSUPP"),
    "getsockname": ("EBADF", "EFAULT", "EINVAL", "ENOBUFS", "ENOTSOCK"),
    "setsockopt": OPTION,
    "socketpair": ("EAFNOSUPPORT", "EFAULT", "EMFILE", "ENFILE", "EOPNOTSUPP", "EPROTONOSUPPORT"),
    "pipe2": ("EFAULT", "EINVAL", "EMFILE", "ENFILE", "ENOPKG"),
    "eventfd": ("EINVAL", "EMFILE", "ENFILE", "ENODEV", "ENOMEM"),
    "signalfd": ("EBADF", "EINVAL", "EMFILE", "ENFILE", "ENODEV", "ENOMEM"),
    "pthread_create": ("EAGAIN", "EINVAL", "EPERM"),
    "pthread_getcpuclockid": ("ENOENT", "ESRCH"),
    "open64": OPEN, "fopen64": OPEN, "openat2": (*OPEN, "EXDEV", "E2BIG", "ENOSYS", "EAGAIN"),
    "fstat64": STAT, "stat64": STAT, "fstatat64": STAT, "lstat64": STAT,
    "fstatfs64": ("EBADF", "EFAULT", "EINTR", "EIO", "ENOMEM", "ENOSYS", "EOVERFLOW"),
    "fcntl64": ("EACCES", "EAGAIN", "EBADF", "EINTR", "EINVAL", "EMFILE", "EPERM"),
    "close": ("EBADF", "EINTR", "EIO", "ENOSPC", "EDQUOT"),
    "read": ("EAGAIN", "EBADF", "EFAULT", "EINTR", "EINVAL", "EIO", "EISDIR"),
    "write": ("EAGAIN", "EBADF", "EDQUOT", "EFBIG", "EINTR", "EINVAL", "EIO", "ENOSPC", "EPIPE"),
    "rename": ("EACCES", "EBUSY", "EDQUOT", "EINVAL", "EIO", "ENOENT", "ENOMEM", "ENOSPC", "EPERM", "EROFS"),
    "unlink": ("EACCES", "EBUSY", "EIO", "EISDIR", "ENOENT", "ENOMEM", "EPERM", "EROFS"),
    "mkdir": ("EACCES", "EDQUOT", "EEXIST", "ELOOP", "ENOENT", "ENOMEM", "ENOSPC", "ENOTDIR", "EPERM", "EROFS"),
    "fdopendir": ("EBADF", "ENOMEM", "EMFILE", "ENOTDIR"), "readdir64": ("EBADF", "EFAULT", "EINVAL", "EIO"),
    "realpath": ("EACCES", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOTDIR"),
    "inotify_init1": ("EINVAL", "EMFILE", "ENFILE", "ENOMEM"),
    "inotify_add_watch": ("EACCES", "EBADF", "EINVAL", "ENOENT", "ENOMEM", "ENOSPC", "ENOTDIR"),
    "fork": ("EAGAIN", "ENOMEM", "ENOSYS"),
    "prctl": ("EACCES", "EFAULT", "EINVAL", "EPERM", "ENOSYS"),
    "landlock": ("EOPNOTSUPP", "EINVAL", "ENOSYS", "EPERM", "E2BIG", "EBADFD", "EMFILE"),
    "seccomp": ("EACCES", "EFAULT", "EINVAL", "ENOMEM", "ENOSYS", "EPERM"),
    "getrlimit64": ("EFAULT", "EINVAL", "EPERM"), "setrlimit64": ("EFAULT", "EINVAL", "EPERM"),
    "sched_getaffinity": ("EFAULT", "EINVAL", "ESRCH", "EPERM"), "sched_setscheduler": ("EINVAL", "EPERM", "ESRCH"),
    "poll": ("EFAULT", "EINTR", "EINVAL", "ENOMEM"), "__poll_chk": ("EFAULT", "EINTR", "EINVAL", "ENOMEM"),
    "mmap64": ("EAGAIN", "ENOMEM", "EPERM", "ENFILE"),
    "mprotect": ("EACCES", "EINVAL", "ENOMEM"),
    "munmap": ("EINVAL", "ENOMEM"), "madvise": ("EACCES", "EAGAIN", "EINVAL", "ENOMEM", "EPERM"),
    "malloc": MEMORY, "calloc": MEMORY, "realloc": MEMORY, "aligned_alloc": MEMORY, "strdup": MEMORY,
    "libdeflate_alloc_compressor": MEMORY, "BrotliEncoderCreateInstance": MEMORY,
    "ZSTD_createCCtx": MEMORY,
}
OF_BACKEND = {
    "epoll": {
        "epoll_create1": ("EINVAL", "EMFILE", "ENFILE", "ENOMEM"),
        "epoll_ctl": ("EBADF", "EEXIST", "EINVAL", "ELOOP", "ENOENT", "ENOMEM", "ENOSPC", "EPERM"),
        "epoll_wait": ("EINTR",),
    },
    "io_uring": {
        "getsockopt": OPTION,
        "connect": ("EACCES", "EADDRNOTAVAIL", "EAGAIN", "ECONNREFUSED", "EINTR", "ENETUNREACH", "ETIMEDOUT"),
        "io_uring_setup": ("EFAULT", "EINVAL", "EMFILE", "ENFILE", "ENOMEM", "EPERM", "EACCES", "ENOSYS", "ENXIO"),
        "io_uring_register": ("EACCES", "EBADF", "EBADFD", "EBUSY", "EEXIST", "EFAULT", "EINVAL", "ENOMEM", "ENXIO",
                              "EOPNOTSUPP", "ENOSYS", "EPERM"),
        "io_uring_enter": ("EAGAIN", "EBADF", "EBADFD", "EBUSY", "EFAULT", "EINTR", "EINVAL", "EOPNOTSUPP", "EPERM", "ENOSYS",
                           "ENOMEM", "EEXIST", "ENXIO"),
        "ring:accept": ("EINVAL", "EMFILE", "ENOMEM"), "ring:recv": ("EINVAL", "ENOBUFS", "ENOMEM"),
        "ring:send": ("EINVAL", "ENOMEM"), "ring:sendmsg": ("EINVAL", "ENOMEM"), "ring:wake": ("EINVAL", "EIO"),
    },
}
FINDS = ("openat2", "fstatat64")  # files of the tree: one that is not there, or not ours to read, is not served
LEFT_OUT = ("EACCES", "EPERM", "ENOENT", "ENOTDIR", "ELOOP")
DISC = "y" * 60000  # sent by reference
READY = b"; ready\n"
OK = b"HTTP/1.1 200 "


def serves(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(BOUND)
        client.connect(path)
        client.sendall(b"GET /disc.bin HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := client.recv(65536):
            answer += data
        for body in (DISC.encode(), b"home"):
            head, blank, rest = answer.partition(b"\r\n\r\n")
            if not OK.startswith(head[:len(OK)]) or (blank and not head.startswith(OK)) or not body.startswith(rest[:len(body)]):
                return False
            if len(rest) < len(body):  # right as far as it goes
                raise ConnectionResetError("closed before the answers were whole")
            answer = rest[len(body):]
        return answer == b""


def low_limit():
    """So that it is raised."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def answers(path, process, patience):
    """Whether it serves; one connection may be the one that the fault is about. For so many seconds it may not listen yet."""
    attempts, end = 0, time.monotonic() + patience
    while True:
        try:
            return serves(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.01)
        except OSError:
            attempts += 1
            if attempts == 2:
                raise


def compresses(path):
    """Whether contents wait to be compressed, of which the admin socket tells."""
    return watch.figures(watch.admin(path, "metrics"))["loom_variants_pending"] > 0


class Place:
    """One start, with one fault."""

    def __init__(self, options, base, call, error, at):
        self.wrong, self.outcome = "", ""
        scratch = tempfile.mkdtemp(dir=base)
        told = os.open(os.path.join(scratch, "told"), os.O_RDWR | os.O_CREAT, 0o600)
        path = os.path.join(scratch, "sock")
        number = getattr(errno, error)
        env = {**{name: value for name, value in os.environ.items() if not name.startswith("LOOM_")},
               "FAULT": f"{call}={number}={at}", "FAULT_TOLD": str(told)}
        process = subprocess.Popen(
            [options.binary, f"--backend={options.backend}", "--listen=127.0.0.1:0", f"--listen=unix:{path}",
             f"--admin=unix:{scratch}/admin", "--metrics=127.0.0.1:0", f"--access-log={scratch}/access",
             f"--pid-file={scratch}/pid", f"--cache-dir={scratch}/cache", "--stream-above=100k", "--splice-above=50k",
             os.path.join(base, "root")],
            env=env, pass_fds=[told], preexec_fn=low_limit, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE)
        try:
            self.watch(process, path, call, error)
        except subprocess.TimeoutExpired:
            self.wrong = "it does not end"
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stderr.close()
            self.fired = os.fstat(told).st_size > 0
            os.close(told)
            shutil.rmtree(scratch, ignore_errors=True)

    def silent(self, process, error):
        """It was ready, and is no more: a thread found out too late for the line, and has ended it all with another one."""
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            self.wrong = f"it is ready and does not answer: {error}"

    def watch(self, process, path, call, error):
        log, end = b"", time.monotonic() + LINE_BOUND
        os.set_blocking(process.stderr.fileno(), False)
        ready, patience = False, 0
        while not ready and process.poll() is None:
            log += process.stderr.read() or b""
            ready = READY in log
            if time.monotonic() > end:  # it may be that very line which could not be written
                ready, patience = True, BOUND
            time.sleep(0.002)
        if ready:
            try:
                if not answers(path, process, patience) and not (call in FINDS and error in LEFT_OUT):
                    self.wrong = "it is ready and gives a wrong answer"
                while call in LATE and compresses(f"{os.path.dirname(path)}/admin") and time.monotonic() < end + BOUND:
                    time.sleep(0.02)  # its threads have no processor while others want one
            except OSError as error_:
                self.silent(process, error_)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        status = process.wait(BOUND)
        log += process.stderr.read() or b""
        lines = log.decode("utf-8", "replace").splitlines()
        if status < 0 or re.search(r"Assertion|Sanitizer|stack smashing|alloc_guard", "\n".join(lines)):
            self.wrong = f"it dies of signal {-status}: {' | '.join(lines[-2:])}"
        elif ready and status in (0, -signal.SIGTERM):
            self.outcome = "serves"
            if status != 0 and not self.wrong:
                self.wrong = f"it served, and ended with status {status}: {' | '.join(lines[-2:])}"
        else:
            self.outcome = "refuses"
            if status not in (1, 2) or not lines or not re.match(r"loom: \S.* \S", lines[-1]):
                self.wrong = f"status {status} without a clear line: {lines[-1:]}"
            self.line = lines[-1] if lines else ""


def row(options, base, call, error, first):
    """All places of a call that fails with an error."""
    tried = serves_, refuses, failed, wrong, line = 0, 0, 0, "", ""
    for at in range(first, PLACES_MAX, options.slice):
        for _ in range(1 if at > first else 6):  # some threads come to their first call late, or after the end
            place = Place(options, base, call, error, at)
            if place.fired or place.wrong or options.slice > 1:
                break
        if not place.fired and not place.wrong:
            break
        if not place.fired:
            place.wrong = "without a fault: " + place.wrong
        serves_ += place.outcome == "serves"
        refuses += place.outcome == "refuses"
        if place.outcome == "refuses":
            line = place.line
        if place.wrong:
            failed += 1
            wrong = wrong or f"at {at}: {place.wrong}"
            if failed > 5:
                break
    tried = max(serves_ + refuses, failed)
    return call, error, tried, serves_, refuses, failed, wrong, line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("backend", choices=OF_BACKEND)
    parser.add_argument("--slice", type=int, default=1)
    parser.add_argument("--first", action="store_true", help="the first error of each call alone, at all places")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--table")
    parser.add_argument("--row")
    options = parser.parse_args()
    base = tempfile.mkdtemp(prefix="loom-faults-start-")
    tree = pathlib.Path(base, "root")
    (tree / "sub").mkdir(parents=True)
    for name, content in {"index.html": "home", "sub/page.txt": "a page\n" * 300, "disc.bin": DISC,
                          "film.bin": "x" * 200000}.items():
        (tree / name).write_text(content)
        os.utime(tree / name, (1600000000, 1600000000))
    calls = {**BOTH, **OF_BACKEND[options.backend]}
    todo = [(call, error, index) for call, errors in calls.items() for index, error in enumerate(errors)
            if not options.row or call == options.row]
    if options.slice > 1 or options.first:  # the first error of each call, from another place each
        todo = [one for one in todo if one[2] == 0]
    cells = failed = 0
    lines = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(row, options, base, call, error, 1 + number % options.slice)
                   for number, (call, error, _) in enumerate(todo)]
        for future in futures:
            call, error, tried, serves_, refuses, bad, wrong, line = future.result()
            cells += tried
            failed += bad
            lines.append("\t".join(map(str, (options.backend, call, error, tried, serves_, refuses, bad, wrong, line))))
            if bad or options.row:
                print(f"{'FAILED' if bad else 'ok'} {call}, {error}: {tried} tried, {serves_} serve, {refuses} refuse, "
                      f"{bad} failed {wrong or line}", flush=True)
            if not tried and options.slice == 1:
                failed += 1
                print(f"FAILED: a start never comes to {call}, {error}", flush=True)
    if options.table:
        pathlib.Path(options.table).write_text("\n".join(lines) + "\n")
    shutil.rmtree(base, ignore_errors=True)
    print(f"starts with {options.backend}: {cells} cells, {failed} failed")
    print(f"{cells - min(failed, cells)} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
