# SPDX-License-Identifier: MIT
# It is translation: hardly any kernel instruction of a boot is emulated, and the translator's own count of what runs is right.
# The same operations, N and 2N times, are done in one guest under Trapeze (counted by translated code, bt.count=1) and in
# one on the bare machine (counted by a QEMU plugin at kernel addresses); what an operation costs must agree.
#
# Points of measurement: the plugin's at the first instruction of each `tz` that the shell starts, Trapeze's at the prompt
# before. What lies between is the same in each phase and goes with the difference. Timer ticks do not: the slower machine takes
# more of them for the same work, so a tick's cost is measured (spin) and taken out by the guest's count of them.
. "$(dirname "$0")/lib.sh"
socket=$(mktemp -u "${TMPDIR:-/tmp}/ratio.XXXXXX")
# OPERATION N: the second of three is the first that counts, and the third is twice that (spin: what it takes for some 200 ticks
# more). The last phase only ends the one before.
PHASES=("syscalls 100000" "syscalls 100000" "syscalls 200000" "faults 4000" "faults 4000" "faults 8000" "forks 40" "forks 40"
	"forks 80" "spin 200" "spin 200" "spin 1500" "syscalls 1")

# shellcheck disable=SC2016
FUNCTION='t() { awk "/^ *(0|LOC):/ {s += \$2} END {print \"ticks-\" s \"-\"}" /proc/interrupts; tz $1 $2; echo phase-$3-$?; }'

value() { # FILE KEY: a number in a statistics file
	tr -d ' \n' <"$1" | sed -nE "s/.*\"$2\":([0-9]+).*/\1/p"
}

snapshot() { # FILE
	echo '{"jsonrpc":"2.0","id":1,"method":"stats"}' | "$B/rpc-client" "$socket" >"$1"
}

# Kernel instructions so far: translated and executed, or emulated.
instructions() { # FILE
	echo $(($(value "$1" kernel_instructions_executed) + $(value "$1" instructions_emulated)))
}

stop() { # REASON
	not_ok "ratio: $1" "$2"
	tail -n 5 "$console_log" | sed 's/^/# /'
	console_end 1
	rm -f "$socket"
	finish
}

# Runs all phases on the machine whose console is open. Leaves in MACHINE.ticks and MACHINE.points a number per phase.
run_phases() { # MACHINE
	local i
	: >"$WORK/$1.points"
	console_type "$FUNCTION"
	console_wait 'guest# ' 20 || stop "$1" "no prompt after a function"
	for i in "${!PHASES[@]}"; do
		if [ "$1" = trapeze ]; then
			snapshot "$WORK/snapshot"
			instructions "$WORK/snapshot" >>"$WORK/$1.points"
		fi
		console_type "t ${PHASES[i]} $i"
		console_wait "phase-$i-0" 60 || stop "$1" "no end of ${PHASES[i]} after 60 s"
	done
	console_type 'poweroff -f'
	console_end 60
	equal "ratio: $1 ends" $? 0
	grep -ao 'ticks-[0-9]*-' "$console_log" | tr -dc '0-9\n' >"$WORK/$1.ticks"
	if [ "$1" = bare ]; then # every tz marks its start and its end
		awk '/^mark/ && $2 % 2 { print $3 }' "$WORK/marks" >"$WORK/$1.points"
	fi
}

# Per machine: OPERATION INSTRUCTIONS-EACH, and the tick's.
costs() { # MACHINE
	paste -d ' ' <(printf '%s\n' "${PHASES[@]}") "$WORK/$1.points" "$WORK/$1.ticks" | awk '
		NR > 1 { cost[NR - 1] = $3 - points; tick[NR - 1] = $4 - ticks }
		{ name[NR] = $1; n[NR] = $2; points = $3; ticks = $4 }
		END {
			per_tick = (cost[NR - 1] - cost[NR - 2]) / (tick[NR - 1] - tick[NR - 2])
			for (i = 3; i < NR - 1; i += 3)
				printf "%s %.1f %d\n", name[i], (cost[i] - cost[i - 1] - (tick[i] - tick[i - 1]) * per_tick) / n[i - 1],
					tick[i] - tick[i - 1]
			printf "tick %.1f %d\n", per_tick, tick[NR - 1] - tick[NR - 2]
		}'
}

