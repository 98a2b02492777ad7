# SPDX-License-Identifier: MIT
# The fast layers: what to run before every commit.
CHECK_GCC = $(CC) $(STD) $(ZYDIS_DEF) $(INC)

.PHONY: check check-all check-layers check-headers check-format check-tidy check-size lint
check: $(SETUP_STAMP)
	@$(MAKE) --no-print-directory check-all
check-all: check-layers check-headers check-format check-tidy check-size
	@$(MAKE) --no-print-directory -j2 unit

check-layers:
	@CHECK_GCC="$(CHECK_GCC)" scripts/check-layers
check-headers:
	@CHECK_GCC="$(CHECK_GCC) $(WARN) -Wno-unused-function" scripts/check-headers
check-format:
	@scripts/check-format
TIDY = TIDY_FLAGS="$(STD) $(ZYDIS_DEF) $(INC)" scripts/check-tidy
check-tidy:
	@$(TIDY)
# The whole tree.
lint:
	@$(TIDY) --all
# A question, not a gate: is such a file still about one thing?
check-size:
	@git ls-files '*.c' '*.h' '*.S' '*.sh' | xargs wc -l | awk '$$2 != "total" && $$1 > 900 { print "warning: " $$2 " has " $$1 " lines" }'
