# SPDX-License-Identifier: MIT
# Linux's own x86 self-tests (tools/testing/selftests/x86: signal frames, FS and GS bases, LDT and TLS segments, single step, MOV SS
# traps, NT, IOPL and I/O bitmap, vsyscall and vDSO, SYSENTER and SYSCALL of 32-bit code, FCMOV and its like) print in the guest what
# they print on the bare machine, and end alike; some fail there, by this QEMU or this kernel, and then they fail alike too.
#
# As a paravirtual guest they end as under Xen (dom0 of Debian's), or better.
#
# noreplace-smp: a kernel with one CPU turns LOCK prefixes into DS prefixes, which 64-bit code ignores, but this QEMU adds DS's
# base, and a program with one (ldt_gdt) then brings the bare kernel down.
# Alone: it runs two machines at a time.
. "$(dirname "$0")/lib.sh"

# What tests print but for addresses, times, process numbers (what unwind_vdso_32's call returns) and the kernel's own messages. A message can come within a line of a test's and ends with a
# newline of its own: both go.
results() { # LOG
	tr -d '\r' <"$1" | sed -z -E 's/\[ *[0-9]+\.[0-9]{6}\] [^\n]*\n//g' | sed -n '/^TZ-TEST /,/^TZ-TESTS /p' |
		sed -E '/^TZ-TIME/d; s/(0x)+[0-9a-fA-F]+/X/g; s/\b[0-9a-f]{7,16}\b/X/g; s/-?[0-9]+\.[0-9]+/N/g; s/NR = [0-9]{3,}/NR = N/; /^[[:space:]]*$/d'
}

BARE_MEMORY=256 bare_boot "$WORK/bare.log" 400 selftests noreplace-smp &
trapeze_boot "$WORK/guest.log" 600 "$(vm_file guest selftests noreplace-smp)" --stats "$WORK/guest.json"
equal "selftests: exit status" $? 0
wait
results "$WORK/bare.log" >"$WORK/bare.results"
results "$WORK/guest.log" >"$WORK/guest.results"
equal "selftests: all were run" "$(tail -n 1 "$WORK/guest.results")" "TZ-TESTS $(find "$B/guests/selftests/tests" -type f | wc -l)"

one() { # FILE TEST
	sed -n "/^TZ-TEST $2\$/,/^TZ-EXIT $2 /p" "$1"
}
while read -r _ test status; do
	if one "$WORK/bare.results" "$test" | cmp -s - <(one "$WORK/guest.results" "$test"); then
		ok "selftests: $test, status $status as on the bare machine"
	else
		not_ok "selftests: $test" "differs from the bare machine's"
		diff <(one "$WORK/bare.results" "$test") <(one "$WORK/guest.results" "$test") | head -n 12 | sed 's/^/# /'
	fi
done < <(grep '^TZ-EXIT' "$WORK/bare.results")

# One of them comes to its end under neither within 200 s and is left out.
list=$(find "$B/guests/selftests/tests" -type f -printf '%f\n' | grep -v '^test_syscall_vdso_32$' | sort | paste -sd,)
ends() { # LOG
	tr -d '\r' <"$1" | grep -ao 'TZ-EXIT .*' | sort
}
timeout -k 5 400 scripts/xen selftests "noreplace-smp tz.tests=$list" </dev/null >"$WORK/xen.log" 2>&1 &
TYPE=pv trapeze_boot "$WORK/pv.log" 400 "$(TYPE=pv vm_file pv selftests "noreplace-smp tz.tests=$list")"
equal "paravirtual: exit status" $? 0
wait
ends "$WORK/pv.log" >"$WORK/pv.ends"
equal "paravirtual: all were run" "$(wc -l <"$WORK/pv.ends") $(ends "$WORK/xen.log" | wc -l)" "$(tr , '\n' <<<"$list" | wc -l) $(tr , '\n' <<<"$list" | wc -l)"
while read -r _ test status; do
	ours=$(awk -v t="$test" '$2 == t { print $3 }' "$WORK/pv.ends")
	if [ "$ours" = "$status" ] || [ "$ours" = 0 ]; then ok "paravirtual: $test"; else not_ok "paravirtual: $test" "status $ours, under Xen $status"; fi
done < <(ends "$WORK/xen.log")
finish
