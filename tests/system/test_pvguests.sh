# SPDX-License-Identifier: MIT
# Paravirtual kernels of our own (tests/guests/pv): each group of hypercalls, and what is known to have broken Xen, in a VM that must
# live on; then what ends a VM, one each. Always beside a VM that watches over its own memory, and with the hypervisor's own
# integrity and the counts of frames checked at each end (check=1).
. "$(dirname "$0")/lib.sh"

files=()
pv_vm() { # NAME COMMAND-LINE
	printf 'name = "%s"\ntype = "pv"\nkernel = "%s"\nmemory = 16\nextra = "%s"\non_reboot = "destroy"\n' "$1" "$PWD/$B/guests/pv.elf" "$2" >"$WORK/$1.cfg"
	files+=("$WORK/$1.cfg")
}

run() { # LOG SECONDS
	timeout -k 5 $(($2 + 20)) "$B/trapeze" run -v --hv-arg check=1 --timeout "$2" "${files[@]}" </dev/null >"$1" 2>&1
	status=$?
}

sound() { # NAME LOG WANTED-STATUS
	equal "$1: exit status" "$status" "$3"
	if grep -aq "integrity: ${#files[@]} VMs checked.*frames free as before" "$2"; then ok "$1: image, gate and frames"; else not_ok "$1: image, gate and frames" "see $2"; fi
	if grep -aq '^victim| ok victim' "$2"; then ok "$1: the other VM"; else not_ok "$1: the other VM" "see $2"; fi
}

names() { # FATAL: the cases that end their VM, or not
	sed -n '/^const struct pv_case [a-z]*_cases/,/^};/p' tests/guests/pv/*.c | sed -n "s/.*{\"\([a-z0-9-]*\)\", [a-z0-9_]*, $1}.*/\1/p" | grep -v '^victim$'
}

log=$WORK/cases.log
pv_vm first ''
pv_vm victim case=victim
run "$log" 60
sound cases "$log" 0
for name in $(names false); do
	if grep -aq "^first| ok $name" "$log"; then ok "$name"; else
		not_ok "$name" "$(grep -a "^first| bad $name" "$log" | head -n 1) see $log"; fi
done
if grep -aq '^first| end' "$log"; then ok "all cases came to their end"; else not_ok "all cases came to their end" "see $log"; fi

# CASE and what the reason must say.
fatal=("no-handler|has no handler" "no-stack|no stack" "iret-from-nowhere|nothing is at its stack" "no-user-tables|without tables" "no-failsafe|nothing handles"
	"empty-root|." "push-in-table|no stack" "call-in-table|." "bad-row|entry 9 of a page table" "gate-stacks|." "iret-in-gate|." "spoil-page|."
	"watchdog|its watchdog ran out")
equal "every fatal case is run" "$(printf '%s\n' "${fatal[@]%%|*}" | sort)" "$(names true | sort)"
log=$WORK/fatal.log
files=()
for f in "${fatal[@]}"; do pv_vm "${f%%|*}" "case=${f%%|*}"; done
pv_vm victim case=victim
run "$log" 60
sound fatal "$log" 10
for f in "${fatal[@]}"; do
	if grep -aq "${f%%|*}: crash: .*${f#*|}" "$log"; then ok "${f%%|*} ends its VM with a reason"; else
		not_ok "${f%%|*} ends its VM with a reason" "$(grep -a "^${f%%|*}| " "$log" | tail -n 1), see $log"
	fi
done
finish
