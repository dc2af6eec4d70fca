"""Heads and channels that width methods keep, and what models without the others compute, in torch on a model of transformers.

    python tests/reference/width.py            rewrites tests/reference/width.json
    python tests/reference/width.py --check    exits 1 when the committed file differs

Written with torch 2 and transformers 4, in f64. The model is a Llama of three blocks with six query heads on three key-value heads, whose weights are drawn by a
congruential generator, in the order of the tests' own: embedding, then of each block q, k, v, o, gate, up and down; normalisations are 1. What goes is zeroed in a
model of the full widths, so that its logits owe nothing to how slices are taken. The file holds for every arm
  groups, channels   what stays of each block
  bias               FLAP's biases of block 1: of the output map and of the contraction
  logits             of the last token of the first window
under `sliced` the logits of the last token of the first window when the residual stream is cut to 32 and to 48 of its 48 numbers at every place,
and under `levels` what removing columns with the others fitted leaves of the contraction of block 0: the order of removal and the last of the levels.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

TARGET = pathlib.Path(__file__).with_suffix(".json")
LAYERS, HIDDEN, INNER, VOCABULARY, HEADS, GROUPS, HEAD = 3, 48, 40, 23, 6, 3, 8
SHARED = HEADS // GROUPS
WIDTH = SHARED * HEAD
MAPS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
WINDOWS = [[(i * (at + 3) + i * i // 5 + at) % VOCABULARY for i in range(48)] for at in range(6)]


def model():
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=GROUPS, head_dim=HEAD, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
        attention_bias=True, mlp_bias=True, attn_implementation="eager",
    )
    made = LlamaForCausalLM(config).double().eval()
    state = 11

    def draw(shape):
        nonlocal state
        values = np.empty(int(np.prod(shape)), dtype=np.float32)
        for at in range(values.size):
            state = (state * 1664525 + 1013904223) % 2**32
            values[at] = np.float32(0.2) * (np.float32(state >> 8) / np.float32(1 << 23) - np.float32(1.0))
        return torch.tensor(values.reshape(shape).astype(np.float64))

    with torch.no_grad():
        made.model.embed_tokens.weight.copy_(draw((VOCABULARY, HIDDEN)))
        for block in made.model.layers:
            for name in MAPS:
                module = block.get_submodule(name)
                module.weight.copy_(draw(tuple(module.weight.shape)))
                module.bias.zero_()
    return made


def weights(made, block):
    """The seven matrices of a block."""
    return [made.model.layers[block].get_submodule(name).weight for name in MAPS]


def inputs(made):
    """What enters the output map and the contraction of each block over all windows, (tokens, columns) each."""
    seen = [([], []) for _ in range(LAYERS)]
    hooks = []
    for block, layer in enumerate(made.model.layers):
        for which, module in enumerate([layer.self_attn.o_proj, layer.mlp.down_proj]):
            hooks.append(module.register_forward_pre_hook(lambda _, x, b=block, w=which: seen[b][w].append(x[0][0].detach().numpy())))
    with torch.no_grad():
        for window in WINDOWS:
            made(torch.tensor([window]))
    for hook in hooks:
        hook.remove()
    return [tuple(np.concatenate(part) for part in block) for block in seen]


def gradients(made, count, tokens):
    """Of every matrix of every block, the gradient of each window's mean loss, (windows, rows, columns)."""
    found = [[[] for _ in MAPS] for _ in range(LAYERS)]
    for window in WINDOWS[:count]:
        ids = torch.tensor([window[:tokens]])
        made.zero_grad()
        logits = made(ids[:, :-1]).logits[0]
        torch.nn.functional.cross_entropy(logits, ids[0, 1:]).backward()
        for block in range(LAYERS):
            for at, weight in enumerate(weights(made, block)):
                found[block][at].append(weight.grad.detach().numpy().copy())
    return [[np.stack(part) for part in block] for block in found]


