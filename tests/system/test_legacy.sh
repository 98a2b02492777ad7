# SPDX-License-Identifier: MIT
# The kernel of 16- and 32-bit modes (tests/guests/legacy) on the bare machine and under Trapeze: the same checks and the same values,
# every check good, the exit status of port 0xf4. QEMU's machine checks neither limits nor types of segments and knows no T bit
# in a TSS: its failures are expected and named here.
. "$(dirname "$0")/lib.sh"

quirks='read across the limit: #GP(0)
write beyond: #GP(0)
write of read-only data: #GP(0)
expand-down: below
expand-down, 16 bits: end
write through code: #GP(0)
null: #GP(0)
T: #DB before its first instruction
word across the segment'"'"'s end: #GP(0)
and on the stack: #SS(0)
real: word across 64 KiB: #GP'

both_machines legacy none 230
values() { tr -d '\r' <"$1" | grep '^= '; }
count=$(values "$WORK/bare.log" | wc -l)
if [ "$count" -ge 300 ]; then ok "$count effects of instructions"; else not_ok "$count effects of instructions" "at least 300 expected"; fi
equal "the same effects" "$(diff <(values "$WORK/bare.log") <(values "$WORK/ours.log"))" ""

# Starts KERNEL CMDLINE in the background and waits for PATTERN on its console.
begin() { # NAME KERNEL CMDLINE PATTERN
	printf 'name = "%s"\nkernel = "%s"\nmemory = 16\ncmdline = "%s"\n' "$1" "$2" "$3" >"$WORK/$1.cfg"
	: >"$WORK/$1.log"
	timeout 170 "$B/trapeze" run --timeout 150 --memory 512M --control "$socket" "$WORK/$1.cfg" </dev/null >"$WORK/$1.log" 2>"$WORK/$1.err" &
	run=$!
	for ((i = 0; i < 700; i++)); do
		grep -aq "$4" "$WORK/$1.log" && return
		kill -0 $run 2>/dev/null || break
		sleep 0.2
	done
	not_ok "$1: begins" "$(cat "$WORK/$1.err")"
	return 1
}
end() {
	kill $run 2>/dev/null
	wait $run 2>/dev/null
}
socket=$(mktemp -u "${TMPDIR:-/tmp}/legacy.XXXXXX")

begin walk "$PWD/$B/guests/legacy.elf" w waiting
timeout 60 "$B/trapeze" walk --control "$socket" walk 0x100000 >"$WORK/walk.out" 2>&1
end
if grep -qE '^ +3 +0 ' "$WORK/walk.out" && grep -qE '^ +2 +0 .* 2M$' "$WORK/walk.out" && grep -q 'PPN 0x100 -> MPN .* without a shadow' "$WORK/walk.out"; then
	ok "walk shows three levels"
else
	not_ok "walk shows three levels" "$(cat "$WORK/walk.out")"
fi
finish
