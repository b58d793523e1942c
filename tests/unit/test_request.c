/*
 * test_request.c - the request reader: what is accepted, what is refused and with which status, the same however the
 * bytes are split.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/request.h"

static const struct limits limits = { .request_line = 8192, .head = 16384, .fields = 100, .body = 65536 };

struct reading {
	enum request_progress progress;
	struct request request;
	size_t used;
};

/* Reads bytes in pieces of the given size, from memory of exactly that length, so that a sanitizer sees a byte too far. */
static struct reading read_in_pieces(const char *bytes, size_t len, size_t piece)
{
	struct request_parser parser;
	struct reading reading = { .progress = REQUEST_MORE };
	char *copy = malloc(len);

	memcpy(copy, bytes, len);
	request_begin(&parser, &limits, copy);
	while (reading.used < len && reading.progress == REQUEST_MORE) {
		size_t n = len - reading.used < piece ? len - reading.used : piece, used;

		reading.progress = request_read(&parser, copy + reading.used, n, &used);
		if (reading.progress == REQUEST_MORE)
			ck_assert_uint_eq(used, n);
		reading.used += used;
	}
	reading.request = parser.request;
	free(copy);
	return reading;
}

static struct reading read_bytes(const char *bytes, size_t len)
{
	struct reading whole = read_in_pieces(bytes, len, len);

	for (size_t piece = 1; piece < len && piece <= (len < 1000 ? 40 : 3); piece++) {
		struct reading again = read_in_pieces(bytes, len, piece);

		ck_assert_msg(again.progress == whole.progress && again.request.status == whole.request.status,
		              "in pieces of %zu: progress %d, status %u instead of %d, %u: %.*s", piece, again.progress,
		              again.request.status, whole.progress, whole.request.status, (int)len, bytes);
		if (whole.progress == REQUEST_COMPLETE)
			ck_assert_uint_eq(again.used, whole.used);
	}
	return whole;
}

static struct reading read_text(const char *text)
{
	return read_bytes(text, strlen(text));
}

#define HOST "Host: a\r\n"

