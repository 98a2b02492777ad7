// SPDX-License-Identifier: MIT
// VGA registers (FreeVGA's and IBM's names): miscellaneous output, CRT controller, sequencer, graphics controller, attribute
// controller, palette, status. A register reads what was written, in the bits that exist; the CRT controller answers at 0x3d4 or
// 0x3b4 as bit 0 of the miscellaneous output says.
#include "core/platform/vga.h"
#include "base/string.h"

enum {
	ATTR_WRITE = 0x3c0,
	ATTR_READ = 0x3c1,
	MISC_WRITE = 0x3c2, // reads: input status 0
	SEQ_INDEX = 0x3c4,
	SEQ_DATA = 0x3c5,
	DAC_MASK = 0x3c6,
	DAC_READ = 0x3c7, // reads: which way the palette is accessed
	DAC_WRITE = 0x3c8,
	DAC_DATA = 0x3c9,
	FEATURE_READ = 0x3ca,
	MISC_READ = 0x3cc,
	GFX_INDEX = 0x3ce,
	GFX_DATA = 0x3cf,
	// These at 0x3b. or 0x3d.; here as 0x3d.
	CRTC_INDEX = 0x3d4,
	CRTC_DATA = 0x3d5,
	STATUS = 0x3da, // writes: feature control
};

#define MISC_COLOUR 0x01
#define CRTC_PROTECT_AT 0x11
#define CRTC_PROTECT 0x80 // registers 0 to 7 are fixed, but for one bit of 7
#define CRTC_OVERFLOW 7
#define CRTC_OVERFLOW_FREE 0x10
#define ATTR_SOURCE 0x20
#define STATUS_BLANK 0x01
#define STATUS_RETRACE 0x08

// 449 lines of 31778 ns are a frame; 400 of them are shown.
#define LINE_NS 31778u
#define LINE_SHOWN_NS 25422u
#define LINES 449u
#define LINES_SHOWN 400u
#define RETRACE_FIRST 412u
#define RETRACE_LAST 413u

// Mode 3 as firmware sets it.
static const u8 mode3_crtc[25] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00,
				  0x00, 0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
static const u8 mode3_seq[5] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const u8 mode3_gfx[9] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const u8 mode3_attr[21] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
				  0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

static const u8 seq_bits[5] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const u8 gfx_bits[9] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

// Colour i of the first 64: bits 2 to 0 are red, green and blue at two thirds, bits 5 to 3 at one third.
static void default_palette(u8 *dac)
{
	for (unsigned i = 0; i < 64; i++)
		for (unsigned c = 0; c < 3; c++)
			dac[i * 3 + c] = (u8)((i >> (2 - c) & 1) * 42 + (i >> (5 - c) & 1) * 21);
}

void vga_init(struct vga *g)
{
	memset(g, 0, sizeof(*g));
	g->misc = 0x67;
	memcpy(g->crtc, mode3_crtc, sizeof(g->crtc));
	memcpy(g->seq, mode3_seq, sizeof(g->seq));
	memcpy(g->gfx, mode3_gfx, sizeof(g->gfx));
	memcpy(g->attr, mode3_attr, sizeof(g->attr));
	g->attr_index = ATTR_SOURCE;
	g->dac_mask = 0xff;
	default_palette(g->dac);
}

// CRT controller and status of the set that is not in use do not answer.
static u16 normalize(const struct vga *g, u16 port)
{
	bool colour = g->misc & MISC_COLOUR;

	if (port >= 0x3d0)
		return colour ? port : 0;
	if (port < 0x3c0)
		return colour ? 0 : port + 0x20;
	return port;
}

static u8 status(const struct vga *g, u64 now)
{
	u32 line = (u32)(now / LINE_NS % LINES);
	u8 value = 0;

	if (line >= LINES_SHOWN || now % LINE_NS >= LINE_SHOWN_NS)
		value |= STATUS_BLANK;
	if (line >= RETRACE_FIRST && line <= RETRACE_LAST)
		value |= STATUS_RETRACE;
	return value;
}

static u8 reg(const u8 *regs, unsigned count, u8 index)
{
	return index < count ? regs[index] : 0;
}

