# SPDX-License-Identifier: MIT
# The benchmark's arithmetic (bench/summarise.awk) on figures whose results are known, and that rows and their limits belong together.
. "$(dirname "$0")/lib.sh"

summarise() { # reads lines, prints the table
	{ cat bench/rows -; } | awk -v out="$WORK" -v pairs=3 -v kernel=k -v qemu=q -v xen=x -f bench/summarise.awk && cat "$WORK/table"
}

times() { # SIDE ROW NS...
	local side=$1 row=$2 ns
	shift 2
	for ns in "$@"; do echo "time $side $row $ns"; done
}

table=$({
	times bare null-call 30 10 20 # median 20, not the mean and not the first
	times trapeze null-call 9 100 51
	times pv null-call 25 25 24
	times xen null-call 600 200 400
	echo "count bare null-call 300"
	echo "count trapeze null-call 450"
	echo "count pv null-call 360"
	times bare stat 1000 3000 # an even number of them: between the two, by value and not as text
	times trapeze stat 5000 5000
	times bare read-zero 10 20 30
	times trapeze read-zero 50 10
	times trapeze sh 10
	times bare new-row 4
	times trapeze new-row 4
	times bare fork-exit 100
	times trapeze fork-exit 450
	echo "memory hypervisor-4-vms $((63 << 20))"
	echo "memory hypervisor-4-vms $(((64 << 20) + 1))"
	echo "memory hypervisor-4-vms $((62 << 20))"
} | summarise)
line() { awk -v r="$1" '$1 == r' <<<"$table"; }
equal "bench: median of three, above its limit" "$(line null-call)" "null-call 20 51 25 400 2.55 2.5 over 1.20 20.00 0.06 300 1.50 1.20 -"
equal "bench: median of two, within" "$(line stat)" "stat 2000 5000 - - 3.33 2.5 over - - - - - - -" # by pairs: 5 and 1.67
equal "bench: sides with unequal numbers of runs, by medians" "$(line read-zero)" "read-zero 20 30 - - 1.50 2.5 - - - - - - - -"
equal "bench: a side that is missing" "$(line sh)" "sh - 10 - - - 4.5 - - - - - - - -"
equal "bench: just at the limit" "$(line fork-exit)" "fork-exit 100 450 - - 4.50 4.5 - - - - - - - -"
equal "bench: a row without a limit comes last" "$(tail -n 1 <<<"$table")" "new-row 4 4 - - 1.00 - - - - - - - - -"
equal "bench: the largest memory counts" "$(grep -c '^| hypervisor-4-vms | \*\*64.0\*\* | 64 (over) |$' "$WORK/memory.md")" 1
equal "bench: JSON of a row" "$(grep -F '"null-call"' "$WORK/bench.json")" '"null-call":{"group":"call","bare":20,"trapeze":51,"pv":25,"xen":400,"ratio":2.55,"pv_ratio":1.20,"xen_ratio":20.00,"limit":2.5,"over":true,"instructions":{"bare":300,"trapeze":450,"pv":360,"xen":null,"ratio":1.50,"pv_ratio":1.20,"xen_ratio":null}},'
echo "time bare null-call 1e" | summarise >/dev/null 2>&1
equal "bench: garbage among the figures is refused" $? 1

# bench/rows has just the guest's rows, and the two of the boot.
sed -nE 's/^\t\t\{"([^"]*)", [a-z_0-9]+, .*/\1/p' bench/guest/bench.c | sort >"$WORK/of-guest"
sed -nE 's/^row ([^ ]*) .*/\1/p' bench/rows | grep -v '^boot-' | sort >"$WORK/of-rows"
equal "bench: every row has its group and limit" "$(comm -3 "$WORK/of-guest" "$WORK/of-rows" | tr '\n' ' ')" ""
if [ "$(wc -l <"$WORK/of-guest")" -ge 20 ]; then ok "bench: rows are found"; else not_ok "bench: rows are found" "$(cat "$WORK/of-guest")"; fi
finish
