# SPDX-License-Identifier: MIT
# Linux's own x86 self-tests (tools/testing/selftests/x86: signal frames, FS and GS bases, LDT and TLS segments, single step, MOV SS
# traps, NT, IOPL and I/O bitmap, vsyscall and vDSO, SYSENTER and SYSCALL of 32-bit code, FCMOV and its like) print in the guest what
# they print on the bare machine, and end alike; some fail there, by this QEMU or this kernel, and then they fail alike too.
#
# noreplace-smp: a kernel with one CPU turns LOCK prefixes into DS prefixes, which 64-bit code ignores, but this QEMU adds DS's
# base, and a program with one (ldt_gdt) then brings the bare kernel down.
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
finish
