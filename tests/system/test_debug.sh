# SPDX-License-Identifier: MIT
# A build with DEBUG=1, its costly assertions and its look at what each entry to a guest will use: it boots Debian, to power-off.
. "$(dirname "$0")/lib.sh"
if ! make -s -j2 "B=$B/debug" DEBUG=1 "$B/debug/trapeze.elf" >"$WORK/make.log" 2>&1; then
	not_ok "debug: builds" "see $WORK/make.log"
	finish
fi
ok "debug: builds"
TRAPEZE_ELF=$B/debug/trapeze.elf trapeze_boot "$WORK/boot.log" 200 "$(vm_file debug work quiet)" --stats "$WORK/boot.json"
equal "debug: boots and powers off" $? 0
# Counting kernel instructions is on by itself in such a build only.
if grep -qE '"kernel_instructions_executed":[1-9]' "$WORK/boot.json"; then ok "debug: it is one"; else not_ok "debug: it is one" "see $WORK/boot.json"; fi
finish
