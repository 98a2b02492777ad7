# SPDX-License-Identifier: MIT
# What runs inside guests: fetched kernel and busybox, compiled test programs, initrds.
GUESTS = $(B)/guests
GUEST_CFLAGS = $(STD) -O2 -static -Wall -Wextra -fno-stack-protector -mno-red-zone -pthread
TZ_SRC = $(sort $(wildcard tests/guests/initrd/tz*.c))
INITRD = tests/guests/initrd
SELFTESTS_SRC = guests/linux/tools/testing/selftests/x86
INITRD_VARIANTS = shell script bench full selftests work

.PHONY: guests
guests: guests/vmlinuz guests/memtest/x64.bin $(INITRD_VARIANTS:%=$(GUESTS)/initrd-%.cpio.gz)

guests/vmlinuz guests/busybox guests/full/vmlinuz guests/memtest/x64.bin $(SELFTESTS_SRC)/Makefile: | $(SETUP_STAMP)
	@test -e $@ || scripts/fetch-guests
guests/xen: | build/stamps/setup-bench
	@test -e $@ || scripts/fetch-guests xen

$(GUESTS)/tz: $(TZ_SRC) $(INITRD)/tz.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) $(TZ_SRC) -o $@.new
	strip $@.new && mv $@.new $@

BENCH_SRC = bench/guest/bench.c bench/guest/lz.c bench/guest/sha256.c
$(GUESTS)/bench: $(BENCH_SRC) bench/guest/lz.h bench/guest/sha256.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) $(BENCH_SRC) -o $@.new
	strip $@.new && mv $@.new $@

# The smallest program there is: what fork+exec of it costs is the kernel's work alone.
$(GUESTS)/tiny: bench/guest/tiny.c
	@mkdir -p $(@D)
	$(CC) $(STD) -O2 -Wall -static -nostdlib -ffreestanding -fno-stack-protector -Wl,--build-id=none $< -o $@.new
	strip $@.new && mv $@.new $@

# The hash that the guest must find, computed by another program on the host.
$(GUESTS)/tests.sh: $(INITRD)/tests.sh $(GUESTS)/tz
	sed "s/@SHA256@/$$($(GUESTS)/tz gen 16777216 | sha256sum | cut -d' ' -f1)/" $< > $@

INITRD_COMMON = $(INITRD)/build $(INITRD)/init guests/busybox $(GUESTS)/tz
$(GUESTS)/initrd-shell.cpio.gz: $(INITRD_COMMON)
	$(INITRD)/build shell $@ bin/tz=$(GUESTS)/tz
$(GUESTS)/initrd-script.cpio.gz: $(INITRD_COMMON) $(GUESTS)/tests.sh
	$(INITRD)/build script $@ bin/tz=$(GUESTS)/tz tests.sh=$(GUESTS)/tests.sh
$(GUESTS)/initrd-work.cpio.gz: $(INITRD_COMMON) $(INITRD)/work.sh
	$(INITRD)/build work $@ bin/tz=$(GUESTS)/tz work.sh=$(INITRD)/work.sh
$(GUESTS)/initrd-bench.cpio.gz: $(INITRD_COMMON) $(GUESTS)/bench $(GUESTS)/tiny
	$(INITRD)/build bench $@ bin/tz=$(GUESTS)/tz bin/bench=$(GUESTS)/bench bin/tiny=$(GUESTS)/tiny
# The full kernel's modules; the other variants need none.
$(GUESTS)/disk.ext4:
	rm -f $@
	/sbin/mke2fs -q -t ext4 -U 01234567-89ab-cdef-0123-456789abcdef $@ 24M
$(GUESTS)/initrd-full.cpio.gz: $(INITRD_COMMON) $(GUESTS)/tests.sh $(GUESTS)/disk.ext4 guests/full/vmlinuz tests/guests/full/run.sh
	$(INITRD)/build full $@ bin/tz=$(GUESTS)/tz tests.sh=$(GUESTS)/tests.sh run.sh=tests/guests/full/run.sh \
		disk.ext4=$(GUESTS)/disk.ext4 lib/modules=guests/full/lib/modules

$(GUESTS)/selftests/stamp: tests/guests/selftests/build $(SELFTESTS_SRC)/Makefile
	@mkdir -p $(@D)
	tests/guests/selftests/build $(SELFTESTS_SRC) $(@D)
	touch $@
$(GUESTS)/initrd-selftests.cpio.gz: $(INITRD_COMMON) $(GUESTS)/selftests/stamp tests/guests/selftests/run.sh
	$(INITRD)/build selftests $@ run.sh=tests/guests/selftests/run.sh $(foreach d,tests lib lib32 lib64,$(d)=$(GUESTS)/selftests/$(d))

# For `make soak`: stress-ng as it is installed here, with the libraries it is linked with.
$(GUESTS)/initrd-stress.cpio.gz: $(INITRD_COMMON) tests/guests/stress/run.sh build/stamps/setup-soak
	$(INITRD)/build stress $@ run.sh=tests/guests/stress/run.sh usr/bin/stress-ng=/usr/bin/stress-ng \
		$$(ldd /usr/bin/stress-ng | awk '/=> \// { print "lib/x86_64-linux-gnu/" $$1 "=" $$3 } \
			/^\t\/lib64/ { print substr($$1, 2) "=" $$1 }')
