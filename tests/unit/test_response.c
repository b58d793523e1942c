/*
 * test_response.c - which answer a request gets from a snapshot: variant, conditions, ranges, persistence; and the bytes
 * of its head and of the heads of its parts.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/response.h"

#define DATE       "Sun, 06 Nov 1994 08:49:37 GMT"
#define LATER      "Sun, 06 Nov 1994 08:49:38 GMT"
#define PAST       "Sun, 06 Nov 1994 08:49:36 GMT"
#define BLANK      "-----------------------------"
#define OTHER_DATE "Sun, 06 Nov 1994 08:00:00 GMT"
#define MTIME      784111777
#define NOW        784112000

/* Of 24 bytes, as boundaries are made of them. */
#define ETAG        "\"identity-0123456789abc\""
#define ETAG_GZIP   "\"gzip-0123456789abcdefg\""
#define ETAG_BR     "\"brotli-0123456789abcde\""
#define ETAG_ZSTD   "\"zstd-0123456789abcdefg\""
#define SNAPSHOT_ID "0123456789abcdefghijkl"
#define BOUNDARY    "loom-identity-0123456789abc"

#define VALIDATORS(etag) "Date: " BLANK "\r\nETag: " etag "\r\nVary: Accept-Encoding\r\nCache-Control: no-cache\r\n"
#define OTHERS           "X-Content-Type-Options: nosniff\r\nLast-Modified: " DATE "\r\n"
#define TYPE             "Content-Type: text/html; charset=utf-8\r\n"

#define H "HTTP/1.1\r\nHost: a\r\n"

static const struct limits limits = { .request_line = 8192, .head = 16384, .fields = 100, .body = 65536 };

static struct representation hi, space, moved, page, page_gzip, page_br, page_zstd, plain, empty, vast;
static struct representation errors[SNAPSHOT_ERRORS];
static struct snapshot_slot slots[32];
static struct snapshot_variants variants[2];
static struct snapshot snapshot = { .slots = slots, .mask = 31, .variants = variants, .id = SNAPSHOT_ID };

/* A representation of this head, in which '|' marks where the fields of a 304 end. */
static struct representation make(const char *text, size_t body_len, const char *etag, time_t last_modified)
{
	const char *mark = strchr(text, '|');
	size_t len = strlen(text) - 1;
	char *head = malloc(len + 1);
	struct representation made = {
		.head = head,
		.head_len = (uint16_t)len,
		.body = (const uint8_t *)"",
		.body_len = body_len,
		.status = (uint16_t)atoi(text + strlen("HTTP/1.1 ")),
		.metadata_at = (uint16_t)(mark - text),
		.etag_len = (uint8_t)strlen(etag),
		.last_modified = last_modified,
	};
	const char *location;

	ck_assert_uint_le(len, REPRESENTATION_HEAD_MAX);
	memcpy(head, text, (size_t)(mark - text));
	strcpy(head + (mark - text), mark + 1);
	made.validators_at = (uint8_t)(strstr(head, "Date: ") - head);
	made.date_at = (uint8_t)(made.validators_at + strlen("Date: "));
	made.length_at = (uint16_t)(strstr(head, "Content-Length: ") - head);
	made.type_at = made.length_at;
	if (strstr(head, "Content-Type: "))
		made.type_at = (uint16_t)(strstr(head, "Content-Type: ") - head);
	if (strstr(head, "Last-Modified: "))
		made.modified_at = (uint16_t)(strstr(head, "Last-Modified: ") - head + 15);
	location = strstr(head, "Location: ");
	if (location)
		made.location_end = (uint16_t)(strstr(location, "\r\n") - head);
	memcpy(made.etag, etag, made.etag_len);
	return made;
}

static void add(const char *key, const struct representation *representation, uint32_t varies)
{
	uint64_t hash = snapshot_hash(key, strlen(key)), at = hash & snapshot.mask;

	while (slots[at].hash)
		at = (at + 1) & snapshot.mask;
	slots[at] = (struct snapshot_slot){ .hash = hash,
		                            .key = key,
		                            .key_len = (uint32_t)strlen(key),
		                            .variants = varies,
		                            .representation = representation };
}

