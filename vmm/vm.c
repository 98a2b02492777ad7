// SPDX-License-Identifier: MIT
// Creates a VM from its description, and ends it. All memory that a VM needs is taken here, before it runs.
#include "vmm/vm.h"

#include "abi/control.h"
#include "abi/machine.h"
#include "base/assert.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/string.h"
#include "core/platform/acpi.h"
#include "core/platform/boot.h"
#include "machine/cpu/cpu.h"
#include "machine/io/cmos.h"
#include "machine/irq/time.h"
#include "machine/mm/frames.h"
#include "vmm/integrity.h"
#include "vmm/knobs.h"
#include "vmm/lives.h"
#include "vmm/lockstep.h"
#include "vmm/pv.h"
#include "vmm/reserve.h"
#include "vmm/service.h"

#define LOW_RAM_MAX (3 * GIB)
#define HIGH_RAM_BASE (4 * GIB)

// Sizes of the translator's memory. A cache that is full is emptied, and filled again with what is in use.
#define CODE_MIN (3 * MIB)
#define LINKS_MIN (MIB / 2)
#define META_MIN (5 * MIB)
static const struct cache_size {
	u64 code, links, meta;
} cache_sizes[] = {
	{CODE_MIN, LINKS_MIN, META_MIN},
	{8 * MIB, 2 * MIB, 9 * MIB},
	{16 * MIB, 4 * MIB, 16 * MIB},
};
// The hypervisor is to take no more of the machine than this part (64 MiB of 2 GiB), as long as its VMs can do with less.
#define HYPERVISOR_PART 32
#define TABLES_EXPECTED (2 * MIB) // shadow tables of a VM that has booted

static unsigned vms_expected = 1;
static u64 guests_bytes; // RAM of all VMs

void vm_expect(unsigned vms)
{
	vms_expected = MAX(vms, 1u);
}

u64 vm_hypervisor_bytes(void)
{
	struct frame_counts f = frame_counts();

	return (f.total - f.free) * PAGE_SIZE - __atomic_load_n(&guests_bytes, __ATOMIC_RELAXED);
}

u64 vm_hypervisor_part(void)
{
	return frame_counts().total * PAGE_SIZE / HYPERVISOR_PART;
}

_Static_assert(CODE_MIN + LINKS_MIN + META_MIN + TABLES_EXPECTED >= TZ_VM_OVERHEAD,
	       "the host command refuses what would fit");

static const char *const end_names[] = {
	[END_NONE] = "running",     [END_POWER_OFF] = TZ_END_POWEROFF,  [END_RESET] = TZ_END_RESET,
	[END_CRASH] = TZ_END_CRASH, [END_DESTROYED] = TZ_END_DESTROYED, [END_DEBUG_EXIT] = TZ_END_DEBUG_EXIT,
};

const char *vm_end_name(enum vm_end how)
{
	return end_names[how];
}

// The first reason wins.
void vm_end(struct vm *vm, enum vm_end how, u32 value, const char *fmt, ...)
{
	va_list ap;

	if (vm->state == VM_ENDED)
		return;
	vm->end = how;
	vm->end_value = value;
	trace(VM, TRACE_VM_ENDED, vm->id, how, value, 0);
	va_start(ap, fmt);
	fmt_vsnprintf(vm->end_reason, sizeof(vm->end_reason), fmt, ap);
	va_end(ap);
	__atomic_store_n(&vm->state, VM_ENDED, __ATOMIC_RELEASE); // last: other CPUs look at how it ended
	log_info("%s: %s: %s", vm->config.name, vm_end_name(how), vm->end_reason);
}

// ---- platform ports

void vm_console_flush(struct vm *vm)
{
	if (vm->console_used)
		service_console_out(vm, vm->console, vm->console_used);
	vm->console_used = 0;
}

