# SPDX-License-Identifier: MIT
# Differential test of the translator on the host: translated code runs natively, so no sanitizers here.
BT_DIFF_SRC = tests/diff/bt_native.c tests/diff/bt_gen.c tests/unit/host_ports.c $(wildcard core/bt/*.c core/emul/*.c core/x86/*.c)
BT_DIFF_OBJ = $(BT_DIFF_SRC:%.c=$(B)/diff/%.o) $(ZYDIS_SRC:%.c=$(B)/diff/%.o)

$(B)/diff/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CC) $(STD) -O2 -g -w $(ZYDIS_DEF) $(INC) -c $< -o $@
$(B)/diff/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(STD) $(WARN) -DTRAPEZE_DEBUG -O2 -g -fno-strict-aliasing $(ZYDIS_DEF) $(INC) -MMD -MP -c $< -o $@
$(B)/diff/bt_native: $(BT_DIFF_OBJ)
	$(CC) $^ -o $@

.PHONY: diff-bt
diff-bt: $(B)/diff/bt_native
	$(B)/diff/bt_native
-include $(BT_DIFF_OBJ:.o=.d)
