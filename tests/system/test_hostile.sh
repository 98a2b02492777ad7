# SPDX-License-Identifier: MIT
# Guest kernels that attack the hypervisor (tests/guests/hostile, docs/design/trust.md): attacks that a sound hypervisor survives
# together with the VM, attacks that end their VM with a reason, random code; always beside a VM that watches over its own
# memory, and with the hypervisor's own integrity checked at each end (check=1).
# Takes minutes.
. "$(dirname "$0")/lib.sh"
KERNEL=$PWD/$B/guests/hostile/hostile.bz
SEEDS=${SEEDS:-10000}

hostile_vm() { # NAME COMMAND-LINE [LINE]
	printf 'name = "%s"\ntype = "hvm"\nkernel = "%s"\nmemory = 32\nextra = "%s"\n%s\n' "$1" "$KERNEL" "$2" "${3:-}" >"$WORK/$1.cfg"
	files+=("$WORK/$1.cfg")
}

run() { # LOG SECONDS [OPTION...]
	timeout -k 5 $(($2 + 20)) "$B/trapeze" run -v --hv-arg check=1 --timeout "$2" "${@:3}" "${files[@]}" </dev/null >"$1" 2>&1
	status=$?
}

sound() { # NAME LOG WANTED-STATUS [VMS-CHECKED]
	equal "hostile: $1: exit status" "$status" "$3"
	if grep -aq "integrity: ${4:-${#files[@]}} VMs checked.*frames free as before" "$2"; then ok "hostile: $1: image, gate, shadow tables and frames"; else not_ok "hostile: $1: image, gate, shadow tables and frames" "see $2"; fi
	if grep -aq '^victim| ok victim' "$2"; then ok "hostile: $1: the other VM"; else not_ok "hostile: $1: the other VM" "see $2"; fi
}

# Attacks in two VMs, the rest of the list in the second.
log=$WORK/cases.log
files=()
hostile_vm first ''
hostile_vm victim case=victim
run "$log" 150
sound cases "$log" 0
while read -r name; do
	if grep -aq "^first| ok $name" "$log"; then ok "hostile: $name"; else not_ok "hostile: $name" "$(grep -a '^first| bad' "$log" | head -n 1) see $log"; fi
done < <(sed -n '/^const struct attack_case [a-z]*_cases/,/^};/p' tests/guests/hostile/*.c | grep -o '{"[a-z-]*", [a-z_]*, false}' | sed 's/{"\([a-z-]*\)".*/\1/')
if grep -aq '^first| end' "$log"; then ok "hostile: all cases came to their end"; else not_ok "hostile: all cases came to their end" "see $log"; fi

# Attacks that end the VM: CASE, what the reason must say.
fatal=("root-beyond|points at no memory" "empty-root|triple fault" "no-idt|triple fault" "device-idt|triple fault" "device-gdt|triple fault"
	"device-tss|triple fault" "iret-escape|untranslated kernel code" "iret-loop|untranslated kernel code" "legacy|cannot emulate\|triple fault" "returns|untranslated kernel code" "returns-into-gate|."
	"vm86-program|virtual-8086 code in long mode")
log=$WORK/fatal.log
files=()
for f in "${fatal[@]}"; do hostile_vm "${f%%|*}" "case=${f%%|*}"; done
hostile_vm returns-into-cache case=returns-into-cache # may end itself in any way, or not at all: then it is destroyed
hostile_vm victim case=victim
socket=$(mktemp -u "${TMPDIR:-/tmp}/hostile.XXXXXX")
: >"$log"
(
	for i in $(seq 60); do
		sleep 1
		[ "$(grep -ac ': crash: ' "$log")" -ge ${#fatal[@]} ] && grep -aq '^victim| end' "$log" && break
	done
	sleep 3
	"$B/trapeze" destroy --control "$socket" returns-into-cache
) >/dev/null 2>&1 &
run "$log" 90 --control "$socket"
sound fatal "$log" 10
for f in "${fatal[@]}"; do
	if grep -aq "${f%%|*}: crash: .*${f#*|}" "$log"; then ok "hostile: ${f%%|*} ends its VM with a reason"; else not_ok "hostile: ${f%%|*} ends its VM with a reason" "see $log"; fi
done

# The same, each started again at its end, until all have died three times.
log=$WORK/lives.log
files=()
for f in "${fatal[@]%%|*}"; do hostile_vm "$f" "case=$f" 'on_crash = "restart"'; done
printf 'name = "lives"\ntype = "hvm"\nkernel = "%s"\nmemory = 16\non_crash = "restart"\n' "$PWD/$B/guests/lives.elf" >"$WORK/lives.cfg"
files+=("$WORK/lives.cfg")
hostile_vm victim case=victim 'cpu_weight = 2048'
deaths() { grep -ac "$1: crash: " "$log"; }
: >"$log"
(
	for i in $(seq 80); do
		sleep 1
		few=
		for f in "${fatal[@]%%|*}" lives; do [ "$(deaths "$f")" -ge 3 ] || few=1; done
		[ -z "$few" ] && grep -aq '^victim| end' "$log" && break
	done
	for f in "${fatal[@]%%|*}" lives; do "$B/trapeze" destroy --control "$socket" "$f"; done
) >/dev/null 2>&1 &
run "$log" 110 --control "$socket"
sound lives "$log" 10 '[0-9]*' # one that is destroyed between two lives has no tables to check
for f in "${fatal[@]}" "lives|triple fault"; do
	n=$(deaths "${f%%|*}")
	if [ "$n" -ge 3 ] && [ "$(grep -a "${f%%|*}: crash: " "$log" | grep -ac "${f#*|}")" = "$n" ]; then ok "hostile: ${f%%|*} in each of its lives"; else
		not_ok "hostile: ${f%%|*} in each of its lives" "$n deaths, see $log"
	fi
done
n=$(grep -ac '^lives| .*<' "$log")
if [ "$n" -ge "$(deaths lives)" ]; then ok "hostile: lives: roots in each"; else not_ok "hostile: lives: roots in each" "$n, see $log"; fi

if said=$(tests/system/hostile_seeds "$WORK/seeds" 0 "$SEEDS"); then
	ok "hostile: random code"
	echo "# $said"
	equal "hostile: number of seeds" "$(echo "$said" | grep -o '^seeds [0-9]*')" "seeds $SEEDS"
else
	not_ok "hostile: random code" "$said"
fi
finish
