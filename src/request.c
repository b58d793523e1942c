/*
 * request.c - see request.h. llhttp walks the bytes; this file keeps what matters and refuses what RFC 9112 does not
 * allow but llhttp lets pass.
 *
 * How the line ends are checked without looking at every byte again: llhttp may take a bare CR or a bare LF for the end
 * of a line, or go on with a folded one, but wherever a field line begins it calls on_header_field. There, nothing but
 * white space and one CR LF may stand between the end of the line before, as we know it, and the new name. The empty line
 * at the end of the head is checked the same way.
 *
 * How answers are made independent of how the bytes were split: the parser is never shown a byte beyond a limit, so a
 * limit is found at the same byte however that byte arrived.
 */
#include "loom/request.h"

#include <assert.h>
#include <string.h>

#include "loom/chars.h"
#include "loom/target.h"
#include "request_fields.h"
#include "request_memo.h"

#define STRING_OF(number) #number
#define STRING(macro)     STRING_OF(macro)
#define LLHTTP_VERSION    STRING(LLHTTP_VERSION_MAJOR) "." STRING(LLHTTP_VERSION_MINOR) "." STRING(LLHTTP_VERSION_PATCH)

/* Returned by a callback that has set request.status. */
#define CALLBACK_FAILED (-1)

static struct request_parser *parser_of(llhttp_t *llhttp)
{
	return llhttp->data;
}

static int refuse(struct request_parser *parser, unsigned status)
{
	parser->request.status = (uint16_t)status;
	return CALLBACK_FAILED;
}

/* Adds a piece to a span. False when it does not follow the pieces before, or is out of a span's range. */
static bool span_extend(struct span *span, const char *base, const char *at, size_t len)
{
	size_t offset = (size_t)(at - base);

	if (offset + len > UINT16_MAX)
		return false;
	if (span->len == 0)
		span->at = (uint16_t)offset;
	else if (offset != (size_t)span->at + span->len)
		return false;
	span->len = (uint16_t)(span->len + len);
	return true;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
	struct request_parser *parser = parser_of(llhttp);

	return span_extend(&parser->request.target, parser->base, at, len) ? 0 : refuse(parser, 400);
}

/* The target is there, and the byte after it: method SP target SP (RFC 9112 3). llhttp takes several spaces, or none. */
static int on_url_complete(llhttp_t *llhttp)
{
	struct request_parser *parser = parser_of(llhttp);
	const char *target = parser->base + parser->request.target.at;
	const char *at = parser->base;

	if (target - at == 4 && memcmp(at, "GET ", 4) == 0)
		at += 3;
	while (at < target && chars_in(CHARS_TOKEN, *at))
		at++;
	if (at != target - 1 || *at != ' ' || target[parser->request.target.len] != ' ')
		return refuse(parser, 400);
	if (llhttp->method >= HTTP_DESCRIBE)
		return refuse(parser, 501); /* RTSP's */
	parser->line_read = true;
	parser->line_end = (uint16_t)(parser->request.target.at + parser->request.target.len + strlen(" HTTP/1.1"));
	return 0;
}

/* Whether offset next is where a line begins, the line before having its last byte before line_end and no fold. */
static bool line_ended(const struct request_parser *parser, size_t next)
{
	const char *at = parser->base + parser->line_end, *end = parser->base + next;

	if (end - at == 2)
		return at[0] == '\r' && at[1] == '\n';
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return end - at == 2 && at[0] == '\r' && at[1] == '\n';
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
	struct request_parser *parser = parser_of(llhttp);

	if (parser->name.len == 0 && !line_ended(parser, (size_t)(at - parser->base)))
		return refuse(parser, 400);
	return span_extend(&parser->name, parser->base, at, len) ? 0 : refuse(parser, 400);
}

/*
 * What a line means is read below, to the letter and for all lines together; llhttp's own reading of Content-Length,
 * Transfer-Encoding, Connection and Upgrade (which takes less for white space than RFC 9110 5.6.3) is switched off.
 */
