"""Mean negative log-likelihood of a token under tiny-1m with some of its blocks, in torch (float64).

    python tests/reference/shorter.py            rewrites tests/reference/shorter.json
    python tests/reference/shorter.py --check    exits 1 when the committed file differs

Written with transformers 5 and torch 2. `texts` are token ids; `models` has which blocks stay and the loss of the model that they make.
"""

import json
import pathlib
import sys

import torch
from transformers import LlamaForCausalLM

TARGET = pathlib.Path(__file__).with_suffix(".json")
MODEL = TARGET.parents[2] / "datasets/models/tiny-1m"
TEXTS = [[(at * (text + 3) + at * at // 5 + 7 * text) % 90 + 3 for at in range(24)] for text in range(4)]


def loss(blocks):
    model = LlamaForCausalLM.from_pretrained(MODEL, dtype=torch.float64, attn_implementation="eager").eval()
    model.model.layers = torch.nn.ModuleList(model.model.layers[block] for block in blocks)
    model.config.num_hidden_layers = len(blocks)
    with torch.no_grad():
        each = [
            torch.nn.functional.cross_entropy(model(torch.tensor([text]), use_cache=False).logits[0, :-1], torch.tensor(text[1:]))
            for text in TEXTS
        ]
    return float(sum(each) / len(each))


found = {"texts": TEXTS, "models": [{"blocks": blocks, "nll": float(f"{loss(blocks):.12g}")} for blocks in ([0, 1], [0, 2], [1, 2], [0])]}
text = json.dumps(found) + "\n"
if "--check" in sys.argv:
    sys.exit(TARGET.read_text() != text)
TARGET.write_text(text)
