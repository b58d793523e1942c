"""A small writer of SVG charts: lines, bars, ratios with their spread, and a table of colours. Pure.

Colours are variables of a style sheet within the file, so that a chart follows the reader's preference for light or
dark even as an <img>. Series are told apart by their dashes and marks as well, and named beside their ends.
"""
import math
from xml.sax.saxutils import escape, quoteattr

WIDTH = 720
STYLE = '''
:root { --ink: #1c2430; --soft: #5d6877; --line: #d9d5ca; --paper: #fdfcf9; --better: #0f6b5c; --worse: #b4532a;
  --s0: #0f6b5c; --s1: #2f5fa8; --s2: #b4532a; --s3: #7b4a9e; --s4: #8a6d00; --s5: #5d6877; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e2db; --soft: #9aa3ad; --line: #333941; --paper: #15181c; --better: #5fc7b2; --worse: #e8935f;
    --s0: #5fc7b2; --s1: #86aef0; --s2: #e8935f; --s3: #c79be6; --s4: #d9bd4a; --s5: #9aa3ad; } }
text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.soft { fill: var(--soft); } .small { font-size: 11.5px; } .end { text-anchor: end; } .mid { text-anchor: middle; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.paper, .on { fill: var(--paper); }
.bar { stroke: none; } .spread { stroke: var(--ink); stroke-width: 1.2; }
.curve { fill: none; stroke-width: 2; }
''' + ''.join(f'.c{i} {{ stroke: var(--s{i}); }} .f{i} {{ fill: var(--s{i}); }}\n' for i in range(6)) + '''
.better { fill: var(--better); } .worse { fill: var(--worse); } .none { fill: var(--soft); }
.unknown { fill: var(--line); }
'''
DASHES = ['', '7 3', '2 3', '9 3 2 3', '4 4', '1 4']


def number(value):
    """As people write it on an axis: three digits at most that matter."""
    if value == 0:
        return '0'
    if abs(value) >= 1000:
        return f'{value:,.0f}'
    text = f'{value:.3g}'
    return text if 'e' not in text else f'{value:.6f}'.rstrip('0')


class Svg:
    def __init__(self, height, title, description, width=WIDTH):
        self.height, self.width = height, width
        self.parts = [f'<title>{escape(title)}</title><desc>{escape(description)}</desc><style>{STYLE}</style>',
                      f'<rect class="paper" width="{width}" height="{height}"/>']
        self.text(0, 18, title, 'head')

    def add(self, text):
        self.parts.append(text)

    def text(self, x, y, text, classes=''):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class={quoteattr(classes)}>{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, classes):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{classes}"/>')

    def rect(self, x, y, width, height, classes, title=''):
        tip = f'<title>{escape(title)}</title>' if title else ''
        self.add(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
                 f'class="{classes}">{tip}</rect>')

    def done(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
                f'style="max-width:100%;height:auto">' + '\n'.join(self.parts) + '\n</svg>\n')


