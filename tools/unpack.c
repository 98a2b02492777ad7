// SPDX-License-Identifier: MIT
// A bzImage's payload is what `cat vmlinux.bin vmlinux.relocs | PACKER` gave, and behind it, but for gzip, which ends so by
// itself, the unpacked size in four bytes (scripts/Makefile.lib of Linux). Decoders here run to the end of their stream; then
// nothing may be left but that size, and it must be right: some formats have no other check.
//
// The file is not trusted. What is allocated follows what has been produced, except for a window whose size is bounded.
#include "tools/unpack.h"

#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <lzma.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "tools/bzimage.h"

#define VERSION_MIN 0x208u // payload_offset, payload_length
#define HEADER_END (BZ_PAYLOAD_LENGTH + 4)
#define ELF_CLASS 4 // offset
#define ELF_CLASS_64 2
#define PIECE 65536
#define ZSTD_WINDOW_LOG 27 // zstd --ultra -22
#define LZMA_MEMORY (256 * MIB)
#define LZ4_BLOCK (8 * MIB)
#define LZ4_RATIO 255ull // no byte unpacks to more

enum result { R_DONE, R_DAMAGED, R_CUT, R_LARGE, R_WINDOW, R_MEMORY };

static const char *const result_text[] = {
	[R_DAMAGED] = "damaged",
	[R_CUT] = "cut short",
	[R_LARGE] = "too large when unpacked",
	[R_WINDOW] = "packed with a window that is too large",
	[R_MEMORY] = "not to be unpacked in the memory there is",
};

// A stream, and what comes out of it.
struct work {
	const u8 *in;
	size_t left;
	struct bytes *out;
	u64 most;
};

static void skip(struct work *w, size_t n)
{
	w->in += n;
	w->left -= n;
}

static bool put(struct work *w, const void *data, size_t n)
{
	if (n > w->most - w->out->len)
		return false;
	bytes_add(w->out, data, n);
	return true;
}

// ---- formats: each takes what belongs to it from w->in

static enum result zlib_result(int err)
{
	switch (err) {
	case Z_STREAM_END:
		return R_DONE;
	case Z_BUF_ERROR: // no progress: the input is used up
		return R_CUT;
	case Z_MEM_ERROR:
		return R_MEMORY;
	default:
		return R_DAMAGED;
	}
}

static enum result unpack_gzip(struct work *w)
{
	z_stream z = {.next_in = w->in, .avail_in = (uInt)w->left};
	u8 piece[PIECE];
	bool fits = true;
	int err = inflateInit2(&z, 16 + MAX_WBITS); // 16: gzip, and nothing else

	if (err != Z_OK)
		return R_MEMORY;
	do {
		z.next_out = piece;
		z.avail_out = PIECE;
		err = inflate(&z, Z_NO_FLUSH);
		fits = put(w, piece, PIECE - z.avail_out);
	} while (fits && err == Z_OK);
	skip(w, w->left - z.avail_in);
	inflateEnd(&z);
	return fits ? zlib_result(err) : R_LARGE;
}

static enum result lzma_result(lzma_ret err)
{
	switch (err) {
	case LZMA_STREAM_END:
		return R_DONE;
	case LZMA_BUF_ERROR: // as Z_BUF_ERROR
		return R_CUT;
	case LZMA_MEM_ERROR:
		return R_MEMORY;
	case LZMA_MEMLIMIT_ERROR:
		return R_WINDOW;
	default:
		return R_DAMAGED;
	}
}

static enum result lzma_run(struct work *w, lzma_stream *s)
{
	u8 piece[PIECE];
	bool fits;
	lzma_ret err;

	s->next_in = w->in;
	s->avail_in = w->left;
	do {
		s->next_out = piece;
		s->avail_out = PIECE;
		err = lzma_code(s, LZMA_RUN);
		fits = put(w, piece, PIECE - s->avail_out);
	} while (fits && err == LZMA_OK);
	skip(w, w->left - s->avail_in);
	lzma_end(s);
	return fits ? lzma_result(err) : R_LARGE;
}

static enum result unpack_xz(struct work *w)
{
	lzma_stream s = LZMA_STREAM_INIT;

	return lzma_stream_decoder(&s, LZMA_MEMORY, 0) == LZMA_OK ? lzma_run(w, &s) : R_MEMORY;
}

static enum result unpack_lzma(struct work *w)
{
	lzma_stream s = LZMA_STREAM_INIT;

	return lzma_alone_decoder(&s, LZMA_MEMORY) == LZMA_OK ? lzma_run(w, &s) : R_MEMORY;
}

static enum result zstd_result(size_t n)
{
	switch (ZSTD_getErrorCode(n)) {
	case ZSTD_error_no_error:
		return n ? R_CUT : R_DONE; // n: bytes that it would like to have
	case ZSTD_error_frameParameter_windowTooLarge:
		return R_WINDOW;
	case ZSTD_error_memory_allocation:
		return R_MEMORY;
	default:
		return R_DAMAGED;
	}
}

static enum result zstd_run(struct work *w, ZSTD_DCtx *d)
{
	ZSTD_inBuffer in = {.src = w->in, .size = w->left};
	u8 piece[PIECE];
	ZSTD_outBuffer out;
	bool fits;
	size_t n;

