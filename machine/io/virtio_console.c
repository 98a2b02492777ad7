// SPDX-License-Identifier: MIT
// One receive and one transmit queue. Every descriptor has a buffer of its own for good: descriptor i is buffer i. The device's
// word is checked: ids and lengths out of range are ours to bound.
//
// Invariants
//  - rx: every buffer is with the device, or is the one being read (rx_at < rx_end), or is done and waits in the used ring.
//  - tx: free_count buffers are ours; the others are with the device until they show in the used ring.
#include "machine/io/virtio_console.h"

#include "base/log.h"
#include "base/string.h"
#include "machine/cpu/spinlock.h"
#include "machine/cpu/traps.h"
#include "machine/io/pci.h"
#include "machine/irq/ioapic.h"
#include "machine/mm/frames.h"

#define VENDOR 0x1af4
#define DEVICE 0x1003 // transitional console

// Registers behind BAR 0.
#define REG_GUEST_FEATURES 4
#define REG_QUEUE_PFN 8
#define REG_QUEUE_SIZE 12
#define REG_QUEUE_SELECT 14
#define REG_NOTIFY 16
#define REG_STATUS 18
#define REG_ISR 19
#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER 2
#define STATUS_DRIVER_OK 4
#define STATUS_FAILED 128

#define DESC_WRITE 2 // the device writes
#define AVAIL_NO_INTERRUPT 1
#define QUEUE_SIZE_MAX 1024
#define BUFFERS 8 // of a page each, per queue
#define WAIT_LIMIT 100000000u

struct desc {
	u64 address;
	u32 len;
	u16 flags, next;
};

struct used_elem {
	u32 id, len;
};

struct queue {
	unsigned size; // of the device's rings
	struct desc *desc;
	volatile u16 *avail; // flags, idx, ring[size]
	volatile u16 *used;  // flags, idx, then the elements
	u16 next_avail, seen_used;
	u8 *buffer[BUFFERS];
};

static struct {
	bool present;
	u16 io;
	unsigned line;
	struct queue rx, tx;
	struct spinlock rx_lock, tx_lock;
	u16 free[BUFFERS]; // of tx
	unsigned free_count;
	unsigned rx_buffer, rx_at, rx_end;
} console;

static struct used_elem used_at(const struct queue *q, u16 i)
{
	const volatile struct used_elem *e = (const volatile void *)(q->used + 2);

	return (struct used_elem){e[i % q->size].id, e[i % q->size].len};
}

static bool has_used(const struct queue *q)
{
	return __atomic_load_n(&q->used[1], __ATOMIC_ACQUIRE) != q->seen_used;
}

static void give(struct queue *q, u16 id)
{
	q->avail[2 + q->next_avail % q->size] = id;
	q->next_avail++;
	__atomic_store_n(&q->avail[1], q->next_avail, __ATOMIC_RELEASE);
}

static void notify(unsigned queue)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	outw(console.io + REG_NOTIFY, (u16)queue);
}

// Descriptors, available ring, used ring on the next page; the layout is the device's.
static bool create_queue(struct queue *q, unsigned index, u16 flags)
{
	u64 used_offset;
	mpn_t mpn;

	outw(console.io + REG_QUEUE_SELECT, (u16)index);
	q->size = inw(console.io + REG_QUEUE_SIZE);
	if (q->size < BUFFERS || q->size > QUEUE_SIZE_MAX)
		return false;
	used_offset = ROUND_UP(q->size * sizeof(struct desc) + (3 + q->size) * sizeof(u16), PAGE_SIZE);
	mpn = frames_alloc((used_offset + ROUND_UP(3 * sizeof(u16) + q->size * sizeof(struct used_elem), PAGE_SIZE)) >> PAGE_SHIFT, 0);
	if (mpn == MPN_NONE || mpn >> 32)
		return false;
	q->desc = frame_ptr(mpn);
	q->avail = (volatile u16 *)(q->desc + q->size);
	q->used = (volatile u16 *)((u8 *)frame_ptr(mpn) + used_offset);
	for (unsigned i = 0; i < BUFFERS; i++) {
		mpn_t page = frame_alloc();

		if (page == MPN_NONE)
			return false;
		q->buffer[i] = frame_ptr(page);
		q->desc[i] = (struct desc){.address = page << PAGE_SHIFT, .len = PAGE_SIZE, .flags = flags};
	}
	outl(console.io + REG_QUEUE_PFN, (u32)mpn);
	return true;
}

