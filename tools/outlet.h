// SPDX-License-Identifier: MIT
// Standard output or standard error of a run, written without ever waiting for its reader. What it does not take is kept;
// beyond OUTLET_MAX the oldest whole lines are lost, and counted.
#ifndef TOOLS_OUTLET_H
#define TOOLS_OUTLET_H

#include <poll.h>

#include "tools/tool.h"

#define OUTLET_MAX (1u << 20)

struct outlet {
	int fd;   // to write to
	bool own; // it is ours alone and does not block
	bool is_socket;
	bool gone;         // its reader has gone: nothing is kept any more
	bool mid_line;     // the last byte written was no newline
	size_t piece;      // at most so many bytes in a write
	struct bytes kept; // not written yet
	u64 lost;          // bytes
};

void outlet_open(struct outlet *o, int fd);
void outlet_add(struct outlet *o, const void *data, size_t n); // writes what it can
struct pollfd outlet_poll(const struct outlet *o);
void outlet_write(struct outlet *o); // what is kept, as far as it goes; when poll() says so
void outlet_close(struct outlet *o); // what is still kept is lost; `fd` as it was given stays open

#endif