void vm_console_put(struct vm *vm, const u8 *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!vm->console_used)
			vm->console_since = time_ns();
		vm->console[vm->console_used++] = bytes[i];
		if (vm->console_used == CONSOLE_BATCH)
			vm_console_flush(vm);
	}
}

static void console_out(void *ctx, const u8 *bytes, unsigned n)
{
	vm_console_put(ctx, bytes, n);
}

static void power_off(void *ctx)
{
	vm_end(ctx, END_POWER_OFF, 0, "powered off");
}

static void reset(void *ctx)
{
	vm_end(ctx, END_RESET, 0, "reset");
}

static void debug_exit(void *ctx, u32 value)
{
	vm_end(ctx, END_DEBUG_EXIT, value, "debug exit with %u", value);
}

static void guest_panic(void *ctx)
{
	vm_end(ctx, END_CRASH, 0, "its kernel panicked");
}

// The range is within a page. MMIO is not shared memory.
static bool ram_read(void *ctx, u64 gpa, void *buf, unsigned len)
{
	return gpa_ram(ctx, gpa) && gpa_read(ctx, gpa, buf, len);
}

static bool ram_write(void *ctx, u64 gpa, const void *buf, unsigned len)
{
	return gpa_ram(ctx, gpa) && gpa_write(ctx, gpa, buf, len);
}

static const struct platform_ports platform_ports = {
	.console_out = console_out,
	.power_off = power_off,
	.reset = reset,
	.debug_exit = debug_exit,
	.guest_panic = guest_panic,
	.ram_read = ram_read,
	.ram_write = ram_write,
};

// ---- memory

bool vm_fill_p2m(struct vm *vm, u64 base, u64 bytes)
{
	for (u64 i = 0; i < bytes >> PAGE_SHIFT; i++) {
		mpn_t mpn = frame_alloc();

		if (mpn == MPN_NONE)
			return false;
		vm->frames_held++;
		__atomic_add_fetch(&guests_bytes, PAGE_SIZE, __ATOMIC_RELAXED);
		vm->p2m[(base >> PAGE_SHIFT) + i] = mpn;
	}
	return true;
}

void *vm_take(struct vm *vm, size_t bytes)
{
	u64 n = ROUND_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	mpn_t mpn = reserve_room(n) ? frames_alloc(n, 0) : MPN_NONE;

	assert(vm->blocks < VM_BLOCKS);
	if (mpn == MPN_NONE)
		return NULL;
	vm->block[vm->blocks++] = (struct vm_block){mpn, n};
	vm->frames_held += n;
	vm->overhead_bytes += n << PAGE_SHIFT;
	return frame_ptr(mpn);
}

bool vm_create_p2m(struct vm *vm, u64 bytes)
{
	if (!reserve_room((ROUND_UP(vm->ppn_limit * sizeof(mpn_t), PAGE_SIZE) + bytes) >> PAGE_SHIFT))
		return false;
	vm->p2m = vm_take(vm, vm->ppn_limit * sizeof(mpn_t));
	for (ppn_t p = 0; vm->p2m && p < vm->ppn_limit; p++)
		vm->p2m[p] = MPN_NONE;
	return vm->p2m;
}

static bool create_memory(struct vm *vm)
{
	u64 high;

	vm->ram_bytes = vm->config.memory;
	vm->low_bytes = MIN(vm->ram_bytes, LOW_RAM_MAX);
	high = vm->ram_bytes - vm->low_bytes;
	vm->ppn_limit = (high ? HIGH_RAM_BASE + high : vm->low_bytes) >> PAGE_SHIFT;
	if (!vm_create_p2m(vm, vm->ram_bytes))
		return false;
	return vm_fill_p2m(vm, 0, 0xa0000) && vm_fill_p2m(vm, VGA_TEXT, VGA_TEXT_BYTES) && vm_fill_p2m(vm, 0xc0000, vm->low_bytes - 0xc0000) &&
	       vm_fill_p2m(vm, HIGH_RAM_BASE, high);
}

