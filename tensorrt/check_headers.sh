#!/bin/sh
# Compiles the shim, and what TensorRT sees of the plugin, against every set of TensorRT headers in a
# folder, without linking:
#   tensorrt/check_headers.sh [FOLDER]     FOLDER/<version>/include/NvInfer.h
# FOLDER is ../shared/third_party/tensorrt by default; nothing is done where it is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../shared/third_party/tensorrt}
[ -d "$folder" ] || { echo "no TensorRT headers in $folder: nothing checked"; exit 0; }
for include in "$folder"/*/include; do
    for source in "$here"/shim/*.cpp \
        "$here"/plugin/log.cpp "$here"/plugin/contract.cpp "$here"/plugin/plugin.cpp \
        "$here"/plugin/creator.cpp; do
        "${CXX:-c++}" -std=c++17 -fsyntax-only -Wall -Wextra -Wpedantic -Werror \
            -isystem "$include" -isystem "$here/shim/stub" "$source"
    done
    echo "shim and plugin compile against $include"
done
