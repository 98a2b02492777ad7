#!/bin/sh
# SPDX-License-Identifier: MIT
# The host command from outside: VM files, usage, exit statuses, consoles, statistics, control socket; with a stand-in for
# QEMU (fake_qemu.c) and with sanitizers. Prints "ok NAME" or "not ok NAME"; exits non-zero if anything failed.
# Usage: test_command.sh BUILD-FOLDER
# Alone: time-outs are tried.
set -u
B=$(cd "${1:-build}" && pwd) || exit 2
HERE=$(cd "$(dirname "$0")" && pwd)
W=$(mktemp -d) || exit 2
trap 'rm -rf "$W"' EXIT
cd "$W" && mkdir tmp || exit 2
: >failures
T=$B/trapeze-san
TRAPEZE_ELF=$W/fake.elf TRAPEZE_QEMU=$B/fake-qemu TMPDIR=$W/tmp
export TRAPEZE_ELF TRAPEZE_QEMU TMPDIR
unset TRAPEZE_CONTROL FAKE_QEMU
touch fake.elf

ok() { echo "ok $1"; }
not_ok() {
	echo "not ok $1: $2"
	echo "$1" >>failures # a variable would be lost in a pipeline
}
await() { # COMMAND...: until it succeeds, for 10 seconds at most
	n=0
	until "$@" || [ $n -ge 100 ]; do
		sleep 0.1
		n=$((n + 1))
	done
}
# same NAME EXPECTED ACTUAL
same() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected '$2', got '$3'"; fi; }
# has NAME PATTERN FILE: a line matches
has() { if grep -aqE -- "$2" "$3"; then ok "$1"; else not_ok "$1" "no '$2' in: $(head -c 600 "$3")"; fi; }
# status NAME EXPECTED COMMAND...: output in out and err
status() {
	name=$1 want=$2
	shift 2
	"$@" >out 2>err </dev/null
	same "$name" "$want" $?
}

# ---- kernels to refuse or to take: vmfiles/make-files ----

. "$HERE/vmfiles/make-files"

# ---- VM files that are wrong: one line that names file, line and key ----

# bad NAME LINE KEY WHAT, the file on stdin
bad() {
	cat >bad.xl
	"$T" run bad.xl >out 2>err </dev/null
	st=$?
	lines=$(grep -avc ': warning: ' err)
	if [ $st -ne 2 ]; then
		not_ok "vmfile/$1" "status $st: $(cat err)"
	elif [ "$lines" -ne 1 ]; then
		not_ok "vmfile/$1" "$lines lines: $(cat err)"
	elif ! grep -aqE "^trapeze: bad\.xl:$2: $3: .*$4" err; then
		not_ok "vmfile/$1" "$(cat err)"
	else
		ok "vmfile/$1"
	fi
}
. "$HERE/vmfiles/bad-files"

status vmfile/missing 2 "$T" run nowhere.xl
has vmfile/missing-says 'nowhere\.xl: No such file' err
status vmfile/folder 2 "$T" run folder
status vmfile/fifo 2 "$T" run fifo
status vmfile/binary 2 "$T" run initrd

# ---- VM files that are right ----

mkdir sub && cp vmlinuz initrd sub/ && cp "$HERE/vmfiles/full.xl" sub/
printf '# no newline' >>sub/full.xl
# config NAME FILE EXPECTED: what the hypervisor reads out of the bundle
config() {
	FAKE_QEMU=config "$T" run "$2" >out 2>err </dev/null
	same "good/$1-status" 0 $?
	same "good/$1" "$3" "$(cat out)"
}
config full sub/full.xl \
	'full hvm 33554432 67108864 512 50 [root=/dev/vda console=ttyS0 quiet "a"] files/0 files/1 2 0 1 2000 16777216 [web]'
