# SPDX-License-Identifier: MIT
# The hostile guest kernel: attacks on the hypervisor from inside a VM (tests/system/test_hostile.sh).
HOSTILE_DIR = $(B)/guests/hostile
HOSTILE_FLAGS = $(STD) $(WARN) -O2 -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-strict-aliasing \
	-fno-delete-null-pointer-checks
HOSTILE_OBJ = $(patsubst %.c,$(HOSTILE_DIR)/%.o,$(wildcard tests/guests/hostile/*.c) base/string.c) \
	$(patsubst %.S,$(HOSTILE_DIR)/%.o,$(wildcard tests/guests/hostile/*.S))

$(HOSTILE_DIR)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HOSTILE_FLAGS) -I. -MMD -MP -c $< -o $@
$(HOSTILE_DIR)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) -I. -MMD -MP -c $< -o $@
$(HOSTILE_DIR)/hostile.elf: $(HOSTILE_OBJ) tests/guests/hostile/kernel.lds
	$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
		-T tests/guests/hostile/kernel.lds $(HOSTILE_OBJ) -o $@
$(HOSTILE_DIR)/hostile.bin: $(HOSTILE_DIR)/hostile.elf
	objcopy -O binary $< $@
# Dressed as a bzImage; the memory behind the image up to 4 MiB is its BSS.
$(HOSTILE_DIR)/hostile.bz: tests/guests/sysinsn/bzimage.S $(HOSTILE_DIR)/hostile.bin
	$(CC) -c -DIMAGE='"$(HOSTILE_DIR)/hostile.bin"' $< -o $@.o
	objcopy -O binary -j .text $@.o $@
guests: $(HOSTILE_DIR)/hostile.bz
-include $(HOSTILE_OBJ:.o=.d)

# From SEED on (default: a random one), for FUZZ_SECONDS, half of them with CLI and HLT; a finding leaves the machine's log.
.PHONY: fuzz-hostile
fuzz-hostile: $(HOSTILE_DIR)/hostile.bz $(B)/trapeze.elf $(B)/trapeze
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; half=$$(($(FUZZ_SECONDS) / 2 + 1)); \
		echo "random code from seed $$seed"; \
		B=$(B) tests/system/hostile_seeds $(B)/fuzz/hostile $$seed 10000000 '' $$half && \
		B=$(B) tests/system/hostile_seeds $(B)/fuzz/hostile $$seed 10000000 wild $$half
