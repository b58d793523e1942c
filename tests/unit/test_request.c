/*
 * test_request.c - the request reader: what is accepted, what is refused and with which status, the same however the
 * bytes are split.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/request.h"
#include "loom/target.h"

static const struct limits standard = { .request_line = 8192, .head = 16384, .fields = 100, .body = 65536 };
static struct limits limits;

/* A parser that reads everything once more, and remembers it from test to test. */
static struct request_parser remembering;

static void setup(void)
{
	limits = standard;
	if (!remembering.memo)
		remembering.memo = calloc(1, request_memo_size());
	ck_assert_ptr_nonnull(remembering.memo);
}

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

static void compare_spans(const struct span *is, const struct span *should, const char *what)
{
	ck_assert_msg(is->at == should->at && is->len == should->len, "%s: %u bytes at %u instead of %u at %u", what,
	              is->len, is->at, should->len, should->at);
}

/* What is said of the path is what a look at the target would find. */
static void compare_target(const struct request *request, const char *head)
{
	char scratch[16384];
	struct target target;

	if (request->path_len == 0)
		return;
	ck_assert_int_eq(target_parse(head + request->target.at, request->target.len, scratch, &target), 0);
	ck_assert_int_eq(target.form, TARGET_PATH);
	ck_assert_ptr_eq(target.path, head + request->target.at);
	ck_assert_uint_eq(target.path_len, request->path_len);
	ck_assert_uint_eq(target.query_len, request->target.len - request->path_len);
}

static bool is_plain(const char *head, struct span span)
{
	for (size_t i = 0; i < span.len; i++) {
		unsigned char byte = (unsigned char)head[span.at + i];

		if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\')
			return false;
	}
	return true;
}

/* What is remembered of Accept-Encoding is what its lines say. */
static void compare_wishes(const struct request *is, const struct request *should, const char *head)
{
	struct coding_wishes wishes;

	if (!is->has_wishes)
		return;
	ck_assert(request_has(should, FIELD_ACCEPT_ENCODING));
	request_wishes(should, head, &wishes);
	for (unsigned i = 0; i < CODINGS; i++)
		ck_assert_int_eq(is->wishes.q[i], wishes.q[i]);
}

/* The same by the parser that remembers: twice, since the second time it may know. */
static void read_from_memory(const char *bytes, size_t len, const struct reading *whole)
{
	for (int turn = 0; turn < 2; turn++) {
		const struct request *is = &remembering.request, *should = &whole->request;
		char *copy = malloc(len);
		size_t used;

		memcpy(copy, bytes, len);
		request_next(&remembering, &limits, copy);
		ck_assert_int_eq(request_read(&remembering, copy, len, &used), whole->progress);
		if (whole->progress != REQUEST_MORE) {
			ck_assert_uint_eq(used, whole->used);
			ck_assert_uint_eq(is->status, should->status);
		}
		if (whole->progress == REQUEST_COMPLETE) {
			ck_assert_uint_eq(is->method, should->method);
			ck_assert_uint_eq(is->minor, should->minor);
			ck_assert_uint_eq(is->keep_alive, should->keep_alive);
			ck_assert_uint_eq(is->framed, should->framed);
			ck_assert_uint_eq(is->has_body, should->has_body);
			ck_assert_uint_eq(is->in_body, should->in_body);
			ck_assert_uint_eq(is->hosts, should->hosts);
			ck_assert_uint_eq(is->present, should->present);
			ck_assert_uint_eq(is->repeated, should->repeated);
			ck_assert_uint_eq(is->fields, should->fields);
			ck_assert_uint_eq(is->head_len, should->head_len);
			ck_assert_uint_eq(is->body_len, should->body_len);
			compare_spans(&is->target, &should->target, "target");
			for (unsigned i = 0; i < REQUEST_FIELDS; i++)
				compare_spans(&is->field[i], &should->field[i], "field");
			compare_spans(&is->referer, &should->referer, "Referer");
			compare_spans(&is->agent, &should->agent, "User-Agent");
			compare_target(is, copy);
			compare_wishes(is, should, copy);
			if (is->is_plain)
				ck_assert(is_plain(copy, should->referer) && is_plain(copy, should->agent));
			ck_assert_uint_eq(request_is_head(&remembering), should->method == METHOD_HEAD);
			ck_assert_uint_eq(remembering.llhttp.http_major, 1);
			ck_assert_uint_eq(remembering.llhttp.http_minor, should->minor);
			ck_assert(remembering.line_read);
		}
		free(copy);
	}
}

