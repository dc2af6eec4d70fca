"""What queries look at, and from how far, by methods that mask or remap; and attention by them. Numpy only.

    python -P tests/reference/reach.py            rewrites tests/reference/reach.json
    python -P tests/reference/reach.py --check    exits 1 when the committed file differs

Every method is a function of one query and one key at a time, written from its paper's definition, that gives the distance at which the
key is seen, or None. `rows` has one row a query and one distance a key up to the query. `attention` is a single row of attention that tells
the methods apart: one head of two dimensions that turn by one radian a position, all queries and keys [1, 0], value `j` at key `j`, the
query at position 9. `choices` are rows of attention of four heads that choose among keys, two of keys, eight dimensions.
"""

import json
import math
import pathlib
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")


def sliding_window(i, j, trained, window=None):
    return i - j if i - j < (window or trained) else None


def streaming_llm(i, j, trained, sinks=4, window=None):
    window = window or trained - sinks
    # The cache before token i, as a list of the tokens it has kept.
    cache = list(range(i)) if i <= sinks + window else list(range(sinks)) + list(range(i - window, i))
    line = cache + [i]
    return line.index(i) - line.index(j) if j in line else None


def lm_infinite(i, j, trained, window=None, globals=10, limit=None):
    window = window or trained
    limit = limit or trained
    if i - j <= window - 1:
        return i - j
    return min(limit, i) if j < globals else None


def lm_infinite_top_k(i, j, trained, window=None, globals=10, limit=None, top_k=0, top_k_at=None, top_k_skip=0.125):
    seen = lm_infinite(i, j, trained, window, globals, limit)
    return min(top_k_at or min(limit or trained, trained), i) if seen is None and top_k else seen


def unlimiformer(i, j, trained, k=None, window=None, skip=0.5):
    window = window or trained // 2
    if i < trained or i - j < window:
        return i - j
    together = trained
    while together <= i:
        together *= 2
    return trained - 1 - math.floor(j * (trained - window) / together)


def self_extend(i, j, trained, group=8, window=None):
    if i - j < window:
        return i - j
    return i // group - j // group + window - window // group


def rerope(i, j, trained, window, leak=None, log_n=False):
    if i - j < window:
        return i - j
    return window if leak is None else window + (i - j - window) / leak


def dca(i, j, trained, chunk, limit, bound="paper"):
    a, b = i // chunk, j // chunk
    largest = limit - 1 if bound == "paper" else limit
    if a == b:
        query = i % chunk
    elif a == b + 1:
        query = min(i % chunk + chunk, largest)
    else:
        query = largest if bound == "paper" else min(2 * chunk - 1, limit)
    return query - j % chunk


def log_n(i, j, trained):
    return i - j


METHODS = {
    "sliding-window": sliding_window, "streaming-llm": streaming_llm, "lm-infinite": lm_infinite_top_k, "unlimiformer": unlimiformer,
    "self-extend": self_extend, "rerope": rerope, "dca": dca, "log-n": log_n,
}

CASES = [
    ("sliding-window", 16, 40, {"window": 7}),
    ("sliding-window", 16, 40, {}),
    ("streaming-llm", 16, 40, {"sinks": 3, "window": 6}),
    ("streaming-llm", 16, 40, {"sinks": 0, "window": 5}),
    ("streaming-llm", 16, 40, {}),
    ("lm-infinite", 4, 12, {"window": 4, "globals": 2, "limit": 4}),
    ("lm-infinite", 16, 40, {"window": 6, "globals": 3, "limit": 11}),
    ("lm-infinite", 16, 40, {"globals": 0}),
    ("lm-infinite", 16, 40, {"window": 6, "globals": 3, "limit": 11, "top_k": 4}),
    ("lm-infinite", 16, 40, {"window": 8, "globals": 2, "top_k": 3, "top_k_at": 9}),
    ("unlimiformer", 8, 70, {"k": 3, "window": 5}),
    ("unlimiformer", 16, 40, {}),
    ("self-extend", 16, 40, {"group": 4, "window": 8}),
    ("self-extend", 20, 36, {"group": 3, "window": 12}),
    ("rerope", 16, 40, {"window": 5}),
    ("rerope", 16, 40, {"window": 5, "leak": 2.5, "log_n": True}),
    ("dca", 16, 40, {"chunk": 6, "limit": 10}),
    ("dca", 16, 40, {"chunk": 6, "limit": 10, "bound": "code"}),
    ("dca", 16, 40, {"chunk": 4, "limit": 15, "bound": "code"}),
    ("log-n", 16, 40, {}),
]

ROW = [
    ("sliding-window", 10, {"window": 4}),
    ("streaming-llm", 10, {"sinks": 1, "window": 4}),
    ("lm-infinite", 4, {"window": 4, "globals": 1, "limit": 4}),
    ("self-extend", 10, {"group": 2, "window": 4}),
    ("rerope", 10, {"window": 4}),
    ("rerope", 10, {"window": 4, "log_n": True, "trained": 4}),
    ("rerope", 10, {"window": 4, "leak": 2.0}),
    ("dca", 16, {"chunk": 4, "limit": 6}),
    ("lm-infinite", 4, {"window": 4, "globals": 1, "limit": 4, "top_k": 2}),
    ("lm-infinite", 4, {"window": 4, "globals": 1, "limit": 4, "top_k": 9}),
    ("unlimiformer", 8, {"k": 3, "window": 4}),
]


