// SPDX-License-Identifier: MIT
#include "vmm/com1.h"

#include "base/string.h"
#include "machine/cpu/spinlock.h"
#include "machine/io/serial.h"
#include "machine/io/virtio_console.h"
#include "vmm/log.h"
#include "vmm/sched.h"

static struct spinlock lock; // of the output
static bool on, prefixed, inside_line;
static const char *last_vm;
static u8 typed[64]; // read from the port, not yet taken by the VM
static size_t typed_count;

void com1_start(const struct boot_info *bi, unsigned vms)
{
	char value[16] = "";

	on = (!serial_present(SERIAL_COM2) && !virtio_console_present()) || (boot_option(bi, "console", value, sizeof(value)) && !strcmp(value, "com1"));
	prefixed = vms > 1;
	if (on)
		log_set_console_level(LOG_WARN);
}

void com1_stop(void)
{
	log_set_console_level(LOG_INFO);
}

static void put(const char *s)
{
	serial_write(SERIAL_COM1, s, strlen(s));
}

// Up to and with the next newline.
static size_t piece(const u8 *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] == '\n')
			return i + 1;
	return n;
}

void com1_console_out(const char *vm, const u8 *bytes, size_t n)
{
	if (!on)
		return;
	spin_lock(&lock);
	if (prefixed && inside_line && last_vm != vm) {
		put("\r\n");
		inside_line = false;
	}
	last_vm = vm;
	while (n) {
		size_t k = piece(bytes, n);

		if (prefixed && !inside_line) {
			put(vm);
			put("| ");
		}
		serial_write(SERIAL_COM1, bytes, k);
		inside_line = bytes[k - 1] != '\n';
		bytes += k, n -= k;
	}
	spin_unlock(&lock);
}

void com1_poll(struct vm *vm)
{
	size_t taken;
	int got;

	if (!on || !vm)
		return;
	do {
		got = serial_read(SERIAL_COM1, typed + typed_count, sizeof(typed) - typed_count);
		typed_count += got > 0 ? (size_t)got : 0;
		if (!typed_count)
			return;
		taken = console_type(vm, typed, (unsigned)typed_count);
		typed_count -= taken;
		memmove(typed, typed + taken, typed_count);
		if (taken)
			vcpu_kick(&vm->vcpu);
	} while (taken);
}
