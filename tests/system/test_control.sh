#!/bin/bash
# SPDX-License-Identifier: MIT
# The verbs on a running machine: what they show of a live guest, what they do to it, a VM that comes later, bad input on the
# control socket; --gdb, standard input closed in the middle, Ctrl-C.
# Alone: commands are to be answered in time.
. "$(dirname "$0")/lib.sh"
. scripts/console.sh
T=$B/trapeze
export TRAPEZE_CONTROL=$WORK/control
rm -f "$TRAPEZE_CONTROL"
out=$WORK/out
err=$WORK/err

# Runs a verb; its output is in $out, its complaint in $err.
verb() {
	timeout -k 5 120 "$T" "$@" >"$out" 2>"$err" </dev/null
}

has() { # NAME PATTERN [FILE]
	if grep -aqE -- "$2" "${3:-$out}"; then ok "$1"; else not_ok "$1" "no '$2' in: $(head -c 400 "${3:-$out}")"; fi
}

says() { # NAME STATUS VERB...: ends so, with one line if not with 0
	local name=$1 want=$2
	shift 2
	verb "$@"
	equal "$name" $? "$want"
	[ "$want" = 0 ] || equal "$name: one line" "$(wc -l <"$err")" 1
}

eventually() { # NAME SECONDS PATTERN VERB...
	local name=$1 deadline=$((SECONDS + $2)) pattern=$3
	shift 3
	until verb "$@" && grep -aqE "$pattern" "$out"; do
		if [ $SECONDS -ge $deadline ]; then
			not_ok "$name" "no '$pattern' in: $(tail -c 300 "$out")"
			return
		fi
		sleep 0.5
	done
	ok "$name"
}

port=$((20000 + RANDOM % 20000))
a=$(vm_file a shell)
b=$(vm_file b shell "" 128)
console_start "$WORK/console" "$T" run --control "$TRAPEZE_CONTROL" --stats "$WORK/stats.json" --gdb $port --timeout 900 "$a"
if ! console_wait 'guest# ' 240; then
	not_ok "control: prompt" "see $WORK/console"
	console_end 5
	finish
fi

# ---- what is shown

says "control: list" 0 list
has "control: list shows" '^a +1 +256 +1 +(running|blocked) +[0-9.]+$'
says "control: list by number" 0 list 1
says "control: info" 0 info
has "control: info shows" '^total_memory +: 20[0-9][0-9]$'
says "control: top" 0 top -b -n 2 -d 0.5
equal "control: top, tables" "$(grep -c '^NAME  *STATE' "$out")" 2
has "control: top shows" '^a +(running|blocked) +[0-9.]+ +[0-9.]+ +262144 '
says "control: exits" 0 exits -n 5 a
has "control: exits, reasons" '^emulate +[1-9][0-9]* '
has "control: exits, addresses" '^0xffffffff[0-9a-f]+ +[0-9]+ '
entry=$("$T" call exits '{"vm":"a"}' | sed -n 's/.*"lstar": "\(0x[0-9a-f]*\)".*/\1/p')
says "control: walk" 0 walk a "$entry"
has "control: walk, guest" '^ +2 +[0-9]+ .* P .*2M$'
has "control: walk agrees" '^VPN 0xf[0-9a-f]+ -> PPN 0x[0-9a-f]+ -> MPN 0x[0-9a-f]+; the shadow agrees$'
says "control: walk, decimal" 0 walk 1 4096
has "control: walk, not mapped" '^VPN 0x1 is not mapped by the guest$'
says "control: walk, the gate" 0 walk a 0xffff808000000000
has "control: walk, the gate is told" "^the gate's slot"
says "control: walk, not canonical" 1 walk a 0x8000000000000000
says "control: walk, no address" 2 walk a fish
says "control: walk, no VM" 1 walk nobody 0
says "control: dmesg" 0 dmesg
has "control: dmesg shows" 'a: starting, 256 MiB'
verb trace -t 2 -c exit,inject,mmu
equal "control: trace for a while" $? 0
has "control: trace, exit" '^ *[0-9.]+ CPU[01] +a +exit +(emulate|interrupt|indirect) +rip=0x'
has "control: trace, inject" ' CPU[01] +a +inject +interrupt +vector='
says "control: trace, categories" 0 trace --list
has "control: trace, as before" '^exit +off '
says "control: trace, no category" 1 trace --enable fish
says "control: credit" 0 sched-credit -d a -w 512
says "control: credit of all" 0 sched-credit
has "control: credit shows" '^a +1 +512 +0$'

