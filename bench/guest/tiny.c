// SPDX-License-Identifier: MIT
// A program that does nothing and needs no C library: what fork and exec of it cost is the kernel's work.
void _start(void);

void _start(void)
{
	asm volatile("syscall" ::"a"(60), "D"(0) : "rcx", "r11", "memory"); // exit(0)
	__builtin_unreachable();
}
