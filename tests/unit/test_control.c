// SPDX-License-Identifier: MIT
// LINK: vmm/control.c vmm/stats.c
// The control channel's server: what it answers to good, odd and bad lines, whole and in pieces; notifications;
// statistics in their published form.
#include "vmm/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct control control;
static char sent[1 << 20];
static size_t sent_len;
static unsigned sends, notified;

static void fake_send(void *ctx, const char *bytes, size_t n)
{
	assert_ptr_equal(ctx, &control);
	assert_true(sent_len + n < sizeof(sent));
	assert_int_equal(bytes[n - 1], '\n');
	assert_true(json_valid(bytes, n - 1));
	memcpy(sent + sent_len, bytes, n);
	sent_len += n;
	sent[sent_len] = 0;
	sends++;
}

static int echo(void *ctx, struct control_request *req, struct json_out *result)
{
	char text[64];
	u64 n = 0;

	if (!control_param_string(req, "text", text, sizeof(text)))
		return TZ_RPC_INVALID_PARAMS;
	control_param_u64(req, "n", &n);
	json_object(result);
	json_kv_string(result, "text", text);
	json_kv_u64(result, "n", n);
	json_object_end(result);
	return 0;
}

static int nothing(void *ctx, struct control_request *req, struct json_out *result)
{
	notified += req->notification;
	return 0;
}

static int fails_late(void *ctx, struct control_request *req, struct json_out *result)
{
	json_object(result);
	json_kv_string(result, "half", "done");
	req->error = "no \"luck\"";
	return TZ_RPC_STATE;
}

static int huge(void *ctx, struct control_request *req, struct json_out *result)
{
	json_array(result);
	for (int i = 0; i < 100000; i++)
		json_put_u64(result, ~0ull);
	json_array_end(result);
	return 0;
}

static int notifies(void *ctx, struct control_request *req, struct json_out *result)
{
	json_array(result);
	control_console_out(ctx, "vm", "x", 1);
	json_array_end(result);
	return 0;
}

static const struct control_method methods[] = {
	{"echo", echo}, {"nothing", nothing}, {"fails_late", fails_late}, {"huge", huge}, {"notifies", notifies},
};

static int setup(void **state)
{
	struct control_ports ports = {.send = fake_send,
				      .method = methods,
				      .methods = ARRAY_SIZE(methods),
				      .ctx = &control};

	control_init(&control, &ports);
	sent_len = sends = notified = 0;
	sent[0] = 0;
	return 0;
}

static const char *answer(const char *line)
{
	sent_len = sends = 0;
	sent[0] = 0;
	control_receive(&control, line, strlen(line));
	control_receive(&control, "\n", 1);
	return sent;
}

#define R "{\"jsonrpc\":\"2.0\","

static void requests(void **state)
{
	assert_string_equal(
		answer(R "\"id\":1,\"method\":\"echo\",\"params\":{\"text\":\"a\\n\",\"n\":18446744073709551615}}"),
		R "\"id\":1,\"result\":{\"text\":\"a\\n\",\"n\":18446744073709551615}}\n");
	assert_string_equal(answer(R "\"id\":\"x\\\"y\",\"method\":\"nothing\"}"),
			    R "\"id\":\"x\\\"y\",\"result\":null}\n");
	assert_string_equal(answer(" { \"method\" : \"nothing\" , \"id\" : null,\"jsonrpc\":\"2.0\" } \r"),
			    R "\"id\":null,\"result\":null}\n");
	assert_string_equal(answer(R "\"id\":2,\"method\":\"\\u006eothing\"}"), R "\"id\":2,\"result\":null}\n");
	assert_string_equal(answer(""), "");
	assert_string_equal(answer("\r"), "");
}

static void notifications_get_no_reply(void **state)
{
	assert_string_equal(answer(R "\"method\":\"nothing\"}"), "");
	assert_int_equal(notified, 1);
	assert_string_equal(answer(R "\"method\":\"echo\"}"), "");
	assert_string_equal(answer(R "\"method\":\"unheard\"}"), "");
}

