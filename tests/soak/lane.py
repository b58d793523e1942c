"""One server of a soak, with all that is done to it: clients, deploys, upgrades, samples. Each on a thread of its own;
the first that finds something wrong says it to the soak, which ends.
"""
import ctypes
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time

import watch
from tree import STREAM_ABOVE, Tree
from watch import Failed

PR_SET_PDEATHSIG = 1
BOUND = 60  # seconds that anything may take that is waited for; a busy machine included
BEGIN_BOUND = 600  # the same of the start: what compresses has the lowest priority, and a machine may have no time for that
FLOOR_AFTER = 2  # seconds from the word that a snapshot is live until no worker can be in a turn that began before
SAMPLE_EVERY = 5
STALL = 2  # seconds that a young process is stopped for
COLD_READERS = 8  # as many as loom reads for at a time
libc = ctypes.CDLL(None, use_errno=True)


def with_parent():
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def reap(pid):
    """Exit status of a process that is our child or will be; None while it runs."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else None
    except ChildProcessError:
        return None if os.path.exists(f"/proc/{pid}") else -1


class Patience:
    """So many seconds, but for those in which the machine was away: a second at most counts from look to look."""

    def __init__(self, seconds):
        self.left, self.looked = seconds, time.monotonic()

    def over(self):
        now = time.monotonic()
        self.left -= min(now - self.looked, 1)
        self.looked = now
        return self.left <= 0


class Over(Exception):
    """Something else has failed: nothing is waited for any more."""


class Lane:
    def __init__(self, soak, backend, directory, options):
        self.soak, self.backend, self.directory, self.options = soak, backend, directory, options
        os.makedirs(directory)
        self.over = threading.Event()  # no more deploys and upgrades
        self.unobserved = threading.Event()  # no more samples
        self.lock = threading.Lock()  # of pid, and of floors against upgrades
        self.draining = False
        self.tree = Tree(os.path.join(directory, "site"), options.seed)
        self.admin = os.path.join(directory, "admin")
        self.log_path = os.path.join(directory, "server.log")
        self.samples, self.pids, self.upgrades, self.deploys, self.hups = [], [], 0, 0, 0
        self.longest_drain = 0.0
        self.client, self.said, self.first, self.last = None, {}, None, None
        self.client_cpu = self.server_cpu = 0.0
        self.retired = watch.Retired()
        self.pid = self.start()
        self.threads = [threading.Thread(target=self.guarded, args=(work,), name=f"{backend} {work.__name__}")
                        for work in (self.stalling, self.deploying, self.upgrading, self.sampling)]

    # the server

    def start(self):
        with open(self.log_path, "wb") as log:
            process = subprocess.Popen(
                [self.options.loom, f"--backend={self.backend}", "--listen=127.0.0.1:0", "--workers=1",
                 f"--admin=unix:{self.admin}", f"--stream-above={STREAM_ABOVE}", "--settle=100ms",
                 "--grace=600s", "--upgrade-timeout=600s",
                 "--keep-generations=1",
                 "--keepalive-timeout=300s", "--header-timeout=300s", "--send-timeout=300s",
                 f"--cache-dir={self.directory}/cache",
                 *self.options.server_options, self.tree.root],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, preexec_fn=with_parent)
        self.pids.append(process.pid)
        self.soak.guard(process.pid)
        end = time.monotonic() + BEGIN_BOUND
        while not (found := re.search(r"listening on http://(127\.0\.0\.1):(\d+)/\s[\s\S]*ready", self.log())):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise Failed(f"the server does not start:\n{self.log()}")
            time.sleep(0.02)
        self.address = (found[1], int(found[2]))
        return process.pid

    def log(self, since=0):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            file.seek(since)
            return file.read()

    def begin(self):
        """The first sample, before anybody has come; then all that is done."""
        self.wait(lambda: watch.figures(watch.admin(self.admin, "metrics"))["loom_variants_pending"] == 0,
                  "what is compressed first", BEGIN_BOUND)
        self.first = self.at_rest()
        errors = os.path.join(self.directory, "client.log")
        address = self.options.through or self.address
        with open(errors, "wb") as log:
            self.client = subprocess.Popen(
                [self.options.client, self.tree.base, address[0], str(address[1]), str(self.options.rate),
                 str(self.options.seed)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                preexec_fn=with_parent)
        self.soak.guard(self.client.pid)
        self.threads.append(threading.Thread(target=self.guarded, args=(self.listening,),
                                             name=f"{self.backend} client"))
        for thread in self.threads:
            thread.start()

    def guarded(self, work):
        try:
            work()
        except Over:
            pass
        except Failed as failed:
            self.soak.fail(f"{self.backend}: {failed}")
        except Exception as error:  # pylint: disable=broad-except
            self.soak.fail(f"{self.backend}: {threading.current_thread().name}: {type(error).__name__}: {error}")

    def wait(self, condition, what, bound=BOUND, step=0.02):
        patience = Patience(bound)
        while not (value := condition()):
            if self.soak.failures:
                raise Over()
            if patience.over():
                raise Failed(f"waited {bound} s in vain for {what}")
            time.sleep(step)
        return value

    @staticmethod
    def pause(seconds):
        patience = Patience(seconds)
        while not patience.over():
            time.sleep(0.1)

    # the client

    def listening(self):
        for line in self.client.stdout:
            self.said = json.loads(line)
        status = self.client.wait()
        if status:
            with open(os.path.join(self.directory, "client.log"), encoding="utf-8", errors="replace") as file:
                raise Failed(f"the client ended with status {status}:\n{file.read()}")

    def end_client(self):
        """What has been asked is answered, and checked."""
        if self.client and self.client.poll() is None:
            self.client_cpu = watch.cpu_seconds(self.client.pid)
            self.client.terminate()
            patience = Patience(BOUND + 30)
            while self.client.poll() is None:
                if patience.over():
                    self.client.kill()
                    self.soak.fail(f"{self.backend}: the client does not end")
                    break
                time.sleep(0.05)

    # a moment in which all come at once

    def stall(self):
        """Has all clients wait, some more for files that have to be read from the disk, and then be served at once: from
        now on there are as many buffers as there will ever be. Otherwise a machine that is busy for a moment, or short of
        memory, would have that effect, some time, and it would look like growth."""
        readers = [http.client.HTTPConnection(*self.address, timeout=watch.PAUSE) for _ in range(COLD_READERS)]
        streamed = [file.target for file in self.tree.files if file.kind == "streamed"]
        os.kill(self.pid, signal.SIGSTOP)
        try:
            for at, reader in enumerate(readers):
                reader.request("GET", streamed[at % len(streamed)], headers={"Connection": "close"})
            self.pause(STALL)
            self.tree.cool()
        finally:
            os.kill(self.pid, signal.SIGCONT)
        for reader in readers:
            try:
                reader.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass  # a release was deleted meanwhile; the client is who judges answers
            reader.close()

    def stalling(self):
        if not self.over.wait(5):  # they have all come
            self.stall()

    # deploys

    def deploying(self):
        while not self.over.wait(self.tree.choice.uniform(0.5, 1.5) * self.options.deploy_every):
            self.deploy()

    def deploy(self):
        files, way = self.tree.deploy()
        self.deploys += 1
        with self.lock:
            settled = not self.draining
        told = self.tree.choice.random()
        if told < 0.2:
            self.hups += 1
            os.kill(self.pid, signal.SIGHUP)
        if told < 0.7 and settled:
            watch.admin(self.admin, "reload")
        # Whether it was told of it or has seen it by itself: the new one is served.
        for file, number in files:
            self.wait(lambda file=file, number=number: self.served(file) == file.body(number),
                      f"version {number} of {file.target} ({way})", step=0.1)
        self.pause(FLOOR_AFTER)
        with self.lock:  # a predecessor may have answered, or may still answer
            if settled and not self.draining:
                self.tree.settled(files)
        if way == "release":
            self.tree.sweep()

    def served(self, file):
        client = http.client.HTTPConnection(*self.address, timeout=watch.PAUSE)
        try:
            client.request("GET", file.target)
            return client.getresponse().read()
        except OSError:
            return None
        finally:
            client.close()

    # upgrades

    def upgrading(self):
        for moment in self.options.upgrade_moments:
            while (left := self.soak.began + moment - self.soak.now()) > 0:
                if self.over.wait(min(left, 1)):
                    return
            if self.over.is_set():
                return
            self.upgrade()

    def upgrade(self):
        with self.lock:
            self.draining = True
            self.tree.table.draining(1)
        before, since = self.pid, os.path.getsize(self.log_path)
        began = self.soak.now()
        os.kill(before, signal.SIGUSR2)
        pid = int(self.wait(lambda: re.search(r"pid (\d+) has taken over", self.log(since)), "a successor")[1])
        self.soak.guard(pid)
        with self.lock:
            self.pid = pid
            self.pids.append(pid)
        cpu = 0.0
        patience = Patience(2 * BOUND + 30)  # slow clients leave after 20 s
        while (status := reap(before)) is None:
            cpu = watch.cpu_seconds(before) or cpu
            if self.soak.failures:
                raise Over()
            if patience.over():
                raise Failed(f"the predecessor, pid {before}, has not ended {2 * BOUND + 30} s after it was replaced")
            time.sleep(0.1)
        self.server_cpu += cpu
        if status != 0:
            raise Failed(f"the predecessor, pid {before}, ended with status {status}")
        self.longest_drain = max(self.longest_drain, self.soak.now() - began)
        self.pause(FLOOR_AFTER)  # what was asked by then knows that it may be cut off
        with self.lock:
            self.draining = False
            self.tree.table.draining(0)
        self.upgrades += 1
        self.stall()

    # samples

    def take(self):
        """None when there was an upgrade in between."""
        pid = self.pid
        try:
            taken = watch.sample(pid, self.admin, self.tree.base)
        except (OSError, KeyError, TypeError, RuntimeError) as error:
            if pid == self.pid and not self.draining and not self.soak.failures:
                raise Failed(f"no sample: {error!r}") from error
            return None
        taken["time"] = self.soak.now()
        taken["seconds"] = taken["time"] - (self.soak.began or taken["time"])
        taken["answers"] = self.said.get("answers", 0)
        return taken if pid == self.pid and taken["pid"] == self.pid else None

    def sampling(self):
        with open(os.path.join(self.directory, "samples.jsonl"), "w", encoding="ascii") as out:
            quiet, answers = 0, 0  # samples in a row without a new answer
            while not self.unobserved.wait(SAMPLE_EVERY):
                taken = self.take()
                if not taken:
                    continue
                taken["draining"] = self.draining
                self.samples.append(taken)
                out.write(json.dumps(taken) + "\n")
                out.flush()
                for wrong in watch.judge(taken, self.first) + self.retired.judge(taken):
                    raise Failed(f"at {taken['seconds']:.0f} s: {wrong}")
                quiet = 0 if taken["answers"] != answers else quiet + 1
                answers = taken["answers"]
                if quiet * SAMPLE_EVERY > BOUND and not self.over.is_set():
                    raise Failed(f"no answer for {BOUND} s")

    def at_rest(self):
        """A sample that is as the two before it: an admin connection of ours is closed a moment later."""
        before = []

        def changed(taken):  # as when an admin connection of ours is closed a moment later
            before.append({name: taken[name] for name in ("fds", "tasks", "connections")})
            return ["not at rest"] if len(before) < 3 or before[-2] != before[-1] or before[-3] != before[-1] else []

        return self.settled_sample(changed)

    def settled_sample(self, judge):
        """The first sample with which nothing is wrong; or the last, after a while."""
        patience = Patience(40)  # the kernel keeps idle threads of io_uring for five seconds
        while True:
            taken = self.take()
            wrong = judge(taken) if taken else ["no sample"]
            if not wrong or patience.over() or self.soak.failures:
                self.last_wrong = wrong
                return taken
            time.sleep(0.3)

    def end(self):
        """In order: deploys and upgrades, clients, a last look, the server. What is wrong is said to the soak."""
        self.over.set()
        for thread in self.threads:
            if "client" not in thread.name and "sampling" not in thread.name:
                thread.join()
        self.end_client()
        self.unobserved.set()
        for thread in self.threads:
            thread.join()
        if reap(self.pid) is not None:
            self.soak.fail(f"{self.backend}: the server has ended by itself; see {self.log_path}")
            return
        self.last = self.settled_sample(lambda taken: watch.judge_end(taken, self.first))
        for wrong in self.last_wrong:
            self.soak.fail(f"{self.backend}: when all clients had gone: {wrong}")
        self.server_cpu += watch.cpu_seconds(self.pid)
        os.kill(self.pid, signal.SIGTERM)
        patience = Patience(BOUND)
        while (status := reap(self.pid)) is None and not patience.over():
            time.sleep(0.05)
        if status != 0:
            self.soak.fail(f"{self.backend}: the server ended with status {status}")
        for line in watch.complaints(self.log())[:20]:
            self.soak.fail(f"{self.backend}: in the server's log: {line}")
        left = watch.kernel_threads_of(set(self.pids))
        if left:
            self.soak.fail(f"{self.backend}: kernel threads are left behind: {left}")

    def kill(self):
        """Whatever is left; nothing, when all went well."""
        for pid in self.pids + ([self.client.pid] if self.client else []):
            if reap(pid) is None and os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGKILL)
                while reap(pid) is None:
                    time.sleep(0.01)