# ---- the console from two sides, a long paste

(
	printf 'echo from-$((40 + 2))\n'
	sleep 4
) | timeout 60 "$T" console a >"$out" 2>"$err"
has "control: console" 'from-42'
paste=$(printf '%02000d' 7)
console_type "cat >/tmp/p <<'E'"
for i in $(seq 25); do
	console_type "$i ${paste:0:76}"
done
console_type E
console_type 'md5sum </tmp/p'
sum=$(for i in $(seq 25); do echo "$i ${paste:0:76}"; done | md5sum)
if console_wait "${sum%% *}" 240; then ok "control: paste of 2000 characters"; else not_ok "control: paste of 2000 characters" "see $WORK/console"; fi

# 100 kB of a program's output: with an exit for each byte it would be 150,000 crossings.
crossings() { "$T" call exits '{"vm":"a","max":1}' | sed -n 's/.*"crossings": \([0-9]*\).*/\1/p'; }
console_type "yes ${paste:0:76} | head -c 102400 >/tmp/f; echo ma''de"
console_wait made 240
before=$(crossings)
console_type "cat /tmp/f; echo sh''own"
if console_wait shown 240; then ok "control: output of 100 kB"; else not_ok "control: output of 100 kB" "see $WORK/console"; fi
spent=$(($(crossings) - before))
if [ $spent -lt 30000 ]; then ok "control: output costs few crossings"; else not_ok "control: output costs few crossings" "$spent"; fi
equal "control: every byte of it" "$(tr -d '\r' <"$WORK/console" | grep -ac "^${paste:0:76}$")" $((102400 / 77))

# ---- what is done to a VM

says "control: pause" 0 pause a
eventually "control: paused" 10 '^a .* paused ' list
console_type 'echo awake-$((1 + 1))'
if console_wait 'awake-2' 4; then not_ok "control: paused VM is silent" "it answered"; else ok "control: paused VM is silent"; fi
says "control: unpause" 0 unpause a
if console_wait 'awake-2' 30; then ok "control: unpaused VM answers"; else not_ok "control: unpaused VM answers" "see $WORK/console"; fi
for v in pause unpause destroy shutdown exits console; do
	says "control: $v, no VM" 1 $v nobody
done

# The debugger's stub stops the machine and lets it go on.
if exec 3<>"/dev/tcp/127.0.0.1/$port"; then
	printf '+$?#3f' >&3
	reply=$(timeout 10 head -c 8 <&3)
	printf '+$D#44' >&3
	sleep 1
	exec 3>&-
	case $reply in *T[0-9]*) ok "control: gdb" ;; *) not_ok "control: gdb" "reply '$reply'" ;; esac
else
	not_ok "control: gdb" "no connection"
fi
says "control: list after gdb" 0 list

# ---- a VM that comes later

says "control: create" 0 create "$b"
has "control: create says" '^b: created, number 2 '
says "control: create again" 1 create "$b"
says "control: create, no file" 2 create nowhere
if console_wait '^b\| guest# ' 240; then ok "control: created VM's output"; else not_ok "control: created VM's output" "see $WORK/console"; fi
(
	# No driver of this kernel listens, so the program looks at the event's status itself.
	printf 'echo ready-$((1 + 1)); until grep -q STS /sys/firmware/acpi/interrupts/ff_pwr_btn; do sleep 0.2; done; poweroff -f\n'
	sleep 5
) | timeout 300 "$T" console b >"$WORK/b.console" 2>&1 &
viewer=$!
deadline=$((SECONDS + 180))
until grep -aq 'ready-2' "$WORK/b.console" || [ $SECONDS -ge $deadline ]; do sleep 0.5; done
has "control: created VM runs" 'ready-2' "$WORK/b.console"
says "control: shutdown" 0 shutdown -w b
verb list
if grep -q '^b .*running\|^b .*blocked' "$out"; then not_ok "control: power button" "$(cat "$out")"; else ok "control: power button"; fi
kill $viewer 2>/dev/null