static bool start(void)
{
	outb(console.io + REG_STATUS, 0);
	outb(console.io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	outl(console.io + REG_GUEST_FEATURES, 0); // no more ports than one, no control queue
	if (!create_queue(&console.rx, 0, DESC_WRITE) || !create_queue(&console.tx, 1, 0)) {
		outb(console.io + REG_STATUS, STATUS_FAILED);
		return false;
	}
	console.tx.avail[0] = AVAIL_NO_INTERRUPT;
	for (u16 i = 0; i < BUFFERS; i++) {
		console.free[console.free_count++] = i;
		give(&console.rx, i);
	}
	outb(console.io + REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_DRIVER_OK);
	notify(0);
	return true;
}

void virtio_console_init(void)
{
	struct pci_device d;

	if (!pci_find(VENDOR, DEVICE, &d))
		return;
	pci_enable(&d);
	console.io = pci_io_bar(&d, 0);
	console.line = pci_interrupt_line(&d);
	console.present = console.io && start();
	if (!console.present)
		log_warn("virtio console: found, but it does not start");
}

static void on_interrupt(struct trap_frame *f, void *arg)
{
	(void)inb(console.io + REG_ISR); // lets the line fall; the rings are looked at by virtio_console_read()
}

void virtio_console_irq_init(void)
{
	if (!console.present || !console.line)
		return;
	irq_set_handler(VIRTIO_VECTOR, on_interrupt, NULL);
	ioapic_route_isa(console.line, VIRTIO_VECTOR);
}

bool virtio_console_present(void)
{
	return console.present;
}

// ---- output

static void reclaim(void)
{
	struct queue *q = &console.tx;

	for (; has_used(q) && console.free_count < BUFFERS; q->seen_used++)
		console.free[console.free_count++] = (u16)(used_at(q, q->seen_used).id % BUFFERS);
}

static bool wait_free(void)
{
	for (unsigned i = 0; i < WAIT_LIMIT; i++) {
		reclaim();
		if (console.free_count)
			return true;
		cpu_relax();
	}
	return false;
}

void virtio_console_write(const void *bytes, size_t n)
{
	struct queue *q = &console.tx;
	const u8 *in = bytes;
	u64 flags = spin_lock_irqsave(&console.tx_lock);

	while (n && wait_free()) {
		u16 id = console.free[--console.free_count];
		size_t piece = MIN(n, (size_t)PAGE_SIZE);

		memcpy(q->buffer[id], in, piece);
		q->desc[id].len = (u32)piece;
		give(q, id);
		notify(1);
		in += piece;
		n -= piece;
	}
	spin_unlock_irqrestore(&console.tx_lock, flags);
}

// ---- input

// The next buffer that the device has filled becomes the one being read.
static bool next_buffer(void)
{
	struct queue *q = &console.rx;
	struct used_elem e;

	if (!has_used(q))
		return false;
	e = used_at(q, q->seen_used++);
	console.rx_buffer = e.id % BUFFERS;
	console.rx_at = 0;
	console.rx_end = MIN(e.len, (u32)PAGE_SIZE);
	return true;
}

size_t virtio_console_read(void *buf, size_t n)
{
	u64 flags = spin_lock_irqsave(&console.rx_lock);
	size_t got = 0;

	while (got < n && (console.rx_at < console.rx_end || next_buffer())) {
		size_t piece = MIN(n - got, (size_t)(console.rx_end - console.rx_at));

		memcpy((u8 *)buf + got, console.rx.buffer[console.rx_buffer] + console.rx_at, piece);
		got += piece;
		console.rx_at += piece;
		if (console.rx_at == console.rx_end) {
			give(&console.rx, (u16)console.rx_buffer);
			notify(0);
		}
	}
	spin_unlock_irqrestore(&console.rx_lock, flags);
	return got;
}