static int on_header_field_complete(llhttp_t *llhttp)
{
	struct request_parser *parser = parser_of(llhttp);

	llhttp->header_state = 0; /* general */
	/* Counted here and not at its first byte: whether it is a name at all shows now, however it came. */
	return ++parser->request.fields > parser->limits->fields ? refuse(parser, 431) : 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
	struct request_parser *parser = parser_of(llhttp);

	if (len == 0)
		return 0;
	return span_extend(&parser->value, parser->base, at, len) ? 0 : refuse(parser, 400);
}

static int on_header_value_complete(llhttp_t *llhttp)
{
	struct request_parser *parser = parser_of(llhttp);
	const char *name = parser->base + parser->name.at;
	const char *value = parser->base + parser->value.at;
	size_t name_len = parser->name.len;
	struct span span = parser->value;
	unsigned status;

	if (name_len == 0)
		return refuse(parser, 400);
	parser->line_end = (uint16_t)(parser->name.at + name_len + 1);
	if (span.len > 0) {
		const char *at = parser->base + parser->line_end;

		while (chars_is_space(*at))
			at++;
		if (at != value)
			return refuse(parser, 400); /* the value begins on a line of its own */
		parser->line_end = (uint16_t)(span.at + span.len);
	} else {
		value = parser->base + parser->line_end;
		span.at = parser->line_end;
	}
	while (span.len > 0 && chars_is_space(value[span.len - 1]))
		span.len--;
	parser->name = (struct span){ 0 };
	parser->value = (struct span){ 0 };
	status = request_read_field(parser, name, name_len, value, span);
	return status ? refuse(parser, status) : 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
	llhttp->upgrade = 0; /* Upgrade is ignored, as RFC 9110 7.8 allows; what follows is HTTP/1.1 */
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_url_complete = on_url_complete,
	.on_header_field = on_header_field,
	.on_header_field_complete = on_header_field_complete,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
};

static void begin_llhttp(struct request_parser *parser)
{
	llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
	parser->llhttp.lenient_flags = LENIENT_VERSION; /* the version is judged below, with 505 */
	parser->llhttp.data = parser;
	parser->fresh = false;
}

void request_begin(struct request_parser *parser, const struct limits *limits, const char *base)
{
	parser->memo = NULL;
	request_next(parser, limits, base);
}

void request_next(struct request_parser *parser, const struct limits *limits, const char *base)
{
	assert(limits->head <= REQUEST_HEAD_MAX && limits->request_line < limits->head);

	parser->llhttp.method = HTTP_DELETE; /* as long as nothing is known of it; the rest waits for begin_llhttp() */
	parser->fresh = true;
	parser->limits = limits;
	parser->base = base;
	parser->name = parser->value = (struct span){ 0 };
	parser->line_read = parser->method_unknown = false;
	parser->line_end = 0;
	parser->lines = (struct request_lines){ 0 };
	parser->length = 0;
	parser->request = (struct request){ 0 };
}

void request_refuse(struct request_parser *parser, unsigned status)
{
	parser->request.status = (uint16_t)status;
}

void request_moved(struct request_parser *parser, const char *base)
{
	parser->llhttp.data = parser;
	parser->base = base;
}

/*
 * llhttp knows a list of methods and stops at the first byte that leads out of it. Whether that is an unknown method
 * (501) or no request line at all (400) shows at the end of the token.
 */
static enum request_progress read_unknown_method(struct request_parser *parser, const char *end)
{
	const char *begin = parser->base, *at = begin, *limit = begin + parser->limits->request_line;

	parser->method_unknown = true;
	while (at < end && at < limit && chars_in(CHARS_TOKEN, *at))
		at++;
	if (at == end && at < limit)
		return REQUEST_MORE;
	/* What is longer than a request line may be is longer than any method, too (RFC 9112 3). */
	parser->request.status = at > begin && (at == limit || *at == ' ') ? 501 : 400;
	return REQUEST_FAILED;
}

static enum request_progress fail(struct request_parser *parser, const char *end)
{
	struct request *request = &parser->request;

	if (request->status == 0 || parser->llhttp.error == HPE_INVALID_METHOD) {
		if (parser->llhttp.error == HPE_INVALID_METHOD)
			return read_unknown_method(parser, end);
		request->status = 400;
	}
	return REQUEST_FAILED;
}

