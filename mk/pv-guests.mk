# SPDX-License-Identifier: MIT
# The paravirtual test kernels (tests/system/test_pvguests.sh), ELF64 with Xen's notes: each folder of tests/guests/pv becomes
# guests/pv/NAME.elf, with what is in the folder `harness` linked to each.
PVK_DIR = $(B)/guests/pvk
PVK_SRC = tests/guests/pv
PVK_LDS = $(PVK_SRC)/harness/kernel.lds
PVK_FLAGS = $(STD) $(WARN) -O2 -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-strict-aliasing -fno-delete-null-pointer-checks -Wno-array-bounds
PVK_NAMES = $(filter-out harness,$(sort $(patsubst $(PVK_SRC)/%/,%,$(dir $(wildcard $(PVK_SRC)/*/*.[cS])))))
# pvk_obj FOLDER
pvk_obj = $(patsubst %.S,$(PVK_DIR)/%.o,$(patsubst %.c,$(PVK_DIR)/%.o,$(wildcard $(PVK_SRC)/$(1)/*.[cS])))
PVK_HARNESS = $(call pvk_obj,harness) $(PVK_DIR)/base/string.o

$(PVK_DIR)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(PVK_FLAGS) -I. -isystem third_party/xen -MMD -MP -c $< -o $@
$(PVK_DIR)/%.o: %.S
	@mkdir -p $(@D)
	$(CC) -I. -MMD -MP -c $< -o $@

define pvk_rule
$(B)/guests/pv/$(1).elf: $(call pvk_obj,$(1)) $(PVK_HARNESS) $(PVK_LDS)
	@mkdir -p $$(@D)
	$$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
		-T $(PVK_LDS) $$(filter %.o,$$^) -o $$@
guests: $(B)/guests/pv/$(1).elf
-include $(patsubst %.o,%.d,$(call pvk_obj,$(1)))
endef
$(foreach name,$(PVK_NAMES),$(eval $(call pvk_rule,$(name))))
-include $(PVK_HARNESS:.o=.d)
