# SPDX-License-Identifier: MIT
# Crossings are counted, not timed. In one guest, each operation is done N and then 2N times, with the machine's statistics
# taken between; what the second N adds, per operation, is held against the budget of the design where it is reached, and
# shown (lines with #) where it is not yet.
# Takes minutes.
. "$(dirname "$0")/lib.sh"
# What the clock alone decides.
NOISE='timer|interrupt|irq|tick|halt|hlt|idle'
socket=$(mktemp -u "${TMPDIR:-/tmp}/count.XXXXXX")

snapshot() { # FILE: the statistics now
	echo '{"jsonrpc":"2.0","id":1,"method":"stats"}' | "$B/rpc-client" "$socket" >"$1"
}

stop() { # NAME REASON
	not_ok "$1" "$2"
	tail -n 5 "$WORK/console.log" | sed 's/^/# /'
	console_end 1
	rm -f "$socket"
	finish
}

phase=0
# Runs `tz OPERATION N` and leaves the exits it took, but for the clock's, in `took`.
crossings() { # OPERATION N
	phase=$((phase + 1))
	snapshot "$WORK/before"
	console_type "tz $1 $2; echo phase-$phase-\$?"
	console_wait "phase-$phase-0" 120 || stop "count: $1" "no end of $2 after 120 s"
	snapshot "$WORK/after.$1.$2"
	took=$(($(exits "$WORK/after.$1.$2" "$NOISE") - $(exits "$WORK/before" "$NOISE")))
	diff_table "$WORK/before" "$WORK/after.$1.$2" >"$WORK/$1.$2"
}

# What each reason gained between two statistics files.
diff_table() { join <(exit_table "$1") <(exit_table "$2") | awk '$3 > $2 { print $1, $3 - $2 }'; }

per_operation() { # OPERATION N: leaves hundredths of a crossing per operation in `cost`
	crossings "$1" "$2" # warms up
	crossings "$1" "$2"
	once=$took
	crossings "$1" $((2 * $2))
	cost=$(((took - once) * 100 / $2))
	echo "# $1: $once crossings for $2, $took for $((2 * $2)): $((cost / 100)).$(printf %02d $((cost < 0 ? 0 : cost % 100))) each"
	sed 's/^/#   /' "$WORK/$1.$((2 * $2))"
}

# An unmodified guest, or with TYPE=pv a paravirtual one.
start() { # NAME
	export TYPE=$1
	console_start "$WORK/console.log" "$B/trapeze" run --timeout 500 --control "$socket" "$(vm_file "count-$1" shell)"
	console_wait 'guest# ' 150 || stop "count: prompt" "none after 150 s"
	snapshot "$WORK/start"
	[ "$(exits "$WORK/start" nothing)" -gt 0 ] || stop "count: statistics" "no exits in $WORK/start"
}

end() {
	console_type 'poweroff -f'
	console_end 60
	equal "count: exit status ($TYPE)" $? 0
	rm -f "$socket"
}

# budget NAME HUNDREDTHS OPERATION N: measured once more if it is above, for what else the guest or the translator happens to do may have
# fallen into one of the two.
budget() {
	local name=$1
	[ "$TYPE" != pv ] || name="paravirtual: $1"
	per_operation "$3" "$4"
	[ "$cost" -le "$2" ] || per_operation "$3" "$4"
	if [ "$cost" -le "$2" ]; then
		ok "$name: at most $2 crossings in a hundred"
	else
		not_ok "$name: at most $2 crossings in a hundred" "$cost"
	fi
}

start hvm
per_operation syscalls 100000
# What else the guest happens to do meanwhile may be a few dozen, whatever the number of calls.
added=$((took - once))
if [ "$added" -gt 100 ]; then
	per_operation syscalls 100000
	added=$((took - once))
fi
if [ "$added" -le 100 ]; then
	ok "null system call: no crossing ($added more for 100,000 more calls)"
else
	not_ok "null system call: no crossing" "$added more for 100,000 more calls"
fi
budget "demand page fault" 120 faults 2000
# What takes milliseconds has ticks in it, each some emulated instructions: page faults of all kinds alone are counted.
faults_alone="$NOISE|emulate|link|indirect|mmio"
NOISE=$faults_alone budget "16 pages mapped, touched and unmapped" 2300 maps 200
NOISE=$faults_alone budget "mprotect, twice" 450 protects 200
budget "context switch" 5 switches 2000
NOISE=$faults_alone budget "fork, exit and wait" 5500 forks 20
end

# Its ticks are hypercalls, too.
start pv
budget "null system call" 0 syscalls 100000
budget "demand page fault" 120 faults 2000
budget "16 pages mapped, touched and unmapped" 2000 maps 200
budget "mprotect, twice" 300 protects 200
budget "context switch" 20 switches 2000
budget "fork, exit and wait" 3300 forks 20
end
finish