static void expect_error(const char *line, int code)
{
	char want[64];

	sprintf(want, "\"error\":{\"code\":%d,", code);
	if (!strstr(answer(line), want))
		fail_msg("%s\nanswered by\n%s", line, sent);
	assert_int_equal(sends, 1);
}

static void errors(void **state)
{
	expect_error("{", TZ_RPC_PARSE);
	expect_error("hello", TZ_RPC_PARSE);
	expect_error("{\"a\" \"b\"}", TZ_RPC_PARSE);
	expect_error("{\"jsonrpc\":\"2.0\",}", TZ_RPC_PARSE);
	expect_error(R "\"id\":01,\"method\":\"nothing\"}", TZ_RPC_PARSE);
	expect_error(R "\"id\":1,\"method\":\"\\x\"}", TZ_RPC_PARSE);
	expect_error("\"\\u12\"", TZ_RPC_PARSE);
	expect_error("[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", TZ_RPC_PARSE);
	expect_error("1", TZ_RPC_INVALID_REQUEST);
	expect_error("[]", TZ_RPC_INVALID_REQUEST);
	expect_error("{}", TZ_RPC_INVALID_REQUEST);
	expect_error("{\"id\":1,\"method\":\"nothing\"}", TZ_RPC_INVALID_REQUEST);
	expect_error("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"nothing\"}", TZ_RPC_INVALID_REQUEST);
	expect_error(R "\"id\":{},\"method\":\"nothing\"}", TZ_RPC_INVALID_REQUEST);
	expect_error(R "\"id\":1,\"method\":5}", TZ_RPC_INVALID_REQUEST);
	expect_error(R "\"id\":1,\"method\":\"nothing\",\"params\":5}", TZ_RPC_INVALID_REQUEST);
	expect_error(R "\"id\":1,\"method\":\"unheard\"}", TZ_RPC_NO_METHOD);
	expect_error(R "\"id\":1,\"method\":\"nothing\\u0000\"}", TZ_RPC_NO_METHOD);
	expect_error(R "\"id\":1,\"method\":\"echo\"}", TZ_RPC_INVALID_PARAMS);
	expect_error(R "\"id\":1,\"method\":\"echo\",\"params\":[1]}", TZ_RPC_INVALID_PARAMS);
	expect_error(R "\"id\":1,\"method\":\"echo\",\"params\":{\"text\":\"a\\u0000b\"}}", TZ_RPC_INVALID_PARAMS);
	expect_error(R "\"id\":1,\"method\":\"huge\"}", TZ_RPC_INTERNAL);
	assert_string_equal(answer(R "\"id\":1,\"method\":\"fails_late\"}"),
			    R "\"id\":1,\"error\":{\"code\":-32001,\"message\":\"no \\\"luck\\\"\"}}\n");
}

static void batches(void **state)
{
	assert_string_equal(answer("[" R "\"id\":1,\"method\":\"nothing\"}," R "\"method\":\"nothing\"},7]"),
			    "[" R "\"id\":1,\"result\":null}," R
			    "\"id\":null,\"error\":{\"code\":-32600,\"message\":\"invalid request\"}}]\n");
	assert_string_equal(answer("[" R "\"method\":\"nothing\"}]"), "");
	answer("[" R "\"id\":1,\"method\":\"huge\"}," R "\"id\":2,\"method\":\"nothing\"}]");
	assert_non_null(strstr(sent, "\"id\":2,\"result\":null"));
}

static void lines_in_pieces(void **state)
{
	const char *two = R "\"id\":1,\"method\":\"nothing\"}\n" R "\"id\":2,\"method\":\"nothing\"}\n";

	for (size_t i = 0; i < strlen(two); i++)
		control_receive(&control, two + i, 1);
	assert_string_equal(sent, R "\"id\":1,\"result\":null}\n" R "\"id\":2,\"result\":null}\n");
}

