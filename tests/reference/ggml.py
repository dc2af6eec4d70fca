"""Blocks of ggml's formats, by ggml itself and by its Python package.

    GGML_BASE=libggml-base.so python tests/reference/ggml.py            rewrites tests/reference/ggml.json
    GGML_BASE=libggml-base.so python tests/reference/ggml.py --check    exits 1 when the committed file differs

GGML_BASE names a shared library with `quantize_row_*_ref` and `dequantize_row_*` of ggml-quants.c, built for a processor
without fused multiply-add, as a build of llama.cpp for any x86-64 is:

    cmake -B build -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF && cmake --build build --target ggml-base

Needs numpy and gguf (0.19). Formats that the package can encode are encoded by both and have to agree; the others are
encoded by the library. All are decoded by both.

The file holds `values`, the hexadecimal digits of little-endian f32, in super-blocks of 256 named by `names`; and for each
of `formats` its `bytes` and `decoded`, likewise.
"""

import ctypes
import json
import os
import pathlib
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

TARGET = pathlib.Path(__file__).with_suffix(".json")

# name: type in the package, name in the library, values and bytes of a block, whether the package encodes it
FORMATS = {
    "q4_0": (Type.Q4_0, "q4_0", 32, 18, True),
    "q4_1": (Type.Q4_1, "q4_1", 32, 20, True),
    "q5_0": (Type.Q5_0, "q5_0", 32, 22, True),
    "q5_1": (Type.Q5_1, "q5_1", 32, 24, True),
    "q8_0": (Type.Q8_0, "q8_0", 32, 34, True),
    "q2_k": (Type.Q2_K, "q2_K", 256, 84, False),
    "q3_k": (Type.Q3_K, "q3_K", 256, 110, False),
    "q4_k": (Type.Q4_K, "q4_K", 256, 144, False),
    "q5_k": (Type.Q5_K, "q5_K", 256, 176, False),
    "q6_k": (Type.Q6_K, "q6_K", 256, 210, False),
    "mxfp4": (Type.MXFP4, "mxfp4", 32, 17, True),
    "nvfp4": (Type.NVFP4, "nvfp4", 64, 36, False),
}


def inputs():
    """Super-blocks by name."""
    random = np.random.default_rng(20)
    yield "weights", random.standard_normal(256) * 0.03
    heavy = (random.standard_t(3, 256) * 0.02).astype(np.float32)
    yield "heavy tails in bf16", (heavy.view(np.uint32) & 0xFFFF0000).view(np.float32)
    awkward = np.zeros((16, 16))
    awkward[2], awkward[3] = 0.75, -0.75
    awkward[4], awkward[5] = abs(random.standard_normal(16)) + 1, -abs(random.standard_normal(16)) - 1
    awkward[6, 3], awkward[7, 9] = 5.0, -5.0
    awkward[8] = np.linspace(-1, 1, 16)
    awkward[9] = 2.0
    awkward[9, 0] = -2.0
    awkward[10:12] = random.standard_normal((2, 16)) * 1e-3
    awkward[14:] = random.standard_normal((2, 16))
    yield "zeros, constants, one sign, spikes", awkward.reshape(-1)
    ties = np.zeros((8, 32))
    ties[0] = [127, *(n + 0.5 for n in range(-15, 16))]
    ties[1] = [-8, *(n / 2 for n in range(-15, 16))]
    ties[2] = [-16, *(n / 2 for n in range(-31, 0))]
    ties[3] = [0, 15, *(n / 2 for n in range(30))]
    ties[4] = [0, 31, *(n + 0.5 for n in range(30))]
    ties[5] = [6, -6, *(n / 4 for n in range(-15, 15))]
    ties[6] = [-32, 31, *(n + 0.5 for n in range(-15, 15))]
    ties[7] = [-4, 3, *(n / 4 for n in range(-16, 14))]
    yield "ties", ties.reshape(-1)
    small = random.standard_normal((8, 32)) * 10.0 ** -np.array([3, 4, 5, 6, 7, 8, 10, 14])[:, None]
    yield "scales down to nothing", small.reshape(-1)
    spread = random.standard_normal((16, 16)) * 2.0 ** random.integers(-12, 8, (16, 1))
    yield "scales far apart", spread.reshape(-1)


def library():
    path = os.environ.get("GGML_BASE")
    if not path:
        sys.exit("set GGML_BASE to a shared library of ggml; see the head of this script")
    return ctypes.CDLL(path)


def call(function, source, target, count):
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    function(source.ctypes.data, target.ctypes.data, count)
    return target


def written():
    ggml = library()
    names, blocks = zip(*inputs())
    values = np.ascontiguousarray(np.concatenate(blocks), dtype=np.float32)
    formats = {}
    for name, (kind, symbol, block, size, encodes) in FORMATS.items():
        found = np.zeros(values.size // block * size, np.uint8)
        call(getattr(ggml, f"quantize_row_{symbol}_ref"), values, found, values.size)
        if encodes:
            other = gguf.quantize(values.reshape(1, -1), kind).reshape(-1)
            assert (found == other).all(), f"{name}: the library and the package encode differently"
        decoded = call(getattr(ggml, f"dequantize_row_{symbol}"), found, np.zeros_like(values), values.size)
        other = gguf.dequantize(found.reshape(1, -1), kind).reshape(-1)
        assert (decoded == other).all(), f"{name}: the library and the package decode differently"
        formats[name] = {"bytes": found.tobytes().hex(), "decoded": decoded.tobytes().hex()}
    return {"names": names, "values": values.tobytes().hex(), "formats": formats}


def main():
    text = json.dumps(written(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv:
        sys.exit(TARGET.read_text() != text)
    TARGET.write_text(text)
    print(f"{TARGET}: {len(text)} bytes")


if __name__ == "__main__":
    main()
