"""A matrix as two factors beside a remainder that alone is rounded, in numpy.

    python tests/reference/remainder.py            rewrites tests/reference/remainder.json
    python tests/reference/remainder.py --check    exits 1 when the committed file differs

Written with numpy 2. Rounding is to even codes of groups of a row, with a scale in half precision and a whole zero. The matrix is that of the expansion of a small decoder whose weights are drawn by a congruential
generator, as the tests' own. The file holds for every arm `like` that makes the factors and every `bits` of the rounding
  rows, cols   sums of the rows and columns of the product of the factors plus the rounded remainder
  lost         its squared distance from the matrix, and that of the matrix rounded without factors
"""

import json
import pathlib
import sys

import numpy as np
from lowrank import numbers

TARGET = pathlib.Path(__file__).with_suffix(".json")
ROWS, COLS, GROUP = 96, 64, 32


def expansion():
    """The seventh matrix that is drawn."""
    state = 11
    for shape in [(23, 64), (64, 64), (16, 64), (16, 64), (64, 64), (96, 64), (ROWS, COLS)]:
        values = np.empty(shape[0] * shape[1], dtype=np.float32)
        for at in range(values.size):
            state = (state * 1664525 + 1013904223) % 2**32
            values[at] = np.float32(0.2) * (np.float32(state >> 8) / np.float32(1 << 23) - np.float32(1.0))
    return values.reshape(ROWS, COLS).astype(np.float64)


def rounded(matrix, bits):
    """Each group of a row by the codes between its lowest and its highest number, zero among them."""
    groups, last = matrix.astype(np.float32).reshape(ROWS, -1, GROUP), np.float32(2**bits - 1)
    low = np.minimum(groups.min(2, keepdims=True), 0)
    scale = ((np.maximum(groups.max(2, keepdims=True), 0) - low) / last).astype(np.float16).astype(np.float32)
    zero = np.clip(-np.rint(low / scale), 0, last)
    return (scale * (np.clip(np.rint(groups / scale) + zero, 0, last) - zero)).reshape(ROWS, COLS).astype(np.float64)


def main():
    weight = expansion()
    u, s, v = np.linalg.svd(weight, full_matrices=False)
    cases = []
    for rank in (4, 16):
        product = (u[:, :rank] * s[:rank]) @ v[:rank]
        for bits in (3, 4):
            whole = product + rounded(weight - product, bits)
            alone = rounded(weight, bits)
            cases.append({
                "like": f"svd(rank={rank})", "bits": bits, "rows": numbers(whole.sum(1)), "cols": numbers(whole.sum(0)),
                "lost": numbers(np.array([((weight - whole) ** 2).sum(), ((weight - alone) ** 2).sum()])),
            })
    text = json.dumps({"group": GROUP, "cases": cases}, indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text else 1)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
