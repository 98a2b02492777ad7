# SPDX-License-Identifier: MIT
# Several VMs in one run. Four on two CPUs: one dies of a triple fault, one panics and starts again until a command ends it, the
# others finish work whose result is known. Pause, unpause, destroy; nothing leaks. The prompt that Ctrl-] opens; VMs that are kept
# after their end; VMs that do not fit.
# Alone: it uses all CPUs, and commands are to be answered in time.
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

# ---- small VMs (tests/guests/small): ready at once

small() { # NAME COMMAND-LINE [MEMORY] [LINES-OF-CFG]
	printf 'name = "%s"\nkernel = "%s"\ncmdline = "%s"\nmemory = %d\n%s\n' "$1" "$PWD/$B/guests/small.elf" "$2" "${3:-4}" "${4:-}" >"$WORK/$1.cfg"
	echo "$WORK/$1.cfg"
}

# A verb's status and complaint lines; what it says is in $WORK/out.
says() { # NAME STATUS VERB...
	local name=$1 want=$2
	shift 2
	timeout -k 5 60 "$B/trapeze" "$@" --control "$socket" >"$WORK/out" 2>"$WORK/err" </dev/null
	equal "$name" $? "$want"
	[ "$want" = 0 ] || equal "$name: one line" "$(wc -l <"$WORK/err")" 1
}

# ---- the prompt, on a terminal

shown() { # NAME PATTERN
	if console_wait "$2" 60; then ok "prompt: $1"; else not_ok "prompt: $1" "no '$2' in $console_log"; fi
}

prompt() {
	local key
	key=$(printf '\035')
	console_start "$WORK/prompt.log" script -qefc "$B/trapeze run --timeout 300 $(small one e) $(small two e) $(small three s)" /dev/null
	shown "one is up" '^one\| TZ-ECHO' && console_seen=0 && shown "two is up" '^two\| TZ-ECHO'
	console_seen=0
	shown "three is up" '^three\| TZ-SLEEP'
	console_type hello
	shown "the first gets the input" '^one\| hello'
	console_type "${key}help"
	shown "help" '^switch +VM +input goes to that VM'
	console_type "${key}list"
	shown "list, first" '^\* one '
	shown "list, second" '^  two .* 2 +(running|blocked)'
	console_type "${key}switch two"
	console_type there
	shown "switch" '^two\| there'
	console_type "${key}switch nobody"
	shown "switch to nobody" "^no VM 'nobody'"
	console_type "$key$key."
	shown "Ctrl-] twice is sent" '^two\| \^\]\.'
	console_type "$key"
	console_type back
	shown "an empty line goes back" '^two\| back'
	console_type "${key}lisx$(printf '\177')t"
	shown "backspace" '^\* two '
	console_type "${key}frobnicate"
	shown "unknown command" "^'frobnicate'\? Try help"
	console_type "${key}pause one"
	console_type "${key}list"
	shown "pause" '^  one .* paused '
	console_type "${key}unpause one"
	console_type "${key}destroy three"
	shown "destroy" '^true'
	sleep 1
	console_type "${key}switch three"
	shown "switch to one that has ended" "^VM 'three' has ended"
	console_type "${key}switch one"
	console_type "$(printf '\004')"
	sleep 1
	console_type "${key}list"
	shown "one that ended by itself is gone" '^  two '
	console_type "${key}quit"
	console_end 30
	equal "prompt: quit" $? 130
}

# ---- kept after their end

preserve() {
	local log=$WORK/preserve.log before
	start "$log" --memory 128M --hv-arg check=1 -v --timeout 200 --stats "$WORK/preserve.json" "$(small keep t 8 'on_crash = "preserve"')" "$(small other e)"
	await "$log" '^other\| TZ-ECHO' 60 && await "$log.err" 'VM keep crashed: triple fault.*kept' 60 || not_ok "preserve: it crashes" "it does not"
	equal "preserve: state" "$(state_of keep)" crashed
	says "preserve: walk" 0 walk keep 0x100000
	has "preserve: walk shows" "$WORK/out" '^VPN 0x100 -> PPN 0x100 -> MPN 0x'
	says "preserve: exits" 0 exits keep
	has "preserve: exits shows" "$WORK/out" '^emulate +[1-9]'
	says "preserve: dmesg" 0 dmesg
	has "preserve: dmesg shows" "$WORK/out" 'keep: crash: triple fault'
	says "preserve: not to be paused" 1 pause keep
	says "preserve: nor shut down" 1 shutdown keep
	says "preserve: its name is taken" 1 create "$WORK/keep.cfg"
	console_start "$WORK/top.log" script -qefc "stty cols 120; $B/trapeze top -d 0.2 --control $socket" /dev/null
	shown "top" 'keep +crashed .*8192 '
	shown "top, the next table" 'other +running '
	console_type q
	console_end 20
	equal "prompt: q ends top" $? 0
	before=$(number free_bytes)
	says "preserve: destroy" 0 destroy keep
	equal "preserve: destroyed" "$(state_of keep)" ""
	if [ $(($(number free_bytes) - before)) -ge $((8 << 20)) ]; then ok "preserve: its memory is free now"; else
		not_ok "preserve: its memory is free now" "$before, then $(number free_bytes)"
	fi
	equal "preserve: the other one goes on" "$(state_of other)" running
	says "preserve: once more" 0 create "$WORK/keep.cfg"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(state_of keep)" = crashed ] && break
		sleep 0.5
	done
	says "preserve: the other one ends" 0 destroy other
	says "preserve: the machine is still there" 0 info
	says "preserve: the last one ends" 0 destroy keep
	wait "$run"
	equal "preserve: status" $? 10
	equal "preserve: each crash is told once" "$(grep -c 'VM keep crashed' "$log.err")" 2
	has "preserve: nothing leaked" "$log.err" 'integrity: 3 VMs checked.* frames free as before'
	has "preserve: statistics" "$WORK/preserve.json" '"name":"keep","type":"hvm","state":"crashed".*"how":"crash"'
	rm -f "$socket"
}

