"""Scores windows of token ids and continues prompts greedily with transformers in f32, as a second opinion on `harness`.

    score.py --model MODEL score  WINDOWS.json            > scores.json
    score.py --model MODEL greedy PROMPTS.json --tokens N  > greedy.json
    score.py --model MODEL tokenize TEXTS.json            > ids.json

MODEL is a GGUF file, a Hugging Face folder or a llama2.c file (*.bin, read by llama2c.py). WINDOWS.json and PROMPTS.json are arrays of arrays of token ids, TEXTS.json an
array of strings. What is printed:

    score     {"model", "windows": [{"ids": [...], "nll": nats summed over the window, "tokens": scored targets (length - 1)}]}
    greedy    {"model", "prompts": [{"ids": [...], "continuation": [...]}]}
    tokenize  {"model", "texts": [{"text": "...", "ids": [...]}]}     (special tokens are not added)

`ids` repeats the input, so a committed output is a complete test: smollm2_score.json, smollm2_greedy.json,
stories15m_score.json and stories15m_greedy.json next to this file hold such outputs, and *_tokenize.json those of the
tokenizers. To make one again, feed it the `ids` (or `text`) it repeats.
No beginning-of-sequence token is added anywhere; greedy continuations do not stop at end-of-sequence tokens, and equal
logits take the lowest id.
"""

import argparse
import json
import os
import sys

import llama2c
import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def place(model):
    """The arguments by which transformers finds a folder or a GGUF file."""
    if os.path.isdir(model):
        return model, {}
    return os.path.dirname(os.path.abspath(model)), {"gguf_file": os.path.basename(model)}


def load_model(name):
    if name.endswith(".bin"):
        return llama2c.load_model(name)
    folder, extra = place(name)
    if extra:
        extra["quantization_config"] = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **extra)
    assert all(weight.dtype == torch.float32 for weight in model.parameters()), "every weight must be f32"
    return model.eval()


def score(model, windows):
    results = []
    for ids in windows:
        tokens = torch.tensor([ids])
        logits = model(tokens).logits[0, :-1].double()
        log_probabilities = torch.log_softmax(logits, dim=-1)
        nll = -log_probabilities.gather(1, tokens[0, 1:, None]).sum().item()
        results.append({"ids": ids, "nll": nll, "tokens": len(ids) - 1})
    return {"windows": results}


def greedy(model, prompts, count):
    results = []
    for ids in prompts:
        step, past, continuation = torch.tensor([ids]), None, []
        for _ in range(count):
            out = model(step, past_key_values=past, use_cache=True)
            past = out.past_key_values
            best = int(out.logits[0, -1].argmax())
            continuation.append(best)
            step = torch.tensor([[best]])
        results.append({"ids": ids, "continuation": continuation})
    return {"prompts": results}


def restore_words(name, tokenizer):
    """SmolLM's own tokenizer.json cuts out every numeric character before the GPT-2 words; transformers' reader of GGUF
    forgets that, which shows on characters like \u00bd and \u00b2."""
    field = GGUFReader(name).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        words = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words)


def tokenize(name, texts):
    if name.endswith(".bin"):
        ids = llama2c.tokenize(name, texts)
    else:
        folder, extra = place(name)
        tokenizer = AutoTokenizer.from_pretrained(folder, **extra)
        if extra:
            restore_words(name, tokenizer)
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    return {"texts": [{"text": text, "ids": found} for text, found in zip(texts, ids)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="GGUF file, Hugging Face folder or llama2.c file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("task", choices=["score", "greedy", "tokenize"])
    parser.add_argument("input", help="JSON file, or - for standard input")
    parser.add_argument("--tokens", type=int, default=32, help="length of greedy continuations")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    with sys.stdin if arguments.input == "-" else open(arguments.input) as file:
        given = json.load(file)
    if arguments.task == "tokenize":
        result = tokenize(arguments.model, given)
    elif arguments.task == "score":
        result = score(load_model(arguments.model), given)
    else:
        result = greedy(load_model(arguments.model), given, arguments.tokens)
    json.dump({"model": os.path.basename(arguments.model.rstrip("/")), **result}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
