"""Wanda and SparseGPT in plain PyTorch, two threads, f32: block by block over calibration text, each block calibrated on what the pruned
blocks before it give. Written from the publications (Sun et al. 2024; Frantar and Alistarh 2023).

usage: torch_pruning.py wanda|sparsegpt MODEL_FOLDER TOKEN_IDS.json OUT_FOLDER     prints the seconds of pruning, without loading and writing
"""
import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

SPARSITY, BLOCK, DAMPING = 0.5, 128, 0.01
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(2)
method, folder, ids, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
windows = torch.tensor(json.load(open(ids)))


def wanda(weight, norms):
    """The smallest |w| * norm of each row go; norms are those of the input columns."""
    order = torch.argsort(weight.abs() * norms, dim=1, stable=True)[:, : int(weight.shape[1] * SPARSITY)]
    weight.scatter_(1, order, 0.0)


def sparsegpt(weight, gram):
    """Columns in order; in every stretch of 128 the weights of least w² / u² go, and what each costs is taken up by those behind."""
    dead = torch.diag(gram) == 0
    gram[dead, dead] = 1
    weight[:, dead] = 0
    gram += DAMPING * torch.diag(gram).mean() * torch.eye(len(gram))
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(gram)), upper=True)
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        part, inner = weight[:, start:end].clone(), upper[start:end, start:end]
        score = part**2 / torch.diag(inner) ** 2
        gone = score <= torch.sort(score.flatten())[0][int(score.numel() * SPARSITY) - 1]
        errors = torch.zeros_like(part)
        for column in range(end - start):
            before = part[:, column].clone()
            part[gone[:, column], column] = 0
            errors[:, column] = (before - part[:, column]) / inner[column, column]
            part[:, column:] -= errors[:, column : column + 1] * inner[column, column:]
            part[gone[:, column], column] = 0
        weight[:, start:end] = part
        weight[:, end:] -= errors @ upper[start:end, end:]


with torch.inference_mode():
    start = time.perf_counter()
    body = model.model
    hidden = [body.embed_tokens(window[None]) for window in windows]
    places = torch.arange(windows.shape[1])[None]
    turned = body.rotary_emb(hidden[0], places)
    for block in body.layers:
        maps = {name: module for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}
        seen = {}
        hooks = []
        for name, module in maps.items():
            columns = module.weight.shape[1]
            seen[name] = torch.zeros(columns) if method == "wanda" else torch.zeros(columns, columns)

            def look(_, inputs, __, name=name):
                rows = inputs[0].reshape(-1, inputs[0].shape[-1])
                seen[name] += (rows**2).sum(0) if method == "wanda" else rows.T @ rows

            hooks.append(module.register_forward_hook(look))

        def run(states):
            given = block(states, position_embeddings=turned, position_ids=places, attention_mask=None)
            return given[0] if isinstance(given, tuple) else given

        for states in hidden:
            run(states)
        for hook in hooks:
            hook.remove()
        for name, module in maps.items():
            if method == "wanda":
                wanda(module.weight, seen[name].sqrt())
            else:
                sparsegpt(module.weight, seen[name])
        hidden = [run(states) for states in hidden]
    print(f"{time.perf_counter() - start:.2f}")
model.save_pretrained(out)
