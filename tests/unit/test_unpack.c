// SPDX-License-Identifier: MIT
// Kernels out of bzImages: packed here by each library as a kernel's build does it, then cut at every length, damaged at random,
// and with headers that lie; a stock kernel when one lies in guests/vmlinuz.
// LINK: tools/unpack.c tools/tool.c
// LIBS: -llzma -lzstd -llz4 -lz
#include "tools/unpack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "base/kernel_elf.h"
#include "tools/outlet.h"

#define SETUP 1024 // one sector and the header's
#define PAYLOAD_AT 0x40
#define STREAM_AT (SETUP + PAYLOAD_AT)
#define SMALL 1500
#define MOST (16 * MIB)
#define BEGIN "trapeze: a/kernel: "

// ---- a bzImage around what is packed

static u32 seed = 1;

static u32 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	return seed ^= seed << 5;
}

// Half of it can be packed.
static struct bytes fake_elf(size_t n)
{
	static const char head[] = "\177ELF\2\1\1";
	struct bytes b = {0};
	char line[64];

	bytes_add(&b, head, MIN(n, sizeof(head)));
	while (b.len < n) {
		for (unsigned i = 0; i < sizeof(line); i++)
			line[i] = (char)(i % 2 ? rnd() : i);
		bytes_add(&b, line, MIN(n - b.len, sizeof(line)));
	}
	return b;
}

static void set(struct bytes *b, size_t at, u64 value, unsigned bytes)
{
	assert_true(at + bytes <= b->len);
	memcpy(b->data + at, &value, bytes);
}

static void add32(struct bytes *b, u32 value)
{
	bytes_add(b, &value, 4);
}

static struct bytes image_of(const struct bytes *payload)
{
	static const char setup[STREAM_AT];
	struct bytes b = {0};

	bytes_add(&b, setup, sizeof(setup));
	set(&b, 0x1f1, SETUP / 512 - 1, 1);
	set(&b, 0x1fe, 0xaa55, 2);
	memcpy(b.data + 0x202, "HdrS", 4);
	set(&b, 0x206, 0x208, 2);
	set(&b, 0x248, PAYLOAD_AT, 4);
	set(&b, 0x24c, payload->len, 4);
	bytes_add(&b, payload->data, payload->len);
	bytes_add(&b, "behind the payload", 18);
	return b;
}

// ---- packers

static void pack_gzip(struct bytes *out, const struct bytes *in)
{
	z_stream z = {.next_in = (u8 *)in->data, .avail_in = (uInt)in->len};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	uLong room = deflateBound(&z, in->len);
	u8 *p = xalloc(room);

	z.next_out = p;
	z.avail_out = (uInt)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	bytes_add(out, p, z.total_out);
	deflateEnd(&z);
	free(p);
}

static void lzma_options(lzma_options_lzma *o)
{
	assert_false(lzma_lzma_preset(o, 1));
	o->dict_size = LZMA_DICT_SIZE_MIN;
}

static void pack_xz(struct bytes *out, const struct bytes *in)
{
	size_t room = lzma_stream_buffer_bound(in->len), n = 0;
	lzma_options_lzma o;
	lzma_filter filters[] = {{LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
	u8 *p = xalloc(room);

	lzma_options(&o);
	assert_int_equal(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, (u8 *)in->data, in->len, p, &n,
						   room),
			 LZMA_OK);
	bytes_add(out, p, n);
	free(p);
}

static void pack_lzma(struct bytes *out, const struct bytes *in)
{
	size_t room = lzma_stream_buffer_bound(in->len) + 4096;
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_options_lzma o;
	u8 *p = xalloc(room);

	lzma_options(&o);
	assert_int_equal(lzma_alone_encoder(&s, &o), LZMA_OK);
	s.next_in = (u8 *)in->data;
	s.avail_in = in->len;
	s.next_out = p;
	s.avail_out = room;
	assert_int_equal(lzma_code(&s, LZMA_FINISH), LZMA_STREAM_END);
	bytes_add(out, p, s.total_out);
	lzma_end(&s);
	free(p);
}

static void zstd_with(struct bytes *out, const struct bytes *in, int size_told)
{
	size_t room = ZSTD_compressBound(in->len);
	ZSTD_CCtx *c = ZSTD_createCCtx();
	u8 *p = xalloc(room);

	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, size_told);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	size_t n = ZSTD_compress2(c, p, room, in->data, in->len);

	assert_false(ZSTD_isError(n));
	bytes_add(out, p, n);
	ZSTD_freeCCtx(c);
	free(p);
}

