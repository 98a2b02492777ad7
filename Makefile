# SPDX-License-Identifier: MIT
# Trapeze. `make help` lists the targets. Rules live in mk/*.mk, one file per kind of artifact.
include config.mk

# Recipes are shown with V=1.
ifneq ($(V),1)
MAKEFLAGS += --silent
endif

WARN = -Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wundef -Wvla
STD = -std=gnu17
DEBUG_FLAGS = $(if $(filter 1,$(DEBUG)),-DTRAPEZE_DEBUG,)
ZYDIS = third_party/zydis
ZYDIS_SRC = $(addprefix $(ZYDIS)/src/,Decoder.c DecoderData.c SharedData.c Register.c Mnemonic.c)
ZYDIS_DEF = -DZYAN_NO_LIBC -DZYDIS_STATIC_BUILD -DZYCORE_STATIC_BUILD -DZYDIS_DISABLE_FORMATTER -DZYDIS_DISABLE_ENCODER -DZYDIS_DISABLE_KNC -DZYDIS_DISABLE_SEGMENT
INC = -I. -isystem $(ZYDIS)/include -isystem $(ZYDIS)/src -isystem third_party/zycore/include -isystem third_party/jsmn -isystem third_party/xxhash -isystem third_party/xen
# Written by scripts/setup when packages, third-party source and guests are in place.
SETUP_STAMP = build/stamps/setup

.PHONY: all
all: $(SETUP_STAMP)
	@$(MAKE) --no-print-directory $(B)/trapeze.elf $(B)/trapeze

include $(sort $(wildcard mk/*.mk))

.PHONY: clean
clean:
	rm -rf $(B)