def factor(i, trained, arm, log_n=False):
    return max(1.0, math.log(i + 1) / math.log(trained)) if log_n or arm == "log-n" else 1.0


def arm(name, given):
    if not given:
        return name
    said = lambda value: str(value).lower() if isinstance(value, bool) else value
    return f"{name}({', '.join(f'{key}={said(value)}' for key, value in given.items())})"


def chosen(name, i, trained, given):
    """How many keys are chosen, and the first key and the key behind the last that they are chosen from; none at all where nothing is."""
    if name == "unlimiformer" and i >= trained:
        window = given.get("window") or trained // 2
        return given.get("k") or trained - window, 0, i - window + 1
    if name == "lm-infinite" and given.get("top_k"):
        return given["top_k"], given.get("globals", 10), i - (given.get("window") or trained) + 1
    return 0, 0, 0


def choose(name, i, trained, given, scores):
    """The scores with those of keys that were not chosen gone: all are sorted, of equal ones the first key is chosen."""
    count, start, end = chosen(name, i, trained, given)
    order = sorted(range(start, max(start, end)), key=lambda j: (-scores[j], j))
    scores = np.array(scores)
    scores[order[count:]] = -np.inf
    return scores


def attention(name, trained, given, query=9):
    given = dict(given)
    trained = given.pop("trained", trained)
    distances = [METHODS[name](query, j, trained, **given) for j in range(query + 1)]
    sharp = factor(query, trained, name, given.get("log_n", False))
    scores = np.array([-np.inf if d is None else sharp * math.cos(d) / math.sqrt(2) for d in distances])
    scores = choose(name, query, trained, given, scores)
    weights = np.exp(scores - scores.max())
    return float(weights @ np.arange(query + 1) / weights.sum())


def numbers(count, phase):
    """Numbers that are easy to make anywhere."""
    i = np.arange(count)
    return (1.5 * np.sin(i * 0.731 + phase + 9.0 * np.cos(i * 0.017))).astype(np.float32).astype(np.float64)


def choices(name, trained, given, query, heads=4, kv_heads=2, d=8, base=10_000.0):
    """Attention of the query at a position, `(heads, d)`: keys turned backwards by their distance, the whole row of scores of every head."""
    q = numbers((query + 1) * heads * d, 0.3).reshape(query + 1, heads, d)[query]
    k = numbers((query + 1) * kv_heads * d, 0.5).reshape(query + 1, kv_heads, d)
    v = numbers((query + 1) * kv_heads * d, 0.7).reshape(query + 1, kv_heads, d)
    frequency = base ** (-2.0 * np.arange(d // 2) / d)
    out = np.zeros((heads, d))
    for head in range(heads):
        scores = np.full(query + 1, -np.inf)
        for j in range(query + 1):
            distance = METHODS[name](query, j, trained, **given)
            if distance is None:
                continue
            cos, sin = np.cos(distance * frequency), np.sin(distance * frequency)
            a, b = np.split(q[head], 2)
            turned = np.concatenate([a * cos - b * sin, b * cos + a * sin])
            scores[j] = turned @ k[j, head // (heads // kv_heads)] / math.sqrt(d)
        scores = choose(name, query, trained, given, scores)
        weights = np.exp(scores - scores.max())
        out[head] = weights @ v[:, head // (heads // kv_heads)] / weights.sum()
    return [round(float(value), 9) for value in out.reshape(-1)]


CHOICES = [
    ("lm-infinite", 16, {"window": 6, "globals": 3, "limit": 11, "top_k": 4}),
    ("lm-infinite", 16, {"window": 8, "globals": 2, "top_k": 3, "top_k_at": 9}),
    ("lm-infinite", 16, {"window": 6, "globals": 0, "top_k": 100}),
    ("unlimiformer", 8, {"k": 3, "window": 5}),
    ("unlimiformer", 16, {}),
]


def main():
    rows = [
        {
            "arm": arm(name, given), "trained": trained, "length": length,
            "rows": [[METHODS[name](i, j, trained, **given) for j in range(i + 1)] for i in range(length)],
            "factors": [factor(i, trained, name, given.get("log_n", False)) for i in range(length)],
        }
        for name, trained, length, given in CASES
    ]
    outs = [{"arm": arm(n, g), "trained": int(t), "out": attention(n, t, g)} for n, t, g in ROW]
    chosen = [
        {"arm": arm(n, g), "trained": t, "query": query, "out": choices(n, t, g, query)}
        for n, t, g in CHOICES for query in (17, 40, 99)
    ]
    text = json.dumps({"rows": rows, "attention": outs, "choices": chosen}) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)


main()
