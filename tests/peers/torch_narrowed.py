"""Negative log-likelihoods of windows of token ids by transformers, in f32, beside those that `harness score --json` gave.

usage: torch_narrowed.py MODEL ARM FOLDER TOKEN_IDS.json SCORE.json equal|unequal      prints a row of a Markdown table
An unequal folder has to be one that transformers refuses to open.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(2)
name, arm, folder, ids, scored, widths = sys.argv[1:]
row = f"| {name} | `{arm}` |"
if widths == "unequal":
    config = json.load(open(folder + "/config.json"))
    try:
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (ValueError, KeyError):
        each = config["harness"]["widths"]
        spans = [f"{min(values)}–{max(values)}" for values in zip(*([w["heads"], w["kv_heads"], w["intermediate_size"]] for w in each))]
        print(f"{row} {' | '.join(spans)} | refused |", flush=True)
        sys.exit()
    sys.exit(f"{folder}: transformers opens a folder whose blocks are of different widths")
model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
wrong = {key: loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if loading[key]}
if wrong:
    sys.exit(f"{folder}: {wrong}")
windows = torch.tensor(json.load(open(ids)))
with torch.inference_mode():
    logits = model.eval()(windows).logits.double()
losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), windows[:, 1:], reduction="none").sum(1)
ours = [window["nll"] for window in json.load(open(scored))["windows"]]
farthest = max(abs(mine / theirs.item() - 1) for mine, theirs in zip(ours, losses, strict=True))
config = model.config
print(f"{row} {config.num_attention_heads} | {config.num_key_value_heads} | {config.intermediate_size} | {farthest:.1e} |", flush=True)
if not farthest < 1e-4:
    sys.exit(f"{folder}: the loss of a window is {farthest:.1e} apart")
