#!/usr/bin/env bash
# Models that have lost heads and channels, `harness apply --shrink`, by transformers and by `harness score`: the negative log-likelihood of
# the same windows of each folder whose blocks are equally wide. Prints a Markdown table; fails when two windows are more than 1e-4 apart
# (relatively), when transformers finds tensors missing or left over, or when a folder whose blocks are of different widths passes for one
# that transformers reads. Needs python3 with torch and transformers (PYTHON=...).
# usage: tests/peers/narrowed_folders.sh [MODEL ...]      (default tiny-1m stories15m smollm2-135m-instruct)
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- tiny-1m stories15m smollm2-135m-instruct
python=${PYTHON:-python3}
harness="${HARNESS:-${CARGO_TARGET_DIR:-target}/release/harness}"
[ -n "${HARNESS:-}" ] || cargo build --release --locked >&2
"$harness" fetch --yes "$@" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export RAYON_NUM_THREADS=2
equal=(
  "magnitude-width(ratio=0.34)"
  "wanda-width(ratio=0.34)"
  "llm-pruner(ratio=0.34, skip_first=0, skip_last=0)"
  "flap(ratio=0.34, manner=ul-um)"
  "flap(ratio=0.34, manner=ul-um, bias=false)"
  "darwinlm(ratio=0.34, generations=0, samples=1, tokens=64)"
  "dress(ratio=0.34, steps=2, recover=2, batch=2)"
)
unequal="flap(ratio=0.34)"
echo "| model | \`--shrink\` | heads | key-value heads | channels | farthest window |"
echo "|---|---|---:|---:|---:|---:|"
for model in "$@"; do
  at=0
  for arm in "${equal[@]}" "$unequal"; do
    at=$((at + 1))
    folder="$work/$model-$at"
    # Any text that the tokenizer reads will do: two programs are compared, not two models.
    "$harness" apply --offline --model "$model" --shrink "$arm" --calib fables/train --window 64 --windows 8 --dtype f32 --out "$folder" > "$work/out.txt" 2> "$work/said.txt" \
      || { cat "$work/said.txt" >&2; exit 1; }
    "$python" -c '
import json, random, sys
config = json.load(open(sys.argv[1] + "/config.json"))
draw = random.Random(7)
json.dump([[draw.randrange(config["vocab_size"]) for _ in range(48)] for _ in range(4)], open(sys.argv[2], "w"))
' "$folder" "$work/ids.json"
    "$harness" score --offline --model "$folder" --token-ids "$work/ids.json" --json > "$work/score.json"
    "$python" tests/peers/torch_narrowed.py "$model" "$arm" "$folder" "$work/ids.json" "$work/score.json" "$([ "$arm" = "$unequal" ] && echo unequal || echo equal)"
    if [ "$arm" = "$unequal" ]; then
      grep -q "this program alone reads what was written" "$work/said.txt" || { echo "nothing was said of $folder's widths" >&2; exit 1; }
    fi
  done
done
