# SPDX-License-Identifier: MIT
# Exercises a guest with real programs. Each check prints TZ-OK name or TZ-FAIL name; the last line is
# TZ-DONE passed failed. @SHA256@ is put in by the build: the host's hash of the file that `tz gen` writes.
passed=0
failed=0

ok() { echo "TZ-OK $1"; passed=$((passed + 1)); }
fail() { echo "TZ-FAIL $1"; failed=$((failed + 1)); }
equal() { # NAME GOT WANTED
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: got $2, wanted $3"; fi
}

# A part of the `tz` program: its own TZ-OK and TZ-FAIL lines are counted, and so is its exit status.
part() {
	tz "$1" >/tmp/part 2>&1
	status=$?
	cat /tmp/part
	passed=$((passed + $(grep -c '^TZ-OK' /tmp/part)))
	failed=$((failed + $(grep -c '^TZ-FAIL' /tmp/part)))
	equal "$1 ends well" $status 0
}

cd /tmp

# Processes: busybox's /bin/true by path is a fork and an exec each.
i=0
good=0
while [ $i -lt 300 ]; do
	/bin/true && good=$((good + 1))
	i=$((i + 1))
done
equal fork-exec-300 $good 300

# Pipes with known answers.
equal pipe-sort-uniq "$(seq 1 2000 | awk '{ print $1 % 37 }' | sort -n | uniq -c | wc -l)" 37
equal pipe-sum "$(seq 1 5000 | awk '{ s += $1 } END { print s }')" 12502500
equal pipe-wc "$(seq 1 3000 | tr '\n' ' ' | wc -w | tr -d ' ')" 3000
equal pipe-status "$(false | true; echo $?)" 0
equal deep-pipe "$(echo trapeze | cat | cat | cat | cat | cat | tr a-z A-Z | rev)" EZEPART

# Sixteen megabytes through a file, against a hash computed on the host.
tz gen 16777216 >big
equal file-size "$(stat -c %s big)" 16777216
equal sha256 "$(sha256sum <big | cut -d' ' -f1)" @SHA256@
equal gzip-round-trip "$(head -c 1048576 big | gzip | gunzip | sha256sum)" "$(head -c 1048576 big | sha256sum)"
dd if=big of=copy bs=64k 2>/dev/null
cmp big copy && ok copy || fail copy
rm big copy

# Signals between shells.
sh -c 'trap "exit 7" USR1; while :; do sleep 1; done' &
child=$!
sleep 1
kill -USR1 $child
wait $child
equal signal-trap $? 7
sleep 100 &
kill -9 $!
wait $!
equal signal-kill $? 137

part mmap
part threads
part signals
part fpu
part time

# A second by the guest's own clock: the timer works and is not wildly wrong.
read -r before rest </proc/uptime
sleep 2
read -r after rest </proc/uptime
slept=$(awk -v a="$before" -v b="$after" 'BEGIN { d = b - a; print (d >= 1.9 && d < 10) ? "ok" : d }')
equal sleep-2 "$slept" ok

# Every small readable file of some kernel folders; what is asked is that the kernel answers and lives.
read_all() {
	count=0
	for file in $(find $1 -maxdepth $2 -type f -perm -400 2>/dev/null | head -n $3); do
		timeout 5 head -c 4096 "$file" >/dev/null 2>&1
		count=$((count + 1))
	done
	[ $count -gt $4 ] && ok "read $1" || fail "read $1: $count files"
}
for file in cpuinfo meminfo interrupts maps stat version filesystems modules iomem ioports mounts vmstat zoneinfo buddyinfo; do
	[ $file = maps ] && path=/proc/self/maps || path=/proc/$file
	cat $path >/dev/null || fail "read $path"
done
read_all /proc/sys/kernel 1 60 30
read_all /proc/sys/vm 1 40 20
read_all /proc/1 1 40 15
read_all /sys/devices/system 4 80 30
read_all /sys/class 2 40 -1
read_all /sys/kernel/mm 3 30 5
[ -c /dev/null ] && [ -c /dev/ttyS0 ] && ok devices || fail devices
equal proc-version "$(cut -d' ' -f1 /proc/version)" Linux

# A file system on a loop of its own: many small files.
mkdir tree
i=0
while [ $i -lt 200 ]; do
	echo $i >tree/$i
	i=$((i + 1))
done
equal small-files "$(cat tree/* | awk '{ s += $1 } END { print s }')" 19900
tar -cf t.tar tree && rm -r tree && tar -xf t.tar && equal tar "$(ls tree | wc -l | tr -d ' ')" 200
rm -r tree t.tar

echo TZ-DMESG-BEGIN
dmesg -r | grep '^<[0-4]>'
echo TZ-DMESG-END
echo "TZ-DONE $passed $failed"
