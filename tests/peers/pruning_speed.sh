#!/usr/bin/env bash
# Seconds that pruning SmolLM2-135M to half takes, 16 windows of 512 tokens, two threads: `harness apply` as a whole command, reading and
# writing included, and the same algorithm in plain PyTorch, without; in turns, the fastest of each. Also the perplexity of both results on
# the same text, which says whether they are the same algorithm. Needs python3 with torch and transformers (PYTHON=...).
# usage: tests/peers/pruning_speed.sh [ROUNDS]      (default 2)
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-2}
python=${PYTHON:-python3}
harness="${HARNESS:-${CARGO_TARGET_DIR:-target}/release/harness}"
[ -n "${HARNESS:-}" ] || cargo build --release --locked >&2
"$harness" fetch --yes smollm2-135m-instruct gutenberg >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export RAYON_NUM_THREADS=2
"$harness" apply --offline --model smollm2-135m-instruct --dtype f32 --out "$work/dense" >&2
"$python" - "$work" <<'PY'
import json, pathlib, sys
from tokenizers import Tokenizer
work = pathlib.Path(sys.argv[1])
cache = pathlib.Path.home() / ".cache/harness/corpora/gutenberg"
text = (cache / "chesterton-brown.txt").read_text(encoding="latin-1")
ids = Tokenizer.from_file(str(work / "dense/tokenizer.json")).encode(text, add_special_tokens=False).ids
json.dump([ids[512 * n : 512 * (n + 1)] for n in range(16)], open(work / "ids.json", "w"))
(work / "text.txt").write_text((cache / "austen-emma.txt").read_text(encoding="latin-1")[:400000], encoding="utf-8")
PY
perplexity() { "$harness" score --model "$1" --text "$work/text.txt" --window 512 --windows 16 --json | "$python" -c "import json,sys; print(json.load(sys.stdin)['ppl'])"; }
echo "| | \`harness apply\`, whole (s) | PyTorch, pruning alone (s) | ratio | perplexity | that of PyTorch's |"
echo "|---|---:|---:|---:|---:|---:|"
for method in wanda sparsegpt; do
  ours=() theirs=()
  for _ in $(seq "$rounds"); do
    rm -rf "$work/ours" "$work/theirs"
    begun=$(date +%s.%N)
    "$harness" apply --offline --model "$work/dense" --prune "$method(sparsity=0.5)" --token-ids "$work/ids.json" --dtype f32 --out "$work/ours" >&2
    ours+=("$("$python" -c "import time; print(f'{time.time() - $begun:.2f}')")")
    theirs+=("$("$python" tests/peers/torch_pruning.py "$method" "$work/dense" "$work/ids.json" "$work/theirs" 2> "$work/log.txt" || { cat "$work/log.txt" >&2; exit 1; })")
  done
  cp "$work"/dense/tokenizer* "$work/theirs/"
  "$python" -c '
import sys
name, ours, theirs, ppl, other = sys.argv[1:]
ours, theirs = (min(map(float, each.split())) for each in (ours, theirs))
print(f"| {name} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} | {float(ppl):.2f} | {float(other):.2f} |", flush=True)
' "$method" "${ours[*]}" "${theirs[*]}" "$(perplexity "$work/ours")" "$(perplexity "$work/theirs")"
done
