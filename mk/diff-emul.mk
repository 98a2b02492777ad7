# SPDX-License-Identifier: MIT
# The emulator against the machine and against Unicorn, with planted faults that must be noticed. UBSan on the emulator;
# no ASan: the tests run native code on memory of their own.
DIFF_EMUL_DIR = $(B)/diff
DIFF_EMUL_FLAGS = $(STD) $(WARN) -Wno-missing-field-initializers -O1 -g -D_GNU_SOURCE $(ZYDIS_DEF) $(INC) -fno-pie
DIFF_EMUL_UBSAN = -fsanitize=undefined -fno-sanitize-recover=undefined
DIFF_EMUL_CORE = $(wildcard core/emul/*.c) core/x86/insn.c
DIFF_EMUL_OBJ = $(DIFF_EMUL_CORE:%.c=$(DIFF_EMUL_DIR)/emul/%.o) $(ZYDIS_SRC:%.c=$(DIFF_EMUL_DIR)/emul/%.o) \
	$(addprefix $(DIFF_EMUL_DIR)/emul/tests/,diff/emul_case.o diff/emul_run.o unit/host_ports.o)
DIFF_EMUL_NATIVE = $(DIFF_EMUL_DIR)/emul_native
DIFF_EMUL_UNICORN = $(DIFF_EMUL_DIR)/emul_unicorn

$(DIFF_EMUL_DIR)/emul/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CC) $(STD) -w -O2 $(ZYDIS_DEF) $(INC) -fno-pie -c $< -o $@
$(DIFF_EMUL_DIR)/emul/core/%.o: core/%.c
	@mkdir -p $(@D)
	$(CC) $(DIFF_EMUL_FLAGS) $(DIFF_EMUL_UBSAN) -MMD -MP -c $< -o $@
$(DIFF_EMUL_DIR)/emul/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(DIFF_EMUL_FLAGS) -MMD -MP -c $< -o $@
$(DIFF_EMUL_NATIVE): $(DIFF_EMUL_OBJ) $(DIFF_EMUL_DIR)/emul/tests/diff/emul_native.o
	$(CC) -no-pie $(DIFF_EMUL_UBSAN) $^ -o $@
$(DIFF_EMUL_UNICORN): $(DIFF_EMUL_OBJ) $(DIFF_EMUL_DIR)/emul/tests/diff/emul_unicorn.o
	$(CC) -no-pie $(DIFF_EMUL_UBSAN) $^ -lunicorn -o $@
-include $(wildcard $(DIFF_EMUL_DIR)/emul/*/*.d $(DIFF_EMUL_DIR)/emul/*/*/*.d)

.PHONY: diff-emul diff-emul-native diff-emul-unicorn
diff-emul: diff-emul-native diff-emul-unicorn
diff-emul-native: $(DIFF_EMUL_NATIVE)
	$(DIFF_EMUL_NATIVE)
	@for n in 1 2 3 4 5; do \
		if $(DIFF_EMUL_NATIVE) --quiet --cases 4 --plant $$n >/dev/null; then echo "planted fault $$n was not noticed"; exit 1; fi; \
	done; echo "planted faults 1 to 5: noticed"
diff-emul-unicorn: $(DIFF_EMUL_UNICORN)
	$(DIFF_EMUL_UNICORN)
	@for n in 1 2 3 4; do \
		if $(DIFF_EMUL_UNICORN) --quiet --cases 4 --plant $$n >/dev/null; then echo "planted fault $$n was not noticed"; exit 1; fi; \
	done; echo "planted faults 1 to 4: noticed"
