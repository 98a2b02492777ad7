# SPDX-License-Identifier: MIT
# The full Debian kernel with modules out of its package: loads them by name as a distribution's initrd would, uses them, unloads
# what can be unloaded, and goes on with the script of programs. Each check prints TZ-OK name or TZ-FAIL name.
modules_passed=0
modules_failed=0

ok() { echo "TZ-OK $1"; modules_passed=$((modules_passed + 1)); }
fail() { echo "TZ-FAIL $1"; modules_failed=$((modules_failed + 1)); }
check() { # NAME COMMAND...
	local name=$1
	shift
	if "$@"; then ok "$name"; else fail "$name"; fi
}
quiet() { "$@" >/dev/null; }
same() { [ "$(sha256sum <"$1")" = "$(sha256sum <"$2")" ]; }

check "depmod" depmod -a
if [ "${do:-}" = panic ]; then # told by a driver that the distribution has as a module
	modprobe pvpanic-mmio
	echo TZ-PANIC
	echo c >/proc/sysrq-trigger
fi
for module in loop ext4 overlay squashfs isofs dm-mod dm-crypt dummy raid456 virtio_pci virtio_blk virtio_net virtio_balloon \
	sha1-ssse3 sha256-ssse3 sha512-ssse3 crc32c-intel crct10dif_generic poly1305-x86_64 chacha-x86_64 twofish-x86_64-3way \
	serpent-sse2-x86_64 camellia-x86_64 blowfish-x86_64 des3_ede-x86_64 xts cbc ecb ctr cmac gcm ccm lz4 zstd; do
	check "modprobe $module" modprobe "$module"
done
check "modules are listed" [ "$(wc -l </proc/modules)" -gt 20 ]

# The kernel tests each algorithm when it is registered; those of SSE run in kernel mode with the FPU taken from user mode.
check "crypto: self-tests passed" [ "$(grep -c '^selftest *: passed' /proc/crypto)" -gt 20 ]
check "crypto: no self-test failed" [ "$(grep -c '^selftest *: \(unknown\|failed\)' /proc/crypto)" -eq 0 ]

mkdir /mnt /overlay
mv /disk.ext4 /tmp/disk
check "ext4 on a loop device" mount -t ext4 -o loop /tmp/disk /mnt
tz gen 4194304 >/tmp/data
cp /tmp/data /mnt/data
mkdir /mnt/many
i=0
while [ $i -lt 100 ]; do
	echo $i >/mnt/many/$i
	i=$((i + 1))
done
check "unmount" umount /mnt
check "mount again" mount -t ext4 -o loop,ro /tmp/disk /mnt
check "the file is the same" same /tmp/data /mnt/data
check "the small files too" [ "$(cat /mnt/many/* | awk '{ s += $1 } END { print s }')" = 4950 ]
mkdir /tmp/upper /tmp/work
check "overlay" mount -t overlay -o lowerdir=/mnt,upperdir=/tmp/upper,workdir=/tmp/work overlay /overlay
echo changed >/overlay/many/7
check "overlay: copied up" [ "$(cat /overlay/many/7 /mnt/many/7 | tr '\n' ' ')" = "changed 7 " ]
umount /overlay
umount /mnt
check "dummy network device" ifconfig dummy0 192.0.2.1 up
ifconfig lo 127.0.0.1 up
check "ping it" quiet ping -c 2 -W 2 192.0.2.1
ifconfig dummy0 down
for module in dummy overlay squashfs isofs serpent-sse2-x86_64 twofish-x86_64-3way dm-crypt raid456; do
	check "rmmod $module" rmmod "$module"
done
check "modprobe overlay again" modprobe overlay
rm -r /tmp/disk /tmp/data /tmp/upper /tmp/work
echo "TZ-MODULES $modules_passed $modules_failed"
sh /tests.sh
