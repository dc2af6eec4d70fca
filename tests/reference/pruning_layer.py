"""Wanda and SparseGPT on real layers, apart from the Rust code: transformers for the inputs, numpy float64 for the rest.

    python tests/reference/pruning_layer.py MODEL.gguf WINDOWS.json > tests/reference/smollm2_pruning.json

MODEL is a GGUF file or a Hugging Face folder; WINDOWS.json is an array of windows of token ids, all of one length, or the
output of an earlier run, whose windows are used again. With `--draw N LENGTH` in place of WINDOWS.json the model writes
N windows itself (temperature 1, fixed seed).

The inputs of each projection are those of the dense model, one sequence a window. What is printed:

    model     the file's name; sha256 of the file
    windows   the token ids
    layers    for each projection
      tensor            canonical name; rows, cols
      weight_sum        sum of the dense weights, and weight_sum_squares, both to be met within 1e-6 relative before anything else
      trace             sum over columns of the squared input norms, to be met within 1e-4 relative
      sample            2000 flat indices
      arms              for each arm
        arm             as suites write it
        pruned          number of weights the method chose
        row_counts      weights of every row that are zero afterwards; the dense weights hold a few zeros, which are zero
                        afterwards whether chosen or not
        mask_sha256     of where the weights are zero afterwards: rows one after another, each packed to bytes, the first
                        column in the highest bit, 1 is zero, the last byte of a row filled up with 0
        near            flat indices of weights whose score lies within 1e-5 relative of their group's threshold (Wanda) or
                        their block's (SparseGPT): activations computed in another order may decide these otherwise
        values          of the weights at the `sample` after pruning (8 digits)
        sum, sum_squares   of the weights after pruning

A test on other activations (f32 sums in another order) checks weight_sum, weight_sum_squares and trace first. When no
decision in `near` falls otherwise, mask_sha256 is equal and every value is within 1e-4. When some do, row_counts differ by
no more than the weights of `near`, and values are within 1e-4 in all rows whose counts and `near` say that nothing changed:
a decision taken otherwise moves the later weights of its own row in SparseGPT, and with them at times a later decision.
"""

import argparse
import hashlib
import json
import math
import os
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

PROJECTIONS = [(0, "self_attn.q_proj"), (3, "mlp.down_proj")]
NEAR = 1e-5
DAMP, BLOCK = 0.01, 128


def load(path):
    folder, extra = path, {}
    if os.path.isfile(path):
        folder, extra = os.path.dirname(os.path.abspath(path)), {"gguf_file": os.path.basename(path)}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **extra).eval()


@torch.no_grad()
def write_text(model, number, length):
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 20000, (number, 1), generator=random)
    step, past = ids, None
    while ids.shape[1] < length:
        out = model(step, past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        step = torch.multinomial(torch.softmax(out.logits[:, -1].float(), -1), 1, generator=random)
        ids = torch.cat([ids, step], 1)
    return ids.tolist()


def capture(model, windows):
    """Inputs of the projections, one (tokens, columns) array a window."""
    inputs = {place: [] for place in PROJECTIONS}
    hooks = []
    for layer, name in PROJECTIONS:
        module = model.model.layers[layer].get_submodule(name)
        keep = inputs[layer, name]
        hooks.append(module.register_forward_pre_hook(lambda _, args, keep=keep: keep.append(args[0][0].double().numpy().copy())))
    with torch.no_grad():
        for window in windows:
            model(torch.tensor([window]))
    for hook in hooks:
        hook.remove()
    return inputs


def lowest(scores, number):
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores, axis=None, kind="stable")[:number]] = True
    return mask.reshape(scores.shape)


def close(scores, mask):
    """Which scores lie near the border between pruned and kept."""
    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    border = (scores[mask].max() + scores[~mask].min()) / 2
    return abs(scores - border) <= NEAR * border


def nm(scores, keep, group):
    """Mask of rows whose length is a multiple of the group, and which groups are undecided."""
    parts = scores.reshape(scores.shape[0], -1, group)
    order = np.argsort(parts, axis=2, kind="stable")
    mask = np.zeros(parts.shape, bool)
    np.put_along_axis(mask, order[:, :, : group - keep], True, axis=2)
    ranked = np.take_along_axis(parts, order, axis=2)
    below, above = ranked[:, :, group - keep - 1], ranked[:, :, group - keep]
    tight = np.repeat((above - below <= 2 * NEAR * above)[:, :, None], group, axis=2)
    return mask.reshape(scores.shape), tight.reshape(scores.shape)