// Frames that a VM's shadow tables (two each) have in any case: what it takes to boot, and its memory mapped once.
static u32 shadow_reserve(const struct vm *vm)
{
	u64 tables = (TABLES_EXPECTED / PAGE_SIZE) / 2 + vm->ram_bytes / PAGE_SIZE / 512;

	return 2 * (u32)MIN(tables, (u64)vm->shadow_table_limit);
}

// Memory for the shadow's records, once.
static bool take_shadow(struct vm *vm)
{
	// Tables for twice the VM's memory mapped once, and a floor for small VMs.
	vm->shadow_table_limit = (u32)MIN(MAX(vm->ram_bytes / PAGE_SIZE / 128, 2048ull), 16384ull);
	reserve_begin(vm, shadow_reserve(vm));
	vm->shadow_memory_size = shadow_memory_needed(vm->ppn_limit, vm->shadow_table_limit);
	vm->shadow_memory = vm_take(vm, vm->shadow_memory_size);
	if (vmm_knobs.stress)
		vm->stress = vm_take(vm, shadow_stress_size());
	return vm->shadow_memory && (vm->stress || !vmm_knobs.stress);
}

static void tune_shadow(struct shadow *s)
{
	struct shadow_knobs k = shadow_get_knobs(s);

	k.rows = vmm_knobs.rows;
	if (!vmm_knobs.prefetch)
		k.leaf_run = k.direct_run = 0;
	shadow_tune(s, &k);
}

// CPUID leaf 0x80000008; 36 where there is none.
unsigned vm_physical_bits(void)
{
	return cpu_features.max_ext_leaf >= 0x80000008 ? cpuid(0x80000008, 0).eax & 0xff : 36;
}

static bool start_shadow(struct vm *vm)
{
	struct shadow_config c = {
		.ports = &vmm_shadow_ports,
		.ctx = vm,
		.ppn_limit = vm->ppn_limit,
		.gate_l3 = vm->vcpu.gate.l3,
		.markers = vm_physical_bits() < 52 && vmm_knobs.markers,
		.max_tables = vm->shadow_table_limit,
		.memory = vm->shadow_memory,
		.memory_size = vm->shadow_memory_size,
	};

	memset(c.memory, 0, c.memory_size);
	vm->shadow = shadow_create(&c);
	tune_shadow(vm->shadow);
	return vm->shadow != NULL;
}

#define GATE_FRAMES 128ull // at most

bool vm_create_gate(struct vm *vm, const struct gate_cache *cache)
{
	struct gate *g = &vm->vcpu.gate;
	enum status st = reserve_room(GATE_FRAMES) ? gate_create(g, cache) : ST_NOMEM;

	vm->frames_held += g->frames;
	vm->overhead_bytes += g->frames << PAGE_SHIFT;
	return st == ST_OK;
}

static size_t cache_bytes(const struct cache_size *c)
{
	return c->code + c->links + c->meta;
}

// The largest that is there and leaves as much for each of the VMs still to come. All else of this VM is there already.
static const struct cache_size *choose_cache(void)
{
	u64 part = vm_hypervisor_part(), used = vm_hypervisor_bytes();
	u64 mine = part > used ? (part - used) / vms_expected : 0;
	unsigned i = ARRAY_SIZE(cache_sizes) - 1;

	if (vmm_knobs.cache != KNOB_UNSET)
		return &cache_sizes[MIN(vmm_knobs.cache, i)];
	while (i && (cache_bytes(&cache_sizes[i]) + TABLES_EXPECTED > mine ||
		     !reserve_room((cache_bytes(&cache_sizes[i]) >> PAGE_SHIFT) + GATE_FRAMES)))
		i--;
	return &cache_sizes[i];
}

