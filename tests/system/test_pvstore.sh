#!/bin/bash
# SPDX-License-Identifier: MIT
# The store of a paravirtual guest with the stock kernel: its drivers find it and have nothing to complain of, programs read and write it,
# `trapeze shutdown` ends the VM by it, in the second life. Between them commands that look at it.
. "$(dirname "$0")/lib.sh"
T=$B/trapeze
export TRAPEZE_CONTROL=$WORK/control
rm -f "$TRAPEZE_CONTROL"
console=$WORK/console

cat >"$WORK/pv.cfg" <<END
name = "pv"
type = "pv"
kernel = "$PWD/guests/vmlinuz"
ramdisk = "$PWD/$B/guests/initrd-shell.cpio.gz"
cmdline = "console=hvc0"
memory = 256
on_reboot = "restart"
END

has() { # NAME PATTERN
	if grep -aqE -- "$2" "$console"; then ok "$1"; else not_ok "$1" "no '$2' in $console"; fi
}

# A request through /dev/xen/xenbus, as a shell can make one: type and length in octal, the payload as printf has it. SIZE bytes of the
# reply are shown, with dots for what is not printable.
request() { # TYPE LENGTH PAYLOAD SIZE
	console_type "exec 3<>/dev/xen/xenbus; printf '\\$1\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0\\0\\$2\\0\\0\\0$3' >&3; echo said \$(head -c $4 <&3 | tr -c 'a-zA-Z0-9/' '.'); exec 3>&-"
}

console_start "$console" "$T" run --control "$TRAPEZE_CONTROL" --timeout 150 "$WORK/pv.cfg"
if ! console_wait 'guest# ' 100; then
	not_ok "prompt" "see $console"
	console_end 5
	finish
fi
console_type 'grep -c xenbus /proc/interrupts; cat /sys/hypervisor/uuid; echo up-$((1 + 1))'
console_wait up-2 20
has "the kernel's driver has its interrupt" '^1.?$'
has "the kernel reads the store" '^00000000-0000-0000-0000-000000000000.?$'
request 2 5 'name\0' 18
if console_wait 'said [.]*pv' 20; then ok "a program reads"; else not_ok "a program reads" "see $console"; fi
request 13 11 'data/a\0xy' 19
if console_wait 'said [.]*OK' 20; then ok "a program writes"; else not_ok "a program writes" "see $console"; fi
request 2 7 'data/a\0' 18
if console_wait 'said [.]*xy' 20; then ok "and reads it"; else not_ok "and reads it" "see $console"; fi
# Commands that look into a VM.
"$T" walk pv 0xffffffff81000000 >"$WORK/walk" 2>&1
if grep -q 'the shadow agrees' "$WORK/walk"; then ok "walk"; else not_ok "walk" "see $WORK/walk"; fi
"$T" pause pv && equal "paused" "$("$T" list | sed -n 's/^pv .*\(paused\).*/\1/p')" paused
"$T" unpause pv
console_type 'reboot -f'
deadline=$((SECONDS + 60))
until [ "$(grep -ac 'TZ-INIT up' "$console")" -ge 2 ] || [ $SECONDS -ge $deadline ]; do sleep 0.5; done
timeout 60 "$T" shutdown -w pv >"$WORK/out" 2>"$WORK/err" </dev/null
equal "shutdown" $? 0
console_end 30
equal "the run's status" $? 0
has "the guest ended by itself" 'reboot: (Power down|System halted)'
equal "no complaint of the store's drivers" "$(grep -aiE 'xenbus|xen store|xen:manage|shutdown watcher|sysrq code' "$console" | grep -av '/dev/xen/xenbus\|/proc/interrupts')" ""
finish
