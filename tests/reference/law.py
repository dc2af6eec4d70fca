"""Laws y = floor + scale x^exponent by scipy, and a bootstrap of one in numpy, for core/statistics/law.rs.

    python tests/reference/law.py > tests/reference/law.json

The points are synthetic: the file checks arithmetic, not models. Written with numpy 2 and scipy 1.
"""

import json

import numpy as np
from scipy.optimize import least_squares


def fit(form, points):
    x, y = np.array(points).T

    def model(p):
        return p[0] + np.exp(p[1] + p[2] * np.log(x)) if form == "power-floor" else np.exp(p[0] + p[1] * np.log(x))

    def residual(p):
        return np.log(y) - np.log(model(p))

    best = None
    if form == "power":
        starts = [[np.log(y.mean()), s] for s in (-1.0, 0.5)]
        bounds = (-np.inf, np.inf)
    else:
        starts = [[f * y.min(), np.log(np.ptp(y) + 1e-9) - s * np.log(x.min()), s] for f in (0.01, 0.5, 0.9, 0.99) for s in (-0.1, -0.5, -1, 0.5)]
        bounds = ([0, -np.inf, -np.inf], np.inf)
    for start in starts:
        found = least_squares(residual, start, bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale="jac", max_nfev=20000)
        if best is None or found.cost < best.cost:
            best = found
    p = best.x if form == "power-floor" else np.concatenate([[0.0], best.x])
    return {"floor": float(p[0]), "scale": float(np.exp(p[1])), "exponent": float(p[2])}


def main():
    r = np.random.default_rng(1)
    n = np.array([1e5, 3e5, 1e6, 3e6, 1e7, 3e7])
    noisy = lambda y: y * np.exp(0.01 * r.standard_normal(len(y)))
    cases = []
    for name, form, x, y in [
        ("two points", "power", n[:2], np.array([3.0, 2.5])),
        ("a noisy power", "power", n, noisy(40 * n**-0.3)),
        ("a rising power", "power", np.array([0.3, 0.5, 0.7]), np.array([0.011, 0.07, 0.42])),
        ("a noisy floor", "power-floor", n, noisy(1.7 + 400 * n**-0.45)),
        ("a floor, three points", "power-floor", n[:3], 2.0 + 90 * n[:3] ** -0.4),
        ("a rising law with a floor", "power-floor", np.array([1.0, 2, 3, 5, 8]), noisy(3 + 0.2 * np.array([1.0, 2, 3, 5, 8]) ** 1.6)),
        ("a power that bends the wrong way has floor 0", "power-floor", np.array([1.0, 2, 4, 8, 16]), np.array([8.0, 5.0, 2.8, 1.2, 0.4])),
    ]:
        points = [[float(a), float(b)] for a, b in zip(x, y)]
        cases.append({"name": name, "form": form, "points": points, **fit(form, points)})

    # 40 documents of 100 tokens; every point is measured on the same documents.
    xs, weight = np.array([0.3, 0.4, 0.5, 0.6, 0.7]), 100.0
    hard = np.exp(0.4 * r.standard_normal(40))
    sums = np.array([weight * 0.5 * x**4 * hard * np.exp(0.2 * r.standard_normal(40)) for x in xs])
    slope = lambda y: np.polyfit(np.log(xs), np.log(y), 1)[0]
    draws = []
    for _ in range(20000):
        drawn = r.integers(0, 40, 40)
        draws.append(slope(sums[:, drawn].mean(axis=1) / weight))
    low, high = np.quantile(draws, [0.025, 0.975])
    interval = {"form": "power", "xs": xs.tolist(), "sums": sums.tolist(), "weight": weight, "exponent": float(slope(sums.mean(axis=1) / weight)), "low": float(low), "high": float(high)}
    print(json.dumps({"cases": cases, "interval": interval}, indent=1))


main()
