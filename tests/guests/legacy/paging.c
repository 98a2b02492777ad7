// SPDX-License-Identifier: MIT
// Paging of two levels and PAE: faults and error codes, accessed and dirty bits, write protection, large pages, reserved bits, SMEP and
// SMAP, accesses across pages. The first 8 MiB are mapped at their own address for everybody; what is looked at is at 1 GiB.
#include "kernel.h"

#define PAGE __attribute__((aligned(4096)))
#define AT 0x40000000u
#define A 0x20
#define D 0x40
#define EFER 0xc0000080

static volatile u32 directory[1024] PAGE, table[1024] PAGE; // the machine writes them, too
static volatile u64 pdpt[4] PAGE, directories[4][512] PAGE, table64[512] PAGE;
static u8 page[3][4096] PAGE;
static bool pae;

static void flush(void)
{
	write_cr3(pae ? (u32)pdpt : (u32)directory);
}

// Rights of the upper level, and of two pages. high: bits 32 and up of the first.
static void map(u32 upper, u32 first, u32 second, u32 high)
{
	directory[AT >> 22] = (u32)table | upper;
	table[0] = (u32)page[0] | first;
	table[1] = (u32)page[1] | second;
	directories[1][0] = (u32)table64 | upper;
	table64[0] = (u32)page[0] | first | (u64)high << 32;
	table64[1] = (u32)page[1] | second;
	flush();
}

static u32 entry(unsigned level, unsigned n)
{
	if (level == 2)
		return pae ? (u32)directories[1][n] : directory[(AT >> 22) + n];
	return pae ? (u32)table64[n] : table[n];
}

static void read(u32 at)
{
	asm volatile("mov (%0), %%al" ::"r"(at) : "eax");
}

static void write(u32 at)
{
	asm volatile("movb $0xc3, (%0)" ::"r"(at) : "memory");
}

static void write_word(u32 at)
{
	asm volatile("movl $0x55667788, (%0)" ::"r"(at) : "memory");
}

static void jump(u32 at)
{
	asm volatile("call *%0" ::"r"(at) : "eax", "ecx", "edx", "memory", "cc");
}

static void exchange(u32 at)
{
	asm volatile("xor %%eax, %%eax; xchg %%al, (%0)" ::"r"(at) : "eax", "memory");
}

static void compare(u32 at)
{
	asm volatile("mov $0x77, %%al; lock cmpxchgb %%al, (%0)" ::"r"(at) : "eax", "cc", "memory");
}

static void move_string(u32 at)
{
	asm volatile("cld; rep movsb" ::"S"(buffer), "D"(at), "c"(32) : "memory");
}

static void write_stac(u32 at)
{
	asm volatile("stac; movb $0, (%0); clac" ::"r"(at) : "memory");
}

static u32 user_at;

static void user_read(void)
{
	read(user_at);
	asm volatile("int $0x30");
}

static void user_write(void)
{
	write(user_at);
	asm volatile("int $0x30");
}

static void user_jump(void)
{
	asm volatile("jmp *%0" ::"r"(user_at));
}

static bool faulted(u32 at, u32 error)
{
	return caught.vector == PF && caught.error == error && caught_cr2 == at;
}

static bool raises_at(void (*code)(u32), u32 at, u32 error)
{
	return raises(code, at, PF, error) && caught_cr2 == at;
}

// QEMU leaves P out.
static bool reserved(void (*code)(u32), u32 at)
{
	return raises(code, at, PF, 9) || (caught.vector == PF && caught.error == 8);
}

static const char *name(const char *what)
{
	static char text[80];
	const char *prefix = pae ? "pae: " : "two levels: ";
	unsigned n = 0;

	while (*prefix)
		text[n++] = *prefix++;
	while (*what && n < sizeof(text) - 1)
		text[n++] = *what++;
	text[n] = 0;
	return text;
}
#define CHECK(what, good) check(name(what), good)

