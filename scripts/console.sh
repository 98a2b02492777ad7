# SPDX-License-Identifier: MIT
# Sourced: drives a program by its standard input and output, as a person at a console would.
# console_start LOG COMMAND...; console_wait PATTERN SECONDS; console_type LINE; console_end SECONDS -> exit status.

console_start() {
	console_log=$1
	shift
	: >"$console_log"
	console_seen=0
	console_fifo=$(mktemp -u "${TMPDIR:-/tmp}/console.XXXXXX")
	mkfifo "$console_fifo"
	"$@" <"$console_fifo" >"$console_log" 2>&1 &
	console_pid=$!
	exec {console_fd}>"$console_fifo"
	rm -f "$console_fifo"
}

# Waits until PATTERN (extended) appears in what was printed since the last match. False: time out, or the program ended.
console_wait() {
	local deadline=$((SECONDS + $2)) at
	while :; do
		at=$(tail -c "+$((console_seen + 1))" "$console_log" | grep -abE -m 1 -o "$1" | head -n 1)
		if [ -n "$at" ]; then
			console_seen=$((console_seen + ${at%%:*} + $(printf %s "${at#*:}" | wc -c)))
			return 0
		fi
		[ $SECONDS -lt $deadline ] && kill -0 "$console_pid" 2>/dev/null || return 1
		sleep 0.2
	done
}

console_type() {
	printf '%s\n' "$1" >&"$console_fd"
}

# Waits for the end; after SECONDS it is killed and the status is 124.
console_end() {
	local deadline=$((SECONDS + $1)) status=
	while kill -0 "$console_pid" 2>/dev/null; do
		if [ $SECONDS -ge $deadline ]; then
			kill "$console_pid" 2>/dev/null
			sleep 1
			kill -9 "$console_pid" 2>/dev/null
			status=124
			break
		fi
		sleep 0.2
	done
	wait "$console_pid"
	status=${status:-$?}
	exec {console_fd}>&-
	return "$status"
}
