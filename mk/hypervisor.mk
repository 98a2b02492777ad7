# SPDX-License-Identifier: MIT
# build/trapeze.elf: freestanding, position-independent code linked at a fixed address, no SSE. Linked twice: the panic
# report's symbol table is made from the first link (its text has the same addresses in both).
HV_FLAGS = $(STD) $(WARN) $(DEBUG_FLAGS) -O2 -g -ffreestanding -nostdinc -isystem $(HV_GCC_INC) \
	-mgeneral-regs-only -mno-red-zone -fPIE -fvisibility=hidden -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-omit-frame-pointer -fno-optimize-sibling-calls -ffunction-sections -fno-strict-aliasing
HV_GCC_INC := $(shell $(CC) -print-file-name=include)
HV_INC = $(INC)
HV_C = $(wildcard base/*.c core/*/*.c machine/*/*.c vmm/*.c)
HV_S = $(wildcard machine/*/*.S)
HV_OBJ = $(HV_C:%.c=$(B)/hv/%.o) $(HV_S:%.S=$(B)/hv/%.S.o) $(ZYDIS_SRC:%.c=$(B)/hv/%.o)
HV_LDS = machine/boot/trapeze.lds
HV_LINK = $(CC) -nostdlib -static -no-pie -Wl,--gc-sections,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
	-T $(HV_LDS)

# Zycore clears its structures with volatile byte loops, four fifths of the decoder's time; without the word, with memset.
$(B)/hv/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CC) $(HV_FLAGS) -w -Dvolatile= $(ZYDIS_DEF) $(HV_INC) -c $< -o $@
$(B)/hv/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HV_FLAGS) $(ZYDIS_DEF) $(HV_INC) -MMD -MP -c $< -o $@
$(B)/hv/%.S.o: %.S
	@mkdir -p $(@D)
	$(CC) $(HV_FLAGS) $(HV_INC) -MMD -MP -c $< -o $@
# xxHash includes headers of a C library.
$(B)/hv/base/xxh64.o: HV_FLAGS += -isystem base/libc
# Its loops must not become calls to memcpy and memset.
$(B)/hv/base/string.o: HV_FLAGS += -fno-tree-loop-distribute-patterns

$(B)/trapeze.elf: $(HV_OBJ) $(HV_LDS) scripts/gen-symbols scripts/check-elf
	scripts/gen-symbols >$(B)/symbols0.S
	$(HV_LINK) $(HV_OBJ) $(B)/symbols0.S -o $(B)/trapeze0.elf
	scripts/gen-symbols $(B)/trapeze0.elf >$(B)/symbols.S
	$(HV_LINK) $(HV_OBJ) $(B)/symbols.S -o $@.new
	scripts/check-elf $@.new
	mv $@.new $@
-include $(HV_OBJ:.o=.d)