static void pack_zstd(struct bytes *out, const struct bytes *in)
{
	zstd_with(out, in, 1);
}

static void lz4_with(struct bytes *out, const struct bytes *in, size_t block)
{
	add32(out, 0x184c2102);
	for (size_t at = 0; at < in->len; at += block) {
		int n = (int)MIN(block, in->len - at), room = LZ4_compressBound(n);
		char *p = xalloc((size_t)room);

		n = LZ4_compress_default(in->data + at, p, n, room);
		assert_true(n > 0);
		add32(out, (u32)n);
		bytes_add(out, p, (size_t)n);
		free(p);
	}
}

static void pack_lz4(struct bytes *out, const struct bytes *in)
{
	lz4_with(out, in, 1000);
}

static const struct packer {
	const char *name;
	void (*pack)(struct bytes *out, const struct bytes *in);
	bool size; // its build puts the size behind it
} packers[] = {
	{"gzip", pack_gzip, false}, {"xz", pack_xz, true},   {"lzma", pack_lzma, true},
	{"zstd", pack_zstd, true},  {"lz4", pack_lz4, true},
};

static struct bytes payload_of(const struct packer *p, const struct bytes *elf)
{
	struct bytes b = {0};

	p->pack(&b, elf);
	if (p->size)
		add32(&b, (u32)elf->len);
	return b;
}

static struct bytes packed(const struct packer *p, const struct bytes *elf)
{
	struct bytes payload = payload_of(p, elf), image = image_of(&payload);

	bytes_free(&payload);
	return image;
}

// ---- what comes out

static struct bytes complaint; // the last one, empty for none
static struct outlet complaints;

void outlet_add(struct outlet *o, const void *data, size_t n)
{
	assert_ptr_equal(o, &complaints);
	bytes_add(&complaint, data, n);
}

// From a copy that ends where the image does, so that the sanitizer sees what reads on.
static bool unpacks(const struct bytes *image, u64 most, struct bytes *elf)
{
	struct bytes copy = {.data = malloc(image->len), .len = image->len, .room = image->len};

	if (image->len)
		memcpy(copy.data, image->data, image->len);
	bytes_drop(&complaint, complaint.len);
	*elf = (struct bytes){0};
	bool done = unpack_kernel("a/kernel", &copy, most, elf);

	bytes_free(&copy);
	if (done) {
		assert_int_equal(complaint.len, 0);
		assert_true(elf->len <= most && elf->room <= 2 * elf->len + 1024);
		assert_memory_equal(elf->data, "\177ELF", 4);
	} else {
		assert_null(elf->data);
		assert_true(complaint.len > strlen(BEGIN));
		assert_memory_equal(complaint.data, BEGIN, strlen(BEGIN));
		assert_ptr_equal(strchr(complaint.data, '\n'), complaint.data + complaint.len - 1);
	}
	return done;
}

static void gives(const struct bytes *image, const struct bytes *elf)
{
	struct bytes out;

	if (!unpacks(image, MOST, &out))
		fail_msg("%s", complaint.data);
	assert_int_equal(out.len, elf->len);
	assert_memory_equal(out.data, elf->data, elf->len);
	bytes_free(&out);
}

static void refused_above(const struct bytes *image, u64 most, const char *why)
{
	struct bytes out;

	assert_false(unpacks(image, most, &out));
	if (!strstr(complaint.data, why))
		fail_msg("'%s' is not in: %s", why, complaint.data);
}

static void refused(const struct bytes *image, const char *why)
{
	refused_above(image, MOST, why);
}

// ---- tests

