"""Caches that let keys go, computed apart from the Rust code: numpy from the definitions of H2O (Zhang et al., 2023) and SnapKV (Li et
al., 2024), with the whole matrix of probabilities, in double precision.

    python tests/reference/eviction.py            rewrites tests/reference/eviction.json
    python tests/reference/eviction.py --check    exits 1 when the committed file differs

Needs numpy. Keys, values and queries are whole numbers to be divided by `scale`, which is exact in f32. Of every run the file holds
what the method is set to, a prompt and tokens behind it, and
  outputs    the attention of the prompt and of each token, `(heads, head_dim)`
  kept       after the prompt and after each token, of each head of keys the positions that are held
"""

import json
import pathlib
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")
SCALE = 256


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def step(q, k, v, held, kv_heads):
    """Output `(heads, head_dim)` of one query over what each head of keys holds, and what those keys receive, head by head."""
    heads, width = q.shape
    group = heads // kv_heads
    out, received = np.zeros_like(q), [np.zeros(len(places)) for places in held]
    for head in range(heads):
        places = held[head // group]
        p = softmax(k[places, head // group] @ q[head] / np.sqrt(width))
        out[head] = p @ v[places, head // group]
        received[head // group] += p
    return out, received


def top(values, count):
    return sorted(sorted(range(len(values)), key=lambda j: (-values[j], j))[:count])


def pooled(values, kind, kernel):
    side = kernel // 2
    edge = 0.0 if kind == "avg" else -np.inf
    padded = np.concatenate([np.full(side, edge), values, np.full(side, edge)])
    windows = np.stack([padded[j : j + len(values)] for j in range(kernel)])
    return windows.mean(0) if kind == "avg" else windows.max(0)


def prompt_pass(q, k, v, prompt, kv_heads):
    """Outputs of a prompt, and what query `i` gives key `j`, summed over the query heads of each head of keys."""
    outputs, given = [], np.zeros((kv_heads, prompt, prompt))
    for i in range(prompt):
        out, received = step(q[i], k, v, [list(range(i + 1))] * kv_heads, kv_heads)
        outputs.append(out)
        for head in range(kv_heads):
            given[head, i, : i + 1] = received[head]
    return outputs, given


def h2o(q, k, v, prompt, kv_heads, heavy, recent):
    outputs, given = prompt_pass(q, k, v, prompt, kv_heads)
    held = [list(range(prompt)) for _ in range(kv_heads)]
    sums = [given[head].sum(0) for head in range(kv_heads)]

    def evict():
        for head in range(kv_heads):
            if len(held[head]) > heavy + recent:
                earlier = len(held[head]) - recent
                places = top(sums[head][:earlier], heavy) + list(range(earlier, len(held[head])))
                held[head], sums[head] = [held[head][place] for place in places], sums[head][places]

    evict()
    kept = [[list(places) for places in held]]
    for at in range(prompt, len(q)):
        for head in range(kv_heads):
            held[head], sums[head] = held[head] + [at], np.append(sums[head], 0.0)
        out, received = step(q[at], k, v, held, kv_heads)
        outputs.append(out)
        for head in range(kv_heads):
            sums[head] += received[head]
        evict()
        kept.append([list(places) for places in held])
    return outputs, kept


def snapkv(q, k, v, prompt, kv_heads, window, capacity, pooling, kernel):
    outputs, given = prompt_pass(q, k, v, prompt, kv_heads)
    held = [list(range(prompt)) for _ in range(kv_heads)]
    if prompt > capacity:
        for head in range(kv_heads):
            sums = given[head][prompt - window :, : prompt - window].sum(0)
            held[head] = top(pooled(sums, pooling, kernel), capacity - window) + list(range(prompt - window, prompt))
    kept = [[list(places) for places in held]]
    for at in range(prompt, len(q)):
        held = [places + [at] for places in held]
        out, _ = step(q[at], k, v, held, kv_heads)
        outputs.append(out)
        kept.append([list(places) for places in held])
    return outputs, kept


def run(generator, method, settings, prompt, behind, heads, kv_heads, width):
    total = prompt + behind
    whole = lambda of: generator.integers(-400, 401, (total, of, width))
    q, k, v = whole(heads), whole(kv_heads), whole(kv_heads)
    outputs, kept = method(*[x / SCALE for x in (q, k, v)], prompt, kv_heads, **settings)
    return {
        "method": method.__name__, **settings, "prompt": prompt, "heads": heads, "kv_heads": kv_heads, "head_dim": width,
        "q": q.ravel().tolist(), "k": k.ravel().tolist(), "v": v.ravel().tolist(),
        "outputs": [float(f"{x:.7g}") for x in np.concatenate(outputs).ravel()], "kept": kept,
    }


def worked():
    """Both worked examples by hand."""
    rows = [[1], [0.3, 0.7], [0.5, 0.1, 0.4], [0.2, 0.1, 0.3, 0.4]]
    sums = np.zeros(4)
    for row in rows:
        sums[: len(row)] += row
    assert np.allclose(sums, [2.0, 0.9, 0.7, 0.4]) and top(sums[:3], 1) + [3] == [0, 3]
    sums = np.array([0.1, 0, 0.6, 0, 0, 0.3, 0, 0])
    mean = pooled(sums, "avg", 3)
    assert np.allclose(mean, [0.033333, 0.233333, 0.2, 0.2, 0.1, 0.1, 0.1, 0], atol=1e-6)
    assert top(mean, 3) == [1, 2, 3] and top(sums, 3) == [0, 2, 5]


def make():
    worked()
    generator = np.random.default_rng(20230624)
    return {
        "scale": SCALE,
        "runs": [
            run(generator, h2o, {"heavy": 4, "recent": 4}, 21, 14, 4, 2, 8),
            run(generator, h2o, {"heavy": 6, "recent": 0}, 13, 9, 2, 1, 4),
            run(generator, h2o, {"heavy": 0, "recent": 5}, 12, 6, 2, 2, 8),
            run(generator, h2o, {"heavy": 8, "recent": 8}, 9, 15, 3, 3, 8),
            run(generator, h2o, {"heavy": 20, "recent": 12}, 80, 10, 4, 1, 16),
            run(generator, snapkv, {"window": 4, "capacity": 9, "pooling": "avg", "kernel": 3}, 22, 8, 4, 2, 8),
            run(generator, snapkv, {"window": 8, "capacity": 24, "pooling": "max", "kernel": 7}, 75, 6, 4, 4, 16),
            run(generator, snapkv, {"window": 1, "capacity": 5, "pooling": "avg", "kernel": 1}, 11, 6, 2, 1, 4),
            run(generator, snapkv, {"window": 4, "capacity": 12, "pooling": "avg", "kernel": 5}, 12, 7, 2, 1, 4),
        ],
    }


def main():
    text = json.dumps(make(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs")
    TARGET.write_text(text)


main()
