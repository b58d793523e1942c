"""What is compared: each row is a loom with one feature changed, its base a loom of the same backend by default."""
import re
import subprocess

from rig import servers


class Row:
    """options: what stands behind --uring or --epoll, '' for the backend by default. base: the row to compare with."""

    def __init__(self, backend, options, title, base=None):
        self.backend = backend
        self.options = options
        self.title = title
        self.name = f'{backend}: {options}' if options else f'{backend} instead of {base}' if base else backend
        self.base = base or (backend if options else None)
        self.refused = ''

    def concerns(self, cell):
        """Whether it is measured there in the whole matrix. The other backend is everywhere; a feature where size and
        connections vary one at a time, as features are not known to need both; and one that has to do with accepting, or
        with large bodies, where there are such."""
        if not self.options:
            return True
        if cell.part == 'corner':
            return False
        if cell.part == 'centre':
            return True
        if re.match(r'accept=|files=|(no-)?exclusive', self.options):
            return cell.mode == 'close'
        if re.match(r'zc=o', self.options):
            return cell.size >= 16 * 1024
        return True

    def arguments(self):
        flag = '--uring' if self.backend == 'io_uring' else '--epoll'
        return [flag, self.options] if self.options else []

    def server(self, path):
        return servers.Loom(re.sub(r'[^a-z0-9_]+', '-', self.name), path, self.backend, self.arguments())


def all_rows():
    uring = [
        ('taskrun=defer', 'task work is run when the loop waits, and only then'),
        ('taskrun=coop', 'task work interrupts nobody, but runs at any system call'),
        ('taskrun=none', 'task work interrupts the thread'),
        ('sqpoll', 'a kernel thread takes submissions'),
        ('entries=256', 'a smaller submission queue'),
        ('entries=8192', 'a larger submission queue'),
        ('cq-entries=65536', 'a larger completion queue'),
        ('sqarray', 'with the array of indices that newer kernels do without'),
        ('no-sqarray', 'without it'),
        ('ring-fd', "the ring's descriptor is registered"),
        ('no-ring-fd', 'it is looked up at each call'),
        ('accept=multishot', 'one request accepts all connections'),
        ('accept=oneshot', 'one request a connection'),
        ('files=direct', 'accepted sockets have no descriptor'),
        ('recv=multishot', 'one receive for the life of a connection'),
        ('recv=oneshot', 'one receive a request'),
        ('recv=poll', 'poll first, then recv(2)'),
        ('recv-bundle', 'several buffers in one completion'),
        ('recv=oneshot,recv-poll-first', 'one receive a request, and no attempt before there is something'),
        ('recv-cap=4096', 'at most so much at a time'),
        ('buf-count=128', 'fewer receive buffers'),
        ('buf-count=4096', 'more receive buffers'),
        ('buf-size=16384', 'larger receive buffers'),
        ('recv=oneshot,buf-inc', 'one receive a request, and buffers are used up piece by piece'),
        ('send=ring', 'sends are submitted'),
        ('send=inline', 'sends are system calls of their own, at once'),
        ('send-vec', 'vectored sends by IORING_OP_SEND (Linux 6.17)'),
        ('zc=on', 'zero-copy sends of large bodies'),
        ('zc=on,zc-min=16K', 'zero-copy sends of smaller ones, too'),
        ('zc=fixed', 'zero-copy sends from registered memory'),
        ('wait=8:50', 'sleeps until 8 completions or 50 us'),
        ('napi=50', 'polls the network card for 50 us'),
    ]
    epoll = [
        ('trigger=edge', 'told when something changes'),
        ('trigger=level', 'told as long as something is ready'),
        ('read=drain', 'reads until there is nothing more'),
        ('read=short', 'a short read is taken for the last'),
        ('write=first', 'writes at once, and waits when there is no room'),
        ('write=wait', 'waits for room before it writes'),
        ('exclusive', 'a connection wakes one of several workers'),
        ('no-exclusive', 'a connection wakes all of them'),
        ('busy-poll=50', 'polls the sockets for 50 us before it sleeps'),
    ]
    return [Row('io_uring', '', 'io_uring as it is by default'), Row('epoll', '', 'epoll as it is by default'),
            Row('epoll', '', 'the other backend', base='io_uring'),
            *(Row('io_uring', options, title) for options, title in uring),
            *(Row('epoll', options, title) for options, title in epoll)]


def split(rows):
    """({backend: its row by default}, the rows that are compared with one)"""
    return {row.backend: row for row in rows if not row.base}, [row for row in rows if row.base]


def defaults(text):
    """{(backend, feature): its default}, from what `loom --version -v` says; empty where it does not tell."""
    found, backend = {}, None
    for line in text.splitlines():
        section = re.match(r'(io_uring|epoll), as --', line)
        feature = re.match(r'  (?:no-)?([a-z-]+)(?:=\S*)? .*\(default ([^;)]*)', line)
        if section:
            backend = section[1]
        elif feature and backend:
            found[backend, feature[1]] = feature[2]
    return found


def is_default(row, known):
    """Whether the row asks for nothing but what its base line has already."""
    if not row.options:
        return False
    for option in row.options.split(','):
        name, _, value = option.partition('=')
        if not value:
            name, value = (name[3:], 'off') if name.startswith('no-') else (name, 'on')
        if known.get((row.backend, name)) != value:
            return False
    return True


def why_not(row, path, root):
    """What loom itself says against it, without its name in front; '' when a start would succeed. Nothing is served."""
    command = [path, '--listen', f'127.0.0.1:{servers.free_port()}', '--workers', '1', f'--backend={row.backend}',
               *row.arguments(), '--test', root]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ''
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    said = re.sub(r'^loom: ', '', lines[-1]) if lines else f'loom --test ended with status {done.returncode}'
    if row.options and re.search(r"(unknown|unrecognized).* option '?--(uring|epoll)", said):
        return f'not known to this loom, which has no {row.arguments()[0]}'
    return said
