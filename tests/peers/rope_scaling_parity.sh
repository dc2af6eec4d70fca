#!/usr/bin/env bash
# Perplexity beyond the trained length of checkpoints that scale their own rotary frequencies, by llama.cpp's llama-perplexity and by
# `harness score`: stories15m (trained at 256) with each kind of scaling in its configuration, written as GGUF by `harness apply`, read in
# windows of 1024, the second half of each counted. Prints a Markdown table; fails when two perplexities are more than 0.5 % apart.
# usage: tests/peers/rope_scaling_parity.sh [WINDOWS]      (default 8)
set -euo pipefail
cd "$(dirname "$0")/../.."
windows=${1:-8}
built=$(tests/peers/llama_cpp.sh | tail -n 1)
harness="${HARNESS:-${CARGO_TARGET_DIR:-target}/release/harness}"
[ -n "${HARNESS:-}" ] || cargo build --release --locked >&2
"$harness" fetch --yes stories15m gutenberg >&2
cache="${HARNESS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harness}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 400000 "$(ls "$cache"/corpora/gutenberg/*austen-emma.txt)" | iconv -f latin1 -t utf-8 > "$work/text.txt"
export RAYON_NUM_THREADS=2
"$harness" apply --offline --model stories15m --out "$work/plain" >&2

echo "| \`rope_scaling\` of stories15m | llama-perplexity | the GGUF file | the folder | farthest |"
echo "|---|---:|---:|---:|---:|"
python3 - "$work" <<'PY'
import json, pathlib, shutil, sys
work = pathlib.Path(sys.argv[1])
factors = [1.0 + index / 4 for index in range(24)]
kinds = {
    "none": None,
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
    "llama3": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 256},
    "longrope": {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0] * 24, "long_factor": factors,
                 "original_max_position_embeddings": 256},
}
for name, scaling in kinds.items():
    folder = work / name
    shutil.copytree(work / "plain", folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["max_position_embeddings"] = 1024
    if scaling:
        config.pop("rope_scaling", None)
        config["rope_parameters"] = {**config.get("rope_parameters", {}), **scaling}
    path.write_text(json.dumps(config))
PY
for kind in none linear yarn llama3 longrope; do
  file="$work/$kind.gguf"
  "$harness" apply --offline --model "$work/$kind" --format gguf --out "$file" >&2
  "$built/llama-perplexity" -m "$file" -f "$work/text.txt" -c 1024 -b 1024 -t 2 --chunks "$windows" \
    --override-kv tokenizer.ggml.add_bos_token=bool:false > "$work/log.txt" 2>&1 || { tail -n 20 "$work/log.txt" >&2; exit 1; }
  theirs=$(grep -o 'Final estimate: PPL = [0-9.]*' "$work/log.txt" | grep -o '[0-9.]*$')
  for model in "$file" "$work/$kind"; do
    "$harness" score --model "$model" --text "$work/text.txt" --window 1024 --skip-first 512 --windows "$windows" --json
  done | python3 -c '
import json, sys
failed, kind, theirs = sys.argv[1:]
text, decoder, ours = sys.stdin.read(), json.JSONDecoder(), []
while text.strip():
    value, end = decoder.raw_decode(text.lstrip())
    ours.append(value["ppl"])
    text = text.lstrip()[end:]
apart = max(abs(value / float(theirs) - 1) for value in ours)
print(f"| {kind} | {float(theirs):.4f} | {ours[0]:.4f} | {ours[1]:.4f} | {100 * apart:.3f} % |", flush=True)
if apart > 0.005:
    open(failed, "a").write(kind + " ")
' "$work/failed" "$kind" "$theirs"
done
if [ -e "$work/failed" ]; then
  echo "more than 0.5 % apart: $(cat "$work/failed")" >&2
  exit 1
fi
