// SPDX-License-Identifier: MIT
// Registers of a VGA in text mode, 80 by 25. Nothing is displayed: they keep what is written, so that a guest that programs
// cursor and palette, saves and restores them or waits for the retrace goes on. The text buffer at VGA_TEXT is plain RAM of the
// VM's (its creator maps it); the graphics windows below it are absent.
#ifndef CORE_PLATFORM_VGA_H
#define CORE_PLATFORM_VGA_H

#include "core/platform/device.h"

#define VGA_TEXT 0xb8000
#define VGA_TEXT_BYTES 0x8000
#define VGA_BLANK 0x0720 // a cell as firmware leaves it: a space, light grey on black
#define VGA_FIRST_PORT 0x3b0
#define VGA_LAST_PORT 0x3df

struct vga {
	u8 misc, feature;
	u8 crtc_index, seq_index, gfx_index;
	u8 attr_index;  // with bit 5: the palette drives the screen
	bool attr_data; // the next write to 0x3c0 is data
	bool dac_reading;
	u8 dac_mask;
	u16 dac_at, dac_read_at; // next byte of dac[] to write and to read
	u8 crtc[25], seq[5], gfx[9], attr[21];
	u8 dac[256 * 3];
};

void vga_init(struct vga *g);
// Ports from VGA_FIRST_PORT to VGA_LAST_PORT. False: none of its registers now.
bool vga_read(struct vga *g, u64 now, u16 port, u8 *value);
bool vga_write(struct vga *g, u16 port, u8 value);

#endif
