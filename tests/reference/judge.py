"""Metrics of text computed apart from the Rust code: the MAUVE package, NLTK, scikit-learn and scipy where they have them,
else plain Python that counts everything the long way.

    python tests/reference/judge.py            rewrites tests/reference/judge.json
    python tests/reference/judge.py --check    exits 1 when the committed file differs

Written with numpy 2.4, scipy 1.17, scikit-learn 1.9, nltk 3.10, faiss-cpu 1.15 and mauve-text 0.4 (a program that is run for
its numbers). The embeddings are not in the file: both languages draw them from one seed (`splitmix`, sums of twelve uniform
numbers in place of normal ones, so that nothing depends on a logarithm's last digit).
"""

import json
import math
import pathlib
import re
import sys
from collections import Counter

import numpy as np
from mauve import compute_mauve
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from scipy import optimize, spatial, special, stats
from sklearn import decomposition, metrics, neighbors

TARGET = pathlib.Path(__file__).with_suffix(".json")
SEEDS = 100
MASK = 2**64 - 1


class Splitmix:
    """Steele, Lea and Flood (2014), 64 bits."""

    def __init__(self, seed):
        self.state = seed

    def bits(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def uniform(self):
        return (self.bits() >> 11) / 2.0**53

    def normal(self):
        total = 0.0
        for _ in range(12):
            total += self.uniform()
        return total - 6.0


def embeddings(seed, rows, dimension, clusters, skew, spread):
    """Two sets from one mixture of clusters; the second prefers early clusters (`skew` > 0: of two draws the lower is
    taken with that chance) and is scaled about the centres by `spread`."""
    random = Splitmix(seed)
    centres = [[2.0 * random.normal() for _ in range(dimension)] for _ in range(clusters)]

    def draw(skew, spread):
        values = []
        for _ in range(rows):
            cluster = int(random.uniform() * clusters)
            other = int(random.uniform() * clusters)
            if random.uniform() < skew:
                cluster = min(cluster, other)
            values.append([c + spread * random.normal() for c in centres[cluster]])
        return np.array(values, np.float32)

    return draw(0.0, 1.0), draw(skew, spread)


SETS = [
    {"seed": 1, "rows": 400, "dimension": 16, "clusters": 8, "skew": 0.0, "spread": 1.0},
    {"seed": 2, "rows": 400, "dimension": 16, "clusters": 8, "skew": 0.8, "spread": 1.0},
    {"seed": 3, "rows": 300, "dimension": 12, "clusters": 5, "skew": 0.9, "spread": 2.0},
]


def mauve():
    cases = []
    for shape in SETS:
        p, q = embeddings(**shape)
        runs = [compute_mauve(p_features=p, q_features=q, seed=seed, verbose=False) for seed in range(SEEDS)]
        one = runs[0]
        joined = np.vstack([q, p]).astype(np.float64)
        joined /= np.linalg.norm(joined, axis=1, keepdims=True)
        explained = decomposition.PCA().fit(joined).explained_variance_ratio_
        cases.append({
            "shape": shape,
            "first": [float(x) for x in p[0][:3]], "last": [float(x) for x in q[-1][-3:]],
            "mauve": float(np.mean([run.mauve for run in runs])),
            "mauve_sd": float(np.std([run.mauve for run in runs], ddof=1)),
            "mauve_star": float(np.mean([run.mauve_star for run in runs])),
            "frontier_integral": float(np.mean([run.frontier_integral for run in runs])),
            "frontier_integral_star": float(np.mean([run.frontier_integral_star for run in runs])),
            "components": int(np.argmax(np.cumsum(explained) >= 0.9) + 1),
            "explained": explained[:4].tolist(),
            "histograms": [
                {"p": np.round(run.p_hist * shape["rows"]).astype(int).tolist(),
                 "q": np.round(run.q_hist * shape["rows"]).astype(int).tolist(),
                 "mauve": float(run.mauve), "frontier_integral": float(run.frontier_integral),
                 "mauve_star": float(run.mauve_star), "frontier_integral_star": float(run.frontier_integral_star)}
                for run in (one, runs[1])
            ],
        })
    return cases


def manifold():
    cases = []
    for shape in SETS:
        real, generated = (half.astype(np.float64) for half in embeddings(**shape))
        for k in (1, 3, 5):
            def radii(points):
                return neighbors.NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]
            r, g = radii(real), radii(generated)
            between = spatial.distance.cdist(real, generated)
            inside = between <= r[:, None]
            pruned = r <= np.median(r)
            cases.append({
                "shape": shape, "k": k,
                "precision": float(inside.any(0).mean()), "recall": float((between <= g[None, :]).any(1).mean()),
                "density": float(inside.sum() / (k * len(generated))), "coverage": float(inside.any(1).mean()),
                "realism": (r[pruned, None] / between[pruned]).max(0)[:5].tolist(),
            })
        between = metrics.pairwise.cosine_similarity(generated, real)
        own = np.diag(between)
        cases[-1]["coherence"] = [own[:4].tolist(), ((between.sum(1) - own) / (len(own) - 1))[:4].tolist()]
    return cases


