/* test_response.c - which answer a request gets from a snapshot, and the bytes of its head. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/response.h"

#define DATE  "Sun, 06 Nov 1994 08:49:37 GMT"
#define BLANK "-----------------------------"

static const struct limits limits = { .request_line = 8192, .head = 16384, .fields = 100, .body = 65536 };

static const char ok_head[] = "HTTP/1.1 200 OK\r\nDate: " BLANK "\r\nContent-Length: 2\r\n";
static const char ok_304[] = "HTTP/1.1 304 Not Modified\r\nDate: " BLANK "\r\nETag: \"e\"\r\n";
static const char moved_head[] = "HTTP/1.1 301 Moved Permanently\r\nDate: " BLANK
				 "\r\nLocation: /dir/\r\nContent-Length: 0\r\n";
static const char error_head[] = "HTTP/1.1 404 Not Found\r\nDate: " BLANK "\r\nContent-Length: 2\r\n";

static const struct representation ok = {
	.head = ok_head,
	.head_len = sizeof(ok_head) - 1,
	.date_at = 23,
	.body = (const uint8_t *)"hi",
	.body_len = 2,
	.status = 200,
	.not_modified = ok_304,
	.not_modified_len = sizeof(ok_304) - 1,
	.not_modified_date_at = 33,
	.etag = "\"e\"",
	.etag_len = 3,
	.last_modified = 784111777,
};
static const struct representation moved = {
	.head = moved_head,
	.head_len = sizeof(moved_head) - 1,
	.date_at = 38,
	.status = 301,
	.location_end = 84,
};

static struct representation errors[SNAPSHOT_ERRORS];
static struct snapshot_slot slots[8];
static struct snapshot snapshot = { .slots = slots, .mask = 7 };

static void add(const char *key, const struct representation *representation)
{
	uint64_t hash = snapshot_hash(key, strlen(key)), at = hash & snapshot.mask;

	while (slots[at].hash)
		at = (at + 1) & snapshot.mask;
	slots[at] = (struct snapshot_slot){
		.hash = hash, .key = key, .key_len = (uint32_t)strlen(key), .representation = representation
	};
}

static void setup(void)
{
	static const uint16_t status[] = { 400, 404, 405, 408, 413, 414, 417, 431, 500, 501, 503, 505 };

	memset(slots, 0, sizeof(slots));
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++) {
		errors[i] = (struct representation){ .head = error_head,
			                             .head_len = sizeof(error_head) - 1,
			                             .date_at = 30,
			                             .body = (const uint8_t *)"no",
			                             .body_len = 2,
			                             .status = status[i] };
		snapshot.errors[i] = &errors[i];
	}
	add("/", &ok);
	add("/a b", &ok);
	add("/dir", &moved);
}

static struct response plan(const char *text, char *head, bool may_keep_alive)
{
	static char scratch[16384], bytes[16384];
	struct request_parser parser;
	struct response response;
	size_t used, len;

	strcpy(bytes, text);
	request_begin(&parser, &limits, bytes);
	ck_assert_int_eq(request_read(&parser, bytes, strlen(bytes), &used), REQUEST_COMPLETE);
	response_plan(&response, &parser.request, bytes, &snapshot, may_keep_alive, scratch);
	len = response_head(&response, DATE, head);
	ck_assert_uint_le(len, RESPONSE_HEAD_MAX);
	head[len] = '\0';
	return response;
}

static const struct {
	const char *request;
	unsigned status;
	bool with_body, close;
} cases[] = {
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, false },
	{ "GET /?x HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, false },
	{ "GET /a%20b HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, false },
	{ "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, false, false },
	{ "GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, false },
	{ "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", 404, false, false },
	{ "GET /%2f HTTP/1.1\r\nHost: a\r\n\r\n", 404, true, false },
	{ "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, true, false },
	{ "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", 400, true, false },
	{ "POST / HTTP/1.1\r\nHost: a\r\n\r\n", 405, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, true, false },
	{ "GET /dir HTTP/1.1\r\nHost: a\r\n\r\n", 301, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200, true, true },
	{ "GET / HTTP/1.0\r\n\r\n", 200, true, true },
	{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, true, false },
	/* conditions, RFC 9110 13.1 */
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"e\"\r\n\r\n", 304, false, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: W/\"e\"\r\n\r\n", 304, false, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 304, false, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\" ,, W/\"b\",\t\"e\"\r\n\r\n", 304, false, false },
	{ "HEAD / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"e\"\r\n\r\n", 304, false, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a,e\"\r\n\r\n", 200, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: e\r\n\r\n", 200, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"e\r\n\r\n", 200, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\"\"e\"\r\n\r\n", 200, true, false },
	{ "GET /x HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 404, true, false },
	{ "GET /dir HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 301, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: " DATE "\r\n\r\n", 304, false, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n\r\n", 200, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: yesterday\r\n\r\n", 200, true, false },
	{ "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"a\"\r\nIf-Modified-Since: " DATE "\r\n\r\n", 200, true,
	  false },
};

START_TEST(test_plans)
{
	char head[RESPONSE_HEAD_MAX + 1];
	struct response response = plan(cases[_i].request, head, true);
	unsigned status = response.not_modified ? 304 : response.representation->status;

	ck_assert_msg(status == cases[_i].status, "%u instead of %u: %s", status, cases[_i].status, cases[_i].request);
	ck_assert_int_eq(response.with_body, cases[_i].with_body);
	ck_assert_int_eq(response.close, cases[_i].close);
	ck_assert_ptr_nonnull(strstr(head, "\r\nDate: " DATE "\r\n"));
	ck_assert_str_eq(head + strlen(head) - 4, "\r\n\r\n");
}
END_TEST

START_TEST(test_heads)
{
	char head[RESPONSE_HEAD_MAX + 1];

	plan("GET / HTTP/1.1\r\nHost: a\r\n\r\n", head, true);
	ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Length: 2\r\n\r\n");
	plan("GET / HTTP/1.1\r\nHost: a\r\n\r\n", head, false);
	ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
	plan("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", head, true);
	ck_assert_str_eq(head,
	                 "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n");
	plan("GET /dir?q=1 HTTP/1.1\r\nHost: a\r\n\r\n", head, true);
	ck_assert_ptr_nonnull(strstr(head, "\r\nLocation: /dir/?q=1\r\n"));
	plan("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", head, true);
	ck_assert_str_eq(head, "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\nETag: \"e\"\r\n\r\n");
}
END_TEST

START_TEST(test_a_query_too_long_is_left_out_of_a_redirect)
{
	char head[RESPONSE_HEAD_MAX + 1], text[8300] = "GET /dir?";
	size_t room = REPRESENTATION_HEAD_MAX - moved.head_len;

	for (size_t len = room - 1; len <= room + 1; len++) {
		memset(text + 9, 'q', len - 1);
		strcpy(text + 8 + len, " HTTP/1.1\r\nHost: a\r\n\r\n");
		plan(text, head, true);
		ck_assert_int_eq(strstr(head, "Location: /dir/?qqq") != NULL, len <= room);
		ck_assert_int_eq(strstr(head, "Location: /dir/\r\n") != NULL, len > room);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("response");
	TCase *tcase = tcase_create("response");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, test_plans, 0, sizeof(cases) / sizeof(*cases));
	tcase_add_test(tcase, test_heads);
	tcase_add_test(tcase, test_a_query_too_long_is_left_out_of_a_redirect);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
