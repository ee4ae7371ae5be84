#!/usr/bin/env bash
# Makes bench/results/fidelity-PRESET.*: every FP8 option of a random checkpoint against f32 on the
# CPU: fidelity.sh tiny|slim|deep [BERNINI [RESULTS]]. Needs `./x setup`; slim takes 45 GiB where
# TMPDIR says, 15 GiB of memory and half an hour of two cores, deep 20 GiB and half an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?tiny, slim or deep}
bernini=$(realpath "${2:-target/release/bernini}")
results=$(realpath "${3:-bench/results}")
name=fidelity-$preset
taps=(--taps values)
case $preset in
  tiny) size=(--num_frames 9 --height 64 --width 96 --num_inference_steps 10)
    weights=(--peaky) options=(plain-fp8 re-balanced bf16-attention searched)
    what="two blocks an expert, 60 channels, \`synth --peaky\` (softmax has peaks, a few channels of queries and keys are far above the others)" ;;
  slim) size=(--num_frames 9 --height 128 --width 192 --num_inference_steps 4)
    weights=() options=(plain-fp8 bf16-attention searched)
    what="two blocks an expert, the release's 5120 channels" ;;
  deep) size=(--num_frames 9 --height 128 --width 192 --num_inference_steps 4)
    weights=() options=(plain-fp8 default searched) taps=()
    what="the release's 40 blocks an expert and 24 layers of the text encoder, an eighth as wide" ;;
  *) echo "fidelity.sh: expected tiny, slim or deep, found $preset" >&2; exit 2 ;;
esac
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cd "$scratch"
case=(--prompt "A lighthouse at dusk." --task_type t2v --guidance_mode t2v "${size[@]}")

"$bernini" synth --preset "$preset" --layout renderer "${weights[@]}" -o CKPT
"$bernini" export CKPT -o amax --taps amax
"$bernini" calibrate amax "${case[@]}" -o table.json
if [[ " ${options[*]} " == *" re-balanced "* ]]; then
  "$bernini" calibrate amax "${case[@]}" -o balanced.json --balance
fi
rm -r amax
"$bernini" export CKPT -o f32 "${taps[@]}"
"$bernini" search f32 CKPT --calibration table.json "${case[@]}" -o searched.json \
  --svg "$results/$name.frontier.svg" | tee search.txt
cp searched.json "$results/$name.policy.json"
for option in "${options[@]}"; do
  policy=all-fp8-attention table=table.json
  case $option in
    re-balanced) table=balanced.json ;;
    bf16-attention) policy=all-fp8 ;;
    default) policy=default-attention ;;
    searched) policy=searched.json ;;
  esac
  "$bernini" export CKPT -o "$option" --precision fp8-f32 --policy "$policy" \
    --calibration "$table" "${taps[@]}"
done
floor=()
if [ "$preset" = tiny ]; then
  "$bernini" export CKPT -o f32-again
  floor=(--floor f32-again)
fi
"$bernini" verify f32 "${options[@]}" "${floor[@]}" "${case[@]}" \
  --html "$results/$name.html" | tee verify.txt || [ $? = 1 ]

cat >"$results/$name.md" <<EOF
# Every FP8 option of a ${preset} checkpoint
${preset^} random weights on a CPU: $what. FP8 values are those of engines, in f32 arithmetic (\`fp8-f32\`). It shows what the report holds and that the gate can fail; it says nothing about real weights, and nothing about speed: shares of FLOPs are no times. A floor, where there is one, is a second f32 export without taps, which ONNX Runtime adds up in another order.

[The report as a page]($name.html), with curves and frames. Made by \`bench/fidelity.sh $preset\`, which holds every command.

## What can run in FP8 within 6 % a step
![Error of the worst step against work in FP8]($name.frontier.svg)

\`\`\`
$(cat search.txt)
\`\`\`

## Every option against f32
\`\`\`
$(sed -n '/^relative L2 \(inside\|of the guided\)/,$p' verify.txt)
\`\`\`
EOF