static void setup(void)
{
	static const uint16_t status[SNAPSHOT_ERRORS] = {
		[ERROR_400] = 400,      [ERROR_404] = 404,       [ERROR_405] = 405, [ERROR_406] = 406,
		[ERROR_408] = 408,      [ERROR_412] = 412,       [ERROR_413] = 413, [ERROR_414] = 414,
		[ERROR_416] = 416,      [ERROR_417] = 417,       [ERROR_431] = 431, [ERROR_500] = 500,
		[ERROR_501] = 501,      [ERROR_503] = 503,       [ERROR_505] = 505, [ANSWER_OPTIONS] = 200,
		[ANSWER_HEALTHY] = 200, [ANSWER_DRAINING] = 503,
	};
	char text[512];

	memset(slots, 0, sizeof(slots));
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++) {
		snprintf(text, sizeof(text), "HTTP/1.1 %u Words\r\nDate: " BLANK "\r\n|Content-Length: 2\r\n",
		         status[i]);
		errors[i] = make(text, 2, "", 0);
		snapshot.errors[i] = &errors[i];
	}
	hi = make("HTTP/1.1 200 OK\r\nDate: " BLANK "\r\nETag: \"e\"\r\n|Content-Length: 2\r\n", 2, "\"e\"", MTIME);
	space = hi;
	moved = make("HTTP/1.1 301 Moved Permanently\r\nDate: " BLANK "\r\n|Location: /dir/\r\nContent-Length: 0\r\n",
	             0, "", 0);
	page = make("HTTP/1.1 200 OK\r\n" VALIDATORS(ETAG) "|" OTHERS "Accept-Ranges: bytes\r\n" TYPE
	                                                   "Content-Length: 1000\r\n",
	            1000, ETAG, MTIME);
	page_gzip = make("HTTP/1.1 200 OK\r\n" VALIDATORS(ETAG_GZIP) "|" OTHERS "Content-Encoding: gzip\r\n" TYPE
	                                                             "Content-Length: 300\r\n",
	                 300, ETAG_GZIP, MTIME);
	page_br = make("HTTP/1.1 200 OK\r\n" VALIDATORS(ETAG_BR) "|" OTHERS "Content-Encoding: br\r\n" TYPE
	                                                         "Content-Length: 200\r\n",
	               200, ETAG_BR, MTIME);
	page_zstd = make("HTTP/1.1 200 OK\r\n" VALIDATORS(ETAG_ZSTD) "|" OTHERS "Content-Encoding: zstd\r\n" TYPE
	                                                             "Content-Length: 250\r\n",
	                 250, ETAG_ZSTD, MTIME);
	plain = make("HTTP/1.1 200 OK\r\nDate: " BLANK "\r\nETag: " ETAG "\r\n|Accept-Ranges: bytes\r\n" TYPE
	             "Content-Length: 1000\r\n",
	             1000, ETAG, 0);
	empty = make("HTTP/1.1 200 OK\r\nDate: " BLANK "\r\nETag: " ETAG "\r\n|" TYPE "Content-Length: 0\r\n", 0, ETAG,
	             0);
	variants[1] = (struct snapshot_variants){ .coded = { [CODING_IDENTITY] = &page,
		                                             [CODING_GZIP] = &page_gzip,
		                                             [CODING_BR] = &page_br,
		                                             [CODING_ZSTD] = &page_zstd } };
	add("/", &hi, 0);
	add("/a b", &space, 0);
	add("/dir", &moved, 0);
	add("/page", &page, 1);
	add("/plain", &plain, 0);
	add("/empty", &empty, 0);
}

static const struct response_context context = { .snapshot = &snapshot, .now = NOW, .may_keep_alive = true };
static char head[RESPONSE_HEAD_MAX + 1];

/* The bytes of the answer's head, in head[]. */
/* Without Loom-Snapshot; but every head has room for it, and is the same before it. */
static void write_head(const struct response *response)
{
	static const char field[] = "Loom-Snapshot: " SNAPSHOT_ID "\r\n\r\n";
	char with[RESPONSE_HEAD_MAX];
	size_t len = response_head(response, DATE, with), with_len;

	ck_assert_uint_le(len, RESPONSE_HEAD_MAX);
	memcpy(head, with, len);
	head[len] = '\0';
	with_len = response_say_snapshot(with, len, &snapshot);
	ck_assert_uint_eq(with_len, len - 2 + strlen(field));
	ck_assert_uint_le(with_len, RESPONSE_HEAD_MAX);
	ck_assert_mem_eq(with, head, len - 2);
	ck_assert_mem_eq(with + len - 2, field, strlen(field));
}

static struct response plan_in(const struct response_context *where, const char *text)
{
	struct response_context with_scratch = *where;
	struct request_parser parser;
	struct response response;
	char *bytes = malloc(strlen(text)), *scratch;
	size_t used;

	/* All that is there before is to be set. */
	memset(&response, 0xff, sizeof(response));
	memcpy(bytes, text, strlen(text));
	request_begin(&parser, &limits, bytes);
	ck_assert_msg(request_read(&parser, bytes, strlen(text), &used) == REQUEST_COMPLETE, "%s", text);
	scratch = malloc(parser.request.target.len);
	with_scratch.scratch = scratch;
	response_plan(&response, &parser.request, bytes, &with_scratch);
	write_head(&response);
	free(scratch);
	free(bytes);
	response.query = NULL; /* it was in the bytes */
	return response;
}

static struct response plan(const char *text)
{
	return plan_in(&context, text);
}

