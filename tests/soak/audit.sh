# SPDX-License-Identifier: MIT
# One boot through the script of programs with the shadow audited at each CR3 load that reaches the hypervisor; a violation panics.
. "$(dirname "$0")/../system/lib.sh"
trapeze_boot "$WORK/audit.log" 3000 "$(vm_file audit script)" --stats "$WORK/audit.json" --hv-arg mmu.audit=1
equal "audit: exit status" $? 0
equal "audit: checks failed" "$(tr -d '\r' <"$WORK/audit.log" | sed -nE 's/^TZ-DONE [0-9]+ ([0-9]+)$/\1/p')" 0
finish
