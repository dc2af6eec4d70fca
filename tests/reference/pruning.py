"""Pruning computed apart from the Rust code: numpy, float64, from the formulas.

    python tests/reference/pruning.py            rewrites tests/reference/pruning.json
    python tests/reference/pruning.py --check    exits 1 when the committed file differs

The file holds `models`, each with
  matrices  name, rows, cols; `weights`, row-major whole numbers to be divided by 1024; `sequences`, the calibration
            inputs, one list of tokens x cols whole numbers each, to be divided by 256 (both divisions are exact in f32)
  arms      arm, as suites write it; seed; counts, the numbers allotted to each matrix or null; and for each matrix
            `mask`, a row of hexadecimal digits for every row (the first column is the highest bit, 1 is pruned, padded
            with zeros), and `weights`, the matrix after pruning where a method changes what it keeps, else null; with
            inputs of one sequence also `lost`, the root of the summed squares of what weights and outputs lost.
The random stream of a matrix is ChaCha8 with the key sha256(seed and labels), labels being ["prune", name].
"""

import hashlib
import json
import math
import pathlib
import re
import sys
from fractions import Fraction

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")
WEIGHT_SCALE, INPUT_SCALE = 1024, 256


# --- random numbers -----------------------------------------------------------------------------------------------

def stream(seed, labels):
    """Uniform numbers in [0, 1) of 53 bits."""
    sha = hashlib.sha256(seed.to_bytes(8, "little"))
    for label in labels:
        text = label.encode()
        sha.update(len(text).to_bytes(8, "little") + text)
    key = np.frombuffer(sha.digest(), "<u4").tolist()
    block = 0
    while True:
        words = chacha8(key, block)
        block += 1
        for low, high in zip(words[0::2], words[1::2]):
            yield (((high << 32) | low) >> 11) / 2.0**53


def chacha8(key, block):
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, block & 0xFFFFFFFF, block >> 32, 0, 0]
    s = list(start)

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            v = s[z] ^ s[x]
            s[z] = ((v << turn) | (v >> (32 - turn))) & 0xFFFFFFFF

    for _ in range(4):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) & 0xFFFFFFFF for a, b in zip(s, start)]


# --- selection ----------------------------------------------------------------------------------------------------

def count(share, size):
    return math.floor(Fraction(share) * size)


def lowest(scores, number):
    """Mask of the lowest of a flat array, the earlier of equals first."""
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores, kind="stable")[:number]] = True
    return mask


def by_group(scores, group, number):
    flat = scores.reshape(-1, group)
    return np.stack([lowest(row, number) for row in flat]).reshape(scores.shape)


def choose(scores, settings, scope="layer", rule="exact", allotted=None):
    """Mask of a matrix of scores."""
    size = scores.shape[1] if scope == "row" else scores.size
    if allotted is not None:
        return by_group(scores, scores.size, allotted)
    if "pattern" in settings:
        keep, group = map(int, settings["pattern"].split(":"))
        return by_group(scores, group, group - keep)
    number = count(settings.get("sparsity", "0.5"), size)
    if rule == "reference":
        rows = scores.reshape(-1, size)
        return (rows <= np.sort(rows, axis=1)[:, number : number + 1]).reshape(scores.shape)
    return by_group(scores, size, number)


# --- methods: (settings, weights, sequences, random, allotted) -> mask, weights or None ---------------------------

def none(settings, weights, sequences, random, allotted):
    return np.zeros(weights.shape, bool), None


def draw(shape, random):
    return np.array([next(random) for _ in range(math.prod(shape))]).reshape(shape)


def random_(settings, weights, sequences, random, allotted):
    return choose(draw(weights.shape, random), settings, settings.get("scope", "layer"), allotted=allotted), None


def magnitude(settings, weights, sequences, random, allotted):
    rule = settings.get("count_rule", "exact")
    return choose(abs(weights), settings, settings.get("scope", "layer"), rule, allotted), None


def wanda(settings, weights, sequences, random, allotted):
    scores = abs(weights) * np.sqrt((np.concatenate(sequences) ** 2).sum(0))
    if settings.get("variant") != "true":
        return choose(scores, settings, "row"), None
    goal = float(settings["sparsity"])
    ordered = np.sort(scores, axis=1)
    mass = np.cumsum(ordered, axis=1)
    low, high, alpha = 0.0, 0.8, 0.4
    for _ in range(40):
        numbers = (mass <= alpha * mass[:, -1:]).sum(1)
        reached = numbers.sum() / scores.size
        if abs(reached - goal) <= 1e-3:
            break
        low, high = (low, alpha) if reached > goal else (alpha, high)
        alpha = (low + high) / 2
    return np.stack([lowest(row, number) for row, number in zip(scores, numbers)]), None


