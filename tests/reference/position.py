"""Rotary frequencies of context extension, for arms that name a method: transformers' own rope utilities, or numpy in f64.

    python -P tests/reference/position.py            rewrites tests/reference/position.json
    python -P tests/reference/position.py --check    exits 1 when the committed file differs

`-P`, for `statistics.py` of this folder would hide Python's own from transformers. Written with transformers 5, torch 2
(f32 as they run it), scipy and numpy 2. Every arm is computed in numpy from its formula; where transformers has the method its values
are kept, once they agree with numpy to `CLOSE`. A case holds
  arm               the method and its parameters
  dim, base         rotary dimensions of a head and the base of the model
  trained, length   the window of the training, and how many tokens are in sight
  source            `transformers` (f32, each written as the f64 it equals) or `numpy` (f64)
  inv_freq          the angle per position of each of the `dim / 2` pairs
  attention_factor  what multiplies both cosine and sine
A start holds, of longrope with start tokens, `cos` and `sin` of each pair at some `places` with the factor in them, and the `score` of a
query of ones at a place with a key of ones at another, half split, for `pairs` of places.
A flow holds, of CLEX with a net, the maps `up (width, pairs)` and `down (pairs, width)` besides.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
from scipy.integrate import solve_ivp
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

TARGET = pathlib.Path(__file__).with_suffix(".json")
# f32 against f64, relative: a few roundings of 6e-8.
CLOSE = 1e-6

TINY = (8, 1e4, 256)
SMALL = (32, 1e4, 256)
SHORT = (64, 1e4, 2048)
MIDDLE = (64, 1e5, 8192)
LARGE = (128, 5e5, 8192)


# Numpy: `(dim, base, trained, length)` and the parameters of the arm to frequencies and attention factor.


def plain(dim, base):
    return base ** (-2 * np.arange(dim // 2) / dim)


def rotations(dim, base, trained):
    return trained * plain(dim, base) / (2 * np.pi)


def stretched(dim, base, by):
    """The base raised so that the lowest frequency is divided by `by` and the highest is kept."""
    return plain(dim, base * by ** (dim / (dim - 2)))


def none(dim, base, trained, length):
    return plain(dim, base), 1.0


def rope(dim, _, trained, length, base):
    return plain(dim, base), 1.0


def linear(dim, base, trained, length, factor):
    return plain(dim, base) / factor, 1.0


def ntk(dim, base, trained, length, factor):
    return stretched(dim, base, factor), 1.0


def dynamic_ntk(dim, base, trained, length, factor):
    return stretched(dim, base, factor * length / trained - (factor - 1) if length > trained else 1), 1.0


def dynamic_linear(dim, base, trained, length, whole=False):
    factor = max(1, length / trained)
    return plain(dim, base) / (math.ceil(factor) if whole else factor), 1.0


def flowed(dim, base, time, step, up=None, down=None, activation="silu"):
    """Frequencies of CLEX at a time by the classic Runge-Kutta method, in steps that divide the time evenly."""
    pairs = np.arange(dim // 2)
    bend = np.tanh if activation == "tanh" else lambda x: x / (1 + np.exp(-x))

    def speed(t, z):
        grow = 2 * t - 1
        drift = -2 * pairs / (dim - 2) * 2 / grow
        if up is None:
            return drift
        return down @ bend(up @ (z + np.log(stretched(dim, base, grow)))) + drift

    z = np.log(plain(dim, base))
    count = math.ceil((time - 1) / step - 1e-9)
    for at in range(count):
        h, t = (time - 1) / count, 1 + (time - 1) * at / count
        a = speed(t, z)
        b = speed(t + h / 2, z + h / 2 * a)
        c = speed(t + h / 2, z + h / 2 * b)
        z = z + h / 6 * (a + 2 * b + 2 * c + speed(t + h, z + h * c))
    if count:
        exact = solve_ivp(speed, (1, time), np.log(plain(dim, base)), method="DOP853", rtol=1e-12, atol=1e-12)
        assert np.abs(exact.y[:, -1] - z).max() < 1e-3 * step
    return np.exp(z)


def clex(dim, base, trained, length, max_factor=4, step=0.1, log_scale=False):
    heat = math.sqrt(max(1, math.log(length) / math.log(trained))) if log_scale else 1.0
    return flowed(dim, base, min(max(1, -(-length // trained)), max_factor), step), heat


def flow(config, time, width, step, activation, seed):
    """A net of small numbers and the frequencies it leads to."""
    dim, base, trained = config
    rng = np.random.default_rng(seed)
    made = lambda *shape: (0.2 * rng.standard_normal(shape)).astype(np.float32)
    up, down = made(width, dim // 2), made(dim // 2, width) / width
    found = flowed(dim, base, time, step, up.astype(float), down.astype(float), activation)
    return {
        "arm": f"clex(max_factor={time}, step={step}, activation={activation})", "dim": dim, "base": base, "trained": trained,
        "length": time * trained, "up": up.ravel().tolist(), "down": down.ravel().tolist(), "inv_freq": found.tolist(),
    }


def by_parts(dim, base, trained, length, factor, slow=1, fast=32):
    kept = np.clip((rotations(dim, base, trained) - slow) / (fast - slow), 0, 1)
    return plain(dim, base) * ((1 - kept) / factor + kept), 1.0


def yarn_range(dim, base, trained, slow=1, fast=32):
    pair = lambda turns: dim * math.log(trained / (2 * math.pi * turns)) / (2 * math.log(base))
    # Rounding decides between whole numbers, which no other arithmetic may see differently.
    assert all(abs(pair(turns) - round(pair(turns))) > 1e-6 for turns in (slow, fast))
    return max(math.floor(pair(fast)), 0), min(math.ceil(pair(slow)), dim - 1)


def yarn(dim, base, trained, length, factor, ramp="code", fast=32, slow=1, attention_factor=None):
    heat = (0.1 * math.log(factor) + 1 if factor > 1 else 1.0) if attention_factor is None else attention_factor
    if ramp == "paper":
        return by_parts(dim, base, trained, length, factor, slow, fast)[0], heat
    low, high = yarn_range(dim, base, trained, slow, fast)
    scaled = np.clip((np.arange(dim // 2) - low) / (high - low if high != low else 0.001), 0, 1)
    return plain(dim, base) * (scaled / factor + 1 - scaled), heat


def llama3(dim, base, trained, length, factor, low=1, high=4):
    theta = plain(dim, base)
    wave = 2 * np.pi / theta
    smooth = (trained / wave - low) / (high - low)
    between = (1 - smooth) * theta / factor + smooth * theta
    return np.where(wave < trained / high, theta, np.where(wave > trained / low, theta / factor, between)), 1.0


def longrope(dim, base, trained, length, factor, short, long):
    heat = math.sqrt(1 + math.log(factor) / math.log(trained)) if factor > 1 else 1.0
    return plain(dim, base) / np.array(long if length > trained else short, float), heat


def longrope2(dim, base, trained, length, factor=4):
    """Before any search: the base raised up to the first pair that training never turns once, all of the factor from it on."""
    if length <= trained:
        return plain(dim, base), 1.0
    critical = int((rotations(dim, base, trained) >= 1).sum())
    return plain(dim, base) / factor ** np.minimum(np.arange(dim // 2) / critical, 1), 1.0


def giraffe_power(dim, base, trained, length, k):
    return plain(dim, base) * (1 - np.arange(dim // 2) / (dim // 2)) ** k, 1.0


def giraffe_truncated(dim, base, trained, length, cutoff):
    theta, edge = plain(dim, base), 2 * np.pi / cutoff
    # Which side of an edge a frequency is on must not hang on rounding.
    assert all(np.abs(theta / at - 1).min() > 1e-4 for at in (edge, edge / 8))
    return np.where(theta >= edge, theta, np.where(theta >= edge / 8, edge / 16, 0.0)), 1.0


# Transformers: the same arguments to rope parameters of a configuration, and to how far its positions reach.


def extended(kind, base, trained, factor, **rest):
    made = {"rope_type": kind, "rope_theta": base, "factor": factor, "original_max_position_embeddings": trained, **rest}
    return made, trained * max(factor, 1)


def yarn_parameters(dim, base, trained, length, factor, fast=None, slow=None, attention_factor=None):
    named = {"beta_fast": fast, "beta_slow": slow, "attention_factor": attention_factor}
    return extended("yarn", base, trained, factor, **{name: x for name, x in named.items() if x is not None})


PARAMETERS = {
    "none": lambda dim, base, trained, length: ({"rope_type": "default", "rope_theta": base}, trained),
    "rope": lambda dim, _, trained, length, base: ({"rope_type": "default", "rope_theta": float(base)}, trained),
    "linear": lambda dim, base, trained, length, factor: (
        {"rope_type": "linear", "rope_theta": base, "factor": factor}, trained * factor
    ),
    "dynamic-ntk": lambda dim, base, trained, length, factor: (
        {"rope_type": "dynamic", "rope_theta": base, "factor": factor}, trained
    ),
    "yarn": yarn_parameters,
    "llama3": lambda dim, base, trained, length, factor, low=1, high=4: extended(
        "llama3", base, trained, factor, low_freq_factor=low, high_freq_factor=high
    ),
    "longrope": lambda dim, base, trained, length, factor, short, long: extended(
        "longrope", base, trained, factor, short_factor=short, long_factor=long
    ),
}


def by_transformers(name, config, length, of):
    parameters, reach = PARAMETERS[name](*config, length, **of)
    dim = config[0]
    made = LlamaConfig(
        hidden_size=dim, num_attention_heads=1, head_dim=dim, max_position_embeddings=reach, rope_parameters=parameters
    )
    kind = parameters["rope_type"]
    if kind == "default":
        found, heat = LlamaRotaryEmbedding.compute_default_rope_parameters(made)
    else:
        # Dynamic and longrope go by the length they are told, the others do not look at it.
        found, heat = ROPE_INIT_FUNCTIONS[kind](made, seq_len=length)
    if kind == "longrope":
        # The layer of a model, run on the last position in sight, takes the same list.
        layer = LlamaRotaryEmbedding(made)
        layer(torch.zeros(1), torch.tensor([[length - 1]]))
        assert torch.equal(layer.inv_freq, found) and layer.attention_scaling == heat
    assert found.dtype == torch.float32
    return found.double().numpy(), float(heat)


def written(x):
    if isinstance(x, list):
        return "[" + ", ".join(map(written, x)) + "]"
    return json.dumps(int(x) if isinstance(x, float) and x.is_integer() else x)


def by_numpy(name, config, length, of):
    return globals()[name.replace("-", "_")](*config, length, **of)


def case(config, length, name, **of):
    inside = ", ".join(f"{key}={written(x)}" for key, x in of.items())
    source = "transformers" if name in PARAMETERS and "ramp" not in of else "numpy"
    frequencies, heat = by_numpy(name, config, length, of)
    if source == "transformers":
        exact, exact_heat = frequencies, heat
        frequencies, heat = by_transformers(name, config, length, of)
        assert frequencies.shape == exact.shape and np.abs(frequencies / exact - 1).max() < CLOSE, name
        assert abs(heat / exact_heat - 1) < 1e-12, name
    dim, base, trained = config
    return {
        "arm": f"{name}({inside})" if of else name, "dim": dim, "base": base, "trained": trained, "length": length,
        "source": source, "inv_freq": frequencies.tolist(), "attention_factor": heat,
    }


def lists(dim, factor):
    """Lists of `longrope` as they are published: rising in the main, with a step back."""
    at = [i / (dim // 2 - 1) for i in range(dim // 2)]
    short, long = [round(1 + 0.3 * x, 2) for x in at], [round(1 + (1.2 * factor - 1) * x**2, 2) for x in at]
    long[dim // 4], long[dim // 4 + 1] = long[dim // 4 + 1], long[dim // 4]
    return {"factor": factor, "short": short, "long": long}


def worked():
    """Examples worked by hand, to six digits."""

    def same(config, length, name, frequencies, heat=1.0, **of):
        found, found_heat = by_numpy(name, config, length, of)
        assert np.abs(found - frequencies).max() < 5.1e-7 and abs(found_heat - heat) < 5.1e-7, (name, of, found, found_heat)

    wide = (16, 1e4, 256)
    theta = [1, 0.1, 0.01, 0.001]
    same(TINY, 256, "none", theta)
    same(TINY, 256, "linear", [0.25, 0.025, 0.0025, 0.00025], factor=4)
    same(TINY, 256, "ntk", [1, 0.062996, 0.003969, 0.000250], factor=4)
    same(TINY, 512, "dynamic-ntk", [1, 0.069336, 0.004807, 0.000333], factor=2)
    same(TINY, 256, "dynamic-ntk", theta, factor=4)
    same(TINY, 256, "by-parts", [1, 0.032438, 0.0025, 0.00025], factor=4)
    same(TINY, 256, "yarn", [1, 0.0625, 0.0025, 0.00025], 1.138629, factor=4)
    same(TINY, 256, "yarn", [1, 0.032438, 0.0025, 0.00025], 1.138629, factor=4, ramp="paper")
    same(wide, 256, "llama3", [1, 0.316228, 0.1, 0.006613, 0.00125, 0.000395, 0.000125, 0.000040], factor=8)
    stretch = {"factor": 4, "short": [1, 1, 1, 1], "long": [1, 1.5, 4, 5]}
    same(TINY, 257, "longrope", [1, 0.066667, 0.0025, 0.0002], 1.118034, **stretch)
    same(TINY, 256, "longrope", theta, 1.118034, **stretch)
    same(TINY, 256, "giraffe-power", [1, 0.086603, 0.007071, 0.0005], k=0.5)
    same(TINY, 256, "giraffe-power", [1, 0.097164, 0.00933, 0.000871], k=0.1)
    same(TINY, 256, "giraffe-truncated", [1, 0.1, 0.001534, 0], cutoff=256)
    same(wide, 256, "giraffe-truncated", [1, 0.316228, 0.1, 0.031623, 0.001534, 0.001534, 0, 0], cutoff=256)
    same(TINY, 1024, "clex", [1, 0.052276, 0.002733, 0.000143])
    assert np.abs(clex(*TINY, 1024)[0] - stretched(8, 1e4, 7)).max() < 5.1e-7
    assert np.abs(rotations(*TINY) - [40.743665, 4.074367, 0.407437, 0.040744]).max() < 5.1e-7
    # A raised base shows in the second of four frequencies: its fourth root.
    for length, factor, base in [
        (257, 1, 10052.117212), (257, 2, 10104.302066), (257, 4, 10208.873996), (512, 1, 25198.420998), (512, 2, 43267.487109),
        (512, 4, 85498.797334), (1024, 1, 63496.042079), (1024, 2, 133905.182794), (1024, 4, 305673.509404),
    ]:
        assert abs(dynamic_ntk(*TINY, length, factor)[0][1] ** -4 - base) < 1e-6
    assert abs(ntk(*TINY, 256, 4)[0][1] ** -4 - 63496.042079) < 1e-6
    for config, ends in [
        (TINY, (0, 2)), ((128, 1e4, 4096), (20, 46)), (LARGE, (18, 35)), (MIDDLE, (10, 20)), (SHORT, (8, 21)), (SMALL, (0, 7)),
    ]:
        assert yarn_range(*config) == ends, (config, yarn_range(*config))
    for factor, heat in [(8, 1.207944), (16, 1.277259), (32, 1.346574)]:
        assert abs(yarn(*TINY, 256, factor)[1] - heat) < 5.1e-7
    assert abs(longrope(8, 1e4, 4096, 4096, 32, [1] * 4, [1] * 4)[1] - 1.190238) < 5.1e-7
    # One method by two formulas.
    for config in (TINY, SMALL, SHORT, MIDDLE, LARGE):
        one, other = llama3(*config, 1, 8, 2, 8)[0], by_parts(*config, 1, 8, 2, 8)[0]
        assert np.abs(one / other - 1).max() < 1e-12


def make():
    worked()
    tiny = {"factor": 4, "short": [1, 1.05, 1.1, 1.25], "long": [1, 1.5, 4, 5]}
    return [
        case(TINY, 256, "none"),
        case(MIDDLE, 8192, "none"),
        case(TINY, 256, "rope", base=500000),
        case(SHORT, 4096, "rope", base=500000),
        case(TINY, 256, "linear", factor=4),
        case(MIDDLE, 16384, "linear", factor=2),
        case(SMALL, 100, "linear", factor=8),
        case(TINY, 256, "ntk", factor=4),
        case(MIDDLE, 65536, "ntk", factor=8),
        case(LARGE, 4096, "ntk", factor=2),
        case(TINY, 100, "dynamic-ntk", factor=2),
        case(TINY, 256, "dynamic-ntk", factor=4),
        case(TINY, 257, "dynamic-ntk", factor=1),
        case(TINY, 512, "dynamic-ntk", factor=2),
        case(SMALL, 1024, "dynamic-ntk", factor=4),
        case(MIDDLE, 20000, "dynamic-ntk", factor=8),
        case(LARGE, 32768, "dynamic-ntk", factor=1),
        case(TINY, 100, "dynamic-linear"),
        case(TINY, 256, "dynamic-linear"),
        case(TINY, 512, "dynamic-linear"),
        case(SHORT, 5000, "dynamic-linear"),
        case(TINY, 256, "dynamic-linear", whole=True),
        case(TINY, 257, "dynamic-linear", whole=True),
        case(SHORT, 6144, "dynamic-linear", whole=True),
        case(TINY, 256, "clex"),
        case(TINY, 1024, "clex"),
        case(SMALL, 513, "clex", max_factor=8, step=0.25),
        case(SMALL, 9999, "clex", max_factor=8, log_scale=True),
        case(MIDDLE, 30000, "clex", max_factor=16),
        case(TINY, 256, "by-parts", factor=4),
        case(LARGE, 8192, "by-parts", factor=32),
        case(SHORT, 8192, "by-parts", factor=4, slow=2, fast=16),
        case(SMALL, 300, "by-parts", factor=8, slow=2, fast=16),
        case(TINY, 256, "yarn", factor=4),
        case(SMALL, 300, "yarn", factor=2),
        case(SHORT, 16384, "yarn", factor=8),
        case(MIDDLE, 1000, "yarn", factor=4),
        case(LARGE, 200000, "yarn", factor=32),
        case(TINY, 256, "yarn", factor=4, ramp="paper"),
        case(MIDDLE, 8192, "yarn", factor=8, ramp="paper"),
        case(SMALL, 512, "yarn", factor=2, ramp="paper"),
        case(MIDDLE, 8192, "yarn", factor=4, fast=16, slow=2),
        case(LARGE, 65536, "yarn", factor=8, fast=16, slow=2),
        case(TINY, 256, "yarn", factor=4, attention_factor=1.25),
        case(SMALL, 2048, "yarn", factor=8, attention_factor=1.25),
        case(TINY, 256, "llama3", factor=8),
        case(MIDDLE, 262144, "llama3", factor=32),
        case(LARGE, 8192, "llama3", factor=8),
        case(SMALL, 512, "llama3", factor=4, low=2, high=8),
        case(LARGE, 1000, "llama3", factor=4, low=2, high=8),
        case(TINY, 100, "longrope", **tiny),
        case(TINY, 256, "longrope", **tiny),
        case(TINY, 257, "longrope", **tiny),
        case(TINY, 257, "longrope", **tiny | {"factor": 1}),
        case(SMALL, 2048, "longrope", **lists(32, 8)),
        case(MIDDLE, 8192, "longrope", **lists(64, 32)),
        case(MIDDLE, 200000, "longrope", **lists(64, 32)),
        case(TINY, 256, "longrope2"),
        case(TINY, 257, "longrope2"),
        case(SMALL, 1024, "longrope2", factor=8),
        case(LARGE, 20000, "longrope2", factor=4),
        case(TINY, 256, "giraffe-power", k=0.5),
        case(MIDDLE, 16384, "giraffe-power", k=0.1),
        case(TINY, 256, "giraffe-truncated", cutoff=256),
        case(MIDDLE, 8192, "giraffe-truncated", cutoff=8192),
        case(LARGE, 8192, "giraffe-truncated", cutoff=100000),
    ]


def start(config, length, places, pairs, start_tokens, **of):
    """Angles of the checkpoint before `start_tokens`, of the method from there on."""
    frequencies, heat = by_numpy("longrope", config, length, of)
    own = plain(*config[:2])
    angles = {place: place * (own if place < start_tokens else frequencies) for place in range(max(places) + 1)}

    def score(query, key):
        turned = [heat * np.concatenate([np.cos(angles[p]) - np.sin(angles[p]), np.cos(angles[p]) + np.sin(angles[p])]) for p in (query, key)]
        return float(turned[0] @ turned[1])

    inside = ", ".join(f"{key}={written(x)}" for key, x in {**of, "start_tokens": start_tokens}.items())
    return {
        "arm": f"longrope({inside})", "dim": config[0], "base": config[1], "trained": config[2], "length": length, "places": places,
        "cos": [float(x) for place in places for x in heat * np.cos(angles[place])],
        "sin": [float(x) for place in places for x in heat * np.sin(angles[place])],
        "pairs": pairs, "scores": [score(*pair) for pair in pairs],
    }


STARTS = [
    (1, 300, 0), (1, 300, 4), (4, 300, 64), (4, 200, 4),
]


def starts():
    lists = {"short": [1.0, 1.0, 1.0, 1.0], "long": [1.0, 1.5, 4.0, 5.0]}
    places, pairs = [0, 1, 3, 4, 63, 64, 100, 299], [(3, 0), (100, 97), (100, 3), (4, 1), (5, 2)]
    return [
        start(TINY, length, [p for p in places if p < length], pairs, first, factor=float(factor), **lists)
        for factor, length, first in STARTS
    ]


def main():
    torch.set_num_threads(1)
    flows = [flow(TINY, 4, 8, 0.1, "silu", 1), flow(SMALL, 3, 32, 0.25, "tanh", 2), flow(SMALL, 8, 64, 0.1, "silu", 3)]
    lines = lambda rows: ",\n".join(json.dumps(made) for made in rows)
    text = '{"cases":[\n' + lines(make()) + '\n],"flows":[\n' + lines(flows) + '\n],"starts":[\n' + lines(starts()) + "\n]}\n"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs")
    TARGET.write_text(text)


main()