static void long_lines(void **state)
{
	char *line = malloc(TZ_CONTROL_LINE_MAX + 2);

	memset(line, ' ', TZ_CONTROL_LINE_MAX + 1);
	line[TZ_CONTROL_LINE_MAX + 1] = 0;
	memcpy(line, "1", 1);
	expect_error(line, TZ_RPC_INVALID_REQUEST);
	assert_non_null(strstr(sent, "too long"));
	line[TZ_CONTROL_LINE_MAX] = 0; // the longest that is taken
	expect_error(line, TZ_RPC_INVALID_REQUEST);
	assert_null(strstr(sent, "too long"));
	assert_string_equal(answer(R "\"id\":2,\"method\":\"nothing\"}"), R "\"id\":2,\"result\":null}\n");
	free(line);
}

static void too_many_values(void **state)
{
	char *line = malloc(8192);
	size_t n = (size_t)sprintf(line, R "\"id\":1,\"method\":\"nothing\",\"params\":[0");

	for (int i = 0; i < CONTROL_TOKENS; i++)
		n += (size_t)sprintf(line + n, ",0");
	sprintf(line + n, "]}");
	expect_error(line, TZ_RPC_INVALID_REQUEST);
	free(line);
}

static void note_inside_a_method(void **state)
{
	assert_string_equal(answer(R "\"id\":1,\"method\":\"notifies\"}"),
			    R "\"method\":\"console\",\"params\":{\"vm\":\"vm\",\"data\":\"x\"}}\n" R
			      "\"id\":1,\"result\":[]}\n");
}

// Every byte survives the way out and back.
static void console_bytes(void **state)
{
	u8 all[1200], back[1200];
	struct json_token token[64];
	size_t got = 0;

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (u8)i;
	control_console_out(&control, "a", all, sizeof(all));
	assert_int_equal(sends, (sizeof(all) + TZ_CONSOLE_CHUNK - 1) / TZ_CONSOLE_CHUNK);
	for (char *line = strtok(sent, "\n"); line; line = strtok(NULL, "\n")) {
		struct json_doc doc;
		char data[TZ_CONSOLE_CHUNK + 1];

		assert_true(json_parse(&doc, line, strlen(line), token, ARRAY_SIZE(token)));
		long n = json_string(json_member(json_member(json_root(&doc), "params"), "data"), data, sizeof(data));

		assert_true(n > 0 && got + (size_t)n <= sizeof(back));
		memcpy(back + got, data, (size_t)n);
		got += (size_t)n;
	}
	assert_int_equal(got, sizeof(all));
	assert_memory_equal(all, back, sizeof(all));
}

static void other_notes(void **state)
{
	char *text = malloc(5000);

	control_ready(&control, "1");
	control_vm_ended(&control, "a", TZ_END_DEBUG_EXIT, NULL, 5);
	assert_string_equal(sent,
			    R "\"method\":\"ready\",\"params\":{\"version\":\"1\"}}\n" R
			      "\"method\":\"vm_ended\",\"params\":{\"vm\":\"a\",\"reason\":\"\",\"how\":\"debug_exit\","
			      "\"value\":5}}\n");
	memset(text, 1, 4999); // long, and every byte an escape: cut, never dropped
	text[4999] = 0;
	control_panic(&control, text);
	control_vm_restarted(&control, "a", TZ_END_RESET, text);
	assert_int_equal(sends, 4);
	free(text);
}

static void statistics(void **state)
{
	static const struct stats_exit exits[] = {{"page_fault", 1, 2}, {"io", 3, 4}};
	static const struct stats_counter tx = {"tx_bytes", 9};
	static const struct stats_device dev = {"net0", &tx, 1};
	struct stats_vm vm = {.name = "a",
			      .type = "hvm",
			      .state = "running",
			      .vcpus = 1,
			      .exit = exits,
			      .exits = 2,
			      .crossings = 7,
			      .device = &dev,
			      .devices = 1};
	struct stats_snapshot s = {.machine = {2, 100, 10, 50}, .vm = &vm, .vms = 1};

	vm.end.how = TZ_END_CRASH;
	vm.end.reason = "why";
	control_final(&control, &s);
	assert_string_equal(
		sent,
		R "\"method\":\"final\",\"params\":{\"version\":1,"
		  "\"machine\":{\"cpus\":2,\"memory_bytes\":100,\"hypervisor_bytes\":10,\"free_bytes\":50},"
		  "\"vms\":[{\"name\":\"a\",\"type\":\"hvm\",\"state\":\"running\",\"vcpus\":1,"
		  "\"cpu\":{\"run_ns\":0,\"ready_ns\":0,\"stolen_ns\":0},"
		  "\"exits\":{\"page_fault\":{\"count\":1,\"ns\":2},\"io\":{\"count\":3,\"ns\":4}},\"crossings\":7,"
		  "\"translator\":{\"blocks\":0,\"bytes\":0,\"flushes\":0,\"smc_faults\":0,\"instructions_emulated\":0,"
		  "\"callouts\":0},"
		  "\"mmu\":{\"shadow_pages\":0,\"hidden_faults\":0,\"guest_faults\":0,\"pte_writes\":0},"
		  "\"memory\":{\"configured\":0,\"resident\":0,\"shared\":0,\"zero\":0,\"ballooned\":0,\"swapped\":0,"
		  "\"target\":0,\"overhead\":0},\"devices\":{\"net0\":{\"tx_bytes\":9}},"
		  "\"end\":{\"how\":\"crash\",\"reason\":\"why\",\"value\":0}}]}}\n");
}

