#!/usr/bin/env bash
# Every exported graph against onnx.checker (full), in all four precisions; ONNX Runtime loads
# those with f32 arithmetic. It is the version of ./x: before 1.32 it fuses FP8 Q/DQ wrongly.
#
# Exempt: the VAE in bf16, because opset 20 does not type a bf16 Conv (opset 22 does) while
# TensorRT 10.6, which runs it, reads opset 20.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python3 -m venv "$out/venv"
"$out/venv/bin/pip" install -q onnx==1.19.0 onnxruntime==1.32.0
bernini=${CARGO_TARGET_DIR:-target}/release/bernini
for layout in full renderer; do
  "$bernini" synth --preset tiny --layout "$layout" -o "$out/$layout"
  "$bernini" inspect "$out/$layout"
done
"$bernini" export "$out/full" -o "$out/f32" --precision f32
"$bernini" export "$out/renderer" -o "$out/renderer-f32" --precision f32
"$bernini" export "$out/full" -o "$out/bf16" --precision bf16
"$bernini" export "$out/full" -o "$out/fp8" --precision fp8 --policy all-fp8 --calibration synthetic
"$bernini" export "$out/full" -o "$out/fp8-f32" --precision fp8-f32 --policy all-fp8-attention \
  --calibration synthetic
"$bernini" synth --preset full --header-only -o "$out/names"
"$bernini" inspect "$out/names" | grep "3315 of 3315 tensors accounted for"
for precision in f32 renderer-f32 bf16 fp8 fp8-f32; do
  "$bernini" inspect --verify "$out/$precision"
  "$out/venv/bin/python" - "$out/$precision" <<'PY'
import pathlib, sys, onnx, onnxruntime
folder = pathlib.Path(sys.argv[1])
graphs = sorted(folder.glob("*.onnx"))
checked = [g for g in graphs if "f32" in folder.name or not g.stem.startswith("vae_")]
for graph in checked:
    onnx.checker.check_model(str(graph), full_check=True)
    if "f32" in folder.name:
        onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
assert len(graphs) == (9 if "renderer" in folder.name else 15), graphs
print(f"onnx.checker: {len(checked)} of {len(graphs)} graphs of {folder.name} pass")
PY
done