def coupled(made, grads, criterion, reduction):
    """Scores of the groups and the channels of each block."""
    scores = []
    for block in range(LAYERS):
        lines = []
        for at, weight in enumerate(weights(made, block)):
            w, g = weight.detach().numpy(), grads[block][at]
            first, second = w * g.mean(0), w * w * (g**2).mean(0)
            axis = 0 if MAPS[at].endswith(("o_proj", "down_proj")) else 1
            if criterion == "vectorize":
                lines.append(np.abs(first.sum(axis)))
            elif criterion == "first":
                lines.append(np.abs(first).sum(axis))
            elif criterion == "second":
                lines.append(second.sum(axis))
            else:
                lines.append(np.abs(first - second / 2).sum(axis))
        q, k, v, o, gate, up, down = lines
        of_queries = [part.reshape(GROUPS, SHARED, HEAD).sum(1) for part in (q, o)]
        members = np.stack([of_queries[0], k.reshape(GROUPS, HEAD), v.reshape(GROUPS, HEAD), of_queries[1]])
        reduce = {"sum": lambda x: x.sum(0), "mean": lambda x: x.mean(0), "max": lambda x: x.max(0), "product": lambda x: x.prod(0)}[reduction]
        scores.append((reduce(members).sum(1), reduce(np.stack([gate, up, down]))))
    return scores


def by_block(scores, ratio):
    """What stays of each block when a share of its units goes."""
    def left(values):
        going = int(ratio * len(values))
        return sorted(np.argsort(values, kind="stable")[going:].tolist())

    return [(left(groups), left(channels)) for groups, channels in scores]


def by_model(scores, ratio, counts=None):
    """What stays when the lowest of all units of a kind go; the best of each block stays."""
    left = []
    for kind in (0, 1):
        own = [part[kind] for part in scores]
        going = counts[kind] if counts else int(ratio * sum(map(len, own)))
        candidates = [(value, block, at) for block, values in enumerate(own) for at, value in enumerate(values) if at != int(np.argmax(values))]
        gone = {(block, at) for _, block, at in sorted(candidates)[:going]}
        left.append([[at for at in range(len(values)) if (block, at) not in gone] for block, values in enumerate(own)])
    return list(zip(*left))


def important(made, ratio, count, tokens, normalise):
    """What stays when the heads go whose gates, which multiply what enters the output map, the loss depends on least."""
    gates = [torch.ones(GROUPS, dtype=torch.float64, requires_grad=True) for _ in range(LAYERS)]
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, x, gate=gate: (x[0] * gate.repeat_interleave(WIDTH),))
        for layer, gate in zip(made.model.layers, gates)
    ]
    worth = np.zeros((LAYERS, GROUPS))
    for window in WINDOWS[:count]:
        ids = torch.tensor([window[:tokens]])
        loss = torch.nn.functional.cross_entropy(made(ids[:, :-1]).logits[0], ids[0, 1:])
        worth += np.abs(torch.stack(torch.autograd.grad(loss, gates)).numpy()) / count
    for hook in hooks:
        hook.remove()
    if normalise:
        worth /= np.sqrt((worth**2).sum(1, keepdims=True))
    none = np.zeros(INNER)
    return by_model([(own, none) for own in worth], ratio, (int(ratio * LAYERS * GROUPS), 0))


def standard(values):
    return (values - values.mean()) / values.std(ddof=1)


def worth(made, seen, metric):
    """FLAP's worth of the columns of the output map and of the contraction of each block."""
    found = []
    for block in range(LAYERS):
        pair = []
        for which, name in enumerate(["self_attn.o_proj", "mlp.down_proj"]):
            w, x = made.model.layers[block].get_submodule(name).weight.detach().numpy(), seen[block][which]
            if metric == "wifn":
                pair.append(np.abs(w).mean(0) * np.sqrt((x**2).sum(0)))
            else:
                pair.append(x.var(0, ddof=1) * ((w**2).sum(0) if metric == "wifv" else 1))
        found.append(tuple(pair))
    return found


