"""The machine: a network namespace of one's own, cores, and what the kernel says that a process has used.

Everything here reads /proc or sets up this process; nothing starts a server.
"""
import ctypes
import fcntl
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

NAMESPACE_MARK = 'LOOM_BENCH_NAMESPACE'
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def read(path, default=''):
    try:
        with open(path, encoding='utf-8', errors='replace') as file:
            return file.read().strip()
    except OSError:
        return default


def write(path, text):
    try:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return True
    except OSError:
        return False


def enter_namespace():
    """Starts this script anew in a network namespace of its own, or goes on in the present one when it may not."""
    if NAMESPACE_MARK in os.environ or not shutil.which('unshare'):
        return
    for flags in (['-n'], ['-r', '-n']):
        if subprocess.run(['unshare', *flags, 'true'], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.environ[NAMESPACE_MARK] = 'own'
            os.execvp('unshare', ['unshare', *flags, sys.executable, *sys.argv])


def network():
    """Readies the network for measuring and says what it is. Under bbr, pacing alone can double a large body's cost."""
    control = '/proc/sys/net/ipv4/tcp_congestion_control'
    own = os.environ.get(NAMESPACE_MARK) == 'own'
    if own:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack('16sh22x', b'lo', IFF_UP))
        if not write(control, 'cubic'):
            write(control, 'reno')
        write('/proc/sys/net/ipv4/ip_local_port_range', '10240 65535')
        write('/proc/sys/net/ipv4/tcp_max_syn_backlog', '4096')
    return {'namespace': 'own' if own else 'shared with the machine (unshare was not possible)',
            'congestion_control': read(control)}


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Cores:
    """Which CPUs the server and the client run on, and how."""

    def __init__(self, arrangement):
        cpus = sorted(os.sched_getaffinity(0))
        if arrangement == 'two' and len(cpus) < 2:
            sys.exit('bench: --cores two needs two CPUs, and this process may use one')
        self.arrangement = arrangement
        self.server = cpus[0]
        self.client = cpus[1] if arrangement == 'two' else cpus[0]

    def __str__(self):
        if self.arrangement == 'two':
            return f'server on CPU {self.server}, client on CPU {self.client}'
        return f'server and client both on CPU {self.server}, SCHED_BATCH'

    def child(self, cpu):
        """A function for subprocess's preexec_fn: pins, sets the policy, and ends with this process."""
        batch = self.arrangement == 'one'

        def prepare():
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            os.sched_setaffinity(0, {cpu})
            if batch:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        return prepare


def family(pid):
    """A process and its descendants."""
    found, new = [], [pid]
    while new:
        found += new
        children = []
        for parent in new:
            for task in tasks(parent):
                children += [int(child) for child in read(f'/proc/{parent}/task/{task}/children').split()]
        new = children
    return found


def tasks(pid):
    try:
        return os.listdir(f'/proc/{pid}/task')
    except OSError:
        return []


def cpu_times(pids):
    """Nanoseconds on a CPU of every thread, io_uring's kernel threads included: they are threads of the process."""
    times = {}
    for pid in pids:
        for task in tasks(pid):
            fields = read(f'/proc/{pid}/task/{task}/schedstat').split()
            if fields:
                times[pid, task] = int(fields[0])
    return times


def cpu_between(before, after):
    return sum(value - before.get(thread, 0) for thread, value in after.items())


def waits(pids):
    """What scheduling cost all threads together: ns that they were ready and had no CPU, and switches of both kinds."""
    found = {'wait_ns': 0, 'voluntary': 0, 'involuntary': 0}
    for pid in pids:
        for task in tasks(pid):
            fields = read(f'/proc/{pid}/task/{task}/schedstat').split()
            if len(fields) > 1:
                found['wait_ns'] += int(fields[1])
            for line in read(f'/proc/{pid}/task/{task}/status').splitlines():
                if line.startswith('voluntary_ctxt_switches:'):
                    found['voluntary'] += int(line.split()[1])
                elif line.startswith('nonvoluntary_ctxt_switches:'):
                    found['involuntary'] += int(line.split()[1])
    return found


def machine_busy():
    """Seconds that all CPUs together have worked, for anybody; in clock ticks, so of no use for a moment."""
    fields = [int(field) for field in read('/proc/stat').split('\n', 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf('SC_CLK_TCK')


def busiest(pids):
    """The process that does the work: of a master and its one worker, the worker."""
    return max(pids, key=lambda pid: sum(cpu_times([pid]).values()))


def resident(pid):
    """VmRSS in bytes."""
    for line in read(f'/proc/{pid}/status').splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024
    return 0


def describe():
    """What a reader of the results must know."""
    model = next((line.split(':', 1)[1].strip() for line in read('/proc/cpuinfo').splitlines()
                  if line.startswith('model name')), platform.machine())
    memory = next((int(line.split()[1]) // 1024 for line in read('/proc/meminfo').splitlines()
                   if line.startswith('MemTotal:')), 0)
    return {'cpu': model, 'cpus': os.cpu_count(), 'memory_mib': memory, 'kernel': platform.release(),
            'system': next((line.split('=', 1)[1].strip('"') for line in read('/etc/os-release').splitlines()
                            if line.startswith('PRETTY_NAME=')), platform.system()),
            'hypervisor': 'hypervisor' in read('/proc/cpuinfo')}


def now():
    return time.strftime('%Y-%m-%d %H:%M:%S %z')
