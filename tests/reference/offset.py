"""Parallel curves y_k(x) = f(x) + c_k by numpy, their F-test, bootstrap and frontier, and the bivariate control by scipy, for core/statistics/offset.rs.

    python tests/reference/offset.py > tests/reference/offset.json

The points are synthetic: the file checks arithmetic, not models. Written with numpy 2 and scipy 1.
"""

import json

import numpy as np
from scipy.optimize import least_squares, lsq_linear
from scipy.stats import f as f_distribution

BITS = [3, 4, 5, 8, 16]
DOCUMENTS, TOKENS = 40, 200.0


def hats(knots, u):
    i = np.clip(np.searchsorted(knots, u, side="right") - 1, 0, len(knots) - 2)
    t = (u - knots[i]) / (knots[i + 1] - knots[i])
    row = np.zeros(len(knots))
    row[i], row[i + 1] = 1 - t, t
    return row


def design(points):
    knots = np.array(sorted({np.log10(x) for curve, _, x in points if curve == len(BITS) - 1}))
    free = [k for k in range(len(BITS) - 1) if any(curve == k for curve, _, _ in points)]
    rows = [np.concatenate([hats(knots, np.log10(x)), [float(curve == k) for k in free]]) for curve, _, x in points]
    return knots, free, np.array(rows)


def slopes(points, rows, free):
    more = []
    for k in free:
        own = np.array([np.log10(x) if curve == k else np.nan for curve, _, x in points])
        more.append(np.where(np.isnan(own), 0.0, own - np.nanmean(own)))
    return np.column_stack([rows, *more])


def rss(rows, y):
    solved = np.linalg.lstsq(rows, y, rcond=None)[0]
    return solved, float(np.sum((y - rows @ solved) ** 2))


def control(points, y):
    x16 = {size: x for curve, size, x in points if curve == len(BITS) - 1}
    logs = np.array([np.log(x16[size]) for _, size, _ in points])
    logs -= logs.mean()
    bits = np.array([BITS[curve] for curve, _, _ in points], float)

    def linear(e):
        rows = np.column_stack([np.ones_like(logs), np.exp(-e[0] * logs), np.exp(e[2] * logs) * 2.0 ** (-e[1] * bits)])
        return rows @ lsq_linear(rows, y, bounds=(0, np.inf), method="bvls", tol=1e-15).x - y

    best = None
    for a in (0.1, 0.5, 1.5):
        for b in (0.3, 0.7, 1.5):
            for g in (-0.5, 0.0, 0.5):
                found = least_squares(linear, [a, b, g], bounds=([0, 0, -4], [4, 4, 4]), xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=2000)
                if best is None or found.cost < best.cost:
                    best = found
    return 2 * best.cost


def akaike(n, r, p):
    return n * np.log(r / n) + 2 * p


def frontier(points, y):
    ends = [[x for curve, _, x in points if curve == k] for k in range(len(BITS))]
    low, high = max(min(e) for e in ends), min(max(e) for e in ends)
    out = []
    for budget in np.geomspace(low, high, 9):
        heights = []
        for k in range(len(BITS)):
            own = sorted((size, x, v) for (curve, size, x), v in zip(points, y) if curve == k)
            inside = [
                v + (w - v) * np.log(budget / x) / np.log(z / x)
                for (s, x, v), (t, z, w) in zip(own, own[1:])
                if t == s + 1 and x * (1 - 1e-12) <= budget <= z * (1 + 1e-12)
            ]
            heights.append(inside[0] if inside else np.inf)
        order = np.argsort(heights, kind="stable")
        out.append([float(budget), int(order[0]), int(order[1]), float(heights[order[1]] - heights[order[0]])])
    return out


def case(name, random, offsets, bend, missing=()):
    """Documents are equally hard for all points, so that points are paired as real ones are."""
    points, sums = [], []
    hard = 0.3 * random.standard_normal(DOCUMENTS)
    for curve, bits in enumerate(BITS):
        for size, parameters in enumerate([1e5, 3e5, 1e6, 3e6]):
            if (bits, size) in missing:
                continue
            x = parameters * (0.3 * 16 + 0.7 * min(bits + 0.25, 16))
            u = np.log10(x)
            y = 3.4 - 0.5 * (u - 6) + 0.06 * (u - 6) ** 2 + offsets[curve] + bend[curve] * (u - 6.5)
            points.append((curve, size, x))
            sums.append(TOKENS * (y + hard + 0.02 * random.standard_normal(DOCUMENTS)))
    sums = np.array(sums)
    y = sums.mean(axis=1) / TOKENS
    knots, free, rows = design(points)
    solved, residual = rss(rows, y)
    full = slopes(points, rows, free)
    own = rss(full, y)[1]
    q, left = len(free), len(points) - full.shape[1]
    f = (residual - own) / q / (own / left)
    draws = []
    for _ in range(20000):
        drawn = random.integers(0, DOCUMENTS, DOCUMENTS)
        draws.append(np.linalg.lstsq(rows, sums[:, drawn].mean(axis=1) / TOKENS, rcond=None)[0][len(knots) :])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        "name": name,
        "bits": BITS,
        "points": [[c, s, x] for c, s, x in points],
        "sums": sums.tolist(),
        "weight": TOKENS,
        "heights": solved[: len(knots)].tolist(),
        "offsets": solved[len(knots) :].tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
        "residual": float(np.sqrt(residual / len(points))),
        "aic": float(akaike(len(points), residual, rows.shape[1])),
        "f": float(f),
        "freedom": [q, left],
        "probability": float(f_distribution.sf(f, q, left)),
        "control_aic": float(akaike(len(points), control(points, y), 6)),
        "frontier": frontier(points, y),
    }


def main():
    random = np.random.default_rng(5)
    flat = [0.0] * len(BITS)
    cases = [
        case("parallel", random, [0.09, -0.15, -0.11, -0.06, 0.0], flat),
        case("three bits bend", random, [0.09, -0.15, -0.11, -0.06, 0.0], [0.2, 0.0, 0.0, 0.0, 0.0]),
        case("a size is missing at four bits", random, [0.09, -0.15, -0.11, -0.06, 0.0], flat, {(4, 1)}),
    ]
    print(json.dumps({"cases": cases}))


main()
