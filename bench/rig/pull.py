"""Clients for large bodies, which cost little themselves: one that throws bodies away in the kernel, and a prober.

Each runs in a process of its own, on the client's core.
"""
import hashlib
import os
import pickle
import re
import select
import signal
import socket
import statistics
import time

from .servers import Failed

PIECE = 1 << 20


def in_child(cores, function, *arguments):
    """Calls the function in a child on the client's core; returns what gives its result, once the child has ended."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        try:
            cores.child(cores.client)()
            result = function(*arguments)
        except BaseException as error:
            result = error if isinstance(error, Failed) else Failed(f'{type(error).__name__}: {error}')
        with os.fdopen(write_end, 'wb') as file:
            pickle.dump(result, file)
        os._exit(0)
    os.close(write_end)

    def result():
        with os.fdopen(read_end, 'rb') as file:
            data = file.read()
        os.waitpid(pid, 0)
        value = pickle.loads(data) if data else Failed('a client died')
        if isinstance(value, Exception):
            raise value
        return value
    result.pid = pid
    return result


class Pull:
    """One connection that asks for the same thing again and again."""

    def __init__(self, port, path, spans=(), receive_buffer=0):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect(('127.0.0.1', port))
        self.sock.settimeout(60)
        self.request = f'GET {path} HTTP/1.1\r\nHost: localhost\r\n'
        if spans:
            self.request += f'Range: bytes={spans}\r\n'
        self.request = (self.request + '\r\n').encode()
        self.left = 0
        self.buffer = bytearray(PIECE)

    def ask(self):
        """Sends the request and reads the head: (status, length of the body), and what came of the body with it."""
        self.sock.sendall(self.request)
        head = b''
        while b'\r\n\r\n' not in head:
            more = self.sock.recv(1 << 16)
            if not more:
                raise Failed('the connection ended within a head')
            head += more
        head, _, begun = head.partition(b'\r\n\r\n')
        length = re.search(rb'(?im)^Content-Length: *(\d+)', head)
        if not length:
            raise Failed('a head without Content-Length')
        self.left = int(length[1]) - len(begun)
        return int(head.split(b' ', 2)[1]), int(length[1]), begun

    def throw_away(self):
        """The next piece, which is not even copied to us: recv(2) with MSG_TRUNC on TCP."""
        count = self.sock.recv_into(self.buffer, min(PIECE, self.left), socket.MSG_TRUNC)
        if count == 0:
            raise Failed(f'the connection ended {self.left} bytes before the end of a body')
        self.left -= count

    def digest(self):
        """SHA-256 of the whole body: (status, length, digest)."""
        status, length, begun = self.ask()
        digest = hashlib.sha256(begun)
        view = memoryview(self.buffer)
        while self.left:
            count = self.sock.recv_into(self.buffer, min(PIECE, self.left))
            if count == 0:
                raise Failed(f'the connection ended {self.left} bytes before the end of a body')
            digest.update(view[:count])
            self.left -= count
        return status, length, digest.hexdigest()


def digest(port, path, span=''):
    return Pull(port, path, span).digest()


def drain(port, path, count, connections=1):
    """So many answers, over so many connections at a time; returns (bytes, seconds)."""
    began = time.monotonic()
    pulls = {}
    poll = select.epoll()
    asked = done = total = 0
    for _ in range(min(connections, count)):
        pull = Pull(port, path)
        pulls[pull.sock.fileno()] = pull
        poll.register(pull.sock, select.EPOLLIN)

    def ask(pull):
        nonlocal total
        status, length, _ = pull.ask()
        if status != 200:
            raise Failed(f'GET {path}: status {status}')
        total += length

    for pull in pulls.values():
        ask(pull)
        asked += 1
    while done < count:
        for fd, _ in poll.poll(60):
            pull = pulls[fd]
            if pull.left:
                pull.throw_away()
            if not pull.left:
                done += 1
                if asked < count:
                    ask(pull)
                    asked += 1
                else:
                    poll.unregister(fd)
    return total, time.monotonic() - began


def drain_cold(port, path, file, size, piece=64 << 20):
    """The same file in ranges, each out of the page cache just before it is asked for; returns (bytes, seconds). So the
    server reads into memory that has been in use a moment ago: a machine that is itself a guest may have to ask its host
    for any that was free for longer, page by page."""
    began = time.monotonic()
    fd = os.open(file, os.O_RDONLY)
    for first in range(0, size, piece):
        last = min(first + piece, size) - 1
        os.posix_fadvise(fd, first, last + 1 - first, os.POSIX_FADV_DONTNEED)
        pull = Pull(port, path, f'{first}-{last}')
        status, _, _ = pull.ask()
        if status != 206:
            raise Failed(f'GET {path}, bytes={first}-{last}: status {status}')
        while pull.left:
            pull.throw_away()
        pull.sock.close()
    os.close(fd)
    return size, time.monotonic() - began


def probe(port, path, seconds, interval=0.002):
    """Small requests at a fixed rate over one connection, until SIGTERM or for so many seconds: latencies in
    microseconds, sorted. One that could not be sent in time, since the one before was late, counts from when it was
    due. At a real-time priority, where that may be had: what is measured is the server, not the client's turn on its
    core."""
    over = False

    def stop(*_):
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, stop)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pass
    sock = socket.create_connection(('127.0.0.1', port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode()
    found = []
    begin = due = time.perf_counter()
    while not over and due - begin < seconds:
        now = time.perf_counter()
        late = now > due
        if not late:
            time.sleep(due - now)
        start = due if late else time.perf_counter()
        sock.sendall(request)
        answer = sock.recv(65536)
        while b'\r\n\r\n' not in answer:
            answer += sock.recv(65536)
        end = time.perf_counter()
        if not answer.startswith(b'HTTP/1.1 200'):
            raise Failed(f'GET {path}: {answer[:40]!r}')
        found.append((end - start) * 1e6)
        due += interval
    return sorted(found[20:])


def percentile(sorted_values, share):
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)] if sorted_values else None


def paired(ours, theirs):
    """Median of the ratios of the same rounds; None when there are none."""
    ratios = [a / b for a, b in zip(ours, theirs) if a and b]
    return statistics.median(ratios) if ratios else None
