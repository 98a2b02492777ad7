# SPDX-License-Identifier: MIT
# Debian's memtest86+, unchanged, with 16 MiB: a pass of three of its tests, chosen by its menu on the serial line, counts no error,
# as on the bare machine; and it counts errors when something outside changes a word of its memory (QEMU's debugger
# interface, at the machine address that `walk` tells).
. "$(dirname "$0")/lib.sh"
kernel=$PWD/guests/memtest/x64.bin
options="console=ttyS0,115200 nobench nosm nosmp nopause"
socket=$(mktemp -u "${TMPDIR:-/tmp}/memtest.XXXXXX")
input=$WORK/input
keys='11143\r5\r00' # settings, test selection: none, then tests 3 to 5
escape='\033'       # out of it: a reset

await() { # LOG PATTERN SECONDS: until LOG has PATTERN (extended) or the run is over
	local i
	for ((i = 0; i < $3 * 5; i++)); do
		grep -aqE "$2" "$1" && return 0
		kill -0 "$run" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}

start() { # LOG COMMAND...: in the background, with file descriptor 3 as its input
	local log=$1
	shift
	rm -f "$input"
	mkfifo "$input"
	: >"$log"
	"$@" <"$input" >"$log" 2>"$log.err" &
	run=$!
	exec 3>"$input"
	await "$log" 'Scroll Lock' 60 || not_ok "${log##*/}: it starts" "no screen"
}

type_keys() { printf '%b' "$1" >&3; }

finish_run() { # returns its status
	exec 3>&-
	wait "$run"
}

# Which tests were chosen (a star each), and the last count of passes and errors.
chosen() { tr '\33' '\n' <"$1" | sed -nE 's/^\[16;22H *([.*]+) *$/\1/p' | tail -1; }
verdict() { tr '\33' '\n' <"$1" | sed -nE 's/.*(Pass: *[0-9]+) *(Errors: *[0-9]+).*/\1 \2/p' | tail -1 | tr -s ' '; }

# The screen is sent every two seconds: on a fast machine the first count of passes that it shows need not be 1.
passes_without_errors() { # NAME LOG
	if [[ $(verdict "$2") =~ ^Pass:\ [1-9][0-9]*\ Errors:\ 0$ ]]; then ok "$1"; else not_ok "$1" "$(verdict "$2")"; fi
}

vm() { # NAME
	printf 'name = "%s"\nkernel = "%s"\ncmdline = "%s"\nmemory = 16\non_reboot = "destroy"\n' "$1" "$kernel" "$options" >"$WORK/$1.cfg"
}

good() {
	local log=$WORK/good.log
	vm good
	start "$log" timeout -k 5 150 "$B/trapeze" run --timeout 140 --stats "$WORK/good.json" "$WORK/good.cfg"
	type_keys "$keys"
	await "$log" 'Pass: +[1-9]' 120
	type_keys "$escape"
	finish_run
	equal "a pass, and out: status" $? 0
	equal "its menu took the keys" "$(chosen "$log")" '...***.....'
	passes_without_errors "a pass without errors" "$log"
	equal "the screen is memory: accesses to devices in memory" "$(exit_table "$WORK/good.json" | sed -n 's/^mmio //p')" 0
}

bare() {
	local log=$WORK/bare.log
	start "$log" timeout -k 5 100 qemu-system-x86_64 -machine pc -accel tcg -cpu "$(sed -n 's/^#define TZ_CPU_MODEL "\(.*\)"$/\1/p' abi/machine.h)" \
		-m 16 -nodefaults -display none -vga none -serial stdio -no-reboot -kernel "$kernel" -append "$options"
	type_keys "$keys"
	await "$log" 'Pass: +[1-9]' 90
	passes_without_errors "bare machine: a pass without errors" "$log"
	type_keys "$escape"
	finish_run
}

# A command of GDB's remote protocol to file descriptor 4.
gdb_packet() { # TEXT
	local i sum=0 c
	for ((i = 0; i < ${#1}; i++)); do
		printf -v c '%d' "'${1:i:1}"
		sum=$((sum + c))
	done
	printf '$%s#%02x' "$1" $((sum & 255)) >&4
	sleep 0.1
}

# Writes a word at a physical address of the machine.
poke() { # PORT ADDRESS WORD
	exec 4<>"/dev/tcp/127.0.0.1/$1" || return 1
	gdb_packet "Qqemu.PhyMemMode:1"
	gdb_packet "M$2,4:$3"
	gdb_packet D
	exec 4>&-
} 2>/dev/null

planted() {
	local log=$WORK/planted.log port=$((20000 + $$ % 10000)) mpn i
	vm planted
	start "$log" timeout -k 5 150 "$B/trapeze" run --timeout 140 --gdb "$port" --control "$socket" "$WORK/planted.cfg"
	type_keys "$keys"
	mpn=$(echo '{"jsonrpc":"2.0","id":1,"method":"walk","params":{"vm":"planted","address":8392704}}' | "$B/rpc-client" "$socket" |
		sed -nE 's/.*"p2m":\{[^}]*"mpn":"0x([0-9a-f]+)".*/\1/p')
	if [ -n "$mpn" ]; then ok "where its memory is"; else not_ok "where its memory is" "walk does not say"; fi
	for ((i = 0; i < 40; i++)); do
		poke "$port" "${mpn}010" "$(printf '%08x' $((0x5a5a0000 + i)))"
		await "$log" 'Errors: +[1-9]' 1 && break
	done
	if await "$log" 'Errors: +[1-9]' 1; then ok "a changed word is an error"; else not_ok "a changed word is an error" "$(verdict "$log")"; fi
	kill "$run" 2>/dev/null
	finish_run
	rm -f "$socket"
}

good
bare
planted
finish
