"""Matrices as factors, in numpy, for arms of the lowrank axis.

    python tests/reference/lowrank.py            rewrites tests/reference/lowrank.json
    python tests/reference/lowrank.py --check    exits 1 when the committed file differs

Written with numpy 2. Matrices, inputs and gradients are whole numbers over `scale`. A case holds
  arm       the method and its parameters
  matrix    which matrix it is applied to, by its number
  product   what the factors multiply to, row by row
  singular  the singular values that were cut, one list a cut
  lost      the squared error in the method's own norm
  chosen    rows and columns, of CUR
  jitter    what was added to what weights are divided by; left_out, directions that an update leaves out; both 0 unless the inputs
            of the matrix do not have all directions, as those of the last one
A case of `update` is fitted again to the second inputs of its matrix; one with `share` is given that by a search.

`searches` are searches of shares: `ratio`, `maps` with `whole` numbers and what each is `tried` with (share, numbers, loss), and the
`shares` that are told out (null: whole), found by looking at every bound.
"""

import json
import pathlib
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")
SCALE = 256


def whole(shape, a, b):
    """Numbers without a pattern that a method could use, as whole numbers."""
    at = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    return np.round(SCALE * (np.sin(a * at + b) + 0.5 * np.cos(b * at * at * 0.01 + a))).astype(int)


def spread(shape, a, b):
    """As `whole`, with columns of different size."""
    return np.round(whole(shape, a, b) * (0.25 + 2.0 ** (np.arange(shape[1]) % 5) / 4)).astype(int)


MATRICES = [
    {
        "weights": whole((12, 20), 0.7, 1.3),
        "inputs": [spread((30, 20), 1.1, 0.4), spread((30, 20), 0.3, 2.2)],
        "again": [spread((40, 20), 0.9, 1.7)],
        "gradients": np.abs(spread((1, 20), 0.5, 0.9))[0] + 3,
    },
    {
        "weights": whole((24, 18), 1.9, 0.2),
        "inputs": [spread((60, 18), 0.8, 1.4)],
        "again": [spread((50, 18), 2.1, 0.6)],
        "gradients": np.abs(spread((1, 18), 1.5, 0.1))[0] + 3,
    },
    # Eight tokens for eighteen inputs, of which one is always zero; three tokens to fit an update to.
    {
        "weights": whole((24, 18), 0.6, 2.2),
        "inputs": [spread((8, 18), 1.3, 0.7) * (np.arange(18) != 4)],
        "again": [spread((3, 18), 0.4, 1.1)],
        "gradients": (np.abs(spread((1, 18), 0.9, 0.3))[0] + 3) * (np.arange(18) != 7),
    },
]


def svd(matrix, rank):
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    return (u[:, :rank] * np.sqrt(s[:rank])), (np.sqrt(s[:rank])[:, None] * v[:rank]), s


def weighted(weight, scaling, rank):
    """The product of the factors of `weight @ scaling`, its right factor, and the singular values."""
    a, b, s = svd(weight @ scaling, rank)
    right = b @ np.linalg.inv(scaling)
    return a @ right, right, s


def case_svd(data, rank):
    a, b, s = svd(data["w"], rank)
    return {"product": a @ b, "singular": [s], "lost": np.sum(s[rank:] ** 2)}


def case_svd_llm(data, rank, update=False, whiten=True):
    gram = data["x"].T @ data["x"]
    jitter, left_out = 0.0, 0
    if whiten and np.linalg.matrix_rank(gram) < len(gram):
        jitter = 1e-6
        gram = gram + (jitter - np.linalg.eigvalsh(gram)[0]) * np.eye(len(gram))
    scaling = np.linalg.cholesky(gram) if whiten else np.eye(gram.shape[0])
    product, right, s = weighted(data["w"], scaling, rank)
    if update:
        reduced, outputs = data["again"] @ right.T, data["again"] @ data["w"].T
        left = np.linalg.lstsq(reduced, outputs, rcond=None)[0].T
        left_out = rank - int(np.linalg.matrix_rank(reduced))
        product = left @ right
    lost = np.sum(s[rank:] ** 2)
    if whiten and not update and not jitter:
        # The theorem: the loss of the layer is the root of the squares left out.
        error = np.linalg.norm((data["w"] - product) @ data["x"].T)
        assert abs(error - np.sqrt(lost)) < 1e-9 * error
    return {"product": product, "singular": [s], "lost": lost, "jitter": jitter, "left_out": left_out}


