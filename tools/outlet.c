// SPDX-License-Identifier: MIT
// O_NONBLOCK belongs to the open file, which we share with our parent and others, so it is not set there. A pipe or a
// terminal is opened again, for ourselves, where that can be done. Where not, poll() is asked before each write, of no more
// than what then fits.
#include "tools/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TERMINAL_PIECE 1         // one that polls writable promises no more; a newline of two bytes still fits
#define FILE_PIECE (64u << 10)   // files always take it
#define FORGET (OUTLET_MAX / 16) // at least this at a time: dropping from the front moves the rest

// Opening the master of a pseudo-terminal would make another pair.
static bool can_open_again(int fd, const struct stat *st, bool terminal)
{
	unsigned number;

	return S_ISFIFO(st->st_mode) || (terminal && ioctl(fd, TIOCGPTN, &number));
}

void outlet_open(struct outlet *o, int fd)
{
	struct stat st = {0};
	bool terminal = isatty(fd);
	char path[32];

	fstat(fd, &st);
	*o = (struct outlet){.fd = fd, .is_socket = S_ISSOCK(st.st_mode), .piece = PIPE_BUF};
	if (S_ISREG(st.st_mode))
		o->piece = FILE_PIECE;
	if (terminal)
		o->piece = TERMINAL_PIECE;
	if (!can_open_again(fd, &st, terminal))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (own >= 0) {
		o->fd = own;
		o->own = true;
		o->piece = FILE_PIECE;
	}
}

struct pollfd outlet_poll(const struct outlet *o)
{
	return (struct pollfd){.fd = o->kept.len ? o->fd : -1, .events = POLLOUT};
}

static ssize_t write_some(const struct outlet *o, const char *data, size_t n)
{
	n = MIN(n, o->piece);
	if (o->is_socket)
		return send(o->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!o->own && poll(&(struct pollfd){.fd = o->fd, .events = POLLOUT}, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(o->fd, data, n);
}

void outlet_write(struct outlet *o)
{
	size_t done = 0;

	while (done < o->kept.len) {
		ssize_t n = write_some(o, o->kept.data + done, o->kept.len - done);

		if (n > 0) {
			done += (size_t)n;
		} else if (!n || errno != EINTR) {
			o->gone = !n || errno != EAGAIN;
			break;
		}
	}
	if (done)
		o->mid_line = o->kept.data[done - 1] != '\n';
	bytes_drop(&o->kept, o->gone ? o->kept.len : done);
}

// Behind the first newline from `at` on, or `otherwise`.
static size_t line_end(const struct bytes *b, size_t at, size_t otherwise)
{
	const char *nl = at < b->len ? memchr(b->data + at, '\n', b->len - at) : NULL;

	return nl ? (size_t)(nl - b->data) + 1 : otherwise;
}

// Of a line that was begun the rest stays, unless it is most of what there is.
static void forget_oldest(struct outlet *o)
{
	struct bytes *b = &o->kept;
	size_t from = o->mid_line ? line_end(b, 0, 0) : 0;

	if (b->len - from < FORGET)
		from = 0;
	size_t least = MIN(from + FORGET, b->len), to = line_end(b, least - 1, least);

	memmove(b->data + from, b->data + to, b->len - to);
	b->len -= to - from;
	o->lost += to - from;
}

void outlet_add(struct outlet *o, const void *data, size_t n)
{
	if (o->gone)
		return;
	while (o->kept.len && o->kept.len + n > OUTLET_MAX)
		forget_oldest(o);
	bytes_add(&o->kept, data, n);
	outlet_write(o);
}

void outlet_close(struct outlet *o)
{
	o->lost += o->kept.len;
	bytes_free(&o->kept);
	if (o->own)
		close(o->fd);
	*o = (struct outlet){.fd = -1, .gone = true, .lost = o->lost};
}
