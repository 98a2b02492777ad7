# SPDX-License-Identifier: MIT
# What runs inside guests: fetched kernel and busybox, compiled test programs, initrds.
GUESTS = $(B)/guests
GUEST_CFLAGS = $(STD) -O2 -static -Wall -Wextra -fno-stack-protector -mno-red-zone -pthread
TZ_SRC = $(sort $(wildcard tests/guests/initrd/tz*.c))
INITRD = tests/guests/initrd
INITRD_VARIANTS = shell script bench

.PHONY: guests
guests: guests/vmlinuz $(INITRD_VARIANTS:%=$(GUESTS)/initrd-%.cpio.gz)

guests/vmlinuz guests/busybox: | $(SETUP_STAMP)
	@test -e $@ || scripts/fetch-guests

$(GUESTS)/tz: $(TZ_SRC) $(INITRD)/tz.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) $(TZ_SRC) -o $@.new
	strip $@.new && mv $@.new $@

$(GUESTS)/bench: bench/guest/bench.c bench/guest/sha256.c bench/guest/sha256.h
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) bench/guest/bench.c bench/guest/sha256.c -o $@.new
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
$(GUESTS)/initrd-bench.cpio.gz: $(INITRD_COMMON) $(GUESTS)/bench $(GUESTS)/tiny
	$(INITRD)/build bench $@ bin/tz=$(GUESTS)/tz bin/bench=$(GUESTS)/bench bin/tiny=$(GUESTS)/tiny
