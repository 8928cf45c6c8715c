#!/usr/bin/env bash
# The whole path on real files, one verb after the other: raw trials in, guided squats out.
#
#     data_scripts/from_trial_to_squats.sh [DATA_FOLDER] [OUT_FOLDER] [UI_PRMD_TRIALS]
#
# DATA_FOLDER holds the motion data that CONTRIBUTING.md describes. The networks trained here are small
# (a minute or two each): they show that the path works; the shipped ones come from build_assets.sh.
set -euo pipefail
DATA=${1:-${BIGE_SHARED_DATA:-../shared/data}}
OUT=${2:-out/path}
TRIALS=${3:-24}
TRIAL=$DATA/labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot
MODEL=$DATA/models/LaiUhlrich2022_Vicon_39.osim
[ -d "$DATA" ] || { echo "$DATA: found no such folder; expected the motion data. Cure: give it as the first argument, or set BIGE_SHARED_DATA" >&2; exit 2; }
mkdir -p "$OUT"

echo "== repetitions of one trial"
bige segment "$TRIAL" --reps auto --out "$OUT/segments"

echo "== markers to joint angles: a model scaled to each participant"
python data_scripts/some_trials.py "$DATA/ui_prmd/squat_m01_vicon_markers_mm_100Hz.npz" "$TRIALS" "$OUT/markers.npz"
bige ik "$OUT/markers.npz" --model "$MODEL" --out "$OUT/ik"

echo "== muscle activations by static optimisation"
bige simulate "$OUT/ik" --mode qp --out "$OUT/simulation"

echo "== repetitions to one data set"
bige dataset "$OUT/simulation" --out "$OUT/data.npz"

echo "== the two networks, small"
bige train vqvae --data "$OUT/data.npz" --out "$OUT/vqvae" --steps 300
bige train surrogate --data "$OUT/data.npz" --out "$OUT/surrogate" --steps 300

echo "== guided squats from these networks, and from the shipped ones, beside the recorded repetitions"
bige generate -n 20 --seed 0 --vqvae "$OUT/vqvae/vqvae.safetensors" --surrogate "$OUT/surrogate/surrogate.safetensors" \
    --data "$OUT/data.npz" --out "$OUT/generated_own"
bige generate -n 20 --seed 0 --out "$OUT/generated"
bige evaluate "$OUT/generated_own" "$OUT/generated" --reference "$OUT/simulation"
