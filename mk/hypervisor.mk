# SPDX-License-Identifier: MIT
# build/trapeze.elf: freestanding, position-independent code linked at a fixed address, no SSE.
HV_FLAGS = $(STD) $(WARN) $(DEBUG_FLAGS) -O2 -g -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
	-mgeneral-regs-only -mno-red-zone -fPIE -fvisibility=hidden -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-omit-frame-pointer -ffunction-sections -fno-strict-aliasing
HV_INC = $(INC)
HV_C = $(wildcard base/*.c core/*/*.c machine/*/*.c vmm/*.c)
HV_S = $(wildcard machine/*/*.S)
HV_OBJ = $(HV_C:%.c=$(B)/hv/%.o) $(HV_S:%.S=$(B)/hv/%.S.o) $(ZYDIS_SRC:%.c=$(B)/hv/%.o)

$(B)/hv/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CC) $(HV_FLAGS) -w $(ZYDIS_DEF) $(HV_INC) -c $< -o $@
$(B)/hv/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HV_FLAGS) $(ZYDIS_DEF) $(HV_INC) -MMD -MP -c $< -o $@
$(B)/hv/%.S.o: %.S
	@mkdir -p $(@D)
	$(CC) $(HV_FLAGS) -D__ASSEMBLER__ $(HV_INC) -MMD -MP -c $< -o $@
$(B)/trapeze.elf: $(HV_OBJ) machine/boot/trapeze.lds
	$(CC) -nostdlib -static -no-pie -Wl,--gc-sections,--build-id=none,-z,noexecstack,-z,max-page-size=4096 -T machine/boot/trapeze.lds $(HV_OBJ) -o $@
-include $(HV_OBJ:.o=.d)
