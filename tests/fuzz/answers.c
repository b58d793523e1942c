/*
 * answers.c - see answers.h.
 */
#include "answers.h"

#include <string.h>
#include <strings.h>

#include "fuzz.h"
#include "loom/date.h"
#include "model.h"
#include "site.h"

enum field {
	DATE,
	ETAG,
	VARY,
	CACHE_CONTROL,
	NOSNIFF,
	LAST_MODIFIED,
	ACCEPT_RANGES,
	CONTENT_ENCODING,
	CONTENT_TYPE,
	CONTENT_LENGTH,
	CONTENT_RANGE,
	LOCATION,
	ALLOW,
	CONNECTION,
	FIELDS,
};

static const char *const names[FIELDS] = {
	"Date",
	"ETag",
	"Vary",
	"Cache-Control",
	"X-Content-Type-Options",
	"Last-Modified",
	"Accept-Ranges",
	"Content-Encoding",
	"Content-Type",
	"Content-Length",
	"Content-Range",
	"Location",
	"Allow",
	"Connection",
};

/* Those that a 304 may have (RFC 9110 15.4.5), and Connection. */
#define OF_304 (1 << DATE | 1 << ETAG | 1 << VARY | 1 << CACHE_CONTROL | 1 << CONNECTION)

/* A field's value; bytes is NULL when there is no such field. */
struct value {
	const char *bytes;
	size_t len;
};

/* One answer, and what it answers. */
struct answer {
	const char *bytes; /* all that is left, from the status line on */
	size_t left;
	const struct model_request *request; /* NULL: to something that is no valid request */
	unsigned status;
	unsigned present;
	size_t head_len; /* with the empty line */
	struct value value[FIELDS];
};

static bool has(const struct answer *answer, enum field field)
{
	return answer->present & 1U << field;
}

static bool value_is(const struct answer *answer, enum field field, const char *text)
{
	const struct value *value = &answer->value[field];

	return has(answer, field) && value->len == strlen(text) && memcmp(value->bytes, text, value->len) == 0;
}

static bool is_head(const struct answer *answer)
{
	return answer->request && model_method_is(answer->request, "HEAD");
}

/* A line without its CR LF; there is no other CR, LF or control byte in it. */
static struct value take_line(const char *bytes, size_t left)
{
	const char *end = memmem(bytes, left, "\r\n", 2);
	struct value line = { .bytes = bytes };

	fuzz_require(end, "a head does not end: %s", fuzz_text(bytes, left));
	line.len = (size_t)(end - bytes);
	for (size_t i = 0; i < line.len; i++)
		fuzz_require(line.bytes[i] >= ' ' && line.bytes[i] < 0x7f, "a byte of a head: %s",
		             fuzz_text(bytes, line.len));
	return line;
}

/* "Name: value" into the table of those that are known; each comes once. */
static void take_field(struct answer *answer, struct value line)
{
	const char *colon = memchr(line.bytes, ':', line.len);

	fuzz_require(colon, "a field line without a colon: %s", fuzz_text(line.bytes, line.len));
	for (unsigned i = 0; i < FIELDS; i++) {
		if ((size_t)(colon - line.bytes) != strlen(names[i]) ||
		    memcmp(line.bytes, names[i], strlen(names[i])) != 0)
			continue;
		fuzz_require(!has(answer, i), "two fields %s", names[i]);
		answer->present |= 1U << i;
		answer->value[i] = (struct value){ colon + 2, line.len - strlen(names[i]) - 2 };
		fuzz_require(line.len > strlen(names[i]) + 2 && colon[1] == ' ' && colon[2] != ' ' &&
		                     line.bytes[line.len - 1] != ' ',
		             "white space: %s", fuzz_text(line.bytes, line.len));
		return;
	}
	fuzz_fail("an unknown field: %s", fuzz_text(line.bytes, line.len));
}

