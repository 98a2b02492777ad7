# SPDX-License-Identifier: MIT
# Both engines side by side on real code (docs/design/debugging.md): the stock kernel boots through its script of programs, and
# 100,000 of its blocks, once there are processes, run in the emulator too. A planted mistake of the translator is found.
. "$(dirname "$0")/lib.sh"
BLOCKS=100000
vm=$(vm_file compare script)

counter() { # NAME
	tr -d ' \n' <"$WORK/compare.json" | sed -nE "s/.*\"compare_$1\":([0-9]+).*/\1/p"
}

trapeze_boot "$WORK/compare.log" 400 "$vm" -v --stats "$WORK/compare.json" --hv-arg bt.compare=$BLOCKS --hv-arg bt.compare_user=1 \
	--hv-arg bt.compare_from=20000
equal "compare: exit status" $? 0
equal "compare: checks failed" "$(tr -d '\r' <"$WORK/compare.log" | sed -nE 's/^TZ-DONE [0-9]+ ([0-9]+)$/\1/p')" 0
equal "compare: blocks tried" "$(counter entered)" $BLOCKS
echo "# compare: $(counter equal) blocks without a difference of $(counter entered); $(counter left_otherwise) left otherwise," \
	"$(counter unmatched_rip) not at a recorded RIP, $(counter thrown_away) thrown away"
if [ "$(counter equal)" -ge $((BLOCKS * 95 / 100)) ]; then
	ok "compare: at least 95% could be compared"
else
	not_ok "compare: at least 95% could be compared" "$(counter equal)"
fi

trapeze_boot "$WORK/plant.log" 100 "$vm" --hv-arg bt.compare=20000 --hv-arg bt.plant=2
equal "compare: a planted mistake stops the hypervisor" $? 12
grep -q 'engines differ' "$WORK/plant.log.err"
equal "compare: and is named" $? 0
finish