static void round_trip(void **state)
{
	static const size_t sizes[] = {5, SMALL, 65536, 131072};

	for (unsigned i = 0; i < ARRAY_SIZE(packers); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(sizes); k++) {
			struct bytes elf = fake_elf(sizes[k]), image = packed(&packers[i], &elf);

			gives(&image, &elf);
			bytes_free(&image);
			bytes_free(&elf);
		}
	}
}

static void elf_stays(void **state)
{
	struct bytes elf = fake_elf(SMALL);

	gives(&elf, &elf);
	elf.data[4] = 1; // of 32 bits: for others to judge
	gives(&elf, &elf);
	elf.len = 4;
	refused(&elf, "neither");
	bytes_free(&elf);
}

static void bounded(void **state)
{
	struct bytes elf = fake_elf(200000), out;

	memset(elf.data + 5, 0, elf.len - 5);
	for (unsigned i = 0; i < ARRAY_SIZE(packers); i++) {
		struct bytes image = packed(&packers[i], &elf);

		assert_true(unpacks(&image, elf.len, &out));
		bytes_free(&out);
		refused_above(&image, elf.len - 1, "too large when unpacked");
		refused_above(&image, 100, "too large when unpacked");
		refused_above(&image, 0, "too large when unpacked");
		bytes_free(&image);
	}
	bytes_free(&elf);
}

// Everything is needed but the size behind a stream that tells its end.
static void cut(void **state)
{
	struct bytes elf = fake_elf(SMALL), out;

	for (unsigned i = 0; i < ARRAY_SIZE(packers); i++) {
		struct bytes image = packed(&packers[i], &elf), payload = payload_of(&packers[i], &elf);
		size_t end = STREAM_AT + payload.len, stream = payload.len - 4 * packers[i].size;

		for (; image.len; image.len--) { // the file
			bool done = unpacks(&image, MOST, &out);

			assert_int_equal(done, image.len >= end);
			bytes_free(&out);
		}
		bytes_free(&image);
		for (size_t n = payload.len; payload.len; payload.len--) { // the payload, and the header says so
			image = image_of(&payload);
			bool done = unpacks(&image, MOST, &out);

			assert_int_equal(done,
					 payload.len == n || (payload.len == stream && packers[i].pack != pack_lz4));
			bytes_free(&out);
			bytes_free(&image);
		}
		bytes_free(&payload);
	}
	bytes_free(&elf);
}

static void damaged(void **state)
{
	struct bytes elf = fake_elf(SMALL), out;
	unsigned done = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(packers); i++) {
		struct bytes image = packed(&packers[i], &elf);

		for (unsigned n = 0; n < 20000 / ARRAY_SIZE(packers); n++) {
			struct bytes bad = {0};

			bytes_add(&bad, image.data, image.len);
			for (unsigned changes = 1 + rnd() % 4; changes; changes--) {
				// Half of them where the stream begins, some in the file's header.
				size_t at = STREAM_AT + rnd() % (image.len - STREAM_AT);

				if (rnd() % 2)
					at = STREAM_AT + rnd() % 64;
				else if (rnd() % 8 == 0)
					at = 0x1f1 + rnd() % 0x60;
				bad.data[at] = rnd() % 4 ? (char)(bad.data[at] ^ 1 << rnd() % 8) : (char)rnd();
			}
			done += unpacks(&bad, MOST, &out);
			bytes_free(&out);
			bytes_free(&bad);
		}
		bytes_free(&image);
	}
	assert_in_range(done, 100, 10000); // damage where it does not matter, and not only there
	bytes_free(&elf);
}

