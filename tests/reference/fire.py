"""Biases of FIRE (Li et al., 2023) and their gradients, computed apart from the Rust code: torch in double precision, from the definition.

    python tests/reference/fire.py            rewrites tests/reference/fire.json
    python tests/reference/fire.py --check    exits 1 when the committed file differs

Needs torch. `learned` is `c`, the multiple of 512, the weights and the offsets of 32 units, and what they count in each head; of
two thresholds, one behind and one before the last position, the file holds
  biases     `(heads, positions, positions)`, 0 for keys behind the query
  gradients  of the sum of squares of the biases, of the learned numbers
"""

import json
import pathlib
import sys

import torch

TARGET = pathlib.Path(__file__).with_suffix(".json")
HEADS, UNITS, POSITIONS, EPSILON = 2, 32, 24, 1e-6


def biases(learned):
    growth, multiple = learned[0].abs(), learned[1].abs()
    weights, offsets = learned[2 : 2 + UNITS], learned[2 + UNITS : 2 + 2 * UNITS]
    outputs = learned[2 + 2 * UNITS :].reshape(HEADS, UNITS)
    place = torch.arange(POSITIONS, dtype=torch.float64)
    distance = (place[:, None] - place[None, :]).clamp(min=0)
    divisor = torch.log(growth * torch.maximum(place, 512 * multiple) + 1) + EPSILON
    x = torch.log(growth * distance + 1) / divisor[:, None]
    units = torch.relu(x[..., None] * weights + offsets)
    return torch.einsum("ijr,hr->hij", units, outputs).tril()


def case(multiple):
    torch.manual_seed(5)
    learned = (torch.rand(2 + 2 * UNITS + UNITS * HEADS, dtype=torch.float64) * 2 - 1).float().double()
    learned[0], learned[1] = torch.tensor([0.3, multiple]).float().double()
    learned.requires_grad_(True)
    out = biases(learned)
    (out**2).sum().backward()
    keep = lambda values: [float(f"{value:.9g}") for value in values.flatten().tolist()]
    return {"learned": keep(learned.detach()), "biases": keep(out.detach()), "gradients": keep(learned.grad)}


def main():
    found = {"heads": HEADS, "positions": POSITIONS, "cases": [case(1.0), case(6.5 / 512)]}
    text = json.dumps(found) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