static const struct {
	const char *request;
	unsigned status;
	bool with_body, close;
} cases[] = {
	{ "GET / " H "\r\n", 200, true, false },
	{ "GET /?x " H "\r\n", 200, true, false },
	{ "GET http://b/?x " H "\r\n", 200, true, false },
	{ "GET /a%20b " H "\r\n", 200, true, false },
	{ "HEAD / " H "\r\n", 200, false, false },
	{ "GET /x " H "\r\n", 404, true, false },
	{ "HEAD /x " H "\r\n", 404, false, false },
	{ "GET /%2f " H "\r\n", 404, true, false },
	{ "GET /%zz " H "\r\n", 400, true, false },
	{ "GET /../x " H "\r\n", 400, true, false },
	{ "GET / " H "Expect: x\r\n\r\n", 417, true, false },
	{ "GET /dir " H "\r\n", 301, true, false },
	{ "HEAD /dir " H "\r\n", 301, false, false },
	{ "GET / " H "Connection: close\r\n\r\n", 200, true, true },
	{ "GET /x " H "Connection: close\r\n\r\n", 404, true, true },
	{ "GET / HTTP/1.0\r\n\r\n", 200, true, true },
	{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, true, false },
	{ "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", 200, true, true },
	/* methods, RFC 9110 9 */
	{ "POST / " H "\r\n", 405, true, false },
	{ "POST /x " H "\r\n", 405, true, false },
	{ "POST /%2f " H "\r\n", 405, true, false },
	{ "POST /%zz " H "\r\n", 400, true, false },
	{ "TRACE / " H "\r\n", 405, true, false },
	{ "DELETE /dir " H "\r\n", 405, true, false },
	{ "POST / " H "Content-Length: 1\r\n\r\nx", 405, true, false },
	{ "POST / " H "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", 405, true, true },
	{ "POST / " H "If-Match: \"x\"\r\n\r\n", 405, true, false },
	{ "PUT / " H "If-None-Match: *\r\n\r\n", 405, true, false },
	{ "OPTIONS / " H "\r\n", 200, true, false },
	{ "OPTIONS * " H "\r\n", 200, true, false },
	{ "OPTIONS /dir " H "\r\n", 200, true, false },
	{ "OPTIONS /x " H "\r\n", 404, true, false },
	{ "OPTIONS /%2f " H "\r\n", 404, true, false },
	{ "OPTIONS /.. " H "\r\n", 400, true, false },
	{ "OPTIONS / " H "If-Match: \"x\"\r\n\r\n", 200, true, false },
	{ "OPTIONS /page " H "Accept-Encoding: *;q=0\r\nRange: bytes=0-1\r\n\r\n", 200, true, false },
	{ "GET * " H "\r\n", 400, true, false },
	{ "HEAD * " H "\r\n", 400, false, false },
	{ "POST * " H "\r\n", 400, true, false },
	{ "CONNECT a:80 " H "\r\n", 405, true, true },
	/* conditions, RFC 9110 13.1 */
	{ "GET / " H "If-None-Match: \"e\"\r\n\r\n", 304, false, false },
	{ "GET / " H "If-None-Match: W/\"e\"\r\n\r\n", 304, false, false },
	{ "GET / " H "If-None-Match: *\r\n\r\n", 304, false, false },
	{ "GET / " H "If-None-Match: \"a\" ,, W/\"b\",\t\"e\"\r\n\r\n", 304, false, false },
	{ "GET / " H "If-None-Match: \"a\"\r\nX: y\r\nIf-None-Match: \"e\"\r\n\r\n", 304, false, false },
	{ "HEAD / " H "If-None-Match: \"e\"\r\n\r\n", 304, false, false },
	{ "GET / " H "If-None-Match: \"a,e\"\r\n\r\n", 200, true, false },
	{ "GET / " H "If-None-Match: e\r\n\r\n", 200, true, false },
	{ "GET / " H "If-None-Match: \"e\r\n\r\n", 200, true, false },
	{ "GET / " H "If-None-Match: \"a\"\"e\"\r\n\r\n", 200, true, false },
	{ "GET / " H "If-None-Match:\r\n\r\n", 200, true, false },
	{ "GET /x " H "If-None-Match: *\r\n\r\n", 404, true, false },
	{ "GET /dir " H "If-None-Match: *\r\n\r\n", 301, true, false },
	{ "GET / " H "If-Modified-Since: " DATE "\r\n\r\n", 304, false, false },
	{ "GET / " H "If-Modified-Since: " PAST "\r\n\r\n", 200, true, false },
	{ "GET / " H "If-Modified-Since: yesterday\r\n\r\n", 200, true, false },
	{ "GET / " H "If-None-Match: \"a\"\r\nIf-Modified-Since: " DATE "\r\n\r\n", 200, true, false },
	{ "GET / " H "If-Match: \"e\"\r\n\r\n", 200, true, false },
	{ "GET / " H "If-Match: W/\"e\"\r\n\r\n", 412, true, false },
	{ "HEAD / " H "If-Match: \"x\"\r\n\r\n", 412, false, false },
	{ "GET /x " H "If-Match: *\r\n\r\n", 404, true, false },
	{ "GET /dir " H "If-Match: \"x\"\r\n\r\n", 301, true, false },
	{ "GET / " H "If-Unmodified-Since: " PAST "\r\n\r\n", 412, true, false },
	{ "GET / " H "If-Unmodified-Since: " DATE "\r\n\r\n", 200, true, false },
	{ "GET / " H "If-Match: \"e\"\r\nIf-None-Match: \"e\"\r\n\r\n", 304, false, false },
	{ "GET / " H "If-Match: \"x\"\r\nIf-None-Match: \"e\"\r\n\r\n", 412, true, false },
	/* ranges, RFC 9110 14.2 */
	{ "GET /plain " H "Range: bytes=0-0\r\n\r\n", 206, true, false },
	{ "GET /plain " H "Range: bytes=0-0,500-500\r\n\r\n", 206, true, false },
	{ "GET /plain " H "Range: bytes=1000-\r\n\r\n", 416, true, false },
	{ "HEAD /plain " H "Range: bytes=0-0\r\n\r\n", 200, false, false },
	{ "HEAD /plain " H "Range: bytes=1000-\r\n\r\n", 200, false, false },
	{ "GET /plain " H "Range: lines=0-0\r\n\r\n", 200, true, false },
	{ "GET /plain " H "Range: bytes=x\r\n\r\n", 200, true, false },
	{ "GET /plain " H "Range: bytes=0-0\r\nRange: bytes=0-0\r\n\r\n", 200, true, false },
	{ "GET /plain " H "Range: bytes=1000-\r\nRange: bytes=1000-\r\n\r\n", 200, true, false },
	{ "GET /empty " H "Range: bytes=0-\r\n\r\n", 416, true, false },
	{ "GET /empty " H "Range: bytes=-1\r\n\r\n", 200, true, false },
	{ "GET /x " H "Range: bytes=0-0\r\n\r\n", 404, true, false },
	{ "GET /dir " H "Range: bytes=0-0\r\n\r\n", 301, true, false },
	{ "POST /plain " H "Range: bytes=0-0\r\n\r\n", 405, true, false },
	/* conditions come before ranges, RFC 9110 13.2.2 */
	{ "GET /plain " H "If-None-Match: " ETAG "\r\nRange: bytes=0-0\r\n\r\n", 304, false, false },
	{ "GET /plain " H "If-None-Match: " ETAG "\r\nRange: bytes=1000-\r\n\r\n", 304, false, false },
	{ "GET /plain " H "If-Match: \"x\"\r\nRange: bytes=1000-\r\n\r\n", 412, true, false },
	{ "GET /plain " H "If-Match: " ETAG "\r\nRange: bytes=0-0\r\n\r\n", 206, true, false },
	/* If-Range, RFC 9110 13.1.5 */
	{ "GET /page " H "If-Range: " ETAG "\r\nRange: bytes=0-0\r\n\r\n", 206, true, false },
	{ "GET /page " H "If-Range: W/" ETAG "\r\nRange: bytes=0-0\r\n\r\n", 200, true, false },
	{ "GET /page " H "If-Range: \"x\"\r\nRange: bytes=0-0\r\n\r\n", 200, true, false },
	{ "GET /page " H "If-Range: \"x\"\r\nRange: bytes=1000-\r\n\r\n", 200, true, false },
	{ "GET /page " H "If-Range: " ETAG "\r\nRange: bytes=1000-\r\n\r\n", 416, true, false },
	{ "GET /page " H "If-Range: " DATE "\r\nRange: bytes=0-0\r\n\r\n", 206, true, false },
	{ "GET /page " H "If-Range: " LATER "\r\nRange: bytes=0-0\r\n\r\n", 200, true, false },
	{ "GET /plain " H "If-Range: " DATE "\r\nRange: bytes=0-0\r\n\r\n", 200, true, false },
	{ "GET /page " H "If-Range: " ETAG "\r\n\r\n", 200, true, false },
	/* codings, RFC 9110 12.5.3 */
	{ "GET /plain " H "Accept-Encoding: identity;q=0\r\n\r\n", 406, true, false },
	{ "GET /plain " H "Accept-Encoding: *;q=0\r\n\r\n", 406, true, false },
	{ "HEAD /plain " H "Accept-Encoding: *;q=0.000\r\n\r\n", 406, false, false },
	{ "GET /plain " H "Accept-Encoding: gzip, *;q=0\r\n\r\n", 406, true, false },
	{ "GET /plain " H "Accept-Encoding: gzip\r\nAccept-Encoding: identity;q=0\r\n\r\n", 406, true, false },
	{ "GET /plain " H "Accept-Encoding: gzip;q=0\r\n\r\n", 200, true, false },
	{ "GET /plain " H "Accept-Encoding: identity;q=0.001\r\n\r\n", 200, true, false },
	{ "GET /plain " H "Accept-Encoding: gzip\r\n\r\n", 200, true, false },
	{ "GET /page " H "Accept-Encoding: compress, *;q=0\r\n\r\n", 406, true, false },
	{ "GET /dir " H "Accept-Encoding: *;q=0\r\n\r\n", 301, true, false },
	{ "GET /x " H "Accept-Encoding: *;q=0\r\n\r\n", 404, true, false },
	{ "GET /plain " H "Accept-Encoding: *;q=0\r\nIf-None-Match: *\r\n\r\n", 406, true, false },
	{ "GET /plain " H "Accept-Encoding: *;q=0\r\nIf-Match: \"x\"\r\n\r\n", 406, true, false },
};