def case_asvd(data, rank, alpha=0.5, size="abs-mean"):
    sizes = {
        "abs-mean": np.abs(data["x"]).mean(0),
        "abs-max": np.abs(data["x"]).max(0),
        "fisher": np.sqrt(data["f"] / data["w"].shape[0]),
    }[size]
    product, _, s = weighted(data["w"], np.diag(sizes**alpha + 1e-6), rank)
    jitter = 1e-6 if np.any(sizes**alpha < 1e-6) else 0.0
    return {"product": product, "singular": [s], "lost": np.sum(s[rank:] ** 2), "jitter": jitter}


def case_fwsvd(data, rank):
    scaling = np.diag(np.maximum(np.sqrt(data["f"]), 1e-6))
    product, _, s = weighted(data["w"], scaling, rank)
    jitter = 1e-6 if np.any(np.sqrt(data["f"]) < 1e-6) else 0.0
    return {"product": product, "singular": [s], "lost": np.sum(s[rank:] ** 2), "jitter": jitter}


def deim(vectors, how):
    """Rows of `vectors`, one for each column, none twice."""
    work, picked = vectors.copy(), []
    for k in range(vectors.shape[1]):
        if how == "canonical" and k:
            c = np.linalg.solve(vectors[picked, :k], vectors[picked, k])
            work[:, k] = vectors[:, k] - vectors[:, :k] @ c
        size = np.abs(work[:, k])
        size[picked] = -1
        picked.append(int(np.argmax(size)))
        if how != "canonical":
            inverse = np.linalg.pinv(work[picked[-1] : picked[-1] + 1, : k + 1])
            along = work[:, : k + 1] @ inverse
            work[:, k + 1 :] -= along @ work[picked[-1] : picked[-1] + 1, k + 1 :] if how == "paper" else along
    return picked


def case_curing(data, rank, metric="wanda", how="canonical"):
    w, x = data["w"], data["x"]
    norms = np.sqrt((x**2).mean(0))
    norm = np.eye(w.shape[1])
    if metric == "wanda":
        scores = np.abs(w) * norms
    elif metric == "magnitude":
        scores = np.abs(w)
    elif metric == "weight":
        scores = w
    elif metric == "cov-fast":
        scores, norm = w * norms, np.diag(norms)
    else:
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        norm = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
        scores = w @ norm
    u, s, v = np.linalg.svd(scores, full_matrices=False)
    # `head` depends on the signs of vectors, which no decomposition determines: the greatest entry of a left one is positive.
    signs = np.sign(u[np.abs(u).argmax(0), np.arange(len(s))])
    u, v = u * signs, v * signs[:, None]
    rows, cols = deim(u[:, :rank], how), deim(v[:rank].T, how)
    c, r = w[:, cols], w[rows]
    middle = np.linalg.pinv(c, 1e-6) @ (w @ norm) @ np.linalg.pinv(r @ norm, 1e-6)
    product = c @ middle @ r
    lost = np.sum(((w - product) @ norm) ** 2)
    return {"product": product, "singular": [s], "lost": lost, "chosen": [rows, cols]}


