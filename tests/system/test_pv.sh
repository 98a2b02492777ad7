# SPDX-License-Identifier: MIT
# Debian's kernels as paravirtual guests: through the script of programs that unmodified guests run, to power-off; what is typed; reboot
# and a panic. Then the same kernel file twice in one run, unmodified and paravirtual, beside two that misbehave.
# Takes minutes.
. "$(dirname "$0")/lib.sh"
export TYPE=pv

script() { # NAME VMFILE
	local log=$WORK/$1.log said
	trapeze_boot "$log" 400 "$2" --stats "$WORK/$1.json" --hv-arg check=1 -v
	equal "$1: exit status" $? 0
	said=$(tr -d '\r' <"$log" | sed -nE 's/^TZ-DONE ([0-9]+) ([0-9]+)$/\2 of \1 failed/p')
	if [[ $said = "0 of "* ]]; then ok "$1: programs"; else not_ok "$1: programs" "${said:-it ended early}, see $log"; fi
	tr -d '\r' <"$log" | grep -aE '^TZ-FAIL' | sed 's/^/# /'
	if grep -aq 'Hypervisor detected: Xen PV' "$log"; then ok "$1: its kernel knows"; else not_ok "$1: its kernel knows" "see $log"; fi
	# On the bare machine there are none of these; what is left must have a reason (docs/design/pv.md).
	equal "$1: warnings" "$(warnings "$log" | grep -v -e '^ACPI: MPS support code is not built-in' -e '^PMU not available due to virtualization' \
		-e '^Grant table initialized' \
		-e '^device-mapper: core: CONFIG_IMA_DISABLE_HTABLE')" ""
	equal "$1: system calls that cross" "$(exit_table "$WORK/$1.json" | sed -n 's/^syscall //p')" 0
	if grep -aq "integrity: 1 VMs checked.*frames free as before" "$log.err"; then ok "$1: integrity"; else not_ok "$1: integrity" "see $log"; fi
}

script cloud "$(vm_file cloud script)"
full=$(vm_file full full "" 384)
sed -i "s,/guests/vmlinuz\",/guests/full/vmlinuz\"," "$full"
script full "$full"

trapeze_boot "$WORK/panic.log" 100 "$(vm_file panic work "quiet do=panic panic=1")"
equal "panic: exit status" $? 10
equal "panic: told" "$(grep -a crashed "$WORK/panic.log.err")" "trapeze: VM panic crashed: its kernel panicked"

console_start "$WORK/shell.log" "$B/trapeze" run --timeout 200 "$(vm_file shell shell)"
prompt() { # WHICH
	if console_wait 'Linux version' 100 && console_wait 'guest# ' 100; then ok "shell: prompt $1"; else
		not_ok "shell: prompt $1" "none"
		console_end 1
		finish
	fi
}
prompt "of the first boot"
console_type 'echo answer $((6 * 7))'
if console_wait 'answer 42' 20; then ok "shell: answers what is typed"; else not_ok "shell: answers what is typed" "no answer"; fi
console_type 'reboot -f'
prompt "after reboot"
console_type 'poweroff -f'
console_end 30
equal "shell: exit status after power-off" $? 0

# A kernel that is not Linux: Debian's GRUB for Xen.
printf 'name = "grub"\ntype = "pv"\nkernel = "%s"\nmemory = 64\n' "$PWD/guests/grub-xen" >"$WORK/grub.cfg"
console_start "$WORK/grub.log" "$B/trapeze" run --timeout 100 "$WORK/grub.cfg"
if console_wait 'grub> ' 60; then ok "grub: prompt"; else not_ok "grub: prompt" "none"; fi
console_type 'set answer=42'
console_type 'echo it is $answer'
if console_wait 'it is 42' 20; then ok "grub: answers what is typed"; else not_ok "grub: answers what is typed" "no answer"; fi
console_type 'halt'
console_end 30
equal "grub: halts" $? 0

# One that comes later: its kernel, unpacked, goes over the control channel.
console_start "$WORK/late.log" "$B/trapeze" run --control "$WORK/late.socket" --timeout 200 "$WORK/grub.cfg"
console_wait 'grub> ' 60
"$B/trapeze" create --control "$WORK/late.socket" "$(vm_file late bench bench_rows=null-call)" >"$WORK/late.create" 2>&1
equal "late: created" $? 0
if console_wait 'BENCH-DONE' 100; then ok "late: runs"; else not_ok "late: runs" "see $WORK/late.log"; fi
if console_wait 'System halted' 20; then ok "late: ends"; else not_ok "late: ends" "see $WORK/late.log"; fi
console_type 'halt'
console_end 30
equal "late: exit status" $? 0

# Two kinds side by side, one of each well and one of each not.
want=$("$B/guests/tz" gen 33554432 | sha256sum | cut -d' ' -f1)
log=$WORK/kinds.log
timeout -k 5 220 "$B/trapeze" run --timeout 200 --stats "$WORK/kinds.json" --hv-arg check=1 -v \
	"$(TYPE=hvm vm_file plain work "quiet do=sum")" "$(vm_file para work "quiet do=sum")" \
	"$(TYPE=hvm vm_file triple work "quiet do=triple reboot=t" 96)" "$(vm_file lost work "quiet do=panic panic=1")" </dev/null >"$log" 2>"$log.err"
equal "kinds: status says that a VM crashed" $? 10
for vm in plain para; do
	if tr -d '\r' <"$log" | grep -aq "^$vm| TZ-SUM $want"; then ok "kinds: $vm finishes its work"; else not_ok "kinds: $vm finishes its work" "see $log"; fi
done
if grep -aq 'integrity: 4 VMs checked.*frames free as before' "$log" "$log.err"; then ok "kinds: integrity"; else not_ok "kinds: integrity" "see $log"; fi
finish