static const struct {
	const char *bytes;
	unsigned status; /* 0: accepted */
} heads[] = {
	{ "GET / HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET / HTTP/1.0\r\n\r\n", 0 },
	{ "GET / HTTP/1.7\r\n" HOST "\r\n", 0 },
	{ "\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET / HTTP/1.1\r\nhOsT:a\r\nEmpty:\r\nTrailing: x \t \r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 0 },
	{ "GET http://a/b HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 0 },
	/* the request line, RFC 9112 3 */
	{ "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET  / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /  HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1 \r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1x\r\n" HOST "\r\n", 400 },
	{ "GET / http/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / RTSP/1.0\r\n\r\n", 400 },
	{ "GET / HTTP/11.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1\r\n" HOST "\r\n", 400 },
	{ "GET b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\x7f HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\r\n\r\n", 400 },
	{ "garbage\r\n\r\n", 400 },
	{ "G@T / HTTP/1.1\r\n\r\n", 400 },
	{ "\x16\x03\x01\x02\x01\x01\xfc", 400 }, /* TLS */
	{ "BREW / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "get / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "GETX / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "GET / HTTP/2.0\r\n" HOST "\r\n", 505 },
	{ "GET / HTTP/0.9\r\n" HOST "\r\n", 505 },
	/* line ends and folding, RFC 9112 2.2 and 5.2 */
	{ "GET / HTTP/1.1\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "\rX\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: y\r\n z\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: \r\n z\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X:\r\n \r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: y\r\n \r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n X: y\r\n" HOST "\r\n", 400 },
	/* field lines, RFC 9112 5 */
	{ "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST ": y\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X@: y\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", 400 },
	/* Host, RFC 9112 3.2 */
	{ "GET / HTTP/1.1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400 },
	/* framing, RFC 9112 6 */
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", 0 },
	{ "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
	{ "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
	{ "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", 0 }, /* RFC 9110 10.1.1 */
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n", 413 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417 },
};

START_TEST(test_heads_are_judged)
{
	struct reading reading = read_text(heads[_i].bytes);

	ck_assert_msg(reading.request.status == heads[_i].status, "%u instead of %u: %s", reading.request.status,
	              heads[_i].status, heads[_i].bytes);
	if (heads[_i].status == 0) {
		ck_assert_int_eq(reading.progress, REQUEST_COMPLETE);
		ck_assert_uint_eq(reading.used, strlen(heads[_i].bytes));
		ck_assert(reading.request.framed);
	} else if (heads[_i].status == 417) {
		ck_assert_int_eq(reading.progress, REQUEST_COMPLETE); /* an answer, but the message is understood */
	} else {
		ck_assert_int_eq(reading.progress, REQUEST_FAILED);
	}
}
END_TEST

START_TEST(test_nul_in_the_head_is_refused)
{
	static const char in_value[] = "GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n";
	static const char in_target[] = "GET /\0 HTTP/1.1\r\n" HOST "\r\n";

	ck_assert_uint_eq(read_bytes(in_value, sizeof(in_value) - 1).request.status, 400);
	ck_assert_uint_eq(read_bytes(in_target, sizeof(in_target) - 1).request.status, 400);
}
END_TEST

START_TEST(test_persistence)
{
	static const struct {
		const char *bytes;
		bool keep_alive;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n" HOST "\r\n", true },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: CLOSE\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: x, close\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ck_assert_msg(read_text(cases[i].bytes).request.keep_alive == cases[i].keep_alive, "%s",
		              cases[i].bytes);
}
END_TEST

START_TEST(test_spans)
{
	static const char text[] = "HEAD /x?y HTTP/1.1\r\n" HOST
				   "If-None-Match:  \"a\", \"b\" \r\nIf-Modified-Since: z\r\n\r\n";
	struct request request = read_text(text).request;

	ck_assert_int_eq(request.method, METHOD_HEAD);
	ck_assert_int_eq(strncmp(text + request.target.at, "/x?y", request.target.len), 0);
	ck_assert_uint_eq(request.if_none_match.len, 8);
	ck_assert_int_eq(strncmp(text + request.if_none_match.at, "\"a\", \"b\"", 8), 0);
	ck_assert_uint_eq(request.if_modified_since.len, 1);
	ck_assert(!request.if_none_match_more);
	ck_assert(read_text("GET / HTTP/1.1\r\n" HOST "If-None-Match: a\r\nIf-None-Match: b\r\n\r\n")
	                  .request.if_none_match_more);
	ck_assert_int_eq(read_text("PUT / HTTP/1.1\r\n" HOST "\r\n").request.method, METHOD_OTHER);
}
END_TEST

START_TEST(test_the_next_request_begins_after_this_one)
{
	static const char *const messages[] = {
		"GET / HTTP/1.1\r\n" HOST "\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST
		"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nHost: b\r\nX: y\r\n\r\n",
	};
	char bytes[512];

	for (size_t i = 0; i < sizeof(messages) / sizeof(*messages); i++) {
		struct reading reading;

		snprintf(bytes, sizeof(bytes), "%sGET /next HTTP/1.1\r\n", messages[i]);
		reading = read_text(bytes);
		ck_assert_int_eq(reading.progress, REQUEST_COMPLETE);
		ck_assert_uint_eq(reading.used, strlen(messages[i]));
		ck_assert_uint_eq(reading.request.hosts, 1);
	}
}
END_TEST

START_TEST(test_expect_is_answered_without_the_body)
{
	struct reading reading = read_text("POST / HTTP/1.1\r\n" HOST
	                                   "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n");

	ck_assert_int_eq(reading.progress, REQUEST_COMPLETE);
	ck_assert(reading.request.expects_continue && !reading.request.framed);
}
END_TEST

/* A request that is exactly as long as a limit allows is taken; one byte more is not. */
START_TEST(test_limits_are_exact)
{
	char *bytes = malloc(200000);
	size_t n;

	for (int over = 0; over <= 1; over++) {
		strcpy(bytes, "GET /");
		memset(bytes + 5, 'a', limits.request_line);
		n = limits.request_line - 1 + (size_t)over; /* and the space makes the limit */
		n += (size_t)sprintf(bytes + n, " HTTP/1.1\r\n" HOST "\r\n");
		ck_assert_uint_eq(read_bytes(bytes, n).request.status, over ? 414 : 0);

		n = (size_t)sprintf(bytes, "GET / HTTP/1.1\r\n" HOST "X: ");
		memset(bytes + n, 'a', limits.head);
		memcpy(bytes + limits.head - 4 + over, "\r\n\r\n", 4);
		ck_assert_uint_eq(read_bytes(bytes, limits.head + (size_t)over).request.status, over ? 431 : 0);

		n = (size_t)sprintf(bytes, "GET / HTTP/1.1\r\n" HOST);
		for (unsigned i = 1; i < limits.fields + (unsigned)over; i++)
			n += (size_t)sprintf(bytes + n, "X: y\r\n");
		n += (size_t)sprintf(bytes + n, "\r\n");
		ck_assert_uint_eq(read_bytes(bytes, n).request.status, over ? 431 : 0);

		n = (size_t)sprintf(bytes, "POST / HTTP/1.1\r\n" HOST "Content-Length: %u\r\n\r\n",
		                    (unsigned)limits.body + (unsigned)over);
		memset(bytes + n, 'a', limits.body + 1);
		ck_assert_uint_eq(read_bytes(bytes, n + limits.body + (size_t)over).request.status, over ? 413 : 0);
	}

	/* A body without end: chunks, with their framing, count too. */
	n = (size_t)sprintf(bytes, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	while (n < 100000)
		n += (size_t)sprintf(bytes + n, "1\r\na\r\n");
	ck_assert_uint_eq(read_bytes(bytes, n).request.status, 413);
	free(bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("request");
	TCase *tcase = tcase_create("request");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_heads_are_judged, 0, sizeof(heads) / sizeof(*heads));
	tcase_add_test(tcase, test_nul_in_the_head_is_refused);
	tcase_add_test(tcase, test_persistence);
	tcase_add_test(tcase, test_spans);
	tcase_add_test(tcase, test_the_next_request_begins_after_this_one);
	tcase_add_test(tcase, test_expect_is_answered_without_the_body);
	tcase_add_test(tcase, test_limits_are_exact);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