static void take_head(struct answer *answer)
{
	struct value line = take_line(answer->bytes, answer->left);

	fuzz_require(line.len > 13 && memcmp(line.bytes, "HTTP/1.1 ", 9) == 0 && line.bytes[12] == ' ',
	             "no status line: %s", fuzz_text(line.bytes, line.len));
	for (unsigned i = 9; i < 12; i++) {
		fuzz_require(line.bytes[i] >= '0' && line.bytes[i] <= '9', "no status");
		answer->status = answer->status * 10 + (unsigned)(line.bytes[i] - '0');
	}
	for (;;) {
		answer->head_len += line.len + 2;
		line = take_line(answer->bytes + answer->head_len, answer->left - answer->head_len);
		if (line.len == 0)
			break;
		take_field(answer, line);
	}
	answer->head_len += 2;
}

/* A decimal number without leading zeros, up to the byte that ends it, which is passed over. */
static size_t take_number(struct value *value, char end)
{
	size_t number = 0, n = 0;

	while (n < value->len && value->bytes[n] >= '0' && value->bytes[n] <= '9' && n < 18)
		number = number * 10 + (size_t)(value->bytes[n++] - '0');
	fuzz_require(n > 0 && (n == 1 || value->bytes[0] != '0') && (end ? n < value->len : n == value->len) &&
	                     (!end || value->bytes[n] == end),
	             "no number: %s", fuzz_text(value->bytes, value->len));
	n += end != '\0';
	value->bytes += n;
	value->len -= n;
	return number;
}

/* "bytes a-b/length" of this representation: the part. */
static struct value content_range(struct value value, const struct representation *of)
{
	size_t first, last;

	fuzz_require(value.len > 6 && memcmp(value.bytes, "bytes ", 6) == 0, "no Content-Range");
	value.bytes += 6;
	value.len -= 6;
	first = take_number(&value, '-');
	last = take_number(&value, '/');
	fuzz_require(take_number(&value, '\0') == of->body_len, "Content-Range has another length");
	fuzz_require(first <= last && last < of->body_len, "Content-Range is %zu-%zu", first, last);
	return (struct value){ (const char *)site_content(of) + first, last - first + 1 };
}

/*
 * The head is the one that the site has, but for its date, what stands in its place is, and Connection. Up to upto, so
 * that more can follow.
 */
static void check_head(const struct answer *answer, const struct representation *of, size_t upto)
{
	for (size_t i = 0; i < upto; i++)
		if (i < of->date_at || i - of->date_at >= HTTP_DATE_LEN)
			fuzz_require(answer->bytes[i] == of->head[i], "a head is not the site's: %s",
			             fuzz_text(answer->bytes, answer->head_len));
}

/* The bytes behind the head are this content, or, for HEAD, nothing. What follows is the next answer. */
static size_t check_content(const struct answer *answer, struct value content)
{
	struct value length = answer->value[CONTENT_LENGTH];
	const char *bytes = answer->bytes + answer->head_len;
	size_t left = answer->left - answer->head_len;
	bool same;

	fuzz_require(has(answer, CONTENT_LENGTH) && take_number(&length, '\0') == content.len,
	             "Content-Length is not %zu: %s", content.len, fuzz_text(answer->bytes, answer->head_len));
	if (is_head(answer) || (!answer->request && left == 0))
		return 0;
	same = left >= content.len && (content.len == 0 || memcmp(bytes, content.bytes, content.len) == 0);
	fuzz_require(same, "the content is another, or not whole: %zu bytes of %zu", left, content.len);
	return content.len;
}

static struct value body_of(const struct representation *of)
{
	return (struct value){ (const char *)site_content(of), of->body_len };
}

static const struct representation *check_etag(const struct answer *answer)
{
	const struct value *etag = &answer->value[ETAG];
	const struct representation *of = has(answer, ETAG) ? site_by_etag(etag->bytes, etag->len) : NULL;

	fuzz_require(of, "nothing has this ETag: %s", fuzz_text(answer->bytes, answer->head_len));
	return of;
}

static size_t check_200(const struct answer *answer)
{
	const struct representation *of = has(answer, ETAG) ? check_etag(answer) : site_error(200);

	fuzz_require(has(answer, ETAG) != (answer->request && model_method_is(answer->request, "OPTIONS")),
	             "not the answer to the method");
	check_head(answer, of, of->head_len);
	return check_content(answer, body_of(of));
}

