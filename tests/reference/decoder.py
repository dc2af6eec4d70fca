#!/usr/bin/env python3
"""Logits of tiny random decoders in float64 numpy, written from the architecture papers without looking at the Rust code.

Writes decoder.json beside this file: configurations, tokens and logits of every position. Weights are not stored: both
sides draw them from the same integer generator, tensor by tensor in file order.

    python3 tests/reference/decoder.py
"""
import json
import math
import pathlib

import numpy as np


def draw(seed, shape, scale, offset=0.0):
    """Values of one tensor: a 32-bit linear congruential generator started from the tensor's number."""
    state = (seed * 2654435761 + 12345) % 2**32
    values = np.empty(int(np.prod(shape)), dtype=np.float32)
    for i in range(values.size):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = np.float32(np.float32((state >> 8) / 2**23 - 1.0) * np.float32(scale)) + np.float32(offset)
    return values.reshape(shape).astype(np.float64)


def tensors(c):
    """Names and shapes in file order."""
    h, q, kv = c["hidden_size"], c["heads"] * c["head_dim"], c["kv_heads"] * c["head_dim"]
    f = c["intermediate_size"]
    yield "model.embed_tokens.weight", (c["vocab_size"], h)
    if c["position"] == "learned":
        yield "model.embed_positions.weight", (c["max_positions"], h)

    def norm(module):
        yield module + ".weight", (h,)
        if c["norm"] == "layer":
            yield module + ".bias", (h,)

    for n in range(c["layers"]):
        p = f"model.layers.{n}"
        yield from norm(p + ".input_layernorm")
        yield from norm(p + ".post_attention_layernorm")
        maps = [("self_attn.q_proj", q, h, "qkv_bias"), ("self_attn.k_proj", kv, h, "qkv_bias"),
                ("self_attn.v_proj", kv, h, "qkv_bias"), ("self_attn.o_proj", h, q, "output_bias")]
        if c["gated"]:
            maps.append(("mlp.gate_proj", f, h, "mlp_bias"))
        maps += [("mlp.up_proj", f, h, "mlp_bias"), ("mlp.down_proj", h, f, "mlp_bias")]
        for module, rows, cols, bias in maps:
            yield f"{p}.{module}.weight", (rows, cols)
            if c[bias]:
                yield f"{p}.{module}.bias", (rows,)
    yield from norm("model.norm")
    if not c["tied_head"]:
        yield "lm_head.weight", (c["vocab_size"], h)


def weights(c):
    result = {}
    for index, (name, shape) in enumerate(tensors(c)):
        is_norm_scale = "norm" in name and name.endswith(".weight")
        result[name] = draw(index + 1, shape, 0.3, 1.0 if is_norm_scale else 0.0)
    return result


def normalise(c, w, module, x):
    if c["norm"] == "rms":
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + c["norm_epsilon"]) * w[module + ".weight"]
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + c["norm_epsilon"]) * w[module + ".weight"] + w[module + ".bias"]


def linear(w, module, x):
    y = x @ w[module + ".weight"].T
    return y + w[module + ".bias"] if module + ".bias" in w else y


def rotate(x, position, theta, rotary, style):
    """One head's vector at one position, by complex multiplication of its pairs."""
    half = rotary // 2
    frequencies = 1.0 / theta ** (np.arange(half) * 2.0 / rotary)
    turn = np.exp(1j * position * frequencies)
    y = x.copy()
    if style == "half-split":
        z = (x[:half] + 1j * x[half:rotary]) * turn
        y[:half], y[half:rotary] = z.real, z.imag
    else:
        z = (x[0:rotary:2] + 1j * x[1:rotary:2]) * turn
        y[0:rotary:2], y[1:rotary:2] = z.real, z.imag
    return y