START_TEST(test_plans)
{
	struct response response = plan(cases[_i].request);
	unsigned status = response_status(&response);
	char line[32];

	ck_assert_msg(status == cases[_i].status, "%u instead of %u: %s", status, cases[_i].status, cases[_i].request);
	ck_assert_int_eq(response.with_body, cases[_i].with_body);
	ck_assert_int_eq(response.close, cases[_i].close);
	snprintf(line, sizeof(line), "HTTP/1.1 %u ", status);
	ck_assert_mem_eq(head, line, strlen(line));
	ck_assert_ptr_nonnull(strstr(head, "\r\nDate: " DATE "\r\n"));
	ck_assert_ptr_null(strstr(head, BLANK));
	ck_assert_str_eq(head + strlen(head) - 4, "\r\n\r\n");
	ck_assert_int_eq(strstr(head, "\r\nConnection: close\r\n") != NULL, cases[_i].close);
	ck_assert_int_eq(strstr(head, "\r\nContent-Range: ") != NULL,
	                 status == 416 || (status == 206 && response.parts == 1));
	if (status != 304)
		ck_assert_ptr_eq(strstr(strstr(head, "\r\nContent-Length: ") + 1, "\r\nContent-Length: "), NULL);
}
END_TEST

START_TEST(test_heads)
{
	const struct response_context last = { .snapshot = &snapshot, .now = NOW };

	plan("GET / " H "\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nDate: " DATE "\r\nETag: \"e\"\r\nContent-Length: 2\r\n\r\n");
	plan_in(&last, "GET / " H "\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nDate: " DATE
	                       "\r\nETag: \"e\"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
	plan("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nDate: " DATE
	                       "\r\nETag: \"e\"\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n");
	plan_in(&last, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nDate: " DATE
	                       "\r\nETag: \"e\"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
	plan("GET /dir?q=1 " H "\r\n");
	ck_assert_ptr_nonnull(strstr(head, "\r\nLocation: /dir/?q=1\r\n"));
	plan("GET /dir? " H "\r\n");
	ck_assert_ptr_nonnull(strstr(head, "\r\nLocation: /dir/?\r\n"));
	plan("GET / " H "If-None-Match: *\r\n\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\nETag: \"e\"\r\n\r\n");
	plan("GET /page " H "If-None-Match: *\r\nConnection: close\r\n\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 304 Not Modified\r\nDate: " DATE "\r\nETag: " ETAG
	                       "\r\nVary: Accept-Encoding\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n");
	plan("OPTIONS * " H "\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 200 Words\r\nDate: " DATE "\r\nContent-Length: 2\r\n\r\n");
}
END_TEST

START_TEST(test_heads_of_parts)
{
	static const char validators[] = "Date: " DATE "\r\nETag: " ETAG
					 "\r\nVary: Accept-Encoding\r\nCache-Control: no-cache\r\n";
	char expected[1024];

	plan("GET /page " H "Range: bytes=10-19\r\n\r\n");
	snprintf(expected, sizeof(expected),
	         "HTTP/1.1 206 Partial Content\r\n%s" OTHERS "Accept-Ranges: bytes\r\n" TYPE
	         "Content-Range: bytes 10-19/1000\r\nContent-Length: 10\r\n\r\n",
	         validators);
	ck_assert_str_eq(head, expected);

	plan("GET /page " H "Range: bytes=10-19\r\nIf-Range: " ETAG "\r\n\r\n");
	snprintf(expected, sizeof(expected),
	         "HTTP/1.1 206 Partial Content\r\n%sContent-Range: bytes 10-19/1000\r\nContent-Length: 10\r\n\r\n",
	         validators);
	ck_assert_str_eq(head, expected);

	/* Each part: 2 + 2 + 27 + 2 and, but for the first, 2 more; its fields; an empty line. */
	plan("GET /page " H "Range: bytes=0-9,-10\r\nConnection: close\r\n\r\n");
	snprintf(expected, sizeof(expected),
	         "HTTP/1.1 206 Partial Content\r\n%s" OTHERS "Accept-Ranges: bytes\r\n"
	         "Content-Type: multipart/byteranges; boundary=" BOUNDARY "\r\n"
	         "Content-Length: %zu\r\nConnection: close\r\n\r\n",
	         validators,
	         strlen("--" BOUNDARY "\r\n" TYPE "Content-Range: bytes 0-9/1000\r\n\r\n") + 10 +
	                 strlen("\r\n--" BOUNDARY "\r\n" TYPE "Content-Range: bytes 990-999/1000\r\n\r\n") + 10 +
	                 strlen("\r\n--" BOUNDARY "--\r\n"));
	ck_assert_str_eq(head, expected);

	plan("GET /page " H "Range: bytes=0-9,-10\r\nIf-Range: " DATE "\r\n\r\n");
	ck_assert_ptr_null(strstr(head, "Last-Modified"));
	ck_assert_ptr_null(strstr(head, "nosniff"));
	ck_assert_ptr_null(strstr(head, "text/html"));
	ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Type: multipart/byteranges; boundary=" BOUNDARY "\r\n"));

	plan("GET /page " H "Range: bytes=1000-1001\r\n\r\n");
	ck_assert_str_eq(head, "HTTP/1.1 416 Words\r\nDate: " DATE
	                       "\r\nContent-Length: 2\r\nContent-Range: bytes */1000\r\n\r\n");
	plan("GET /empty " H "Range: bytes=0-\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Range: bytes */0\r\n"));
}
END_TEST

/* No Last-Modified is later than Date (RFC 9110 8.8.2.1), also where the clock has been set back. */
START_TEST(test_a_clock_that_is_behind)
{
	static const char *const requests[] = { "GET /page " H "\r\n", "HEAD /page " H "\r\n",
		                                "GET /page " H "Accept-Encoding: br\r\n\r\n",
		                                "GET /page " H "Range: bytes=0-0\r\n\r\n",
		                                "GET /page " H "Range: bytes=0-0,500-500\r\n\r\n" };
	static const char *const without[] = { "GET /page " H "If-None-Match: *\r\n\r\n",
		                               "GET /page " H "If-Range: " ETAG "\r\nRange: bytes=0-0\r\n\r\n",
		                               "GET /page " H "If-Range: " ETAG "\r\nRange: bytes=0-0,500-500\r\n\r\n",
		                               "GET /plain " H "\r\n",
		                               "GET /page " H "Range: bytes=1000-\r\n\r\n",
		                               "GET /page " H "If-Match: \"x\"\r\n\r\n" };
	struct response_context behind = context;

	for (int back = -1; back <= 1; back++) {
		char expected[64];

		behind.now = MTIME - back;
		/* A date that is neither, so that it can be told from both. */
		snprintf(expected, sizeof(expected), "\r\nLast-Modified: %s\r\n", back > 0 ? OTHER_DATE : DATE);
		for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
			struct response response = plan_in(&behind, requests[i]);
			size_t len = response_head(&response, OTHER_DATE, head);

			head[len] = '\0';
			ck_assert_msg(strstr(head, expected) != NULL, "%d, %s: %s", back, requests[i], head);
			ck_assert_ptr_nonnull(strstr(head, "\r\nDate: " OTHER_DATE "\r\n"));
			ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Type: "));
		}
		for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
			struct response response = plan_in(&behind, without[i]);
			size_t len;

			memset(head, 'h', sizeof(head));
			len = response_head(&response, OTHER_DATE, head);
			head[len] = '\0';
			ck_assert_ptr_null(strstr(head, "Last-Modified"));
			ck_assert_str_eq(head + len - 4, "\r\n\r\n");
			/* That date, once. */
			ck_assert_ptr_null(strstr(strstr(head, OTHER_DATE) + 1, OTHER_DATE));
		}
	}
}
END_TEST