def case_compactifai(data, outputs, inputs, bond):
    w, order = data["w"], len(outputs)
    legs = [size for pair in zip(outputs, inputs) for size in pair]
    tensor = w.reshape(*outputs, *inputs).transpose([leg for k in range(order) for leg in (k, order + k)])
    cores, singular, rest, before, lost = [], [], tensor.reshape(1, -1), 1, 0.0
    for k in range(order - 1):
        rest = rest.reshape(before * outputs[k] * inputs[k], -1)
        u, s, v = np.linalg.svd(rest, full_matrices=False)
        kept = min(bond, len(s))
        cores.append(u[:, :kept].reshape(before, outputs[k], inputs[k], kept))
        singular.append(s)
        lost += np.sum(s[kept:] ** 2)
        rest, before = s[:kept, None] * v[:kept], kept
    cores.append(rest.reshape(before, outputs[-1], inputs[-1], 1))
    whole_tensor = cores[0]
    for core in cores[1:]:
        whole_tensor = np.tensordot(whole_tensor, core, axes=1)
    product = whole_tensor.reshape(legs).transpose([2 * k for k in range(order)] + [2 * k + 1 for k in range(order)])
    product = product.reshape(w.shape)
    assert abs(np.sum((w - product) ** 2) - lost) < 1e-9 * max(lost, 1)
    return {"product": product, "singular": singular, "lost": lost}


CASES = [
    ("svd(rank=3)", 0, case_svd, {"rank": 3}),
    ("svd", 0, case_svd, {"rank": 6}),
    ("remainder(like=\"svd(rank=3)\")", 0, case_svd, {"rank": 3}),
    ("svd(ratio=0.5, split=left)", 1, case_svd, {"rank": 5}),
    ("svd-llm(rank=3)", 0, case_svd_llm, {"rank": 3}),
    ("svd-llm", 1, case_svd_llm, {"rank": 8}),
    ("svd-llm(rank=3, update=closed-form)", 0, case_svd_llm, {"rank": 3, "update": True}),
    ("svd-llm(rank=5, update=closed-form, whiten=false)", 1, case_svd_llm, {"rank": 5, "update": True, "whiten": False}),
    ("asvd(rank=3)", 0, case_asvd, {"rank": 3}),
    ("asvd(rank=4, alpha=1, size=abs-max)", 1, case_asvd, {"rank": 4, "alpha": 1.0, "size": "abs-max"}),
    ("asvd(rank=4, size=fisher)", 0, case_asvd, {"rank": 4, "size": "fisher"}),
    # Half of 432 numbers in factors of 42: rank 5.
    ("asvd(ratio=0.3, allocation=sensitivity)", 1, case_asvd, {"rank": 5, "share": 0.5}),
    ("asvd(rank=4)", 2, case_asvd, {"rank": 4}),
    ("fwsvd(rank=4)", 2, case_fwsvd, {"rank": 4}),
    ("svd-llm(rank=4)", 2, case_svd_llm, {"rank": 4}),
    ("svd-llm(rank=5, update=closed-form)", 2, case_svd_llm, {"rank": 5, "update": True}),
    ("fwsvd(rank=3)", 0, case_fwsvd, {"rank": 3}),
    ("fwsvd(ratio=0.4, split=right)", 1, case_fwsvd, {"rank": 6}),
    ("curing(rank=3)", 0, case_curing, {"rank": 3}),
    ("curing", 1, case_curing, {"rank": 8}),
    ("curing(rank=4, deim=paper)", 1, case_curing, {"rank": 4, "how": "paper"}),
    ("curing(rank=4, deim=head, metric=weight)", 1, case_curing, {"rank": 4, "how": "head", "metric": "weight"}),
    ("curing(rank=3, metric=magnitude)", 0, case_curing, {"rank": 3, "metric": "magnitude"}),
    ("curing(rank=4, metric=cov-fast)", 0, case_curing, {"rank": 4, "metric": "cov-fast"}),
    ("curing(rank=4, metric=cov)", 1, case_curing, {"rank": 4, "metric": "cov"}),
    ("compactifai(bond=4, outputs=[3, 4], inputs=[4, 5])", 0, case_compactifai, {"outputs": [3, 4], "inputs": [4, 5], "bond": 4}),
    ("compactifai(bond=5, outputs=[6, 4], inputs=[3, 6])", 1, case_compactifai, {"outputs": [6, 4], "inputs": [3, 6], "bond": 5}),
    ("compactifai(order=3, bond=6, outputs=[2, 3, 4], inputs=[3, 2, 3])", 1, case_compactifai, {"outputs": [2, 3, 4], "inputs": [3, 2, 3], "bond": 6}),
]


