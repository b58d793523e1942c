"""The baselines of bench/ are servers whose answers are right, or what is measured of them means nothing."""
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ.get('LOOM_BENCH_BUILD', '')
VARIANTS = [('threads', []), ('select', []), ('select', ['--beyond']), ('poll', []), ('epoll', []),
            ('epoll', ['--edge']),
            ('epoll', ['--edge', '--buffer', '7']), ('epoll', ['--buffer', '7'])]
SMALL = b'hello\n'
LARGE = bytes(range(256)) * (1 << 14)  # 4 MiB


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


class Server:
    def __init__(self, model, flags, root):
        self.port = free_port()
        path = os.path.join(BUILD, f'baseline_{model}')
        self.process = subprocess.Popen(['timeout', '60', path, '--port', str(self.port), *flags, root],
                                        stdout=subprocess.PIPE)
        for _ in range(3000):
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    raise
                time.sleep(0.02)
        raise TimeoutError(path)

    def connect(self, receive_buffer=0):
        sock = socket.socket()
        sock.settimeout(20)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(('127.0.0.1', self.port))
        return sock

    def ask(self, path, method='GET', **fields):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=600)
        connection.request(method, path, headers={name.replace('_', '-'): value for name, value in fields.items()})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body, response.headers

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=600)[0]


class Baselines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix='loom-baselines-')
        for name, content in (('small.txt', SMALL), ('large.bin', LARGE)):
            with open(os.path.join(cls.directory.name, name), 'wb') as file:
                file.write(content)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def each(self, check):
        for model, flags in VARIANTS:
            with self.subTest(model=model, flags=flags):
                server = Server(model, flags, self.directory.name)
                try:
                    check(server)
                finally:
                    server.stop()

    def test_answers(self):
        def check(server):
            status, body, headers = server.ask('/small.txt')
            self.assertEqual((status, body), (200, SMALL))
            self.assertEqual(server.ask('/small.txt', 'HEAD')[:2], (200, b''))
            self.assertEqual(server.ask('/small.txt', If_None_Match=headers['ETag'])[:2], (304, b''))
            self.assertEqual(server.ask('/small.txt', Range='bytes=1-3')[:2], (206, SMALL[1:4]))
            self.assertEqual(server.ask('/large.bin', Range='bytes=9-9,99999-99999')[:2], (200, LARGE))  # allowed
            self.assertEqual(server.ask('/nothing')[0], 404)
            self.assertEqual(server.ask('/small.txt', X='y' * 9000)[0], 431)
        self.each(check)

    def test_slow_reader_gets_all_and_what_it_has_pipelined(self):
        def check(server):
            with server.connect(receive_buffer=65536) as sock:
                sock.sendall(b'GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n' + b'GET /small.txt HTTP/1.1\r\nHost: '
                                                                             b'a\r\n\r\n'
                             + b'GET /large.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
                time.sleep(0.1)
                self.assertEqual(server.ask('/small.txt')[0], 200)  # others are served meanwhile
                data = b''
                while more := sock.recv(1 << 20):
                    data += more
            bodies = []
            while data:
                head, _, data = data.partition(b'\r\n\r\n')
                length = next(int(line.split(b':')[1]) for line in head.split(b'\r\n')
                              if line.startswith(b'Content-Length'))
                bodies.append(data[:length])
                data = data[length:]
            self.assertEqual(bodies, [LARGE, SMALL, LARGE])
        self.each(check)

    def test_pipelines_and_pieces(self):
        request = b'GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n'

        def check(server):
            with server.connect() as sock:
                sock.sendall(request * 100)
                data = b''
                while data.count(SMALL) < 100:
                    data += sock.recv(1 << 20) or self.fail('closed')
                for i in range(0, len(request), 5):
                    sock.sendall(request[i:i + 5])
                    time.sleep(0.001)
                data = b''
                while not data.endswith(SMALL):
                    data += sock.recv(1 << 20) or self.fail('closed')
        self.each(check)

    def test_select_ends_at_its_sets(self):
        server = Server('select', [], self.directory.name)
        sockets = []
        try:
            with self.assertRaises(OSError):
                for _ in range(1100):
                    sock = server.connect()
                    sockets.append(sock)
                    sock.sendall(b'GET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n')
                    if not sock.recv(1000):
                        raise ConnectionResetError
            self.assertGreater(len(sockets), 1000)
            self.assertLess(len(sockets), 1024)
        finally:
            server.stop()
            for sock in sockets:
                sock.close()


if __name__ == '__main__':
    if not BUILD:
        sys.exit('LOOM_BENCH_BUILD: where bench/ is built')
    unittest.main()