static bool create_cache(struct vm *vm)
{
	struct gate_cache *c = &vm->cache;
	const struct cache_size *size = choose_cache();
	void *code = vm_take(vm, size->code), *links = vm_take(vm, size->links), *ibtc = vm_take(vm, IBTC_ENTRIES * 8);

	if (!code || !links || !ibtc)
		return false;
	*c = (struct gate_cache){ptr_mpn(code), ptr_mpn(links), ptr_mpn(ibtc), size->code >> PAGE_SHIFT,
				 size->links >> PAGE_SHIFT};
	vm->translator_memory_size = size->meta;
	vm->translator_memory = vm_take(vm, size->meta);
	return vm->translator_memory && vm_create_gate(vm, c);
}

static bool start_translator(struct vm *vm)
{
	struct bt_config c = {
		.code = frame_ptr(vm->cache.code),
		.code_size = (vm->cache.code_pages - 1) << PAGE_SHIFT, // the last page is for port_native()
		.links = frame_ptr(vm->cache.links),
		.link_count = (vm->cache.link_pages << PAGE_SHIFT) / 8,
		.ibtc = frame_ptr(vm->cache.ibtc),
		.returns = vm->vcpu.gate.page->returns,
		.meta = vm->translator_memory,
		.meta_size = vm->translator_memory_size,
		.code_base = GATE_TC,
		.links_base = GATE_LINKS,
		.ibtc_base = GATE_IBTC,
		.vcpu_base = GATE_VCPU,
		.ports = &vmm_bt_ports,
		.ctx = &vm->vcpu,
		.block_limit = vmm_knobs.block_limit,
		.count_instructions = vmm_knobs.count_instructions,
		.cr2_in_page = true,
		.cr3_by_gate = true,
		.invlpg_in_page = true,
		.uart_in_page = true,
		.lone_blocks = lockstep_wanted(),
		.plant = (unsigned)vmm_knobs.plant,
		// Linux's, which would be the first flush; the guest's own come with its STAR.
		.guest_ss = 0x18,
		.user_cs = 0x33,
		.user_ss = 0x2b,
	};

	vm->bt = bt_create(&c);
	return vm->bt != NULL;
}

// ---- loading

// The loader has checked its places against the memory's size; a hole would be a bug of ours.
static void load_write(void *ctx, u64 gpa, const void *bytes, u64 len)
{
	struct vm *vm = ctx;
	const u8 *in = bytes;

	while (len) {
		u64 n = MIN(len, PAGE_SIZE - (gpa & PAGE_MASK));
		void *ram = gpa_ram(vm, gpa);

		assert(ram);
		memcpy(ram, in, n);
		in += n, gpa += n, len -= n;
	}
}

static void load_acpi(void *ctx, u64 gpa, const void *bytes, unsigned len)
{
	load_write(ctx, gpa, bytes, len);
}

static void load_zero(void *ctx, u64 gpa, u64 len)
{
	struct vm *vm = ctx;

	while (len) {
		u64 n = MIN(len, PAGE_SIZE - (gpa & PAGE_MASK));
		void *ram = gpa_ram(vm, gpa);

		assert(ram);
		memset(ram, 0, n);
		gpa += n, len -= n;
	}
}

static bool load_kernel(struct vm *vm, char *error, size_t size)
{
	const struct bundle *bundle = vm->bundle;
	struct bundle_file kernel, ramdisk = {0};
	struct acpi_config acpi = {.base = ACPI_AREA, .mem_low = vm->low_bytes, .write = load_acpi, .ctx = vm};
	struct guest_boot b = {
		.name = vm->config.name,
		.cmdline = vm->config.cmdline,
		.mem_low = vm->low_bytes,
		.mem_high = vm->ram_bytes - vm->low_bytes,
		.write = load_write,
		.zero = load_zero,
		.ctx = vm,
	};

	if (bundle_find(bundle, vm->config.kernel, &kernel) != ST_OK ||
	    (vm->config.ramdisk[0] && bundle_find(bundle, vm->config.ramdisk, &ramdisk) != ST_OK)) {
		fmt_snprintf(error, size, "kernel or ramdisk is not in the bundle");
		return false;
	}
	b.image = kernel.data;
	b.image_size = kernel.size;
	b.ramdisk = ramdisk.data;
	b.ramdisk_size = ramdisk.size;
	b.acpi_rsdp = acpi_build(&acpi);
	if (guest_boot_load(&b, &vm->vcpu.cpu) == ST_OK)
		return true;
	fmt_snprintf(error, size, "kernel: %s", b.error);
	return false;
}

