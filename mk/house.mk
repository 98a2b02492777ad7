# SPDX-License-Identifier: MIT
# The targets that a user types. Each first makes sure of `make setup`, then starts make again, so that what setup
# fetched is seen by the rules that look for files.


# What system tests run besides the product.
TEST_PROGRAMS = $(B)/trapeze-san $(B)/fake-qemu $(B)/rpc-client $(B)/unpack $(B)/count-plugin.so
.PHONY: test-programs
test-programs: $(TEST_PROGRAMS)
$(B)/count-plugin.so: tests/system/count_plugin.c tests/system/qemu_plugin.h
	@mkdir -p $(@D)
	$(CC) $(STD) $(WARN) -I. -O2 -fPIC -shared -fvisibility=hidden $< -o $@

.PHONY: help setup run test soak bench fuzz iso

help:
	@echo "make          build/trapeze.elf (the hypervisor) and build/trapeze (the host command)"
	@echo "make run      the demo: an unmodified Debian kernel to its shell"
	@echo "make test     every test layer; last line: N passed, N failed"
	@echo "make check    the fast layers only: unit tests with sanitizers, layers, headers, format"
	@echo "make fuzz     every fuzz target, FUZZ_SECONDS=$(FUZZ_SECONDS) each"
	@echo "make fuzz-hostile  random code in hostile VMs, FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make fuzz-diff     emulator and translator against the machine, FUZZ_CASES=$(FUZZ_CASES) cases of each"
	@echo "make bench    Trapeze against the bare machine and Xen, PAIRS=$(PAIRS) runs each; writes docs/benchmarks.md and a plot"
	@echo "make soak     boots by the dozen, stress-ng, audits, within SOAK_SECONDS=$(SOAK_SECONDS)"
	@echo "make iso      build/trapeze.iso (the demo, by BIOS and UEFI)"
	@echo "make setup    packages, third-party source, guest kernel; the others call it when needed"
	@echo "make clean    remove $(B)/"

$(SETUP_STAMP): scripts/setup scripts/packages scripts/pins scripts/apt-private.sh scripts/fetch-guests
	scripts/setup

setup: $(SETUP_STAMP)

build/stamps/setup-bench: scripts/packages
	scripts/setup run test bench

run: $(SETUP_STAMP)
	@$(MAKE) --no-print-directory $(B)/trapeze.elf $(B)/trapeze guests
	B=$(B) scripts/demo $(RUN_SECONDS)

test: $(SETUP_STAMP)
	@B=$(B) MAKE="$(MAKE)" scripts/test

build/stamps/setup-soak: scripts/packages
	scripts/setup run test soak

soak: build/stamps/setup-soak $(SETUP_STAMP)
	@$(MAKE) --no-print-directory $(B)/trapeze.elf $(B)/trapeze guests $(B)/guests/initrd-stress.cpio.gz
	B=$(B) tests/system/soak $(SOAK_SECONDS)

bench: build/stamps/setup-bench $(SETUP_STAMP)
	@$(MAKE) --no-print-directory $(B)/trapeze.elf $(B)/trapeze guests guests/xen $(B)/count-plugin.so $(B)/rpc-client
	B=$(B) bench/run $(PAIRS)

fuzz: $(SETUP_STAMP)
	@$(MAKE) --no-print-directory fuzz-all

build/stamps/setup-iso: scripts/packages
	scripts/setup run test iso

iso: build/stamps/setup-iso $(SETUP_STAMP)
	@$(MAKE) --no-print-directory $(B)/trapeze.elf $(B)/trapeze guests
	@mkdir -p $(B)/iso
	B=$(B) scripts/make-bundle $(B)/iso/bundle examples/debian.cfg
	scripts/make-iso $(B)/trapeze.elf $(B)/trapeze.iso console=com1 $(B)/iso/bundle
	@echo "$(B)/trapeze.iso boots by BIOS and UEFI; the VM's console is on the first serial port, the control channel on the second"