def grams(text, n):
    return [tuple(text[i:i + n]) for i in range(len(text) - n + 1)]


def texts():
    random = np.random.default_rng(11)
    weights = 1 / np.arange(1, 31)
    draws = [random.choice(30, size, p=weights / weights.sum()).tolist() for size in (40, 25, 25, 12, 60, 3, 1, 33)]
    draws[2] = draws[1][:20] + [29, 28, 27, 26, 25]
    draws.append([77, 78, 79, 80, 81])
    out = {"texts": draws, "bleu": [], "distinct": [], "rep": []}
    for longest in (1, 2, 4, 5):
        scores = [
            sentence_bleu(draws[:i] + draws[i + 1:], text, weights=[1 / longest] * longest,
                          smoothing_function=SmoothingFunction().method1)
            for i, text in enumerate(draws)
        ]
        out["bleu"].append({"longest": longest, "scores": [float(score) for score in scores]})
    for n in (1, 2, 3, 4):
        pooled = Counter(gram for text in draws for gram in grams(text, n))
        total = sum(pooled.values())
        possible = 100**n
        out["distinct"].append({
            "n": n, "unique": len(pooled), "total": total, "once": sum(c == 1 for c in pooled.values()),
            "possible": possible,
            "adjusted": float(len(pooled) / (possible * (1 - ((possible - 1) / possible) ** total))),
        })
        unique = sum(len(set(grams(text, n))) for text in draws)
        out["rep"].append({"n": n, "rep": 100 * (1 - unique / total)})
    out["within"] = [
        {"window": window, "rep": [sum(t in text[max(0, i - window):i] for i, t in enumerate(text)) / len(text)
                                   for text in draws]}
        for window in (1, 4, 16, 128)
    ]
    counts = np.array(sorted(Counter(t for text in draws for t in text).values(), reverse=True))
    ranks = np.arange(1, len(counts) + 1)
    line = stats.linregress(np.log(ranks), np.log(counts))

    def negative(s):
        return s * (counts * np.log(ranks)).sum() + counts.sum() * np.log((ranks ** -s).sum())

    best = optimize.minimize_scalar(negative, bounds=(0, 5), method="bounded", options={"xatol": 1e-12})
    out["zipf"] = {"counts": counts.tolist(), "exponent": -line.slope, "intercept": line.intercept,
                   "correlation": line.rvalue, "likelihood": float(best.x)}
    return out


