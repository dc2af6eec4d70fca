"""Second-order and convex pruning computed apart from the Rust code: numpy in float64, and a conic solver.

    python tests/reference/second_order.py            rewrites tests/reference/second_order.json
    python tests/reference/second_order.py --check    exits 1 when the committed file differs

Matrices are whole numbers over 1024, inputs (tokens x cols) over 256, gradients (samples x weights) over 1024; all are exact in f32.
  fisher    weights of one or more matrices, gradients of each, and for each arm the matrices after pruning, by direct inverses
  obs       a matrix, sequences of inputs, and the matrix after removing weights one by one with the inverse taken anew each time
  net_trim  a matrix, inputs, gain, and the least sum of magnitudes inside the ball as SCS finds it
  alps      a matrix, sequences, arm, and the matrix after it, by direct solutions of the linear systems
"""

import json
import math
import pathlib
import re
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")


def whole(values, scale):
    return np.round(np.asarray(values) * scale).astype(int)


def lowest(scores, number):
    mask = np.zeros(scores.size, bool)
    mask[np.argsort(scores.ravel(), kind="stable")[:number]] = True
    return mask.reshape(scores.shape)


def settings(arm):
    return dict(re.findall(r"(\w+)=([^,)]+)", arm))


# --- Fisher information -------------------------------------------------------------------------------------------

def inverses(gradients, block, damp):
    """The inverse of every block, directly."""
    n, m = gradients.shape[1], len(gradients)
    found = []
    for start in range(0, n, block):
        g = gradients[:, start : start + block]
        found.append(np.linalg.inv(damp * np.eye(g.shape[1]) + g.T @ g / m))
    return found


def whole_mask(scores, arm):
    """Masks of all matrices by their scores."""
    if "pattern" in arm:
        keep, group = map(int, arm["pattern"].split(":"))
        return [np.stack([lowest(g, group - keep) for g in s.reshape(-1, group)]).reshape(s.shape) for s in scores]
    share = float(arm.get("sparsity", 0.5))
    if arm.get("scope") == "layer":
        return [lowest(s, int(share * s.size + 1e-9)) for s in scores]
    flat = np.concatenate([s.ravel() for s in scores])
    mask = lowest(flat, int(share * flat.size + 1e-9))
    parts = np.split(mask, np.cumsum([s.size for s in scores])[:-1])
    return [part.reshape(s.shape) for part, s in zip(parts, scores)]


def obd(weights, gradients, arm):
    scores = [0.5 * w**2 * (g**2).mean(0).reshape(w.shape) for w, g in zip(weights, gradients)]
    return [np.where(mask, 0, w) for w, mask in zip(weights, whole_mask(scores, arm))]


def obert(weights, gradients, arm):
    block, damp = int(arm.get("block", 50)), float(arm.get("damp", 1e-7))
    width = 4 if arm.get("unit") == "block4" else 1
    every = [inverses(g, block, damp) for g in gradients]
    scores = []
    for w, blocks in zip(weights, every):
        own = []
        for start, f in zip(range(0, w.size, block), blocks):
            part = w.ravel()[start : start + block]
            for at in range(0, part.size, width):
                q = slice(at, at + width)
                own.append(0.5 * part[q] @ np.linalg.inv(f[q, q]) @ part[q])
        scores.append(np.array(own).reshape(w.shape[0], -1))
    result = []
    for w, blocks, mask in zip(weights, every, whole_mask(scores, arm)):
        flat, gone = w.ravel().copy(), np.repeat(mask.ravel(), width)
        before = flat.copy()
        for start, f in zip(range(0, flat.size, block), blocks):
            size = len(f)
            for at in range(0, size, width):
                q = np.arange(at, at + width)
                if gone[start + at]:
                    flat[start : start + size] -= f[:, q] @ np.linalg.inv(f[np.ix_(q, q)]) @ before[start + q]
        flat[gone] = 0
        result.append(flat.reshape(w.shape))
    return result


# --- the error of outputs -----------------------------------------------------------------------------------------

def hessian(sequences, damp):
    h = 2 / len(sequences) * sum(x.T @ x for x in sequences)
    return h + damp * np.diag(h).mean() * np.eye(len(h))


def obs(w, sequences, arm):
    h = hessian(sequences, 0.01)
    result = []
    for row in w:
        alive, row = np.arange(row.size), row.copy()
        number = int(float(arm.get("sparsity", 0.5)) * row.size + 1e-9)
        for _ in range(number):
            inverse = np.linalg.inv(h[np.ix_(alive, alive)])
            q = np.argmin(row[alive] ** 2 / np.diag(inverse))
            row[alive] -= row[alive[q]] / inverse[q, q] * inverse[:, q]
            row[alive[q]] = 0
            alive = np.delete(alive, q)
        result.append(row)
    return np.array(result)