# Seed, maps, ratio, and how many different losses there are.
SEARCHES = [(1, 4, 0.2, 999), (2, 9, 0.35, 999), (3, 7, 0.5, 6), (4, 12, 0.6, 40), (5, 3, 0.05, 999)]


def search(seed, count, ratio, levels):
    """Every bound in turn: the lowest loss that leaves few enough numbers, pair by pair where losses are equal."""
    random = np.random.default_rng(seed)
    maps = []
    for _ in range(count):
        rows, cols = (int(size) for size in random.integers(32, 200, 2))
        tried = []
        for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
            rank = int(rows * cols * share / (rows + cols) + 1e-9)
            loss = float(np.round((1 - share) * random.uniform(0.2, 4) * levels) / levels)
            tried.append([share, rank * (rows + cols), loss])
        maps.append({"whole": rows * cols, "tried": tried})
    pairs = [(-loss, at, share, numbers) for at, m in enumerate(maps) for share, numbers, loss in m["tried"]]
    pairs.sort(key=lambda pair: pair[0])
    allowed = sum(m["whole"] for m in maps) * (1 - ratio)
    told = None
    for cut in range(len(pairs) + 1):
        kept = {}
        for _, at, share, numbers in pairs[cut:]:
            kept[at] = min(kept.get(at, (2, 0)), (share, numbers))
        left = sum(kept[at][1] if at in kept else m["whole"] for at, m in enumerate(maps))
        if left <= allowed:
            told = [kept[at][0] if at in kept else None for at in range(count)]
    return {"ratio": ratio, "maps": maps, "shares": told}


def numbers(value):
    return [float(f"{x:.10g}") for x in np.asarray(value, dtype=np.float64).ravel()]


def built():
    cases = []
    for arm, at, function, options in CASES:
        matrix = MATRICES[at]
        data = {
            "w": matrix["weights"] / SCALE,
            "x": np.concatenate(matrix["inputs"]) / SCALE,
            "again": np.concatenate(matrix["again"]) / SCALE,
            "f": matrix["gradients"] / SCALE,
        }
        share = options.get("share")
        found = function(data, **{key: value for key, value in options.items() if key != "share"})
        case = {"arm": arm, "matrix": at, "product": numbers(found["product"]), "lost": float(f"{found['lost']:.10g}")}
        case["singular"] = [numbers(s) for s in found["singular"]]
        if "chosen" in found:
            case["chosen"] = found["chosen"]
        if options.get("update"):
            case["update"] = True
        if share is not None:
            case["share"] = share
        case |= {key: found.get(key, 0) for key in ("jitter", "left_out")}
        cases.append(case)
    matrices = [
        {
            "rows": m["weights"].shape[0],
            "cols": m["weights"].shape[1],
            "weights": m["weights"].ravel().tolist(),
            "inputs": [x.ravel().tolist() for x in m["inputs"]],
            "again": [x.ravel().tolist() for x in m["again"]],
            "gradients": m["gradients"].tolist(),
        }
        for m in MATRICES
    ]
    return {"scale": SCALE, "matrices": matrices, "cases": cases, "searches": [search(*given) for given in SEARCHES]}


def main():
    text = json.dumps(built(), separators=(",", ":")).replace('{"arm"', '\n{"arm"').replace('{"rows"', '\n{"rows"') + "\n"
    if "--check" in sys.argv:
        if TARGET.read_text() != text:
            print(f"{TARGET} differs", file=sys.stderr)
            sys.exit(1)
        return
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