free_bytes() { "$T" call info | sed -n 's/.*"free_bytes": \([0-9]*\).*/\1/p'; }
says "control: create after its end" 0 create -p "$b"
eventually "control: created paused" 10 '^b .* paused ' list
says "control: destroy" 0 destroy b
eventually "control: destroyed" 20 '"vms": 1' call info
before=$(free_bytes)
says "control: create once more" 0 create -p "$b"
says "control: destroy once more" 0 destroy b
eventually "control: destroyed again" 20 '"vms": 1' call info
equal "control: nothing is lost" "$(free_bytes)" "$before"

# ---- bad input

id=$("$T" call upload_begin '{"size":12}' | sed -n 's/.*"upload": \([0-9]*\).*/\1/p')
says "control: upload, no base64" 1 call upload_data "{\"upload\":$id,\"offset\":0,\"data\":\"a-b_\"}"
says "control: upload, wrong place" 1 call upload_data "{\"upload\":$id,\"offset\":3,\"data\":\"QUJD\"}"
says "control: upload, a piece" 0 call upload_data "{\"upload\":$id,\"offset\":0,\"data\":\"QUJD\"}"
says "control: create, incomplete" 1 call create "{\"upload\":$id,\"xxh64\":\"0x0\"}"
says "control: upload is gone" 1 call upload_abort "{\"upload\":$id}"
id=$("$T" call upload_begin '{"size":3}' | sed -n 's/.*"upload": \([0-9]*\).*/\1/p')
verb call upload_data "{\"upload\":$id,\"offset\":0,\"data\":\"QUJD\"}"
says "control: create, wrong hash" 1 call create "{\"upload\":$id,\"xxh64\":1}"
has "control: create, wrong hash told" 'hash differs' "$err"
id=$("$T" call upload_begin '{"size":3}' | sed -n 's/.*"upload": \([0-9]*\).*/\1/p')
verb call upload_data "{\"upload\":$id,\"offset\":0,\"data\":\"QUJD\"}"
says "control: create, no bundle" 1 call create "{\"upload\":$id,\"xxh64\":\"0xe66ae7354fcfee98\"}"
says "control: upload too large" 1 call upload_begin '{"size":99999999999999}'
equal "control: bad uploads leave nothing" "$(free_bytes)" "$before"
for p in '{"vm":"a"}' '{"vm":"a","address":-1}' '{"vm":"a","address":"0x"}' '{"vm":"a","address":[1]}' '{"vm":7,"address":1}' '[]'; do
	says "control: walk with $p" 1 call walk "$p"
done
for p in '{"set":5}' '{"max":"x"}' '{"after":-1}' '{"after":99999999999}' '{"vm":"nobody"}' "{\"set\":\"$(printf '%0300d' 0)\"}"; do
	says "control: trace with ${p:0:30}" 1 call trace "$p"
done
head -c 300000 /dev/urandom | "$B/rpc-client" "$TRAPEZE_CONTROL" >/dev/null 2>&1
says "control: list after noise" 0 list

# ---- ends

exec {console_fd}>&-
sleep 2
says "control: list after the end of input" 0 list
exec {console_fd}>/dev/null
kill -INT "$console_pid"
console_end 60
equal "control: Ctrl-C" $? 130
has "control: statistics of a run that was interrupted" '"name":"a".*"exits":\{' "$WORK/stats.json"
# The same channel over the serial port.
console_start "$WORK/com2" "$T" run --hv-arg control=com2 --timeout 400 --stats "$WORK/com2.json" "$a"
if console_wait 'guest# ' 300; then ok "control: over the serial port"; else not_ok "control: over the serial port" "see $WORK/com2"; fi
console_type 'poweroff -f'
console_end 60
equal "control: over the serial port, status" $? 0
has "control: over the serial port, final statistics" '"how":"poweroff"' "$WORK/com2.json"
if [ -e "$TRAPEZE_CONTROL" ]; then not_ok "control: socket is removed" "still there"; else ok "control: socket is removed"; fi
finish
