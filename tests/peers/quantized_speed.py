"""The tables of quantized_speed.sh, from what its rounds left in a folder.

usage: quantized_speed.py FOLDER ROUNDS
"""
import glob
import json
import os
import statistics
import sys

folder, rounds = sys.argv[1], int(sys.argv[2])
KINDS = ("prefill", "decode", "decode after 512")
# Program and format -> kind -> one value a round.
found = {}


def enter(who, kind, value):
    found.setdefault(who, {}).setdefault(kind, []).append(value)


OURS = {
    ("f32", "none"): "f32",
    ("bf16", "none"): "bf16",
    ("int8", "rtn(bits=8, group=-1, mode=sym)"): "w8a8, rows",
    ("int8", "q8_0"): "w8a8, groups of 32",
    ("int8", "rtn(bits=4, group=64, mode=gptq_sym)"): "w4a8, groups of 64",
    ("int8", "q4_0"): "w4a8, groups of 32",
    ("codebook", "nf4(block=64)"): "nf4",
}
for r in range(1, rounds + 1):
    for line in open(f"{folder}/harness-{r}.jsonl"):
        record = json.loads(line)
        if record.get("failure"):
            raise SystemExit(f"round {r}: {record['failure']}")
        cell = record["cell"]
        bench, _, start = cell["bench"].partition("-")
        who = OURS[bench, cell["coordinates"]["quant"]["label"]]
        for observation in record["observations"]:
            kind = {"prefill_tps": "prefill", "decode_tps": "decode" if start else "decode after 512"}.get(observation["metric"])
            if kind:
                enter(("harness", who), kind, statistics.median(observation["samples"]))
    for program in ("llama", "ik"):
        for form in ("F32", "F16", "Q8_0", "Q4_0"):
            for path in sorted(glob.glob(f"{folder}/{program}-{form}-{r}*.json")):
                text = open(path).read()
                # The fork dies at this depth, now before it closes the list, now before it opens it.
                for row in json.loads(text[: text.rindex("}") + 1] + "]") if "}" in text else []:
                    # The depth is a column of llama.cpp and the prompt of the fork.
                    depth = row.get("n_depth") or (row["n_prompt"] and row["n_gen"])
                    kind = "decode after 512" if depth else "prefill" if row["n_prompt"] else "decode"
                    enter((program, form), kind, row["avg_ts"])
    path = f"{folder}/torch-{r}.json"
    if os.path.exists(path):
        for form, values in json.load(open(path)).items():
            if isinstance(values, dict):
                for kind in KINDS:
                    enter(("torch", form), kind, values[kind])

NAMES = {"harness": "harness", "llama": "llama.cpp", "ik": "ik_llama.cpp -rtr 1", "torch": "PyTorch"}
print("| SmolLM2-135M, 2 threads, tokens/s, median (least to most) | prefill 512 | decode 64 | decode 64 after 512 |")
print("|---|---:|---:|---:|")
for (program, form), values in found.items():
    cells = [
        f"{statistics.median(seen):.0f} ({min(seen):.0f} to {max(seen):.0f})" if seen else "died"
        for seen in (values.get(kind) for kind in KINDS)
    ]
    print(f"| {NAMES[program]} {form} | {' | '.join(cells)} |")
BARS = [
    ("prefill", "f32", ("ik", "F32"), 1.3),
    ("prefill", "f32", ("llama", "F32"), 1.5),
    ("prefill", "bf16", ("ik", "F16"), 1.0),
    ("prefill", "bf16", ("torch", "bf16"), 1.1),
    ("prefill", "w8a8, rows", ("ik", "Q8_0"), 1.0),
    ("prefill", "w8a8, groups of 32", ("ik", "Q8_0"), 1.0),
    ("prefill", "w4a8, groups of 64", ("ik", "Q4_0"), 1.0),
    ("prefill", "w4a8, groups of 32", ("ik", "Q4_0"), 1.0),
    ("prefill", "w4a8, groups of 64", ("llama", "Q4_0"), 1.4),
    ("prefill", "w4a8, groups of 32", ("llama", "Q4_0"), 1.4),
    ("decode", "f32", ("llama", "F32"), 1.0),
    ("decode", "bf16", ("llama", "F16"), 1.0),
    ("decode", "w4a8, groups of 64", ("ik", "Q4_0"), 0.9),
    ("decode", "w4a8, groups of 32", ("ik", "Q4_0"), 0.9),
    ("decode", "w4a8, groups of 64", ("llama", "Q4_0"), 1.05),
    ("decode", "w4a8, groups of 32", ("llama", "Q4_0"), 1.05),
    ("decode", "nf4", ("harness", "w4a8, groups of 64"), 0.8),
    ("decode after 512", "f32", ("llama", "F32"), 1.0),
    ("decode after 512", "w4a8, groups of 32", ("llama", "Q4_0"), 1.05),
    ("decode after 512", "w4a8, groups of 32", ("ik", "Q4_0"), 0.9),
]
print("\n| | harness | beside | ratio of medians | ratios a round | bar | reached |")
print("|---|---|---|---:|---|---:|---|")
for kind, form, peer, bar in BARS:
    ours, theirs = found[("harness", form)][kind], found.get(peer, {}).get(kind)
    if not theirs:
        print(f"| {kind} | {form} | {NAMES[peer[0]]} {peer[1]} | not measured | | {bar} | |")
        continue
    ratio = statistics.median(ours) / statistics.median(theirs)
    each = ", ".join(f"{a / b:.2f}" for a, b in zip(ours, theirs))
    reached = "yes" if ratio >= bar else "no"
    print(f"| {kind} | {form} | {NAMES[peer[0]]} {peer[1]} | {ratio:.2f} | {each} | {bar} | {reached} |")