static void json_values(void **state)
{
	const char *text = "{\"a\":[1,{\"b\":2},\"s\"],\"c\":true,\"d\":-1,\"\\u00e9\":null,\"e\":\"\xc3\xa9\\u0100\"}";
	struct json_token token[32];
	struct json_doc doc;
	struct json_value root, name, value;
	char buf[8];
	bool yes = false;
	u64 n;

	assert_true(json_parse(&doc, text, strlen(text), token, ARRAY_SIZE(token)));
	root = json_root(&doc);
	assert_int_equal(json_count(root), 5);
	assert_int_equal(json_count(json_member(root, "a")), 3);
	assert_true(json_u64(json_member(json_at(json_member(root, "a"), 1), "b"), &n) && n == 2);
	assert_true(json_string_is(json_at(json_member(root, "a"), 2), "s"));
	assert_int_equal(json_kind(json_at(json_member(root, "a"), 3)), JSON_ABSENT);
	assert_true(json_bool(json_member(root, "c"), &yes) && yes);
	assert_false(json_u64(json_member(root, "d"), &n));
	assert_int_equal(json_kind(json_member(root, "\xe9")), JSON_NULL);
	assert_int_equal(json_string(json_member(root, "e"), buf, sizeof(buf)), -1);
	assert_int_equal(json_string(json_at(json_member(root, "a"), 2), buf, 1), -1);
	assert_int_equal(json_kind(json_member(root, "b")), JSON_ABSENT);
	assert_true(json_member_at(root, 1, &name, &value) && json_string_is(name, "c"));
	assert_false(json_member_at(root, 5, &name, &value));
	assert_false(json_parse(&doc, text, strlen(text), token, 5));
}

static void json_overflow(void **state)
{
	for (size_t room = 0; room < 12; room++) {
		char *buf = malloc(room ? room : 1);
		struct json_out j;

		json_init(&j, buf, room);
		json_object(&j);
		json_kv_hex(&j, "k", 0xab);
		json_object_end(&j);
		assert_true(j.overflow);
		assert_int_equal(j.len, room);
		free(buf);
	}
	char exact[12];
	struct json_out j;

	json_init(&j, exact, sizeof(exact));
	json_object(&j);
	json_kv_hex(&j, "k", 0xab);
	json_object_end(&j);
	assert_false(j.overflow);
	assert_memory_equal(exact, "{\"k\":\"0xab\"}", 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(requests, setup),
		cmocka_unit_test_setup(notifications_get_no_reply, setup),
		cmocka_unit_test_setup(errors, setup),
		cmocka_unit_test_setup(batches, setup),
		cmocka_unit_test_setup(lines_in_pieces, setup),
		cmocka_unit_test_setup(long_lines, setup),
		cmocka_unit_test_setup(too_many_values, setup),
		cmocka_unit_test_setup(note_inside_a_method, setup),
		cmocka_unit_test_setup(console_bytes, setup),
		cmocka_unit_test_setup(other_notes, setup),
		cmocka_unit_test_setup(statistics, setup),
		cmocka_unit_test(json_values),
		cmocka_unit_test(json_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
