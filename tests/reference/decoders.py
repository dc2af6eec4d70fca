"""What decoders make of small tables of logits: beam search and classifier-free guidance as transformers runs them, diverse
beam search and contrastive search from their formulas.

    python tests/reference/decoders.py            rewrites tests/reference/decoders.json
    python tests/reference/decoders.py --check    exits 1 when the committed file differs

Written with torch 2 and transformers 5, which has no contrastive search and no diverse beam search any more: those two are
written out here in numpy and f64. A table has a row of logits for every last two tokens; transformers sees it as a model.
"""

import itertools
import json
import pathlib
import sys

import numpy as np
import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor
from transformers.modeling_outputs import CausalLMOutput

TARGET = pathlib.Path(__file__).with_suffix(".json")
VOCABULARY = 8
PROMPT = [3, 6]
TOKENS = 7
random = np.random.default_rng(2007)


def table(spread):
    return np.round(random.normal(0, spread, (VOCABULARY, VOCABULARY, VOCABULARY)), 3)


def log_softmax(row):
    row = np.asarray(row, dtype=np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


class TableModel(PreTrainedModel, GenerationMixin):
    config_class = PretrainedConfig

    def __init__(self, rows):
        super().__init__(PretrainedConfig(vocab_size=VOCABULARY, is_encoder_decoder=False))
        self.rows = torch.tensor(rows, dtype=torch.float32)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, **_):
        # The first token has itself before it.
        before = torch.cat([input_ids[:, :1], input_ids[:, :-1]], dim=1)
        return CausalLMOutput(logits=self.rows[before, input_ids])

    def prepare_inputs_for_generation(self, input_ids, **_):
        return {"input_ids": input_ids}


def beams(rows, ends):
    model = TableModel(rows).eval()
    for width, penalty, stop in itertools.product([1, 2, 4], [0.0, 0.6, 1.0, 2.0], [True, False, "never"]):
        config = GenerationConfig(
            num_beams=width, num_return_sequences=width, length_penalty=penalty, early_stopping=stop, do_sample=False,
            max_new_tokens=TOKENS, eos_token_id=ends, pad_token_id=ends[0], use_cache=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        if width == 1:
            # One beam is greedy decoding there, and has no scores.
            config = GenerationConfig(do_sample=False, max_new_tokens=TOKENS, eos_token_id=ends, pad_token_id=ends[0], use_cache=False)
            if penalty != 0.0 or stop is not True:
                continue
            out = model.generate(torch.tensor([PROMPT]), generation_config=config)
            yield {"width": 1, "penalty": 0.0, "stop": "full", "tokens": [cut(out[0], ends)], "scores": None}
            continue
        out = model.generate(torch.tensor([PROMPT]), generation_config=config)
        yield {
            "width": width,
            "penalty": penalty,
            "stop": {True: "full", False: "heuristic", "never": "never"}[stop],
            "tokens": [cut(sequence, ends) for sequence in out.sequences],
            "scores": [round(float(score), 5) for score in out.sequences_scores],
        }


def cut(sequence, ends):
    tokens = [int(token) for token in sequence[len(PROMPT) :]]
    for at, token in enumerate(tokens):
        if token in ends:
            return tokens[: at + 1]
    return tokens


def guided(rows, scale, negative):
    """Rows of the guided branch along its greedy text."""
    model = TableModel(rows).eval()
    negative_ids = None if negative is None else torch.tensor([negative])
    guide = UnbatchedClassifierFreeGuidanceLogitsProcessor(scale, model, unconditional_ids=negative_ids, use_cache=False)
    sequence, steps = list(PROMPT), []
    for _ in range(TOKENS):
        ids = torch.tensor([sequence])
        # The processor begins its branch with the last token of what it is given first.
        row = guide(ids, model(ids).logits[:, -1])[0]
        steps.append([round(float(value), 4) for value in log_softmax(row.numpy())])
        sequence.append(int(row.argmax()))
    return {"scale": scale, "negative": negative, "tokens": sequence[len(PROMPT) :], "rows": steps}


def after(rows, sequence):
    return log_softmax(rows[sequence[-2] if len(sequence) > 1 else sequence[-1]][sequence[-1]])


def diverse(rows, ends, width, groups, strength):
    """Every group in turn at every step; the penalty decides and is not stored."""
    size = width // groups
    live = [[([], 0.0)] for _ in range(groups)]
    pools = [[] for _ in range(groups)]
    open_groups = [True] * groups
    for length in range(1, TOKENS + 1):
        chosen = np.zeros(VOCABULARY)
        for group in range(groups):
            if not open_groups[group]:
                continue
            scored = []
            for tokens, total in live[group]:
                logs = after(rows, PROMPT + tokens)
                scored += [(total + logs[v] - strength * chosen[v], total + logs[v], tokens + [v]) for v in range(VOCABULARY)]
            scored.sort(key=lambda item: -item[0])
            live[group] = []
            for rank, (_, total, tokens) in enumerate(scored[: size * max(2, 1 + len(ends))]):
                if tokens[-1] in ends or length == TOKENS:
                    if rank < size:
                        pools[group].append((total / length, tokens))
                elif len(live[group]) < size:
                    live[group].append((tokens, total))
            for tokens, _ in live[group]:
                chosen[tokens[-1]] += 1
            pools[group] = sorted(pools[group], key=lambda item: -item[0])[:size]
            full = len(pools[group]) == size
            best = max((total for _, total in live[group]), default=-np.inf)
            open_groups[group] = length < TOKENS and bool(live[group]) and not (full and best / length <= pools[group][-1][0])
        if not any(open_groups):
            break
    final = sorted(sum(pools, []), key=lambda item: -item[0])
    return {"width": width, "groups": groups, "strength": strength,
            "tokens": [tokens for _, tokens in final], "scores": [round(score, 6) for score, _ in final]}  # fmt: skip


def contrastive(rows, states, ends, k, alpha):
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    sequence = list(PROMPT)
    while len(sequence) < len(PROMPT) + TOKENS:
        p = np.exp(after(rows, sequence))
        best = np.argsort(-p, kind="stable")[:k]
        scores = [(1 - alpha) * p[v] - alpha * max(unit[v] @ unit[j] for j in sequence) for v in best]
        sequence.append(int(best[int(np.argmax(scores))]))
        if sequence[-1] in ends:
            break
    return {"k": k, "alpha": alpha, "tokens": sequence[len(PROMPT) :]}


def build():
    cases = []
    for spread, ends in [(1.5, [0]), (0.7, [0]), (1.5, [0, 5])]:
        rows = table(spread)
        states = np.round(random.normal(0.5, 1.0, (VOCABULARY, 5)), 3)
        cases.append(
            {
                "ends": ends,
                "rows": rows.tolist(),
                "states": states.tolist(),
                "beam": list(beams(rows, ends)),
                "cfg": [guided(rows, scale, negative) for scale in [0.5, 1.5, 3.0] for negative in [None, [2, 1]]],
                "diverse": [diverse(rows, ends, *setting) for setting in [(4, 2, 0.5), (4, 4, 1.0), (6, 2, 0.0)]],
                "contrastive": [contrastive(rows, states, ends, k, alpha) for k in [2, 5] for alpha in [0.0, 0.3, 0.6]],
            }
        )
    return {"prompt": PROMPT, "tokens": TOKENS, "cases": cases}


def main():
    torch.manual_seed(0)
    text = json.dumps(build(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET} differs; run this script without --check")
    TARGET.write_text(text)


main()
