"""Quantization computed apart from the Rust code: numpy from the formulas, and the published packages where there are any.

    python tests/reference/quant.py            rewrites tests/reference/quant.json
    python tests/reference/quant.py --check    exits 1 when the committed file differs

Needs numpy, torch, bitsandbytes (NF4, FP4, the values of AF4, the dynamic type, double quantization) and hqq, all on the CPU.

The file holds `codebooks`, values by name, and `matrices`, each with
  name, rows, cols; `weights`, row-major whole numbers to be divided by 1024; `inputs`, one calibration sequence, tokens x
  cols whole numbers, to be divided by 256 (both divisions are exact in f32)
  arms  arm, as suites write it; `codes`, two hexadecimal digits a weight, counted from `lowest`, a string for each row; `scales` and
        `zeros`; `bits`, all of them; `sums`, of the dequantized values of each row; of methods that round inputs too `outputs`, of
        the first eight tokens of the inputs, token by token
"""

import contextlib
import io
import json
import pathlib
import sys

import bitsandbytes.functional as bnb
import numpy as np
import torch

TARGET = pathlib.Path(__file__).with_suffix(".json")
WEIGHT_SCALE, INPUT_SCALE = 1024, 256
F = np.float32


def half(x):
    return np.asarray(x, np.float16).astype(F)


# --- even grids -----------------------------------------------------------------------------------------------------

def grid(w, bits, mode, scales="f16", clip=False):
    """Scale, zero, lowest and highest code of one group, in single precision throughout."""
    w = np.asarray(w, F)
    low, high = min(F(w.min()), F(0)), max(F(w.max()), F(0))
    if mode == "asym_free":
        low, high = F(w.min()), F(w.max())
    whole = spanning(low, high, bits, mode, scales)
    if not clip or low == high:
        return whole
    best, least = whole, np.inf
    for i in range(80):
        p = F(1) - F(i) / F(100)
        now = spanning(p * low, p * high, bits, mode, scales)
        error = (np.abs(value(code(w, now), now) - w).astype(F) ** F(2.4)).sum(dtype=np.float64)
        if error < least:
            best, least = now, error
    return best


def spanning(low, high, bits, mode, scales):
    last, q, most = F(2**bits - 1), F(2 ** (bits - 1) - 1), max(high, -low)
    if mode == "asym":
        s, z, bounds = (high - low) / last, None, (0, last)
    elif mode == "asym_free":
        s, z, bounds = max(high - low, F(1e-5)) / last, None, (0, last)
    elif mode == "gptq_sym":
        s, z, bounds = F(2) * (most / last), (last + F(1)) / F(2), (0, last)
    else:
        s, z, bounds = most / q, F(0), (-q if mode == "sym" else -q - 1, q)
    if most == 0:
        s = F(1)
    elif scales == "f16":
        s = max(half(s), half(6e-8))
    if z is None:
        z = np.clip(-np.rint(low / s), 0, last)
    return F(s), F(z), F(bounds[0]), F(bounds[1])


def code(w, g):
    return np.clip(np.rint(np.asarray(w, F) / g[0]) + g[1], g[2], g[3])


def value(c, g):
    return (g[0] * (c - g[1])).astype(F)


def rtn(w, bits=4, group=128, mode="asym", clip=False, scales="f16"):
    rows, cols = w.shape
    group = cols if group == -1 else group
    codes, values, s, z = np.zeros(w.shape), np.zeros(w.shape, F), [], []
    for r in range(rows):
        for at in range(0, cols, group):
            g = grid(w[r, at : at + group], bits, mode, scales, clip)
            codes[r, at : at + group] = code(w[r, at : at + group], g)
            values[r, at : at + group] = value(codes[r, at : at + group], g)
            s.append(g[0]), z.append(g[1])
    size = 16 if scales == "f16" else 32
    total = w.size * bits + len(s) * (size + (bits if mode.startswith("asym") else 0))
    return codes, values, s, z if mode in ("asym", "asym_free", "gptq_sym") else [], total


# --- GPTQ, one column at a time with the whole inverse, as optimal brain quantization has it -----------------------------