def flap(made, seen, ratio, metric, manner):
    scores = [(standard(o**2).reshape(GROUPS, WIDTH).mean(1), standard(down)) for o, down in worth(made, seen, metric)]
    if manner == "ul-um":
        return by_block(scores, ratio)
    if manner == "al-mm":
        return by_model(scores, ratio)
    group, channel = HIDDEN * HEAD * 2 * (SHARED + 1), 3 * HIDDEN
    units = []
    for block, (groups, channels) in enumerate(scores):
        for kind, values in enumerate((groups, channels)):
            for at, value in enumerate(values):
                value = np.inf if at == int(np.argmax(values)) else value
                units.append((-value, len(units), block, kind, at, (group, channel)[kind]))
    budget, spent, left = (1 - ratio) * sum(unit[-1] for unit in units), 0, [([], []) for _ in range(LAYERS)]
    for score, _, block, kind, at, cost in sorted(units):
        if spent + cost > budget:
            break
        spent += cost
        left[block][kind].append(at)
    return [(sorted(groups), sorted(channels)) for groups, channels in left]


def logits(stays, seen=None, bias=False):
    """Logits of the last token of the first window by the model in which what goes is zero, and the biases of block 1."""
    made, kept = model(), None
    with torch.no_grad():
        for block, (groups, channels) in enumerate(stays):
            heads = np.repeat(np.isin(np.arange(GROUPS), groups), WIDTH)
            keys = np.repeat(np.isin(np.arange(GROUPS), groups), HEAD)
            inner = np.isin(np.arange(INNER), channels)
            q, k, v, o, gate, up, down = weights(made, block)
            biases = []
            for which, (weight, mask) in enumerate([(o, heads), (down, inner)]):
                if bias:
                    module = made.model.layers[block].get_submodule(["self_attn.o_proj", "mlp.down_proj"][which])
                    more = weight.detach().numpy()[:, ~mask] @ seen[block][which].mean(0)[~mask]
                    module.bias.copy_(torch.tensor(more))
                    biases.append(more.tolist())
                weight[:, ~torch.tensor(mask)] = 0
            for weight, mask in [(q, heads), (k, keys), (v, keys), (gate, inner), (up, inner)]:
                weight[~torch.tensor(mask)] = 0
            if block == 1:
                kept = biases
        return made(torch.tensor([WINDOWS[0]])).logits[0, -1].tolist(), kept


