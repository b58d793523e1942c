"""Starting, watching and ending the server under test.

A Server is one process of the real binary. Its standard error goes to a file, from which the addresses are read, and in
which nothing may be found at the end that a sanitizer, an assertion or valgrind wrote. A server dies with the process
that started it, whatever happens.
"""
import contextlib
import ctypes
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from client import BOUND, Client, descriptors, open_files

BINARY = os.environ.get("LOOM_BINARY", "")
VALGRIND = os.environ.get("LOOM_E2E_VALGRIND", "") not in ("", "0")
SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "valgrind.supp")
OPTIONS = os.environ.get("LOOM_E2E_OPTIONS", "").split()  # of every server, in front of its own
# Clients of a busy machine may have to wait for their turn: no deadline but those that a test sets itself cuts them off.
PATIENCE = {f"LOOM_{name}_TIMEOUT": "1h" for name in ("KEEPALIVE", "HEADER", "SEND")}
LONG = os.environ.get("LOOM_E2E_LONG", "") not in ("", "0")

LISTENING = re.compile(r"listening on (?:http://(\S+):(\d+)/|unix:([^\s,]+))")
REPORTS = re.compile(r"Sanitizer|runtime error:|Assertion|assertion|stack smashing|^==\d+== ", re.M)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
libc = ctypes.CDLL(None, use_errno=True)


def wait_for(condition, what, bound=BOUND, step=0.01):
    """Polls until the condition holds, and gives what it gave. Reaching the bound is an error; time in which this process
    did not run, because the machine or whoever has stopped us had other things to do, is none of it."""
    waited, last = 0, time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        if waited > bound:
            raise AssertionError(f"waited {bound:g} s in vain for: {what}")
        time.sleep(step)
        now = time.monotonic()
        waited, last = waited + min(now - last, step + 1), now


def environment(extra=None):
    """Ours, without what would be taken for options of the server, and with reports that end the process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOOM_")}
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=1")
    env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=1:exitcode=66")
    env.setdefault("SANDBOX_GUARD", "1")  # src/sandbox_filter.c: a system call that was forgotten there is a failure
    env.update(extra or {})
    return env


def command(arguments, binary=None):
    if not VALGRIND:
        return [binary or BINARY, *arguments]
    return ["valgrind", "--quiet", "--error-exitcode=97", "--leak-check=full", "--errors-for-leak-kinds=definite",
            "--fair-sched=yes", f"--suppressions={SUPPRESSIONS}", binary or BINARY, *arguments]


# Puts descriptors where a service manager does, from 3 on, says so in the environment, and becomes the program.
HAND_OVER = """
import fcntl, os, sys
count = len(sys.argv[1].split())
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 100) for fd in sys.argv[1].split()]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at, inheritable=True)
if sys.argv[2] != "-":
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count))
if sys.argv[2] not in ("-", ""):
    os.environ["LISTEN_FDNAMES"] = sys.argv[2]