def activation(kind, x):
    if kind == "silu":
        return x / (1.0 + np.exp(-x))
    if kind == "gelu":
        return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def forward(c, tokens):
    w = weights(c)
    n, d, group = len(tokens), c["head_dim"], c["heads"] // c["kv_heads"]
    x = w["model.embed_tokens.weight"][tokens]
    if c["position"] == "learned":
        x = x + w["model.embed_positions.weight"][:n]
    for layer in range(c["layers"]):
        p = f"model.layers.{layer}"
        a = normalise(c, w, p + ".input_layernorm", x)
        q = linear(w, p + ".self_attn.q_proj", a).reshape(n, c["heads"], d)
        k = linear(w, p + ".self_attn.k_proj", a).reshape(n, c["kv_heads"], d)
        v = linear(w, p + ".self_attn.v_proj", a).reshape(n, c["kv_heads"], d)
        if isinstance(c["position"], dict):
            r = c["position"]["rope"]
            for t in range(n):
                for head in range(c["heads"]):
                    q[t, head] = rotate(q[t, head], t, r["theta"], r["rotary"], r["style"])
                for head in range(c["kv_heads"]):
                    k[t, head] = rotate(k[t, head], t, r["theta"], r["rotary"], r["style"])
        out = np.zeros((n, c["heads"], d))
        for head in range(c["heads"]):
            scores = q[:, head] @ k[:, head // group].T / math.sqrt(d)
            if c["position"] == "alibi":
                slope = 2.0 ** (-8.0 * (head + 1) / c["heads"])
                scores = scores + slope * (np.arange(n)[None, :] - np.arange(n)[:, None])
            scores = np.where(np.tril(np.ones((n, n))) > 0, scores, -np.inf)
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[:, head] = e / e.sum(axis=1, keepdims=True) @ v[:, head // group]
        x = x + linear(w, p + ".self_attn.o_proj", out.reshape(n, -1))
        a = normalise(c, w, p + ".post_attention_layernorm", x)
        up = linear(w, p + ".mlp.up_proj", a)
        if c["gated"]:
            inner = activation(c["activation"], linear(w, p + ".mlp.gate_proj", a)) * up
        else:
            inner = activation(c["activation"], up)
        x = x + linear(w, p + ".mlp.down_proj", inner)
    x = normalise(c, w, "model.norm", x)
    head = w["model.embed_tokens.weight"] if c["tied_head"] else w["lm_head.weight"]
    return x @ head.T


def rope(theta, rotary, style):
    return {"rope": {"theta": theta, "rotary": rotary, "style": style}}


BASE = {
    "architecture": "llama", "vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "layers": 2, "heads": 4,
    "kv_heads": 2, "head_dim": 8, "max_positions": 64, "norm": "rms", "norm_epsilon": 1e-5, "activation": "silu",
    "gated": True, "position": rope(10000.0, 8, "half-split"), "qkv_bias": False, "output_bias": False,
    "mlp_bias": False, "tied_head": True, "bos": 1, "eos": [2],
}
CASES = {
    "llama, grouped queries, tied": {},
    "qwen2 biases, untied": {"architecture": "qwen2", "qkv_bias": True, "tied_head": False, "norm_epsilon": 1e-6,
                             "position": rope(1000000.0, 8, "half-split")},
    "llama2.c, interleaved": {"kv_heads": 4, "tied_head": False, "position": rope(10000.0, 8, "interleaved")},
    "part of the head rotated, wide heads": {"head_dim": 12, "kv_heads": 1, "position": rope(500.0, 6, "half-split")},
    "layer norm, gelu, learned positions": {"norm": "layer", "activation": "gelu", "gated": False, "mlp_bias": True,
                                            "output_bias": True, "qkv_bias": True, "kv_heads": 4,
                                            "position": "learned"},
    "linear biases, tanh gelu": {"norm": "layer", "activation": "gelu-tanh", "gated": False, "position": "alibi"},
}

if __name__ == "__main__":
    tokens = [int((i * 31 + 7) % 50) for i in range(21)]
    cases = []
    for name, changes in CASES.items():
        config = {**BASE, **changes}
        logits = forward(config, tokens)
        rows = [[round(float(v), 6) for v in row] for row in logits]
        cases.append({"name": name, "config": config, "tokens": tokens, "logits": rows})
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
