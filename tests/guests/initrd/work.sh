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
hang)
	echo TZ-HANG
	sleep 100000
	;;
esac
