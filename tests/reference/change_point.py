"""Change points of committed series by the definition in METHODOLOGY.md, with scipy's Mann-Whitney test for every split.

    python3 tests/reference/change_point.py > tests/reference/change_point.json

Needs numpy and scipy. Every split of every stretch is tested by scipy.stats.mannwhitneyu (normal approximation, ties and
continuity corrected; exact where one side is small, with ties the smaller of the two), so neither the ranks nor the variance are computed as in the program.
"""

import json
import math

import numpy
from scipy import special, stats

SHORTEST = 3
DECAY = math.sqrt(0.5)
CLIP = 3.0
SMALL, CLEAR = 60, 2.5
LEVEL = 0.01


def stretches(count):
    found, share = [], 1.0
    while True:
        length = math.ceil(count * share)
        if length < 2 * SHORTEST or length > count:
            return found
        pieces = 2 * math.ceil(1 / share) - 1
        for piece in range(pieces):
            start = (count - length) * piece // max(pieces - 1, 1)
            if not found or found[-1] != (start, start + length):
                found.append((start, start + length))
        share *= DECAY


def best(values):
    """(at, score, probability) of the best split; None where all values are equal."""
    count = len(values)
    if count < 2 * SHORTEST or len(set(values)) == 1:
        return None
    found = None
    for at in range(SHORTEST, count - SHORTEST + 1):
        p = stats.mannwhitneyu(values[:at], values[at:], method="asymptotic", use_continuity=True).pvalue
        score = stats.norm.isf(p / 2)
        if found is None or score > found[1] + 1e-9:
            found = (at, score, p)
    at, score, p = found
    rarest = 2 / special.comb(count, at, exact=True)
    if min(at, count - at) <= SMALL and score > CLEAR:
        # With ties scipy takes the distribution without them at the rank sum with them.
        exact = stats.mannwhitneyu(values[:at], values[at:], method="exact").pvalue
        p = exact if len(set(values)) == count else min(exact, p)
    return at, score, max(p, rarest)


def located(values, at):
    """The split with the largest sum of squares between its sides, outliers drawn in."""
    x = numpy.asarray(values)
    low, high = sorted([numpy.median(x[:at]), numpy.median(x[at:])])
    fitted = numpy.where(numpy.arange(len(x)) < at, numpy.median(x[:at]), numpy.median(x[at:]))
    room = CLIP * 1.4826 * numpy.median(numpy.abs(x - fitted))
    x = numpy.clip(x, low - room, high + room)
    between = {
        k: k * (x[:k].mean() - x.mean()) ** 2 + (len(x) - k) * (x[k:].mean() - x.mean()) ** 2
        for k in range(SHORTEST, len(x) - SHORTEST + 1)
    }
    return max(between, key=between.get)


def change_points(values, level):
    looked = stretches(len(values))
    looks = sum(end - start - 2 * SHORTEST + 1 for start, end in looked)
    candidates = []
    for start, end in looked:
        split = best(values[start:end])
        if split and split[2] * looks <= level:
            candidates.append((split[2], -split[1], start, end, start + split[0]))
    places = []
    while candidates:
        _, _, _, _, at = min(candidates)
        places.append(at)
        candidates = [c for c in candidates if at <= c[2] or c[3] <= at]
    places.sort()
    kept = []
    for index in range(len(places)):
        start = kept[-1][0] if kept else 0
        end = places[index + 1] if index + 1 < len(places) else len(values)
        split = best(values[start:end])
        if split and split[2] * looks <= level:
            kept.append((start + located(values[start:end], split[0]), split[1], min(1.0, split[2] * looks)))
    ends = [0] + [k[0] for k in kept] + [len(values)]
    return [
        {
            "at": at,
            "score": score,
            "probability": probability,
            "before": float(numpy.median(values[ends[i] : ends[i + 1]])),
            "after": float(numpy.median(values[ends[i + 1] : ends[i + 2]])),
        }
        for i, (at, score, probability) in enumerate(kept)
    ]


def cases():
    rng = numpy.random.default_rng(20260301)
    noise = lambda n: rng.standard_normal(n)
    yield "stationary", 100 * (1 + 0.03 * noise(120))
    yield "one step", numpy.concatenate([100 * (1 + 0.03 * noise(90)), 106 * (1 + 0.03 * noise(70))])
    yield "a bump", numpy.concatenate([10 + 0.1 * noise(60), 10.5 + 0.1 * noise(24), 10 + 0.1 * noise(60)])
    yield "three levels", numpy.concatenate([5 + 0.2 * noise(40), 6 + 0.2 * noise(30), 4.5 + 0.2 * noise(50)])
    yield "outliers", numpy.concatenate([20 + 0.3 * rng.standard_t(2, 80), 21.5 + 0.3 * rng.standard_t(2, 50)])
    yield "ties", numpy.round(numpy.concatenate([8 + 0.8 * noise(50), 10 + 0.8 * noise(40)]))
    yield "few nights", numpy.concatenate([50 + 0.5 * noise(18), 47 + 0.5 * noise(7)])
    yield "short", numpy.array([1.0, 1.1, 0.9, 1.05, 2.0])
    yield "flat", numpy.full(30, 3.5)


def main():
    found = []
    for name, values in cases():
        values = [float(f"{value:.6g}") for value in values]
        found.append({"name": name, "values": values, "changes": change_points(values, LEVEL)})
    print(json.dumps({"level": LEVEL, "cases": found}))


main()
