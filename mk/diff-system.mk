# SPDX-License-Identifier: MIT
# System instructions: the emulator against bare QEMU. A test kernel runs the cases on the machine; a host program runs the
# same cases with the emulator and compares. UBSan and ASan on the host's side.
SYSINSN_DIR = $(B)/diff/system
SYSINSN_C = $(wildcard tests/guests/sysinsn/*.c)
SYSINSN_KERNEL_FLAGS = $(STD) $(WARN) -O2 -ffreestanding -mgeneral-regs-only -mno-red-zone -fno-pic -fno-pie \
	-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns
SYSINSN_KERNEL_OBJ = $(SYSINSN_C:%.c=$(SYSINSN_DIR)/kernel/%.o) \
	$(addprefix $(SYSINSN_DIR)/kernel/,tests/guests/sysinsn/entry.o base/string.o)
SYSINSN_HOST_C = $(wildcard tests/diff/emul_system*.c core/emul/*.c core/x86/*.c) tests/unit/host_ports.c \
	$(filter-out %/kernel.c,$(SYSINSN_C))
SYSINSN_HOST_OBJ = $(SYSINSN_HOST_C:%.c=$(SYSINSN_DIR)/host/%.o) $(ZYDIS_SRC:%.c=$(SYSINSN_DIR)/host/%.o)
SYSINSN_SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
SYSINSN_CPU = $(shell sed -n 's/^\#define TZ_CPU_MODEL "\(.*\)"/\1/p' abi/machine.h)
SYSINSN_PLANTS = 1 2 3 4 5 6

$(SYSINSN_DIR)/kernel/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(SYSINSN_KERNEL_FLAGS) -I. -MMD -MP -c $< -o $@
$(SYSINSN_DIR)/kernel/%.o: %.S
	@mkdir -p $(@D)
	$(CC) -I. -MMD -MP -c $< -o $@
$(SYSINSN_DIR)/sysinsn.elf: $(SYSINSN_KERNEL_OBJ) tests/guests/sysinsn/kernel.lds
	$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,--no-warn-rwx-segments \
		-T tests/guests/sysinsn/kernel.lds $(SYSINSN_KERNEL_OBJ) -o $@

$(SYSINSN_DIR)/host/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CC) $(STD) -w -O2 $(ZYDIS_DEF) $(INC) -c $< -o $@
$(SYSINSN_DIR)/host/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(STD) $(WARN) -Wno-missing-field-initializers -O1 -g $(SYSINSN_SANITIZE) $(ZYDIS_DEF) $(INC) -MMD -MP -c $< -o $@
$(SYSINSN_DIR)/emul_system: $(SYSINSN_HOST_OBJ)
	$(CC) $(SYSINSN_SANITIZE) $^ -o $@
-include $(SYSINSN_KERNEL_OBJ:.o=.d) $(SYSINSN_HOST_OBJ:.o=.d)

# isa-debug-exit turns the kernel's 0x10 into 33. The limit is for a machine that is busy with other things: alone it takes
# some 15 s. On failure the host program tells in which case the kernel stopped.
$(SYSINSN_DIR)/machine.txt: $(SYSINSN_DIR)/sysinsn.elf abi/machine.h | $(SYSINSN_DIR)/emul_system
	timeout 120 qemu-system-x86_64 -machine pc -accel tcg -cpu $(SYSINSN_CPU) -m 64 -kernel $< -display none -vga none -nic none \
		-monitor none -no-reboot -serial file:$@.new -device isa-debug-exit,iobase=0xf4,iosize=4; rc=$$?; \
	if test $$rc = 33; then mv $@.new $@; else \
		echo "the test kernel did not reach its end: status $$rc"; $(SYSINSN_DIR)/emul_system --quiet $@.new | head -1; exit 1; fi

.PHONY: diff-system
diff-system: $(SYSINSN_DIR)/machine.txt $(SYSINSN_DIR)/emul_system
	$(SYSINSN_DIR)/emul_system $(SYSINSN_DIR)/machine.txt
	@for n in $(SYSINSN_PLANTS); do \
		if $(SYSINSN_DIR)/emul_system --quiet --plant $$n $(SYSINSN_DIR)/machine.txt >/dev/null; then \
			echo "planted fault $$n was not noticed"; exit 1; fi; \
	done; echo "planted faults: noticed"

# The same kernel as a guest of the hypervisor: every 23rd case, compared with the emulator once more.
$(SYSINSN_DIR)/sysinsn.bin: $(SYSINSN_DIR)/sysinsn.elf
	objcopy -O binary -R .note $< $@
$(SYSINSN_DIR)/sysinsn.bz: tests/guests/sysinsn/bzimage.S $(SYSINSN_DIR)/sysinsn.bin
	$(CC) -c -DIMAGE='"$(SYSINSN_DIR)/sysinsn.bin"' $< -o $@.o
	objcopy -O binary -j .text $@.o $@
$(SYSINSN_DIR)/sysinsn.cfg: $(SYSINSN_DIR)/sysinsn.bz
	printf 'name = "sysinsn"\ntype = "hvm"\nkernel = "sysinsn.bz"\nmemory = 64\nextra = "step=23"\n' >$@

.PHONY: diff-system-guest
diff-system-guest: $(SYSINSN_DIR)/sysinsn.cfg $(SYSINSN_DIR)/emul_system $(B)/trapeze.elf $(B)/trapeze
	$(B)/trapeze run --timeout 120 $< >$(SYSINSN_DIR)/guest.txt </dev/null; test $$? = 33
	$(SYSINSN_DIR)/emul_system --guest $(SYSINSN_DIR)/guest.txt
