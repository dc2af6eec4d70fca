#!/usr/bin/env bash
# Speed beside llama.cpp on SmolLM2-135M in f32, two threads, interleaved rounds: prefill of 512 tokens, decode of 64,
# and scoring at context 512 with the second half counted. Prints a Markdown table of medians and ratios.
# usage: tests/peers/speed.sh [ROUNDS]      (default 5; nothing else should run meanwhile)
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5}
peers=$(tests/peers/llama_cpp.sh | tail -n 1)
target="${CARGO_TARGET_DIR:-target}"
cargo build --release --locked >&2
harness="$target/release/harness"
"$harness" fetch --yes smollm2-135m-instruct gutenberg >&2
cache="${HARNESS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harness}"
work="${XDG_CACHE_HOME:-$HOME/.cache}/harness-peers/speed"
mkdir -p "$work"
gguf="$work/smollm2-f32.gguf"
if [ ! -s "$gguf" ]; then
  "$peers/llama-quantize" --allow-requantize "$(ls "$cache"/models/smollm2-135m-instruct/*.gguf)" "$gguf" F32 2 >&2
fi
text="$work/text.txt"
head -c 150000 "$(ls "$cache"/corpora/gutenberg/*austen-emma.txt)" | iconv -f latin1 -t utf-8 > "$text"
export RAYON_NUM_THREADS=2
for round in $(seq "$rounds"); do
  "$peers/llama-bench" -m "$gguf" -t 2 -p 512 -n 64 -r 2 -o json 2>/dev/null > "$work/bench-$round.json"
  "$peers/llama-perplexity" -m "$gguf" -f "$text" -c 512 -b 512 -t 2 --chunks 16 > "$work/perplexity-$round.txt" 2>&1
  "$harness" run suites/real/speed.toml --yes --set 'speed.model='"$gguf" --out "$(mktemp -d)/run" --json > "$work/run-$round.json"
  cp "$(python3 -c "import json,sys; print(json.load(open(sys.argv[1]))['folder'])" "$work/run-$round.json")/journal.jsonl" "$work/journal-$round.jsonl"
  "$harness" score --model "$gguf" --text "$text" --window 512 --skip-first 256 --windows 16 --json > "$work/score-$round.json"
done
python3 - "$work" "$rounds" <<'PY'
import json, re, statistics, sys
work, rounds = sys.argv[1], int(sys.argv[2])
ours = {"prefill 512": [], "decode 64": [], "score 512/256": []}
theirs = {name: [] for name in ours}
perplexity = {}
def clock(log, word):
    """Seconds at which llama.cpp logged a line: minutes.seconds.milliseconds.microseconds stand in front of it."""
    line = next(line for line in log.splitlines() if word in line)
    minutes, seconds, milli, micro = (int(part) for part in line.split()[0].split("."))
    return 60 * minutes + seconds + milli / 1e3 + micro / 1e6
for r in range(1, rounds + 1):
    for row in json.load(open(f"{work}/bench-{r}.json")):
        theirs["prefill 512" if row["n_prompt"] else "decode 64"].append(row["avg_ts"])
    log = open(f"{work}/perplexity-{r}.txt").read()
    theirs["score 512/256"].append(16 * 512 / (clock(log, "Final estimate") - clock(log, "calculating perplexity")))
    perplexity["llama.cpp"] = float(re.findall(r"Final estimate: PPL = ([0-9.]+)", log)[-1])
    for observation in json.loads(open(f"{work}/journal-{r}.jsonl").readline())["observations"]:
        name = {"prefill_tps": "prefill 512", "decode_tps": "decode 64"}[observation["metric"]]
        ours[name].append(statistics.median(observation["samples"]))
    score = json.load(open(f"{work}/score-{r}.json"))
    ours["score 512/256"].append(score["tokens_per_second"])
    perplexity["harness"] = score["ppl"]
print("| SmolLM2-135M, f32, 2 threads, tokens/s | harness | llama.cpp | ratio of medians | ratios a round |")
print("|---|---|---|---|---|")
for name in ours:
    a, b = statistics.median(ours[name]), statistics.median(theirs[name])
    each = ", ".join(f"{x / y:.2f}" for x, y in zip(ours[name], theirs[name]))
    print(f"| {name} | {a:.0f} | {b:.0f} | {a / b:.2f} | {each} |")
print(f"\nperplexity of the scored text: harness {perplexity['harness']:.4f}, llama.cpp {perplexity['llama.cpp']:.4f}")
PY
