# SPDX-License-Identifier: MIT
# build/trapeze, the host command; the same with sanitizers for its tests; and the stand-in for QEMU that they use.
TOOL_C = $(wildcard tools/*.c) base/json.c base/xxh64.c base/kernel_elf.c base/pv_image.c
TOOL_FLAGS = $(STD) $(WARN) -D_GNU_SOURCE -O2 -g
TOOL_SAN = $(STD) $(WARN) -D_GNU_SOURCE -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# Decoders of what kernels are packed with (tools/unpack.c).
UNPACK_LIBS = -llzma -lzstd -llz4 -lz
# libxlutil alone, without Xen's tool stack behind it (tools/xlu_stub.c).
TOOL_LIBS = -Wl,-Bstatic -lxlutil -Wl,-Bdynamic $(UNPACK_LIBS)
TOOL_OBJ = $(TOOL_C:%.c=$(B)/tool/%.o)
TOOL_SAN_OBJ = $(TOOL_C:%.c=$(B)/tool-san/%.o)

$(B)/tool/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(TOOL_FLAGS) $(INC) -MMD -MP -c $< -o $@
$(B)/tool-san/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(TOOL_SAN) $(INC) -MMD -MP -c $< -o $@
$(B)/trapeze: $(TOOL_OBJ)
	$(CC) $(TOOL_OBJ) $(TOOL_LIBS) -o $@
$(B)/trapeze-san: $(TOOL_SAN_OBJ)
	$(CC) -fsanitize=address,undefined $(TOOL_SAN_OBJ) $(TOOL_LIBS) -o $@
FAKE_QEMU_C = tests/system/fake_qemu.c vmm/control.c vmm/stats.c vmm/bundle.c base/json.c
$(B)/fake-qemu: $(FAKE_QEMU_C) $(wildcard vmm/*.h abi/*.h base/*.h)
	@mkdir -p $(@D)
	$(CC) $(TOOL_FLAGS) $(INC) $(FAKE_QEMU_C) -o $@
$(B)/rpc-client: tests/system/rpc_client.c
	@mkdir -p $(@D)
	$(CC) $(TOOL_FLAGS) $< -o $@
UNPACK_OBJ = $(addprefix $(B)/tool/,tests/system/unpack.o tools/unpack.o tools/tool.o tools/outlet.o)
$(B)/unpack: $(UNPACK_OBJ)
	$(CC) $^ $(UNPACK_LIBS) -o $@
-include $(UNPACK_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TOOL_SAN_OBJ:.o=.d)

.PHONY: test-command
test-command: $(B)/trapeze-san $(B)/fake-qemu $(B)/rpc-client
	tests/system/test_command.sh $(B)
