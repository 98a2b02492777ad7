# SPDX-License-Identifier: MIT
# Crossings are counted, not timed: 100,000 more null system calls must not cause more crossings. Two boots of one kernel
# differ a little by themselves (page faults, timers), so a boot is repeated to learn by how much.
. "$(dirname "$0")/lib.sh"
# What the clock alone decides.
NOISE='timer|interrupt|irq|tick|halt|hlt|idle|external_interrupt|host_interrupt'

crossings() { # N TAG: boots, leaves the sum in `sum`
	trapeze_boot "$WORK/$2.log" 120 "$(vm_file "$2" count "tz_syscalls=$1")" --stats "$WORK/$2.json"
	status=$?
	if [ $status -ne 0 ] || ! grep -aq "^TZ-COUNT $1" "$WORK/$2.log"; then
		not_ok "count: $1 system calls" "exit status $status"
		tail -n 5 "$WORK/$2.log" "$WORK/$2.log.err" | sed 's/^/# /'
		finish
	fi
	sum=$(exits "$WORK/$2.json" "$NOISE")
	[ "$sum" -gt 0 ] || { not_ok "count: statistics" "no exits in $WORK/$2.json"; finish; }
}

crossings 100000 first && first=$sum
crossings 100000 again && again=$sum
crossings 200000 more && more=$sum
noise=$((first > again ? first - again : again - first))
base=$((first > again ? first : again))
echo "# exits but for the clock's: 100,000 calls $first and $again, 200,000 calls $more"
# One crossing per hundred calls would be 1,000.
allowed=$((noise * 3 + 500))
if [ $((more - base)) -le $allowed ]; then
	ok "null system call: no crossing"
else
	not_ok "null system call: no crossing" "100,000 more calls, $((more - base)) more crossings (allowed $allowed)"
	join <(exit_table "$WORK/first.json") <(exit_table "$WORK/more.json") | sed 's/^/# /'
fi
finish
