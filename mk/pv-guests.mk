# SPDX-License-Identifier: MIT
# The paravirtual test kernel (tests/system/test_pvguests.sh): an ELF64 with Xen's notes.
PVK_DIR = $(B)/guests/pvk
PVK_FLAGS = $(STD) $(WARN) -O2 -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-strict-aliasing -fno-delete-null-pointer-checks -Wno-array-bounds
PVK_OBJ = $(patsubst %.c,$(PVK_DIR)/%.o,$(wildcard tests/guests/pv/*.c) base/string.c) $(patsubst %.S,$(PVK_DIR)/%.o,$(wildcard tests/guests/pv/*.S))

$(PVK_DIR)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(PVK_FLAGS) -I. -isystem third_party/xen -MMD -MP -c $< -o $@
$(PVK_DIR)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) -I. -MMD -MP -c $< -o $@
$(B)/guests/pv.elf: $(PVK_OBJ) tests/guests/pv/kernel.lds
	$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
		-T tests/guests/pv/kernel.lds $(PVK_OBJ) -o $@
guests: $(B)/guests/pv.elf
-include $(PVK_OBJ:.o=.d)