has good/warns-with-line '^trapeze: sub/full\.xl:19: disk: warning: ' err
has good/warns-scalar '^trapeze: sub/full\.xl:21: acpi: warning: ' err
same good/two-warnings 2 "$(wc -l <err)"
printf '%s\n' "$base" >a.xl
config defaults a.xl 'a hvm 268435456 268435456 256 0 [] files/0  0 1 0 1000 0 []'
printf '%s\ncmdline = "x"\nextra = "y"\ntz_share = 1\n' "$base" >c.xl
config cmdline-wins c.xl 'a hvm 268435456 268435456 256 0 [x] files/0  0 1 0 1000 0 [1]'
printf '%s\nextra = "a"\nextra += " b"\ntz_share = 0\n' "$base" >plus.xl
printf '%s\nmaxmem = 4096\n' "$base" >huge.xl
config maxmem-above-machine huge.xl 'a hvm 268435456 4294967296 256 0 [] files/0  0 1 0 1000 0 []'
has good/maxmem-warns '^trapeze: huge\.xl:3: maxmem: warning: 4096 MiB are more than the machine.s 2048 MiB' err
config plus-adds plus.xl 'a hvm 268435456 268435456 256 0 [a b] files/0  0 1 0 1000 0 []'

# ---- usage ----

status usage/none 2 "$T"
status usage/unknown-verb 2 "$T" frobnicate
status usage/help 0 "$T" --help
status usage/version 0 "$T" --version
has usage/version-says '^trapeze [0-9]' out
status usage/run-none 2 "$T" run
status usage/run-help 0 "$T" run --help
has usage/run-help-says '--icount' out
status usage/run-version 0 "$T" run --version
status usage/unknown-option 2 "$T" run --frobnicate a.xl
status usage/missing-argument 2 "$T" run a.xl --timeout
for o in --cpus=0 --cpus=x --memory=lots --memory=1 --memory=99999999G --timeout=0 --timeout=-1 --timeout=x --timeout=nan \
	--gdb=0 --gdb=99999; do
	status "usage/bad$o" 2 "$T" run $o a.xl
done
status usage/stats-unwritable 2 "$T" run --stats folder a.xl
status usage/control-no-socket 2 "$T" run --control a.xl a.xl
for m in 260M 128M; do
	status usage/memory-$m 2 "$T" run --memory $m a.xl
	has usage/memory-$m-says '^trapeze: a\.xl:[0-9]+: memory: 256 MiB ' err
done
status usage/memory-fits 0 "$T" run --memory 320M a.xl
sed 's/"a"/"b"/' a.xl >two.xl
status usage/memory-of-two 2 "$T" run --memory 400M a.xl two.xl
has usage/memory-of-two-says '^trapeze: two\.xl:[0-9]+: memory: .*the VMs before it need' err
status usage/same-name 2 "$T" run a.xl a.xl
for v in list info stats top console destroy shutdown pause unpause sched-credit exits trace walk dmesg call; do
	status "usage/$v-help" 0 "$T" $v --help
	has "usage/$v-help-says" "^Usage: trapeze $v" out
	status "usage/$v-option" 2 "$T" $v --frobnicate
done
status usage/destroy-no-vm 2 "$T" destroy --control s
status usage/list-no-socket 2 "$T" list
status usage/list-two 2 "$T" list --control s a b
status usage/list-nowhere 1 "$T" list --control nowhere
same usage/list-nowhere-one-line 1 "$(wc -l <err)"
status usage/walk-one 2 "$T" walk --control s a
for a in 5x 0x -1 '' 0x10000000000000000 18446744073709551616; do
	status "usage/walk-address-$a" 2 "$T" walk --control s a -- "$a"
	same "usage/walk-address-$a-one-line" 1 "$(wc -l <err)"
done
for o in -n=0 -nx -d=0 -dx; do
	status "usage/top$o" 2 "$T" top --control s $o
