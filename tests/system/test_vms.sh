# SPDX-License-Identifier: MIT
# Several VMs in one run. Four on two CPUs: one dies of a triple fault, one panics and starts again until a command ends it, the
# others finish work whose result is known. Pause, unpause, destroy; nothing leaks.
. "$(dirname "$0")/lib.sh"
socket=$(mktemp -u "${TMPDIR:-/tmp}/vms.XXXXXX")

call() { # METHOD PARAMETERS
	echo "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":${2:-{\}}}" | "$B/rpc-client" "$socket"
}

# Waits until LOG has PATTERN (extended).
await() { # LOG PATTERN SECONDS
	local i
	for ((i = 0; i < $3 * 5; i++)); do
		tr -d '\r' <"$1" 2>/dev/null | grep -aqE "$2" && return 0
		kill -0 "$run" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}

start() { # LOG OPTION-OR-VMFILE...
	local log=$1
	shift
	: >"$log" # it is read before the command has begun
	timeout -k 5 400 "$B/trapeze" run --control "$socket" "$@" </dev/null >"$log" 2>"$log.err" &
	run=$!
}

stop_run() {
	kill "$run" 2>/dev/null
	wait "$run"
	rm -f "$socket"
}

state_of() { # NAME: as `list` has it, empty when it is not there
	call list | tr '{' '\n' | sed -n "s/.*\"name\":\"$1\".*\"state\":\"\([a-z]*\)\".*/\1/p"
}

has() { # NAME LOG PATTERN
	if tr -d '\r' <"$2" | grep -aqE "$3"; then ok "$1"; else not_ok "$1" "no '$3' in $2"; fi
}

number() { # KEY: of the machine's statistics
	call stats | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

# ---- four on two CPUs

four() {
	local log=$WORK/four.log want
	want=$("$B/guests/tz" gen 33554432 | sha256sum | cut -d' ' -f1)
	start "$log" --stats "$WORK/four.json" --timeout 300 \
		"$(vm_file sum1 work "quiet do=sum")" "$(vm_file sum2 work "quiet do=sum")" \
		"$(vm_file triple work "quiet do=triple reboot=t" 96 'on_crash = "destroy"')" \
		"$(vm_file panic work "quiet do=panic panic=1" 96 'on_reboot = "restart"')"
	await "$log" '^panic\| .*TZ-PANIC' 200 || not_ok "four: one panics" "it does not"
	if await "$WORK/four.log.err" 'VM triple crashed: triple fault' 100; then ok "four: a triple fault ends that VM"; else
		not_ok "four: a triple fault ends that VM" "no word of it"
	fi
	equal "four: the dead one is no longer listed" "$(state_of triple)" ""
	call destroy '{"vm":"panic"}' >"$WORK/destroyed"
	has "four: the panicking one is destroyed" "$WORK/destroyed" '"result":true'
	wait "$run"
	equal "four: status says that a VM crashed" $? 10
	rm -f "$socket"
	has "four: first worker's result" "$log" "^sum1\| TZ-SUM $want"
	has "four: second worker's result" "$log" "^sum2\| TZ-SUM $want"
	equal "four: every line names its VM" "$(tr -d '\r' <"$log" | grep -avcE '^(sum1|sum2|triple|panic)\| ')" 0
	has "four: what ended how" "$WORK/four.json" '"name":"sum1".*"how":"poweroff".*"name":"triple".*"how":"crash".*"how":"destroyed"'
}

# ---- pause, unpause, nothing leaks

lines() { tr -d '\r' <"$1" | grep -ac "^$2| TZ-COUNT$"; }

commands() {
	local log=$WORK/commands.log before n
	start "$log" --timeout 200 "$(vm_file one work "quiet do=count" 96)" "$(vm_file two work "quiet do=hang" 96)"
	await "$log" '^one\| TZ-COUNT$' 120 && await "$log" '^two\| TZ-HANG' 60 || not_ok "commands: both run" "they do not"
	call pause '{"vm":"one"}' >/dev/null
	sleep 1
	equal "pause: state" "$(state_of one)" paused
	n=$(lines "$log" one)
	sleep 1
	equal "pause: it does not run" "$(lines "$log" one)" "$n"
	call unpause '{"vm":"one"}' >/dev/null
	sleep 2
	if [ "$(lines "$log" one)" -gt "$n" ]; then ok "unpause: it goes on"; else not_ok "unpause: it goes on" "no line"; fi
	before=$(number free_bytes)
	call pause '{"vm":"two"}' >/dev/null
	call destroy '{"vm":"two"}' >/dev/null
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -z "$(state_of two)" ] && break
		sleep 0.5
	done
	equal "destroy: also of one that is paused" "$(state_of two)" ""
	if [ $(($(number free_bytes) - before)) -ge $((96 << 20)) ]; then ok "destroy: its memory is free again"; else
		not_ok "destroy: its memory is free again" "$before, then $(number free_bytes)"
	fi
	call destroy '{"vm":"one"}' >/dev/null
	wait "$run"
	equal "destroy: the last one's end is the machine's" $? 0
	rm -f "$socket"
}

four
commands
finish
