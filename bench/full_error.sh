#!/usr/bin/env bash
# Errors of engines of full size: full_error.sh BERNINI RESULTS [PRESET]. Every submodule in bf16
# against its f32 graph on the CPU, with PyTorch's bf16 beside it; then an expert in FP8 with scales
# measured on its bf16 engine: guided steps of three policies, and one forward against f32. An H100
# or H200 with 128 GiB of memory and 64 GiB of disk; needs torch, diffusers 0.35.2, transformers,
# ORT_DYLIB_PATH and the plugin. One package lies in /dev/shm at a time. What RESULTS already holds
# is not measured again.
set -euo pipefail
bench=$(realpath "$(dirname "$0")")
bernini=$(realpath "${1:?the command bernini}")
results=$(realpath "${2:?a folder for results}")
preset=${3:-full}
memory=$(mktemp -d -p /dev/shm)
disk=$(mktemp -d)
trap 'rm -r "$memory" "$disk"' EXIT
clip=240x192x9
# What kernels are chosen by changes no error that is looked for here.
build() { "$bernini" build "$1" -o "$2" --workload "$3" --optimization-level 1; }

# NAME COMPONENTS SUBMODULES PARTS: parts are those of torch_bf16_error.py.
bf16() {
  local name=$1 components=$2 submodules=$3
  shift 3
  [ ! -e "$results/full-$name.json" ] || return 0
  "$bernini" synth --preset "$preset" --only "$components" -o "$memory/ckpt"
  python3 "$bench/torch_bf16_error.py" "$memory/ckpt" "$results/full-torch-$name.json" "$@"
  "$bernini" export "$memory/ckpt" -o "$disk/bf16" --precision bf16 --only "$submodules"
  build "$disk/bf16" "$memory/engines" "$clip+$clip"
  rm -r "$disk/bf16"
  "$bernini" export "$memory/ckpt" -o "$disk/f32" --only "$submodules"
  rm -r "$memory/ckpt"
  "$bernini" verify "$disk/f32" "$memory/engines" --workload "$clip+$clip" --level a \
    -o "$results/full-$name.json" || [ $? = 1 ]
  rm -r "$disk/f32" "$memory/engines"
}

vae=vae_encoder_first,vae_encoder_next,vae_decoder_first,vae_decoder_next
heads=pred_vit,proj_gen,flow_head_modulation,flow_head
bf16 heads connector,flow_head,mask_tokens "$heads" ${heads//,/ }
bf16 vae vae "$vae" vae_encoder vae_decoder
bf16 vision vision vision vision
bf16 text-encoder text_encoder text_encoder text_encoder
bf16 planner-lm planner_lm,mask_tokens planner_lm planner_lm
bf16 contexts transformer transformer_context transformer_context

table=$results/full-table.json whole=$results/full-expert.json
steps() { echo "$results/full-expert-steps-$(basename "$1" .policy.json).json"; }
# The last one's engines are compared with f32 as well.
policies=("$bench/results/fidelity-deep.policy.json" default-attention all-fp8-attention)
expert=(--prompt "A lighthouse at dusk." --task_type t2v --guidance_mode t2v --num_frames 9
  --height 192 --width 240 --num_inference_steps 3 --flow_shift 40)
submodules=transformer,transformer_context,text_encoder,vae_decoder_first,vae_decoder_next
# All steps of this shift are the first expert's, so the package does without the second.
renderer() {
  "$bernini" synth --preset "$preset" --layout renderer --only transformer,text_encoder,vae \
    -o "$memory/ckpt"
}
fp8() { # POLICY: an expert of it in $memory/fp8
  rm -rf "$memory/fp8"
  renderer
  "$bernini" export "$memory/ckpt" -o "$disk/fp8" --precision fp8 --policy "$1" \
    --calibration "$table" --only "$submodules"
  rm -r "$memory/ckpt"
  build "$disk/fp8" "$memory/fp8" "$clip"
  rm -r "$disk/fp8"
}

left=()
for policy in "${policies[@]}"; do
  [ -e "$(steps "$policy")" ] || left+=("$policy")
done
if [ ! -e "$table" ] || [ ${#left[@]} -gt 0 ]; then
  taps=()
  [ -e "$table" ] || taps=(--taps amax)
  renderer
  "$bernini" export "$memory/ckpt" -o "$disk/bf16" --precision bf16 "${taps[@]}" --only "$submodules"
  rm -r "$memory/ckpt"
  build "$disk/bf16" "$memory/bf16" "$clip"
  rm -r "$disk/bf16"
  [ -e "$table" ] || "$bernini" calibrate "$memory/bf16" "${expert[@]}" -o "$table"
  for policy in "${left[@]}"; do
    fp8 "$policy"
    "$bernini" verify "$memory/bf16" "$memory/fp8" "${expert[@]}" --level b -o "$(steps "$policy")" ||
      [ $? = 1 ]
  done
  # Makes room for 58 GB of f32 weights, which are mapped from the disk.
  rm -r "$memory/bf16"
fi
[ ! -e "$whole" ] || exit 0
[[ ${left[*]} = *"${policies[-1]}" ]] || fp8 "${policies[-1]}"
renderer
"$bernini" export "$memory/ckpt" -o "$disk/f32" --only transformer,transformer_context
rm -r "$memory/ckpt"
"$bernini" verify "$disk/f32" "$memory/fp8" --workload "$clip" --level a -o "$whole" || [ $? = 1 ]
