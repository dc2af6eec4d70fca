#!/usr/bin/env bash
# The detection study of harness/METHODOLOGY.md: makes the runs, then prints its tables.
#   tests/detection/run.sh [FOLDER] [TIMING_RUNS]
# Timing runs want a machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-target/detection}
nights=${2:-30}
cargo build --release --locked
cargo build --release --locked -p harness-store --example detection
target=${CARGO_TARGET_DIR:-target}/release
[ -e "$folder/quality/sealed.json" ] || "$target/harness" run tests/detection/quality.toml --out "$folder/quality" > /dev/null
for night in $(seq -w 1 "$nights"); do
  [ -e "$folder/times-$night/sealed.json" ] ||
    "$target/harness" run tests/detection/timing.toml --out "$folder/times-$night" > /dev/null
done
"$target/examples/detection" "$folder/quality" "$folder"/times-*
