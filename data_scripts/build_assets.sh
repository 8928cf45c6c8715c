#!/usr/bin/env bash
# Rebuild bige/assets from raw motion: markers -> joint angles -> repetitions -> muscle activations -> networks.
#
#     data_scripts/build_assets.sh [DATA_FOLDER] [WORK_FOLDER] [ASSETS_FOLDER]
#
# Every stage skips what it finished before, so a run that was stopped goes on where it stopped.
# The reference repetitions that are shipped come from public-domain data alone (UI-PRMD); the networks
# also see the other people's squats.
set -euo pipefail
DATA=${1:-${BIGE_SHARED_DATA:-../shared/data}}
WORK=${2:-out/assets}
ASSETS=${3:-bige/assets}
mkdir -p "$WORK"

python data_scripts/compile_skeleton.py "$DATA/models/LaiUhlrich2022.osim" --markers "$DATA/models/LaiUhlrich2022_Vicon_39.osim"
python data_scripts/fit_muscles.py "$DATA/models/LaiUhlrich2022.osim"

bige ik "$DATA/ui_prmd/squat_m01_vicon_markers_mm_100Hz.npz" --model "$DATA/models/LaiUhlrich2022_Vicon_39.osim" --jobs 2 --out "$WORK/ik"
bige simulate "$WORK/ik" --mode qp --jobs 2 --out "$WORK/ui_prmd"

# Trials of several squats: cut into repetitions, then simulated on the person's own model.
others() {  # person, trial, model
    segments=$WORK/segments/$(basename "$2" .mot)
    [ -f "$segments/segments.json" ] || bige segment "$2" --out "$segments"
    bige simulate "$segments"/*.mot --mode qp --model "$3" --jobs 2 --out "$WORK/others/$1"
}
others labval_s4 "$DATA/labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot" "$DATA/labval_s4_62.6kg/squat/manually_scaled.osim"
others labval_s4 "$DATA/labval_s4_62.6kg/squat_asym/squatsAsym1_manual_scaling_ik.mot" "$DATA/labval_s4_62.6kg/squat/manually_scaled.osim"
others labval_s2 "$DATA/labval_s2_78.2kg/squat/squats1_videoAndMocap.mot" "$DATA/labval_s2_78.2kg/squat/LaiArnoldModified2017_contacts.osim"
others fieldstudy_s0 "$DATA/fieldstudy_s0_72kg/squat/Squats_0.mot" "$DATA/fieldstudy_s0_72kg/squat/LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim"
others kirsten "$DATA/kirsten_75.3kg/squat/DLS01_ik.mot" "$DATA/kirsten_75.3kg/squat/final.osim"

bige dataset "$WORK/ui_prmd" "$WORK"/others/* --out "$WORK/data.npz"
python data_scripts/train_assets.py "$WORK/data.npz" "$ASSETS"