static enum request_method method_of(const llhttp_t *llhttp)
{
	switch (llhttp->method) {
	case HTTP_GET:
		return METHOD_GET;
	case HTTP_HEAD:
		return METHOD_HEAD;
	case HTTP_OPTIONS:
		return METHOD_OPTIONS;
	case HTTP_CONNECT:
		return METHOD_CONNECT;
	}
	return METHOD_OTHER;
}

/* What the framing fields mean together: the status of a message whose end cannot be known, or 0. */
static unsigned framing_status(const struct request_parser *parser)
{
	const struct request_lines *lines = &parser->lines;

	if (lines->has_coding) {
		/*
		 * RFC 9112 6.1, 6.3: chunked comes last, no length stands beside it, and a recipient of HTTP/1.0 may
		 * have framed the message otherwise.
		 */
		if (lines->coding_bad || !lines->chunked || lines->has_length || parser->request.minor == 0)
			return 400;
		return lines->coding_unknown ? 501 : 0;
	}
	return parser->length > parser->limits->body ? 413 : 0;
}

/* The head is complete: what its lines mean together. False when the message cannot be framed. */
static bool head_is_sound(struct request_parser *parser)
{
	struct request *request = &parser->request;
	const struct request_lines *lines = &parser->lines;
	const llhttp_t *llhttp = &parser->llhttp;
	const char *version = parser->base + request->target.at + request->target.len;

	if (!line_ended(parser, request->head_len - 2) ||
	    memcmp(parser->base + request->head_len - 2, "\r\n", 2) != 0 || memcmp(version, " HTTP/", 6) != 0) {
		request->status = 400;
		return false;
	}
	if (llhttp->http_major != 1) {
		request->status = 505;
		return false;
	}
	request->minor = llhttp->http_minor;
	request->method = method_of(llhttp);
	request->keep_alive = !lines->connection_close && (request->minor > 0 || lines->connection_keep_alive);
	request->has_body = lines->has_coding || parser->length > 0;

	if (request->minor > 0 && request->hosts != 1) { /* RFC 9112 3.2 */
		request->status = 400;
		return false;
	}
	request->status = (uint16_t)framing_status(parser);
	return request->status == 0;
}

/* Reads past a body. Bytes beyond the limit are not looked at, so that the answer is the same however they come. */
static enum request_progress read_body(struct request_parser *parser, const char *bytes, size_t len, size_t *used)
{
	struct request *request = &parser->request;
	uint64_t left = parser->limits->body - request->body_len;
	bool over = len > left;
	enum chunked_progress progress;

	if (over)
		len = left;
	if (parser->lines.has_coding) {
		progress = chunked_read(&parser->chunked, bytes, len, parser->limits->body, used);
	} else {
		*used = len < parser->length ? len : (size_t)parser->length;
		parser->length -= *used;
		progress = parser->length > 0 ? CHUNKED_MORE : CHUNKED_END;
	}
	if (progress == CHUNKED_BAD) {
		request->status = 400;
		return REQUEST_FAILED;
	}
	if (progress == CHUNKED_TOO_LARGE || (progress == CHUNKED_MORE && over)) {
		request->status = 413;
		return REQUEST_FAILED;
	}
	request->body_len += *used;
	if (progress == CHUNKED_MORE)
		return REQUEST_MORE;
	request->framed = true;
	return REQUEST_COMPLETE;
}

static enum request_progress head_complete(struct request_parser *parser, const char *bytes, size_t len, size_t *used)
{
	struct request *request = &parser->request;
	const char *end = llhttp_get_error_pos(&parser->llhttp);

	*used = (size_t)(end - bytes);
	request->head_len = (uint32_t)(end - parser->base);
	if (!head_is_sound(parser))
		return REQUEST_FAILED;
	if (parser->lines.expects_other)
		request->status = 417;
	if (!request->has_body && request->method != METHOD_CONNECT) {
		request->framed = true;
		/* In HTTP/1.1 the field lines mean the same whatever the request line is, if there is no body. */
		if (parser->memo && bytes == parser->base && request->minor == 1)
			request_memo_keep(parser->memo, parser->base, request);
		return REQUEST_COMPLETE;
	}
	/*
	 * The final answer at once, without the body; whether the client still sends it cannot be known. And what follows
	 * a CONNECT may be for whom it wanted to talk to.
	 */
	if ((parser->lines.expects_continue && request->minor > 0) || request->status == 417 ||
	    request->method == METHOD_CONNECT)
		return REQUEST_COMPLETE;

