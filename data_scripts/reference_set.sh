#!/usr/bin/env bash
# The reference set: all shared squats, simulated by tracking. Those of UI-PRMD, which is in the public domain,
# are packed into bige/assets; the others stay in the work folder.
#
#     data_scripts/reference_set.sh [DATA_FOLDER] [WORK_FOLDER] [ASSETS_FOLDER]
#
# Twelve intervals a second: two thirds of the default mesh, nearly the same activations (14_tracking). About half a
# minute of one core for each of 185 squats; JOBS=8 spreads them over eight cores. A run that was
# stopped continues where it stopped. Squats that cannot be simulated are packed with their reasons.
set -euo pipefail
source "$(dirname "$0")/squats.sh"

ui_prmd "$WORK/tracked/ui_prmd" --mode tracking --intervals 12/s
python "$(dirname "$0")/pack_simulations.py" "$WORK/tracked/ui_prmd" "$ASSETS/simulations.npz"
others "$WORK/tracked/others" --mode tracking --intervals 12/s
