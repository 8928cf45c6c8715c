#!/usr/bin/env bash
# The reference set of an exercise: all its shared repetitions, simulated by tracking. Those of UI-PRMD, which is in
# the public domain, are packed into bige/assets/simulations_EXERCISE.npz; the others stay in the work folder.
#
#     data_scripts/reference_set.sh EXERCISE [DATA_FOLDER] [WORK_FOLDER] [ASSETS_FOLDER]
#
# EXERCISE: squat, hurdle_step, inline_lunge, side_lunge or sit_to_stand. Squats have twelve intervals a second: two
# thirds of the default mesh, nearly the same activations (14_tracking); the others have what their records say. About
# half a minute of one core for each of 140 to 185 repetitions; JOBS=8 spreads them over eight cores. A run that was
# stopped continues where it stopped. Repetitions that cannot be simulated are packed with their reasons.
set -euo pipefail
EXERCISE=${1:-}
case $EXERCISE in
    squat) ;;
    hurdle_step) MOVEMENT=m02; ARCHIVE=hurdle_step_m02_vicon_markers_0.1mm_int16_100Hz.npz ;;
    inline_lunge) MOVEMENT=m03; ARCHIVE=lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz
                  LEFT_OUT=m03_s02_e10_inc ;;  # no lunge: its leading knee moves by 13 degrees, others' by 98
    side_lunge) MOVEMENT=m04; ARCHIVE=lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz ;;
    sit_to_stand) MOVEMENT=m05; ARCHIVE=lunges_sts_vicon_markers_0.1mm_int16_100Hz.npz ;;
    *) echo "EXERCISE: found '$EXERCISE'; expected squat, hurdle_step, inline_lunge, side_lunge or sit_to_stand. Cure: give one of these first" >&2; exit 2 ;;
esac
shift
HERE=$(dirname "$0")
source "$HERE/trials.sh"

if [ "$EXERCISE" = squat ]; then
    FOLDER=$WORK/tracked/ui_prmd
    ui_prmd_squats "$FOLDER" --mode tracking --intervals 12/s
    other_squats "$WORK/tracked/others" --mode tracking --intervals 12/s
else
    FOLDER=$WORK/$EXERCISE/tracked
    ui_prmd_exercise "$WORK/$EXERCISE" --mode tracking
fi
python "$HERE/pack_simulations.py" "$FOLDER" "$ASSETS/simulations_$EXERCISE.npz"
