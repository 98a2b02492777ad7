// SPDX-License-Identifier: MIT
// LINK: vmm/control.c vmm/stats.c
// The control channel's server over any bytes, in two pieces. Whatever it sends is one line of valid JSON, and a plain
// request after it is answered as ever.
#include "vmm/control.h"

#include <stdlib.h>
#include <string.h>

static struct control control;
static char last[TZ_CONTROL_REPLY_MAX];
static size_t last_len;

static void fake_send(void *ctx, const char *bytes, size_t n)
{
	if (n < 2 || bytes[n - 1] != '\n' || memchr(bytes, '\n', n - 1) || !json_valid(bytes, n - 1))
		abort();
	memcpy(last, bytes, n);
	last_len = n;
}

// Hands back what it was given, decoded and written again, and as it was.
static int echo(void *ctx, struct control_request *req, struct json_out *result)
{
	struct json_value name, value;
	char text[256];
	size_t n;
	u64 number;

	json_object(result);
	for (unsigned i = 0; json_member_at(req->params, i, &name, &value); i++) {
		const char *raw = json_raw(value, &n);
		long len = json_string(value, text, sizeof(text));

		json_key(result, "value");
		if (len >= 0)
			json_put_bytes(result, text, (size_t)len);
		else if (json_u64(value, &number))
			json_put_u64(result, number);
		else
			json_put_raw(result, raw, n);
	}
	json_object_end(result);
	return control_param_string(req, "fail", text, sizeof(text)) ? TZ_RPC_STATE : 0;
}

static const struct control_method methods[] = {{"echo", echo}, {"e", echo}};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const char plain[] = "\n{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":\"e\"}\n";
	static const char want[] = "{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":{}}\n";
	struct control_ports ports = {.send = fake_send, .method = methods, .methods = ARRAY_SIZE(methods)};
	size_t half = size ? data[0] % size : 0;

	control_init(&control, &ports);
	control_receive(&control, (const char *)data, half);
	control_receive(&control, (const char *)data + half, size - half);
	control_receive(&control, plain, sizeof(plain) - 1);
	if (last_len != sizeof(want) - 1 || memcmp(last, want, last_len))
		abort();
	return 0;
}
