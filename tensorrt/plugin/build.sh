#!/usr/bin/env bash
# Compiles the plugin for sm_90a: build.sh OUT.so, called by `./x plugin`, which fills in
#   TENSORRT_INCLUDE_DIR, CUDA_HOME, CUDNN_INCLUDE_DIR, CUDNN_FRONTEND_INCLUDE_DIR
# Nothing of cuDNN or TensorRT is linked: cuDNN is opened at run time, TensorRT opens the plugin.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")"
objects=$(mktemp -d)
trap 'rm -r "$objects"' EXIT

host() { # FILE: host code, by the C++ compiler, which is much faster at it than nvcc
  g++ -O2 -std=c++17 -fPIC -fvisibility=hidden -Wall -Wextra -Wpedantic -Werror \
    -isystem "$TENSORRT_INCLUDE_DIR" -isystem "$CUDA_HOME/include" \
    -isystem "$CUDNN_INCLUDE_DIR" -isystem "$CUDNN_FRONTEND_INCLUDE_DIR" -isystem stub \
    -c "$1.cpp" -o "$objects/$1.o"
}

host sdpa & # most of the time
sdpa=$!
for file in contract creator cudnn_library log plugin; do host "$file"; done
"$CUDA_HOME/bin/nvcc" -O3 -std=c++17 -arch=sm_90a -Werror all-warnings \
  -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra -c quantize.cu -o "$objects/quantize.o"
wait "$sdpa"

# Without symbols, which name temporary files of nvcc: the same sources give the same bytes, and
# engines are built anew only where the plugin has changed.
libraries=$CUDA_HOME/lib64
[ -d "$libraries" ] || libraries=$CUDA_HOME/lib
g++ -shared -s -o "$out.part" "$objects"/*.o "$libraries/libcudart_static.a" -lpthread -ldl -lrt \
  -Wl,-z,defs -Wl,--exclude-libs,ALL -Wl,--version-script=exports.map
mv "$out.part" "$out"
