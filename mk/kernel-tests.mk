# SPDX-License-Identifier: MIT
# Small test kernels: ELF32 with a multiboot-1 header, run on the bare machine and as guests by tests/system/test_NAME.sh.
KERNEL_FLAGS = $(STD) -O1 -Wall -Wextra -Wno-unused-parameter -ffreestanding -fno-pie -mgeneral-regs-only -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -I.
KERNEL_LD = --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments -T tests/guests/common/kernel.lds
KERNEL_COMMON = $(wildcard tests/guests/common/*)

# kernel_rule NAME FLAGS LD-EMULATION: everything in tests/guests/NAME becomes NAME.elf.
define kernel_rule
$(GUESTS)/tests/guests/$(1)/%.o: tests/guests/$(1)/% $$(wildcard tests/guests/$(1)/*.h) $$(KERNEL_COMMON)
	@mkdir -p $$(@D)
	$$(CC) $$(KERNEL_FLAGS) $(2) -c $$< -o $$@
$(GUESTS)/$(1).elf: $$(patsubst %,$(GUESTS)/%.o,$$(wildcard tests/guests/$(1)/*.c tests/guests/$(1)/*.S)) $$(KERNEL_COMMON)
	ld -m $(3) $$(KERNEL_LD) $$(filter %.o,$$^) -o $$@.linked
	objcopy -O elf32-i386 $$@.linked $$@
guests: $(GUESTS)/$(1).elf
endef
$(eval $(call kernel_rule,fidelity,-mno-red-zone,elf_x86_64))
$(eval $(call kernel_rule,reflect,-mno-red-zone,elf_x86_64))
$(eval $(call kernel_rule,lives,-mno-red-zone,elf_x86_64))
$(eval $(call kernel_rule,legacy,-m32,elf_i386))
$(eval $(call kernel_rule,small,-mno-red-zone,elf_x86_64))