static void faults(void)
{
	u32 end = AT + 0x2000;

	map(7, 7, 7, 0);
	page[1][0xffe] = 0x11;
	CHECK("read of what is not mapped", raises_at(read, end + 5, 0));
	CHECK("write of what is not mapped", raises_at(write, end + 5, 2));
	CHECK("jump to what is not mapped", raises_at(jump, end, 0) && caught.eip == end);
	CHECK("no directory entry", raises_at(read, AT + 0x800000, 0));
	CHECK("write across into what is not mapped",
	      !raises_at(write_word, end - 2, 2) && caught.vector == PF && caught_cr2 == end && page[1][0xffe] == 0x11);
	map(7, 5, 7, 0);
	CHECK("write of a read-only page", raises_at(write, AT + 8, 3));
	CHECK("exchange with a read-only page", raises_at(exchange, AT + 8, 3));
	CHECK("a string into it stops at its start", raises_at(move_string, AT + 8, 3));
	user_at = AT + 16;
	in_user(user_write, 0);
	CHECK("user write of a read-only page", faulted(AT + 16, 7));
	map(5, 7, 7, 0);
	CHECK("read-only by the directory", raises_at(write, AT, 3));
	map(7, 3, 7, 0);
	in_user(user_read, 0);
	CHECK("user read of a kernel page", faulted(AT + 16, 5));
	in_user(user_write, 0);
	CHECK("user write of a kernel page", faulted(AT + 16, 7));
	map(3, 7, 7, 0);
	in_user(user_read, 0);
	CHECK("kernel's by the directory", faulted(AT + 16, 5));
	in_user(user_jump, 0);
	CHECK("user jump into it", faulted(AT + 16, 5) && caught.eip == AT + 16);
	map(7, 7, 7, 0);
	in_user(user_read, 0);
	CHECK("user read", caught.vector == 0x30);
	user_at = end;
	in_user(user_write, 0);
	CHECK("user write of what is not mapped", faulted(end, 6));
	map(7, 7, 4, 0);
	page[0][0xffe] = 0x22;
	CHECK("nothing is written before both pages are there",
	      raises(write_word, AT + 0xffe, PF, 2) && caught_cr2 == AT + 0x1000 && page[0][0xffe] == 0x22);
	CHECK("a string across pages stops between them", raises(move_string, AT + 0xff0, PF, 2) &&
								  caught_cr2 == AT + 0x1000 && caught.ecx == 16 &&
								  caught.edi == AT + 0x1000);
	page[0][0xfff] = 0xe9; // a jump whose operand is on the next page
	CHECK("an instruction across pages",
	      raises(jump, AT + 0xfff, PF, 0) && caught_cr2 == AT + 0x1000 && caught.eip == AT + 0xfff);
}

static void bits(void)
{
	map(7, 7, 7, 0);
	guarded(read, AT);
	CHECK("read sets A", (entry(1, 0) & (A | D)) == A && (entry(2, 0) & (A | D)) == A && !(entry(1, 1) & A));
	guarded(write, AT);
	CHECK("write sets D, in the page's entry alone", (entry(1, 0) & D) && !(entry(2, 0) & D));
	map(7, 7, 7, 0);
	page[0][0] = 0xff;
	guarded(compare, AT);
	CHECK("compare-exchange that fails sets D", (entry(1, 0) & (A | D)) == (A | D));
	map(7, 5, 7, 0);
	guarded(write, AT);
	CHECK("refused write sets no D", caught.vector == PF && !(entry(1, 0) & D));
	map(7, 7, 7, 0);
	page[0][4] = 0xc3;
	guarded(jump, AT + 4);
	CHECK("fetch sets A", (entry(1, 0) & (A | D)) == A);
	map(7, 5, 7, 0);
	write_cr0(read_cr0() & ~0x10000u);
	CHECK("without CR0.WP the kernel writes read-only pages", !guarded(write, AT) && (entry(1, 0) & D));
	user_at = AT;
	in_user(user_write, 0);
	CHECK("and a program does not", faulted(AT, 7));
	write_cr0(read_cr0() | 0x10000);
	map(7, 7, 7, 0);
	in_user(user_write, 0);
	CHECK("user write sets A and D", caught.vector == 0x30 && (entry(1, 0) & (A | D)) == (A | D));
}

static void set_large(u64 e)
{
	directory[AT >> 22] = (u32)e;
	directories[1][0] = e;
	flush();
}

static void large_pages(void)
{
	u32 base = (u32)page & (pae ? ~0x1fffffu : ~0x3fffffu);

	set_large(base | 0x83);
	page[0][7] = 0x99;
	guarded(read, AT + ((u32)page - base) + 7);
	CHECK("large page sets A", (entry(2, 0) & (A | D)) == A);
	guarded(write, AT + ((u32)page - base) + 7);
	CHECK("large page is written", page[0][7] == 0xc3 && (entry(2, 0) & D));
	user_at = AT;
	in_user(user_read, 0);
	CHECK("large page of the kernel", faulted(AT, 5));
	set_large(base | 0x81);
	CHECK("large page read-only", raises_at(write, AT, 3));
	set_large(base | 0x83 | (pae ? 1 << 13 : 1 << 21));
	CHECK("large page with a reserved bit", reserved(read, AT));
}