os.execvp(sys.argv[3], sys.argv[3:])
"""


def handing_over(arguments, passed, names):
    """The command that is started with these sockets as its descriptors from 3 on; names None: and says nothing of it."""
    if not passed:
        return arguments
    return [sys.executable, "-c", HAND_OVER, " ".join(str(one.fileno()) for one in passed),
            "-" if names is None else names, *arguments]


def sanitized():
    """Whether figures of memory and time mean nothing with this binary."""
    with open(BINARY, "rb") as file:
        data = file.read()
    return VALGRIND or b"__asan_init" in data or b"__tsan_init" in data


class SockFilter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(SockFilter))]


IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427  # the same on every architecture


def deny(number, error):
    """To be called in a child before exec: system call `number` fails with `error` from then on."""
    allow, errno_action = 0x7fff0000, 0x00050000
    program = (SockFilter * 4)(
        SockFilter(0x20, 0, 0, 0),           # load the system call's number
        SockFilter(0x15, 0, 1, number),      # is it the one?
        SockFilter(0x06, 0, 0, errno_action | error),
        SockFilter(0x06, 0, 0, allow))
    fprog = SockFprog(4, program)
    zero = ctypes.c_ulong(0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(fprog), zero, zero) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


def run(arguments, env=None, before_exec=None, passed=(), names=None):
    """Runs the binary to its end, which must come by itself: (exit status, standard output, standard error)."""
    done = subprocess.run(handing_over(command(arguments), passed, names), env=environment(env),
                          pass_fds=[one.fileno() for one in passed], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=BOUND, preexec_fn=before_exec, check=False)
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if REPORTS.search(err):
        raise AssertionError(f"the server's stderr:\n{err}")
    return done.returncode, out, err


class Successor:
    """What subprocess.Popen is for a child, for a process that our child has started: it is ours once that has ended."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            except ChildProcessError:
                if not os.path.exists(f"/proc/{self.pid}"):
                    self.returncode = -1
        return self.returncode

    def wait(self, timeout=None):
        end = time.monotonic() + (BOUND if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a successor", timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Server:
    def __init__(self, root, *arguments, backend="auto", workers=1, listen=("127.0.0.1:0",), env=None,
                 before_exec=None, binary=None, stdout=subprocess.DEVNULL, passed=(), names=None, sockets=None):
        """passed: sockets that it gets as descriptors from 3 on, with LISTEN_FDNAMES=names; sockets: on how many it
        will say that it listens."""
        self.scratch = tempfile.mkdtemp(prefix="loom-e2e-")
        self.log_path = os.path.join(self.scratch, "stderr")
        self.arguments = [*OPTIONS, f"--backend={backend}", *([f"--workers={workers}"] if workers else []),
                          *([] if isinstance(listen, int) else [f"--listen={one}" for one in listen]), *arguments, root]
        listens = listen if isinstance(listen, int) else len(listen)  # so many are said elsewhere: in a file
        listens = listens if sockets is None else sockets
        self.checked = False
        self.streams_from = None  # a directory: what is open there is not counted with the descriptors
        self.died = False
        self.family = False  # whether it may have started others

        # The environment would win over a file.
        patience = {} if any(one.startswith("--config=") for one in arguments) else PATIENCE

        def prepare():
            libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
            if before_exec:
                before_exec()

        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(handing_over(command(self.arguments, binary), passed, names),
                                            pass_fds=[one.fileno() for one in passed], stdin=subprocess.DEVNULL,
                                            stdout=stdout, stderr=log,
                                            env=environment({"E2E_SCRATCH": self.scratch, **patience, **(env or {})}),
                                            preexec_fn=prepare)
        self.pid = self.process.pid
        try:
            wait_for(lambda: len(LISTENING.findall(self.log())) >= listens or self.process.poll() is not None,
                     "the start-up lines")
            if self.process.poll() is not None:
                self.died = True
                raise AssertionError(f"the server did not start, exit status {self.process.returncode}; its stderr:\n"
                                     + self.log())
        except BaseException:
            self.kill()
            raise
        self.addresses = []
        for host, port, path in LISTENING.findall(self.log()):
            host = host.strip("[]").replace("0.0.0.0", "127.0.0.1")
            self.addresses.append(path or ("127.0.0.1" if host == "::" else host, int(port)))
        self.address = self.addresses[0]
        self.settle_in()
        self.hasten()
        self.baseline = self.descriptors()

    def may_start_others(self):
        """Whatever it starts becomes a child of ours when it ends, and is ended with it at the latest."""
        libc.prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))
        self.family = True

    def follow(self, pid):
        """The server has given its place to another process, which is the server from here on. Gives the one before."""
        before = self.process
        self.process, self.pid = Successor(pid), pid
        self.settle_in()
        self.hasten()
        return before

    def kill_family(self):
        """Whatever this server has started, and nobody has followed."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if b"E2E_SCRATCH=" + self.scratch.encode() in file.read().split(b"\0"):
                        os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass

    def threads(self):
        """(number, name, state) of each, as proc_pid_stat(5) has them."""
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/stat", encoding="utf-8", errors="replace") as file:
                    name, _, rest = file.read().partition("(")[2].rpartition(") ")
            except OSError:
                continue  # it has ended
            found.append((int(task), name, rest[0]))
        return found

    def settle_in(self):
        """Each thread has said its name, in its first turn; and who has helped with the first build has gone, and closed
        what it had open."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            threads = self.threads()
            own = {name for task, name, _ in threads if task == self.pid}
            if not any(name == "loom-read" or (task != self.pid and name in own and state in "RD")
                       for task, name, state in threads):
                return
            time.sleep(0.005)

    def hasten(self):
        """Lets the threads that compress run as others do. At idle priority they wait for a machine that has nothing else
        to do, and one that runs tests may not have that for minutes. Without CAP_SYS_NICE they have to be waited for."""
        for task, name, _ in self.threads():
            if name != "loom-variants":
                continue
            try:
                end = time.monotonic() + 5
                while os.sched_getscheduler(task) != os.SCHED_IDLE and time.monotonic() < end:
                    time.sleep(0.01)  # it has begun, and lowers itself next
                os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
            except OSError:
                pass

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def client(self, **more):
        return Client(self.address, **more)

    def get(self, target, *fields, **more):
        """One request over a connection of its own."""
        with self.client() as client:
            return client.ask(target, *fields, **more)

    def signal(self, number):
        self.process.send_signal(number)

    def running(self):
        return self.process.poll() is None

    def is_stopped(self):
        """Whether all of its threads are held by SIGSTOP."""
        return {state for _, _, state in self.threads()} == {"T"}

    @contextlib.contextmanager
    def held(self):
        """Nothing is done by it meanwhile: what clients send is there when it first looks, however slow they were."""
        self.signal(signal.SIGSTOP)
        try:
            wait_for(self.is_stopped, "all its threads to stop")
            yield
        finally:
            self.signal(signal.SIGCONT)

    def begun(self, data, **more):
        """A client whose connection and first bytes come at once, for a server with a short deadline for them."""
        with self.held():
            client = self.client(**more)
            client.send(data)
        return client

    def descriptors(self):
        if not self.streams_from:
            return descriptors(self.pid)
        return sum(not path.startswith(self.streams_from) for path in open_files(self.pid))

    def streamed(self):
        """How many files of the tree are open."""
        return sum(path.startswith(self.streams_from) for path in open_files(self.pid))

    def ticks(self):
        """CPU time of the whole process, in seconds."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def limit_descriptors(self, soft):
        """Takes effect in the running process."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (soft, hard))

    def check(self):
        """It lives, and has nothing to confess."""
        if REPORTS.search(self.log()):
            raise AssertionError("a report in the server's stderr")
        if not self.checked and not self.running():
            raise AssertionError(f"the server died, exit status {self.process.returncode}")

    def rebase(self):
        """The baseline anew, for who goes by it to the last descriptor: at the start a file may be open for a moment."""
        for _ in range(5):
            self.baseline = min(self.baseline, self.descriptors())
            time.sleep(0.03)

    def wait_quiet(self):
        """Once all clients have gone, every descriptor of theirs goes too."""
        wait_for(lambda: self.descriptors() <= self.baseline,
                 f"the server's descriptors to be {self.baseline} again", step=0.02)

    def wait_exit(self, expected=(0,), bound=BOUND):
        """It ends by itself, or after a signal that was sent, with one of the expected statuses."""
        wait_for(lambda: self.process.poll() is not None, "the server to end", bound, step=0.004)
        status = self.process.returncode
        self.checked = True
        if REPORTS.search(self.log()):
            raise AssertionError("a report in the server's stderr")
        if status not in expected:
            raise AssertionError(f"exit status {status}, not {' or '.join(map(str, expected))}")

    def stop(self):
        """The way out for every server that a test has not ended: nothing is left open, and SIGTERM drains."""
        if self.process.poll() is not None:
            self.check()
            return
        self.check()
        self.wait_quiet()
        self.signal(signal.SIGTERM)
        self.wait_exit()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def discard(self):
        self.kill()
        if self.family:
            self.kill_family()
        shutil.rmtree(self.scratch, ignore_errors=True)