def sliced(made, left, damp=0.01):
    """The logits when the stream is projected onto its main directions at every place, one place after the other."""
    with torch.no_grad():
        states = [made.model.embed_tokens(torch.tensor([window])) for window in WINDOWS]
        length = len(WINDOWS[0])
        turns = made.model.rotary_emb(states[0], torch.arange(length)[None])
        mask = torch.full((length, length), float("-inf"), dtype=torch.float64).triu(1)[None, None]
        for place in range(2 * LAYERS + 1):
            moment = sum(state[0].T @ state[0] for state in states)
            moment = moment + damp * torch.diagonal(moment).mean() * torch.eye(HIDDEN, dtype=torch.float64)
            main = torch.linalg.eigh(moment)[1][:, HIDDEN - left :]
            states = [state @ main @ main.T for state in states]
            if place == 2 * LAYERS:
                break
            layer = made.model.layers[place // 2]
            for at, state in enumerate(states):
                if place % 2 == 0:
                    normal = layer.input_layernorm(state)
                    part = layer.self_attn(hidden_states=normal, position_embeddings=turns, attention_mask=mask)[0]
                else:
                    part = layer.mlp(layer.post_attention_layernorm(state))
                states[at] = state + part
        return made.lm_head(made.model.norm(states[0]))[0, -1].tolist()


def levels(made, seen, damp=0.01):
    """Columns of the contraction of block 0 removed one by one, the others fitted each time by least squares on what is left."""
    w, x = made.model.layers[0].mlp.down_proj.weight.detach().numpy(), seen[0][1]
    h = 2 * x.T @ x / len(x)
    h += damp * np.diag(h).mean() * np.eye(INNER)
    left, order = list(range(INNER)), []
    while len(order) < 10:
        costs = []
        for gone in left:
            rest = [at for at in left if at != gone]
            # The least squares fit of the whole matrix on the columns that are left, and what it costs.
            costs.append(cost(w, h, rest)[0])
        order.append(left.pop(int(np.argmin(costs))))
    fitted = np.zeros_like(w)
    fitted[:, left] = cost(w, h, left)[1]
    return {"order": order, "sums": fitted.sum(0).tolist(), "squares": (fitted**2).sum(0).tolist()}


def cost(w, h, left):
    fitted = w @ h[:, left] @ np.linalg.inv(h[np.ix_(left, left)])
    difference = w.copy()
    difference[:, left] -= fitted
    return np.einsum("ri,ij,rj->", difference, h, difference), fitted


def main():
    made = model()
    seen, grads = inputs(made), gradients(made, 4, 20)
    magnitudes = []
    for block in range(LAYERS):
        q, k, v, o, gate, up, down = [np.abs(weight.detach().numpy()) for weight in weights(made, block)]
        of = lambda part: part.reshape(GROUPS, -1).sum(1)
        groups = of(q) + of(k) + of(v) + of(o.T)
        magnitudes.append((groups, gate.sum(1) + up.sum(1) + down.sum(0)))
    arms = {"magnitude-width(ratio=0.34)": by_block(magnitudes, 0.34)}
    wanda = [(o.reshape(GROUPS, WIDTH).sum(1), down) for o, down in worth(made, seen, "wifn")]
    arms["wanda-width(ratio=0.34)"] = by_block(wanda, 0.34)
    for metric in ["wifv", "ifv", "wifn"]:
        arms[f"flap(ratio=0.3, metric={metric})"] = flap(made, seen, 0.3, metric, "al-am")
    for manner in ["al-mm", "ul-um"]:
        arms[f"flap(ratio=0.34, manner={manner})"] = flap(made, seen, 0.34, "wifv", manner)
    arms["flap(ratio=0.3, bias=false)"] = flap(made, seen, 0.3, "wifv", "al-am")
    skipping = "skip_first=0, skip_last=0, samples=4, tokens=20"
    for criterion in ["vectorize", "first", "second", "mixed"]:
        for reduction in ["sum", "max", "product"]:
            scores = coupled(made, grads, criterion, reduction)
            arms[f"llm-pruner(ratio=0.34, criterion={criterion}, reduction={reduction}, {skipping})"] = by_block(scores, 0.34)
    scores = coupled(made, grads, "first", "sum")
    arms[f"llm-pruner(ratio=0.34, ranking=model, {skipping})"] = by_model(scores, 0.34, (3 * int(0.34 * GROUPS), 3 * int(0.34 * INNER)))
    for arm, normalise in [("", True), (", normalise=false", False)]:
        arms[f"head-importance(ratio=0.34, samples=4, tokens=20{arm})"] = important(made, 0.34, 4, 20, normalise)
    found = {}
    for arm, stays in arms.items():
        with_bias = arm.startswith("flap") and "bias" not in arm
        values, bias = logits(stays, seen, with_bias)
        found[arm] = {"groups": [groups for groups, _ in stays], "channels": [channels for _, channels in stays], "logits": values}
        if with_bias:
            found[arm]["bias"] = bias
    cut = {str(left): sliced(made, left) for left in (32, HIDDEN)}
    text = json.dumps({"arms": found, "sliced": cut, "levels": levels(made, seen)}, indent=1) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if close(json.loads(TARGET.read_text()), json.loads(text)) else 1)
    TARGET.write_text(text)


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b or abs(a - b) <= 1e-9 * max(1, abs(a))


if __name__ == "__main__":
    main()
