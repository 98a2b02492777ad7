// SPDX-License-Identifier: MIT
// Loads an ELF or multiboot kernel (base/kernel_elf.h) and prepares the CPU for it: 32-bit protected mode without paging,
// with multiboot 1's information in EBX and its magic in EAX, or PVH's hvm_start_info in EBX.
#ifndef CORE_PLATFORM_ELF_BOOT_H
#define CORE_PLATFORM_ELF_BOOT_H

#include "core/platform/boot.h"

enum status elf_boot_load(struct guest_boot *b, struct x86_cpu *cpu) MUST_CHECK;

#endif