static void protections(void)
{
	map(7, 7, 7, 0);
	page[0][0] = 0xc3;
	write_cr4(read_cr4() | 1 << 20);
	CHECK("SMEP: jump to a user page", raises(jump, AT, PF, 0x11) && caught_cr2 == AT);
	in_user(user_read, 0);
	CHECK("SMEP: error codes tell of fetches", faulted((u32)user_read, 0x15));
	write_cr4(read_cr4() & ~(1u << 20));
}

static void smap(void)
{
	write_cr4(read_cr4() | 1 << 21);
	CHECK("SMAP: write of a user page", raises_at(write, AT, 3));
	CHECK("SMAP: with AC", !guarded(write_stac, AT));
	write_cr4(read_cr4() & ~(1u << 21));
}

static void nx(void)
{
	u32 a, d;

	map(7, 7, 7, 0x80000000);
	CHECK("NX is reserved while EFER.NXE is clear", reserved(read, AT));
	map(7, 7, 7, 1 << 20);
	CHECK("bit 52 is reserved", reserved(read, AT));
	asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(EFER));
	asm volatile("wrmsr" ::"a"(a | 0x800), "d"(d), "c"(EFER));
	map(7, 7, 7, 0x80000000);
	page[0][0] = 0xc3;
	CHECK("jump into an NX page", raises(jump, AT, PF, 0x11) && caught_cr2 == AT);
	CHECK("read of an NX page", !guarded(read, AT));
	user_at = AT;
	in_user(user_jump, 0);
	CHECK("user jump into an NX page", faulted(AT, 0x15));
	user_at = AT + 0x3000;
	in_user(user_jump, 0);
	CHECK("user jump to what is not mapped, with NX", faulted(AT + 0x3000, 0x14));
	asm volatile("wrmsr" ::"a"(a), "d"(d), "c"(EFER));
	pdpt[1] = 0;
	flush();
	CHECK("no top-level entry", raises_at(read, AT, 0));
	pdpt[1] = (u32)directories[1] | 1;
	flush();
}

// The kernel's own pages are the supervisor's for SMEP and SMAP: user code would not run.
static void identity(u32 rights)
{
	for (unsigned i = 0; i < 2; i++)
		directory[i] = i << 22 | rights;
	for (unsigned i = 0; i < 4; i++) {
		directories[0][i] = i << 21 | rights;
		pdpt[i] = (u32)directories[i] | 1;
	}
	flush();
}

static void all(void)
{
	identity(0x87);
	write_cr4((read_cr4() & ~0x20u) | 0x10 | (pae ? 0x20 : 0));
	flush();
	write_cr0(read_cr0() | 0x80010000);
	faults();
	bits();
	large_pages();
	if (pae)
		nx();
	identity(0x83);
	protections();
	smap();
	identity(0x87);
	write_cr0(read_cr0() & ~0x80000000u);
}

static void without_pse(void)
{
	u32 old = directory[0];

	identity(0x83);
	for (unsigned i = 0; i < 1024; i++)
		table[i] = i << 12 | 3;
	directory[0] = (u32)table | 0x83; // PS means nothing
	directory[1] = (u32)table | 3;
	write_cr4(read_cr4() & ~0x30u);
	write_cr0(read_cr0() | 0x80000000);
	page[0][0] = 0x42;
	CHECK("without PSE", *(volatile u8 *)page[0] == 0x42 && *(volatile u8 *)(page[0] + 0x400000) == 0x42);
	directory[3] = (u32)directory | 3; // the directory as a table: its entries as pages
	CHECK("a directory that is its own table",
	      *(volatile u32 *)(3 << 22 | 3 << 12) == directory[0] && (directory[3] & A));
	*(volatile u32 *)(3 << 22 | 3 << 12 | 4000) = 0;
	CHECK("and D in it", directory[3] & D);
	write_cr0(read_cr0() & ~0x80000000u);
	write_cr4(read_cr4() | 0x10);
	directory[0] = old;
	directory[3] = 0;
}

void enter_pae(void)
{
	pae = true;
	identity(0x83);
	write_cr4(read_cr4() | 0x20);
	write_cr0(read_cr0() | 0x80000000);
}

void test_paging(void)
{
	pae = false;
	all();
	without_pse();
	pae = true;
	all();
	write_cr4(read_cr4() & ~0x20u);
}
