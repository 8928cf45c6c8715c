#!/usr/bin/env bash
# Rebuild bige/assets from raw motion: markers -> joint angles -> repetitions -> tracking simulations -> networks.
#
#     data_scripts/build_assets.sh [DATA_FOLDER] [WORK_FOLDER] [ASSETS_FOLDER]
#
# Simulating takes most of the time: half a minute of one core for each of 804 repetitions of five exercises
# (reference_set.sh, JOBS=8 spreads them over eight cores). Every stage skips what it finished before, so a run that was
# stopped continues where it stopped. The networks learn from what is shipped alone, public-domain data (UI-PRMD); to learn
# from the other participants' squats too:
#
#     bige dataset "$WORK"/tracked/others/* --out "$WORK/others.npz"
#     python data_scripts/train_assets.py "$ASSETS" --data "$WORK/others.npz" --recorded ...
set -euo pipefail
source "$(dirname "$0")/trials.sh"

python data_scripts/compile_skeleton.py "$DATA/models/LaiUhlrich2022.osim" --markers "$DATA/models/LaiUhlrich2022_Vicon_39.osim"
python data_scripts/fit_muscles.py "$DATA/models/LaiUhlrich2022.osim"

recorded=squat=$WORK/ik
for exercise in squat hurdle_step inline_lunge side_lunge sit_to_stand; do
    bash data_scripts/reference_set.sh "$exercise" "$DATA" "$WORK" "$ASSETS"
    rm -f "$ASSETS/reference_$exercise.npz"  # packed again from these simulations
    [ "$exercise" = squat ] || recorded=$recorded,$exercise=$WORK/$exercise/ik
done

python data_scripts/train_assets.py "$ASSETS" --recorded "$recorded"
python data_scripts/reference_scores.py
meshes=("${NIMBLE:-.venv-nimble}"/lib/python3.*/site-packages/nimblephysics/models/rajagopal_data/Geometry)
python data_scripts/compile_bones.py "$DATA/models/LaiUhlrich2022.osim" --meshes "${meshes[0]}"
