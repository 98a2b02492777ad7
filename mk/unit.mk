# SPDX-License-Identifier: MIT
# Unit tests: every tests/unit/test_*.c is one program, linked against an archive of the pure layers built with
# sanitizers. A test takes what it needs out of the archive, so it may define its own version of a port.
# Comments in the test name what else it needs:   // LINK: vmm/gmem.c ...      // LIBS: -lunicorn
HOST_FLAGS = $(STD) $(WARN) $(DEBUG_FLAGS) -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
HOST_LIB_C = $(filter-out base/string.c,$(wildcard base/*.c core/*/*.c)) tests/unit/host_ports.c
HOST_LIB = $(B)/host/libpure.a
UNIT_TESTS = $(sort $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c)))

$(B)/host/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CC) $(STD) -w -O1 -g $(ZYDIS_DEF) $(INC) -c $< -o $@
$(B)/host/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(HOST_FLAGS) $(SANITIZE) $(ZYDIS_DEF) $(INC) -MMD -MP -c $< -o $@

HOST_LIB_OBJ = $(HOST_LIB_C:%.c=$(B)/host/%.o) $(ZYDIS_SRC:%.c=$(B)/host/%.o)
$(HOST_LIB): $(HOST_LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(B)/host/tools/%.o: HOST_FLAGS += -D_GNU_SOURCE

define unit_rule
$(1)_LINK := $$(shell sed -n 's,^// LINK: ,,p' tests/unit/$(1).c)
$(1)_LIBS := $$(shell sed -n 's,^// LIBS: ,,p' tests/unit/$(1).c)
$(B)/unit/$(1): $(B)/host/tests/unit/$(1).o $$($(1)_LINK:%.c=$(B)/host/%.o) $(HOST_LIB)
	@mkdir -p $$(@D)
	$(CC) $(SANITIZE) $$^ -lcmocka $$($(1)_LIBS) -o $$@
-include $$($(1)_LINK:%.c=$(B)/host/%.d)
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call unit_rule,$(t))))

# unit-NAME builds and runs one test; unit runs them all and counts.
.PHONY: unit $(UNIT_TESTS:test_%=unit-%)
$(UNIT_TESTS:test_%=unit-%): unit-%: $(B)/unit/test_%
	$<
unit: $(UNIT_TESTS:%=$(B)/unit/%)
	@B=$(B) scripts/run-units $(UNIT_TESTS)

-include $(HOST_LIB_C:%.c=$(B)/host/%.d) $(UNIT_TESTS:%=$(B)/host/tests/unit/%.d)
