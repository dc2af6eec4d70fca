"""Logits of a small decoder of selective state spaces. Numpy only, in f64, token by token.

    python -P tests/reference/state_space.py            rewrites tests/reference/state_space.json
    python -P tests/reference/state_space.py --check    exits 1 when the committed file differs
    python -P tests/reference/state_space.py --torch    holds the committed logits against transformers' Mamba

Written from the definition: a block keeps, of each sequence, the last inputs of its convolution and a matrix of states, and reads one token
after the other.
"""

import json
import pathlib
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")
CONFIG = {
    "vocab_size": 11, "hidden_size": 8, "layers": 2, "channels": 16, "states": 4, "taps": 4, "step_rank": 2,
    "norm_epsilon": 1e-5,
}
LENGTH = 14


def silu(x):
    return x / (1 + np.exp(-x))


def rms(x, weight):
    return x / np.sqrt((x * x).mean() + CONFIG["norm_epsilon"]) * weight


def shapes():
    h, c, n, r = (CONFIG[key] for key in ("hidden_size", "channels", "states", "step_rank"))
    found = {"backbone.embeddings.weight": (CONFIG["vocab_size"], h), "backbone.norm_f.weight": (h,)}
    for layer in range(CONFIG["layers"]):
        own = {
            "norm.weight": (h,), "mixer.in_proj.weight": (2 * c, h), "mixer.conv1d.weight": (c, CONFIG["taps"]),
            "mixer.conv1d.bias": (c,), "mixer.x_proj.weight": (r + 2 * n, c), "mixer.dt_proj.weight": (c, r),
            "mixer.dt_proj.bias": (c,), "mixer.A_log": (c, n), "mixer.D": (c,), "mixer.out_proj.weight": (h, c),
        }
        found |= {f"backbone.layers.{layer}.{name}": shape for name, shape in own.items()}
    return found


def drawn():
    rng = np.random.default_rng(7)
    weights = {}
    for name, shape in shapes().items():
        values = rng.normal(0, 0.5, shape)
        if name.endswith(("norm.weight", "norm_f.weight")):
            values = 1 + 0.2 * values
        if name.endswith("A_log"):
            values = np.log(np.arange(1, shape[1] + 1)) + 0.1 * values
        weights[name] = np.float32(np.round(values, 4)).astype(np.float64)
    return weights, rng.integers(0, CONFIG["vocab_size"], (2, LENGTH))


class Block:
    def __init__(self, weights, layer):
        self.w = {name.split(f"layers.{layer}.")[1]: value for name, value in weights.items() if f"layers.{layer}." in name}
        self.last = [np.zeros(CONFIG["channels"]) for _ in range(CONFIG["taps"])]
        self.states = np.zeros((CONFIG["channels"], CONFIG["states"]))

    def token(self, x):
        w, n, r = self.w, CONFIG["states"], CONFIG["step_rank"]
        inner, gate = np.split(w["mixer.in_proj.weight"] @ rms(x, w["norm.weight"]), 2)
        self.last = self.last[1:] + [inner]
        mixed = sum(w["mixer.conv1d.weight"][:, k] * seen for k, seen in enumerate(self.last))
        mixed = silu(mixed + w["mixer.conv1d.bias"])
        chosen = w["mixer.x_proj.weight"] @ mixed
        step = np.log1p(np.exp(w["mixer.dt_proj.weight"] @ chosen[:r] + w["mixer.dt_proj.bias"]))
        decay = np.exp(step[:, None] * -np.exp(w["mixer.A_log"]))
        self.states = decay * self.states + np.outer(step * mixed, chosen[r:r + n])
        out = self.states @ chosen[r + n:] + w["mixer.D"] * mixed
        return x + w["mixer.out_proj.weight"] @ (out * silu(gate))


def logits(weights, window):
    blocks = [Block(weights, layer) for layer in range(CONFIG["layers"])]
    for token in window:
        x = weights["backbone.embeddings.weight"][token]
        for block in blocks:
            x = block.token(x)
        yield weights["backbone.embeddings.weight"] @ rms(x, weights["backbone.norm_f.weight"])


def of_transformers(weights, windows):
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(
        vocab_size=CONFIG["vocab_size"], hidden_size=CONFIG["hidden_size"], state_size=CONFIG["states"],
        num_hidden_layers=CONFIG["layers"], expand=CONFIG["channels"] // CONFIG["hidden_size"],
        conv_kernel=CONFIG["taps"], time_step_rank=CONFIG["step_rank"], layer_norm_epsilon=CONFIG["norm_epsilon"],
        use_bias=False, use_conv_bias=True, tie_word_embeddings=True,
    )).eval()
    tensors = {
        name: torch.tensor(value[:, None] if "conv1d.weight" in name else value, dtype=torch.float32)
        for name, value in weights.items()
    }
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    with torch.no_grad():
        return model(torch.tensor(windows)).logits.double().numpy()


def main():
    weights, windows = drawn()
    found = np.array([list(logits(weights, window)) for window in windows])
    if "--torch" in sys.argv:
        difference = np.abs(found - of_transformers(weights, windows)).max()
        print(f"largest difference of a logit: {difference:.2e}")
        # transformers computes in f32, of logits up to 5.
        sys.exit(bool(difference > 5e-5))
    text = json.dumps({
        "config": CONFIG, "weights": {name: value.ravel().round(4).tolist() for name, value in weights.items()},
        "windows": windows.tolist(), "logits": found.ravel().round(9).tolist(),
    }) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)


main()
