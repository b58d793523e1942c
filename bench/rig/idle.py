"""Idle keep-alive connections: each has had one answer, and then says nothing."""
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
    request = f'GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n'.encode()
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