done
status usage/credit-weight-0 2 "$T" sched-credit --control s -d a -w 0
status usage/credit-no-vm 2 "$T" sched-credit --control s -w 5
status usage/shutdown-nothing 2 "$T" shutdown --control s
status usage/shutdown-both 2 "$T" shutdown --control s -a a
status usage/trace-time 2 "$T" trace --control s -t x
status usage/exits-no-symbols 2 "$T" exits --control s -s nowhere a

# ---- how runs end ----

# ends NAME SCENE STATUS
ends() {
	rm -f last.json
	FAKE_QEMU=$2 "$T" run --stats last.json a.xl >out 2>err </dev/null
	same "ends/$1" "$3" $?
}
ends poweroff poweroff 0
has ends/poweroff-stats '"vms":\[\{"name":"a".*"page_fault":\{"count":3,"ns":4000\}' last.json
ends reset guest_reset 0
ends without-final unfinished 0
ends restarted restart 0
ends crash-restarted crash_restart 10
ends vm-never-ran no_vm 12
ends created created 10
has ends/created-console '^b\| here' out
has ends/created-outlives '^b\| again' out
has ends/created-crash 'VM b crashed: triple fault' err
ends many-last-crashed 'many 100' 10
has ends/many-says '^trapeze: VM vm100 crashed: triple fault' err
same ends/many-lines 200 "$(grep -cE '^vm([0-9]+)\| (this is vm\1|and no newline)$' out)"
has ends/many-last-line '^vm100\| and no newline$' out
ends many-early-crashed 'many 3' 10
ends many 'many 0' 0
ends crash crash 10
has ends/crash-says 'VM a crashed: triple fault at 0xdead' err
has ends/crash-stats '"vms":' last.json
ends value-0 'value 0' 1
ends value-16 'value 16' 33
ends value-255 'value 255' 255
ends panic panic 12
has ends/panic-report 'assertion failed: 1 == 2' err
has ends/panic-back-trace 'back-trace' err
has ends/panic-stats '"version":1' last.json
ends panic-note panic_note 12
has ends/panic-note-says 'out of marbles' err
ends machine-reset reset 12
has ends/machine-reset-log 'hello from the log' err
ends machine-silent silent 12
ends qemu-fails fail 14
has ends/qemu-fails-says 'could not set up the machine' err
has ends/qemu-fails-stats '"version":1.*"name":"a".*"state":"unknown"' last.json
echo stale >last.json
TRAPEZE_QEMU=$W/nowhere "$T" run --stats last.json a.xl >out 2>err </dev/null
same ends/qemu-missing 14 $?
has ends/qemu-missing-stats '"version":1.*"name":"a".*"state":"unknown"' last.json
TRAPEZE_QEMU='' PATH=$W/folder "$T" run a.xl >out 2>err </dev/null
same ends/no-qemu 14 $?
has ends/no-qemu-says 'qemu-system-x86_64: No such file' err
TRAPEZE_ELF=$W/nowhere "$T" run a.xl >out 2>err </dev/null
same ends/no-elf 14 $?
FAKE_QEMU=serve "$T" run --timeout 0.5 --stats last.json a.xl >out 2>err </dev/null
same ends/timeout 124 $?
has ends/timeout-stats '"page_fault"' last.json
FAKE_QEMU=deaf "$T" run --timeout 0.3 --stats last.json a.xl >out 2>err </dev/null
same ends/timeout-deaf 124 $?
has ends/timeout-deaf-stats '"version":1.*"vms":\[\{"name":"a"' last.json
FAKE_QEMU=mute "$T" run --timeout 0.3 a.xl >out 2>err </dev/null
same ends/timeout-mute 124 $?
# A background job of a shell ignores SIGINT; `timeout` sends it to a child in the foreground.
for s in INT:130 TERM:143; do
	FAKE_QEMU=serve timeout --preserve-status --foreground -s "${s%:*}" 2 "$T" run --stats last.json a.xl >out 2>err </dev/null
	same "ends/signal-${s%:*}" "${s#*:}" $?
done
has ends/signal-stats '"page_fault"' last.json
same ends/no-folder-left '' "$(ls tmp)"

