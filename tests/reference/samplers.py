"""Kept sets of truncation samplers as transformers cuts them, on random rows.

    python tests/reference/samplers.py            rewrites tests/reference/samplers.json
    python tests/reference/samplers.py --check    exits 1 when the committed file differs

Written with torch 2 and transformers 5 (f32 as they run it). Rows where a token lies so near to a threshold that f32 and f64
may part are left out of a case by drawing again: `MARGIN` in the quantity that is compared, computed here in f64.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from transformers.generation import logits_process as processors

TARGET = pathlib.Path(__file__).with_suffix(".json")
ROWS = 320
VOCABULARY = 64
MARGIN = 1e-5
random = np.random.default_rng(2028)


def softmax(row):
    weights = np.exp(row - row.max())
    return weights / weights.sum()


def entropy(p):
    return -(p * np.log(p)).sum()


def gap_to(values, threshold):
    return np.abs(values - threshold).min()


def gap_prefix(ordered, share):
    return np.abs(np.cumsum(ordered) - share).min()


def typical_order(p):
    shifted = np.abs(-np.log(p) - entropy(p))
    order = np.argsort(shifted, kind="stable")
    return p[order], np.diff(np.sort(shifted)).min()


def top_h_gap(row, share):
    p = np.sort(softmax(np.sort(row)[::-1][:100]))[::-1]
    terms = -p * np.log(p)
    return np.abs(np.cumsum(terms) - share * terms.sum()).min()


CASES = [
    ("top-k(k=7)", processors.TopKLogitsWarper(7), lambda z: np.diff(np.sort(z)).min()),
    ("top-p(p=0.9)", processors.TopPLogitsWarper(0.9), lambda z: gap_prefix(np.sort(softmax(z))[::-1], 0.9)),
    ("top-p(p=0.35)", processors.TopPLogitsWarper(0.35), lambda z: gap_prefix(np.sort(softmax(z))[::-1], 0.35)),
    ("min-p(p=0.1)", processors.MinPLogitsWarper(0.1), lambda z: gap_to(z - z.max(), np.log(0.1))),
    ("min-p(p=0.02)", processors.MinPLogitsWarper(0.02), lambda z: gap_to(z - z.max(), np.log(0.02))),
    ("epsilon(epsilon=0.01)", processors.EpsilonLogitsWarper(0.01), lambda z: gap_to(np.log(softmax(z)), np.log(0.01))),
    (
        "eta(epsilon=0.02)",
        processors.EtaLogitsWarper(0.02),
        lambda z: gap_to(
            np.log(softmax(z)), min(np.log(0.02), 0.5 * np.log(0.02) - entropy(softmax(z)))
        ),
    ),
    (
        "typical(tau=0.6)",
        processors.TypicalLogitsWarper(0.6),
        lambda z: min(gap_prefix(typical_order(softmax(z))[0], 0.6), typical_order(softmax(z))[1]),
    ),
    ("top-h(h=0.4)", processors.TopHLogitsWarper(0.4), lambda z: top_h_gap(z, 0.4)),
    (
        "temperature(t=1.5) | top-p(p=0.9)",
        processors.LogitsProcessorList([processors.TemperatureLogitsWarper(1.5), processors.TopPLogitsWarper(0.9)]),
        lambda z: gap_prefix(np.sort(softmax(z / 1.5))[::-1], 0.9),
    ),
]


def draw():
    """Rows from flat to peaked, as f32 numbers of few digits."""
    while True:
        row = (random.standard_normal(VOCABULARY) * random.uniform(0.3, 5.0)).astype(np.float32)
        row = np.array([float(f"{value:.5g}") for value in row], dtype=np.float32)
        wide = row.astype(np.float64)
        if all(gap(wide) > MARGIN for _, _, gap in CASES):
            return row


def main():
    rows = [draw() for _ in range(ROWS)]
    cases = []
    for text, warper, _ in CASES:
        kept = []
        for row in rows:
            scores = warper(torch.zeros((1, 1), dtype=torch.long), torch.from_numpy(row)[None].clone())
            kept.append([int(at) for at in torch.isfinite(scores[0]).nonzero()[:, 0]])
        cases.append({"chain": text, "kept": kept})
    text = json.dumps({"rows": [[float(f"{v:.5g}") for v in row] for row in rows], "cases": cases}, separators=(",", ":"))
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text + "\n")
    TARGET.write_text(text + "\n")


main()
