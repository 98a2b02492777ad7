# SPDX-License-Identifier: MIT
# The full Debian kernel (linux-image-amd64), unchanged, with modules out of its package: loaded, used, unloaded; then the script of
# programs, power-off, no kernel warning that the bare machine does not give. Its shell: reboot starts it anew.
# Takes minutes.
. "$(dirname "$0")/lib.sh"

full_vm() { # NAME VARIANT [EXTRA]
	local file
	file=$(vm_file "$1" "$2" "${3:-}" 384)
	sed -i "s,/guests/vmlinuz\",/guests/full/vmlinuz\"," "$file"
	echo "$file"
}
numbers() { # KEY LOG
	tr -d '\r' <"$2" | sed -nE "s/^$1 ([0-9]+ [0-9]+)\$/\1/p"
}

BARE_KERNEL=guests/full/vmlinuz BARE_MEMORY=384 bare_boot "$WORK/bare.log" 300 full &
trapeze_boot "$WORK/full.log" 500 "$(full_vm full full)" --stats "$WORK/full.json"
status=$?
wait
equal "full kernel: exit status" $status 0
bare=$(numbers TZ-MODULES "$WORK/bare.log")
equal "full kernel, bare machine: modules" "${bare#* }" 0
equal "full kernel: modules" "$(numbers TZ-MODULES "$WORK/full.log")" "$bare"
bare=$(numbers TZ-DONE "$WORK/bare.log")
equal "full kernel, bare machine: programs" "${bare#* }" 0
equal "full kernel: programs" "$(numbers TZ-DONE "$WORK/full.log")" "$bare"
tr -d '\r' <"$WORK/full.log" | grep -a '^TZ-FAIL' | sed 's/^/# /'
warnings "$WORK/bare.log" >"$WORK/bare.warnings"
warnings "$WORK/full.log" >"$WORK/full.warnings"
if grep -q TZ-DMESG-END "$WORK/full.log"; then
	equal "full kernel: no warning that the bare machine does not give" "$(comm -13 "$WORK/bare.warnings" "$WORK/full.warnings")" ""
else
	not_ok "full kernel: no warning that the bare machine does not give" "the boot ended early"
	tail -n 15 "$WORK/full.log" "$WORK/full.log.err" | sed 's/^/# /'
fi

# A panic that the guest's kernel tells of is a crash, with no panic=N on its command line.
trapeze_boot "$WORK/panic.log" 300 "$(full_vm panic full "quiet do=panic")"
equal "full kernel: panic, exit status" $? 10
equal "full kernel: panic, told" "$(grep -a crashed "$WORK/panic.log.err")" "trapeze: VM panic crashed: its kernel panicked"

# `reboot` destroys or restarts the VM, as its file says.
console_start "$WORK/reboot.log" "$B/trapeze" run --timeout 400 "$(full_vm reboot shell)"
prompt() { # WHICH
	if console_wait 'Linux version' 100 && console_wait 'guest# ' 200; then
		ok "full kernel: prompt $1"
	else
		not_ok "full kernel: prompt $1" "none after 300 s"
		console_end 1
		finish
	fi
}
prompt "of the first boot"
console_type 'reboot -f'
prompt "after reboot"
console_type 'poweroff -f'
console_end 60
equal "full kernel: exit status after reboot and power-off" $? 0
finish