def wanda(weight, inputs, pattern):
    scores = abs(weight) * np.sqrt((inputs**2).sum(0))
    if pattern:
        mask, near = nm(scores, *pattern)
    else:
        mask = np.stack([lowest(row, row.size // 2) for row in scores])
        near = np.stack([close(row, chosen) for row, chosen in zip(scores, mask)])
    return np.where(mask, 0, weight), mask, near


def sparsegpt(weight, inputs, sequences, pattern):
    hessian = 2 / sequences * inputs.T @ inputs
    dead = np.diag(hessian) == 0
    hessian[dead, dead] = 1
    hessian += DAMP * np.diag(hessian).mean() * np.eye(len(hessian))
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    weight, columns = weight.copy(), weight.shape[1]
    mask, near = np.zeros(weight.shape, bool), np.zeros(weight.shape, bool)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        errors = np.zeros((weight.shape[0], stop - start))
        if not pattern:
            scores = weight[:, start:stop] ** 2 / np.diag(upper)[start:stop] ** 2 * ~dead[start:stop]
            mask[:, start:stop] = lowest(scores, scores.size // 2)
            near[:, start:stop] = close(scores, mask[:, start:stop])
        for j in range(start, stop):
            if pattern and j % pattern[1] == 0:
                end = j + pattern[1]
                scores = weight[:, j:end] ** 2 / np.diag(upper)[j:end] ** 2 * ~dead[j:end]
                mask[:, j:end], near[:, j:end] = nm(scores, *pattern)
            error = np.where(mask[:, j], weight[:, j] / upper[j, j], 0)
            weight[:, j + 1 : stop] -= np.outer(error, upper[j, j + 1 : stop])
            weight[mask[:, j], j] = 0
            errors[:, j - start] = error
        weight[:, stop:] -= errors @ upper[start:stop, stop:]
    return weight, mask, near


def described(arm, sample, weight, mask, near):
    zeros = weight == 0
    return {
        "arm": arm,
        "pruned": int(mask.sum()),
        "row_counts": zeros.sum(1).tolist(),
        "mask_sha256": hashlib.sha256(np.packbits(zeros, axis=1).tobytes()).hexdigest(),
        "near": np.flatnonzero(near).tolist(),
        "values": [float(f"{value:.8g}") for value in weight.ravel()[sample]],
        "sum": weight.sum(),
        "sum_squares": (weight**2).sum(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("windows", nargs="?")
    parser.add_argument("--draw", nargs=2, type=int)
    parser.add_argument("--dump", help="a folder for raw inputs and weights, to look into a difference")
    given = parser.parse_args()
    model = load(given.model)
    if given.draw:
        windows = write_text(model, *given.draw)
    else:
        windows = json.load(open(given.windows))
        windows = windows["windows"] if isinstance(windows, dict) else windows
        windows = [window["ids"] if isinstance(window, dict) else window for window in windows]
    digest = hashlib.sha256(open(given.model, "rb").read()).hexdigest() if os.path.isfile(given.model) else None
    layers = []
    for (layer, name), sequences in capture(model, windows).items():
        weight = model.model.layers[layer].get_submodule(name).weight.detach().double().numpy()
        inputs = np.concatenate(sequences)
        sample = np.sort(np.random.default_rng(7).choice(weight.size, 2000, replace=False))
        arms = []
        for arm, pattern in (("sparsity=0.5", None), ("pattern=2:4", (2, 4))):
            arms.append(described(f"wanda({arm})", sample, *wanda(weight, inputs, pattern)))
            arms.append(described(f"sparsegpt({arm})", sample, *sparsegpt(weight, inputs, len(sequences), pattern)))
        if given.dump:
            place = os.path.join(given.dump, f"{layer}.{name}")
            weight.astype("<f4").tofile(place + ".weight")
            inputs.astype("<f4").tofile(place + ".inputs")
        layers.append({
            "tensor": f"model.layers.{layer}.{name}.weight",
            "rows": weight.shape[0],
            "cols": weight.shape[1],
            "weight_sum": weight.sum(),
            "weight_sum_squares": (weight**2).sum(),
            "trace": (inputs**2).sum(),
            "sample": sample.tolist(),
            "arms": arms,
        })
    result = {"model": os.path.basename(given.model), "sha256": digest, "windows": windows, "layers": layers}
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