static void clear_screen(struct vm *vm)
{
	for (u64 gpa = VGA_TEXT; gpa < VGA_TEXT + VGA_TEXT_BYTES; gpa += 2)
		*(u16 *)gpa_ram(vm, gpa) = VGA_BLANK;
}

static void create_platform(struct vm *vm)
{
	struct platform_config c = {
		.ports = &platform_ports,
		.ctx = vm,
		.mem_low = vm->low_bytes,
		.mem_high = vm->ram_bytes - vm->low_bytes,
		.wall_seconds = rtc_wall_seconds() - time_ns() / 1000000000,
		.tsc_khz = (u32)tsc_khz(),
		.tsc_base = rdtsc() - ns_to_tsc(time_ns()),
		.x2apic = vmm_knobs.x2apic,
		.tsc_deadline = true,
		.kvm = true,
	};

	platform_init(&vm->platform, &c);
}

static void start_vcpu(struct vm *vm)
{
	const u16 fcw = 0x37f; // as FNINIT leaves it
	const u32 mxcsr = 0x1f80;
	struct vcpu *v = &vm->vcpu;

	memset(&v->cpu, 0, sizeof(v->cpu));
	memset(v->gate.page, 0, sizeof(*v->gate.page));
	memset(v->fpu, 0, sizeof(v->fpu));
	memcpy(v->fpu, &fcw, sizeof(fcw));
	memcpy(v->fpu + 24, &mxcsr, sizeof(mxcsr));
	for (unsigned i = 0; i < sizeof(v->gate.page->popf_special); i++)
		v->gate.page->popf_special[i] = POPF_SPECIAL(i);
	v->emul = (struct emul){.cpu = &v->cpu, .ports = &vmm_emul_ports, .ctx = v};
	v->gate.page->marker_cr2 = v->marker_seen = ~0ull;
	v->in_machine = false;
	v->exit_tsc = 0;
	v->segments_live = true;
	v->cache_generation = ~0ull;
	v->machine_dr7 = 0;
	v->gate.trust->lstar_tc = 0;
	roots_forget(v);
	v->gdt_pages.count = v->ldt_pages.count = 0;
	reflect_forget(v);
}

bool vm_boot(struct vm *vm, char *error, size_t error_size)
{
	start_vcpu(vm);
	if (vm->pv)
		return pv_vm_boot(vm, error, error_size);
	if (!start_shadow(vm) || !start_translator(vm)) {
		fmt_snprintf(error, error_size, "not enough memory for the shadow page tables or the translator");
		return false;
	}
	create_platform(vm);
	clear_screen(vm);
	if (!load_kernel(vm, error, error_size))
		return false;
	if (!(vm->vcpu.cpu.efer & EFER_LMA))
		platform_start_timer(&vm->platform, time_ns());
	vcpu_load_root(&vm->vcpu);
	return vm->state != VM_ENDED;
}

#define VM_FRAMES (ROUND_UP(sizeof(struct vm), PAGE_SIZE) >> PAGE_SHIFT)

void vm_too_large(const struct vm *vm, u64 frames_left, char *error, size_t size)
{
	fmt_snprintf(error, size,
		     "not enough machine memory: %lu MiB and what the hypervisor needs for them do not fit in the %lu MiB that are left",
		     (unsigned long)(vm->config.memory / MIB), (unsigned long)(frames_left * PAGE_SIZE / MIB));
}

