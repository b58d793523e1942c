"""From slices to verdicts. Pure.

In each round the base line has its slice first, then the rows of its group; one more slice of the base line ends the
last round. A row's slice is divided by the mean of the two base slices around it, so that a machine that changes its
mood changes it for both. What two base slices differ by is noise: each is compared in the same way with its neighbours.
"""
import statistics

ROUNDS_MIN = 5  # the same sign by chance in all of 5 rounds: 1 in 16
ROUNDS_SETTLED = 3  # once rounds have been on both sides of 1 in so many, more of them do not change the verdict
METRICS = {  # name: (of a slice, what less of it means)
    'cpu': ('cpu_us', ('less CPU', 'more CPU')),
    'throughput': ('per_second', ('fewer requests/s', 'more requests/s')),
    'p50': ('p50', ('shorter p50', 'longer p50')),
    'p99': ('p99', ('shorter p99', 'longer p99')),
}
LESS_IS_BETTER = {'cpu': True, 'throughput': False, 'p50': True, 'p99': True}


def summary(values):
    """Median and spread; None when there is nothing to tell."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    quarters = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else [values[0]] * 3
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values), 'q1': quarters[0],
            'q3': quarters[2], 'n': len(values)}


def beside(bases, number):
    """The mean of the base slices around a round, or of the one that there is."""
    around = [value for value in bases[number:number + 2] if value is not None]
    return statistics.mean(around) if around else None


def ratios(bases, slices, key):
    """A row's slices against the base slices around each."""
    values = [slice_[key] for slice_ in bases]
    found = []
    for number, slice_ in enumerate(slices):
        base = beside(values, number)
        if slice_[key] is not None and base:
            found.append(slice_[key] / base)
    return found


def null_ratios(bases, key):
    """The base line against itself: each slice against the mean of its neighbours."""
    values = [slice_[key] for slice_ in bases]
    return [here / ((before + after) / 2) for before, here, after in zip(values, values[1:], values[2:])
            if before and here and after]


def noise(nulls):
    """What nine of ten base slices differ from their neighbours by, at most; None when there are too few to say."""
    distances = sorted(abs(ratio - 1) for ratio in nulls)
    if len(distances) < 3:
        return None
    return distances[min(len(distances) - 1, int(0.9 * len(distances)))]


def judge(metric, found, nulls):
    """{'ratio': summary, 'noise', 'effect': 'better', 'worse', 'none' or 'unknown', 'text'}"""
    ratio, level = summary(found), noise(nulls)
    verdict = {'ratio': ratio, 'noise': level, 'effect': 'unknown', 'text': 'no verdict: '}
    if not ratio:
        verdict['text'] += 'nothing was measured'
        return verdict
    both_sides = ratio['min'] < 1 < ratio['max']
    if level is None or ratio['n'] < (ROUNDS_SETTLED if both_sides else ROUNDS_MIN):
        verdict['text'] += 'too few rounds'
        return verdict
    change = ratio['median'] - 1
    one_side = ratio['max'] < 1 or ratio['min'] > 1
    if one_side and abs(change) > level:
        words = METRICS[metric][1][0 if change < 0 else 1]
        verdict['effect'] = 'better' if (change < 0) == LESS_IS_BETTER[metric] else 'worse'
        verdict['text'] = f'{abs(change):.1%} {words}'.replace('%', ' %')
    else:
        # What could still hide in it: the noise, or the spread of the rounds if that is larger.
        bound = max(level, abs(ratio['q1'] - 1), abs(ratio['q3'] - 1))
        verdict['effect'] = 'none'
        verdict['text'] = f'no difference beyond {bound:.1%}'.replace('%', ' %')
    return verdict


def open_rows(base, slices):
    """Of {name: slices so far}, the base line's among them, which rows may still have a verdict on CPU or on requests: all
    ratios of one of the two lie on one side of 1."""
    found = set()
    for name, own in slices.items():
        for key in ('cpu_us', 'per_second') if name != base else ():
            values = ratios(slices.get(base, []), own, key)
            if not values or min(values) > 1 or max(values) < 1:
                found.add(name)
    return found


def judge_row(bases, slices, nulls):
    """All verdicts of a row in a cell. nulls: {metric: ratios} of all base slices of the backend in this cell."""
    return {metric: judge(metric, ratios(bases, slices, key), nulls[metric])
            for metric, (key, _) in METRICS.items()}


def overall(effects):
    """Of a row in all cells: 'gains', 'costs', 'both', 'none' or 'unknown'."""
    seen = {effect for effect in effects if effect in ('better', 'worse')}
    if seen == {'better', 'worse'}:
        return 'both'
    if seen:
        return 'gains' if seen == {'better'} else 'costs'
    return 'none' if 'none' in effects else 'unknown'
