#!/usr/bin/env python3
"""installed.py ROOT - starts the loom that is installed below ROOT as its unit says, asks it over loopback, and ends it.

What systemd does for the unit is done here: the sockets of loom.socket, by name and number; a user that exists for this
alone; RuntimeDirectory= and CacheDirectory=; no capabilities, no new privileges, SystemCallFilter=; NOTIFY_SOCKET, and waiting
for READY=1. The namespaces, mounts and network, are the caller's to make (unshare --mount --net), so port 80 is nobody
else's. Exit status 0 when all was as it should be.
"""
import configparser
import ctypes
import errno
import http.client
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

UID = 61184  # the first of DynamicUser=
BOUND = 60


def unit(root, name):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(f"{root}/lib/systemd/system/{name}")
    return parser


def calls(words):
    """The names of system calls, with those of the sets (@name) among them."""
    for word in words:
        if not word.startswith("@"):
            yield word
            continue
        listed = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", word], capture_output=True, text=True,
                                check=True).stdout
        yield from calls(line.strip() for line in listed.splitlines() if line.startswith("    ") and "#" not in line)


def allowed(root):
    """What SystemCallFilter= leaves: line by line, as systemd.exec(5) has it."""
    with open(f"{root}/lib/systemd/system/loom.service", encoding="ascii") as file:
        lines = [line.strip().split("=", 1)[1] for line in file if line.startswith("SystemCallFilter=")]
    names = set(calls(["@default"]))
    for line in lines:
        if line.startswith("~"):
            names -= set(calls(line[1:].split()))
        else:
            names |= set(calls(line.split()))
    return names


def confine(names):
    """From here on other system calls are EPERM, for this process and all that it becomes."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    allow, refuse = 0x7fff0000, 0x00050000 | errno.EPERM
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(refuse)))
    for name in sorted(names):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            library.seccomp_rule_add(context, ctypes.c_uint32(allow), ctypes.c_int(number), ctypes.c_uint(0))
    error = library.seccomp_load(context)
    if error:
        raise OSError(-error, "seccomp_load")


def directories(root, service):
    """As DynamicUser= has them."""
    for base, setting in (("run", "RuntimeDirectory"), ("var/cache", "CacheDirectory")):
        name = service[setting]
        place = f"{root}/{base}/{name}"
        if base != "run":
            os.makedirs(f"{root}/{base}/private", mode=0o700, exist_ok=True)
            os.symlink(f"private/{name}", place)
            place = f"{root}/{base}/private/{name}"
        os.mkdir(place)
        os.chown(place, UID, UID)
        os.chmod(place, int(service.get(setting + "Mode", "0755"), 8))
    # systemd mounts what is below private where the user can reach it
    os.chmod(f"{root}/var/cache/private", 0o755)


def ask(target, fields=()):
    client = http.client.HTTPConnection("127.0.0.1", 80, timeout=BOUND)
    client.request("GET", target, headers=dict(fields))
    answer = client.getresponse()
    body = answer.read()
    client.close()
    return answer, body


def expect(what, good):
    if not good:
        raise SystemExit(f"installed.py: {what}")
    print(f"   {what}")


def main():
    root = sys.argv[1]
    service, sockets = unit(root, "loom.service")["Service"], unit(root, "loom.socket")["Socket"]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", f"{root}/proc"], check=True)
    directories(root, service)

    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", int(sockets["ListenStream"])))
    listener.listen(4096)
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind("\0loom-installed")  # of the network namespace, so that it is there below ROOT too
    notices.settimeout(0.2)

    def become():
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)  # also where it was 3 before
        os.chroot(root)
        os.chdir("/")
        prctl = ctypes.CDLL(None).prctl
        for capability in range(64):
            prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; those beyond the last one are refused
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
        prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        confine(names)
        os.umask(int(service["UMask"], 8))
        os.execve(words[0], words, {"PATH": "/usr/bin:/bin", "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1",
                                    "LISTEN_FDNAMES": sockets["FileDescriptorName"], "NOTIFY_SOCKET": "@loom-installed"})

    words, names = shlex.split(service["ExecStart"]), allowed(root)
    ctypes.CDLL("libseccomp.so.2")  # while it can be found
    print("  ", service["ExecStart"])
    pid = os.fork()
    if pid == 0:
        log = os.open(f"{root}/../{os.path.basename(root)}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        become()
    try:
        wait_ready(notices, pid)
        print("   READY=1")
        check(root)
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + BOUND
        while (status := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.05)
        expect("SIGTERM: it ends with status 0", status[0] == pid and os.waitstatus_to_exitcode(status[1]) == 0)
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)  # which does no harm to one that has ended, and was not waited for
        with open(f"{root}/../{os.path.basename(root)}.log", encoding="utf-8", errors="replace") as log:
            print("".join(f"   | {line}" for line in log), end="")
        os.unlink(log.name)
        subprocess.run(["umount", f"{root}/proc"], check=True)
    shutil.rmtree(f"{root}/run/loom")  # as systemd does when a service has ended


def wait_ready(notices, pid):
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        try:
            if b"READY=1" in notices.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                raise SystemExit("installed.py: it ended before it was ready") from None
    raise SystemExit("installed.py: it does not say READY=1")


def check(root):
    answer, body = ask("/")
    with open(f"{root}/usr/share/loom/site/index.html", "rb") as file:
        expect("GET /: 200, the site of the package", answer.status == 200 and body == file.read())
    answer, _ = ask("/nothing")
    expect("GET /nothing: 404", answer.status == 404)
    end = time.monotonic() + BOUND
    while ask("/style.css", [("Accept-Encoding", "gzip")])[0].headers["Content-Encoding"] != "gzip":
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    expect("GET /style.css: gzip, once it has been made", time.monotonic() < end)
    expect("what was compressed is in /var/cache/loom", any(os.scandir(f"{root}/var/cache/private/loom")))
    said = subprocess.run(["chroot", root, "loomctl", "-s", "/run/loom/admin", "status"], capture_output=True, text=True,
                          timeout=BOUND, check=False)
    expect("loomctl status", said.returncode == 0 and "snapshot" in said.stdout)


main()
