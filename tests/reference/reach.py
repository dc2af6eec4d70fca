"""What queries look at, and from how far, by methods that mask or remap; and attention by them. Numpy only.

    python -P tests/reference/reach.py            rewrites tests/reference/reach.json
    python -P tests/reference/reach.py --check    exits 1 when the committed file differs

Every method is a function of one query and one key at a time, written from its paper's definition, that gives the distance at which the
key is seen, or None. `rows` has one row a query and one distance a key up to the query. `attention` is a single row of attention that tells
the methods apart: one head of two dimensions that turn by one radian a position, all queries and keys [1, 0], value `j` at key `j`, the
query at position 9.
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
    "sliding-window": sliding_window, "streaming-llm": streaming_llm, "lm-infinite": lm_infinite,
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
]


def factor(i, trained, arm, log_n=False):
    return max(1.0, math.log(i + 1) / math.log(trained)) if log_n or arm == "log-n" else 1.0


def arm(name, given):
    if not given:
        return name
    said = lambda value: str(value).lower() if isinstance(value, bool) else value
    return f"{name}({', '.join(f'{key}={said(value)}' for key, value in given.items())})"


def attention(name, trained, given, query=9):
    given = dict(given)
    trained = given.pop("trained", trained)
    distances = [METHODS[name](query, j, trained, **given) for j in range(query + 1)]
    sharp = factor(query, trained, name, given.get("log_n", False))
    scores = np.array([-np.inf if d is None else sharp * math.cos(d) / math.sqrt(2) for d in distances])
    weights = np.exp(scores - scores.max())
    return float(weights @ np.arange(query + 1) / weights.sum())


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
    text = json.dumps({"rows": rows, "attention": outs}) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)


main()