# ---- what QEMU is given ----

FAKE_QEMU_ARGS=$W/args "$T" run --cpus 3 --memory 512M --icount --gdb 1234 --machine-arg -name --machine-arg 'x y' \
	--hv-arg one --hv-arg two a.xl >out 2>err </dev/null
has args/cpus '^3$' args
has args/memory '^524288K$' args
has args/icount '^shift=' args
has args/gdb '^tcp::1234$' args
has args/machine-arg '^x y$' args
has args/append '^one two$' args
has args/cpu-model '^qemu64,.*fsgsbase' args
FAKE_QEMU_ARGS=$W/args "$T" run a.xl >out 2>err </dev/null
same args/defaults '2 2097152K' "$(grep -A1 -x -- -smp args | tail -n 1) $(grep -A1 -x -- -m args | tail -n 1)"
FAKE_QEMU=poweroff "$T" run -v a.xl >out 2>err </dev/null
has log/shown-with-v 'hello from the log' err
FAKE_QEMU=poweroff "$T" run a.xl >out 2>err </dev/null
same log/hidden-without '' "$(cat err)"

# ---- consoles ----

i=0
while [ $i -lt 256 ]; do
	byte $i
	i=$((i + 1))
done >all
FAKE_QEMU=bytes "$T" run a.xl >out 2>err </dev/null
if cmp -s out all; then ok console/every-byte-out; else not_ok console/every-byte-out "$(od -c out | head -3)"; fi
# The stand-in echoes, seven bytes at a time, and stops at '!', which is byte 33.
{
	tail -c +35 all
	head -c 33 all
	head -c 20000 /dev/zero | tr '\0' z
	printf '!'
} >in
FAKE_QEMU=serve timeout 60 "$T" run a.xl <in >out 2>err
same console/echo-status 0 $?
if cmp -s in out; then ok console/every-byte-in; else not_ok console/every-byte-in "$(wc -c <in) in, $(wc -c <out) out"; fi
FAKE_QEMU=serve "$T" run --timeout 0.5 a.xl <&- >out 2>err
same console/no-stdin 124 $?
if command -v script >/dev/null; then
	(
		sleep 1.5
		printf 'hi'
		for c in help list quit; do
			sleep 0.5
			printf '\035%s\r' $c
		done
		sleep 1.5
	) | FAKE_QEMU=serve script -qec "stty -a >before; \"$T\" run a.xl; echo status=\$?; stty -a >after" /dev/null >out 2>&1
	has prompt/echo 'hi' out
	has prompt/help "this list" out
	has prompt/list '\* a ' out
	has prompt/quit 'status=130' out
	# Input goes to b, which has ended when more comes; c, which came then, does not get it.
	: >heir.out
	(
		await grep -aq 'b. here' heir.out
		printf '\035switch b\r1'
		await grep -aq 'b gets 1' heir.out
		sleep 1
		printf '2'
		await grep -aq 'b gets 2' heir.out
		printf '\035quit\r'
		sleep 1
	) | FAKE_QEMU=heir script -qec "'$T' run a.xl" /dev/null >heir.out 2>&1
	has prompt/input-for-one '^a. b gets 1' heir.out
	has prompt/input-for-one-that-ended '^a. b gets 2' heir.out
	if cmp -s before after; then ok prompt/terminal-restored; else not_ok prompt/terminal-restored "$(diff before after)"; fi
fi

# ---- output that nobody reads ----