START_TEST(test_parts)
{
	struct response response = plan("GET /page " H "Range: bytes=200-299,-10,0-0\r\n\r\n");
	static const char *const expected[] = {
		"--" BOUNDARY "\r\n" TYPE "Content-Range: bytes 200-299/1000\r\n\r\n",
		"\r\n--" BOUNDARY "\r\n" TYPE "Content-Range: bytes 990-999/1000\r\n\r\n",
		"\r\n--" BOUNDARY "\r\n" TYPE "Content-Range: bytes 0-0/1000\r\n\r\n",
		"\r\n--" BOUNDARY "--\r\n",
	};
	char part[RESPONSE_PART_MAX + 1];
	size_t sum = 0;

	ck_assert_uint_eq(response.parts, 3);
	for (unsigned i = 0; i <= 3; i++) {
		size_t len = response_part_head(&response, i, part);

		part[len] = '\0';
		ck_assert_str_eq(part, expected[i]);
		sum += len;
		if (i < 3)
			sum += response.part[i].last - response.part[i].first + 1;
	}
	ck_assert_uint_eq(sum, strtoul(strstr(head, "Content-Length: ") + strlen("Content-Length: "), NULL, 10));
}
END_TEST

static const struct {
	const char *fields;
	const struct representation *chosen; /* NULL: 406 */
} choices[] = {
	{ "", &page },
	{ "Accept-Encoding:\r\n", &page },
	{ "Accept-Encoding: gzip\r\n", &page_gzip },
	{ "Accept-Encoding: x-gzip\r\n", &page_gzip },
	{ "Accept-Encoding: br\r\n", &page_br },
	{ "Accept-Encoding: zstd\r\n", &page_zstd },
	{ "Accept-Encoding: identity\r\n", &page },
	{ "Accept-Encoding: gzip, deflate, br, zstd\r\n", &page_br }, /* the smallest */
	{ "Accept-Encoding: gzip, zstd\r\n", &page_zstd },
	{ "Accept-Encoding: *\r\n", &page_br },
	{ "Accept-Encoding: identity, gzip;q=0.999\r\n", &page },
	{ "Accept-Encoding: identity;q=0.5, gzip;q=0.5\r\n", &page_gzip },
	{ "Accept-Encoding: gzip;q=1.0, br;q=0.9\r\n", &page_gzip },
	{ "Accept-Encoding: gzip;q=0.001\r\n", &page_gzip },
	{ "Accept-Encoding: gzip;q=0\r\n", &page },
	{ "Accept-Encoding: deflate\r\n", &page },
	{ "Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n", &page_br },
	{ "Accept-Encoding: deflate\r\nX: y\r\naccept-encoding:  zstd \r\n", &page_zstd },
	{ "Accept-Encoding: *\r\nAccept-Encoding: br;q=0\r\n", &page_zstd },
	{ "Accept-Encoding: identity;q=0\r\n", NULL },
	{ "Accept-Encoding: identity;q=0, gzip\r\n", &page_gzip },
	{ "Accept-Encoding: br;q=0, *;q=0.1\r\n", &page_zstd },
	{ "Accept-Encoding: *;q=0\r\n", NULL },
	{ "Accept-Encoding: *;q=0, gzip\r\n", &page_gzip },
	{ "Accept-Encoding: gzip;q=nonsense\r\n", &page },
};