static u8 next_colour(struct vga *g)
{
	u8 value = g->dac[g->dac_read_at];

	g->dac_read_at = (u16)((g->dac_read_at + 1) % sizeof(g->dac));
	return value;
}

bool vga_read(struct vga *g, u64 now, u16 port, u8 *value)
{
	switch (normalize(g, port)) {
	case ATTR_WRITE:
		*value = g->attr_index;
		return true;
	case ATTR_READ:
		*value = reg(g->attr, sizeof(g->attr), g->attr_index & 0x1f);
		return true;
	case MISC_WRITE: // no interrupt waits, no monitor is sensed
		*value = 0;
		return true;
	case SEQ_INDEX:
		*value = g->seq_index;
		return true;
	case SEQ_DATA:
		*value = reg(g->seq, sizeof(g->seq), g->seq_index);
		return true;
	case DAC_MASK:
		*value = g->dac_mask;
		return true;
	case DAC_READ:
		*value = g->dac_reading ? 3 : 0;
		return true;
	case DAC_WRITE:
		*value = (u8)(g->dac_at / 3);
		return true;
	case DAC_DATA:
		*value = next_colour(g);
		return true;
	case FEATURE_READ:
		*value = g->feature;
		return true;
	case MISC_READ:
		*value = g->misc;
		return true;
	case GFX_INDEX:
		*value = g->gfx_index;
		return true;
	case GFX_DATA:
		*value = reg(g->gfx, sizeof(g->gfx), g->gfx_index);
		return true;
	case CRTC_INDEX:
		*value = g->crtc_index;
		return true;
	case CRTC_DATA:
		*value = reg(g->crtc, sizeof(g->crtc), g->crtc_index);
		return true;
	case STATUS:
		g->attr_data = false;
		*value = status(g, now);
		return true;
	}
	return false;
}

static void write_attr(struct vga *g, u8 value)
{
	unsigned index = g->attr_index & 0x1f;

	if (!g->attr_data)
		g->attr_index = value & 0x3f;
	else if (index < sizeof(g->attr) &&
		 (index >= 16 || !(g->attr_index & ATTR_SOURCE))) // a palette in use is fixed
		g->attr[index] = index < 16 ? value & 0x3f : value;
	g->attr_data = !g->attr_data;
}

static void write_crtc(struct vga *g, u8 value)
{
	u8 index = g->crtc_index;

	if (index >= sizeof(g->crtc))
		return;
	if (index <= CRTC_OVERFLOW && (g->crtc[CRTC_PROTECT_AT] & CRTC_PROTECT)) {
		if (index == CRTC_OVERFLOW)
			g->crtc[index] = (g->crtc[index] & ~CRTC_OVERFLOW_FREE) | (value & CRTC_OVERFLOW_FREE);
		return;
	}
	g->crtc[index] = value;
}

bool vga_write(struct vga *g, u16 port, u8 value)
{
	switch (normalize(g, port)) {
	case ATTR_WRITE:
		write_attr(g, value);
		return true;
	case MISC_WRITE:
		g->misc = value & 0xef;
		return true;
	case SEQ_INDEX:
		g->seq_index = value & 0x07;
		return true;
	case SEQ_DATA:
		if (g->seq_index < sizeof(g->seq))
			g->seq[g->seq_index] = value & seq_bits[g->seq_index];
		return true;
	case DAC_MASK:
		g->dac_mask = value;
		return true;
	case DAC_READ:
		g->dac_read_at = (u16)(value * 3);
		g->dac_reading = true;
		return true;
	case DAC_WRITE:
		g->dac_at = (u16)(value * 3);
		g->dac_reading = false;
		return true;
	case DAC_DATA:
		g->dac[g->dac_at] = value & 0x3f;
		g->dac_at = (u16)((g->dac_at + 1) % sizeof(g->dac));
		return true;
	case GFX_INDEX:
		g->gfx_index = value & 0x0f;
		return true;
	case GFX_DATA:
		if (g->gfx_index < sizeof(g->gfx))
			g->gfx[g->gfx_index] = value & gfx_bits[g->gfx_index];
		return true;
	case CRTC_INDEX:
		g->crtc_index = value & 0x3f;
		return true;
	case CRTC_DATA:
		write_crtc(g, value);
		return true;
	case STATUS:
		g->feature = value & 0x0b;
		return true;
	}
	return false;
}
