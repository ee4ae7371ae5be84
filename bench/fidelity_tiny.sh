#!/usr/bin/env bash
# Makes bench/results/fidelity-tiny.*: every FP8 option of a tiny checkpoint with peaky attentions,
# against f32 on the CPU. Needs `./x setup` and a built bernini, by default target/release/bernini.
set -euo pipefail
cd "$(dirname "$0")/.."
bernini=$(realpath "${1:-target/release/bernini}")
results=$(realpath bench/results)
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cd "$scratch"
case=(--prompt "A lighthouse at dusk." --task_type t2v --guidance_mode t2v
  --num_frames 9 --height 64 --width 96 --num_inference_steps 10)

"$bernini" synth --preset tiny --layout renderer --peaky -o CKPT
"$bernini" export CKPT -o f32 --taps values
"$bernini" export CKPT -o f32-again
"$bernini" export CKPT -o amax --taps amax
"$bernini" calibrate amax "${case[@]}" -o table.json
"$bernini" calibrate amax "${case[@]}" -o balanced.json --balance
"$bernini" search f32 CKPT --calibration table.json "${case[@]}" -o searched.json \
  --svg "$results/fidelity-tiny.frontier.svg" | tee search.txt
option() { # NAME POLICY TABLE
  "$bernini" export CKPT -o "$1" --precision fp8-f32 --policy "$2" --calibration "$3" --taps values
}
option plain-fp8 all-fp8-attention table.json
option re-balanced all-fp8-attention balanced.json
option bf16-attention all-fp8 table.json
option searched searched.json table.json
"$bernini" verify f32 plain-fp8 re-balanced bf16-attention searched --floor f32-again "${case[@]}" \
  --html "$results/fidelity-tiny.html" | tee verify.txt || [ $? = 1 ]

cat >"$results/fidelity-tiny.md" <<EOF
# Every FP8 option of a tiny checkpoint
Tiny random weights on a CPU: two blocks an expert, 60 channels, \`synth --peaky\` (softmax has peaks, a few channels of queries and keys are far above the others). FP8 values are those of engines, in f32 arithmetic (\`fp8-f32\`). It shows what the report holds and that the gate can fail; it says nothing about real weights, and nothing about speed: shares of FLOPs are no times. The floor is a second f32 export without taps, which ONNX Runtime adds up in another order.

[The report as a page](fidelity-tiny.html), with curves and frames. Made by \`bench/fidelity_tiny.sh\`, which holds every command.

## What can run in FP8 within 6 % a step
![Error of the worst step against work in FP8](fidelity-tiny.frontier.svg)

\`\`\`
$(cat search.txt)
\`\`\`

## Every option against f32
\`\`\`
$(sed -n '/^relative L2 inside/,$p' verify.txt)
\`\`\`
EOF
