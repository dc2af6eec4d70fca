"""Merging of experts, computed apart from the Rust code: numpy in double precision, from the definitions of TIES (Yadav et al., 2023) and
DELLA (Deep et al., 2024), without their random draws.

    python tests/reference/merge.py            rewrites tests/reference/merge.json
    python tests/reference/merge.py --check    exits 1 when the committed file differs

Needs numpy. `experts` are whole numbers to be divided by `scale`, in rows of `columns`; the file holds
  ties           by density, of all weights together, not scaled
  probabilities  of DELLA by density and window, of the first expert
  agreed         of all experts with their weights, signs elected or not, times 1.1
"""

import json
import pathlib
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")
SCALE, ROWS, COLUMNS, WEIGHTS, FACTOR = 64, 6, 9, [1.0, 0.5, 2.0], 1.1


def ties(experts, density):
    flat = experts.reshape(len(experts), -1)
    keep = int(np.floor(density * flat.shape[1]))
    trimmed = np.zeros_like(flat)
    for expert, kept in zip(flat, trimmed):
        # Of equal magnitudes the later ones stay.
        order = np.argsort(np.abs(expert), kind="stable")[flat.shape[1] - keep :]
        kept[order] = expert[order]
    signs = np.sign(trimmed.sum(0))
    most = np.sign(signs.sum())
    signs[signs == 0] = most
    agree = (trimmed * signs > 0).astype(float)
    return (trimmed * agree).sum(0) / np.maximum(agree.sum(0), 1)


def probabilities(matrix, density, window):
    ranks = np.argsort(np.argsort(np.abs(matrix), axis=1, kind="stable"), axis=1, kind="stable")
    return density - window / 2 + window * ranks / (matrix.shape[1] - 1)


def agreed(experts, elect):
    weights = np.array(WEIGHTS)[:, None]
    flat = experts.reshape(len(experts), -1) * weights
    side = np.where(flat.sum(0) >= 0, 1.0, -1.0)
    agree = (np.sign(flat) == side) if elect else np.ones_like(flat, bool)
    total = (weights * agree).sum(0)
    return FACTOR * np.divide((flat * agree).sum(0), total, out=np.zeros_like(total), where=total > 0)


def main():
    random = np.random.default_rng(3)
    whole = random.integers(-200, 200, (3, ROWS, COLUMNS))
    experts = whole / SCALE
    keep = lambda values: [float(f"{value:.12g}") for value in np.ravel(values)]
    found = {
        "scale": SCALE,
        "columns": COLUMNS,
        "experts": [expert.ravel().tolist() for expert in whole],
        "ties": [[density, keep(ties(experts, density))] for density in (0.2, 0.5, 1.0)],
        "probabilities": [[d, w, keep(probabilities(experts[0], d, w))] for d, w in ((0.7, 0.14), (0.5, 0.4))],
        "weights": WEIGHTS,
        "agreed": [[elect, keep(agreed(experts, elect))] for elect in (True, False)],
    }
    text = json.dumps(found) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
