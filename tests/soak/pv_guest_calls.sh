# SPDX-License-Identifier: MIT
# SOAK_PV_CALLS random hypercalls (default ten million) of real guests, over the gate: two test kernels with a seed each, beside a victim,
# with what is held of the frames counted again at every SOAK_PV_AUDIT'th exit (default 512) and the hypervisor's own integrity at the end. Prints for each operation how often it was done and refused; the
# kernels say themselves that each was both. Seeds differ from run to run; those in the log give the same calls again, as far as what they
# find does not depend on time.
. "$(dirname "$0")/../system/lib.sh"
count=${SOAK_PV_CALLS:-10000000}
seed=${SOAK_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
make -s "B=$B" "$B/trapeze.elf" "$B/trapeze" guests >/dev/null || not_ok "pv_guest_calls: build"
files=()
vm() { # NAME KERNEL COMMAND-LINE
	printf 'name = "%s"\ntype = "pv"\nkernel = "%s"\nmemory = 16\nextra = "%s"\n' "$1" "$PWD/$B/guests/pv/$2.elf" "$3" >"$WORK/$1.cfg"
	files+=("$WORK/$1.cfg")
}
vm calls-1 fuzz "$(printf 'count=%x seed=%x' $((count / 2)) "$seed")"
vm calls-2 fuzz "$(printf 'count=%x seed=%x' $((count - count / 2)) $((seed * 31 + 7)))"
vm victim victim "$(printf 'case=victim rounds=%x' $((count / 10 + 1000)))"
log=$WORK/pv_guest_calls.log
timeout -k 5 "$((${SOAK_LEFT:-1800} + 20))" "$B/trapeze" run -v --hv-arg check=1 --hv-arg "pv.audit=${SOAK_PV_AUDIT:-512}" --timeout "${SOAK_LEFT:-1800}" "${files[@]}" </dev/null >"$log" 2>&1
equal "pv_guest_calls: exit status, seed $seed" $? 0
equal "pv_guest_calls: kernels that are content" "$(grep -acE '^calls-[12]\| ok calls' "$log")" 2
equal "pv_guest_calls: the victim" "$(grep -ac '^victim| ok victim' "$log")" 1
equal "pv_guest_calls: integrity and frames" "$(grep -ac 'integrity: 3 VMs checked.*frames free as before' "$log")" 1
tr -d '\r' <"$log" | grep -a '^calls-[12]| .* done, \|^calls-[12]| [0-9]* calls' | sed 's/^/# /'
finish