static struct reading read_bytes(const char *bytes, size_t len)
{
	struct reading whole = read_in_pieces(bytes, len, len);

	read_from_memory(bytes, len, &whole);
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

#define HOST    "Host: a\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *bytes;
	unsigned status; /* 0: accepted */
} heads[] = {
	{ "GET / HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET / HTTP/1.0\r\n\r\n", 0 },
	{ "GET / HTTP/1.7\r\n" HOST "\r\n", 0 },
	{ "GET / HTTP/1.1\r\nhOsT:a\r\nEmpty:\r\nTrailing: x \t \r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 0 },
	{ "GET http://a/b HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 0 },
	/* the request line, RFC 9112 3 */
	{ "\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 }, /* the one that is forgiven is passed over by conn.c */
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
	{ "GET / HTTP/3.0\r\n" HOST "\r\n", 505 },
	{ "GET / HTTP/1.10\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1,1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP /1.1\r\n" HOST "\r\n", 400 },
	{ "GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\tHTTP/1.1\r\n" HOST "\r\n", 400 },
	{ " GET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\r\n GET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\rGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "\r\nBREW / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "DESCRIBE / HTTP/1.1\r\n" HOST "\r\n", 501 }, /* RTSP's */
	{ "PLAY / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "G-E+T / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "GET: / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "PATCH / HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "TRACE / HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "PROPFIND / HTTP/1.1\r\n" HOST "\r\n", 0 },
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
	{ "GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\vb\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: \x1b[0m\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\tb\x80\xff\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "X:\r\nY: \t \r\nZ:z\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "!#$%&'*+-.^_`|~0: y\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "X\t: y\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X Y: z\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X(c): z\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "\"X\": z\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "\xc3\xa9: z\r\n\r\n", 400 },
	/* Host, RFC 9112 3.2 */
	{ "GET / HTTP/1.1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400 },
	{ "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400 },
	{ "GET http://a/ HTTP/1.1\r\n\r\n", 400 },
	{ "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: a.b-c_d~e!$&'()*+,;=%20\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: 127.0.0.1:65535\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: [v1.a]\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a:-8\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: [::1]:x\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400 },
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
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 413 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 65537\r\n\r\n", 413 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, gzip\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;x=y\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked ; x\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunkedx\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: ,\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \vchunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity, chunked\r\n\r\n", 501 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\tchunked\t\r\n\r\n0\r\n\r\n", 0 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: , chunked ,\r\n\r\n0\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length:\t03 \r\n\r\nabc", 0 },
	{ "POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 0 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\n\r\nhello", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: \r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 1 2\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 1,\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: ,1\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 1.0\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 1e1\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: \"1\"\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 1;x\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551617\r\n\r\n", 413 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551615\r\n\r\n", 413 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 4294967296\r\n\r\n", 413 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616000000000000000000000000000\r\n\r\n", 413 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616x\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 000000000000000000000000000003\r\n\r\nabc", 0 },
	/* chunks, RFC 9112 7.1; test_chunked.c has the grammar */
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "1\na\r\n0\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "1\r\nab\r\n0\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "0\r\n\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "0\r\nX: y\r\n z\r\n\r\n", 400 },
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "0\r\nContent-Length: 5\r\n\r\n", 0 }, /* a trailer is no header */
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "0\r\nTransfer-Encoding: gzip\r\nExpect: x\r\nHost: a b\r\n\r\n", 0 },
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "10001", 413 }, /* at once */
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "1\r\na\r\nfffffffffffffffffffffffff", 413 },
	{ "POST / HTTP/1.1\r\n" HOST CHUNKED "10000000000000001\r\n", 413 },
	/* Expect, RFC 9110 10.1.1 */
	{ "GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect:\r\n\r\n", 0 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: 100-continue, tea\r\n\r\n", 417 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nExpect: tea\r\n\r\n", 417 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: 100-continue;x\r\n\r\n", 417 },
	{ "GET / HTTP/1.0\r\nExpect: tea\r\n\r\n", 417 },
};

START_TEST(test_heads_are_judged)
{
	struct reading reading = read_text(heads[_i].bytes);

	ck_assert_msg(reading.request.status == heads[_i].status, "%u instead of %u: %s", reading.request.status,
	              heads[_i].status, heads[_i].bytes);
	if (heads[_i].status == 0) {
		ck_assert_int_eq(reading.progress, REQUEST_COMPLETE);
		ck_assert_uint_eq(reading.used, strlen(heads[_i].bytes));
		/* What follows a CONNECT may be for somebody else. */
		ck_assert_int_eq(reading.request.framed, reading.request.method != METHOD_CONNECT);
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
		{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\nConnection: x ,\tkeep-alive\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\nConnection: x\r\nConnection: keep-alive\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\nConnection: keep-alives\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: keep-aliv\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: keep alive\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nKeep-Alive: timeout=5\r\n\r\n", false },
		/* close wins, wherever it stands (RFC 9112 9.3) */
		{ "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: keep-alive, close\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: Close\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "connection:close\r\nConnection: keep-alive\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: ,, close ,\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: clos\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\n" HOST "Connection: x-close, close-x, \"close\"\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\n" HOST "Connection:\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\n" HOST "X-Connection: close\r\n\r\n", true },
		{ "GET / HTTP/1.9\r\n" HOST "\r\n", true },
		{ "POST / HTTP/1.1\r\n" HOST CHUNKED "0\r\nConnection: close\r\n\r\n", true }, /* a trailer */
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
	ck_assert(request_has(&request, FIELD_IF_NONE_MATCH) && request_has(&request, FIELD_IF_MODIFIED_SINCE));
	ck_assert_uint_eq(request.field[FIELD_IF_NONE_MATCH].len, 8);
	ck_assert_int_eq(strncmp(text + request.field[FIELD_IF_NONE_MATCH].at, "\"a\", \"b\"", 8), 0);
	ck_assert_uint_eq(request.field[FIELD_IF_MODIFIED_SINCE].len, 1);
	ck_assert(!request_repeats(&request, FIELD_IF_NONE_MATCH));
	request = read_text("GET / HTTP/1.1\r\n" HOST "If-None-Match: a\r\nIf-None-Match: b\r\n\r\n").request;
	ck_assert(request_repeats(&request, FIELD_IF_NONE_MATCH));
	ck_assert_int_eq(read_text("PUT / HTTP/1.1\r\n" HOST "\r\n").request.method, METHOD_OTHER);
}
END_TEST

static const struct {
	const char *name;
	enum request_field field;
} kept[] = {
	{ "Accept-Encoding", FIELD_ACCEPT_ENCODING },
	{ "If-Match", FIELD_IF_MATCH },
	{ "If-Modified-Since", FIELD_IF_MODIFIED_SINCE },
	{ "If-None-Match", FIELD_IF_NONE_MATCH },
	{ "If-Range", FIELD_IF_RANGE },
	{ "If-Unmodified-Since", FIELD_IF_UNMODIFIED_SINCE },
	{ "Range", FIELD_RANGE },
};

/* Every field that is kept: absent, once, several times, empty, in any case; and names that are nearly the same. */
START_TEST(test_fields_are_kept)
{
	static const char *const values[] = { "one", "two  words", "\"x\"", "", "last" };
	const char *name = kept[_i].name;
	enum request_field field = kept[_i].field;
	char text[1024], upper[32], bytes[1024];
	struct request request;
	struct span span;

	ck_assert_uint_eq(sizeof(kept) / sizeof(kept[0]), REQUEST_FIELDS);
	for (size_t i = 0; i <= strlen(name); i++)
		upper[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 0x20 : name[i]);

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "X-%s: a\r\n%sx: b\r\n%.*s: c\r\nX: %s: d\r\n\r\n", name,
	         name, (int)strlen(name) - 1, name, name);
	request = read_text(text).request;
	ck_assert_uint_eq(request.present, 0);
	ck_assert_uint_eq(request.fields, 5);

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s:%s\r\n" HOST "\r\n", name, values[0]);
	request = read_text(text).request;
	ck_assert_uint_eq(request.present, 1u << field);
	ck_assert_uint_eq(request.repeated, 0);
	ck_assert_uint_eq(request.field[field].len, 3);
	ck_assert_mem_eq(text + request.field[field].at, "one", 3);
	span = request.field[field];
	ck_assert(!request_next_line(&request, field, text, &span));

	/* From memory of exactly the head's length. */
	snprintf(text, sizeof(text),
	         "GET / HTTP/1.1\r\n%s: \t %s \t\r\n" HOST
	         "%s:%s\r\nX-%s: no\r\n%s:%s\t\r\n%s: \t \r\nY:\r\n%s: %s\r\n\r\n",
	         name, values[0], upper, values[1], name, name, values[2], upper, name, values[4]);
	request = read_text(text).request;
	ck_assert(request_has(&request, field) && request_repeats(&request, field));
	ck_assert_uint_eq(request.present, request.repeated);
	{
		char *head = malloc(strlen(text));

		memcpy(head, text, strlen(text));
		span = request.field[field];
		for (int i = 0; i < 5; i++) {
			snprintf(bytes, sizeof(bytes), "%.*s", span.len, head + span.at);
			ck_assert_str_eq(bytes, values[i]);
			ck_assert_int_eq(request_next_line(&request, field, head, &span), i < 4);
		}
		free(head);
	}

	/* The first one is empty. */
	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n%s:\r\n%s:\r\n%s: x\r\n" HOST "\r\n", name, name, upper);
	request = read_text(text).request;
	span = request.field[field];
	ck_assert_uint_eq(span.len, 0);
	ck_assert(request_next_line(&request, field, text, &span));
	ck_assert_uint_eq(span.len, 0);
	ck_assert(request_next_line(&request, field, text, &span));
	ck_assert_uint_eq(span.len, 1);
	ck_assert_int_eq(text[span.at], 'x');
	ck_assert(!request_next_line(&request, field, text, &span));
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
	ck_assert_uint_eq(reading.request.status, 0);
	ck_assert(!reading.request.framed);

	reading = read_text("POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n" CHUNKED);
	ck_assert_int_eq(reading.progress, REQUEST_COMPLETE);
	ck_assert(!reading.request.framed);
	/* An expectation that is not met, with a body to come: the same. */
	reading = read_text("POST / HTTP/1.1\r\n" HOST "Expect: tea\r\nContent-Length: 5\r\n\r\n");
	ck_assert_int_eq(reading.progress, REQUEST_COMPLETE);
	ck_assert_uint_eq(reading.request.status, 417);
	ck_assert(!reading.request.framed);
	/* Without a body, and with HTTP/1.0, it is passed over. */
	reading = read_text("GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n");
	ck_assert(reading.request.framed);
	reading = read_text("POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n");
	ck_assert(reading.request.framed);
	reading = read_text("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
	ck_assert_int_eq(reading.progress, REQUEST_MORE);
	/* A length that is too much is told rather than that. */
	reading = read_text("POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n");
	ck_assert_uint_eq(reading.request.status, 413);
}
END_TEST

static const struct limits several_limits[] = {
	{ .request_line = 8192, .head = 16384, .fields = 100, .body = 65536 },
	{ .request_line = 64, .head = 128, .fields = 1, .body = 0 },
	{ .request_line = 127, .head = 128, .fields = 2, .body = 1 },
	{ .request_line = 16320, .head = 16384, .fields = 1000, .body = 5 },
	{ .request_line = 200, .head = 8000, .fields = 1000, .body = 1000 },
};

/* A request that is exactly as long as a limit allows is taken; one byte more is not. */
START_TEST(test_limits_are_exact)
{
	char *bytes = malloc(200000);
	size_t n;

	limits = several_limits[_i];
	for (int over = 0; over <= 1; over++) {
		strcpy(bytes, "GET /");
		memset(bytes + 5, 'a', limits.request_line);
		n = limits.request_line - 1 + (size_t)over; /* and the space makes the limit */
		n += (size_t)sprintf(bytes + n, " HTTP/1.1\r\n" HOST "\r\n");
		if (over || n <= limits.head)
			ck_assert_uint_eq(read_bytes(bytes, n).request.status, over ? 414 : 0);
		else
			ck_assert_uint_eq(read_bytes(bytes, n).request.status, 431);

		n = (size_t)sprintf(bytes, "GET / HTTP/1.0\r\nX: ");
		memset(bytes + n, 'a', limits.head);
		memcpy(bytes + limits.head - 4 + over, "\r\n\r\n", 4);
		ck_assert_uint_eq(read_bytes(bytes, limits.head + (size_t)over).request.status, over ? 431 : 0);

		n = (size_t)sprintf(bytes, "GET / HTTP/1.0\r\n");
		for (unsigned i = 0; i < limits.fields + (unsigned)over; i++)
			n += (size_t)sprintf(bytes + n, "X: y\r\n");
		n += (size_t)sprintf(bytes + n, "\r\n");
		ck_assert_uint_eq(read_bytes(bytes, n).request.status, over ? 431 : 0);

		n = (size_t)sprintf(bytes, "POST / HTTP/1.0\r\nContent-Length: %u\r\n\r\n",
		                    (unsigned)limits.body + (unsigned)over);
		memset(bytes + n, 'a', limits.body + 1);
		ck_assert_uint_eq(read_bytes(bytes, n + limits.body + (size_t)over).request.status, over ? 413 : 0);

		/* Chunks, with their framing and their trailers: "0", CRLF, "X:", ..., CRLF, CRLF. */
		n = (size_t)sprintf(bytes, "POST / HTTP/1.1\r\n" HOST CHUNKED);
		if (limits.body < 9 || limits.fields < 2)
			continue;
		n += (size_t)sprintf(bytes + n, "0\r\nX:");
		memset(bytes + n, 'a', limits.body);
		n += limits.body - 9 + (size_t)over;
		n += (size_t)sprintf(bytes + n, "\r\n\r\n");
		ck_assert_uint_eq(read_bytes(bytes, n).request.status, over ? 413 : 0);
		n = (size_t)sprintf(bytes, "POST / HTTP/1.1\r\n" HOST CHUNKED "%x",
		                    (unsigned)limits.body + (unsigned)over);
		ck_assert_uint_eq(read_bytes(bytes, n).request.status, over ? 413 : 0);
	}

	/* A body without end: chunks, with their framing, count too. */
	if (limits.fields > 1) {
		n = (size_t)sprintf(bytes, "POST / HTTP/1.1\r\n" HOST CHUNKED);
		while (n < 100000)
			n += (size_t)sprintf(bytes + n, "1\r\na\r\n");
		ck_assert_uint_eq(read_bytes(bytes, n).request.status, 413);
	}
	free(bytes);
}
END_TEST

/* A method longer than the longest request line is longer than any method. */
START_TEST(test_a_method_without_end)
{
	char *bytes = malloc(limits.request_line + 10);

	memset(bytes, 'G', limits.request_line + 10);
	ck_assert_int_eq(read_bytes(bytes, limits.request_line - 1).progress, REQUEST_MORE);
	ck_assert_uint_eq(read_bytes(bytes, limits.request_line).request.status, 501);
	ck_assert_uint_eq(read_bytes(bytes, limits.request_line + 10).request.status, 501);
	bytes[100] = '@';
	ck_assert_uint_eq(read_bytes(bytes, limits.request_line).request.status, 400);
	free(bytes);
}
END_TEST

/* HTTP/2's first bytes, from a client that takes it for granted. */
START_TEST(test_the_preface_of_http_2_is_an_error_however_it_comes)
{
	struct reading reading = read_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

	ck_assert_int_eq(reading.progress, REQUEST_FAILED);
	ck_assert(reading.request.status == 400 || reading.request.status == 505);
	ck_assert_int_eq(read_text("PRI / HTTP/1.1\r\n" HOST "\r\n").progress, REQUEST_FAILED);
}
END_TEST

/* Also an error has no content when the request is for HEAD, as far as that can be known. */
START_TEST(test_what_is_for_head)
{
	static const struct {
		const char *text;
		bool is;
	} texts[] = {
		{ "HEAD / HTTP/1.1\r\n" HOST "\r\n", true },
		{ "HEAD / HTTP/1.1\r\n\r\n", true },
		{ "HEAD /", true },
		{ "HEAD / HTTP/1.1\r\nX : y\r\n\r\n", true },
		{ "HEAD / HTTP/9.9\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\n\r\n", false },
		{ "HEADER / HTTP/1.1\r\n\r\n", false },
		{ "HEA", false },
		{ "head / HTTP/1.1\r\n\r\n", false },
		{ "BREW / HTTP/1.1\r\n\r\n", false },
		{ "@", false },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct request_parser parser;
		size_t used;

		request_begin(&parser, &limits, texts[i].text);
		request_read(&parser, texts[i].text, strlen(texts[i].text), &used);
		ck_assert_msg(request_is_head(&parser) == texts[i].is, "%s", texts[i].text);
	}
}
END_TEST

/* The head moves between two pieces, as it does when it is kept for the rest to come. */
START_TEST(test_a_head_may_move)
{
	static const char text[] = "GET /x HTTP/1.1\r\n" HOST "If-None-Match: \"a\"\r\nAccept-Encoding: gzip\r\n"
				   "If-None-Match: \"b\"\r\nContent-Length: 1\r\n\r\nx";
	const size_t len = sizeof(text) - 1;

	for (size_t first = 1; first < len; first++) {
		char *one = malloc(first), *other = malloc(len);
		struct request_parser *before = malloc(sizeof(*before)), *parser = malloc(sizeof(*parser));
		size_t used;

		memcpy(one, text, first);
		memcpy(other, text, len);
		request_begin(before, &limits, one);
		ck_assert_int_eq(request_read(before, one, first, &used), REQUEST_MORE);
		memcpy(parser, before, sizeof(*parser));
		memset(before, 0xff, sizeof(*before));
		free(before);
		free(one);
		request_moved(parser, other);
		ck_assert_int_eq(request_read(parser, other + first, len - first, &used), REQUEST_COMPLETE);
		ck_assert_uint_eq(used, len - first);
		ck_assert_uint_eq(parser->request.target.len, 2);
		ck_assert_mem_eq(other + parser->request.target.at, "/x", 2);
		ck_assert_mem_eq(other + parser->request.field[FIELD_ACCEPT_ENCODING].at, "gzip", 4);
		ck_assert(request_repeats(&parser->request, FIELD_IF_NONE_MATCH));
		free(parser);
		free(other);
	}
}
END_TEST

/* Each of these before each of those, so that every block of lines is met again after another request line. */
START_TEST(test_lines_are_remembered)
{
	static const char *const lines[] = {
		"GET /a/./b HTTP/1.1\r\n",    "GET /a//b HTTP/1.1\r\n",
		"GET //a HTTP/1.1\r\n",       "GET /.a HTTP/1.1\r\n",
		"GET /a/..?b HTTP/1.1\r\n",   "GET /a%20b HTTP/1.1\r\n",
		"GET / HTTP/1.1\r\n",         "GET /a/longer/path?and=a&query=1 HTTP/1.1\r\n",
		"GET /a?b?c HTTP/1.1\r\n",    "GET /a#b HTTP/1.1\r\n",
		"GET /a|b HTTP/1.1\r\n",      "GET /\x80 HTTP/1.1\r\n",
		"GET /%41%zz HTTP/1.1\r\n",   "GET  / HTTP/1.1\r\n",
		"GET / HTTP/1.0\r\n",         "GET /after HTTP/1.1\r\n",
		"GET /a?b\x80 HTTP/1.1\r\n",  "GET /a?b\t HTTP/1.1\r\n",
		"GET /a?b#c HTTP/1.1\r\n",    "GET /a?b\x7f HTTP/1.1\r\n",
		"GET /a?\"b\" HTTP/1.1\r\n",  "GET / HTTP/1.1\n",
		"GET / HTTP/1.2\r\n",         "GET / HTTP/2.0\r\n",
		"GET http://a/ HTTP/1.1\r\n", "HEAD / HTTP/1.1\r\n",
		"POST / HTTP/1.1\r\n",        "OPTIONS * HTTP/1.1\r\n",
		"CONNECT a:1 HTTP/1.1\r\n",   "GET / HTTP/1.1 \r\n",
		"GET / http/1.1\r\n",         "get / HTTP/1.1\r\n",
	};
	static const char *const blocks[] = {
		HOST "\r\n",
		"Host: b\r\n\r\n",
		"Host:\r\n\r\n",
		"\r\n",
		HOST HOST "\r\n",
		HOST "Connection: close\r\n\r\n",
		"Connection: keep-alive\r\n" HOST "\r\n",
		HOST "Accept-Encoding: br\r\nReferer: http://a/\r\nUser-Agent: \r\n\r\n",
		HOST "Accept-Encoding: gzip;q=0.5, identity;q=0\r\nA: b\r\nAccept-Encoding: br\r\n\r\n",
		HOST "Range: bytes=0-1\r\nIf-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n\r\n",
		HOST "Content-Length: 0\r\n\r\n",
		HOST "Content-Length: 3\r\n\r\nabc",
		HOST CHUNKED "0\r\n\r\n",
		HOST "Expect: 100-continue\r\n\r\n",
		HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		HOST "Expect: the end\r\n\r\n",
		HOST "Trailing: white space  \t\r\n\r\n",
		HOST "No colon\r\n\r\n",
		HOST "Folded: a\r\n b\r\n\r\n",
		"Host: a\n\r\n",
		HOST "\n",
		HOST "\r\nGET / HTTP/1.1\r\n" HOST "\r\n",
		HOST,
	};
	char text[500];

	for (int turn = 0; turn < 2; turn++)
		for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
			for (size_t j = 0; j < sizeof(blocks) / sizeof(*blocks); j++) {
				snprintf(text, sizeof(text), "%s%s", lines[i], blocks[j]);
				read_text(text);
			}
}
END_TEST

START_TEST(test_what_is_remembered_is_used)
{
	static const char first[] = "GET /a HTTP/1.1\r\n" HOST "Accept-Encoding: br\r\n\r\n";
	static const char text[] = "GET /another?query HTTP/1.1\r\n" HOST "Accept-Encoding: br\r\n\r\n";

	read_text(first);
	read_text(text);
	ck_assert(remembering.request.has_wishes);
	ck_assert_int_eq(remembering.request.wishes.q[CODING_BR], CODING_Q_MAX);
	ck_assert_uint_eq(remembering.request.path_len, strlen("/another"));
}
END_TEST

/* Whether the log needs to look through what it gets: known of what is remembered, both fields together. */
START_TEST(test_plain_fields_are_remembered)
{
	static const struct {
		const char *fields;
		bool plain;
	} cases[] = {
		{ "", true },
		{ "Referer: http://a/?~ !\r\nUser-Agent: Mozilla/5.0 (X11)\r\n", true },
		{ "User-Agent:\r\nReferer:\r\n", true },
		{ "Referer: http://a/\"\r\nUser-Agent: plain\r\n", false },
		{ "Referer: plain\r\nUser-Agent: \\plain\r\n", false },
		{ "User-Agent: a\tb\r\n", false },
		{ "User-Agent: caf\xe9\r\n", false },
		{ "Referer: \x80\r\n", false },
		{ "X: \"\r\nUser-Agent: a\r\nUser-Agent: \"\r\n", true }, /* the first one is kept */
	};
	char text[500];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "%s\r\n", cases[i].fields);
		ck_assert(!read_text(text).request.is_plain); /* nobody has looked */
		ck_assert_msg(remembering.request.is_plain == cases[i].plain, "%s", cases[i].fields);
	}
}
END_TEST

/* What is remembered of a block does not escape the limits, which may have become lower (SIGHUP). */
START_TEST(test_limits_hold_for_what_is_remembered)
{
	static const char text[] = "GET /123456789 HTTP/1.1\r\n" HOST "A: b\r\nC: d\r\n\r\n";
	const uint32_t line = 25, head = sizeof(text) - 1;
	const struct {
		uint32_t line, head, fields;
		unsigned status;
	} rows[] = {
		{ line, head, 3, 0 }, { line, head, 2, 431 }, { line, head - 1, 3, 431 },
		{ 10, head, 3, 414 }, { 1, 2, 1, 414 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		limits = standard;
		ck_assert_uint_eq(read_text(text).request.status, 0);
		limits.request_line = rows[i].line;
		limits.head = rows[i].head;
		limits.fields = rows[i].fields;
		ck_assert_uint_eq(read_text(text).request.status, rows[i].status);
	}
}
END_TEST

/* More blocks than there is room for, of all lengths, each of which is asked for in turn. */
START_TEST(test_many_lines_are_remembered)
{
	char text[1400], value[1200];

	memset(value, 'v', sizeof(value));
	for (int turn = 0; turn < 3; turn++)
		for (int len = 0; len < (int)sizeof(value); len += 7) {
			struct reading whole;

			snprintf(text, sizeof(text), "GET /%d HTTP/1.1\r\n" HOST "%s: %.*s\r\n\r\n", len * turn,
			         len % 2 ? "If-None-Match" : "Cookie", len, value);
			whole = read_in_pieces(text, strlen(text), strlen(text));
			ck_assert_int_eq(whole.progress, REQUEST_COMPLETE);
			read_from_memory(text, strlen(text), &whole);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("request");
	TCase *tcase = tcase_create("request");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_loop_test(tcase, test_heads_are_judged, 0, sizeof(heads) / sizeof(*heads));
	tcase_add_test(tcase, test_nul_in_the_head_is_refused);
	tcase_add_test(tcase, test_persistence);
	tcase_add_test(tcase, test_spans);
	tcase_add_test(tcase, test_the_next_request_begins_after_this_one);
	tcase_add_test(tcase, test_expect_is_answered_without_the_body);
	tcase_add_loop_test(tcase, test_fields_are_kept, 0, sizeof(kept) / sizeof(*kept));
	tcase_add_loop_test(tcase, test_limits_are_exact, 0, sizeof(several_limits) / sizeof(*several_limits));
	tcase_add_test(tcase, test_a_method_without_end);
	tcase_add_test(tcase, test_the_preface_of_http_2_is_an_error_however_it_comes);
	tcase_add_test(tcase, test_what_is_for_head);
	tcase_add_test(tcase, test_a_head_may_move);
	tcase_add_test(tcase, test_lines_are_remembered);
	tcase_add_test(tcase, test_what_is_remembered_is_used);
	tcase_add_test(tcase, test_plain_fields_are_remembered);
	tcase_add_test(tcase, test_limits_hold_for_what_is_remembered);
	tcase_add_test(tcase, test_many_lines_are_remembered);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
