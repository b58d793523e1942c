"""Idle keep-alive connections: each has had one answer, and then says nothing."""
import multiprocessing
import socket

from .servers import Failed


def read_answer(sock, size):
    answer = b''
    while b'\r\n\r\n' not in answer or len(answer) < answer.index(b'\r\n\r\n') + 4 + size:
        more = sock.recv(65536)
        if not more:
            raise Failed('closes an idle connection')
        answer += more
    return answer


def open_idle(server, count, path, size):
    """Connections that have had an answer each, of so many bytes. Opened in small batches, as if by many clients."""
    # The host that wrk names, too: a cache knows what was cached by it.
    request = f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n'.encode()
    connections = []
    try:
        while len(connections) < count:
            batch = [socket.create_connection(('127.0.0.1', server.port), 10)
                     for _ in range(min(50, count - len(connections)))]
            connections += batch
            for sock in batch:
                sock.sendall(request)
            for sock in batch:
                read_answer(sock, size)
    except OSError as error:
        close_idle(connections)
        raise Failed(f'{len(connections)} idle connections, then: {error}') from error
    return connections


def close_idle(connections):
    for sock in connections:
        sock.close()
    connections.clear()


def still_open(connections):
    """Whether the server has kept them all: nothing to read, not even an end."""
    for sock in connections:
        sock.setblocking(False)
        try:
            sock.recv(1)
            return False
        except BlockingIOError:
            pass
        except OSError:
            return False
    return True


def _hold(pipe, server, count, path, size):
    try:
        connections = open_idle(server, count, path, size)
        pipe.send('')
        pipe.recv()
        pipe.send('' if still_open(connections) else 'has closed idle connections')
    except Failed as error:
        pipe.send(str(error))
    except EOFError:
        pass  # nobody asks any more


class Crowd:
    """The same, held by a process of their own: so many that those of several servers would be too many for one."""

    def __init__(self, server, count, path, size):
        around = multiprocessing.get_context('fork')
        self._pipe, theirs = around.Pipe()
        self._process = around.Process(target=_hold, args=(theirs, server, count, path, size), daemon=True)
        self._process.start()
        theirs.close()
        self._said()

    def _said(self):
        try:
            problem = self._pipe.recv() if self._pipe.poll(120) else 'idle connections cannot be opened in two minutes'
        except EOFError:
            problem = 'idle connections: whoever held them has ended'
        if problem:
            self.stop()
            raise Failed(problem)

    def check(self):
        """Raises Failed unless all of them are still open."""
        self._pipe.send('')
        self._said()

    def stop(self):
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._pipe.close()
