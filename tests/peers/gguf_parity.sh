#!/usr/bin/env bash
# Perplexity of GGUF files that `harness apply` wrote, by llama.cpp's llama-perplexity and by `harness score` on packed codes: the
# same text, windows of 512, the second half of each counted. Prints a Markdown table, and compares the files with those that
# llama-quantize makes of the same checkpoint. Fails when two perplexities of one format are more than 0.5 % apart.
# usage: tests/peers/gguf_parity.sh [WINDOWS]      (default 20)
set -euo pipefail
cd "$(dirname "$0")/../.."
windows=${1:-20}
built=$(tests/peers/llama_cpp.sh | tail -n 1)
python="$(dirname "$built")/venv/bin/python3"
"$python" -c "import gguf" 2>/dev/null || "$python" -m pip -q install gguf >&2
harness="${HARNESS:-${CARGO_TARGET_DIR:-target}/release/harness}"
[ -n "${HARNESS:-}" ] || cargo build --release --locked >&2
"$harness" fetch --yes smollm2-135m-instruct stories15m qwen2.5-coder-0.5b gutenberg >&2
cache="${HARNESS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/harness}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 400000 "$(ls "$cache"/corpora/gutenberg/*austen-emma.txt)" | iconv -f latin1 -t utf-8 > "$work/text.txt"
export RAYON_NUM_THREADS=2

theirs() { # FILE WINDOWS CONTEXT
  # One window at a time, and no token of its own in front: it would take the place of a token of the text.
  "$built/llama-perplexity" -m "$1" -f "$work/text.txt" -c "$3" -b "$3" -t 2 --chunks "$2" \
    --override-kv tokenizer.ggml.add_bos_token=bool:false > "$work/log.txt" 2>&1 ||
    { tail -n 20 "$work/log.txt" >&2; return 1; }
  grep -o 'Final estimate: PPL = [0-9.]*' "$work/log.txt" | grep -o '[0-9.]*$'
}
ours() { # MODEL WINDOWS CONTEXT OPTIONS…
  local model=$1 count=$2 context=$3
  shift 3
  "$harness" score --model "$model" --text "$work/text.txt" --window "$context" --skip-first $((context / 2)) \
    --windows "$count" --json "$@" | "$python" -c "import json,sys; print(json.load(sys.stdin)['ppl'])"
}
apply() { "$harness" apply --offline "$@" >&2; }
row() { # NAME, then perplexities: llama.cpp first, then ours
  "$python" - "$work/failed" "$@" <<'PY'
import sys
failed, name, *values = sys.argv[1:]
first, *others = [float(value) for value in values if value != "-"]
apart = max(abs(other / first - 1) for other in others)
shown = [f"{float(value):.4f}" if value != "-" else "" for value in values]
print(f"| {name} | {' | '.join(shown)} | {100 * apart:.3f} % |", flush=True)
if apart > 0.005:
    open(failed, "w").write(name)
PY
}

echo "| file that \`apply\` wrote | llama-perplexity | packed, int8 inputs | packed, f32 inputs | values, f32 | farthest |"
echo "|---|---:|---:|---:|---:|---:|"
for quant in q4_0 q8_0; do
  file="$work/smollm2-$quant.gguf"
  apply --model smollm2-135m-instruct --quant $quant --head q8_0 --format gguf --out "$file"
  row "smollm2-135m-instruct $quant" "$(theirs "$file" "$windows" 512)" \
    "$(ours smollm2-135m-instruct "$windows" 512 --quant $quant --exec packed --activations int8 --head q8_0)" \
    "$(ours smollm2-135m-instruct "$windows" 512 --quant $quant --exec packed --head q8_0)" \
    "$(ours "$file" "$windows" 512)"
done
# The other tokenizer, the other architecture, and a format with fallbacks.
apply --model stories15m --format gguf --out "$work/stories15m-f32.gguf"
row "stories15m f32, windows of 256" "$(theirs "$work/stories15m-f32.gguf" 20 256)" - - "$(ours stories15m 20 256)"
apply --model stories15m --quant q4_k --format gguf --out "$work/stories15m-q4_k.gguf"
row "stories15m q4_k, windows of 256" "$(theirs "$work/stories15m-q4_k.gguf" 20 256)" \
  "$(ours stories15m 20 256 --quant q4_k --exec packed --activations int8)" \
  "$(ours stories15m 20 256 --quant q4_k --exec packed)" "$(ours "$work/stories15m-q4_k.gguf" 20 256)"
apply --model qwen2.5-coder-0.5b --quant q8_0 --head q8_0 --format gguf --out "$work/qwen2-q8_0.gguf"
row "qwen2.5-coder-0.5b q8_0" "$(theirs "$work/qwen2-q8_0.gguf" 4 512)" \
  "$(ours qwen2.5-coder-0.5b 4 512 --quant q8_0 --exec packed --activations int8 --head q8_0)" \
  "$(ours qwen2.5-coder-0.5b 4 512 --quant q8_0 --exec packed --head q8_0)" "$(ours "$work/qwen2-q8_0.gguf" 4 512)"
echo
source=$(ls "$cache"/models/smollm2-135m-instruct/*.gguf)
for quant in q4_0 q8_0; do
  "$built/llama-quantize" --allow-requantize --pure --token-embedding-type q8_0 "$source" "$work/theirs-$quant.gguf" ${quant^^} 2 > "$work/log.txt" 2>&1 ||
    { tail -n 20 "$work/log.txt" >&2; exit 1; }
  "$python" tests/reference/gguf_files.py "$work/smollm2-$quant.gguf" "$work/theirs-$quant.gguf"
done
if [ -e "$work/failed" ]; then
  echo "more than 0.5 % apart: $(cat "$work/failed")" >&2
  exit 1
fi