static void headers(void **state)
{
	static const struct {
		size_t at;
		u64 value;
		unsigned bytes;
		const char *why;
	} wrong[] = {
		{0x1fe, 0xaa54, 2, "neither a bzImage nor an ELF file"},
		{0x202, 0, 4, "neither a bzImage nor an ELF file"},
		{0x206, 0x207, 2, "boot protocol before 2.08"},
		{0x1f1, 255, 1, "cut short"},
		{0x248, 0x7fffffff, 4, "cut short"},
		{0x248, 0xffffffff, 4, "cut short"},
		{0x248, 0xfffff000, 4, "cut short"},
		{0x24c, 0xffffffff, 4, "cut short"},
		{0x24c, 0x80000000, 4, "cut short"},
		{0x248, PAYLOAD_AT + 1, 4, "unknown format"},
		{0x24c, 0, 4, "without a payload"},
		{0x24c, 1, 4, "unknown format"},
	};
	struct bytes elf = fake_elf(SMALL), image;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		image = packed(&packers[0], &elf);
		set(&image, wrong[i].at, wrong[i].value, wrong[i].bytes);
		refused(&image, wrong[i].why);
		bytes_free(&image);
	}
	image = packed(&packers[0], &elf);
	image.len = 0x24f;
	refused(&image, "header is cut short");
	image.len = 0x205;
	refused(&image, "neither");
	image.len = 0;
	refused(&image, "neither");
	bytes_free(&image);
	bytes_free(&elf);
}

// None told: four sectors, as long ago.
static void no_setup_sectors(void **state)
{
	struct bytes elf = fake_elf(SMALL), image = packed(&packers[0], &elf), moved = {0};

	bytes_add(&moved, image.data, SETUP);
	for (unsigned i = 0; i < 5 * 512 - SETUP; i++)
		bytes_add(&moved, "", 1);
	bytes_add(&moved, image.data + SETUP, image.len - SETUP);
	set(&moved, 0x1f1, 0, 1);
	gives(&moved, &elf);
	bytes_free(&moved);
	bytes_free(&image);
	bytes_free(&elf);
}

static void refused_payload(struct bytes *payload, const char *why)
{
	struct bytes image = image_of(payload);

	refused(&image, why);
	bytes_free(&image);
	bytes_free(payload);
}

static void other_formats(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *why;
	} others[] = {
		{"BZh91AY&SY", 10, "packed with bzip2, which is not supported"},
		{"\x89LZO\0\r\n\x1a\n", 9, "packed with lzo, which is not supported"},
		{"\x04\x22\x4d\x18", 4, "unknown format"}, // lz4's newer frame
		{"\177ELF\2\1\1", 7, "unknown format"},
		{"\x1f\x9e", 2, "unknown format"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
		struct bytes payload = {0};

		bytes_add(&payload, others[i].text, others[i].len);
		refused_payload(&payload, others[i].why);
	}
}

static void not_a_kernel(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(packers); i++) {
		struct bytes elf = fake_elf(SMALL), payload;
		char *why = xprintf("payload (%s) is no ELF64 kernel", packers[i].name);

		elf.data[4] = 1;
		payload = payload_of(&packers[i], &elf);
		refused_payload(&payload, why);
		elf.data[4] = 2, elf.data[0] = 'E';
		payload = payload_of(&packers[i], &elf);
		refused_payload(&payload, why);
		elf.data[0] = '\177', elf.len = 4;
		payload = payload_of(&packers[i], &elf);
		refused_payload(&payload, why);
		free(why);
		bytes_free(&elf);
	}
}

// Behind the stream there may be its size and nothing else.
static void behind_the_stream(void **state)
{
	struct bytes elf = fake_elf(SMALL);

	for (unsigned i = 0; i < ARRAY_SIZE(packers); i++) {
		char *why = xprintf("payload (%s) is ", packers[i].name);

		for (unsigned n = 1; n <= 9; n++) {
			struct bytes payload = {0};

			packers[i].pack(&payload, &elf);
			bytes_add(&payload, "\1\0\0\0\0\0\0\0\0", n);
			refused_payload(&payload, why);
		}
		for (int off = -1; off <= 1; off++) {
			struct bytes payload = {0}, image;

			packers[i].pack(&payload, &elf);
			add32(&payload, (u32)((int)elf.len + off));
			image = image_of(&payload);
			if (off)
				refused(&image, "damaged");
			else
				gives(&image, &elf);
			bytes_free(&image);
			bytes_free(&payload);
		}
		free(why);
	}
	bytes_free(&elf);
}