def alps(w, sequences, arm):
    g = sum(x.T @ x for x in sequences)
    g = g + 0.01 * np.diag(g).mean() * np.eye(len(g))
    scale = np.sqrt(np.diag(g))
    g, dense = g / np.outer(scale, scale), w * scale

    def project(values):
        scores = values**2
        if "pattern" in arm:
            keep, group = map(int, arm["pattern"].split(":"))
            return np.stack([lowest(s, group - keep) for s in scores.reshape(-1, group)]).reshape(scores.shape)
        return lowest(scores, int(float(arm.get("sparsity", 0.5)) * scores.size + 1e-9))

    rho, gone, dual = 0.1, project(dense), np.zeros_like(dense)
    sparse, before = np.where(gone, 0, dense), gone
    kept = (~gone).sum()
    for step in range(1, 301):
        full = np.linalg.solve(g + rho * np.eye(len(g)), (dense @ g - dual + rho * sparse).T).T
        gone = project(full + dual / rho)
        sparse = np.where(gone, 0, full + dual / rho)
        dual = dual + rho * (full - sparse)
        if step % 3 == 0:
            changed, before = (gone != before).sum(), gone
            if changed == 0:
                break
            rho *= 1.3 if changed >= 0.1 * kept else 1.2 if changed >= 0.005 * kept else 1.1
    # As many steps of conjugate gradients as a row has weights left solve its least squares; fewer come close.
    for row, full, mask in zip(sparse, dense, ~gone):
        residual = np.where(mask, (full - row) @ g, 0)
        along = residual.copy()
        for _ in range(int(arm.get("steps", 10))):
            product = np.where(mask, along @ g, 0)
            if along @ product <= 0:
                break
            size = residual @ residual
            row += size / (along @ product) * along
            residual = residual - size / (along @ product) * product
            along = residual + residual @ residual / size * along
    return sparse / scale


def net_trim(w, x, gain):
    """The least sum of magnitudes inside the ball: min 1't, -t <= u <= t, ||(u - w) L|| <= eps, by a conic solver."""
    import scipy.sparse as sp
    import scs

    rows, cols = w.shape
    n = w.size
    root = np.linalg.cholesky(x.T @ x + 1e-13 * np.eye(cols))
    radius = gain * np.linalg.norm(w @ root)
    maps = sp.kron(sp.eye(rows), sp.csc_matrix(root.T))
    eye, zero = sp.eye(n), sp.csc_matrix((n, n))
    # s = b - A v in the cones: t - u >= 0, t + u >= 0, (radius, (u - w) L) in the second-order cone.
    a = sp.vstack([sp.hstack([eye, -eye]), sp.hstack([-eye, -eye]), sp.csc_matrix((1, 2 * n)), sp.hstack([-maps, sp.csc_matrix((n, n))])])
    b = np.concatenate([np.zeros(2 * n), [radius], -(maps @ w.ravel())])
    c = np.concatenate([np.zeros(n), np.ones(n)])
    solver = scs.SCS({"A": sp.csc_matrix(a), "b": b, "c": c}, {"l": 2 * n, "q": [n + 1]}, eps_abs=1e-10, eps_rel=1e-10, max_iters=200000, verbose=False)
    found = solver.solve()
    assert found["info"]["status"] == "solved", found["info"]
    return found["info"]["pobj"]


# --- cases --------------------------------------------------------------------------------------------------------

def inputs(random, tokens, cols):
    x = random.normal(size=(tokens, cols // 2)) @ random.normal(size=(cols // 2, cols)) + 0.5 * random.normal(size=(tokens, cols))
    return whole(x * np.exp(0.5 * random.normal(size=cols)) * 0.3, 256)


def rounded(values):
    return [float(f"{value:.12g}") for value in np.asarray(values).ravel()]


def written():
    random = np.random.default_rng(20)
    result = {"weight_scale": 1024, "input_scale": 256, "gradient_scale": 1024}
    shapes, samples = [(5, 8), (3, 16)], 6
    weights = [whole(random.standard_t(5, shape) * 0.3, 1024) for shape in shapes]
    gradients = [whole(random.normal(size=(samples, r * c)) * np.exp(random.normal(size=r * c)), 1024) for r, c in shapes]
    arms = ["obd(sparsity=0.5)", "obd(sparsity=0.3, scope=layer)", "obd(pattern=2:4)",
            "obert(sparsity=0.5, block=7, damp=0.01)", "obert(sparsity=0.4, block=8, damp=0.001, scope=layer)",
            "obert(sparsity=0.5, block=8, damp=0.01, unit=block4)", "obert(pattern=2:4, block=16, damp=0.1)",
            "obert(sparsity=0.6, block=1, damp=0.01)"]
    done = []
    for arm in arms:
        method = {"obd": obd, "obert": obert}[arm.partition("(")[0]]
        after = method([w / 1024 for w in weights], [g / 1024 for g in gradients], settings(arm))
        done.append({"arm": arm, "weights": [rounded(w) for w in after]})
    result["fisher"] = {
        "matrices": [{"rows": w.shape[0], "cols": w.shape[1], "weights": w.ravel().tolist(), "gradients": g.tolist()}
                     for w, g in zip(weights, gradients)], "arms": done}
    w, xs = whole(random.standard_t(5, (6, 24)) * 0.3, 1024), [inputs(random, 40, 24) for _ in range(2)]
    real = [x / 256 for x in xs]
    arms = ["obs(sparsity=0.5)", "obs(sparsity=0.75)", "alps(sparsity=0.5)", "alps(sparsity=0.7, steps=24)", "alps(pattern=2:4)"]
    result["layer"] = {
        "rows": 6, "cols": 24, "weights": w.ravel().tolist(), "sequences": [x.ravel().tolist() for x in xs],
        "arms": [{"arm": arm, "weights": rounded({"obs": obs, "alps": alps}[arm.partition("(")[0]](w / 1024, real, settings(arm)))}
                 for arm in arms],
        "net_trim": [{"gain": gain, "least": float(f"{net_trim(w / 1024, np.concatenate(real), gain):.8g}")}
                     for gain in (0.05, 0.1, 0.3)]}
    return result


def main():
    text = json.dumps(written(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
    print(f"{TARGET}: {len(text)} bytes")


if __name__ == "__main__":
    main()
