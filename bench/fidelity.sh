#!/usr/bin/env bash
# Makes bench/results/fidelity-PRESET.*: every FP8 option of a random checkpoint with peaky
# attentions, against f32 on the CPU: fidelity.sh tiny|slim [BERNINI [RESULTS]]. Needs `./x setup`;
# slim takes 70 GiB where TMPDIR says, 30 GiB of memory and minutes on 16 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?tiny or slim}
bernini=$(realpath "${2:-target/release/bernini}")
results=$(realpath "${3:-bench/results}")
name=fidelity-$preset
case $preset in
  tiny) size=(--num_frames 9 --height 64 --width 96 --num_inference_steps 10)
    what="two blocks an expert, 60 channels" ;;
  slim) size=(--num_frames 9 --height 128 --width 192 --num_inference_steps 4)
    what="two blocks an expert, the release's 5120 channels" ;;
  *) echo "fidelity.sh: expected tiny or slim, found $preset" >&2; exit 2 ;;
esac
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cd "$scratch"
case=(--prompt "A lighthouse at dusk." --task_type t2v --guidance_mode t2v "${size[@]}")

"$bernini" synth --preset "$preset" --layout renderer --peaky -o CKPT
"$bernini" export CKPT -o amax --taps amax
"$bernini" calibrate amax "${case[@]}" -o table.json
"$bernini" calibrate amax "${case[@]}" -o balanced.json --balance
rm -r amax
"$bernini" export CKPT -o f32 --taps values
"$bernini" search f32 CKPT --calibration table.json "${case[@]}" -o searched.json \
  --svg "$results/$name.frontier.svg" | tee search.txt
option() { # NAME POLICY TABLE
  "$bernini" export CKPT -o "$1" --precision fp8-f32 --policy "$2" --calibration "$3" --taps values
}
option plain-fp8 all-fp8-attention table.json
option re-balanced all-fp8-attention balanced.json
option bf16-attention all-fp8 table.json
option searched searched.json table.json
floor=()
if [ "$preset" = tiny ]; then
  "$bernini" export CKPT -o f32-again
  floor=(--floor f32-again)
fi
"$bernini" verify f32 plain-fp8 re-balanced bf16-attention searched "${floor[@]}" "${case[@]}" \
  --html "$results/$name.html" | tee verify.txt || [ $? = 1 ]

cat >"$results/$name.md" <<EOF
# Every FP8 option of a ${preset} checkpoint
${preset^} random weights on a CPU: $what, \`synth --peaky\` (softmax has peaks, a few channels of queries and keys are far above the others). FP8 values are those of engines, in f32 arithmetic (\`fp8-f32\`). It shows what the report holds and that the gate can fail; it says nothing about real weights, and nothing about speed: shares of FLOPs are no times. A floor, where there is one, is a second f32 export without taps, which ONNX Runtime adds up in another order.

[The report as a page]($name.html), with curves and frames. Made by \`bench/fidelity.sh $preset\`, which holds every command.

## What can run in FP8 within 6 % a step
![Error of the worst step against work in FP8]($name.frontier.svg)

\`\`\`
$(cat search.txt)
\`\`\`

## Every option against f32
\`\`\`
$(sed -n '/^relative L2 inside/,$p' verify.txt)
\`\`\`
EOF
