# SPDX-License-Identifier: MIT
# Page faults of user code that the gate hands to the guest's handler, for pages that are not there and stores to read-only ones: the
# error codes are right, and the addresses survive an exit that comes before the handler reads CR2. The kernel says the same on the
# bare machine.
. "$(dirname "$0")/lib.sh"
GOOD=33 # (0x10 << 1) | 1

BARE_KERNEL=$B/guests/reflect.elf BARE_MEMORY=64 BARE_ARGS="-device isa-debug-exit,iobase=0xf4,iosize=4" bare_boot "$WORK/bare.log" 60 shell
equal "reflect: bare machine" $? $GOOD
printf 'name = "reflect"\nkernel = "%s"\nmemory = 64\n' "$PWD/$B/guests/reflect.elf" >"$WORK/reflect.cfg"
trapeze_boot "$WORK/reflect.log" 60 "$WORK/reflect.cfg" --stats "$WORK/reflect.json"
equal "reflect: addresses and codes of 440 faults" $? $GOOD
faults=$(exit_table "$WORK/reflect.json" | sed -n 's/^guest_fault //p')
if [ "${faults:-1000}" -le 70 ]; then
	ok "reflect: it was the gate"
else
	not_ok "reflect: it was the gate" "$faults of them left the guest's world"
fi
finish