def hessian(sequences, damp):
    """Damped Hessian and the inputs that are always zero."""
    h = 2 / len(sequences) * sum(x.T @ x for x in sequences)
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    return h + damp * np.diag(h).mean() * np.eye(len(h)), dead


def sparsegpt(settings, weights, sequences, random, allotted):
    h, dead = hessian(sequences, float(settings.get("damp", "0.01")))
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    block, rule = int(settings.get("block", "128")), settings.get("count_rule", "exact")
    w, pruned = weights.copy(), np.zeros(weights.shape, bool)
    if rule == "reference":
        w[:, dead] = 0
    for start in range(0, w.shape[1], block):
        stop = min(start + block, w.shape[1])

        def scores(a, b):
            return np.where(dead[a:b], 0, w[:, a:b] ** 2 / np.diag(upper)[a:b] ** 2)

        if "pattern" not in settings:
            pruned[:, start:stop] = choose(scores(start, stop), settings, "layer", rule)
        for j in range(start, stop):
            if "pattern" in settings:
                group = int(settings["pattern"].split(":")[1])
                if j % group == 0:
                    pruned[:, j : j + group] = choose(scores(j, j + group), settings)
            # All columns to the right at once: whether that waits for the end of the block makes no difference.
            error = np.where(pruned[:, j], w[:, j] / upper[j, j], 0)
            w[:, j + 1 :] -= np.outer(error, upper[j, j + 1 :])
            w[pruned[:, j], j] = 0
    return pruned, w


def shuffled_mask(settings, weights, sequences, random, allotted):
    inner_name, inner = parse(settings["like"])
    mask, changed = METHODS[inner_name](inner, weights, sequences, random, allotted)
    zeros = (np.where(mask, 0, weights) if changed is None else changed) == 0
    within = settings.get("within", "layer")
    group = {"layer": weights.size, "row": weights.shape[1]}.get(within) or int(inner["pattern"].split(":")[1])
    rows = zip(draw(weights.shape, random).reshape(-1, group), zeros.reshape(-1, group))
    return np.stack([lowest(scores, zero.sum()) for scores, zero in rows]).reshape(weights.shape), None


METHODS = {"none": none, "random": random_, "magnitude": magnitude, "wanda": wanda, "sparsegpt": sparsegpt,
           "shuffled-mask": shuffled_mask}


def parse(arm):
    name, _, rest = arm.partition("(")
    pairs = re.findall(r'(\w+)=("[^"]*"|[^,)]+)', rest)
    return name, {key: value.strip('"') for key, value in pairs}


def allot(arm, matrices):
    """Numbers of each matrix when all are compared together."""
    name, settings = parse(arm)
    if name == "shuffled-mask":
        return allot(settings["like"], matrices)
    if settings.get("scope") != "global":
        return None
    due = count(settings["sparsity"], sum(w.size for w in matrices))
    if name == "random":
        random, left, numbers = stream(0, ["random pruning", "numbers of the matrices"]), sum(w.size for w in matrices), []
        for w in matrices:
            before = due
            for _ in range(w.size):
                due -= next(random) * left < due
                left -= 1
            numbers.append(int(before - due))
        return numbers
    values = np.concatenate([abs(w).ravel() for w in matrices])
    mask = lowest(values, due)
    if settings.get("count_rule") == "reference":
        mask = values <= np.sort(values)[due]
    owners = np.repeat(range(len(matrices)), [w.size for w in matrices])
    return [int(mask[owners == at].sum()) for at in range(len(matrices))]


# --- cases --------------------------------------------------------------------------------------------------------

def toy():
    weights = [[4, -1, 0.5, -2], [1, 3, -0.2, 0.8], [-0.6, 0.4, 2, -5]]
    inputs = [[1, 0, 2, 0], [0, 2, 1, 0], [1, 0, 0, 0.5], [0, 1, 3, 0.5]]
    whole = np.round(np.array(weights) * WEIGHT_SCALE).astype(int)
    return [("toy", whole, [(np.array(inputs) * INPUT_SCALE).astype(int)])]


