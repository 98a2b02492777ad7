# SPDX-License-Identifier: MIT
# A build with DEBUG=1, its costly assertions and its look at what each entry to a guest will use: it boots Debian, to power-off.
# Takes minutes.
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
# A second life: nothing that the gate was given for the first is left (vmm/check.c looks at each entry).
again=$(mktemp -u "${TMPDIR:-/tmp}/debug.XXXXXX")
TRAPEZE_ELF=$B/debug/trapeze.elf trapeze_boot "$WORK/again.log" 200 "$(vm_file again work "quiet do=panic panic=1" 256 'on_reboot = "restart"')" --control "$again" &
for ((i = 0; i < 400; i++)); do
	[ "$(cat "$WORK/again.log" 2>/dev/null | grep -ac TZ-PANIC)" -lt 2 ] && kill -0 $! 2>/dev/null || break
	sleep 0.5
done
echo '{"jsonrpc":"2.0","id":1,"method":"destroy","params":{"vm":"again"}}' | timeout 20 "$B/rpc-client" "$again" >/dev/null 2>&1
wait $!
equal "debug: starts again, status" $? 0
equal "debug: starts again" "$([ "$(grep -ac TZ-PANIC "$WORK/again.log")" -ge 2 ] && echo again)" again
# A misspelt word would be a test that looks at nothing.
for word in mmu.auidt=1 mmu.audit mmu.audit=x; do
	trapeze_boot "$WORK/word.log" 60 "$(vm_file word work quiet)" --hv-arg $word
	equal "debug: $word, status" $? 12
	if grep -aq "\"$word\" means nothing" "$WORK/word.log.err"; then ok "debug: $word is told"; else not_ok "debug: $word is told" "see $WORK/word.log.err"; fi
done
finish
