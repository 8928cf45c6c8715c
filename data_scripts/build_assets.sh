#!/usr/bin/env bash
# Rebuild bige/assets from raw motion: markers -> joint angles -> repetitions -> tracking simulations -> networks.
#
#     data_scripts/build_assets.sh [DATA_FOLDER] [WORK_FOLDER] [ASSETS_FOLDER]
#
# Simulating takes most of the time: half a minute of one core for each of 185 squats (reference_set.sh, JOBS=8 spreads them over eight cores).
# Every stage skips what it finished before, so a run that was stopped continues where it stopped.
# The reference repetitions that are shipped come from public-domain data alone (UI-PRMD); the networks
# also see the squats of the other participants.
set -euo pipefail
source "$(dirname "$0")/trials.sh"

python data_scripts/compile_skeleton.py "$DATA/models/LaiUhlrich2022.osim" --markers "$DATA/models/LaiUhlrich2022_Vicon_39.osim"
python data_scripts/fit_muscles.py "$DATA/models/LaiUhlrich2022.osim"

bash data_scripts/reference_set.sh squat "$DATA" "$WORK" "$ASSETS"

bige dataset "$WORK/tracked/ui_prmd" "$WORK"/tracked/others/* --out "$WORK/data.npz"
python data_scripts/train_assets.py "$WORK/data.npz" "$ASSETS"
meshes=("${NIMBLE:-.venv-nimble}"/lib/python3.*/site-packages/nimblephysics/models/rajagopal_data/Geometry)
python data_scripts/compile_bones.py "$DATA/models/LaiUhlrich2022.osim" --meshes "${meshes[0]}"
