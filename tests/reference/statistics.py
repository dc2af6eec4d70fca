"""Intervals, tests and powers computed apart from the Rust code: scipy, and numpy where scipy has no such thing.

    python tests/reference/statistics.py            rewrites tests/reference/statistics.json
    python tests/reference/statistics.py --check    exits 1 when the committed file differs

Written with numpy 2 and scipy 1.17. The file holds one list of cases for each function; `resamples` says how many draws
stand behind the cases of `bootstrap`, whose ends agree with ours within Monte-Carlo error only.
"""

import json
import pathlib
import sys

import numpy as np
from scipy import integrate, optimize, stats
from scipy.stats import mstats

TARGET = pathlib.Path(__file__).with_suffix(".json")
RESAMPLES = 100_000
random = np.random.default_rng(2027)


def numbers(values, digits=6):
    """Rounded, so that the file is short and every reader starts from the same numbers."""
    return np.round(np.asarray(values, float), digits)


def student():
    cases = []
    for freedom in (1, 1.7, 2, 3, 7, 23, 63.4, 199, 999, 250_000):
        for t in (0.01, 0.7, 2.1, 4.5, 9.0, 38.0):
            cases.append({"t": t, "freedom": freedom, "tail": 2 * stats.t.sf(t, freedom)})
    quantiles = [
        {"p": p, "freedom": freedom, "t": stats.t.ppf(p, freedom)}
        for freedom in (1, 1.7, 2, 3, 7, 23, 63.4, 999)
        for p in (0.025, 0.6, 0.9, 0.975, 0.9995, 1 - 1e-6)
    ]
    return {"student_tail": cases, "student_quantile": quantiles}


def holm():
    cases = []
    for count in (1, 4, 12, 60):
        p = numbers(random.beta(0.3, 2.0, count), 9)
        order = np.argsort(p)
        steps = np.maximum.accumulate((count - np.arange(count)) * p[order]).clip(max=1)
        adjusted = np.empty(count)
        adjusted[order] = steps
        cases.append({"p": p.tolist(), "adjusted": adjusted.tolist()})
    return {"holm": cases}


def shares():
    mcnemar = [
        {"only_a": a, "only_b": b, "p": stats.binomtest(a, a + b, 0.5).pvalue}
        for a, b in ((0, 3), (1, 7), (12, 12), (30, 55), (200, 320), (4000, 4400))
    ]
    intervals = []
    for successes, trials in ((0, 10), (3, 10), (10, 10), (1, 400), (377, 400), (51_234, 100_000)):
        for level in (0.9, 0.95, 0.999):
            low, high = stats.binomtest(successes, trials).proportion_ci(level, "exact")
            intervals.append({"successes": successes, "trials": trials, "level": level, "low": low, "high": high})
    return {"mcnemar": mcnemar, "clopper_pearson": intervals}


def cr2(differences, weights):
    """Bell and McCaffrey's error and degrees by matrices, for the one coefficient of a weighted mean of cluster means.

    Each cluster is one observation `difference / weight` of variance `1 / weight` and regression weight `weight`.
    """
    y, w = differences / weights, weights
    x = np.ones((len(w), 1))
    v = np.diag(1 / w)  # working covariance
    bread = np.linalg.inv(x.T @ np.diag(w) @ x)
    value = (bread @ x.T @ (w * y)).item()
    residual_maker = np.eye(len(w)) - x @ bread @ x.T @ np.diag(w)
    covariance = residual_maker @ v @ residual_maker.T
    residuals = y - value
    # One row a cluster, so the adjustment is a number: it makes the expected square of the residual that of the error.
    adjust = np.sqrt(np.diag(v) / np.diag(covariance))
    factors = bread.item() * w * adjust
    error = np.sqrt(np.sum((factors * residuals) ** 2))
    middle = np.diag(factors) @ covariance @ np.diag(factors)
    freedom = np.trace(middle) ** 2 / np.trace(middle @ middle)
    return value, error, freedom


def clusters():
    cases = []
    for count in (3, 8, 24, 150):
        for kind in ("equal", "unequal", "heavy"):
            weights = {
                "equal": np.full(count, 255.0),
                "unequal": random.integers(1, 12, count) * 255.0,
                "heavy": np.ceil(random.pareto(1.2, count) * 3 + 1) * 255.0,
            }[kind]
            differences = numbers(weights * 0.01 + np.sqrt(weights) * random.standard_t(4, count))
            value, error, freedom = cr2(differences, weights)
            if kind == "equal":
                test = stats.ttest_1samp(differences, 0)
                assert np.isclose(freedom, count - 1) and np.isclose(value / error, test.statistic)
            cases.append(
                {
                    "differences": differences.tolist(),
                    "weights": weights.tolist(),
                    "value": value,
                    "error": error,
                    "freedom": freedom,
                    "p": 2 * stats.t.sf(abs(value / error), freedom),
                }
            )
    return {"clusters": cases}