# ---- VMs that do not fit

shortage() {
	local log=$WORK/shortage.log free less refused=0 long
	long=$(printf '%063d' 0 | tr 0 n)
	start "$log" --memory 96M --hv-arg check=1 -v --timeout 200 --stats "$WORK/shortage.json" "$(small first e)" "$(small second s 66)"
	await "$log" '^first\| TZ-ECHO' 60 || not_ok "shortage: the first runs" "it does not"
	has "shortage: the second is refused" "$log.err" '^trapeze: VM second crashed: not enough machine memory: 66 MiB and .* left$'
	free=$(number free_bytes)
	# What its RAM leaves does not do for its caches and for the tables of all: refused, and nothing is gone.
	for less in 0 2 8 10; do
		timeout 60 "$B/trapeze" create --control "$socket" "$(small third s $(((free >> 20) - less)))" >"$WORK/out" 2>"$WORK/err" </dev/null
		[ $? -eq 1 ] && grep -qE '^trapeze: not enough machine memory: [0-9]+ MiB and .* left$' "$WORK/err" && refused=$((refused + 1))
	done
	equal "shortage: later ones are refused" $refused 4
	equal "shortage: and leave nothing" "$(number free_bytes)" "$free"
	says "shortage: a smaller one runs" 0 create -q "$(small "$long" s)"
	says "shortage: under a name of 63 bytes" 0 list "$long"
	has "shortage: which is shown" "$WORK/out" "^$long +[0-9]+ +4 "
	await "$log" "^$long\| TZ-SLEEP" 30 || not_ok "shortage: it speaks" "no line of it"
	printf 'name = "bad"\nkernel = "%s"\n' "$PWD/Makefile" >"$WORK/bad.cfg"
	says "shortage: a bad file" 2 create "$WORK/bad.cfg"
	call console_input '{"vm":"first","data":"alive\n"}' >/dev/null
	if await "$log" '^first\| alive' 30; then ok "shortage: the first goes on"; else not_ok "shortage: the first goes on" "no answer"; fi
	for name in first "$long"; do says "shortage: ${name:0:5} ends" 0 destroy "$name"; done
	wait "$run"
	equal "shortage: status" $? 10
	has "shortage: nothing leaked" "$log.err" 'integrity: [0-9]+ VMs checked.* frames free as before'
	has "shortage: the refused one is in the statistics" "$WORK/shortage.json" '"name":"second",.*"how":"crash","reason":"not enough machine memory'
	rm -f "$socket"
}

# ---- a machine of 64 GiB, most of which nobody touches

large() {
	local log=$WORK/large.log bytes
	printf '\004' | timeout -k 5 100 "$B/trapeze" run --timeout 80 --memory 64G --machine-arg -machine --machine-arg memory-backend=r --machine-arg -object \
		--machine-arg memory-backend-ram,id=r,size=64G,reserve=off --stats "$WORK/large.json" "$(small large e)" >"$log" 2>"$log.err"
	equal "large: status" $? 1 # a lone VM that writes 0 to port 0xf4
	has "large: the VM runs" "$log" '^TZ-ECHO'
	has "large: memory" "$WORK/large.json" '"memory_bytes":687[0-9]{8},'
	bytes=$(sed -n 's/.*"hypervisor_bytes":\([0-9]*\).*/\1/p' "$WORK/large.json")
	if [ "${bytes:-999999999}" -lt $((16 << 20)) ]; then ok "large: what the hypervisor keeps"; else not_ok "large: what the hypervisor keeps" "$bytes bytes"; fi
}

four
commands
prompt
preserve
shortage
large
finish
