# SPDX-License-Identifier: MIT
# Fuzz targets: every tests/fuzz/fuzz_*.c with libFuzzer, address and undefined-behaviour sanitizers, against the same
# pure layers as the unit tests (and the same // LINK: and // LIBS: comments).
FUZZ_FLAGS = $(STD) $(WARN) $(DEBUG_FLAGS) -Wno-unknown-warning-option -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing
FUZZ_SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_TARGETS = $(sort $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_LIB = $(B)/fuzz/libpure.a
# Not HOST_LIB_C: mk/unit.mk is read after this file.
FUZZ_LIB_C = $(filter-out base/string.c,$(wildcard base/*.c core/*/*.c)) tests/unit/host_ports.c

$(B)/fuzz/$(ZYDIS)/%.o: $(ZYDIS)/%.c
	@mkdir -p $(@D)
	$(CLANG) $(STD) -w -O1 -g -fsanitize=fuzzer-no-link $(ZYDIS_DEF) $(INC) -c $< -o $@
$(B)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_FLAGS) $(FUZZ_SANITIZE) -fsanitize=fuzzer-no-link $(ZYDIS_DEF) $(INC) -MMD -MP -c $< -o $@

$(FUZZ_LIB): $(FUZZ_LIB_C:%.c=$(B)/fuzz/%.o) $(ZYDIS_SRC:%.c=$(B)/fuzz/%.o)
	@rm -f $@
	ar rcs $@ $^

$(B)/fuzz/tools/%.o: FUZZ_FLAGS += -D_GNU_SOURCE

define fuzz_rule
$(1)_LINK := $$(shell sed -n 's,^// LINK: ,,p' tests/fuzz/$(1).c)
$(1)_LIBS := $$(shell sed -n 's,^// LIBS: ,,p' tests/fuzz/$(1).c)
$(B)/fuzz/$(1): $(B)/fuzz/tests/fuzz/$(1).o $$($(1)_LINK:%.c=$(B)/fuzz/%.o) $(FUZZ_LIB)
	$(CLANG) $(FUZZ_SANITIZE) -fsanitize=fuzzer $$^ $$($(1)_LIBS) -o $$@
-include $$($(1)_LINK:%.c=$(B)/fuzz/%.d)
endef
$(foreach t,$(FUZZ_TARGETS),$(eval $(call fuzz_rule,$(t))))

# The corpus grows under $(B)/fuzz/corpus; a crash leaves its input beside it and fails the run.
.PHONY: fuzz-all $(FUZZ_TARGETS:fuzz_%=fuzz-%)
$(FUZZ_TARGETS:fuzz_%=fuzz-%): fuzz-%: $(B)/fuzz/fuzz_%
	@mkdir -p $(B)/fuzz/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix=$(B)/fuzz/corpus/$*- $(B)/fuzz/corpus/$*
fuzz-all: $(FUZZ_TARGETS:%=$(B)/fuzz/%)
	@for t in $(FUZZ_TARGETS:fuzz_%=fuzz-%); do $(MAKE) --no-print-directory $$t || exit 1; done
	@echo "$(words $(FUZZ_TARGETS)) fuzz targets, $(FUZZ_SECONDS) s each, no crash"

# The differential tests for FUZZ_CASES cases or states each, from SEED on (default: a random one). mk/diff-*.mk have the short ones.
.PHONY: fuzz-diff
fuzz-diff: $(B)/diff/emul_native $(B)/diff/emul_unicorn $(B)/diff/bt_native
	B=$(B) tests/diff/long $(FUZZ_CASES) $(SEED)

-include $(FUZZ_LIB_C:%.c=$(B)/fuzz/%.d) $(FUZZ_TARGETS:%=$(B)/fuzz/tests/fuzz/%.d)