def gptq(w, x, bits=4, group=128, mode="asym", damp=0.01, act_order=False, static=False, scales="f16", clip=False):
    w = w.astype(np.float64).copy()
    rows, cols = w.shape
    group = cols if group == -1 else group
    h = 2.0 * x.astype(np.float64).T @ x.astype(np.float64)
    dead = np.diag(h) == 0
    h[dead, dead] = 1.0
    h = h + damp * np.mean(np.diag(h)) * np.eye(cols)
    w[:, dead] = 0
    w_first = w.astype(F)
    order = np.argsort(-np.diag(h), kind="stable") if act_order else np.arange(cols)
    inverse = np.linalg.inv(h)
    codes, values = np.zeros(w.shape), np.zeros(w.shape, F)
    grids = {}
    if static:
        grids = {(r, g): grid(w_first[r, g * group : (g + 1) * group], bits, mode, scales, clip)
                 for r in range(rows) for g in range(cols // group)}
    for place, j in enumerate(order):
        left = order[place:]
        if not static and place % group == 0:
            members = order[place : place + group]
            for r in range(rows):
                grids[r, place // group] = grid(w[r, members].astype(F), bits, mode, scales, clip)
        for r in range(rows):
            g = grids[r, j // group if static else place // group]
            codes[r, j] = code(F(w[r, j]), g)
            values[r, j] = value(codes[r, j], g)
            w[r, left] -= (w[r, j] - np.float64(values[r, j])) / inverse[j, j] * inverse[j, left]
        # The inverse of what is left when j is taken out.
        inverse = inverse - np.outer(inverse[:, j], inverse[j, :]) / inverse[j, j]
    keys = sorted(grids)
    s, z = [grids[k][0] for k in keys], [grids[k][1] for k in keys]
    size = 16 if scales == "f16" else 32
    total = w.size * bits + len(s) * (size + (bits if mode == "asym" else 0))
    if act_order and not static and group < cols:
        total += cols * int(np.ceil(np.log2(cols)))
    return codes, values, s, z if mode in ("asym", "gptq_sym") else [], total


# --- codebooks in blocks ---------------------------------------------------------------------------------------------

def from_package(w, kind, block=64, double=False):
    """Codes and values of bitsandbytes."""
    flat = torch.from_numpy(w.reshape(-1).copy())
    packed, state = bnb.quantize_4bit(flat, blocksize=block, compress_statistics=double, quant_type=kind)
    both = packed.reshape(-1).numpy()
    codes = np.stack([both >> 4, both & 15], 1).reshape(-1)[: w.size].astype(int)
    if kind == "fp4":
        codes[codes == 8] = 0  # The package also rounds to its second zero.
    values = bnb.dequantize_4bit(packed, state).reshape(-1).numpy()
    if double:
        absmax = bnb.dequantize_blockwise(state.absmax, state.state2).numpy() + state.offset.item()
    else:
        absmax = state.absmax.numpy()
    blocks = len(absmax)
    total = 4 * w.size + (8 * blocks + 32 * -(-blocks // 256) + 32 if double else 32 * blocks)
    return codes.reshape(w.shape), values.reshape(w.shape), absmax, [], total


def lookup(w, kind, block=64):
    """Blocks by the package's values, which its quantizer does not take for this type."""
    book = np.unique(bnb.get_4bit_type(kind, device="cpu").numpy())
    middles, flat = (book[1:] + book[:-1]) / F(2), w.reshape(-1)
    codes, values, scales = np.zeros(w.size), np.zeros(w.size, F), []
    for at in range(0, w.size, block):
        part = flat[at : at + block]
        most = np.abs(part).max()
        place = np.searchsorted(middles, part / most if most > 0 else part * 0, side="left")
        codes[at : at + block], values[at : at + block] = place, book[place] * most
        scales.append(most)
    return codes.reshape(w.shape), values.reshape(w.shape), scales, [], 4 * w.size + 32 * len(scales)


def normalised(values):
    values = np.asarray(values, np.float64)
    return np.unique((values / np.abs(values).max()).astype(F) + F(0))


def floats(bits, e, bias):
    m = bits - 1 - e
    out = []
    for field in range(2**e):
        for mantissa in range(2**m):
            share = mantissa / 2**m
            v = 2.0**-bias * share if field == 0 else 2.0 ** -(field - 1 - bias) * (1 + share)
            out += [v, -v]
    return normalised(out)


def quantile_book(bits, w):
    n = 2**bits - 1
    places = [1 / (2 * n) + j * (1 - 1 / n) / (n - 1) for j in range(n)]
    found = np.append(np.quantile(w.reshape(-1).astype(np.float64), places), 0.0)
    return np.unique(half(found / np.abs(found).max()) + F(0))


def book_of(bits, dtype, exponent=None, bias="appendix", w=None):
    if dtype == "int":
        q = 2 ** (bits - 1) - 1
        return normalised(np.arange(-q, q + 1))
    if dtype == "float":
        e = exponent or (2 if bits == 3 else 3)
        return floats(bits, e, 2 ** (e - 1) + (bias == "appendix"))
    if dtype == "dynamic":
        return np.unique(bnb.create_dynamic_map(True, bits - 1, bits).numpy())
    return quantile_book(bits, w)


def kbit(w, bits=4, dtype="float", block=64, exponent=None, bias="appendix", center="off"):
    book = book_of(bits, dtype, exponent, bias, w)
    middles = (book[1:] + book[:-1]) / F(2)
    flat = w.reshape(-1)
    codes, values, s, z = np.zeros(w.size), np.zeros(w.size, F), [], []
    whole = half(flat.astype(np.float64).mean())
    for at in range(0, w.size, block):
        part = flat[at : at + block]
        mean = {"off": F(0), "tensor": whole, "block": half(part.astype(np.float64).mean())}[center]
        most = half(np.abs(part - mean).max())
        place = np.searchsorted(middles, (part - mean) / most if most > 0 else part * 0, side="left")
        codes[at : at + block] = place
        values[at : at + block] = book[place] * most + mean if most > 0 else mean
        s.append(most)
        if center == "block":
            z.append(mean)
    if center == "tensor":
        z = [whole]
    total = bits * w.size + 16 * len(s) + 16 * len(z) + (16 * 2**bits if dtype == "quantile" else 0)
    return codes.reshape(w.shape), values.reshape(w.shape), s, z, total


# --- HQQ by its package -------------------------------------------------------------------------------------------

def hqq(w, bits=4, group=64, compat="best"):
    with contextlib.redirect_stdout(io.StringIO()):
        from hqq.core import optimize
    t = torch.from_numpy(w.reshape(-1, group).copy())
    low, high = t.min(1, keepdim=True)[0], t.max(1, keepdim=True)[0]
    last = 2**bits - 1
    sigma = last / (high - low)
    sigma = torch.where((high - low) <= 1e-4, torch.ones_like(sigma), sigma).clamp(max=2e4)
    zero = -low * sigma
    arguments = dict(tensor=t, scale=sigma, zero=zero, min_max=[0, last], axis=1, device="cpu")
    if compat == "best":
        _, sigma, zero = optimize.optimize_weights_proximal_v2(dtype=torch.float32, **arguments)
    else:
        _, sigma, zero = optimize.optimize_weights_proximal_legacy(**arguments)
    scale, zero = half(1 / sigma.numpy()), half(zero.numpy())
    inverse = F(1) / scale
    codes = np.clip(np.rint(t.numpy() * inverse + zero), 0, last)
    values = (codes - zero) / inverse
    total = bits * w.size + 32 * len(scale)
    return codes.reshape(w.shape), values.reshape(w.shape).astype(F), scale.reshape(-1), zero.reshape(-1), total


# --- AWQ: ranges of one matrix, whose factors have nothing to go to ---------------------------------------------------

def awq(w, x, bits=4, group=32, steps=20, shrink=0.5):
    rows, cols = w.shape
    cut = w.copy()
    x = x.astype(np.float64)
    for r in range(rows):
        for at in range(0, cols, group):
            part, seen = w[r, at : at + group], x[:, at : at + group]
            best = np.inf
            for i in range(int(shrink * steps)):
                bound = F(np.abs(part).max()) * (F(1) - F(i) / F(steps))
                now = np.clip(part, -bound, bound)
                g = grid(now, bits, "asym_free")
                error = value(code(now, g), g) - part
                loss = ((seen @ error.astype(np.float64)) ** 2).sum()
                if loss < best:
                    best, cut[r, at : at + group] = loss, now
    return rtn(cut, bits, group, "asym_free")


# --- inputs rounded too ----------------------------------------------------------------------------------------------

TOKENS = 8


def round_inputs(x, scale, q):
    factor = np.divide(F(1), scale, where=scale > 0, out=np.zeros_like(scale))
    return np.clip(np.rint(x * factor), -q, q)


def product(codes, scale, values):
    return (codes * np.asarray(scale, np.float64)) @ np.asarray(values, np.float64).T


def smoothquant(w, x, inputs="token", weights="channel"):
    if weights == "channel":
        codes, values, s, _, total = rtn(w, 8, -1, "sym", scales="f32")
    else:
        s = [np.abs(w).max() / F(127)]
        codes = np.clip(np.rint(w / s[0]), -127, 127)
        values, total = (codes * s[0]).astype(F), 8 * w.size + 32
    some = x[:TOKENS]
    if inputs == "token":
        scale = np.abs(some).max(1, keepdims=True) / F(127)
    elif inputs == "tensor":
        scale = np.full((len(some), 1), np.abs(some).max() / F(127), F)
    else:
        scale, total = np.full((len(some), 1), np.abs(x).max() / F(127), F), total + 32
    return codes, values, s, [], total, product(round_inputs(some, scale, 127), scale, values)


def llm_int8(w, x, threshold=6.0, half_weights=False):
    codes, values, s, _, total = rtn(w, 8, -1, "sym", scales="f32")
    some = x[:TOKENS]
    loud = np.abs(some) >= threshold if threshold > 0 else np.zeros(some.shape, bool)
    columns = loud.any(0)
    quiet = np.where(loud, F(0), some)
    scale = np.abs(quiet).max(1, keepdims=True) / F(127)
    rounded = round_inputs(quiet, scale, 127)
    rounded[:, columns] = 0
    outer = half(w) if half_weights else values
    outputs = product(rounded, scale, values) + product(some[:, columns], 1.0, outer[:, columns])
    return codes, values, s, [], total + (16 * w.size if half_weights else 0), outputs


def middle(values, kind):
    values = values.astype(np.float64)
    if kind == "median":
        return np.median(values)
    if kind == "mean":
        return values.mean()
    low, high = np.quantile(values, [0.25, 0.75])
    return high + 1.5 * (high - low)


def split(x, k, threshold, last=False):
    rest = np.abs(x) - F(k) * threshold
    return np.copysign(np.maximum(rest, F(0)) if last else np.clip(rest, F(0), threshold), x)


def flattenquant(w, x, beta=1.3, centre="median", max_expand=1.25, flatten_weights=True, criterion="kl_ratio", gamma=250.0,
                 decibels=20.0, smooth=True):
    rows, cols = w.shape
    a, b = np.abs(x).max(0), np.abs(w).max(0)
    s = np.maximum(np.power(a, F(0.5)) / np.power(np.maximum(b, F(1e-5)), F(0.5)), F(1e-5)) if smooth else np.ones(cols, F)
    a, b = a / s, b * s
    t = min(F(beta * middle(a, centre)), a.max())
    u = min(F(beta * middle(b, centre)), b.max()) if flatten_weights else b.max()
    while True:
        of_x, of_w = (np.where(v <= m, 1, np.ceil(v / m)).astype(int) for v, m in ((a, t), (b, u)))
        if (of_x * of_w).sum() <= max(int(max_expand * cols), cols):
            break
        t, u = min(F(t * F(1.1)), a.max()), min(F(u * F(1.1)), b.max())
    pairs = [(j, 0, 0) for j in range(cols)]
    pairs += [(j, k, l) for j in range(cols) for k in range(of_x[j]) for l in range(of_w[j]) if (k, l) != (0, 0)]
    width = -(-len(pairs) // 32) * 32

    def in_bits(bits, tokens):
        q = F(2 ** (bits - 1) - 1)
        x_scale, w_scale = t / q, u / q
        whole_x = np.rint(tokens * (F(1) / (s * x_scale)))
        whole_w = np.rint(w * s / w_scale)
        cx, cw = np.zeros((len(tokens), width), F), np.zeros((rows, width), F)
        for at, (j, k, l) in enumerate(pairs):
            cx[:, at], cw[:, at] = split(whole_x[:, j], k, q), split(whole_w[:, j], l, q)
        return cw, w_scale, product(cx, x_scale, cw * np.float64(w_scale))

    exact = x.astype(np.float64) @ w.astype(np.float64).T

    def change(bits):
        after = in_bits(bits, x)[2]
        low, high = exact.min(), exact.max()
        counts = [np.bincount(np.clip((y - low) / (high - low) * 2048, 0, 2047).astype(int).ravel(), minlength=2048)
                  for y in (exact, after)]
        p, q = (c / exact.size + 1e-10 for c in counts)
        squared = ((exact - after) ** 2).mean()
        return (p * np.log(p / q)).sum(), squared, 10 * np.log10((exact**2).mean() / squared)

    if criterion.startswith("all"):
        bits = int(criterion[3:])
    else:
        four, eight = change(4), change(8)
        place = {"kl_ratio": 0, "mse_ratio": 1}.get(criterion)
        allowed = four[2] >= decibels if place is None else four[place] <= gamma * eight[place]
        bits = 4 if allowed else 8
    codes, w_scale, outputs = in_bits(bits, x[:TOKENS])
    values = np.zeros(w.shape, F)
    for at, (j, k, _) in enumerate(pairs):
        if k == 0:
            values[:, j] += codes[:, at] * w_scale / s[j]
    total = bits * rows * width + 32 * (2 + (cols if smooth else 0)) + 32 * (len(pairs) - cols)
    return codes, values, [w_scale], [], total, outputs


# --- the file -----------------------------------------------------------------------------------------------------

def matrix(name, rows, cols, seed, shape):
    random = np.random.default_rng(seed)
    w = random.standard_normal((rows, cols)) * 0.3
    if shape == "outliers":
        w[:, 5] *= 8
        w[3] = 0
        w[4] = 0.25
        w[rows - 1, : cols // 2] = 0
    x = random.standard_normal((3 * cols, cols)) @ (np.eye(cols) + 0.25 * random.standard_normal((cols, cols)))
    if shape == "outliers":
        x[:, 9] = 0
        x[:, 5] *= 6
    whole = np.rint(w * WEIGHT_SCALE).astype(int)
    inputs = np.rint(x * INPUT_SCALE).astype(int)
    return {"name": name, "rows": rows, "cols": cols, "weights": whole, "inputs": inputs}


def arms(group):
    yield f"rtn(group={group})", lambda w, x: rtn(w, group=group)
    for bits in (2, 3, 5, 6, 8):
        yield f"rtn(bits={bits}, group={group})", lambda w, x, b=bits: rtn(w, b, group)
    for mode in ("sym", "sym_full", "gptq_sym"):
        yield f"rtn(bits=3, group={group}, mode={mode})", lambda w, x, m=mode: rtn(w, 3, group, m)
        yield f"rtn(group=-1, mode={mode}, scales=f32)", lambda w, x, m=mode: rtn(w, 4, -1, m, scales="f32")
    yield f"rtn(bits=3, group={group}, mse_clip=true)", lambda w, x: rtn(w, 3, group, clip=True)
    for mode in ("asym", "gptq_sym"):
        yield f"gptq(bits=3, group={group}, mode={mode})", lambda w, x, m=mode: gptq(w, x, 3, group, m)
        yield f"gptq(group=-1, mode={mode}, damp=0.1)", lambda w, x, m=mode: gptq(w, x, 4, -1, m, 0.1)
    yield f"gptq(group={group}, act_order=true)", lambda w, x: gptq(w, x, 4, group, act_order=True)
    yield (f"gptq(group={group}, act_order=true, static_groups=true)",
           lambda w, x: gptq(w, x, 4, group, act_order=True, static=True))
    for kind in ("nf4", "fp4"):
        yield kind, lambda w, x, k=kind: from_package(w, k)
        yield f"{kind}(block=128, double_quant=true)", lambda w, x, k=kind: from_package(w, k, 128, True)
    yield "af4", lambda w, x: lookup(w, "af4")
    for bits in range(3, 9):
        for dtype in ("int", "float", "dynamic", "quantile"):
            if bits in (3, 4, 5) or (bits == 8 and dtype != "float"):
                yield f"kbit(bits={bits}, dtype={dtype})", lambda w, x, b=bits, d=dtype: kbit(w, b, d)
    yield "kbit(exponent=2, bias=body, block=32)", lambda w, x: kbit(w, 4, "float", 32, 2, "body")
    yield "kbit(exponent=2, center=tensor)", lambda w, x: kbit(w, 4, "float", 64, 2, center="tensor")
    yield "kbit(bits=3, dtype=int, center=block)", lambda w, x: kbit(w, 3, "int", center="block")
    for bits in (2, 4):
        yield f"hqq(bits={bits}, group={group})", lambda w, x, b=bits: hqq(w, b, group)
        yield f"hqq(bits={bits}, group={group}, compat=legacy)", lambda w, x, b=bits: hqq(w, b, group, "legacy")


    yield f"awq(group={group})", lambda w, x: awq(w, x, 4, group)
    yield f"awq(bits=3, group={group}, steps=10, max_shrink=0.7)", lambda w, x: awq(w, x, 3, group, 10, 0.7)
    yield f"rtn(bits=3, group={group}, mode=asym_free)", lambda w, x: rtn(w, 3, group, "asym_free")
    for inputs in ("token", "tensor", "static"):
        yield f"smoothquant(inputs={inputs})", lambda w, x, i=inputs: smoothquant(w, x, i)
    yield "smoothquant(weights=tensor)", lambda w, x: smoothquant(w, x, weights="tensor")
    yield "llm-int8", lambda w, x: llm_int8(w, x)
    yield "llm-int8(threshold=3, outlier_weight=fp16)", lambda w, x: llm_int8(w, x, 3.0, True)
    yield "llm-int8(threshold=0)", lambda w, x: llm_int8(w, x, 0.0)
    yield "flattenquant", lambda w, x: flattenquant(w, x)
    yield "flattenquant(criterion=all4)", lambda w, x: flattenquant(w, x, criterion="all4")
    yield ("flattenquant(criterion=mse_ratio, gamma=100, centre=mean, flatten_weights=false)",
           lambda w, x: flattenquant(w, x, criterion="mse_ratio", gamma=100.0, centre="mean", flatten_weights=False))
    yield ("flattenquant(criterion=sqnr_db, decibels=15, centre=fence, smooth=false, beta=0.7, max_expand=2)",
           lambda w, x: flattenquant(w, x, 0.7, "fence", 2.0, criterion="sqnr_db", decibels=15.0, smooth=False))


def numbers(values, digits=8):
    return [float(f"{float(v):.{digits}g}") for v in values]


def build():
    out = {"weight_scale": WEIGHT_SCALE, "input_scale": INPUT_SCALE, "codebooks": {}, "matrices": []}
    for name in ("nf4", "fp4", "af4"):
        out["codebooks"][name] = numbers(sorted(set(bnb.get_4bit_type(name, device="cpu").numpy().tolist())))
    for bits in (3, 4, 8):
        out["codebooks"][f"dynamic{bits}"] = numbers(book_of(bits, "dynamic"))
    # The package's general floats have the bias of the paper's body.
    out["codebooks"]["float4_body"] = numbers(normalised(bnb.create_fp8_map(True, 2, 1, 4).numpy()))
    for made, group in ((matrix("plain", 12, 64, 3, "plain"), 32), (matrix("outliers", 10, 96, 5, "outliers"), 32)):
        w = (made["weights"] / WEIGHT_SCALE).astype(F)
        x = (made["inputs"] / INPUT_SCALE).astype(F)
        cases = []
        for arm, run in arms(group):
            codes, values, scales, zeros, bits, *outputs = run(w, x)
            lowest = min(0, int(np.min(codes)))
            cases.append({
                "arm": arm, "bits": int(bits),
                "lowest": lowest, "codes": ["".join(f"{int(c) - lowest:02x}" for c in row) for row in codes],
                "scales": numbers(scales), "zeros": numbers(zeros),
                "sums": numbers(np.asarray(values, np.float64).sum(1)),
                **({"outputs": numbers(outputs[0].ravel(), 7)} if outputs else {}),
            })
        made["weights"] = made["weights"].reshape(-1).tolist()
        made["inputs"] = made["inputs"].reshape(-1).tolist()
        out["matrices"].append({**made, "arms": cases})
    return json.dumps(out, separators=(",", ":")).replace('},{"arm"', '},\n{"arm"').replace('"matrices"', '\n"matrices"') + "\n"


if __name__ == "__main__":
    text = build()
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text else "tests/reference/quant.json differs")
    TARGET.write_text(text)
