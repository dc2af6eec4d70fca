"""Logits of tiny random models whose configuration scales its rotary frequencies, by transformers.

    python -P tests/reference/rope_scaling.py            rewrites tests/reference/rope_scaling.json
    python -P tests/reference/rope_scaling.py --check    exits 1 when the committed file differs
    python -P tests/reference/rope_scaling.py --apply target/release/harness
        has the program read every model as transformers saves it and write it again, and transformers read that: equal to the bit

`-P`, for `statistics.py` of this folder would hide Python's own from transformers. Written with transformers 5 and torch 2, in f32 as they run
it. No weights are kept: both sides make them by one linear congruential sequence, tensor by tensor in the order of `tensors`.
A case holds
  config    what `config.json` says, in the spelling of transformers 5 (`rope_parameters`) or before (`rope_scaling`)
  passes    `length`: how many tokens are read at once, by a fresh model; `rows`: positions and their logits

Where transformers goes another way by design, and this file does not: `dynamic` keeps the largest base it has seen until a text of the
training's length comes, so a fresh model reads every pass; and keys in its cache keep the angle of the step that made them, so passes are
read at once. `longrope` goes by the length of what is read, as here; older versions went by the configuration.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

TARGET = pathlib.Path(__file__).with_suffix(".json")
VOCABULARY, HIDDEN, HEADS, KEYS, HEAD, FORWARD, LAYERS = 13, 32, 2, 1, 16, 48, 2
TRAINED, EXTENDED, LENGTH = 16, 64, 48
BASE = 100.0
SHORT = [1.0, 1.0, 1.02, 1.05, 1.1, 1.1, 1.2, 1.3]
LONG = [1.0, 1.1, 1.35, 1.8, 2.4, 3.1, 3.9, 4.2]

PLAIN = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
    "intermediate_size": FORWARD, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KEYS,
    "head_dim": HEAD, "hidden_act": "silu", "max_position_embeddings": EXTENDED, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2,
}
QWEN = PLAIN | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}


def new(plain=PLAIN, **table):
    return plain | {"rope_parameters": {"rope_theta": BASE, **table}}


def old(plain=PLAIN, more={}, **table):
    return plain | {"rope_theta": BASE, "rope_scaling": table, **more}


ORIGINAL = {"original_max_position_embeddings": TRAINED}
CONFIGS = [
    PLAIN | {"rope_theta": BASE},
    new(rope_type="linear", factor=4.0),
    old(type="linear", factor=2.5),
    old(PLAIN | {"max_position_embeddings": TRAINED}, type="dynamic", factor=2.0),
    new(PLAIN | {"max_position_embeddings": TRAINED}, rope_type="dynamic", factor=4.0),
    new(rope_type="yarn", factor=4.0, **ORIGINAL),
    old(type="yarn", factor=4.0, beta_fast=2.0, beta_slow=0.25, attention_factor=1.3, **ORIGINAL),
    new(QWEN, rope_type="yarn", factor=4.0, beta_fast=4, beta_slow=0.5, mscale=1.0, mscale_all_dim=0.5, **ORIGINAL),
    new(rope_type="llama3", factor=8.0, low_freq_factor=0.25, high_freq_factor=1.5, **ORIGINAL),
    old(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, **ORIGINAL),
    new(rope_type="longrope", factor=4.0, short_factor=SHORT, long_factor=LONG, **ORIGINAL),
    # The factor is that of the lengths.
    old(more=ORIGINAL, type="longrope", short_factor=SHORT, long_factor=[round(x * 1.5, 3) for x in LONG]),
    new(rope_type="longrope", factor=4.0, attention_factor=0.9, short_factor=SHORT, long_factor=LONG, **ORIGINAL),
]


def tensors(bias):
    """Names, shapes and whether it is the scale of a norm."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN), False
    for layer in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", (HIDDEN,), True
        for name, rows, columns in (
            ("self_attn.q_proj", HEADS * HEAD, HIDDEN), ("self_attn.k_proj", KEYS * HEAD, HIDDEN),
            ("self_attn.v_proj", KEYS * HEAD, HIDDEN), ("self_attn.o_proj", HIDDEN, HEADS * HEAD),
            ("mlp.gate_proj", FORWARD, HIDDEN), ("mlp.up_proj", FORWARD, HIDDEN), ("mlp.down_proj", HIDDEN, FORWARD),
        ):
            yield f"model.layers.{layer}.{name}.weight", (rows, columns), False
            if bias and name[-6:-5] in "qkv" and "attn" in name:
                yield f"model.layers.{layer}.{name}.bias", (rows,), False
    yield "model.norm.weight", (HIDDEN,), True


def weights(bias):
    """A linear congruential sequence: halves of numbers in [-1, 1), scales of norms around 1."""
    state, made = 12345, {}
    for name, shape, norm in tensors(bias):
        drawn = np.empty(int(np.prod(shape)), np.float32)
        for i in range(drawn.size):
            state = (state * 1664525 + 1013904223) % 2**32
            drawn[i] = np.float32(state >> 8) / np.float32(2**23) - np.float32(1)
        drawn = np.float32(1) + drawn * np.float32(0.125) if norm else drawn * np.float32(0.5)
        made[name] = torch.from_numpy(drawn.reshape(shape))
    return made


def fresh(config):
    qwen = config["model_type"] == "qwen2"
    made = (Qwen2Config if qwen else LlamaConfig).from_dict(json.loads(json.dumps(config)), attn_implementation="eager")
    model = (Qwen2ForCausalLM if qwen else LlamaForCausalLM)(made).float().eval()
    missing, unexpected = model.load_state_dict(weights(qwen), strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model


def logits(config, tokens):
    with torch.no_grad():
        return fresh(config)(torch.tensor([tokens])).logits[0].numpy()


TOKENS = [(7 * i + i * i) % VOCABULARY for i in range(LENGTH)]


def case(config):
    passes = []
    for length, positions in ((TRAINED, (5, 15)), (LENGTH, (5, 15, 31, 47))):
        found = logits(config, TOKENS[:length])
        rows = {str(at): [round(float(x), 6) for x in found[at]] for at in positions}
        passes.append({"length": length, "rows": rows})
    return {"config": config, "passes": passes}


def through_apply(program):
    for config in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            saved, written = f"{folder}/saved", f"{folder}/written"
            fresh(config).save_pretrained(saved)
            subprocess.run([program, "apply", "--model", saved, "--prune", "none", "--out", written], check=True)
            for length in (TRAINED, LENGTH):
                # A fresh model for each, for `dynamic` remembers.
                again = AutoModelForCausalLM.from_pretrained(written, attn_implementation="eager").float().eval()
                with torch.no_grad():
                    found = again(torch.tensor([TOKENS[:length]])).logits[0].numpy()
                assert np.array_equal(found, logits(config, TOKENS[:length])), config
    print(len(CONFIGS), "models read, written and read again")


def main():
    if "--apply" in sys.argv:
        return through_apply(sys.argv[sys.argv.index("--apply") + 1])
    cases = [case(config) for config in CONFIGS]
    # Every table changes what is read, by far more than what a comparison allows.
    last = [np.array(one["passes"][1]["rows"]["47"]) for one in cases]
    for i, one in enumerate(last):
        assert all(np.abs(one - other).max() > 1e-2 for other in last[:i]), CONFIGS[i]
    text = json.dumps({"tokens": TOKENS, "cases": cases}).replace('{"config"', '\n{"config"') + "\n"
    if "--check" in sys.argv:
        sys.exit(text != TARGET.read_text())
    TARGET.write_text(text)
    print(len(cases), "cases,", len(text), "bytes")


main()
