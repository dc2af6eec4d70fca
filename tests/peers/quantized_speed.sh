#!/usr/bin/env bash
# Speed beside llama.cpp, ik_llama.cpp and PyTorch on SmolLM2-135M in f32, bf16, 8 and 4 bits, two threads, in turns: prefill of
# 512 tokens with the last position's logits, decode of 64 from the start and after 512. Prints a Markdown table of medians, ratios and bars.
# usage: tests/peers/quantized_speed.sh [ROUNDS]      (default 5; nothing else should run meanwhile)
# PYTHON names a Python that has torch, transformers, accelerate and gguf (one is made otherwise); ALONE a command that runs
# another one while the machine is quiet; HARNESS a built program; SKIP_IK=1 and SKIP_TORCH=1 leave a peer out.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5}
caches="${XDG_CACHE_HOME:-$HOME/.cache}"
work="$caches/harness-peers/quantized_speed"
mkdir -p "$work"
llama=$(tests/peers/llama_cpp.sh | tail -n 1)
ik=""
[ "${SKIP_IK:-}" ] || ik=$(tests/peers/ik_llama_cpp.sh | tail -n 1)
python="${PYTHON:-}"
if [ -z "$python" ] && [ -z "${SKIP_TORCH:-}" ]; then
  python="$caches/harness-peers/torch/bin/python"
  [ -x "$python" ] || { python3 -m venv "$caches/harness-peers/torch" && "$python" -m pip -q install torch transformers accelerate gguf; } >&2
fi
harness="${HARNESS:-}"
if [ -z "$harness" ]; then
  cargo build --release --locked >&2
  harness="${CARGO_TARGET_DIR:-target}/release/harness"
fi
"$harness" fetch --yes smollm2-135m-instruct gutenberg >&2
source=$(ls "${HARNESS_CACHE:-$caches/harness}"/models/smollm2-135m-instruct/*.gguf | head -n 1)
for type in F32 F16 Q8_0 Q4_0; do
  [ -s "$work/$type.gguf" ] || "$llama/llama-quantize" --allow-requantize "$source" "$work/$type.gguf" "$type" 2 >&2
done
export RAYON_NUM_THREADS=2
# shellcheck disable=SC2086
alone() { ${ALONE:-} "$@"; }
rm -f "$work"/*-[0-9]*.json*
for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  out=$(mktemp -d)
  alone "$harness" run suites/real/quantized_speed.toml --yes --out "$out/run" --json > "$out/said.json"
  cp "$(python3 -c "import json,sys; print(json.load(open(sys.argv[1]))['folder'])" "$out/said.json")/journal.jsonl" "$work/harness-$round.jsonl"
  for type in F32 F16 Q8_0 Q4_0; do
    alone "$llama/llama-bench" -m "$work/$type.gguf" -t 2 -p 512 -n 64 -r 3 -o json 2>/dev/null > "$work/llama-$type-$round.json"
    alone "$llama/llama-bench" -m "$work/$type.gguf" -t 2 -p 0 -n 64 -d 512 -r 3 -o json 2>/dev/null > "$work/llama-$type-$round-deep.json"
    if [ "$ik" ]; then
      alone "$ik/llama-bench" -m "$work/$type.gguf" -t 2 -p 512 -n 64 -r 3 -rtr 1 -o json 2>/dev/null > "$work/ik-$type-$round.json"
      # It often dies here, with or without having printed a number.
      alone "$ik/llama-bench" -m "$work/$type.gguf" -t 2 -p 0 -n 0 -gp 512,64 -r 3 -rtr 1 -o json 2>/dev/null > "$work/ik-$type-$round-deep.json" || true
    fi
  done
  [ "${SKIP_TORCH:-}" ] || alone "$python" tests/peers/torch_prefill.py "$work/F32.gguf" | tail -n 1 > "$work/torch-$round.json"
done
python3 tests/peers/quantized_speed.py "$work" "$rounds"
