"""A model trained under a norm of what is to go, cut, and trained again, in torch on a model of transformers.

    python tests/reference/tuned.py            rewrites tests/reference/tuned.json
    python tests/reference/tuned.py --check    exits 1 when the committed file differs

Written with torch 2 and transformers 4, in f64, on the model and the windows of width.py; gradients are those of autograd, steps those of torch's AdamW. What
goes is zeroed in a model of the full widths. Its gradients are zero there, so that it stays so. The file holds for every arm of `dress`
  groups, channels   what stays of each block
  norms              of what goes, before the first step and before the last
  losses             of the first step, before the cut, behind it and at the end
  logits             of the last token of the first window
and under `factors` the loss of each step and such logits where factors of rank 2 beside every map are trained, their reading side drawn by a congruential
generator in the order of the maps.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from width import GROUPS, HEAD, INNER, LAYERS, MAPS, WIDTH, WINDOWS, by_block, close, inputs, model, weights, worth

TARGET = pathlib.Path(__file__).with_suffix(".json")
BATCH = 2
ARMS = {
    "select=magnitude, strength=0.01, norm=1": ("magnitude", 0.01, 1),
    "select=wanda, strength=0.05, norm=2": ("wanda", 0.05, 2),
    "select=wanda, strength=0, norm=1": ("wanda", 0.0, 1),
}


def loss_of(logits, ids):
    return cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def batch(step):
    return torch.tensor([WINDOWS[(BATCH * step + at) % len(WINDOWS)] for at in range(BATCH)])


def chosen(made, select):
    if select == "wanda":
        return by_block([(o.reshape(GROUPS, WIDTH).sum(1), down) for o, down in worth(made, inputs(made), "wifn")], 0.4)
    scores = []
    for block in range(LAYERS):
        q, k, v, o, gate, up, down = [np.abs(weight.detach().numpy()) for weight in weights(made, block)]
        of = lambda part: part.reshape(GROUPS, -1).sum(1)
        scores.append((of(q) + of(k) + of(v) + of(o.T), gate.sum(1) + up.sum(1) + down.sum(0)))
    return by_block(scores, 0.4)


def units(made, stays):
    """The pieces of the seven matrices that go with each unit that goes."""
    found = []
    for block, (groups, channels) in enumerate(stays):
        q, k, v, o, gate, up, down = weights(made, block)
        for at in set(range(GROUPS)) - set(groups):
            wide, thin = slice(at * WIDTH, (at + 1) * WIDTH), slice(at * HEAD, (at + 1) * HEAD)
            found.append([q[wide], k[thin], v[thin], o[:, wide]])
        for at in set(range(INNER)) - set(channels):
            found.append([gate[at], up[at], down[:, at]])
    return found


def norms(made, stays, power):
    return sum(torch.cat([piece.flatten() for piece in unit]).norm(power) for unit in units(made, stays))


def whole_loss(made):
    with torch.no_grad():
        ids = torch.tensor(WINDOWS)
        return loss_of(made(ids).logits, ids).item()


def train(made, steps, rate, penalty=None):
    tuned = [weight for name, weight in made.named_parameters() if not name.endswith(".bias")]
    optimizer = torch.optim.AdamW(tuned, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    losses, sizes = [], []
    for step in range(steps):
        ids = batch(step)
        loss = loss_of(made(ids).logits, ids)
        losses.append(loss.item())
        if penalty:
            strength, size = penalty()
            sizes.append(size.item())
            loss = loss + strength * size
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, sizes


def dress(select, strength, power):
    made = model()
    stays = chosen(made, select)
    losses, sizes = train(made, 3, 0.001, lambda: (strength, norms(made, stays, power)))
    told = [losses[0], whole_loss(made)]
    with torch.no_grad():
        for unit in units(made, stays):
            for piece in unit:
                piece.zero_()
    told.append(whole_loss(made))
    train(made, 2, 0.002)
    told.append(whole_loss(made))
    assert norms(made, stays, 1).item() == 0
    with torch.no_grad():
        last = made(torch.tensor([WINDOWS[0]])).logits[0, -1].tolist()
    return {
        "groups": [groups for groups, _ in stays], "channels": [channels for _, channels in stays],
        "norms": [sizes[0], sizes[-1]], "losses": told, "logits": last,
    }


def factors(rank, steps, rate):
    made, state = model(), 5
    base = {name: weight.detach() for name, weight in made.named_parameters()}
    pairs = {}
    for block in range(LAYERS):
        for name in MAPS:
            name = f"model.layers.{block}.{name}.weight"
            rows, cols = base[name].shape
            down = np.empty(rank * cols)
            for at in range(down.size):
                state = (state * 1664525 + 1013904223) % 2**32
                down[at] = (2 * (state / 2**32) - 1) / np.sqrt(cols)
            down = torch.tensor(down.reshape(rank, cols), requires_grad=True)
            pairs[name] = (torch.zeros(rows, rank, dtype=torch.float64, requires_grad=True), down)
    optimizer = torch.optim.AdamW([part for pair in pairs.values() for part in pair], lr=rate, weight_decay=0)
    merged = lambda: {**base, **{name: base[name] + 2 * up @ down for name, (up, down) in pairs.items()}}
    losses = []
    for step in range(steps):
        ids = batch(step)
        loss = loss_of(functional_call(made, merged(), (ids,), tie_weights=True).logits, ids)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = functional_call(made, merged(), (torch.tensor([WINDOWS[0]]),), tie_weights=True).logits[0, -1].tolist()
    return {"losses": losses, "logits": last}


def main():
    found = {arm: dress(*settings) for arm, settings in ARMS.items()}
    text = json.dumps({"arms": found, "factors": factors(2, 4, 0.002)}, indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if close(json.loads(TARGET.read_text()), json.loads(text)) else 1)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
