# SPDX-License-Identifier: MIT
# stress-ng in an initrd for tz.stress=SECONDS of the kernel's command line, with its results verified. Before and after, on an
# idle machine, TZ-CLOCK UPTIME lines for whoever watches the console with another clock.
seconds=$(sed -n 's/.*tz\.stress=\([0-9]*\).*/\1/p' /proc/cmdline)
clock() {
	i=0
	while [ $i -lt 25 ]; do
		read -r up rest </proc/uptime
		echo "TZ-CLOCK $1 $up"
		usleep 100000
		i=$((i + 1))
	done
}
clock begin
stress-ng --cpu 1 --vm 1 --vm-bytes 48M --fork 1 --switch 1 --mmap 1 --mmap-bytes 32M --signal 1 --fault 1 --verify --timeout "$seconds" \
	--metrics-brief --temp-path /tmp 2>&1
echo "TZ-STRESS $?"
clock end
echo TZ-DMESG-BEGIN
dmesg -r | grep '^<[0-4]>'
echo TZ-DMESG-END
