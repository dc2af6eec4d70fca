"""Channels that parts of blocks read, what models that read no others compute, and the least copies of small graphs, in torch and numpy on a model of transformers.

    python tests/reference/upscale.py            rewrites tests/reference/upscale.json
    python tests/reference/upscale.py --check    exits 1 when the committed file differs

Written with torch 2 and transformers 4, in f64. The model is that of `width.py`. What is not read is zeroed in the columns of a model of the full width and in its own order, so that the
logits owe nothing to how columns are taken or ordered. The file holds under `arms`, for every arm
  parts     channels that attention and that the feed-forward part of each block reads
  before    parts that would copy in the order of the whole model, and the channels they would copy
  logits    of the last token of the first window
and under `graphs` small sets of consumers with the least number of them that any order of their channels makes copy, found by trying all orders.
"""

import itertools
import json
import pathlib
import sys

import numpy as np
import torch

from width import HIDDEN, LAYERS, WINDOWS, close, model, weights

TARGET = pathlib.Path(__file__).with_suffix(".json")
READERS = [(0, 1, 2), (4, 5)]

GRAPHS = [
    [[0, 1], [1, 2], [0, 2, 3]],
    [[0, 2], [1, 2, 3]],
    [[0, 3], [1, 2], [2, 4, 5]],
    [[0, 2, 4], [4, 5, 6], [1, 6], [0, 2], [2, 4]],
    [[0, 1, 3, 6], [2, 3, 5], [1, 2, 4, 6]],
    [[0, 5], [1, 4], [2, 3], [0, 1, 2, 3, 4, 5]],
    [[0, 2, 4], [1, 3, 5], [0, 1], [2, 3], [4, 5]],
    [[6, 0], [6, 1], [6, 2]],
]


def columns(made):
    """Of each consumer the columns of its maps on top of each other, (rows, HIDDEN)."""
    return [np.concatenate([weights(made, block)[at].detach().numpy() for at in maps]) for block in range(LAYERS) for maps in READERS]


def scores(matrix, score):
    if score == "l1":
        return np.abs(matrix).sum(0)
    lengths = np.linalg.norm(matrix, axis=0)
    if score == "l2":
        return lengths
    squares = lengths**2
    return np.array([square / squares[squares >= square].sum() for square in squares])


def without_lowest(values, count):
    return sorted(np.argsort(values, kind="stable")[count:].tolist())


def kept(made, amount, score, scope, constrained):
    own = columns(made)
    if constrained:
        return [without_lowest(scores(np.concatenate(own), score), int(amount * HIDDEN))] * len(own)
    found = [scores(matrix, score) for matrix in own]
    if scope == "segment":
        return [without_lowest(values, int(amount * HIDDEN)) for values in found]
    entries = [(value, at, channel) for at, values in enumerate(found) for channel, value in enumerate(values) if channel != int(np.argmax(values))]
    gone = {(at, channel) for _, at, channel in sorted(entries)[: int(amount * HIDDEN * len(found))]}
    return [[channel for channel in range(HIDDEN) if (at, channel) not in gone] for at in range(len(found))]


def side_by_side(channels):
    return max(channels) - min(channels) + 1 == len(channels)


def logits(sets):
    made = model()
    with torch.no_grad():
        for at, channels in enumerate(sets):
            gone = [channel for channel in range(HIDDEN) if channel not in channels]
            for map_at in READERS[at % 2]:
                weights(made, at // 2)[map_at][:, gone] = 0
        return made(torch.tensor([WINDOWS[0]])).logits[0, -1].tolist()


def least(consumers):
    """The fewest consumers that some order of the channels leaves without neighbours."""
    channels = sorted(set().union(*consumers))
    best = len(consumers)
    for order in itertools.permutations(range(len(channels))):
        places = dict(zip(channels, order))
        best = min(best, sum(not side_by_side([places[channel] for channel in consumer]) for consumer in consumers))
    return best


def main():
    made = model()
    arms = {}
    for amount in (0.25, 0.6):
        for score in ("l1", "l2", "lamp"):
            for scope in ("segment", "global"):
                arms[f"upscale(amount={amount}, score={score}, scope={scope})"] = kept(made, amount, score, scope, False)
            arms[f"upscale(amount={amount}, score={score}, constrained=true)"] = kept(made, amount, score, None, True)
    found = {}
    for arm, sets in arms.items():
        copied = [channels for channels in sets if not side_by_side(channels)]
        found[arm] = {
            "parts": [sets[2 * block : 2 * block + 2] for block in range(LAYERS)],
            "before": [len(copied), sum(map(len, copied))],
            "logits": logits(sets),
        }
    graphs = [{"consumers": consumers, "copies": least(consumers)} for consumers in GRAPHS]
    text = json.dumps({"arms": found, "graphs": graphs}, indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if close(json.loads(TARGET.read_text()), json.loads(text)) else 1)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
