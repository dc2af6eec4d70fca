"""δ of tokens for basis-aware sampling, by scipy's linear programming (HiGHS) in the singular basis of numpy.

    python tests/reference/basis_aware.py            rewrites tests/reference/basis_aware.json
    python tests/reference/basis_aware.py --check    exits 1 when the committed file differs by more than a part in a million

δ_t = 1 − 1/σ* with the least σ for which a distribution p has p_t = 0, W_cᵀ p = W_cᵀ p̂ and p_i ≤ σ p̂_i; 1 where there is none.
Heads and logits come from a linear congruential generator, so that they need not be stored: values of twenty-four bits, the sum
of four of them for something like a normal number.
"""

import json
import pathlib
import sys

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

TARGET = pathlib.Path(__file__).with_suffix(".json")

# seed, tokens, width of the head, directions, scale of the logits, whether they come from the head, tokens asked (0: all)
CASES = [
    (1, 12, 4, 0, 1.0, True, 0),
    (2, 12, 4, 2, 1.0, True, 0),
    (3, 12, 4, 4, 2.0, True, 0),
    (4, 30, 8, 5, 1.5, True, 0),
    (5, 60, 16, 10, 2.0, True, 0),
    (6, 60, 16, 3, 3.0, False, 0),
    (7, 60, 64, 40, 1.0, True, 0),
    (8, 500, 32, 20, 1.5, True, 60),
    (9, 500, 32, 20, 3.0, False, 60),
    (10, 3000, 24, 20, 1.5, True, 12),
    (11, 3000, 24, 6, 2.0, False, 12),
]


def numbers(seed):
    state = seed
    while True:
        total = 0.0
        for _ in range(4):
            state = (1664525 * state + 1013904223) % 2**32
            total += (state >> 8) / 2**24 - 0.5
        yield total * 3**0.5


def case(seed, vocabulary, width, scale, of_head):
    stream = numbers(seed)
    # Columns of falling size about a common offset, as heads have them.
    offset = [next(stream) for _ in range(width)]
    head = np.array(
        [[(next(stream) + offset[at]) / (1 + at / 4) for at in range(width)] for _ in range(vocabulary)], np.float32
    )
    if of_head:
        hidden = np.array([next(stream) for _ in range(width)])
        logits = head.astype(float) @ hidden
        logits = logits * (scale / logits.std())
    else:
        logits = scale * np.array([next(stream) for _ in range(vocabulary)])
    return head, logits.astype(np.float32)


def delta(rows, p, token):
    if rows.shape[1] == 0:
        return p[token]
    others = np.arange(len(p)) != token
    spread = rows.std(axis=0)
    columns = np.hstack([np.ones((len(p), 1)), (rows - p @ rows) / np.where(spread > 0, spread, 1)])
    # The shares q_i = p_i / p̂_i lie in [0, σ]; the rows are divided by p̂_t.
    weights = p[others, None] / p[token] * columns[others]
    equal = np.hstack([weights.T, np.zeros((weights.shape[1], 1))])
    right = weights.sum(axis=0) + columns[token]
    count = weights.shape[0]
    bounds = sparse.hstack([sparse.identity(count), -np.ones((count, 1))], format="csr")
    least = linprog(
        np.append(np.zeros(count), 1.0),
        A_eq=equal,
        b_eq=right,
        A_ub=bounds,
        b_ub=np.zeros(count),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9},
    )
    if least.status == 2:
        return 1.0
    assert least.status == 0, least.message
    return 1 - 1 / least.x[-1]


def build():
    found = []
    for seed, vocabulary, width, directions, scale, of_head, asked in CASES:
        head, logits = case(seed, vocabulary, width, scale, of_head)
        wide = head.astype(float)
        rows = wide @ np.linalg.svd(wide, full_matrices=False)[2][:directions].T
        p = np.exp(logits.astype(float) - float(logits.max()))
        p /= p.sum()
        tokens = list(range(vocabulary))
        if asked:
            # Spread over the ranks, but for the first and the tail.
            order = np.argsort(-p, kind="stable")
            tokens = sorted(int(token) for token in order[np.linspace(3, vocabulary * 0.9, asked).astype(int)])
        found.append(
            {
                "seed": seed,
                "vocabulary": vocabulary,
                "width": width,
                "directions": directions,
                "scale": scale,
                "of_head": of_head,
                "first_logits": [float(z) for z in logits[:3]],
                "tokens": tokens,
                "delta": [float(f"{delta(rows, p, token):.10g}") for token in tokens],
            }
        )
        print(seed, found[-1]["delta"][:8], float(p.max()), file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    found = build()
    if "--check" in sys.argv:
        known = json.loads(TARGET.read_text())
        for a, b in zip(found, known, strict=True):
            same = {**a, "delta": 0, "first_logits": 0} == {**b, "delta": 0, "first_logits": 0}
            if not same or not np.allclose(a["delta"], b["delta"], rtol=1e-6, atol=0):
                sys.exit(f"{TARGET} differs in the case of seed {a['seed']}")
    else:
        lines = ",\n".join(json.dumps(one) for one in found)
        TARGET.write_text(f"[\n{lines}\n]\n")
