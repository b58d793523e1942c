"""A strict reader of metrics: the text format 0.0.4 of Prometheus, and OpenMetrics 1.0.0. Whatever is not as it must be
raises Malformed."""
import math
import re

from client import Malformed

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
SAMPLE = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-][0-9]+)?")
HELP_ESCAPES = {False: re.compile(r"(?:[^\\]|\\[\\n])+"), True: re.compile(r'(?:[^\\"]|\\[\\"n])+')}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}


class Family:
    def __init__(self, name, kind):
        self.name, self.kind = name, kind
        self.samples = []  # (name, {label: value}, value) as they come


def labels_of(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            raise Malformed(f"labels {text!r}")
        if match[1] in labels:
            raise Malformed(f"two labels {match[1]}")
        labels[match[1]] = re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], match[2])
        at = match.end()
        if match[3] == "," and at == len(text):
            raise Malformed(f"labels end with a comma: {text!r}")
    if not labels:
        raise Malformed("braces without labels")
    return labels


def check_histogram(family):
    """Buckets in their order, cumulative, the last one without an end; a sum and a count. One series in a family."""
    buckets = [(labels, value) for name, labels, value in family.samples if name.endswith("_bucket")]
    rest = [(name, labels) for name, labels, _ in family.samples if not name.endswith("_bucket")]
    if rest != [(family.name + "_sum", {}), (family.name + "_count", {})]:
        raise Malformed(f"{family.name}: {rest}")
    ends = [float(labels["le"]) for labels, _ in buckets if set(labels) == {"le"}]
    if len(ends) != len(buckets) or ends != sorted(set(ends)) or not ends or ends[-1] != math.inf:
        raise Malformed(f"{family.name}: buckets end at {ends}")
    counts = [value for _, value in buckets]
    if counts != sorted(counts) or counts[-1] != family.samples[-1][2]:
        raise Malformed(f"{family.name}: {counts} of {family.samples[-1][2]}")
    if counts[-1] == 0 and family.samples[-2][2] != 0:
        raise Malformed(f"{family.name}: a sum of nothing")


def read(text, openmetrics=False):
    """{name: Family}, by the family's name without suffix, in the order of the text."""
    if not text.endswith("\n"):
        raise Malformed("the last line has no end")
    lines = text[:-1].split("\n")
    if openmetrics and lines.pop() != "# EOF":
        raise Malformed("no # EOF at the end")
    families, seen, family, helped = {}, set(), None, None
    for line in lines:
        word = line.split(" ")
        if line.startswith("# HELP "):
            if family and not family.samples:
                raise Malformed(f"{family.name} has no samples")
            helped, family = word[2], None
            if not NAME.fullmatch(helped) or not HELP_ESCAPES[openmetrics].fullmatch(line.split(" ", 3)[3]):
                raise Malformed(line)
        elif line.startswith("# TYPE "):
            if helped != word[2] or len(word) != 4 or word[3] not in SUFFIXES:
                raise Malformed(line)
            name, kind = word[2], word[3]
            if not openmetrics:
                if kind == "info" or (kind == "counter") != name.endswith("_total"):
                    raise Malformed(line)
                if kind == "gauge" and name.endswith("_info"):
                    kind = "info"
                name = name.removesuffix("_total" if kind == "counter" else "_info" if kind == "info" else "")
            elif name.endswith(("_total", "_info", "_bucket", "_count", "_sum", "_created")):
                raise Malformed(line)
            if name in families:
                raise Malformed(f"{name} comes twice")
            family = families[name] = Family(name, kind)
            helped = None
        else:
            match = SAMPLE.fullmatch(line)
            if not match or not family:
                raise Malformed(f"no sample, or of no family: {line!r}")
            if match[1] not in [family.name + suffix for suffix in SUFFIXES[family.kind]]:
                raise Malformed(f"{match[1]} in the family {family.name}")
            if not NUMBER.fullmatch(match[3]):
                raise Malformed(line)
            labels = labels_of(match[2]) if match[2] is not None else {}
            key = (match[1], tuple(sorted(labels.items())))
            if key in seen:
                raise Malformed(f"twice: {line}")
            seen.add(key)
            value = float(match[3])
            if value < 0 or (family.kind == "info" and value != 1):
                raise Malformed(line)
            family.samples.append((match[1], labels, value))
    for one in families.values():
        if not one.samples:
            raise Malformed(f"{one.name} has no samples")
        if one.kind == "histogram":
            check_histogram(one)
    return families


class Scrape:
    """What was read once."""

    def __init__(self, text, openmetrics=False):
        self.families = read(text, openmetrics)

    def get(self, name, **labels):
        """The value of the sample of this name, with these labels and no others; several: a KeyError."""
        family = self.families[re.sub("_(total|info|bucket|sum|count)$", "", name)]
        found = [value for one, its, value in family.samples if one == name and its == labels]
        if len(found) != 1:
            raise KeyError(f"{name} {labels}")
        return found[0]

    def all(self, name):
        """{labels: value} of a family's samples of this name, labels as a tuple of their values."""
        family = self.families[re.sub("_(total|info|bucket|sum|count)$", "", name)]
        return {tuple(its.values()): value for one, its, value in family.samples if one == name}

    def names(self):
        """{sample's name: its labels' names}"""
        return {name: set(labels) for family in self.families.values() for name, labels, _ in family.samples}

    def only_grew(self, before):
        """What counts has not gone back since."""
        for family in self.families.values():
            if family.kind not in ("counter", "histogram"):
                continue
            old = {(name, tuple(labels.items())): value for name, labels, value in before.families[family.name].samples}
            for name, labels, value in family.samples:
                if value < old[name, tuple(labels.items())]:
                    raise Malformed(f"{name} {labels} fell from {old[name, tuple(labels.items())]} to {value}")
