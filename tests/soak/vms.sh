#!/bin/bash
# SPDX-License-Identifier: MIT
# Sixteen VMs on two CPUs, SOAK_VMS_RUNS times (default 2) while time is left: twelve finish work whose result is known, two die
# of a triple fault, two panic. A run takes 4 minutes on two busy CPUs, and of the machine's 4 GiB 1.7.
. tests/system/lib.sh
runs=${SOAK_VMS_RUNS:-2}
want=$("$B/guests/tz" gen 33554432 | sha256sum | cut -d' ' -f1)
files=()
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do files+=("$(vm_file "sum$i" work "quiet do=sum" 96 "cpu_weight = $((i * 64))")"); done
for i in 1 2; do
	files+=("$(vm_file "triple$i" work "quiet do=triple reboot=t" 96 'on_crash = "destroy"')")
	files+=("$(vm_file "dies$i" work "quiet do=panic panic=1" 96 'on_reboot = "destroy"')")
done
log=$WORK/sixteen.log
for ((run = 1; run <= runs; run++)); do
	[ "$run" -eq 1 ] || [ $SECONDS -lt "${SOAK_LEFT:-1000}" ] || break
	timeout 1800 "$B/trapeze" run --memory 4G --timeout 1700 --stats "$WORK/sixteen.json" "${files[@]}" </dev/null >"$log" 2>"$log.err"
	equal "sixteen VMs $run: status" $? 10
	equal "sixteen VMs $run: results" "$(tr -d '\r' <"$log" | grep -acE "^sum[0-9]+\| TZ-SUM $want$")" 12
	equal "sixteen VMs $run: triple faults" "$(grep -acE 'VM triple[12] crashed: triple fault' "$log.err")" 2
	equal "sixteen VMs $run: panics" "$(tr -d '\r' <"$log" | grep -aoE '^dies[12]\| .*Kernel panic' | cut -d'|' -f1 | sort -u | wc -l)" 2
done
finish
