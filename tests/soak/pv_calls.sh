# SPDX-License-Identifier: MIT
# SOAK_PV_CALLS random hypercalls (default ten million) on the small machine of the unit tests, with the audit: every operation is both
# done and refused, and all frames are given back. Seeds differ from run to run; the one in the log gives the same run again.
. "$(dirname "$0")/../system/lib.sh"
seed=${SOAK_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
make --no-print-directory "$B/unit/test_pv_exercise" "B=$B" >/dev/null || not_ok "pv_calls: build"
PV_CALLS_COUNT=${SOAK_PV_CALLS:-10000000} PV_CALLS_SEED=$seed timeout "${SOAK_LEFT:-1800}" "$B/unit/test_pv_exercise" >"$WORK/pv_calls.log" 2>&1
equal "pv_calls: exit status, seed $seed" $? 0
sed -nE '/ (done|refused) /s/^/# /p' "$WORK/pv_calls.log"
finish
