# SPDX-License-Identifier: MIT
# The stock Debian kernel, unchanged, command line console=ttyS0 and nothing else: three boots through real programs to
# power-off, with no kernel warning that the bare machine does not give; then a shell that answers what is typed.
# Takes minutes.
. "$(dirname "$0")/lib.sh"

bare_boot "$WORK/bare.log" 120 script
equal "bare machine: every check passes" "$(tr -d '\r' <"$WORK/bare.log" | sed -nE 's/^TZ-DONE [0-9]+ ([0-9]+)$/\1/p')" 0
warnings "$WORK/bare.log" | sort -u >"$WORK/bare.warnings"
checks=$(tr -d '\r' <"$WORK/bare.log" | sed -nE 's/^TZ-DONE ([0-9]+) .*$/\1/p')

vm=$(vm_file script script)
for boot in 1 2 3; do
	log=$WORK/boot$boot.log
	trapeze_boot "$log" 300 "$vm" --stats "$WORK/boot$boot.json"
	status=$?
	equal "boot $boot: exit status" $status 0
	equal "boot $boot: checks passed and failed" "$(tr -d '\r' <"$log" | sed -nE 's/^TZ-DONE ([0-9]+ [0-9]+)$/\1/p')" "$checks 0"
	tr -d '\r' <"$log" | grep -aE '^TZ-FAIL' | sed 's/^/# /'
	warnings "$log" >"$WORK/boot$boot.warnings"
	new=$(comm -13 "$WORK/bare.warnings" "$WORK/boot$boot.warnings")
	if [ $status -eq 0 ] && [ -z "$new" ]; then
		ok "boot $boot: no warning that the bare machine does not give"
	else
		not_ok "boot $boot: no warning that the bare machine does not give" "${new:-the boot ended early}"
	fi
	# A boot that fails leaves nothing for the next two to find out.
	[ $status -eq 0 ] || { tail -n 15 "$log" "$log.err" | sed 's/^/# /'; break; }
done

console_start "$WORK/shell.log" "$B/trapeze" run --timeout 200 "$(vm_file shell shell)"
if console_wait 'guest# ' 150; then
	ok "shell: prompt"
	console_type 'echo answer $((6 * 7))'
	if console_wait 'answer 42' 20; then ok "shell: answers what is typed"; else not_ok "shell: answers what is typed" "no answer"; fi
	console_type 'poweroff -f'
	console_end 30
	equal "shell: exit status after power-off" $? 0
else
	not_ok "shell: prompt" "none after 150 s"
	console_end 1
fi
finish
