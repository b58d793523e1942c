"""What connections hold in the kernel: the growth of its slab caches (needs root)."""
import socket
import time

from . import machine


def slabs():
    """{cache: (objects in use, bytes each)}; needs root."""
    found = {}
    for line in machine.read('/proc/slabinfo').splitlines()[2:]:
        fields = line.split()
        found[fields[0]] = int(fields[1]), int(fields[3])
    return found


def grown(before, after, count):
    """Bytes a connection, in caches that grew by at least half an object a connection: others are others' doing, and
    so are those of file systems. (A cache's name may be another's: the kernel merges caches of one size.)"""
    caches = {}
    for name, (objects, size) in after.items():
        objects -= before.get(name, (0, size))[0]
        foreign = name == 'buffer_head' or (name.endswith('inode_cache') and not name.startswith(('sock_', 'lsm_')))
        if objects >= count / 2 and not foreign:
            caches[name] = {'objects': objects / count, 'bytes': objects * size / count}
    return sum(cache['bytes'] for cache in caches.values()), caches


def settled_slabs():
    """The kernel frees sockets a grace period late."""
    time.sleep(1)
    return slabs()


def pair_cost(count):
    """Bytes of kernel memory for one end of a plain connection."""
    if not slabs():
        return None
    count = min(count, 5000)
    listener = socket.create_server(('127.0.0.1', 0), backlog=128)
    before = settled_slabs()
    ends = []
    for _ in range(count):
        ends.append(socket.create_connection(listener.getsockname()))
        ends.append(listener.accept()[0])
    bytes_pair, _ = grown(before, settled_slabs(), count)
    for end in ends:
        end.close()
    listener.close()
    return bytes_pair / 2


def client_cost(count):
    """The same for one end that waits in an epoll instance, as those of bench/load do; 0 where it is not known."""
    sizes = slabs()
    return (pair_cost(count) or 0) + sum(sizes[name][1] for name in ('eventpoll_epi', 'eventpoll_pwq') if name in sizes)
