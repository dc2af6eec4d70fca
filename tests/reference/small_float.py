"""FP8, MXFP4 and NVFP4, by numpy and the eight-bit types of torch.

    python tests/reference/small_float.py            rewrites tests/reference/small_float.json
    python tests/reference/small_float.py --check    exits 1 when the committed file differs

The file holds `numbers`, what the 256 codes of E4M3 and E5M2 stand for; `matrices` with name, rows, cols and weights; and
`arms`, each as suites write it with the codes (two digits each), scales and values of every matrix. Numbers are the
hexadecimal digits of little-endian f32.
"""

import json
import pathlib
import sys

import numpy as np
import torch

TARGET = pathlib.Path(__file__).with_suffix(".json")
EIGHT = {"e4m3": (torch.float8_e4m3fn, 448.0), "e5m2": (torch.float8_e5m2, 57344.0)}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
F = np.float32


def numbers(kind):
    return torch.arange(256, dtype=torch.int16).to(torch.uint8).view(EIGHT[kind][0]).float().numpy()


def eight(kind, values):
    """Codes of values within the range of an eight-bit type, ties to even."""
    dtype, largest = EIGHT[kind]
    return torch.from_numpy(np.clip(values, -largest, largest)).to(dtype).view(torch.uint8).numpy()


def four(values, ties):
    """Codes of E2M1: the nearest of all eight; of two as near the even code, or the higher."""
    values = values.astype(np.float64)
    codes = np.zeros(values.shape, np.uint8)
    for place, value in np.ndenumerate(abs(values)):
        distance = abs(E2M1 - value)
        best = np.flatnonzero(distance == distance.min())
        codes[place] = max(best) if ties == "away" else next((c for c in best if c % 2 == 0), best[0])
    return codes | (np.signbit(values) << 3).astype(np.uint8)


def of_four(codes):
    return np.where(codes & 8, -1, 1) * E2M1[codes & 7]


def fp8(settings, w):
    kind = settings.get("format", "e4m3")
    groups = w if settings.get("scale") == "row" else w.reshape(1, -1)
    scales = abs(groups).max(1) / F(EIGHT[kind][1])
    scales[scales == 0] = 1
    codes = eight(kind, groups / scales[:, None])
    return codes, scales, numbers(kind)[codes] * scales[:, None]


def mxfp4(settings, w):
    blocks = w.reshape(-1, 32)
    largest = abs(blocks).max(1).astype(np.float64)
    _, exponents = np.frexp(largest)
    scales = np.where(largest == 0, 2.0**-127, 2.0 ** np.clip(exponents - 1 - 2.0, -127, 127))
    codes = four(blocks / scales[:, None], "away" if settings.get("round") == "nearest_away" else "even")
    return codes, scales, of_four(codes) * scales[:, None]


def nvfp4(settings, w):
    blocks = w.reshape(-1, 16)
    whole = abs(w).max() / F(448 * 6)
    wanted = abs(blocks).max(1) / F(6) / whole if whole else np.zeros(len(blocks), F)
    finite = numbers("e4m3")[:127]
    stored = finite[np.searchsorted(finite, np.minimum(wanted, F(448)))] if settings.get("scale_round") == "up" else None
    scales = (finite[eight("e4m3", wanted)] if stored is None else stored) * whole
    with np.errstate(all="ignore"):
        codes = np.where(scales[:, None] == 0, 0, four(np.nan_to_num(blocks / scales[:, None]), "even")).astype(np.uint8)
    return codes, scales, of_four(codes).astype(F) * scales[:, None]


ARMS = {
    "fp8": (fp8, {}),
    "fp8(scale=row)": (fp8, {"scale": "row"}),
    "fp8(format=e5m2)": (fp8, {"format": "e5m2"}),
    "fp8(format=e5m2, scale=row)": (fp8, {"format": "e5m2", "scale": "row"}),
    "mxfp4": (mxfp4, {}),
    "mxfp4(round=nearest_away)": (mxfp4, {"round": "nearest_away"}),
    "nvfp4": (nvfp4, {}),
    "nvfp4(scale_round=up)": (nvfp4, {"scale_round": "up"}),
}


def matrices():
    random = np.random.default_rng(14)
    yield "weights", random.standard_normal((8, 64)) * 0.03
    yield "heavy tails", random.standard_t(2, (4, 64)) * 0.1
    awkward = np.zeros((6, 32))
    awkward[1] = np.arange(-16, 16) / 4
    awkward[2] = 0.75
    awkward[3] = [448, *(n / 16 for n in range(31))]
    awkward[4] = random.standard_normal(32) * 1e-7
    awkward[5, :6] = [0.11, -0.7, 2.9, -5, 0, 1.2]
    yield "zeros, ties, scales far apart", awkward
    yield "beyond six", np.where(np.arange(64).reshape(2, 32) % 7 == 0, 7.9, random.standard_normal((2, 32)))
    yield "subnormal", random.standard_normal((2, 32)) * 1e-39
    yield "all zero", np.zeros((2, 32))


def written():
    found = {"numbers": {kind: numbers(kind).tobytes().hex() for kind in EIGHT}, "matrices": [], "arms": []}
    weights = [(name, w.astype(F)) for name, w in matrices()]
    for name, w in weights:
        rows, cols = w.shape
        found["matrices"].append({"name": name, "rows": rows, "cols": cols, "weights": w.tobytes().hex()})
    for arm, (method, settings) in ARMS.items():
        cases = []
        for _, w in weights:
            codes, scales, values = method(settings, w)
            cases.append({
                "codes": codes.tobytes().hex(),
                "scales": scales.astype(F).tobytes().hex(),
                "values": values.astype(F).tobytes().hex(),
            })
        found["arms"].append({"arm": arm, "matrices": cases})
    return found


def main():
    text = json.dumps(written(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
    print(f"{TARGET}: {len(text)} bytes")


if __name__ == "__main__":
    main()
