# SPDX-License-Identifier: MIT
# What one of several VMs does, by do=... on its kernel's command line (a word that the kernel does not know becomes a variable
# of the first process).
case ${do:-} in
sum) # work that can be checked; then power-off
	sum=$(tz gen 33554432 | sha256sum | cut -d' ' -f1)
	echo "TZ-SUM $sum"
	;;
count) # works for ever and says so after each piece
	echo TZ-COUNT-START
	tz count
	;;
triple) # a triple fault: the kernel empties its IDT and raises an exception (reboot=t on the command line)
	echo TZ-TRIPLE
	reboot -f
	;;
panic)
	echo TZ-PANIC
	echo c >/proc/sysrq-trigger
	;;
steal) # computes, and says every two seconds how much of them (in 1/100 s) the kernel says was stolen from it
	echo "TZ-CPU $(grep -m1 -oE '(x2apic|pcid|invpcid)( |$)' /proc/cpuinfo | sort | tr -d '\n')"
	while :; do
		read -r cpu user nice system idle wait irq soft stolen rest </proc/stat
		read -r up rest </proc/uptime
		timeout 2 sh -c 'while :; do :; done'
		read -r cpu user nice system idle wait irq soft stolen2 rest </proc/stat
		read -r up2 rest </proc/uptime
		echo "TZ-STEAL of $((${up2%.*}${up2#*.} - ${up%.*}${up#*.})) stolen $((stolen2 - stolen))"
	done
	;;
crowd) # many processes that sleep; then a few that come and go
	for i in $(seq 300); do sleep 100000 & done
	echo TZ-CROWD
	tz forks 300
	echo TZ-CROWD-END
	;;
ring) # `ring` processes that take turns
	tz ring "$ring" 20
	tz ring "$ring" 100
	;;
hang)
	echo TZ-HANG
	sleep 100000
	;;
esac
