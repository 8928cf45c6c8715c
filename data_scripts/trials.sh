# The trials that build_assets.sh and reference_set.sh work on; sourced by both, with the arguments
# [DATA_FOLDER] [WORK_FOLDER] [ASSETS_FOLDER]. JOBS=4 in the environment uses four cores instead of two.
# Every stage skips what it finished before, so a run that was stopped continues where it stopped.
DATA=${1:-${BIGE_SHARED_DATA:-../shared/data}}
WORK=${2:-out/assets}
ASSETS=${3:-bige/assets}
JOBS=${JOBS:-2}
[ -d "$DATA" ] || { echo "$DATA: found no such folder; expected the motion data. Cure: give it as the first argument, or set BIGE_SHARED_DATA" >&2; exit 2; }
mkdir -p "$WORK"

simulate() {  # as bige simulate; that some trials cannot be simulated (2) does not stop the others, and their records say why
    bige simulate "$@" --jobs "$JOBS" || [ $? = 2 ]
}

# UI-PRMD's squats, public domain: markers -> a model of each participant, joint angles -> muscles, in folder $1.
ui_prmd_squats() {  # folder, options of bige simulate
    bige ik "$DATA/ui_prmd/squat_m01_vicon_markers_mm_100Hz.npz" --model "$DATA/models/LaiUhlrich2022_Vicon_39.osim" --jobs "$JOBS" --out "$WORK/ik"
    simulate "$WORK/ik" "${@:2}" --out "$1"
}

# Those of the other participants, trials of several squats: cut into repetitions, then simulated on the participant's
# own model, in folders below $1.
other_squats() {  # folder, options of bige simulate
    other "$1" labval_s4 "$DATA/labval_s4_62.6kg/squat/squats1_manual_scaling_ik.mot" "$DATA/labval_s4_62.6kg/squat/manually_scaled.osim" "${@:2}"
    other "$1" labval_s4 "$DATA/labval_s4_62.6kg/squat_asym/squatsAsym1_manual_scaling_ik.mot" "$DATA/labval_s4_62.6kg/squat/manually_scaled.osim" "${@:2}"
    other "$1" labval_s2 "$DATA/labval_s2_78.2kg/squat/squats1_videoAndMocap.mot" "$DATA/labval_s2_78.2kg/squat/LaiArnoldModified2017_contacts.osim" "${@:2}"
    other "$1" fieldstudy_s0 "$DATA/fieldstudy_s0_72kg/squat/Squats_0.mot" "$DATA/fieldstudy_s0_72kg/squat/LaiArnoldModified2017_poly_withArms_weldHand_scaled.osim" "${@:2}"
    other "$1" kirsten "$DATA/kirsten_75.3kg/squat/DLS01_ik.mot" "$DATA/kirsten_75.3kg/squat/final.osim" "${@:2}"
}

other() {  # folder, participant, trial, model, options of bige simulate
    segments=$WORK/segments/$(basename "$3" .mot)
    [ -f "$segments/segments.json" ] || bige segment "$3" --out "$segments"
    simulate "$segments"/*.mot "${@:5}" --model "$4" --out "$1/$2"
}

# Another exercise of UI-PRMD, in folder $1: markers -> joint angles -> muscles. Its participants first sit down for a
# sit-to-stand, so that the rise is cut out; the other exercises hold one repetition a trial.
ui_prmd_exercise() {  # folder, options of bige simulate; MOVEMENT, ARCHIVE, EXERCISE and LEFT_OUT say which
    mkdir -p "$1"
    if [ ! -f "$1/ik/ik.json" ]; then
        python "$HERE/some_trials.py" "$DATA/ui_prmd/$ARCHIVE" all "$1/markers.npz" "${MOVEMENT}_*"
        bige ik "$1/markers.npz" --model "$DATA/models/LaiUhlrich2022_Vicon_39.osim" --jobs "$JOBS" --out "$1/ik"
    fi
    local trials=() trial
    for trial in "$1"/ik/"$MOVEMENT"_*.mot; do
        [[ $trial = *"${LEFT_OUT:-none}"* ]] || trials+=("$trial")
    done
    if [ "$EXERCISE" = sit_to_stand ]; then
        for trial in "${trials[@]}"; do
            local cut=$1/segments/$(basename "$trial" .mot)
            [ -f "$cut/segments.json" ] || bige segment "$trial" --exercise "$EXERCISE" --out "$cut" > /dev/null || [ $? = 2 ]
        done
        trials=("$1"/segments/*/*.mot)
    fi
    simulate "${trials[@]}" --exercise "$EXERCISE" "${@:2}" --out "$1/tracked"
}
