// SPDX-License-Identifier: MIT
#include "tools/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/outlet.h"

static struct outlet *complaints;

void complain_through(struct outlet *o)
{
	complaints = o;
}

void complain_bytes(const void *bytes, size_t n)
{
	if (complaints)
		outlet_add(complaints, bytes, n);
	else
		write_all(2, bytes, n);
}

bool complain(const char *fmt, ...)
{
	va_list ap;
	char *text, *line;
	int n;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0 || (n = asprintf(&line, "trapeze: %s\n", text)) < 0)
		abort();
	va_end(ap);
	complain_bytes(line, (size_t)n);
	free(line);
	free(text);
	return false;
}

static void out_of_memory(void)
{
	fputs("trapeze: out of memory\n", stderr);
	exit(EXIT_FAILED);
}

void bytes_add(struct bytes *b, const void *data, size_t n)
{
	if (b->room - b->len < n + 1) {
		size_t room = b->len + n + 1 + b->room / 2 + 256;
		char *p = realloc(b->data, room);

		if (!p)
			out_of_memory();
		b->data = p;
		b->room = room;
	}
	if (n)
		memcpy(b->data + b->len, data, n);
	b->len += n;
	b->data[b->len] = 0;
}

void bytes_printf(struct bytes *b, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory();
	bytes_add(b, text, (size_t)n);
	free(text);
}

void bytes_drop(struct bytes *b, size_t n)
{
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){0};
}

void *xalloc(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		out_of_memory();
	return p;
}

char *xstrdup(const char *s)
{
	return xprintf("%s", s);
}

char *xprintf(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		out_of_memory();
	va_end(ap);
	return text;
}

static int read_fd(int fd, struct bytes *out)
{
	struct stat st;
	char buf[65536];
	ssize_t n;

	if (fstat(fd, &st))
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	if (!S_ISREG(st.st_mode))
		return ENOTSUP;
	bytes_add(out, "", 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		bytes_add(out, buf, (size_t)n);
	return n < 0 ? errno : 0;
}

int read_file(const char *path, struct bytes *out)
{
	// Without O_NONBLOCK a FIFO would hold us here before fstat() can refuse it.
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno;
	int err = read_fd(fd, out);

	close(fd);
	return err;
}

char *path_beside(const char *file, const char *name)
{
	const char *slash = strrchr(file, '/');

	if (name[0] == '/' || !slash)
		return xstrdup(name);
	return xprintf("%.*s/%s", (int)(slash - file), file, name);
}

u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

bool write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		ssize_t w = write(fd, p, n);

		if (w > 0) {
			p += w;
			n -= (size_t)w;
		} else if (w < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, 1000);
		} else if (w < 0 && errno != EINTR) {
			return false;
		}
	}
	return true;
}