/* multipart/byteranges (RFC 9110 14.6): every part has the bytes that it says, and nothing else is between them. */
static size_t check_parts(const struct answer *answer, const struct representation *of)
{
	static const char type[] = "multipart/byteranges; boundary=";
	struct value boundary = answer->value[CONTENT_TYPE], length = answer->value[CONTENT_LENGTH];
	const char *begin = answer->bytes + answer->head_len, *at = begin;
	const char *end = answer->bytes + answer->left;
	unsigned parts = 0;

	fuzz_require(has(answer, CONTENT_TYPE) && boundary.len > strlen(type) &&
	                     memcmp(boundary.bytes, type, strlen(type)) == 0,
	             "neither a part nor parts");
	boundary.bytes += strlen(type);
	boundary.len -= strlen(type);
	for (;;) {
		struct value line = take_line(at, (size_t)(end - at)), range = { 0 };

		fuzz_require(line.len >= 2 + boundary.len && memcmp(line.bytes, "--", 2) == 0 &&
		                     memcmp(line.bytes + 2, boundary.bytes, boundary.len) == 0,
		             "a part does not begin with the boundary");
		at += line.len + 2;
		if (line.len == boundary.len + 4 && memcmp(line.bytes + line.len - 2, "--", 2) == 0)
			break;
		fuzz_require(line.len == boundary.len + 2, "the boundary");
		while ((line = take_line(at, (size_t)(end - at))).len > 0) {
			at += line.len + 2;
			if (line.len > 15 && memcmp(line.bytes, "Content-Range: ", 15) == 0)
				range = (struct value){ line.bytes + 15, line.len - 15 };
			else
				fuzz_require(line.len > 14 && memcmp(line.bytes, "Content-Type: ", 14) == 0,
				             "an unknown field of a part");
		}
		at += 2;
		fuzz_require(range.bytes, "a part without Content-Range");
		range = content_range(range, of);
		fuzz_require((size_t)(end - at) >= range.len + 2 && memcmp(at, range.bytes, range.len) == 0 &&
		                     memcmp(at + range.len, "\r\n", 2) == 0,
		             "the content of a part");
		at += range.len + 2;
		parts++;
	}
	fuzz_require(parts > 1, "a multipart message of %u", parts);
	fuzz_require(has(answer, CONTENT_LENGTH) && take_number(&length, '\0') == (size_t)(at - begin),
	             "Content-Length is not %zu", (size_t)(at - begin));
	return (size_t)(at - begin);
}

static size_t check_206(const struct answer *answer)
{
	const struct representation *of = check_etag(answer);

	fuzz_require(answer->request && model_method_is(answer->request, "GET"), "206 to another method than GET");
	if (has(answer, CONTENT_RANGE))
		return check_content(answer, content_range(answer->value[CONTENT_RANGE], of));
	return check_parts(answer, of);
}

static size_t check_301(const struct answer *answer)
{
	const struct value *location = &answer->value[LOCATION];
	const struct representation *of = NULL;
	const uint8_t *query = NULL;
	size_t query_len = 0, tail;

	if (answer->request) {
		const uint8_t *end = answer->request->target + answer->request->target_len;

		query = memchr(answer->request->target, '?', answer->request->target_len);
		query_len = query ? (size_t)(end - query) : 0;
	}
	if (has(answer, LOCATION))
		of = site_redirect(location->bytes, location->len);
	fuzz_require(of && location->bytes[0] == '/' && location->bytes[1] != '/', "no Location");
	check_head(answer, of, of->location_end);
	fuzz_require(query_len == 0 || memcmp(answer->bytes + of->location_end, query, query_len) == 0,
	             "the query is lost: %s", fuzz_text(location->bytes, location->len));
	tail = (size_t)(of->head_len - of->location_end);
	fuzz_require(memcmp(answer->bytes + of->location_end + query_len, of->head + of->location_end, tail) == 0,
	             "something is in Location: %s", fuzz_text(location->bytes, location->len));
	return check_content(answer, body_of(of));
}

