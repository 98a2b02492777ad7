// SPDX-License-Identifier: MIT
// Random bytes as code, in ring 0 and in ring 3, each seed in a world of its own: the image is read-only there, registers hold
// addresses that hurt. A seed ends by its own exception, system call or by the watchdog; what it has changed is put back. The
// number of each seed is printed before it runs, so that one that takes the VM with it is known.
#include "tests/guests/hostile/hostile.h"

#define CODE_BYTES 96
#define LAPIC_REG(r) (*(volatile u32 *)(0xfee00000ull + (r)))

static u64 *const root = (u64 *)(TABLES + 0x10000);
static u64 ended[257];
u32 watchdog = 200000; // in 16 ns; a tenth of it ends most seeds before they have done anything on a loaded host

// Low 2 MiB absent, the image read-only, ring 0's and ring 3's pages.
static void build_world(void)
{
	u64 *pdpt = root + 512, *pd = root + 1024;

	memset(root, 0, 3 * 4096);
	root[0] = (u64)pdpt | 7;
	pdpt[0] = (u64)pd | 7;
	pd[IMAGE_AT >> 21] = IMAGE_AT | 0x81;
	pd[KPAGE >> 21] = KPAGE | 0x83;
	pd[UPAGE >> 21] = UPAGE | 0x87;
}

// Prefixes and opcodes that are worth more than chance gives them.
static const char *const spice[] = {
	"\x0f\x01",
	"\x0f\x00",
	"\x0f\x20",
	"\x0f\x22",
	"\x0f\x21",
	"\x0f\x23",
	"\x0f\x05",
	"\x0f\x07",
	"\x48\x0f\x07",
	"\x0f\x30",
	"\x0f\x32",
	"\x48\xcf",
	"\xcf",
	"\xcd\xf0",
	"\xcd\xf1",
	"\x9c",
	"\x9d",
	"\xfb",
	"\x8e\xd0",
	"\x8e\xd8",
	"\x0f\x01\xf8",
	"\x0f\x01\xca",
	"\x0f\x01\xcb",
	"\xff\x20",
	"\xff\xe0",
	"\xff\xd0",
	"\xc3",
	"\x48\xff\x2f",
	"\xf3\xa4",
	"\xf3\x48\xab",
	"\x48\x89\x07",
	"\x48\x87\x03",
	"\xf0\x48\x0f\xb1\x0b",
	"\x0f\xae",
	"\x0f\xa2",
	"\x0f\x31",
	"\xec",
	"\xee",
	"\x6c",
	"\x6e",
	"\xe8\0\0\0\0",
	"\xeb\x05",
	"\xe2\x02",
	"\x65\x48\x8b\x00",
	"\xf3\x0f\xae\xd8",
	"\x0f\x11\x00",
	"\x0f\xc7\x08",
	"\x48\xcb",
	"\xc8\x10\0\x1f",
	"\xc9",
	"\x41\xff\xe2",
	"\x0f\x35",
	"\x0f\x34",
	"\xf1",
	"\xcc",
	"\x67\xe3\x01",
	"\x66\x90",
};

// calm: without what mostly stops the machine for good (CLI, HLT), so that a seed that hangs is rare.
static void write_code(u8 *code, bool calm)
{
	unsigned style = (unsigned)(random64() & 3);

	for (unsigned i = 0; i < CODE_BYTES; i++)
		code[i] = (u8)(random64() >> 24);
	for (unsigned i = 0; style && i + 8 < CODE_BYTES; i += (unsigned)(random64() & 7) + 1) {
		const char *s = spice[random64() % ARRAY_SIZE(spice)];
		unsigned n = (unsigned)strlen(s);

		memcpy(code + i, s, n);
		i += n;
	}
	for (unsigned i = 0; calm && i < CODE_BYTES; i++)
		if (code[i] == 0xfa || code[i] == 0xf4 || (code[i] == 0x9d && (i & 3)))
			code[i] = 0x90;
}

static void one_seed(u64 seed, bool calm)
{
	struct context c;
	bool user;
	unsigned v;

	seed_random(seed);
	user = seed & 1;
	c = user ? user_context() : kernel_context();
	c.rip += random64() & 0xfff;
	write_code((u8 *)c.rip, calm);
	for (unsigned i = 0; i < 64; i++)
		((u64 *)(user ? UDATA_AT : KDATA_AT))[i] = odd_value();
	for (unsigned i = 0; i < 16; i++)
		c.gpr[i] = odd_value();
	c.gpr[RDI] = (user ? UDATA_AT : KDATA_AT) + (random64() & 0xff8);
	c.gpr[RSI] = random64() & 1 ? c.rip : odd_value();
	if (!(random64() & 7))
		c.rsp = odd_value();
	c.rflags = (random64() & 0x244cd5) | 0x202;
	c.cr3 = (u64)root;
	LAPIC_REG(0x380) = watchdog;
	v = attack(&c);
	LAPIC_REG(0x380) = 0;
	LAPIC_REG(0xb0) = 0;
	ended[v ? v - 1 : 0]++;
}

static void show_ends(void)
{
	print("ended by");
	for (unsigned i = 0; i < ARRAY_SIZE(ended); i++) {
		if (!ended[i])
			continue;
		print(" ");
		print_number(i);
		print(":");
		print_number(ended[i]);
	}
	print("\n");
}

void random_seeds(u64 first, u64 count, bool calm)
{
	careful = true;
	for (u64 seed = first; seed < first + count; seed++) {
		if (!(seed & 15) || seed == first) {
			build_world();
			restore_machine();
		}
		print("#");
		print_number(seed);
		print("\n");
		one_seed(seed, calm);
		// What ring 0 can have done in a way that the next seeds would not survive.
		if (!(seed & 1))
			restore_machine();
	}
	show_ends();
	check(count < 1000 || (ended[VEC_PF] && ended[VEC_GP] && ended[VEC_UD]), "random code that raises nothing", 0);
}