class Scale:
    """From values to places. log: both ends are above 0."""

    def __init__(self, low, high, start, end, log=False):
        self.log = log
        if log:
            low, high = math.log10(low), math.log10(high)
        if high <= low:
            high = low + 1
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value):
        place = math.log10(value) if self.log else value
        return self.start + (place - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        if self.log:
            low, high = math.floor(self.low + 1e-9), math.ceil(self.high - 1e-9)
            steps = (1, 2, 5) if high - low <= 2 else (1, 3) if high - low <= 3 else (1,)
            found = [step * 10.0 ** power for power in range(low, high + 1) for step in steps]
            return [tick for tick in found if self.low - 1e-9 <= math.log10(tick) <= self.high + 1e-9]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        for divisor in (1, 2, 5, 10):
            if (self.high - self.low) / (step / divisor) >= 4:
                step /= divisor
                break
        first = math.ceil(self.low / step - 1e-9)
        return [tick * step for tick in range(first, math.floor(self.high / step + 1e-9) + 1)]


def spread_labels(wanted, gap=15):
    """Places for labels, as near to those wanted as they can be without touching."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = {}
    last = -math.inf
    for i in order:
        last = placed[i] = max(wanted[i], last + gap)
    return [placed[i] for i in range(len(wanted))]


def lines(title, series, x_label, y_label, x_log=False, y_log=False, marks=(), dots=True):
    """series: [(name, [(x, y)])]; marks: [(y, text)] are lines across. Points of a y of None are left out. dots: each
    point is marked, and says what it is; for curves of hundreds it is too much."""
    series = [(name, [(x, y) for x, y in points if y is not None]) for name, points in series]
    series = [(name, points) for name, points in series if points]
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points] + [y for y, _ in marks]
    height, left, right, top, bottom = 380, 62, WIDTH - 150, 44, 330
    svg = Svg(height, title, f'{y_label} against {x_label}: ' + ', '.join(name for name, _ in series))
    if not xs:
        svg.text(left, 100, 'Nothing was measured.', 'soft')
        return svg.done()
    x_scale = Scale(min(xs), max(xs), left, right, x_log)
    y_scale = Scale(min(ys) * 0.8 if y_log else 0, max(ys) * (1.25 if y_log else 1.08), bottom, top, y_log)
    for tick in y_scale.ticks():
        svg.line(left, y_scale(tick), right, y_scale(tick), 'grid')
        svg.text(left - 7, y_scale(tick) + 4, number(tick), 'soft small end')
    labelled = math.inf
    for tick in reversed(sorted(set(xs)) if len(set(xs)) <= 9 else x_scale.ticks()):
        svg.line(x_scale(tick), bottom, x_scale(tick), bottom + 4, 'axis')
        if labelled - x_scale(tick) > 42:
            labelled = x_scale(tick)
            svg.text(labelled, bottom + 18, number(tick), 'soft small mid')
    svg.line(left, bottom, right, bottom, 'axis')
    svg.text(left, 36, y_label, 'soft small')
    svg.text((left + right) / 2, height - 12, x_label, 'soft small mid')
    for y, text in marks:
        svg.line(left, y_scale(y), right, y_scale(y), 'axis')
        svg.text(left + 6, y_scale(y) - 5, text, 'soft small')
    places = spread_labels([y_scale(points[-1][1]) for _, points in series])
    for i, (name, points) in enumerate(series):
        path = ' '.join(f'{x_scale(x):.1f},{y_scale(y):.1f}' for x, y in points)
        svg.add(f'<polyline class="curve c{i % 6}" stroke-dasharray="{DASHES[i % 6]}" points="{path}"/>')
        for x, y in points if dots else ():
            svg.add(f'<circle class="f{i % 6}" cx="{x_scale(x):.1f}" cy="{y_scale(y):.1f}" r="3">'
                    f'<title>{escape(name)}: {number(x)}, {number(y)}</title></circle>')
        svg.text(right + 10, places[i] + 4, name, f'f{i % 6}')
    return svg.done()


def bars(title, rows, unit, parts=()):
    """rows: [(name, [value a part])]; parts: their names. One part is a plain bar. A value of None is not drawn."""
    height = 66 + 30 * len(rows) + (24 if len(parts) > 1 else 0)
    widest = max((len(name) for name, _ in rows), default=0)
    left, right = min(20 + widest * 7.2, 390), WIDTH - 90
    top = 36 + (24 if len(parts) > 1 else 0)
    svg = Svg(height, title, f'{unit}: ' + ', '.join(name for name, _ in rows))
    if len(parts) > 1:
        x = left
        for i, part in enumerate(parts):
            svg.rect(x, 34, 12, 12, f'f{i % 6}')
            svg.text(x + 17, 44, part, 'small')
            x += 34 + len(part) * 6.4
    totals = [sum(value or 0 for value in values) for _, values in rows]
    scale = Scale(0, max(totals, default=1) or 1, left, right)
    for (name, values), total, y in zip(rows, totals, range(top, height, 30)):
        svg.text(left - 8, y + 15, name, 'end')
        x = left
        for i, value in enumerate(values):
            if value:
                width = scale(value) - left
                tip = f'{name}{", " + parts[i] if parts else ""}: {number(value)}'
                svg.rect(x, y + 2, width, 18, f'bar f{i % 6}', tip)
                x += width
        known = any(value is not None for value in values)
        svg.text(x + 6, y + 16, number(total) if known else 'not measured', 'soft small')
    svg.text(left, height - 8, unit, 'soft small')
    return svg.done()


def groups(title, rows, names, unit):
    """Bars side by side. rows: [(name, [value of each of names])]."""
    each = 18 * len(names) + 14
    height = 76 + each * len(rows)
    widest = max((len(name) for name, _ in rows), default=0)
    left, right = min(20 + widest * 7.2, 390), WIDTH - 90
    svg = Svg(height, title, f'{unit}: ' + ', '.join(name for name, _ in rows))
    x = left
    for i, name in enumerate(names):
        svg.rect(x, 34, 12, 12, f'f{i % 6}')
        svg.text(x + 17, 44, name, 'small')
        x += 34 + len(name) * 6.4
    scale = Scale(0, max((value for _, values in rows for value in values if value), default=1), left, right)
    for number_, (name, values) in enumerate(rows):
        y = 58 + each * number_
        svg.text(left - 8, y + each / 2 - 3, name, 'end')
        for i, value in enumerate(values):
            if value is None:
                svg.text(left + 6, y + 18 * i + 13, 'not measured', 'soft small')
                continue
            svg.rect(left, y + 18 * i + 1, scale(value) - left, 15, f'bar f{i % 6}',
                     f'{name}, {names[i]}: {number(value)}')
            svg.text(scale(value) + 6, y + 18 * i + 13, number(value), 'soft small')
    svg.text(left, height - 8, unit, 'soft small')
    return svg.done()


def dots(title, rows, label):
    """Ratios to the base line. rows: [(name, summary or None, effect, text)], a summary as of verdict.summary()."""
    height = 92 + 24 * len(rows)
    widest = max((len(name) for name, *_ in rows), default=0)
    left, right = min(20 + widest * 7, 300), WIDTH - 190
    svg = Svg(height, title, f'{label}: ' + ', '.join(f'{name}: {text}' for name, _, _, text in rows))
    known = [ratio for _, ratio, _, _ in rows if ratio]
    low = min([0.9] + [ratio['min'] for ratio in known])
    high = max([1.1] + [ratio['max'] for ratio in known])
    scale = Scale(max(low - 0.02, 0.3), min(high + 0.02, 2.5), left, right)
    bottom = 44 + 24 * len(rows)
    for tick in scale.ticks():
        svg.line(scale(tick), 36, scale(tick), bottom, 'axis' if abs(tick - 1) < 1e-9 else 'grid')
        svg.text(scale(tick), bottom + 16, f'{tick:.2f}', 'soft small mid')
    for (name, ratio, effect, text), y in zip(rows, range(52, height, 24)):
        svg.text(left - 8, y + 4, name, 'end small')
        if ratio:
            clip = lambda value: scale(min(max(value, 0.3), 2.5))  # noqa: E731
            svg.line(clip(ratio['min']), y, clip(ratio['max']), y, 'spread')
            svg.add(f'<circle class="{effect}" cx="{clip(ratio["median"]):.1f}" cy="{y}" r="5">'
                    f'<title>{escape(name)}: {ratio["median"]:.3f}</title></circle>')
        svg.text(right + 10, y + 4, text, 'small' if effect in ('better', 'worse') else 'soft small')
    svg.text((left + right) / 2, height - 8, label, 'soft small mid')
    return svg.done()


def table(title, columns, rows):
    """A table of colours. columns: names; rows: [(name, [(effect, ratio or None, text)])]."""
    left = min(20 + max((len(name) for name, _ in rows), default=0) * 6.6, 260)
    cell = min(max((WIDTH - left) / max(len(columns), 1), 17), 60)
    width = int(max(WIDTH, left + cell * len(columns) + 4))
    top = 40 + 6.4 * max((len(column) for column in columns), default=0)
    height = int(top + 20 * len(rows) + 34)
    svg = Svg(height, title, 'Each row against its base line; columns are workloads: ' + ', '.join(columns), width)
    for i, column in enumerate(columns):
        x, y = left + cell * (i + 0.5) + 4, top - 6
        svg.add(f'<text class="small soft" transform="translate({x:.1f} {y:.1f}) rotate(-90)">{escape(column)}</text>')
    for (name, cells), y in zip(rows, range(int(top), height, 20)):
        svg.text(left - 8, y + 14, name, 'end small')
        for i, (effect, ratio, text) in enumerate(cells):
            # Clear ones are clearly seen.
            strength = min(0.35 + abs((ratio or 1) - 1) * 3, 1) if effect in ('better', 'worse') else 0.25
            svg.add(f'<rect x="{left + cell * i + 1:.1f}" y="{y + 1}" width="{cell - 2:.1f}" height="18" '
                    f'class="{effect}" '
                    f'fill-opacity="{strength:.2f}"><title>{escape(f"{name}, {columns[i]}: {text}")}</title></rect>')
            if ratio and cell >= 30 and effect in ('better', 'worse'):
                svg.text(left + cell * (i + 0.5), y + 14, f'{100 * (ratio - 1):+.0f}',
                         'small mid on' if strength > 0.6 else 'small mid')
    x = left
    for effect, text in (('better', 'better'), ('worse', 'worse'), ('none', 'no difference'),
                         ('unknown', 'no verdict')):
        svg.rect(x, height - 22, 12, 12, effect)
        svg.text(x + 17, height - 12, text, 'small soft')
        x += 40 + 7 * len(text)
    return svg.done()
