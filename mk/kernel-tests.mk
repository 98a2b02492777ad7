# SPDX-License-Identifier: MIT
# The fidelity kernel: an ELF32 with a multiboot-1 header, run by tests/system/test_fidelity.sh on both machines.
FIDELITY = tests/guests/fidelity
FIDELITY_OBJ = $(patsubst %,$(GUESTS)/%.o,$(wildcard $(FIDELITY)/*.c $(FIDELITY)/*.S))
FIDELITY_FLAGS = $(STD) -O1 -Wall -Wextra -Wno-unused-parameter -ffreestanding -fno-pie -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables
$(GUESTS)/$(FIDELITY)/%.o: $(FIDELITY)/% $(FIDELITY)/kernel.h
	@mkdir -p $(@D)
	$(CC) $(FIDELITY_FLAGS) -c $< -o $@
$(GUESTS)/fidelity.elf: $(FIDELITY_OBJ) $(FIDELITY)/kernel.lds
	$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments -T $(FIDELITY)/kernel.lds \
		$(FIDELITY_OBJ) -o $@.64
	objcopy -O elf32-i386 $@.64 $@
guests: $(GUESTS)/fidelity.elf