def overlap():
    random = np.random.default_rng(5)
    cases = []
    for size in (60, 30, 6):
        rest = random.integers(0, 4, size).tolist()
        again = [(rest[: size // 2] + random.integers(0, 4, 20).tolist()), random.integers(0, 4, 45).tolist(),
                 random.integers(0, 4, 15).tolist() + rest]

        def share(text, n):
            own, other = Counter(grams(rest, n)), Counter(grams(text, n))
            return sum((own & other).values()) / max(1, sum(own.values()))

        paper = [sum(n * math.log(n) * share(text, n) for n in range(4, 26)) / len(text) for text in again]

        def place(text, first, weigh):
            found = [(weigh(n), share(text, n) / len(text)) for n in range(first, 25)]
            return sum(w * math.log(w) * s for w, s in found) / (sum(w for w, s in found if s > 0) + 1e-8)

        cases.append({
            "rest": rest, "again": again, "paper": float(np.mean(paper)),
            "repo2": float(np.mean([place(text, 3, lambda n: 2 * n - 1) for text in again])),
            "repo3": float(np.mean([place(text, 2, lambda n: 3 * n - 2) for text in again])),
        })
    scores = np.round(random.normal(0.8, 1, 60), 1), np.round(random.normal(0, 1, 250), 1)
    labels = np.r_[np.ones(60), np.zeros(250)]
    false, true, _ = metrics.roc_curve(labels, np.concatenate(scores), drop_intermediate=False)
    return {"cases": cases, "positives": scores[0].tolist(), "negatives": scores[1].tolist(),
            "area": float(metrics.roc_auc_score(labels, np.concatenate(scores))),
            "rates": [[rate, float(np.interp(rate, false, true))] for rate in (0.01, 0.05, 0.333)]}


def distributions():
    random = np.random.default_rng(3)
    cases = []
    for size in (2, 5, 40):
        p, q = random.dirichlet(np.full(size, 0.6)), random.dirichlet(np.full(size, 0.6))
        cases.append({
            "p": p.tolist(), "q": q.tolist(), "tv": float(np.abs(p - q).sum() / 2), "kl": float(stats.entropy(p, q)),
            "js": float(spatial.distance.jensenshannon(p, q) ** 2), "entropy": float(stats.entropy(p)),
            "hellinger": float(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / math.sqrt(2)),
        })
    zeta = [{"alpha": a, "most": n, "sum": math.fsum(k ** -a for k in range(1, n + 1))}
            for a in (0.3, 1.0, 1.0001, 1.7, 4.0) for n in (1, 2, 50, 20_000)]
    passes = [{"n": n, "c": c, "k": k, "pass": float(1 - special.comb(n - c, k, exact=True) / special.comb(n, k, exact=True))}
              for n, c, k in [(10, 3, 5), (200, 7, 100), (200, 199, 1), (200, 1, 50), (64, 0, 8), (5, 5, 5)]]
    return {"pairs": cases, "zeta": zeta, "pass": passes}


STRINGS = [
    "She has 23 - 15 = 8 dollars. The answer is 8.", "so 1,234.50 total.\n#### 1,234", "The answer is $1,000.",
    "I have 3 apples, 5.", "The answer is -7. Then 2 more", "The answer is 42. Q: next? The answer is 7.",
    "no idea", "The answer is 18", "#### -3\n#### 4.", "costs $$5,000,000... or so", "5...", "... then .5 and -.5", "The answer is 3.\n",
    "#### 12 apples. The answer is 12 apples", "minus -2-3", "#### $7",
]


def answers():
    """The regular expressions and clean-up of the gsm8k tasks, in Python's own engine."""
    def clean(text):
        for pattern in (",", r"\$", r"(?s).*#### ", r"\.$"):
            text = re.sub(pattern, "", text)
        return text.lower()

    def first(pattern, text):
        found = re.findall(pattern, text)
        return clean(found[0].strip()) if found else None

    def last(pattern, text):
        found = re.findall(pattern, text)
        return clean(next(group for group in found[-1] if group).strip()) if found else None

    return [{"text": text, "strict": first(r"#### (\-?[0-9\.\,]+)", text),
             "chain": first(r"The answer is (\-?[0-9\.\,]+).", text),
             "flexible": last(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)} for text in STRINGS]


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.13g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def main():
    found = {"seeds": SEEDS, "mauve": mauve(), "manifold": manifold(), "text": texts(), "overlap": overlap(),
             "distributions": distributions(), "answers": answers()}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(rounded(value), ensure_ascii=False)}" for key, value in found.items())
    text = "{" + lines + "}\n"
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs from what this machine computes")
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
