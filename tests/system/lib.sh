# SPDX-License-Identifier: MIT
# Sourced by every tests/system/test_*.sh: reporting, VM files, boots with and without Trapeze. Runs in the top folder.
# A test reports with `ok NAME` and `not_ok NAME REASON` and ends with `finish`.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
export B=${B:-build}
. scripts/console.sh
WORK=$B/system/$(basename "$0" .sh)
mkdir -p "$WORK"
failures=0

ok() { echo "ok $1"; }

not_ok() {
	echo "not ok $1 - $2"
	failures=$((failures + 1))
}

# Reports NAME as good when GOT equals WANTED.
equal() { # NAME GOT WANTED
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got '$2', wanted '$3'"; fi
}

finish() { exit $((failures > 0)); }

# Writes $WORK/NAME.cfg and prints its path. VARIANT is an initrd's; the command line is console=ttyS0 and EXTRA. TYPE=pv: a
# paravirtual VM, console=hvc0.
vm_file() { # NAME VARIANT [EXTRA] [MEMORY] [LINES-OF-CFG]
	local console=ttyS0
	[ "${TYPE:-hvm}" != pv ] || console=hvc0
	cat >"$WORK/$1.cfg" <<END
name = "$1"
type = "${TYPE:-hvm}"
kernel = "$PWD/guests/vmlinuz"
ramdisk = "$PWD/$B/guests/initrd-$2.cpio.gz"
cmdline = "console=$console${3:+ $3}"
memory = ${4:-256}
${5:-}
END
	echo "$WORK/$1.cfg"
}

# Boots without Trapeze; the console goes to LOG.
bare_boot() { # LOG SECONDS VARIANT [TOKENS]
	timeout "$2" scripts/bare "$3" "${4:-}" </dev/null >"$1" 2>&1
}

# Boots under Trapeze; the console goes to LOG, what the host command says to LOG.err. Further arguments are options.
trapeze_boot() { # LOG SECONDS VMFILE [OPTION...]
	local log=$1 seconds=$2 vm=$3
	shift 3
	timeout -k 5 $((seconds + 20)) "$B/trapeze" run --timeout "$seconds" "$@" "$vm" </dev/null >"$log" 2>"$log.err"
}

# The kernel's messages of warning level and above that a script boot printed, with what differs between two boots of the
# same machine (time, addresses, numbers) taken out.
warnings() { # LOG
	tr -d '\r' <"$1" | sed -n '/^TZ-DMESG-BEGIN/,/^TZ-DMESG-END/p' | grep '^<[0-4]>' |
		sed -E 's/^<[0-9]+>\[ *[0-9.]+\] *//; s/0x[0-9a-fA-F]+/X/g; s/\b[0-9a-f]{8,16}\b/X/g; s/[0-9]+/N/g' | sort -u
}

# Sum of a VM's exit counts in a statistics file, without those whose name matches PATTERN (extended, whole name).
exits() { # FILE PATTERN
	tr -d ' \n' <"$1" | sed -n 's/.*"exits":{\(\("[^"]*":{[^}]*},\{0,1\}\)*\)}.*/\1/p' | sed 's/},*/}\n/g' |
		sed -nE 's/^"([^"]*)":\{.*"count":([0-9]+).*/\1 \2/p' | awk -v p="^($2)$" '$1 !~ p { s += $2 } END { print s + 0 }'
}

# The same, one reason a line: REASON COUNT.
exit_table() { # FILE
	tr -d ' \n' <"$1" | sed -n 's/.*"exits":{\(\("[^"]*":{[^}]*},\{0,1\}\)*\)}.*/\1/p' | sed 's/},*/}\n/g' |
		sed -nE 's/^"([^"]*)":\{.*"count":([0-9]+).*/\1 \2/p' | sort
}

# A test kernel of ours on the bare machine and under Trapeze ($WORK/bare.log, ours.log): both end by port 0xf4, with 3 where checks
# fail there and 1 here; the same checks run, those in $quirks fail on the bare machine alone, and there are enough of them.
both_machines() { # NAME VGA LEAST-CHECKS
	local kernel=$PWD/$B/guests/$1.elf cpu count
	cpu=$(sed -n 's/^#define TZ_CPU_MODEL "\(.*\)"$/\1/p' abi/machine.h)
	timeout 120 qemu-system-x86_64 -machine pc -accel tcg -cpu "$cpu" -m 64 -nodefaults -display none -vga "$2" -serial stdio -no-reboot \
		-device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$kernel" </dev/null >"$WORK/bare.log" 2>"$WORK/bare.err"
	equal "bare machine: exit status" $? 3
	printf 'name = "%s"\nkernel = "%s"\nmemory = 64\n' "$1" "$kernel" >"$WORK/$1.cfg"
	timeout 200 "$B/trapeze" run --timeout 180 "$WORK/$1.cfg" </dev/null >"$WORK/ours.log" 2>"$WORK/ours.err"
	equal "exit status" $? 1
	equal "bare machine: what fails are the known quirks" "$(tr -d '\r' <"$WORK/bare.log" | sed -n 's/^not ok //p')" "$quirks"
	equal "the same checks ran" "$(check_names "$WORK/ours.log" | cksum)" "$(check_names "$WORK/bare.log" | cksum)"
	count=$(check_names "$WORK/ours.log" | wc -l)
	if [ "$count" -ge "$3" ]; then ok "$count checks"; else not_ok "$count checks" "at least $3 expected"; fi
	equal "every check is good" "$(tr -d '\r' <"$WORK/ours.log" | grep -A7 '^not ok')" ""
}

check_names() { # LOG
	tr -d '\r' <"$1" | sed -nE 's/^(not )?ok //p'
}
