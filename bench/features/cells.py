"""The other axes of the matrix: size of the answer, connections, and how requests come."""

SIZES = [200, 1024, 16 * 1024, 256 * 1024, 4 * 1024 * 1024]
CONNECTIONS = [1, 64, 1024, 10000]
MODES = {'keepalive': 'keep-alive', 'pipelined': 'pipelined 16 deep', 'close': 'a connection a request'}
DEPTH = 16
ACTIVE_OF_IDLE = 64  # of 10,000: mostly idle
USUAL_SIZE, USUAL_CONNECTIONS = 1024, 64
IN_FLIGHT_MAX = 1 << 30  # bytes of answers asked for at once


def size_text(size):
    for unit, name in ((1 << 20, 'MiB'), (1 << 10, 'KiB')):
        if size >= unit:
            return f'{size // unit} {name}'
    return f'{size} B'


class Cell:
    def __init__(self, size, connections, mode):
        self.size = size
        self.connections = connections
        self.mode = mode
        self.active = ACTIVE_OF_IDLE if connections == 10000 else connections
        self.depth = DEPTH if mode == 'pipelined' else 1
        self.close = mode == 'close'
        self.name = f'{mode}-{size_text(size).replace(" ", "")}-{connections}'
        who = f'{connections:,} connections' if connections > 1 else 'one connection'
        if self.active != connections:
            who += f', {self.active} of them active'
        self.title = f'{size_text(size)}, {MODES[mode]}, {who}'

    @property
    def left_out(self):
        """Why it is not measured, or ''."""
        asked = self.size * self.active * self.depth
        return f'{asked / 2 ** 30:.0f} GiB of answers would be on their way at once' if asked > IN_FLIGHT_MAX else ''

    @property
    def kernel_memory(self):
        return self.connections == 10000 and self.mode == 'keepalive' and self.size == 1024

    def as_json(self):
        return {'name': self.name, 'title': self.title, 'size': self.size, 'connections': self.connections,
                'active': self.active, 'depth': self.depth, 'mode': self.mode, 'left_out': self.left_out}


    @property
    def part(self):
        """Of the whole matrix: 'centre' (1 KiB, 64 connections), 'arm' (one of these two is another), or 'corner'."""
        usual = (self.size == USUAL_SIZE) + (self.connections == USUAL_CONNECTIONS)
        if usual == 0 and self.mode == 'pipelined' and self.size == SIZES[-1] and self.connections == 1:
            return 'arm'  # with 64 connections it is left out
        return ('corner', 'arm', 'centre')[usual]


def all_cells():
    return [Cell(size, connections, mode) for mode in MODES for connections in CONNECTIONS for size in SIZES]


def in_order(cells):
    """What tells most is measured first, as a run may be ended before its end."""
    return sorted(cells, key=lambda cell: ('centre', 'arm', 'corner').index(cell.part))


QUICK = ['keepalive-1KiB-64', 'pipelined-200B-64', 'close-1KiB-64']


def choose(names):
    cells = {cell.name: cell for cell in all_cells()}
    unknown = [name for name in names if name not in cells]
    if unknown:
        raise KeyError(unknown[0])
    return [cells[name] for name in names]