	do {
		out = (ZSTD_outBuffer){.dst = piece, .size = PIECE};
		n = ZSTD_decompressStream(d, &out, &in);
		fits = put(w, piece, out.pos);
	} while (fits && n && !ZSTD_isError(n) && (in.pos < in.size || out.pos == out.size));
	skip(w, in.pos);
	return fits ? zstd_result(n) : R_LARGE;
}

static enum result unpack_zstd(struct work *w)
{
	ZSTD_DCtx *d = ZSTD_createDCtx();
	enum result r = R_MEMORY;

	if (d && !ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG)))
		r = zstd_run(w, d);
	ZSTD_freeDCtx(d);
	return r;
}

static enum result lz4_block(struct work *w, u32 packed)
{
	u64 room = MIN(LZ4_BLOCK, packed * LZ4_RATIO);
	char *block = xalloc(room);
	int n = LZ4_decompress_safe((const char *)w->in, block, (int)packed, (int)room);
	enum result r = n < 0 ? R_DAMAGED : put(w, block, (size_t)n) ? R_DONE : R_LARGE;

	free(block);
	skip(w, packed);
	return r;
}

// The legacy frame: magic, then blocks, each behind its packed size. Nothing but the unpacked size marks the end, so that must
// be there.
static enum result unpack_lz4(struct work *w)
{
	enum result r = R_DONE;

	skip(w, 4);
	while (r == R_DONE && w->left != 4) {
		if (w->left < 4)
			return R_CUT;
		u32 packed = le32(w->in);

		if (packed > w->left - 4)
			return R_CUT;
		if (packed > LZ4_COMPRESSBOUND(LZ4_BLOCK))
			return R_DAMAGED;
		skip(w, 4);
		r = lz4_block(w, packed);
	}
	return r;
}

static const struct format {
	const char *name, *magic;
	size_t magic_len;
	enum result (*unpack)(struct work *w); // NULL: known by name only
} formats[] = {
	{"gzip", "\x1f\x8b", 2, unpack_gzip},
	{"xz", "\xfd\67zXZ", 6, unpack_xz}, // with the NUL
	{"lzma", "\x5d", 2, unpack_lzma},   // likewise: it has no magic, this is what Linux goes by
	{"zstd", "\x28\xb5\x2f\xfd", 4, unpack_zstd},
	{"lz4", "\x02\x21\x4c\x18", 4, unpack_lz4},
	{"bzip2", "BZh", 3, NULL},
	{"lzo", "\x89LZO", 4, NULL},
};

static const struct format *find_format(const struct work *w)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (w->left >= formats[i].magic_len && !memcmp(w->in, formats[i].magic, formats[i].magic_len))
			return &formats[i];
	return NULL;
}

// ---- the file around it

static bool is_elf(const struct bytes *b)
{
	return b->len > ELF_CLASS && !memcmp(b->data, "\177ELF", 4);
}

static bool is_bzimage(const u8 *d, size_t size)
{
	return size >= BZ_MAGIC + 4 && le16(d + BZ_BOOT_FLAG) == BZ_BOOT_FLAG_VALUE && !memcmp(d + BZ_MAGIC, "HdrS", 4);
}

// From the file to what is packed in it.
static bool find_payload(const char *path, struct work *w)
{
	const u8 *d = w->in;

	if (!is_bzimage(d, w->left))
		return complain("%s: neither a bzImage nor an ELF file", path);
	if (w->left < HEADER_END)
		return complain("%s: bzImage whose header is cut short", path);
	if (le16(d + BZ_VERSION) < VERSION_MIN)
		return complain("%s: bzImage of a boot protocol before 2.08, which does not tell where its payload is",
				path);
	u64 offset = bz_kernel(d) + le32(d + BZ_PAYLOAD), len = le32(d + BZ_PAYLOAD_LENGTH);

	if (!len)
		return complain("%s: bzImage without a payload", path);
	if (offset > w->left || len > w->left - offset)
		return complain("%s: bzImage that is cut short: its payload ends behind the file", path);
	skip(w, (size_t)offset);
	w->left = (size_t)len;
	return true;
}

static bool check_rest(const struct work *w)
{
	return !w->left || (w->left == 4 && le32(w->in) == w->out->len);
}

static bool unpack(const char *path, struct work *w)
{
	const struct format *f = find_format(w);

	if (!f)
		return complain("%s: bzImage whose payload is of an unknown format", path);
	if (!f->unpack)
		return complain("%s: bzImage whose payload is packed with %s, which is not supported", path, f->name);
	enum result r = f->unpack(w);

	if (r == R_DONE && !check_rest(w))
		r = R_DAMAGED;
	if (r != R_DONE)
		return complain("%s: bzImage whose payload (%s) is %s", path, f->name, result_text[r]);
	if (!is_elf(w->out) || w->out->data[ELF_CLASS] != ELF_CLASS_64)
		return complain("%s: bzImage whose payload (%s) is no ELF64 kernel", path, f->name);
	return true;
}

bool unpack_kernel(const char *path, const struct bytes *file, u64 most, struct bytes *elf)
{
	struct work w = {.in = (const u8 *)file->data, .left = file->len, .out = elf, .most = most};

	if (is_elf(file)) {
		bytes_add(elf, file->data, file->len);
		return true;
	}
	if (find_payload(path, &w) && unpack(path, &w))
		return true;
	bytes_free(elf);
	return false;
}
