"""Whether a figure grows: lines through samples, with how far they can be trusted. Pure.

Samples that follow each other resemble each other, and there are fewer independent ones than samples. So the standard
error is widened by the residuals' correlation with their neighbours (AR(1): by the root of (1 + r) / (1 - r)).
"""
import math

T95 = ((1, 12.71), (2, 4.30), (3, 3.18), (4, 2.78), (5, 2.57), (7, 2.36), (10, 2.23), (15, 2.13), (20, 2.09),
       (30, 2.04), (60, 2.00))


def t95(freedom):
    """Student's t for 95 %, both sides; for the next lower number of degrees of freedom that is in the table."""
    found = math.inf if freedom < 1 else 1.96 if freedom > 1000 else 12.71
    for degrees, value in T95:
        if freedom >= degrees:
            found = value if freedom <= 1000 else 1.96
    return found


def slope(groups):
    """One slope for all groups, each with a level of its own. groups: [[(x, y)]]. Gives slope, low, high, of 95 %, the
    residuals' deviation and the number of samples; None where there are too few."""
    groups = [group for group in groups if len(group) >= 3]
    count = sum(len(group) for group in groups)
    freedom = count - len(groups) - 1
    if freedom < 3:
        return None
    xx = xy = 0.0
    centred = []
    for group in groups:
        mean_x = sum(x for x, _ in group) / len(group)
        mean_y = sum(y for _, y in group) / len(group)
        centred.append([(x - mean_x, y - mean_y) for x, y in group])
        xx += sum(x * x for x, _ in centred[-1])
        xy += sum(x * y for x, y in centred[-1])
    if xx == 0:
        return None
    rise = xy / xx
    residuals = [[y - rise * x for x, y in group] for group in centred]
    squares = sum(value * value for group in residuals for value in group)
    lagged = sum(a * b for group in residuals for a, b in zip(group, group[1:]))
    alike = min(max(lagged / squares, 0.0), 0.99) if squares > 0 else 0.0
    wide = math.sqrt((1 + alike) / (1 - alike))
    error = math.sqrt(squares / freedom / xx) * wide * t95(max(freedom / wide ** 2, 1))
    return {"slope": rise, "low": rise - error, "high": rise + error, "deviation": math.sqrt(squares / freedom),
            "correlation": alike, "samples": count, "groups": len(groups)}
