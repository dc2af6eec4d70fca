"""Quantized keys and values computed apart from the Rust code: numpy from the formulas of KIVI (Liu et al., 2024).

    python tests/reference/kivi.py            rewrites tests/reference/kivi.json
    python tests/reference/kivi.py --check    exits 1 when the committed file differs

Needs numpy. Keys, values and queries are whole numbers to be divided by `scale`, which is exact in f32. The file holds
  tensors    keys and values of one head `(token, channel)`: `bits`, `group`, and of each the `codes` (of keys group of tokens by
             channel by token of the group, of values token by channel), `scales` and `minima`
  schedules  `window`, the length of a prompt, and after it and after each further token what is a code and what is not:
             [keys coded, keys in full, values coded, values in full]
  runs       a prompt and tokens behind it: the attention of the prompt and of each token, `(heads, head_dim)`, in double
             precision over what is held when the token attends, and the bytes held at the end
"""

import json
import pathlib
import sys

import numpy as np

TARGET = pathlib.Path(__file__).with_suffix(".json")
SCALE = 256
F, H = np.float32, np.float16


def grouped(x, bits):
    """Codes, scales and minima of groups along the last dimension; codes are those of what is stored."""
    last = F(2**bits - 1)
    low, high = x.min(-1), x.max(-1)
    scale, minimum = ((high - low) / last).astype(H), low.astype(H)
    step = np.where(scale == 0, F(np.inf), scale.astype(F))[..., None]
    codes = np.rint(np.clip((x - minimum.astype(F)[..., None]) / step, F(0), last)).astype(int)
    return codes, scale, minimum


def back(codes, scale, minimum):
    return codes * scale.astype(np.float64)[..., None] + minimum.astype(np.float64)[..., None]


def keys_coded(k, bits, group):
    """`(token, channel)` to groups of tokens by channel by token of the group."""
    tokens, channels = k.shape
    return grouped(k.reshape(tokens // group, group, channels).transpose(0, 2, 1), bits)


def values_coded(v, bits, group):
    tokens, channels = v.shape
    return grouped(v.reshape(tokens, channels // group, group), bits)


def seen_keys(k, bits, group):
    return back(*keys_coded(k, bits, group)).transpose(0, 2, 1).reshape(k.shape) if len(k) else k.astype(np.float64)


def seen_values(v, bits, group):
    return back(*values_coded(v, bits, group)).reshape(v.shape) if len(v) else v.astype(np.float64)


class Schedule:
    """What is a code after a prompt and after each token."""

    def __init__(self, window, prompt):
        self.window = window
        self.keys, self.key_rest = prompt // window * window, prompt % window
        self.values = max(prompt - window, 0)
        self.value_rest = prompt - self.values

    def step(self):
        self.key_rest += 1
        if self.key_rest == self.window:
            self.keys, self.key_rest = self.keys + self.window, 0
        self.value_rest += 1
        if self.value_rest > self.window:
            self.values, self.value_rest = self.values + 1, self.value_rest - 1

    def state(self):
        return [self.keys, self.key_rest, self.values, self.value_rest]


def attend(q, k, v, kv_heads):
    """One query position over all keys, `(heads, head_dim)`."""
    heads, width = q.shape
    out = np.empty((heads, width))
    for head in range(heads):
        kv = head * kv_heads // heads
        scores = k[:, kv] @ q[head].astype(np.float64) / np.sqrt(width)
        weights = np.exp(scores - scores.max())
        out[head] = weights / weights.sum() @ v[:, kv]
    return out


def run(generator, bits, group, window, prompt, steps, heads, kv_heads, width):
    total = prompt + steps
    whole = lambda count: generator.integers(-900, 900, (total, count, width))
    q, k, v = whole(heads), whole(kv_heads), whole(kv_heads)
    # One channel of keys is large at every token, as in real models.
    k[:, :, 1] += 2500
    real = [(x / SCALE).astype(F) for x in (q, k, v)]
    schedule, outputs = Schedule(window, prompt), []
    for at in range(prompt):
        outputs.append(attend(real[0][at], real[1][: at + 1].astype(np.float64), real[2][: at + 1].astype(np.float64), kv_heads))
    for at in range(prompt, total):
        keys, values = schedule.keys, schedule.values
        seen_k, seen_v = real[1][: at + 1].astype(np.float64), real[2][: at + 1].astype(np.float64)
        for head in range(kv_heads):
            seen_k[:keys, head] = seen_keys(real[1][:keys, head], bits, group)
            seen_v[:values, head] = seen_values(real[2][:values, head], bits, group)
        outputs.append(attend(real[0][at], seen_k, seen_v, kv_heads))
        schedule.step()
    coded = (schedule.keys + schedule.values) * kv_heads * width
    full = (schedule.key_rest + schedule.value_rest) * kv_heads * width
    return {
        "bits": bits, "group": group, "window": window, "prompt": prompt, "heads": heads, "kv_heads": kv_heads,
        "head_dim": width, "q": q.ravel().tolist(), "k": k.ravel().tolist(), "v": v.ravel().tolist(),
        "outputs": [float(f"{x:.7g}") for x in np.concatenate(outputs).ravel()],
        "bytes": coded * bits // 8 + coded // group * 4 + full * 4,
    }


def tensor(generator, bits, group, tokens, channels):
    x = generator.integers(-1200, 1200, (tokens, channels))
    # A channel and a token that are constant, and one that is large.
    x[:, 0] = 384
    x[1] = -640
    x[:, 2] += 6000
    real = (x / SCALE).astype(F)
    made = {"bits": bits, "group": group, "tokens": tokens, "channels": channels, "x": x.ravel().tolist()}
    for name, (codes, scale, minimum) in [("keys", keys_coded(real, bits, group)), ("values", values_coded(real, bits, group))]:
        made[name] = {
            "codes": codes.ravel().tolist(),
            "scales": scale.astype(float).ravel().tolist(),
            "minima": minimum.astype(float).ravel().tolist(),
        }
    return made


def schedule(window, prompt, steps):
    held = Schedule(window, prompt)
    states = [held.state()]
    for _ in range(steps):
        held.step()
        states.append(held.state())
    return {"window": window, "prompt": prompt, "states": states}


def make():
    generator = np.random.default_rng(20240205)
    # The worked example: two channels of four tokens are exact in two bits.
    codes, scale, minimum = keys_coded(np.array([[0, 10], [1, 20], [3, 40], [2, 30]], F), 2, 4)
    assert codes.tolist() == [[[0, 1, 3, 2], [0, 1, 3, 2]]] and scale.tolist() == [[1, 10]] and minimum.tolist() == [[0, 10]]
    return {
        "scale": SCALE,
        "tensors": [
            tensor(generator, *of)
            for of in [(2, 32, 64, 32), (2, 16, 32, 48), (4, 32, 32, 64), (4, 8, 16, 24), (8, 16, 32, 16), (2, 4, 8, 8)]
        ],
        "schedules": [schedule(4, 6, 4), schedule(4, 3, 2), schedule(4, 8, 0)],
        "runs": [
            run(generator, *of)
            for of in [(2, 8, 8, 21, 12, 4, 2, 8), (4, 8, 16, 9, 30, 2, 1, 16), (8, 16, 16, 40, 6, 3, 3, 16), (2, 4, 4, 6, 5, 2, 1, 4)]
        ],
    }


def main():
    text = json.dumps(make(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs")
    TARGET.write_text(text)


main()
