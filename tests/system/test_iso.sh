# SPDX-License-Identifier: MIT
# What `make iso` makes, started by GRUB under SeaBIOS and OVMF as a PC would be: one serial port, no control channel. The VM's
# console is usable on it, and when the VM has powered itself off the machine does so too.
. "$(dirname "$0")/lib.sh"
CPU=$(sed -n 's/^#define TZ_CPU_MODEL "\(.*\)"/\1/p' abi/machine.h)

make -s "B=$B" iso >"$WORK/make.log" 2>&1 || { not_ok "iso: made" "see $WORK/make.log"; finish; }

# A typed command's result reaches the console only if input and output work: the sum is not what was typed.
boots() { # NAME SECONDS QEMU-ARGUMENTS...
	local name=$1 seconds=$2 status=0
	shift 2
	console_start "$WORK/$name.log" qemu-system-x86_64 -accel tcg -cpu "$CPU" -smp 2 -m 1G -display none -no-reboot \
		-serial stdio -monitor none -cdrom "$B/trapeze.iso" "$@"
	if console_wait 'guest# ' "$seconds"; then
		ok "iso: $name: the VM's prompt"
		console_type 'echo sum=$((1234*5678)) $(uname -s)'
		if console_wait 'sum=7006652 Linux' 60; then ok "iso: $name: a command"; else not_ok "iso: $name: a command" "see $WORK/$name.log"; fi
		console_type exit
	else
		not_ok "iso: $name: the VM's prompt" "see $WORK/$name.log"
	fi
	console_end 60 || status=$?
	equal "iso: $name: the machine switches itself off" "$status" 0
	if grep -aq 'trapeze: all VMs have ended' "$WORK/$name.log"; then ok "iso: $name: ends as asked"; else not_ok "iso: $name: ends as asked" "see $WORK/$name.log"; fi
}

boots bios 180 -machine pc
boots uefi 240 -machine q35 -bios /usr/share/ovmf/OVMF.fd
finish