static bool create(struct vm *vm, char *error, size_t error_size)
{
	u64 left = reserve_left();

	if (vm->config.type == VM_PV) {
		if (!pv_vm_create(vm, error, error_size))
			return false;
	} else if (!create_memory(vm) || !take_shadow(vm) || !create_cache(vm) || !reserve_room(0)) {
		vm_too_large(vm, left, error, error_size);
		return false;
	}
	trace(MEMORY, TRACE_MEMORY_TAKEN, vm->ram_bytes, vm->overhead_bytes, 0, 0);
	return vm_boot(vm, error, error_size);
}

struct vm *vm_create(const struct bundle *bundle, const struct vm_config *config, char *error, size_t error_size)
{
	mpn_t mpn = reserve_room(VM_FRAMES) ? frames_alloc(VM_FRAMES, 0) : MPN_NONE;
	struct vm *vm;

	if (mpn == MPN_NONE) {
		fmt_snprintf(error, error_size, "not enough machine memory");
		return NULL;
	}
	vm = frame_ptr(mpn);
	vm->config = *config;
	vm->bundle = bundle;
	vm->vcpu.vm = vm;
	if (create(vm, error, error_size))
		return vm;
	vm_free(vm);
	vm_forget(vm);
	return NULL;
}

struct vm *vm_record(const struct vm_config *config, const char *reason)
{
	mpn_t mpn = frames_alloc(VM_FRAMES, 0);
	struct vm *vm = mpn == MPN_NONE ? NULL : frame_ptr(mpn);

	if (!vm)
		return NULL;
	vm->config = *config;
	vm->vcpu.vm = vm;
	vm->state = VM_ENDED;
	vm->end = END_CRASH;
	fmt_snprintf(vm->end_reason, sizeof(vm->end_reason), "%s", reason);
	vm->freed = vm->over = true;
	return vm;
}

void vm_keep_bundle(struct vm *vm, const struct bundle *bundle)
{
	u64 frames = ROUND_UP(bundle->size, PAGE_SIZE) >> PAGE_SHIFT;

	assert(vm->blocks < VM_BLOCKS);
	vm->block[vm->blocks++] = (struct vm_block){ptr_mpn(bundle->base), frames};
	vm->frames_held += frames;
	vm->overhead_bytes += frames * PAGE_SIZE;
	vm->own_bundle = *bundle;
	vm->bundle = &vm->own_bundle;
}

// ---- the end

void vm_drop_page(struct vm *vm, ppn_t ppn)
{
	frame_free(vm->p2m[ppn]);
	vm->p2m[ppn] = MPN_NONE;
	vm->frames_held--;
	__atomic_sub_fetch(&guests_bytes, PAGE_SIZE, __ATOMIC_RELAXED);
}

static void free_ram(struct vm *vm)
{
	for (ppn_t p = 0; vm->p2m && p < vm->ppn_limit; p++)
		if (vm->p2m[p] != MPN_NONE)
			vm_drop_page(vm, p);
	vm->p2m = NULL;
	vm->ppn_limit = 0;
}

void vm_free(struct vm *vm)
{
	assert(!vm->freed);
	integrity_vm(vm);
	lives_end(vm);
	reserve_end(vm);
	pv_vm_free(vm);
	free_ram(vm);
	vm->frames_held -= vm->vcpu.gate.frames;
	gate_destroy(&vm->vcpu.gate);
	while (vm->blocks) {
		struct vm_block *b = &vm->block[--vm->blocks];

		frames_free(b->mpn, b->frames);
		vm->frames_held -= b->frames;
	}
	vm->freed = true;
	trace(MEMORY, TRACE_MEMORY_FREED, vm->ram_bytes, 0, 0, 0);
	assert(!vm->frames_held); // nothing leaks
}

unsigned vm_record_frames(void)
{
	return VM_FRAMES;
}

void vm_forget(struct vm *vm)
{
	assert(vm->freed);
	frames_free(ptr_mpn(vm), VM_FRAMES);
}