percent_apart() { awk -v a="$1" -v b="$2" 'BEGIN { d = a > b ? a - b : b - a; printf "%.2f", (b ? 100 * d / b : 100) }'; }

# What of a boot is not run as translated code. A store to a page table that is executed where it faulted counts as emulated too.
show_ratio() { # NAME FILE: parts per million in `ppm`
	local emulated stores total
	emulated=$(value "$2" instructions_emulated)
	stores=$(value "$2" stores_executed)
	total=$(instructions "$2")
	ppm=$(((emulated + stores) * 1000000 / total))
	echo "# $1: $total kernel instructions; $emulated emulated ($(value "$2" callouts) by call-out), $stores stores executed" \
		"after a fault: $ppm per million"
}

# Both machines, one after the other.
measure() {
	console_start "$WORK/bare.log" env BARE_ARGS="-plugin file=$B/count-plugin.so,out=$WORK/marks" scripts/bare shell
	console_wait 'guest# ' 150 || stop bare "no prompt after 150 s"
	run_phases bare

	console_start "$WORK/trapeze.log" "$B/trapeze" run --timeout 300 --hv-arg bt.count=1 --stats "$WORK/final.json" \
		--control "$socket" "$(vm_file ratio shell)"
	console_wait 'guest# ' 150 || stop trapeze "no prompt after 150 s"
	snapshot "$WORK/boot.json"
	run_phases trapeze
	rm -f "$socket"
	costs bare >"$WORK/bare.costs"
	costs trapeze >"$WORK/trapeze.costs"
}

# OPERATION BARE BARE-TICKS TRAPEZE TRAPEZE-TICKS
costs_of_both() { join --nocheck-order "$WORK/bare.costs" "$WORK/trapeze.costs"; }

agree() {
	costs_of_both | awk '($1 == "syscalls" || $1 == "faults") && ($4 > 1.02 * $2 || $4 < 0.98 * $2) { bad = 1 } END { exit bad }'
}

measure
equal "ratio: operations counted on both machines" "$(costs_of_both | grep -cE '^(syscalls|faults) ')" 2
if ! agree; then
	costs_of_both | sed 's/^/# apart, measured once more (a busy host makes ticks): /'
	measure
fi
show_ratio "boot to the prompt" "$WORK/boot.json"
if [ "$(value "$WORK/boot.json" kernel_instructions_executed)" -gt 100000000 ] && [ "$ppm" -le 5000 ]; then
	ok "ratio: at most 0.5% of a boot's kernel instructions are emulated"
else
	not_ok "ratio: at most 0.5% of a boot's kernel instructions are emulated" "$ppm per million"
fi
show_ratio "with all phases and power-off" "$WORK/final.json"
echo "# where most was emulated until then (exit@RIP/mnemonic):"
tr -d ' \n' <"$WORK/final.json" | grep -oE '"(emulate|mmio|protected_write)@[^"]*":[0-9]+' | tr -d '"' |
	awk -F: '{ printf "#   %8d %s\n", $2, $1 }' | head -n 15
# Forks and ticks are only shown: their paths hang on time. Which of parent and child runs first decides how many pages are
# copied, the end of an RCU grace period whether a kernel stack comes from the cache or is mapped anew, and a tick does what is due.
while read -r name bare bare_ticks trapeze trapeze_ticks; do
	apart=$(percent_apart "$trapeze" "$bare")
	echo "# $name: $trapeze kernel instructions each by our count, $bare by QEMU's: $apart% apart" \
		"($trapeze_ticks and $bare_ticks ticks taken out)"
	[ "$name" = tick ] || [ "$name" = forks ] && continue
	if awk -v a="$apart" 'BEGIN { exit !(a <= 2) }'; then
		ok "ratio: count of $name within 2% of QEMU's"
	else
		not_ok "ratio: count of $name within 2% of QEMU's" "$trapeze, QEMU $bare: $apart%"
	fi
done < <(costs_of_both)
finish
