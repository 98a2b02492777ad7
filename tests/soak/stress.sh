# SPDX-License-Identifier: MIT
# Debian's stress-ng for SOAK_STRESS seconds (default 600) in a guest: nothing fails its verification, and the guest's clock goes as
# the machine's, within 0.1%. What left the guest world most is shown.
. "$(dirname "$0")/../system/lib.sh"
seconds=${SOAK_STRESS:-600}
vm=$(vm_file stress stress "tz.stress=$seconds" 512)

# The console's lines, those with a clock with the machine's time before them.
timeout -k 5 $((seconds * 2 + 700)) "$B/trapeze" run --timeout $((seconds * 2 + 600)) --stats "$WORK/stress.json" "$vm" </dev/null \
	2>"$WORK/stress.err" | while IFS= read -r line; do
	case $line in
	TZ-CLOCK*) echo "$EPOCHREALTIME $line" ;;
	*) echo "$line" ;;
	esac
done | tr -d '\r' >"$WORK/stress.log"
equal "stress: exit status" "${PIPESTATUS[0]}" 0
equal "stress: stress-ng's verdict" "$(sed -n 's/^TZ-STRESS //p' "$WORK/stress.log")" 0
grep -aE 'stress-ng: (info|metrc|fail|error)' "$WORK/stress.log" | sed 's/^/# /' | tail -n 30

# The line that came through quickest of each bunch has the least delay in it.
offset() { # begin|end: machine's time less the guest's, and the guest's
	awk -v w="$1" '$2 == "TZ-CLOCK" && $3 == w { d = $1 - $4; if (best == "" || d < best) { best = d; at = $4 } } END { printf "%.3f %.3f\n", best, at }' \
		"$WORK/stress.log"
}
read -r first from < <(offset begin)
read -r last to < <(offset end)
drift=$(awk -v a="$first" -v b="$last" -v f="$from" -v t="$to" 'BEGIN { printf "%.4f", (t > f) ? 100 * (b - a) / (t - f) : 100 }')
echo "# stress: guest's clock $from to $to s, the machine's gained $(awk -v a="$first" -v b="$last" 'BEGIN { printf "%.3f", b - a }') s: $drift%"
if awk -v d="$drift" 'BEGIN { exit !(d <= 0.1 && d >= -0.1) }'; then
	ok "stress: clock within 0.1%"
else
	not_ok "stress: clock within 0.1%" "$drift%"
fi
exit_table "$WORK/stress.json" | sort -k 2 -n -r | head -n 8 | sed 's/^/# exits: /'
tr -d ' \n' <"$WORK/stress.json" | grep -oE '"[a-z_]*@[^"]*":[0-9]+' | tr -d '"' | head -n 16 | sed 's/^/# site: /'
finish
