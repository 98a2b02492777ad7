# SPDX-License-Identifier: MIT
# Boots through the script of programs with the hypervisor watching itself; a violation panics. One audits the shadow tables at each
# CR3 load, one demands that each right which the shadow takes away was announced to the flush port.
. "$(dirname "$0")/../system/lib.sh"
for setting in mmu.audit=1 mmu.stress=16; do
	knob=${setting%=*}
	trapeze_boot "$WORK/$knob.log" 3000 "$(vm_file audit script)" --stats "$WORK/$knob.json" --hv-arg $setting --hv-arg check=1 -v
	equal "$knob: exit status" $? 0
	equal "$knob: checks failed" "$(tr -d '\r' <"$WORK/$knob.log" | sed -nE 's/^TZ-DONE [0-9]+ ([0-9]+)$/\1/p')" 0
	if [ $knob = mmu.audit ]; then
		audits=$(tr -d ' \n' <"$WORK/$knob.json" | sed -n 's/.*"audits":\([0-9]*\).*/\1/p')
		if [ "${audits:-0}" -ge 1000 ]; then ok "$knob: $audits audits"; else not_ok "$knob: audits" "${audits:-none}"; fi
	fi
	grep -ahoE '(stress|integrity): [0-9].*' "$WORK/$knob.log" "$WORK/$knob.log.err" 2>/dev/null | sed "s/^/# $knob: /"
done
finish