static size_t check_304(const struct answer *answer)
{
	fuzz_require(!(answer->present & ~OF_304), "a field too many: %s", fuzz_text(answer->bytes, answer->head_len));
	fuzz_require(answer->request && (model_method_is(answer->request, "GET") || is_head(answer)),
	             "304 to another method");
	check_etag(answer);
	return 0;
}

static size_t check_error(const struct answer *answer)
{
	const struct representation *of = answer->status >= 400 ? site_error(answer->status) : NULL;

	fuzz_require(of, "an unknown status: %u", answer->status);
	fuzz_require(answer->status != 500 && answer->status != 503, "status %u", answer->status);
	check_head(answer, of, of->head_len);
	if (answer->status == 416) {
		struct value range = answer->value[CONTENT_RANGE];

		fuzz_require(has(answer, CONTENT_RANGE) && range.len > 8 && memcmp(range.bytes, "bytes */", 8) == 0,
		             "416 without Content-Range");
		range.bytes += 8;
		range.len -= 8;
		take_number(&range, '\0');
	}
	return check_content(answer, body_of(of));
}

/* What follows the head, which may not be there yet for a request that could not be read. Bytes. */
static size_t check_answer(const struct answer *answer)
{
	switch (answer->status) {
	case 200:
		return check_200(answer);
	case 206:
		return check_206(answer);
	case 301:
		return check_301(answer);
	case 304:
		return check_304(answer);
	}
	return check_error(answer);
}

/* RFC 9112 9.3, 9.6: whether the connection goes on is said as docs/http.md has it. */
static bool check_connection(const struct answer *answer, bool last_allowed)
{
	const struct model_request *request = answer->request;
	bool closes = value_is(answer, CONNECTION, "close"), keeps = value_is(answer, CONNECTION, "keep-alive");
	bool expected;

	fuzz_require(closes || keeps || !has(answer, CONNECTION), "Connection: %s",
	             fuzz_text(answer->value[CONNECTION].bytes, answer->value[CONNECTION].len));
	expected = !request || !request->keep_alive || !request->framed || last_allowed;
	/* Forms of targets that llhttp does not read. */
	if (closes && !expected)
		fuzz_require(answer->status == 400 && !model_target_is_plain(request), "it closes, and should not: %s",
		             fuzz_text(answer->bytes, answer->head_len));
	else
		fuzz_require(closes == expected, "it does not close, and should: %s",
		             fuzz_text(answer->bytes, answer->head_len));
	fuzz_require(keeps == (!closes && request->minor == 0), "Connection: keep-alive");
	return closes;
}

struct answers answers_check(const uint8_t *bytes, size_t len, const uint8_t *requests, size_t requests_len,
                             const struct limits *limits, const char *date)
{
	struct model_request request;
	struct answers answers = { 0 };
	size_t at = 0;

	while (at < len) {
		size_t empty = model_empty_line(requests, requests_len);
		bool valid = model_request(requests + empty, requests_len - empty, limits, &request);
		struct answer answer = { .bytes = (const char *)bytes + at,
			                 .left = len - at,
			                 .request = valid ? &request : NULL };

		fuzz_require(!answers.closes, "something follows the last answer: %s", fuzz_text(bytes + at, len - at));
		take_head(&answer);
		fuzz_require(value_is(&answer, DATE, date), "the Date: %s", fuzz_text(bytes + at, answer.head_len));
		if (!valid)
			fuzz_require(answer.status >= 400 && requests_len > 0, "status %u to no valid request: %s",
			             answer.status, fuzz_text(requests, requests_len));
		answers.closes = check_connection(&answer, ++answers.n == limits->requests);
		answers.timeout += answer.status == 408;
		at += answer.head_len + check_answer(&answer);
		requests += valid ? empty + request.len : 0;
		requests_len -= valid ? empty + request.len : 0;
	}
	at = model_empty_line(requests, requests_len);
	fuzz_require(answers.closes || !model_request(requests + at, requests_len - at, limits, &request),
	             "a request has no answer: %s", fuzz_text(requests, requests_len));
	return answers;
}
