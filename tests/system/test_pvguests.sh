# SPDX-License-Identifier: MIT
# Paravirtual kernels of our own, a folder each in tests/guests/pv: every group of hypercalls, and what is known to have broken Xen. Each
# kernel in a VM of its own that must live on; then each case that ends its VM in one. Always beside a VM that watches over its own
# memory, and with the hypervisor's own integrity and the counts of frames checked at each end (check=1).
. "$(dirname "$0")/lib.sh"

files=()
pv_vm() { # NAME FOLDER COMMAND-LINE
	printf 'name = "%s"\ntype = "pv"\nkernel = "%s"\nmemory = 16\nextra = "%s"\non_reboot = "destroy"\n' "$1" "$PWD/$B/guests/pv/$2.elf" "$3" >"$WORK/$1.cfg"
	files+=("$WORK/$1.cfg")
}

run() { # LOG SECONDS [OPTIONS]
	timeout -k 5 $(($2 + 20)) "$B/trapeze" run -v --hv-arg check=1 "${@:3}" --timeout "$2" "${files[@]}" </dev/null >"$1" 2>&1
	status=$?
}

sound() { # NAME LOG WANTED-STATUS
	equal "$1: exit status" "$status" "$3"
	if grep -aq "integrity: ${#files[@]} VMs checked.*frames free as before" "$2"; then ok "$1: image, gate and frames"; else not_ok "$1: image, gate and frames" "see $2"; fi
	if grep -aq '^victim| ok victim' "$2"; then ok "$1: the other VM"; else not_ok "$1: the other VM" "see $2"; fi
}

# The folders with their own cases.
mapfile -t folders < <(find tests/guests/pv -mindepth 2 -name '*.[cS]' -printf '%h\n' | sed 's|.*/||' | sort -u | grep -vx -e harness -e victim)

names() { # FOLDER FATAL: the cases that end their VM, or not
	sed -n '/^const struct pv_case cases/,/^};/p' "tests/guests/pv/$1"/*.c | grep -oE "\"[a-z0-9-]+\", [a-z0-9_]+, $2}" | cut -d'"' -f2
}

for folder in "${folders[@]}"; do pv_vm "$folder" "$folder" ''; done
pv_vm victim victim case=victim

# The gate serves nothing: all is the same. Then as always, with what is held of the frames counted again now and then.
log=$WORK/crossing.log
run "$log" 120 --hv-arg pv.fast=0
sound "by crossings alone" "$log" 0
equal "by crossings alone: nothing is bad" "$(tr -d '\r' <"$log" | grep -aE '^[a-z0-9-]+\| (bad|failed)')" ""

log=$WORK/cases.log
run "$log" 120 --hv-arg pv.audit=64
sound cases "$log" 0
for folder in "${folders[@]}"; do
	[ -n "$(names "$folder" '[a-z]*')" ] || not_ok "$folder has cases" "none found"
	for name in $(names "$folder" false); do
		if grep -aqx "$folder| ok $name" <(tr -d '\r' <"$log"); then ok "$name"; else
			not_ok "$name" "$(grep -a "^$folder| bad $name" "$log" | head -n 1) see $log"; fi
	done
	if grep -aq "^$folder| end" "$log"; then ok "$folder came to its end"; else not_ok "$folder came to its end" "see $log"; fi
done

# The gate delivers page faults: those of programs whose events are not masked (half of a hundred), all of the kernel's where nothing is.
for f in program-faults:50 kernel-faults:0; do
	files=()
	pv_vm "${f%:*}" faults "case=${f%:*}"
	run "$WORK/${f%:*}.log" 20 --stats "$WORK/${f%:*}.json"
	equal "${f%:*}: exit status" "$status" 0
	equal "${f%:*}: page faults that cross" "$(exit_table "$WORK/${f%:*}.json" | sed -n 's/^guest_fault //p')" "${f#*:}"
done

# CASE and what the reason must say.
fatal=("no-handler|has no handler" "no-stack|no stack" "iret-from-nowhere|nothing is at its stack" "no-user-tables|without tables" "no-failsafe|nothing handles"
	"empty-root|." "push-in-table|no stack" "call-in-table|." "bad-row|entry 9 of a page table" "gate-stack|no stack" "gate-stack-of-program|no stack"
	"gate-stack-of-syscall|no stack" "iret-in-gate|." "spoil-page|." "watchdog|its watchdog ran out")
# Those that are asked for more than once, with what.
stacks="at=103010 at=103020 at=103030 at=103040 at=102010 at=105010" # ends of the gate's entry stack and of the first one behind
declare -A asked=([gate-stack]="$stacks" [gate-stack-of-program]="$stacks" [gate-stack-of-syscall]="${stacks% *}")
log=$WORK/fatal.log
files=()
found=()
for folder in "${folders[@]}"; do
	for name in $(names "$folder" true); do
		found+=("$name")
		if [ -z "${asked[$name]:-}" ]; then pv_vm "$name" "$folder" "case=$name"; fi
		for argument in ${asked[$name]:-}; do pv_vm "$name-${argument#*=}" "$folder" "case=$name $argument"; done
	done
done
equal "every fatal case is run" "$(printf '%s\n' "${fatal[@]%%|*}" | sort)" "$(printf '%s\n' "${found[@]}" | sort)"
pv_vm victim victim case=victim
run "$log" 60
sound fatal "$log" 10
for f in "${fatal[@]}"; do
	name=${f%%|*}
	for vm in $([ -n "${asked[$name]:-}" ] && printf "$name-%s " ${asked[$name]//at=/} || echo "$name"); do
		if grep -aq " $vm: crash: .*${f#*|}" "$log"; then ok "$vm ends its VM with a reason"; else
			not_ok "$vm ends its VM with a reason" "$(grep -a "^$vm| " "$log" | tail -n 1), see $log"
		fi
	done
done
finish
