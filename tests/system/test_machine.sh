# SPDX-License-Identifier: MIT
# The machine layer by itself: the hypervisor boots on machines of several sizes, by PVH and by multiboot 2, passes its
# self-tests (vmm/selftest.c), and reports planted faults with names, on the console and on the control channel.
# Alone: clocks are compared.
. "$(dirname "$0")/lib.sh"
CPU=qemu64,+fsgsbase,+smep,+smap,+umip
ELF=$PWD/$B/trapeze.elf

# Boots until PATTERN is on the console or QEMU has ended; console in $log, control channel in $log.control.
boot() { # NAME SECONDS PATTERN QEMU-ARGUMENTS...
	local name=$1 seconds=$2 pattern=$3 pid deadline
	shift 3
	log=$WORK/$name.log
	rm -f "$log" "$log.control"
	qemu-system-x86_64 -accel tcg -cpu $CPU -display none -no-reboot -serial "file:$log" -serial "file:$log.control" "$@" \
		</dev/null >"$log.qemu" 2>&1 &
	pid=$!
	deadline=$((SECONDS + seconds))
	while kill -0 $pid 2>/dev/null && [ $SECONDS -lt $deadline ]; do
		grep -aq "$pattern" "$log" 2>/dev/null && break
		sleep 0.1
	done
	sleep 0.1
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	grep -aq "$pattern" "$log"
}

has() { grep -aqE "$1" "$log"; }

# All self-tests that come back, and as many CPUs as the machine has.
good_machine() { # NAME CPUS QEMU-ARGUMENTS...
	local name=$1 cpus=$2
	shift 2
	if boot "$name" 40 'selftest: [0-9]* passed' "$@" && has 'selftest: [0-9]+ passed, 0 failed' && has " $cpus CPUs "; then
		ok "machine: $name"
	else
		not_ok "machine: $name" "see $log"
		grep -a 'FAILED\|error\|panic' "$log" | head -n 5 | sed 's/^/# /'
	fi
}

pvh() { # NAME CPUS MEMORY ARGUMENTS...
	local name=$1 cpus=$2 memory=$3
	shift 3
	good_machine "$name" "$cpus" -machine pc -smp "$cpus" -m "$memory" -kernel "$ELF" -append selftest=all "$@"
}

pvh 1-cpu-128M 1 128M
pvh 4-cpus-1G 4 1G
pvh 2-cpus-4G 2 4G
pvh q35-3-cpus 3 512M -machine q35
started=$SECONDS
pvh 1-cpu-64G-sparse 1 64G -machine memory-backend=r -object memory-backend-ram,id=r,size=64G,reserve=off
equal "machine: 64G starts within 15 s" "$((SECONDS - started <= 15))" 1
pvh plain-qemu64 2 256M -cpu qemu64
echo module >"$WORK/module"
pvh module 2 256M -initrd "$WORK/module"
if has 'module 0: 1 KiB at'; then ok "machine: module is seen"; else not_ok "machine: module is seen" "see $log"; fi

# Ends in a report that says REASON, names FUNCTION in its back-trace, and goes to the control channel too.
dies() { # NAME REASON FUNCTION
	boot "$1" 30 'report ends' -machine pc -smp 2 -m 256M -kernel "$ELF" -append "selftest=$1"
	if has "^trapeze: panic: .*$2" && has "^ +[0-9a-f]{16} $3\+0x" && has 'cr3 ' &&
		grep -aqE '^\{"jsonrpc":"2.0","method":"panic","params":\{"text":"trapeze: panic: [^"]*"\}\}$' "$log.control"; then
		ok "machine: $1 is reported"
	else
		not_ok "machine: $1 is reported" "see $log"
	fi
}

dies panic 'assertion failed: ' fail_assert
if has '^ +[0-9]+ test 42: feed 2 3 4'; then ok "machine: report shows the trace"; else not_ok "machine: report shows the trace" "see $log"; fi
dies wx '#PF in ring 0, error 0x3' fail_write_text
dies wx-alias '#PF in ring 0, error 0x3' fail_write_text_alias
dies ro '#PF in ring 0, error 0x3' fail_write_constant
dies nx '#PF in ring 0, error 0x11' selftest_run
dies stack '#DF in ring 0' recurse
dies other-cpu 'planted on CPU 1' panic_there
dies nested 'planted' fail_nested
equal "machine: a panic within a panic is told once" "$(grep -ac 'again, while reporting' "$log")" 1

# Segments and instructions of the image; that the check can fail is shown with a program of this machine's own.
if scripts/check-elf "$ELF"; then ok "machine: image"; else not_ok "machine: image" "scripts/check-elf"; fi
if scripts/check-elf /bin/true 2>/dev/null; then not_ok "machine: image check can fail" "it took /bin/true"; else ok "machine: image check can fail"; fi

command -v grub-mkrescue >/dev/null && command -v xorriso >/dev/null && command -v mformat >/dev/null || scripts/setup iso >"$WORK/setup.log" 2>&1
if scripts/make-iso "$ELF" "$WORK/trapeze.iso" selftest=all "$WORK/module"; then
	good_machine multiboot2-bios 2 -machine pc -smp 2 -m 256M -cdrom "$WORK/trapeze.iso"
	good_machine multiboot2-uefi 2 -machine q35 -smp 2 -m 512M -bios /usr/share/ovmf/OVMF.fd -cdrom "$WORK/trapeze.iso"
else
	not_ok "machine: multiboot 2" "no image"
fi
finish