START_TEST(test_variants)
{
	static const char *const methods[] = { "GET", "HEAD" };
	char text[512];

	for (int i = 0; i < 2; i++) {
		struct response response;

		snprintf(text, sizeof(text), "%s /page " H "%s\r\n", methods[i], choices[_i].fields);
		response = plan(text);
		if (choices[_i].chosen)
			ck_assert_msg(response.representation == choices[_i].chosen, "%s: %s", choices[_i].fields,
			              head);
		else
			ck_assert_uint_eq(response.representation->status, 406);
		ck_assert_int_eq(response.form, RESPONSE_WHOLE);
	}
}
END_TEST

START_TEST(test_a_variant_that_is_not_there_is_not_chosen)
{
	variants[1].coded[CODING_BR] = variants[1].coded[CODING_ZSTD] = NULL;
	ck_assert_ptr_eq(plan("GET /page " H "Accept-Encoding: gzip, br, zstd\r\n\r\n").representation, &page_gzip);
	ck_assert_ptr_eq(plan("GET /page " H "Accept-Encoding: br\r\n\r\n").representation, &page);
	ck_assert_uint_eq(plan("GET /page " H "Accept-Encoding: br, *;q=0\r\n\r\n").representation->status, 406);
}
END_TEST

START_TEST(test_conditions_and_ranges_are_of_the_variant)
{
	struct response response = plan("GET /page " H "Accept-Encoding: gzip\r\nIf-None-Match: " ETAG "\r\n\r\n");

	ck_assert_uint_eq(response_status(&response), 200);
	ck_assert_ptr_eq(response.representation, &page_gzip);
	response = plan("GET /page " H "Accept-Encoding: gzip\r\nIf-None-Match: " ETAG ", " ETAG_GZIP "\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 304);
	ck_assert_ptr_nonnull(strstr(head, "ETag: " ETAG_GZIP "\r\n"));
	response = plan("GET /page " H "Accept-Encoding: gzip\r\nIf-Match: " ETAG "\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 412);

	response = plan("GET /page " H "Accept-Encoding: br\r\nRange: bytes=150-\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 206);
	ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Range: bytes 150-199/200\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Encoding: br\r\n"));
	response = plan("GET /page " H "Accept-Encoding: br\r\nRange: bytes=200-\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 416);
	ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Range: bytes */200\r\n"));
	response = plan("GET /page " H "Accept-Encoding: br\r\nRange: bytes=0-0,150-\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 200);
	ck_assert_ptr_eq(response.representation, &page_br);
	ck_assert_uint_eq(response.parts, 0);
	response = plan("GET /page " H "Accept-Encoding: br\r\nRange: bytes=0-0,1-1\r\n\r\n"); /* that is one */
	ck_assert_uint_eq(response_status(&response), 206);

	/* The client's part is of another variant. */
	response = plan("GET /page " H "Accept-Encoding: br\r\nRange: bytes=150-\r\nIf-Range: " ETAG "\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 200);
	response = plan("GET /page " H "Accept-Encoding: br\r\nRange: bytes=150-\r\nIf-Range: " ETAG_BR "\r\n\r\n");
	ck_assert_uint_eq(response_status(&response), 206);
	ck_assert_ptr_null(strstr(head, "Content-Encoding"));
	ck_assert_ptr_nonnull(strstr(head, "\r\nETag: " ETAG_BR "\r\n"));
}
END_TEST

/* What the reader of requests lets through only by mistake. */
START_TEST(test_forms_that_are_not_the_methods)
{
	static const struct {
		const char *target;
		enum request_method method;
		unsigned status;
	} forms[] = {
		{ "a:80", METHOD_GET, 400 },       { "a:80", METHOD_OPTIONS, 400 },
		{ "a:80", METHOD_OTHER, 400 },     { "a:80", METHOD_CONNECT, 405 },
		{ "/", METHOD_CONNECT, 400 },      { "/dir", METHOD_CONNECT, 400 },
		{ "*", METHOD_CONNECT, 400 },      { "http://a/", METHOD_CONNECT, 400 },
		{ "/a%2Fb", METHOD_CONNECT, 400 }, { "*", METHOD_OTHER, 400 },
		{ "x", METHOD_OTHER, 400 },        { "", METHOD_GET, 400 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct request request = {
			.method = (uint8_t)forms[i].method,
			.minor = 1,
			.keep_alive = true,
			.framed = true,
			.target = { 0, (uint16_t)strlen(forms[i].target) },
		};
		char scratch[64];
		struct response_context here = context;
		struct response response;

		here.scratch = scratch;
		response_plan(&response, &request, forms[i].target, &here);
		ck_assert_msg(response.representation->status == forms[i].status, "%d %s: %u", forms[i].method,
		              forms[i].target, response.representation->status);
	}
}
END_TEST

/* What is of a key, or about one, says so; nothing else does. */
START_TEST(test_the_slot_is_that_of_the_target)
{
	static const struct {
		const char *request;
		unsigned status;
		bool has_slot;
	} rows[] = {
		{ "GET /page " H "\r\n", 200, true },
		{ "HEAD /page " H "\r\n", 200, true },
		{ "GET /./p%61ge?x " H "Accept-Encoding: br\r\n\r\n", 200, true },
		{ "GET /page " H "Range: bytes=1-2\r\n\r\n", 206, true },
		{ "GET /page " H "If-None-Match: *\r\n\r\n", 304, true },
		{ "GET /page " H "If-Match: \"x\"\r\n\r\n", 412, true },
		{ "GET /page " H "Range: bytes=1000-\r\n\r\n", 416, true },
		{ "GET /plain " H "Accept-Encoding: identity;q=0\r\n\r\n", 406, true },
		{ "GET /dir " H "\r\n", 301, true },
		{ "GET /nothing " H "\r\n", 404, false },
		{ "GET /%00 " H "\r\n", 400, false },
		{ "POST /page " H "\r\n", 405, false },
		{ "OPTIONS /page " H "\r\n", 200, false },
		{ "OPTIONS * " H "\r\n", 200, false },
		{ "GET /page " H "Expect: x\r\n\r\n", 417, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct response response = plan(rows[i].request);

		ck_assert_msg(response_status(&response) == rows[i].status, "%s", rows[i].request);
		ck_assert_msg((response.slot != NULL) == rows[i].has_slot, "%s", rows[i].request);
		if (response.slot && response.form != RESPONSE_UNSATISFIABLE && rows[i].status < 400)
			ck_assert_ptr_eq(response.slot->representation, rows[i].status == 301 ? &moved : &page);
	}
}
END_TEST

START_TEST(test_errors_of_what_cannot_be_read)
{
	static const unsigned statuses[] = {
		400, 404, 405, 406, 408, 412, 413, 414, 416, 417, 431, 500, 501, 503, 505
	};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		struct response response;

		memset(&response, 0xff, sizeof(response));
		response_error(&response, statuses[i], i % 2, &snapshot);
		ck_assert_uint_eq(response.representation->status, statuses[i]);
		ck_assert_int_eq(response.form, RESPONSE_WHOLE);
		ck_assert_int_eq(response.with_body, i % 2);
		ck_assert(response.close);
		ck_assert_ptr_null(response.slot);
		write_head(&response);
		ck_assert_ptr_nonnull(strstr(head, "\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"));
	}
}
END_TEST

/* Never from the tree, whatever the request says about what is there; and a name that only begins so is another one. */
START_TEST(test_health)
{
	static const struct {
		const char *request;
		int error; /* of snapshot.errors; -1: another answer */
		bool with_body;
	} rows[] = {
		{ "GET /plain " H "\r\n", ANSWER_HEALTHY, true },
		{ "HEAD /plain " H "\r\n", ANSWER_HEALTHY, false },
		{ "GET /plain?x=1 " H "\r\n", ANSWER_HEALTHY, true },
		{ "GET /pl%61in " H "\r\n", ANSWER_HEALTHY, true },
		{ "GET /plain " H "If-None-Match: *\r\nRange: bytes=0-0\r\nAccept-Encoding: *;q=0\r\n\r\n",
		  ANSWER_HEALTHY, true },
		{ "OPTIONS /plain " H "\r\n", ANSWER_OPTIONS, true },
		{ "POST /plain " H "\r\n", ERROR_405, true },
		{ "GET /plain/ " H "\r\n", ERROR_404, true },
		{ "GET /plai " H "\r\n", ERROR_404, true },
		{ "GET /page " H "\r\n", -1, true },
	};
	struct response_context draining = context;

	snapshot.health = "/plain";
	snapshot.health_len = 6;
	draining.unhealthy = true;
	draining.may_keep_alive = false;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct response response = plan(rows[i].request);

		ck_assert_int_eq(response.with_body, rows[i].with_body);
		ck_assert(!response.close);
		if (rows[i].error < 0) {
			ck_assert_ptr_eq(response.representation, &page);
			continue;
		}
		ck_assert_msg(response.representation == &errors[rows[i].error], "%s", rows[i].request);
		ck_assert_int_eq(response.form, RESPONSE_WHOLE);
		ck_assert_ptr_null(response.slot);

		response = plan_in(&draining, rows[i].request);
		ck_assert_ptr_eq(response.representation,
		                 &errors[rows[i].error == ANSWER_HEALTHY ? ANSWER_DRAINING : rows[i].error]);
		ck_assert(response.close);
	}
	snapshot.health = NULL;
}
END_TEST

START_TEST(test_a_query_too_long_is_left_out_of_a_redirect)
{
	char text[8300] = "GET /dir?";
	size_t room = REPRESENTATION_HEAD_MAX - moved.head_len;

	for (size_t len = room - 1; len <= room + 1; len++) {
		memset(text + 9, 'q', len - 1);
		strcpy(text + 8 + len, " " H "\r\n");
		plan(text);
		ck_assert_int_eq(strstr(head, "Location: /dir/?qqq") != NULL, len <= room);
		ck_assert_int_eq(strstr(head, "Location: /dir/\r\n") != NULL, len > room);
	}
}
END_TEST

/* The longest head there may be, of the largest content there may be, in every form. */
START_TEST(test_the_bounds_hold)
{
	static const char line[] = "Content-Type: ";
	char text[2 * REPRESENTATION_HEAD_MAX], type[128];
	char ranges[1024] = "GET /vast " H "Connection: close\r\nRange: bytes=";
	struct response response;
	size_t n, fixed, longest = 0;

	memset(type, 't', 100);
	type[100] = '\0';
	n = (size_t)snprintf(text, sizeof(text),
	                     "HTTP/1.1 200 OK\r\nDate: " BLANK "\r\nETag: " ETAG "\r\nCache-Control: ");
	fixed = strlen("\r\n|") + strlen(line) + 100 + strlen("\r\nContent-Length: 9223372036854775807\r\n");
	while (n < REPRESENTATION_HEAD_MAX + 1 - fixed)
		text[n++] = 'c';
	snprintf(text + n, sizeof(text) - n, "\r\n|%s%s\r\nContent-Length: 9223372036854775807\r\n", line, type);
	vast = make(text, INT64_MAX, ETAG, 0);
	ck_assert_uint_eq(vast.head_len, REPRESENTATION_HEAD_MAX);
	add("/vast", &vast, 0);

	plan("GET /vast " H "Connection: close\r\n\r\n");
	plan("GET /vast " H "Connection: close\r\nIf-None-Match: *\r\n\r\n");
	plan("GET /vast " H "Connection: close\r\nRange: bytes=9223372036854775806-\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(
		head, "\r\nContent-Range: bytes 9223372036854775806-9223372036854775806/9223372036854775807\r\n"));
	for (unsigned i = 0; i < RANGES_MAX; i++)
		snprintf(ranges + strlen(ranges), sizeof(ranges) - strlen(ranges), "92233720368547%u-92233720368547%u,",
		         10000 + i * 200, 10000 + i * 200);
	strcat(ranges, "\r\n\r\n");
	response = plan(ranges);
	ck_assert_uint_eq(response.parts, RANGES_MAX);
	response.parts = 2; /* as wide as numbers are */
	for (unsigned i = 0; i < 2; i++)
		response.part[i] = (struct range){ UINT64_MAX, UINT64_MAX };
	for (unsigned i = 0; i <= 2; i++) {
		char part[RESPONSE_PART_MAX];
		size_t len = response_part_head(&response, i, part);

		longest = len > longest ? len : longest;
	}
	ck_assert_uint_le(longest, RESPONSE_PART_MAX);
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
	tcase_add_test(tcase, test_heads_of_parts);
	tcase_add_test(tcase, test_a_clock_that_is_behind);
	tcase_add_test(tcase, test_parts);
	tcase_add_loop_test(tcase, test_variants, 0, sizeof(choices) / sizeof(*choices));
	tcase_add_test(tcase, test_a_variant_that_is_not_there_is_not_chosen);
	tcase_add_test(tcase, test_conditions_and_ranges_are_of_the_variant);
	tcase_add_test(tcase, test_forms_that_are_not_the_methods);
	tcase_add_test(tcase, test_the_slot_is_that_of_the_target);
	tcase_add_test(tcase, test_errors_of_what_cannot_be_read);
	tcase_add_test(tcase, test_health);
	tcase_add_test(tcase, test_a_query_too_long_is_left_out_of_a_redirect);
	tcase_add_test(tcase, test_the_bounds_hold);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
