"""How far it is: a bar on a terminal, a line now and then elsewhere."""
import sys
import time


class Progress:
    """Counts seconds of measuring, of which the whole is known about."""

    def __init__(self, seconds, stream=sys.stderr):
        self.total = max(seconds, 0.1)
        self.done = 0
        self.base = 0
        self.stream = stream
        self.text = ''
        self.began = self.told = time.monotonic()

    def part(self, text, done):
        """A part begins when so many seconds' worth is done."""
        self.done, self.base, self.text = done, done, text
        if not self.stream.isatty() and time.monotonic() - self.told > 10:
            self.told = time.monotonic()
            print(self.line(), file=self.stream, flush=True)
        self.show()

    def step(self, seconds):
        self.done += seconds
        self.show()

    def line(self):
        share = min(self.done / self.total, 1)
        left = max(self.total - self.done, 0)
        bar = '#' * int(20 * share)
        return f'[{bar:<20}] {share:4.0%}, {int(left) // 60}:{int(left) % 60:02} left: {self.text}'

    def show(self):
        if self.stream.isatty():
            print(f'\r\x1b[K{self.line()}', end='', file=self.stream, flush=True)

    def end(self):
        if self.stream.isatty():
            print('\r\x1b[K', end='', file=self.stream, flush=True)