def signs():
    cases = []
    for count, shift in ((3, 0.5), (8, 0.0), (11, 1.0)):
        d = numbers(random.normal(shift, 1, count))
        test = stats.permutation_test(
            (d,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        # scipy doubles the smaller tail, which is the share at least as far from zero, the law being symmetric.
        cases.append({"differences": d.tolist(), "p": test.pvalue, "kind": "exact"})
    d = numbers(random.normal(0.6, 1, 20))
    sums = np.zeros(1)
    for size in d:
        sums = np.concatenate([sums + size, sums - size])
    reach = abs(d.sum()) * (1 - 1e-12)
    cases.append({"differences": d.tolist(), "p": np.mean(np.abs(sums) >= reach), "kind": "exact"})
    for count, shift in ((40, 2.0), (300, 0.6)):
        d = np.round(random.normal(shift, 3, count))
        chance = np.ones(1)
        for size in np.abs(d).astype(int):
            step = np.zeros(size + 1)
            step[0] += 0.5
            step[-1] += 0.5
            chance = np.convolve(chance, step)
        least = int((abs(d.sum()) + np.abs(d).sum()) // 2)
        cases.append({"differences": d.tolist(), "p": min(1, 2 * chance[least:].sum()), "kind": "exact"})
        # The same made fine, so that no grid helps: a saddlepoint against 2e7 draws, or its own depth.
    for count, shift in ((24, 0.35), (24, 0.8), (60, 0.3), (400, 0.11)):
        fine = np.round(random.standard_t(3, count) * 50 + shift * 50).astype(int)
        chance = np.ones(1)
        for size in np.abs(fine):
            step = np.zeros(size + 1)
            step[0] += 0.5
            step[-1] += 0.5
            chance = np.convolve(chance, step)
        observed, whole = abs(fine.sum()), np.abs(fine).sum()
        p = min(1, 2 * chance[int((observed + whole) // 2) :].sum())
        # Divided by 64 they are no whole numbers, and the law stays the same.
        cases.append({"differences": (fine / 64).tolist(), "p": p, "kind": "saddlepoint"})
    return {"sign_flip": cases}


def times():
    cases = []
    for first, second, shift in ((5, 5, 0.1), (9, 7, 0.02), (10, 10, 0.05), (30, 24, 0.03), (101, 60, 0.0)):
        a = numbers(100 * np.exp(0.03 * random.standard_t(3, first)))
        b = numbers(100 * np.exp(shift + 0.03 * random.standard_t(3, second)))
        trim = 0.2 if min(first, second) >= 10 else 0.0
        assert (first >= 10) == (second >= 10)
        test = stats.ttest_ind(np.log(b), np.log(a), equal_var=False, trim=trim)
        cases.append({"a": a.tolist(), "b": b.tolist(), "statistic": test.statistic, "freedom": test.df, "p": test.pvalue})
    paired = []
    for count in (4, 9, 10, 33):
        a = numbers(100 * np.exp(0.2 * random.normal(size=count)))
        b = numbers(a * np.exp(0.01 + 0.02 * random.standard_t(3, count)))
        ratios = np.log(b / a)
        if count < 10:
            test = stats.ttest_1samp(ratios, 0)
            value, freedom, p = ratios.mean(), count - 1, test.pvalue
        else:
            cut = int(0.2 * count)
            left = count - 2 * cut
            wins = np.asarray(mstats.winsorize(ratios, limits=(0.2, 0.2)))
            value, freedom = stats.trim_mean(ratios, 0.2), left - 1
            error = np.sqrt(np.sum((wins - wins.mean()) ** 2) / (left * (left - 1)))
            p = 2 * stats.t.sf(abs(value / error), freedom)
        paired.append({"a": a.tolist(), "b": b.tolist(), "value": value, "freedom": freedom, "p": p})
    return {"times": cases, "rounds": paired}


def powers():
    cases = []
    for freedom in (2, 5, 11.5, 23, 199):
        for alpha in (0.05, 0.01, 5e-5):
            critical = stats.t.isf(alpha / 2, freedom)

            def power(distance):
                # Given the estimated standard error, the value is normal; scipy's nct is NaN far out.
                def given(u):
                    edge = critical * stats.chi.ppf(u, freedom) / np.sqrt(freedom)
                    return stats.norm.sf(edge - distance) + stats.norm.cdf(-edge - distance)

                return integrate.quad(given, 0, 1, limit=500, epsabs=1e-9, epsrel=1e-9)[0]

            root = optimize.brentq(lambda x: power(x) - 0.8, critical * 0.5, critical * 3, xtol=1e-8)
            known = stats.nct.sf(critical, freedom, root) + stats.nct.cdf(-critical, freedom, root)
            assert np.isnan(known) or abs(known - 0.8) < 1e-7, (known, freedom, alpha)
            cases.append({"freedom": freedom, "alpha": alpha, "distance": root})
    return {"detectable": cases}


def mcnemar_power():
    """The power of the exact test over all counts of discordant items."""
    cases = []
    for items, discordant, difference, alpha in ((200, 0.2, 0.1, 0.05), (500, 0.1, 0.04, 0.01), (900, 0.08, 0.03, 0.05)):
        k = np.arange(items + 1)
        toward = 0.5 * (1 + difference / discordant)
        power = 0.0
        for count, chance in zip(k, stats.binom.pmf(k, items, discordant)):
            sides = np.arange(count + 1)
            tails = 2 * stats.binom.cdf(np.minimum(sides, count - sides), count, 0.5)
            power += chance * stats.binom.pmf(sides, count, toward)[tails <= alpha].sum()
        cases.append(
            {"items": items, "discordant": discordant, "difference": difference, "alpha": alpha, "power": power}
        )
    return {"mcnemar_power": cases}


def bootstraps():
    def ratio(sums, weights, axis=-1):
        return np.sum(sums, axis=axis) / np.sum(weights, axis=axis)

    cases = []
    for count in (12, 40):
        weights = random.integers(1, 9, count) * 255.0
        a = numbers(weights * (2 + 0.2 * random.normal(size=count)), 3)
        b = numbers(a + weights * (0.03 + 0.02 * random.standard_exponential(count)), 3)

        def difference(x, y, w, axis=-1):
            return np.exp(ratio(y, w, axis)) - np.exp(ratio(x, w, axis))

        for method, flavour in (("percentile", "percentile"), ("BCa", "bca")):
            options = {"paired": True, "vectorized": True, "method": method, "n_resamples": RESAMPLES, "batch": 10_000}
            one = stats.bootstrap((a, weights), ratio, **options, rng=np.random.default_rng(1)).confidence_interval
            two = stats.bootstrap((a, b, weights), difference, **options, rng=np.random.default_rng(2)).confidence_interval
            cases.append(
                {
                    "flavour": flavour,
                    "a": a.tolist(),
                    "b": b.tolist(),
                    "weights": weights.tolist(),
                    "ratio": [one.low, one.high],
                    "difference": [two.low, two.high],
                }
            )
    a = numbers(100 + 3 * random.normal(size=31), 3)
    b = numbers(104 + 3 * random.normal(size=25), 3)

    def medians(x, y, axis=-1):
        return np.median(y, axis=axis) / np.median(x, axis=axis) - 1

    found = stats.bootstrap(
        (a, b), medians, vectorized=True, method="percentile", n_resamples=RESAMPLES, batch=10_000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    medians_case = {"a": a.tolist(), "b": b.tolist(), "relative": [found.low, found.high]}
    return {"resamples": RESAMPLES, "bootstrap": cases, "medians": medians_case}


def kolmogorov():
    tails = [{"x": x, "tail": stats.kstwobign.sf(x)} for x in (0.3, 0.6, 0.99, 1.0, 1.36, 2.0, 2.7, 4.0)]
    apart = [
        {"numbers": values.tolist(), "distance": stats.kstest(values, "uniform").statistic}
        for values in (numbers(random.uniform(size=40)), numbers(random.beta(2, 1, 300)))
    ]
    return {"kolmogorov_tail": tails, "uniform_distance": apart}


def main():
    document = {}
    for part in (student, holm, shares, clusters, signs, times, powers, mcnemar_power, bootstraps, kolmogorov):
        document.update(part())
    plain = json.dumps(document, default=float)
    lines = json.dumps(json.loads(plain), indent=None, separators=(", ", ": "))
    text = lines.replace('}, {', '},\n{').replace('], "', '],\n"') + "\n"
    if "--check" in sys.argv:
        same = TARGET.read_text() == text
        print("the same" if same else f"{TARGET} differs")
        sys.exit(0 if same else 1)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
