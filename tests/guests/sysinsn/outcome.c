// SPDX-License-Identifier: MIT
// Outcomes: what part of them comes from memory, and their text. Shared by test kernel and host.
#include "tests/guests/sysinsn/cases.h"

#include "base/string.h"

#define F(name) #name,
static const char *const names[] = {OUTCOME_FIELDS(F)};
#undef F

const char *outcome_name(unsigned field)
{
	return names[field];
}

void outcome_baseline(const struct sys_case *c, struct outcome *o)
{
	memset(o, 0, sizeof(*o));
	for (unsigned i = 0; i < 16; i++)
		o->f[O_rax + i] = i == R_RSP ? 0 : c->gpr[i];
	o->f[O_cs] = is64(c->entry) ? (user(c->entry) ? S_UCS : S_KCS) : user(c->entry) ? S_UCS32 : S_KCS32;
	o->f[O_ss] = user(c->entry) ? S_UDS : S_KDS;
	o->f[O_rsp] = c->gpr[R_RSP];
	o->f[O_flags] = c->flags;
	o->f[O_vector] = VEC_BP;
	o->f[O_rip] = code_page(c->entry) + W_CODE_AT + c->length + 1;
	o->f[O_entry_cs] = S_KCS;
	o->f[O_entry_ss] = user(c->entry) ? 0 : S_KDS;
	o->f[O_entry_rsp] = user(c->entry) ? W_RSP0 + 0xfc8 : (c->gpr[R_RSP] & ~15ull) - 40;
	o->f[O_entry_flags] = c->flags & ~(RFL_IF | RFL_TF | RFL_NT | RFL_RF);
	o->f[O_cr2] = c->cr2;
	o->f[O_ds] = c->ds;
	o->f[O_es] = c->es;
	o->f[O_fs] = c->fs;
	o->f[O_gs] = c->gs;
	o->f[O_fs_base] = c->fs_base;
	o->f[O_gs_base] = c->gs_base;
	o->f[O_kernel_gs_base] = c->kernel_gs_base;
	o->f[O_cr0] = c->cr0;
	o->f[O_cr3] = W_PML4;
	o->f[O_cr4] = c->cr4;
	o->f[O_cr8] = c->cr8;
	o->f[O_efer] = c->efer;
	o->f[O_star] = c->star;
	o->f[O_lstar] = c->lstar;
	o->f[O_cstar] = c->cstar;
	o->f[O_sfmask] = c->sfmask;
	for (unsigned i = 0; i < 4; i++)
		o->f[O_dr0 + i] = c->dr[i];
	o->f[O_dr6] = c->dr[6];
	o->f[O_dr7] = c->dr[7];
	o->f[O_gdt_base] = W_GDT;
	o->f[O_gdt_limit] = GDT_LIMIT;
	o->f[O_idt_base] = W_IDT;
	o->f[O_idt_limit] = 0xfff;
	o->f[O_ldtr] = c->ldt;
	o->f[O_tr] = S_TSS;
	for (unsigned i = 0; i < 5; i++)
		o->f[O_stack0 + i] = world_pattern(c->gpr[R_RSP] + i * 8);
}

static u64 word(const u8 *image, u64 at)
{
	u64 v;

	memcpy(&v, image + (at - WORLD), 8);
	return v;
}

static void region(struct outcome *o, unsigned first, const u8 *image, const u8 *pristine, u64 from, u64 bytes)
{
	u64 sum = 0;

	for (u64 at = from; at < from + bytes; at += 8) {
		u64 v = word(image, at);

		if (v == word(pristine, at))
			continue;
		if (!sum) {
			o->f[first] = at - from + 1;
			o->f[first + 1] = v;
		}
		sum = (sum + (v ^ at)) * 0x9e3779b97f4a7c15ull | 1;
	}
	o->f[first + 2] = sum;
}

// In long mode a frame starts 16-byte aligned at its top, so that RSP tells whether an error code was pushed.
static void frame(struct outcome *o, const u8 *image)
{
	u64 at = o->f[O_entry_rsp], end = at + (at & 8 ? 40 : 48);

	if (at < W_PT || at > WORLD + W_SIZE - 48 || (end > W_HOLE && at < W_HOLE + PAGE_SIZE))
		return;
	if (!(at & 8)) {
		o->f[O_error] = word(image, at) | ERROR_PRESENT;
		at += 8;
	}
	for (unsigned i = 0; i < 5; i++)
		o->f[O_rip + i] = word(image, at + i * 8);
	for (unsigned i = 0; i < 5; i++) {
		u64 above = o->f[O_rsp] + i * 8;

		if (above >= W_PT && above <= W_RESTORED_END - 8 && (above + 7) / PAGE_SIZE != W_HOLE / PAGE_SIZE &&
		    above / PAGE_SIZE != W_HOLE / PAGE_SIZE)
			o->f[O_stack0 + i] = word(image, above);
	}
}

void outcome_memory(struct outcome *o, const u8 *image, const u8 *pristine)
{
	frame(o, image);
	region(o, O_gdt_at, image, pristine, W_GDT, ROUND_UP(GDT_LIMIT, 8));
	region(o, O_ldt_at, image, pristine, W_LDT, 0x30);
	region(o, O_tss_at, image, pristine, W_TSS, 0x70);
	region(o, O_data_at, image, pristine, W_DATA, PAGE_SIZE);
	region(o, O_kdata_at, image, pristine, W_KDATA, PAGE_SIZE);
	region(o, O_ustack_at, image, pristine, W_USTACK, PAGE_SIZE);
}

static unsigned hex(char *buf, u64 v)
{
	unsigned n = 1;

	while (n < 16 && v >> (4 * n))
		n++;
	for (unsigned i = 0; i < n; i++)
		buf[i] = "0123456789abcdef"[v >> (4 * (n - 1 - i)) & 15];
	return n;
}

unsigned outcome_print(const struct outcome *o, const struct outcome *base, char *buf, unsigned size)
{
	unsigned n = 0;

	for (unsigned i = 0; i < OUTCOME_COUNT; i++) {
		if (o->f[i] == base->f[i] || n + 24 > size)
			continue;
		buf[n++] = ' ';
		n += hex(buf + n, i);
		buf[n++] = '=';
		n += hex(buf + n, o->f[i]);
	}
	buf[n] = 0;
	return n;
}