// 128 MiB, as kernels' builds ask for, and more.
static void windows(void **state)
{
	struct bytes elf = fake_elf(SMALL), payload = {0}, image;

	zstd_with(&payload, &elf, 0);
	image = image_of(&payload);
	assert_false(payload.data[4] & 0x20); // there is a window descriptor
	set(&image, STREAM_AT + 5, (27 - 10) << 3, 1);
	gives(&image, &elf);
	set(&image, STREAM_AT + 5, (28 - 10) << 3, 1);
	refused(&image, "a window that is too large");
	bytes_free(&image);
	payload.len = 0;
	pack_lzma(&payload, &elf);
	image = image_of(&payload);
	set(&image, STREAM_AT + 1, 128 * MIB, 4);
	gives(&image, &elf);
	set(&image, STREAM_AT + 1, 512 * MIB, 4);
	refused(&image, "a window that is too large");
	bytes_free(&image);
	bytes_free(&payload);
	bytes_free(&elf);
}

static void lz4_blocks(void **state)
{
	struct bytes elf = fake_elf(SMALL), payload = {0}, image;

	lz4_with(&payload, &elf, SMALL);
	image = image_of(&payload);
	refused(&image, "cut short"); // only the unpacked size tells where it ends
	bytes_free(&image);
	add32(&payload, SMALL);
	image = image_of(&payload);
	gives(&image, &elf);
	set(&image, STREAM_AT + 4, payload.len - 8 + 1, 4);
	refused(&image, "cut short");
	set(&image, STREAM_AT + 4, 0xffffffff, 4);
	refused(&image, "cut short");
	set(&image, STREAM_AT + 4, 0, 4);
	refused(&image, "damaged");
	bytes_free(&image);
	bytes_free(&payload);
	bytes_free(&elf);
}

// 8 MiB is the most that a block holds, and what a kernel's build fills them with.
static void lz4_block_sizes(void **state)
{
	struct bytes elf = fake_elf(5), payload = {0}, image;
	static const char text[MIB];

	while (elf.len < 9 * MIB)
		bytes_add(&elf, text, sizeof(text));
	lz4_with(&payload, &elf, 8 * MIB);
	add32(&payload, (u32)elf.len);
	image = image_of(&payload);
	gives(&image, &elf);
	bytes_free(&image);
	payload.len = 0;
	lz4_with(&payload, &elf, 8 * MIB + 1);
	add32(&payload, (u32)elf.len);
	image = image_of(&payload);
	refused(&image, "damaged");
	bytes_free(&image);
	// No block of 8 MiB becomes as long as this one.
	payload.len = 0;
	add32(&payload, 0x184c2102);
	add32(&payload, LZ4_COMPRESSBOUND(8 * MIB) + 1);
	bytes_add(&payload, elf.data, LZ4_COMPRESSBOUND(8 * MIB) + 1);
	add32(&payload, (u32)elf.len);
	refused_payload(&payload, "damaged");
	bytes_free(&elf);
}

static void stock(void **state)
{
	struct bytes file = {0}, elf = {0};
	struct kernel_elf k;

	if (read_file("guests/vmlinuz", &file)) {
		bytes_free(&file);
		skip();
	}
	assert_true(unpack_kernel("guests/vmlinuz", &file, UNPACK_MOST, &elf));
	assert_true(kernel_elf_parse(&k, (const u8 *)elf.data, elf.len));
	assert_int_equal(k.entered, KERNEL_PVH);
	bytes_free(&elf);
	bytes_free(&file);
}

static int start(void **state)
{
	complain_through(&complaints);
	return 0;
}

static int stop(void **state)
{
	bytes_free(&complaint);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),       cmocka_unit_test(elf_stays),
		cmocka_unit_test(bounded),          cmocka_unit_test(cut),
		cmocka_unit_test(damaged),          cmocka_unit_test(headers),
		cmocka_unit_test(no_setup_sectors), cmocka_unit_test(other_formats),
		cmocka_unit_test(not_a_kernel),     cmocka_unit_test(behind_the_stream),
		cmocka_unit_test(windows),          cmocka_unit_test(lz4_blocks),
		cmocka_unit_test(lz4_block_sizes),  cmocka_unit_test(stock),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
