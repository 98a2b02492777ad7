# SPDX-License-Identifier: MIT
# Work done by VMs that compute follows their weights, 1, 2 and 4: three on one CPU, six on two. Time is the emulator's count of
# instructions (--icount), so that what the host does meanwhile does not matter: pieces of work per VM (tests/guests/small) come
# out the same on a busy host.
. "$(dirname "$0")/lib.sh"
PERCENT=5

files() { # COUNT: VMs w1, w2... of weights 256, 512, 1024, 256...
	local i
	for ((i = 1; i <= $1; i++)); do
		printf 'name = "w%d"\nkernel = "%s"\nmemory = 4\ncpu_weight = %d\n' $i "$PWD/$B/guests/small.elf" $((256 << (i - 1) % 3)) >"$WORK/w$i.cfg"
		echo "$WORK/w$i.cfg"
	done
}

small() { # NAME COMMAND-LINE MEMORY [LINE-OF-CFG]
	printf 'name = "%s"\nkernel = "%s"\ncmdline = "%s"\nmemory = %d\n%s\n' "$1" "$PWD/$B/guests/small.elf" "$2" "$3" "${4:-}" >"$WORK/$1.cfg"
	echo "$WORK/$1.cfg"
}

# A thirtieth of the instructions of a second is enough: 32 ns each.
share_files() { # LOG CPUS FILE-OR-OPTION...
	local log=$1 cpus=$2
	shift 2
	timeout -k 5 150 "$B/trapeze" run --icount --machine-arg -icount --machine-arg shift=5 --cpus "$cpus" --memory 256M --timeout 120 "$@" \
		</dev/null >"$log" 2>"$log.err"
}

share() { # LOG CPUS VMS
	local vms
	mapfile -t vms < <(files "$3")
	share_files "$1" "$2" "${vms[@]}"
}

# VM and pieces, a line each.
work() { # LOG
	tr -d '\r' <"$1" | sed -n 's/^w\([0-9]*\)| TZ-WORK \([0-9a-f]\{16\}\)$/\1 \2/p' | sort -n |
		while read -r vm pieces; do echo "$vm $((16#$pieces))"; done
}

# Is each VM's part of the whole its weight's, within PERCENT? Says who is off.
follows_weights() { # COUNT, lines of work() on standard input
	awk -v n="$1" -v percent=$PERCENT '
		{ weight[NR] = 2 ^ (($1 - 1) % 3); done[NR] = $2; weights += weight[NR]; all += $2 }
		END {
			if (NR != n || !all) { print NR " of " n " VMs said what they did"; exit }
			for (i = 1; i <= NR; i++) {
				part = done[i] / all * weights / weight[i]
				if (part < 1 - percent / 100 || part > 1 + percent / 100) printf "w%d did %.3f of its share; ", i, part
			}
		}'
}

check() { # NAME CPUS VMS
	share "$WORK/$2.log" "$2" "$3"
	equal "share: $1, status" $? 0
	work "$WORK/$2.log" >"$WORK/$2.work"
	equal "share: $1, 1:2:4" "$(follows_weights "$3" <"$WORK/$2.work")" ""
	sed "s/^/# $1: w/" "$WORK/$2.work"
}

# One that dies and starts again all the time, its memory cleared each time, gets no more of the CPUs than ones that compute.
# In wall time, as the scheduler counts it: clearing memory is no work that an emulator's turn by instructions would share fairly.
restarting() {
	local run vm socket log=$WORK/loop.log
	socket=$(mktemp -u "${TMPDIR:-/tmp}/share.XXXXXX")
	timeout -k 5 150 "$B/trapeze" run --cpus 2 --memory 512M --timeout 120 --control "$socket" \
		"$(small e1 e 4)" "$(small e2 e 4)" "$(small loop t 256 'on_crash = "restart"')" </dev/null >"$log" 2>"$log.err" &
	run=$!
	sleep 15
	call "$socket" stats >"$WORK/loop.stats"
	for vm in loop e1 e2; do call "$socket" destroy "{\"vm\":\"$vm\"}" >"$WORK/loop.$vm"; done
	wait $run
	equal "share: one starts again and again, status" $? 10
	equal "share: it could be destroyed while it did" "$(cat "$WORK/loop.loop")" '{"jsonrpc":"2.0","id":1,"result":true}'
	sed 's/{"name"/\n&/g' "$WORK/loop.stats" | sed -n 's/^{"name":"\([a-z0-9]*\)".*"run_ns":\([0-9]*\).*/\1 \2/p' >"$WORK/loop.ns"
	sed 's/^/# ns on a CPU: /' "$WORK/loop.ns"
	if [ "$(tr -d '\r' <"$log" | grep -ac '^loop| TZ-TRIPLE')" -ge 5 ]; then ok "share: it has started again"; else not_ok "share: it has started again" "it has not"; fi
	if awk '{ ns[$1] = $2 } END { others = ns["e1"] + ns["e2"]; exit !(ns["loop"] && others && ns["loop"] < 1.15 * others / 2) }' "$WORK/loop.ns"; then
		ok "share: it takes no more than the others"
	else
		not_ok "share: it takes no more than the others" "$(paste -s -d' ' "$WORK/loop.ns")"
	fi
}

call() { # SOCKET METHOD [PARAMETERS]
	echo "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$2\",\"params\":${3:-{\}}}" | timeout 60 "$B/rpc-client" "$1"
}

restarting
check "three VMs on one CPU" 1 3
check "six VMs on two CPUs" 2 6
share "$WORK/again.log" 2 6
equal "share: the same again" "$(work "$WORK/again.log")" "$(cat "$WORK/2.work")"
# Would shares that ignore weights be seen, or one VM a tenth off?
if [ -n "$(printf '1 100\n2 100\n3 100\n' | follows_weights 3)" ] && [ -n "$(printf '1 110\n2 200\n3 400\n' | follows_weights 3)" ] &&
	[ -z "$(printf '1 102\n2 200\n3 400\n' | follows_weights 3)" ] && [ -n "$(printf '1 100\n2 200\n' | follows_weights 3)" ]; then
	ok "share: the check can fail"
else
	not_ok "share: the check can fail" "it takes what is wrong"
fi
finish
