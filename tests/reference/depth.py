"""Scores and shorter models of the shrink axis, in torch on a model of transformers.

    python tests/reference/depth.py            rewrites tests/reference/depth.json
    python tests/reference/depth.py --check    exits 1 when the committed file differs

Written with torch 2 and transformers 4, in f64. The model is a Llama of eight blocks whose weights are drawn by a congruential generator, in the order
of the tests' own: embedding, then of each block q, k, v, o, gate, up and down; normalisations are 1. The file holds
  influence, contiguous   ShortGPT's score of each block, and the angle over two
  taylor, magnitude, ppl  Shortened LLaMA's scores
  laco                    similarity and matrices of one merge: the sum of all numbers of block `at`, a matrix each
  contrast                L3Prune's loss at each depth
  logits                  of the last token of the first window, by the model without blocks 2 and 5
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

TARGET = pathlib.Path(__file__).with_suffix(".json")
LAYERS, HIDDEN, INNER, VOCABULARY, HEADS = 8, 64, 96, 23, 4
MAPS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
WINDOWS = [[(i * (at + 3) + i * i // 5 + at) % VOCABULARY for i in range(48)] for at in range(6)]


def model():
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
        attn_implementation="eager",
    )
    made = LlamaForCausalLM(config).double().eval()
    state = 11

    def draw(shape):
        nonlocal state
        values = np.empty(int(np.prod(shape)), dtype=np.float32)
        for at in range(values.size):
            state = (state * 1664525 + 1013904223) % 2**32
            values[at] = np.float32(0.2) * (np.float32(state >> 8) / np.float32(1 << 23) - np.float32(1.0))
        return torch.tensor(values.reshape(shape).astype(np.float64))

    with torch.no_grad():
        made.model.embed_tokens.weight.copy_(draw((VOCABULARY, HIDDEN)))
        for block in made.model.layers:
            for name in MAPS:
                weight = block.get_submodule(name).weight
                weight.copy_(draw(tuple(weight.shape)))
    return made


def hidden(made, window, blocks=None):
    """Hidden states that enter each block and leave the last, (tokens, hidden) each, before the last normalisation."""
    blocks = made.model.layers if blocks is None else blocks
    states = [made.model.embed_tokens(torch.tensor([window]))]
    length = len(window)
    positions = torch.arange(length)[None]
    turns = made.model.rotary_emb(states[0], positions)
    mask = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)[None, None]
    for block in blocks:
        found = block(states[-1], attention_mask=mask, position_ids=positions, position_embeddings=turns)
        states.append(found[0] if isinstance(found, tuple) else found)
    return states


def logits(made, window, blocks=None):
    return made.lm_head(made.model.norm(hidden(made, window, blocks)[-1]))[0]


def loss(made, window, blocks=None):
    scores = logits(made, window[:-1], blocks)
    return torch.nn.functional.cross_entropy(scores, torch.tensor(window[1:]))


def compute():
    made = model()
    blocks = list(made.model.layers)
    out = {}
    with torch.no_grad():
        cosines = torch.stack([
            torch.stack([torch.nn.functional.cosine_similarity(a[0], b[0], dim=-1) for a, b in zip(s, s[1:])])
            for s in (hidden(made, w) for w in WINDOWS)
        ])
        out["influence"] = (1 - cosines.mean(dim=(0, 2))).tolist()
        angles = torch.stack([
            torch.stack([torch.nn.functional.cosine_similarity(a[0], b[0], dim=-1).clamp(-1, 1).arccos() / math.pi for a, b in zip(s, s[2:])])
            for s in (hidden(made, w) for w in WINDOWS)
        ])
        out["contiguous"] = angles.mean(dim=(0, 2)).tolist()
        cut = [w[:20] for w in WINDOWS[:4]]
        out["ppl"] = [
            math.exp(sum(loss(made, w, blocks[:i] + blocks[i + 1 :]).item() for w in cut) / len(cut)) for i in range(LAYERS)
        ]
    made.zero_grad()
    (sum(loss(made, w) for w in cut) / len(cut)).backward()
    out["taylor"] = [sum((p * p.grad).abs().sum().item() for p in block.parameters()) for block in blocks]
    out["magnitude"] = [sum(p.abs().sum().item() for p in block.parameters()) for block in blocks]
    with torch.no_grad():
        short = [w[:10] for w in WINDOWS[:5]]
        before = [made.model.norm(hidden(made, w)[-1]).flatten() for w in short]
        at, followers = 3, 2
        kept = [blocks[at].get_submodule(name).weight.clone() for name in MAPS]
        for place, name in enumerate(MAPS):
            change = sum(blocks[at + k].get_submodule(name).weight - kept[place] for k in range(1, followers + 1))
            blocks[at].get_submodule(name).weight.copy_(kept[place] + change)
        left = blocks[: at + 1] + blocks[at + followers + 1 :]
        behind = [made.model.norm(hidden(made, w, left)[-1]).flatten() for w in short]
        similarity = float(np.mean([torch.nn.functional.cosine_similarity(a, b, dim=0).item() for a, b in zip(before, behind)]))
        sums = [blocks[at].get_submodule(name).weight.sum().item() for name in MAPS]
        out["laco"] = {"at": at, "followers": followers, "similarity": similarity, "sums": sums}
        for place, name in enumerate(MAPS):
            blocks[at].get_submodule(name).weight.copy_(kept[place])

        def pool(window):
            states = [made.model.norm(s)[0] for s in hidden(made, window)[1:]]
            weights = torch.arange(1, len(window) + 1, dtype=torch.float64)[:, None]
            return [torch.nn.functional.normalize((s * weights).sum(0) / weights.sum(), dim=0) for s in states]

        texts, following = [pool(w[:20]) for w in WINDOWS], [pool(w[20:40]) for w in WINDOWS]
        out["contrast"] = []
        for depth in range(LAYERS):
            a = torch.stack([t[depth] for t in texts])
            b = torch.stack([f[depth] for f in following])
            out["contrast"].append(torch.nn.functional.cross_entropy(50 * a @ b.T, torch.arange(len(texts))).item())
        left = [block for i, block in enumerate(blocks) if i not in (2, 5)]
        out["logits"] = logits(made, WINDOWS[0], left)[-1].tolist()
    return out


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


if __name__ == "__main__":
    text = json.dumps(rounded(compute()), indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
