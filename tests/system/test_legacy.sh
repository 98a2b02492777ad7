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

kernel=$PWD/$B/guests/legacy.elf
cpu=$(sed -n 's/^#define TZ_CPU_MODEL "\(.*\)"$/\1/p' abi/machine.h)
timeout 120 qemu-system-x86_64 -machine pc -accel tcg -cpu "$cpu" -m 64 -nodefaults -display none -vga none -serial stdio -no-reboot \
	-device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$kernel" </dev/null >"$WORK/bare.log" 2>"$WORK/bare.err"
equal "bare machine: exit status" $? 3
printf 'name = "legacy"\nkernel = "%s"\nmemory = 64\n' "$kernel" >"$WORK/legacy.cfg"
timeout 200 "$B/trapeze" run --timeout 180 "$WORK/legacy.cfg" </dev/null >"$WORK/ours.log" 2>"$WORK/ours.err"
equal "exit status" $? 1

names() { tr -d '\r' <"$1" | sed -nE 's/^(not )?ok //p'; }
values() { tr -d '\r' <"$1" | grep '^= '; }
equal "bare machine: what fails are the known quirks" "$(tr -d '\r' <"$WORK/bare.log" | sed -n 's/^not ok //p')" "$quirks"
equal "the same checks ran" "$(names "$WORK/ours.log" | cksum)" "$(names "$WORK/bare.log" | cksum)"
count=$(names "$WORK/ours.log" | wc -l)
if [ "$count" -ge 230 ]; then ok "$count checks"; else not_ok "$count checks" "at least 230 expected"; fi
bad=$(tr -d '\r' <"$WORK/ours.log" | grep -A1 '^not ok')
equal "every check is good" "$bad" ""
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

begin walk "$kernel" w waiting
timeout 60 "$B/trapeze" walk --control "$socket" walk 0x100000 >"$WORK/walk.out" 2>&1
end
if grep -qE '^ +3 +0 ' "$WORK/walk.out" && grep -qE '^ +2 +0 .* 2M$' "$WORK/walk.out" && grep -q 'PPN 0x100 -> MPN .* without a shadow' "$WORK/walk.out"; then
	ok "walk shows three levels"
else
	not_ok "walk shows three levels" "$(cat "$WORK/walk.out")"
fi
finish