def drawn(name, rows, cols, sequences, tokens, dead=()):
    """Heavy-tailed weights, and inputs that share a few directions and have a few loud columns."""
    random = np.random.default_rng([rows, cols])
    weights = np.clip(np.round(random.standard_t(5, (rows, cols)) * 300), -8000, 8000).astype(int)
    mixing = random.normal(size=(cols // 4, cols))
    loud = np.exp(random.normal(size=cols) * 0.7)
    inputs = []
    for _ in range(sequences):
        x = random.normal(size=(tokens, cols // 4)) @ mixing / math.sqrt(cols // 4) + 0.5 * random.normal(size=(tokens, cols))
        x = np.clip(np.round(x * loud * 60), -9999, 9999).astype(int)
        x[:, list(dead)] = 0
        inputs.append(x)
    return name, weights, inputs


def models():
    every = ["none", "random(sparsity=0.5)", "random(sparsity=0.3, scope=row)", "random(pattern=1:4)",
             "magnitude", "magnitude(sparsity=0.5, count_rule=reference)", "magnitude(sparsity=0.3, scope=row)",
             "magnitude(pattern=1:4)", "magnitude(pattern=3:4)", "magnitude(pattern=2:4)",
             "wanda", "wanda(sparsity=0.7)", "wanda(pattern=1:4)", "wanda(pattern=3:4)", "wanda(pattern=2:4)",
             "sparsegpt", "sparsegpt(pattern=2:4)",
             'shuffled-mask(like="wanda(sparsity=0.5)")', 'shuffled-mask(like="sparsegpt(pattern=2:4)", within=group)',
             'shuffled-mask(like="magnitude(sparsity=0.5)", within=row)']
    more = ["magnitude(pattern=4:8)", "wanda(sparsity=0.29)", "wanda(pattern=4:8)", "wanda(sparsity=0.5, variant=true)",
            "sparsegpt(sparsity=0.3, block=8)", "sparsegpt(sparsity=0.7, damp=0.1, block=16)",
            "sparsegpt(sparsity=0.5, block=8, count_rule=reference)", "sparsegpt(pattern=1:4, block=8)",
            "sparsegpt(pattern=4:8, damp=0.001)",
            "random(sparsity=0.4, scope=global)", "magnitude(sparsity=0.6, scope=global)",
            "magnitude(sparsity=0.6, scope=global, count_rule=reference)",
            'shuffled-mask(like="magnitude(sparsity=0.6, scope=global)")']
    wide = ["magnitude(sparsity=0.7)", "wanda(sparsity=0.6)", "wanda(sparsity=0.4, variant=true)", "sparsegpt",
            "sparsegpt(pattern=2:4)"]
    yield "toy", toy(), every
    yield "small", [drawn("first", 10, 24, 3, 20, dead=[5, 17]), drawn("second", 6, 40, 2, 50)], every + more
    yield "wide", [drawn("wide", 8, 160, 4, 16)], wide


def hexadecimal(row):
    bits = "".join("01"[int(value)] for value in row)
    bits += "0" * (-len(bits) % 4)
    return f"{int(bits, 2):0{len(bits) // 4}x}"


def written():
    result = []
    for name, matrices, arms in models():
        floats = [(w / WEIGHT_SCALE, [x / INPUT_SCALE for x in xs]) for _, w, xs in matrices]
        done = []
        for at, arm in enumerate(arms):
            method, settings = parse(arm)
            counts = allot(arm, [w for w, _ in floats])
            pruned = []
            for index, ((label, _, _), (w, xs)) in enumerate(zip(matrices, floats)):
                allotted = None if counts is None else counts[index]
                mask, changed = METHODS[method](settings, w, xs, stream(at, ["prune", label]), allotted)
                lost = w - (np.where(mask, 0, w) if changed is None else changed)
                changed = None if changed is None else [float(f"{value:.12g}") for value in changed.ravel()]
                pruned.append({"mask": [hexadecimal(row) for row in mask], "weights": changed})
                if len(xs) == 1:
                    pruned[-1]["lost"] = [float(f"{np.linalg.norm(m):.12g}") for m in (lost, xs[0] @ lost.T)]
            done.append({"arm": arm, "seed": at, "counts": counts, "matrices": pruned})
        given = [{"name": label, "rows": w.shape[0], "cols": w.shape[1], "weights": w.ravel().tolist(),
                  "sequences": [x.ravel().tolist() for x in xs]} for label, w, xs in matrices]
        result.append({"name": name, "matrices": given, "arms": done})
    return {"weight_scale": WEIGHT_SCALE, "input_scale": INPUT_SCALE, "models": result}


def main():
    text = json.dumps(written(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
    print(f"{TARGET}: {len(text)} bytes")


if __name__ == "__main__":
    main()