# floods NAME EXPECTED TEXT: the status of this shell command within 20 seconds; what takes longer is killed
floods() {
	FAKE_QEMU='flood 0' timeout -s KILL 20 sh -c "$3" </dev/null
	same "unread/$1" "$2" $?
}
lines() { seq -f "line %07.0f $(printf %050d 0)" 0 $(($1 - 1)); }
mkfifo unread
exec 9<>unread
export T
floods timeout 124 'exec "$T" run --timeout 1 --stats last.json a.xl >unread 2>err'
has unread/timeout-stats '"page_fault"' last.json
has unread/timeout-says '^trapeze: time-out$' err
has unread/says '^trapeze: standard output was not read: [0-9]+ bytes of console output lost$' err
same unread/says-once 1 "$(grep -c 'not read' err)"
floods both-timeout 124 'exec "$T" run -v --timeout 1 a.xl >unread 2>&1'
floods log-timeout 124 'exec "$T" run -v --timeout 1 a.xl 2>unread >out'
same unread/log-out 0 "$(grep -cavE '^line [0-9]{7} 0{50}$' out)"
floods signal 143 '"$T" run a.xl >unread 2>err & sleep 1; kill $!; wait $!'
floods signal-at-once 143 '"$T" run a.xl >unread 2>err & sleep 1; kill $!; sleep 1; kill $!; wait $!'
FAKE_QEMU='flood 0' timeout -s KILL 40 "$T" run --control sock a.xl >unread 2>err </dev/null &
pid=$!
await test -S sock
sleep 1
timeout 10 "$B/rpc-client" sock >out 2>rpc.err <<'END'
{"jsonrpc":"2.0","id":"my id","method":"info"}
END
has unread/control-answers '^\{"jsonrpc":"2.0","id":"my id","result":\{"version":"fake"' out
status unread/control-destroy 0 timeout 10 "$T" destroy --control sock a
wait $pid
same unread/control-status 0 $?
exec 9<&-

