# SPDX-License-Identifier: MIT
# The stock Debian kernel as the ELF file that is packed in its bzImage, entered by its PVH note: command line and RAM disk reach it,
# it does work whose result is known, and powers off.
. "$(dirname "$0")/lib.sh"
log=$WORK/pvh.log
cmdline="console=ttyS0 do=sum" # without "quiet": the kernel tells what it was given

rm -f "$WORK/vmlinux"
"$B/unpack" guests/vmlinuz "$WORK/vmlinux"
equal "unpacked" $? 0
equal "ELF64" "$(head -c 5 "$WORK/vmlinux" | od -An -tx1 | tr -d ' ')" 7f454c4602
cat >"$WORK/pvh.cfg" <<END
name = "pvh"
kernel = "$PWD/$WORK/vmlinux"
ramdisk = "$PWD/$B/guests/initrd-work.cpio.gz"
cmdline = "$cmdline"
memory = 256
END
trapeze_boot "$log" 200 "$WORK/pvh.cfg"
equal "exit status" $? 0
equal "the kernel's command line" "$(tr -d '\r' <"$log" | sed -nE 's/^\[ *[0-9.]+\] Command line: //p')" "$cmdline"
equal "its work's result" "$(tr -d '\r' <"$log" | sed -n 's/^TZ-SUM //p')" "$("$B/guests/tz" gen 33554432 | sha256sum | cut -d' ' -f1)"
finish
