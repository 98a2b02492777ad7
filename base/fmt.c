// SPDX-License-Identifier: MIT
// printf-style formatting without libc. Output goes through put(), which counts every character and stores those that
// fit, so that the result is what the whole text needs.
#include "base/fmt.h"
#include "base/string.h"

struct out {
	char *buf;
	size_t size, len;
};

struct spec {
	bool left, zero, alt, plus;
	int width, precision; // precision -1: none
	int length;           // 0 int, 1 long, 2 long long, 3 size_t
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void pad(struct out *o, char c, int n)
{
	while (n-- > 0)
		put(o, c);
}

static void put_text(struct out *o, const struct spec *sp, const char *s, size_t n)
{
	int fill = sp->width - (int)n;

	if (!sp->left)
		pad(o, ' ', fill);
	while (n--)
		put(o, *s++);
	if (sp->left)
		pad(o, ' ', fill);
}

static void put_number(struct out *o, const struct spec *sp, u64 v, unsigned base, const char *prefix, bool upper)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char text[24];
	int n = 0, zeros, fill, prefix_len = (int)strlen(prefix);

	do {
		text[n++] = digits[v % base];
		v /= base;
	} while (v);
	zeros = sp->precision > n ? sp->precision - n : 0;
	if (sp->zero && !sp->left && sp->precision < 0 && sp->width > n + prefix_len)
		zeros = sp->width - n - prefix_len;
	fill = sp->width - n - zeros - prefix_len;
	if (!sp->left)
		pad(o, ' ', fill);
	while (*prefix)
		put(o, *prefix++);
	pad(o, '0', zeros);
	while (n)
		put(o, text[--n]);
	if (sp->left)
		pad(o, ' ', fill);
}

static int parse_int(const char **p, va_list *ap)
{
	int n = 0;

	if (**p == '*') {
		(*p)++;
		return va_arg(*ap, int);
	}
	while (**p >= '0' && **p <= '9' && n < 100000)
		n = n * 10 + *(*p)++ - '0';
	return n;
}

static const char *parse_spec(const char *p, struct spec *sp, va_list *ap)
{
	*sp = (struct spec){.precision = -1};
	for (;; p++) {
		if (*p == '-')
			sp->left = true;
		else if (*p == '0')
			sp->zero = true;
		else if (*p == '#')
			sp->alt = true;
		else if (*p == '+')
			sp->plus = true;
		else
			break;
	}
	sp->width = parse_int(&p, ap);
	if (sp->width < 0) {
		sp->left = true;
		sp->width = -sp->width;
	}
	if (*p == '.') {
		p++;
		sp->precision = parse_int(&p, ap);
	}
	for (; *p == 'l' && sp->length < 2; p++)
		sp->length++;
	if (*p == 'z') {
		sp->length = 3;
		p++;
	}
	return p;
}

static u64 get_unsigned(const struct spec *sp, va_list *ap)
{
	return sp->length == 0 ? va_arg(*ap, unsigned) : va_arg(*ap, u64);
}

static s64 get_signed(const struct spec *sp, va_list *ap)
{
	return sp->length == 0 ? va_arg(*ap, int) : va_arg(*ap, s64);
}

static void convert(struct out *o, char c, const struct spec *sp, va_list *ap)
{
	const char *s;
	size_t n;
	char ch;
	s64 d;
	u64 u;

	switch (c) {
	case 'd':
	case 'i':
		d = get_signed(sp, ap);
		put_number(o, sp, d < 0 ? 0 - (u64)d : (u64)d, 10, d < 0 ? "-" : sp->plus ? "+" : "", false);
		break;
	case 'u':
		put_number(o, sp, get_unsigned(sp, ap), 10, "", false);
		break;
	case 'x':
	case 'X':
		u = get_unsigned(sp, ap);
		put_number(o, sp, u, 16, sp->alt && u ? (c == 'X' ? "0X" : "0x") : "", c == 'X');
		break;
	case 'p':
		put_number(o, sp, (u64)va_arg(*ap, void *), 16, "0x", false);
		break;
	case 'c':
		ch = (char)va_arg(*ap, int);
		put_text(o, sp, &ch, 1);
		break;
	case 's':
		s = va_arg(*ap, const char *);
		s = s ? s : "(null)";
		for (n = 0; (sp->precision < 0 || n < (size_t)sp->precision) && s[n];)
			n++;
		put_text(o, sp, s, n);
		break;
	case '%':
		put(o, '%');
		break;
	default: // unknown: show it, so that the mistake is seen
		put(o, '%');
		put(o, c);
	}
}

int fmt_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {buf, size, 0};
	struct spec sp;
	va_list args;

	va_copy(args, ap);
	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt = parse_spec(fmt + 1, &sp, &args);
		if (!*fmt)
			break;
		convert(&o, *fmt, &sp, &args);
	}
	va_end(args);
	if (size)
		buf[MIN(o.len, size - 1)] = 0;
	return (int)o.len;
}

int fmt_snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = fmt_vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
