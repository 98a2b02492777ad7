# SPDX-License-Identifier: MIT
# Stolen time: a guest that computes beside another one on the same CPU sees half of its time as stolen in /proc/stat, and none once it
# is alone. Both kernels run with x2APIC and PCIDs, which are offered by request only.
# Alone: how much time is stolen is compared.
. "$(dirname "$0")/lib.sh"
socket=$(mktemp -u "${TMPDIR:-/tmp}/steal.XXXXXX")
log=$WORK/steal.log

call() { # METHOD PARAMETERS
	echo "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$1\",\"params\":${2:-{\}}}" | "$B/rpc-client" "$socket" >/dev/null
}

lines() { tr -d '\r' <"$log" | sed -n 's/^one| TZ-STEAL //p'; }

await_lines() { # COUNT
	local i
	for ((i = 0; i < 900; i++)); do
		[ "$(lines | wc -l)" -ge "$1" ] && return 0
		kill -0 "$run" 2>/dev/null || return 1
		sleep 0.2
	done
	return 1
}

# In percent of the time that passed: the last line's.
stolen() { lines | tail -1 | awk '{ print int(100 * $4 / $2) }'; }

within() { # NAME VALUE LOW HIGH
	if [ -n "$2" ] && [ "$2" -ge "$3" ] && [ "$2" -le "$4" ]; then ok "$1"; else not_ok "$1" "$2%, wanted $3 to $4"; fi
}

: >"$log"
timeout -k 5 420 "$B/trapeze" run --control "$socket" --cpus 1 --timeout 400 --hv-arg cpu.x2apic=1 --hv-arg cpu.pcid=1 "$(vm_file one work "quiet do=steal" 96)" \
	"$(vm_file two work "quiet do=count" 96)" </dev/null >"$log" 2>"$log.err" &
run=$!
for ((i = 0; i < 900; i++)); do
	tr -d '\r' <"$log" | grep -aq '^two| TZ-COUNT-START' && break
	sleep 0.2
done
n=$(lines | wc -l)
await_lines $((n + 2)) || not_ok "beside another one" "nothing is printed"
within "beside another one, half is stolen" "$(stolen)" 35 65
call destroy '{"vm":"two"}'
n=$(lines | wc -l)
await_lines $((n + 2)) || not_ok "alone" "nothing is printed"
within "alone, nothing is stolen" "$(stolen)" 0 5
equal "x2APIC and PCIDs are seen" "$(tr -d '\r' <"$log" | sed -n 's/^one| TZ-CPU //p')" "invpcid pcid x2apic "
lines | sed 's/^/# /'
call destroy '{"vm":"one"}' # in user mode, without a timer of its own
wait "$run"
equal "a program that computes does not outlive its VM" $? 0
rm -f "$socket"
finish