	request->in_body = true;
	chunked_begin(&parser->chunked);
	if (*used == len)
		return REQUEST_MORE;
	{
		size_t body_used = 0;
		enum request_progress progress = read_body(parser, end, len - *used, &body_used);

		*used += body_used;
		return progress;
	}
}

/*
 * The length of a request line that any reader would take: GET, an origin form of what RFC 3986 allows in a path and a
 * query, HTTP/1.1, single spaces. 0: it is another, or not whole.
 */
static size_t plain_line(const char *bytes, size_t len, struct span *target, uint16_t *path_len)
{
	const char *const path = bytes + strlen("GET "), *const end = bytes + len, *at;
	static const char rest[] = " HTTP/1.1\r\n";
	bool normal;

	if (len < strlen("GET /") || memcmp(bytes, "GET /", strlen("GET /")) != 0)
		return 0;
	at = target_path_end(path, end, &normal);
	*path_len = normal ? (uint16_t)(at - path) : 0;
	if (at < end && *at == '?')
		for (at++; at < end && chars_in(CHARS_PATH, *at);)
			at++;
	if ((size_t)(end - at) < strlen(rest) || memcmp(at, rest, strlen(rest)) != 0)
		return 0;
	*target = (struct span){ (uint16_t)strlen("GET "), (uint16_t)(at - path) };
	return (size_t)(at - bytes) + strlen(rest);
}

/* A request whose line is plain and whose field lines are remembered: its length. 0: it has to be read. */
static size_t read_again(struct request_parser *parser, const char *bytes, size_t len)
{
	const struct limits *limits = parser->limits;
	const struct request_memo_block *block;
	struct span target;
	uint16_t path_len;
	size_t line;

	line = plain_line(bytes, len < limits->request_line ? len : limits->request_line, &target, &path_len);
	if (line == 0)
		return 0;
	block = request_memo_find(parser->memo, bytes + line, len - line);
	if (!block || block->said.fields > limits->fields || line + block->len > limits->head)
		return 0;
	request_memo_apply(block, (uint16_t)line, &parser->request);
	parser->request.target = target;
	parser->request.path_len = path_len;
	parser->request.method = METHOD_GET;
	/* What others ask the parser for. */
	parser->llhttp.http_major = parser->llhttp.http_minor = 1;
	parser->line_read = true;
	return parser->request.head_len;
}

bool request_is_head(const struct request_parser *parser)
{
	return parser->llhttp.method == HTTP_HEAD && !parser->method_unknown;
}

const char *request_library(void)
{
	return "llhttp " LLHTTP_VERSION;
}

enum request_progress request_read(struct request_parser *parser, const char *bytes, size_t len, size_t *used)
{
	assert(len > 0);

	*used = len;
	if (parser->request.in_body)
		return read_body(parser, bytes, len, used);
	if (parser->method_unknown)
		return read_unknown_method(parser, bytes + len);

	if (parser->fresh) {
		if (parser->memo && (*used = read_again(parser, bytes, len)) > 0)
			return REQUEST_COMPLETE;
		*used = len;
		begin_llhttp(parser);
	}
	for (const char *at = bytes, *end = bytes + len; at < end;) {
		/* llhttp tells of the end of the target when it sees the byte after the space. */
		uint32_t limit = parser->line_read ? parser->limits->head : parser->limits->request_line + 1;
		size_t room = limit - (size_t)(at - parser->base);
		size_t piece = (size_t)(end - at) < room ? (size_t)(end - at) : room;
		enum llhttp_errno error = llhttp_execute(&parser->llhttp, at, piece);

		if (error == HPE_PAUSED)
			return head_complete(parser, bytes, len, used);
		if (error != HPE_OK)
			return fail(parser, end);
		at += piece;
		if (piece == room) {
			if (!parser->line_read || limit == parser->limits->head) {
				parser->request.status = parser->line_read ? 431 : 414;
				return REQUEST_FAILED;
			}
		}
	}
	return REQUEST_MORE;
}