# kept NAME LINES READER...: READER gets every byte of so many lines
kept() {
	name=$1 n=$2
	shift 2
	FAKE_QEMU="flood $n" "$T" run a.xl 2>err </dev/null | "$@" >out
	lines "$n" | cmp - out >diff 2>&1
	same "$name" '' "$(cat diff err)"
}
kept unread/read-at-last 15000 sh -c 'sleep 1; cat'
kept unread/reader-keeps-up 60000 cat
kept unread/reader-in-pieces 15000 sh -c 'sleep 1; dd bs=777 2>/dev/null'
FAKE_QEMU='flood 60000' "$T" run a.xl 2>err </dev/null >out
lines 60000 | cmp - out >diff 2>&1
same unread/file '' "$(cat diff err)"
# Of too much the oldest whole lines go: what comes is in order, and the end is there.
lost=$(FAKE_QEMU='flood 60000' sh -c "{ '$T' run a.xl; echo \$? >st; } 2>err" </dev/null | { sleep 2; cat >out; }; sed -n 's/.*not read: \([0-9]*\) bytes.*/\1/p' err)
same unread/too-much-status 0 "$(cat st)"
same unread/too-much-counted $((60000 * 64)) $(($(wc -c <out) + lost))
same unread/too-much-whole-lines 0 "$(grep -cavE '^line [0-9]{7} 0{50}$' out)"
if sort -c out 2>diff; then ok unread/too-much-in-order; else not_ok unread/too-much-in-order "$(cat diff)"; fi
same unread/too-much-end 'line 0059999' "$(tail -n 1 out | cut -c 1-12)"
if [ "$(wc -c <out)" -gt 900000 ]; then ok unread/too-much-kept; else not_ok unread/too-much-kept "$(wc -c <out) bytes"; fi
FAKE_QEMU='flood 0' timeout -k 1 20 "$T" run --timeout 2 a.xl 2>err </dev/null | head -n 1 >out
same unread/reader-leaves '' "$(grep 'not read' err)"
if command -v script >/dev/null; then
	# A terminal that takes nothing.
	rm -f st
	FAKE_QEMU='flood 0' script -qec "'$T' run --timeout 2 a.xl; echo \$? >st" /dev/null </dev/null >out 2>&1 &
	pid=$!
	sleep 1
	kill -STOP $pid
	n=0
	while [ ! -s st ] && [ $n -lt 100 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	same unread/terminal 124 "$(cat st 2>&1)"
	kill -CONT $pid
	[ -s st ] || kill -9 $pid
	wait $pid 2>/dev/null
fi

# ---- control socket and the other verbs ----

FAKE_QEMU=serve "$T" run --control sock --timeout 60 a.xl >run.out 2>run.err </dev/null &
pid=$!
await test -S sock
TRAPEZE_CONTROL=$W/sock
export TRAPEZE_CONTROL
status control/list 0 "$T" list
has control/list-shows '^a +1 +256 +1 +running +1\.5' out
status control/list-unknown 1 "$T" list nobody
status control/info 0 "$T" info
has control/info-shows '^version +: fake$' out
status control/dmesg 0 "$T" dmesg
same control/dmesg-shows 'line one line two' "$(tr '\n' ' ' <out | sed 's/ $//')"
status control/stats 0 "$T" stats
has control/stats-shows '"page_fault": \{' out
status control/call 0 "$T" call list
status control/call-bad-json 2 "$T" call list '{'
status control/call-unknown 1 "$T" call frobnicate
has control/call-unknown-says 'method not found' err
status control/destroy-unknown 1 "$T" destroy nobody
for v in pause unpause shutdown exits; do
	status "control/$v" 0 "$T" $v a
	status "control/$v-by-number" 0 "$T" $v 1
	status "control/$v-unknown" 1 "$T" $v nobody
	same "control/$v-unknown-one-line" 1 "$(wc -l <err)"
done
status control/list-by-number 0 "$T" list 1
has control/list-by-number-shows '^a +1 ' out
status control/credit 0 "$T" sched-credit
has control/credit-shows '^a +1 +256 +0$' out
status control/credit-set 0 "$T" sched-credit -d a -w 512
status control/credit-unknown 1 "$T" sched-credit -d nobody
status control/walk 0 "$T" walk a 0x401000
has control/walk-guest '^ +2 +2 +0x3 +0x103 +0x80000000004000e7 +P W U A D NX 2M$' out
has control/walk-says '^VPN 0x401 -> PPN 0x401 -> MPN 0x501; the shadow agrees$' out
status control/walk-decimal 0 "$T" walk a 4198400
status control/walk-unknown 1 "$T" walk nobody 5
status control/trace 0 "$T" trace
has control/trace-exit '0\.004000 CPU1 +a +exit .*rip=0x1000 cr2=0 error=0 ns=77$' out
has control/trace-inject 'CPU0 +a +inject +interrupt +vector=236 rip=0xffff$' out
status control/trace-raw 0 "$T" trace --raw
has control/trace-raw-shows '^8 1000000 0 1 14 2 236 65535 0 0$' out
status control/trace-list 0 "$T" trace --list
has control/trace-list-shows '^exit +on ' out
status control/trace-set 0 "$T" trace --set mmu
printf '%s\n' 'ffffffff81000080 T entry_SYSCALL_64' 'ffffffff81000100 T work' 'ffffffff81000200 d data' >map
status control/exits-symbols 0 "$T" exits -s map a
has control/exits-symbols-slide '^0xffffffff91000123 +3 +emulate +wrmsr +work\+0x23$' out
has control/exits-reasons '^emulate +4 +100\.0 +0\.0 +2\.0$' out
status control/top 0 "$T" top -b -n 2 -d 0.1
same control/top-tables 2 "$(grep -c '^a  *running' out)"
has control/top-head '^NAME +STATE +CPU\(sec\) +CPU\(%\) +MEM\(k\)' out
status control/in-use 2 "$T" run --control sock a.xl
"$B/rpc-client" sock >out 2>err <<'END'
{"jsonrpc":"2.0","id":"my id","method":"info"}
{"jsonrpc":"2.0","id":7,"method":"nothing","params":{}}
{"jsonrpc":"2.0","id":1
[]
[{"jsonrpc":"2.0","id":10,"method":"info"},{"jsonrpc":"2.0","method":"info"},5]
{"jsonrpc":"1.0","id":2,"method":"info"}
{"jsonrpc":"2.0","id":3,"method":"subscribe","params":{"events":["console"]}}
{"jsonrpc":"2.0","id":4,"method":"console_input","params":{"vm":"a","data":"\u0007x\u00ff"}}
END
has control/ids-kept '^\{"jsonrpc":"2.0","id":"my id","result":\{"version":"fake"' out
has control/no-method '"id":7,"error":\{"code":-32601' out
has control/parse-error '"id":null,"error":\{"code":-32700' out
has control/empty-batch '^\{"jsonrpc":"2.0","id":null,"error":\{"code":-32600' out
has control/batch '^\[\{.*\},\{.*\}\]$' out
has control/version-1 '"id":2,"error":\{"code":-32600' out
has control/subscribed '"id":3,"result":true' out
has control/notified '"method":"console","params":\{"vm":"a","data":"\\u0007x\\u00ff"\}' out
status control/console-unknown 1 "$T" console nobody
(
	printf 'typed %0300d' 0
	sleep 1
) | timeout 2 "$T" console a >out 2>err # it stays when its input ends
same control/console "typed $(printf %0300d 0)" "$(cat out)"
# Names that nobody can have, clients by the dozen, one that says nothing.
status control/long-name 1 "$T" destroy "$(printf %05000d 0)"
same control/long-name-one-line 1 "$(wc -l <err)"
status control/longer-than-a-line 1 "$T" destroy "$(printf %070000d 0)"
same control/longer-than-a-line-one-line 1 "$(wc -l <err)"
i=0
while [ $i -lt 20 ]; do
	"$T" list >many.$i 2>&1 &
	many="${many:-} $!"
	i=$((i + 1))
done
"$B/rpc-client" sock </dev/null >/dev/null 2>&1
failed=0
for p in $many; do wait "$p" || failed=$((failed + 1)); done
same control/clients-at-once 0 "$failed"
same control/clients-at-once-answers 20 "$(cat many.* | grep -c '^a  *1 ')"
status control/destroy 0 "$T" destroy a
wait $pid
same control/destroyed-status 0 $?
if [ -e sock ]; then not_ok control/socket-removed "still there"; else ok control/socket-removed; fi
status control/gone 1 "$T" list

# ---- a machine that does not answer, one that was killed

# Starts one that hears and says nothing once it is asked for statistics.
FAKE_QEMU=deaf "$T" run --control sock --timeout 60 a.xl >run.out 2>run.err </dev/null &
pid=$!
n=0
while ! "$T" list >/dev/null 2>&1 && [ $n -lt 100 ]; do
	sleep 0.1
	n=$((n + 1))
done
TRAPEZE_REPLY_SECONDS=1
export TRAPEZE_REPLY_SECONDS
status control/deaf 1 "$T" stats
has control/deaf-says '^trapeze: no reply from the machine for 1 s$' err
status control/deaf-list 1 "$T" list
same control/deaf-list-one-line 1 "$(wc -l <err)"
status control/deaf-create 1 "$T" create a.xl
same control/deaf-create-one-line 1 "$(wc -l <err)"
read -r child </proc/$pid/task/$pid/children
same killed/folder-is-gone-already '' "$(ls tmp)"
kill -9 $pid
wait $pid 2>/dev/null
n=0
while kill -0 "$child" 2>/dev/null && [ $n -lt 50 ]; do
	sleep 0.1
	n=$((n + 1))
done
if [ -n "$child" ] && ! kill -0 "$child" 2>/dev/null; then ok killed/no-qemu-left; else not_ok killed/no-qemu-left "process '$child'"; fi
status killed/list 1 "$T" list
has killed/list-says '^trapeze: .*/sock: Connection refused$' err
FAKE_QEMU=poweroff "$T" run --control sock a.xl >out 2>err </dev/null
same killed/socket-is-used-again 0 $?

echo "$(wc -l <failures) failed"
[ ! -s failures ]
