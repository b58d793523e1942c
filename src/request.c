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

/* Whether the bytes are name, which is in lower case, without regard to case. For letters and '-' only. */
static bool name_is(const char *bytes, const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((bytes[i] | 0x20) != name[i])
			return false;
	return true;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
	struct request_parser *parser = parser_of(llhttp);

	return span_extend(&parser->request.target, parser->base, at, len) ? 0 : refuse(parser, 400);
}

enum char_class {
	CHAR_TOKEN = 1 << 0, /* tchar of RFC 9110 5.6.2 */
	CHAR_NAME = 1 << 1,  /* of a reg-name: unreserved, sub-delims and '%' of RFC 3986 3.2.2 */
	CHAR_IP = 1 << 2,    /* of an IP-literal between its brackets, as far as it is worth telling */
};

static const uint8_t char_class[256] = {
	['0' ... '9'] = CHAR_TOKEN | CHAR_NAME | CHAR_IP,
	['A' ... 'F'] = CHAR_TOKEN | CHAR_NAME | CHAR_IP,
	['G' ... 'U'] = CHAR_TOKEN | CHAR_NAME,
	['V'] = CHAR_TOKEN | CHAR_NAME | CHAR_IP,
	['W' ... 'Z'] = CHAR_TOKEN | CHAR_NAME,
	['a' ... 'f'] = CHAR_TOKEN | CHAR_NAME | CHAR_IP,
	['g' ... 'u'] = CHAR_TOKEN | CHAR_NAME,
	['v'] = CHAR_TOKEN | CHAR_NAME | CHAR_IP,
	['w' ... 'z'] = CHAR_TOKEN | CHAR_NAME,
	['!'] = CHAR_TOKEN | CHAR_NAME,
	['#'] = CHAR_TOKEN,
	['$'] = CHAR_TOKEN | CHAR_NAME,
	['%'] = CHAR_TOKEN | CHAR_NAME,
	['&'] = CHAR_TOKEN | CHAR_NAME,
	['\''] = CHAR_TOKEN | CHAR_NAME,
	['('] = CHAR_NAME,
	[')'] = CHAR_NAME,
	['*'] = CHAR_TOKEN | CHAR_NAME,
	['+'] = CHAR_TOKEN | CHAR_NAME,
	[','] = CHAR_NAME,
	['-'] = CHAR_TOKEN | CHAR_NAME,
	['.'] = CHAR_TOKEN | CHAR_NAME | CHAR_IP,
	[':'] = CHAR_IP,
	[';'] = CHAR_NAME,
	['='] = CHAR_NAME,
	['^'] = CHAR_TOKEN,
	['_'] = CHAR_TOKEN | CHAR_NAME,
	['`'] = CHAR_TOKEN,
	['|'] = CHAR_TOKEN,
	['~'] = CHAR_TOKEN | CHAR_NAME,
};

static bool is_in(enum char_class class, char c)
{
	return char_class[(unsigned char)c] & class;
}

/* One empty line before a request is forgiven (RFC 9112 2.2). */
static const char *line_start(const char *base, const char *end)
{
	return end - base >= 2 && base[0] == '\r' && base[1] == '\n' ? base + 2 : base;
}

/* The target is there, and the byte after it: method SP target SP (RFC 9112 3). llhttp takes several spaces, or none. */
static int on_url_complete(llhttp_t *llhttp)
{
	struct request_parser *parser = parser_of(llhttp);
	const char *target = parser->base + parser->request.target.at;
	const char *at = line_start(parser->base, target);

	while (at < target && is_in(CHAR_TOKEN, *at))
		at++;
	if (at != target - 1 || *at != ' ' || target[parser->request.target.len] != ' ')
		return refuse(parser, 400);
	parser->line_read = true;
	parser->line_end = (uint16_t)(parser->request.target.at + parser->request.target.len + strlen(" HTTP/1.1"));
	return 0;
}

/* Whether offset next is where a line begins, the line before having its last byte before line_end and no fold. */
static bool line_ended(const struct request_parser *parser, size_t next)
{
	const char *at = parser->base + parser->line_end, *end = parser->base + next;

	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return end - at == 2 && at[0] == '\r' && at[1] == '\n';
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
	struct request_parser *parser = parser_of(llhttp);

	if (parser->request.in_body)
		return 0; /* a trailer section; nothing in it concerns a server of files (RFC 9110 6.5.1) */
	if (parser->name.len == 0) {
		if (!line_ended(parser, (size_t)(at - parser->base)))
			return refuse(parser, 400);
		if (++parser->request.fields > parser->limits->fields)
			return refuse(parser, 431);
	}
	return span_extend(&parser->name, parser->base, at, len) ? 0 : refuse(parser, 400);
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t len)
{
	struct request_parser *parser = parser_of(llhttp);

	if (parser->request.in_body || len == 0)
		return 0;
	return span_extend(&parser->value, parser->base, at, len) ? 0 : refuse(parser, 400);
}

/* RFC 9110 7.2 and RFC 3986 3.2: what a Host may be made of. Its value is not used: there is one site. */
static bool host_is_valid(const char *text, size_t len)
{
	size_t i = 0;

	if (len > 0 && text[0] == '[') {
		for (i = 1; i < len && is_in(CHAR_IP, text[i]); i++)
			;
		if (i == len || text[i++] != ']')
			return false;
	} else {
		while (i < len && is_in(CHAR_NAME, text[i]))
			i++;
	}
	if (i < len && text[i++] != ':')
		return false;
	for (; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return true;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
	struct request_parser *parser = parser_of(llhttp);
	struct request *request = &parser->request;
	const char *name = parser->base + parser->name.at;
	const char *value = parser->base + parser->value.at;
	struct span span = parser->value;

	if (request->in_body)
		return 0;
	if (parser->name.len == 0)
		return refuse(parser, 400);
	parser->line_end = (uint16_t)(parser->name.at + parser->name.len + 1);
	if (span.len > 0) {
		const char *at = parser->base + parser->line_end;

		while (*at == ' ' || *at == '\t')
			at++;
		if (at != value)
			return refuse(parser, 400); /* the value begins on a line of its own */
		parser->line_end = (uint16_t)(span.at + span.len);
	}
	while (span.len > 0 && (value[span.len - 1] == ' ' || value[span.len - 1] == '\t'))
		span.len--;

	switch (parser->name.len) {
	case 4:
		if (name_is(name, "host", 4)) {
			if (++request->hosts > 1 || !host_is_valid(value, span.len))
				return refuse(parser, 400);
		}
		break;
	case 6:
		if (name_is(name, "expect", 6)) {
			if (span.len == 12 && name_is(value, "100-continue", 12))
				request->expects_continue = true;
			else
				request->status = 417;
		}
		break;
	case 13:
		if (name_is(name, "if-none-match", 13)) {
			if (request->if_none_match.at)
				request->if_none_match_more = true;
			else
				request->if_none_match = span;
		}
		break;
	case 17:
		if (name_is(name, "if-modified-since", 17))
			request->if_modified_since = span;
		else if (name_is(name, "transfer-encoding", 17) && !(span.len == 7 && name_is(value, "chunked", 7)))
			parser->coding_unknown = true;
		break;
	}
	parser->name = (struct span){ 0 };
	parser->value = (struct span){ 0 };
	return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
	llhttp->upgrade = 0; /* Upgrade is ignored, as RFC 9110 7.8 allows; what follows is HTTP/1.1 */
	return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *llhttp)
{
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_url_complete = on_url_complete,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_message_complete = on_message_complete,
};

void request_begin(struct request_parser *parser, const struct limits *limits, const char *base)
{
	assert(limits->head <= REQUEST_HEAD_MAX && limits->request_line < limits->head);

	llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
	parser->llhttp.lenient_flags = LENIENT_VERSION; /* the version is judged below, with 505 */
	parser->llhttp.data = parser;
	parser->limits = limits;
	parser->base = base;
	parser->name = parser->value = (struct span){ 0 };
	parser->line_read = parser->method_unknown = parser->coding_unknown = false;
	parser->line_end = 0;
	parser->request = (struct request){ 0 };
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
	const char *at = parser->base, *limit = parser->base + parser->limits->request_line;

	parser->method_unknown = true;
	at = line_start(at, end);
	while (at < end && at < limit && is_in(CHAR_TOKEN, *at))
		at++;
	if (at == end && at < limit)
		return REQUEST_MORE;
	parser->request.status = at < limit && *at == ' ' ? 501 : 400;
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

/* The head is complete: what its lines mean together. False when the message cannot be framed. */
static bool head_is_sound(struct request_parser *parser)
{
	struct request *request = &parser->request;
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
	request->method = llhttp->method == HTTP_GET    ? METHOD_GET
	                  : llhttp->method == HTTP_HEAD ? METHOD_HEAD
	                                                : METHOD_OTHER;
	request->keep_alive = llhttp_should_keep_alive(llhttp);
	request->has_body = (llhttp->flags & (F_CHUNKED | F_TRANSFER_ENCODING)) || llhttp->content_length > 0;

	if (request->minor > 0 && request->hosts != 1) { /* RFC 9112 3.2 */
		request->status = 400;
		return false;
	}
	/* RFC 9112 6.1, 6.3: chunked comes last; and a recipient of HTTP/1.0 may have framed the message otherwise. */
	if ((llhttp->flags & F_TRANSFER_ENCODING) && (!(llhttp->flags & F_CHUNKED) || request->minor == 0)) {
		request->status = 400;
		return false;
	}
	if (parser->coding_unknown) { /* RFC 9112 6.1 */
		request->status = 501;
		return false;
	}
	if (request->has_body && !(llhttp->flags & F_CHUNKED) && llhttp->content_length > parser->limits->body) {
		request->status = 413;
		return false;
	}
	return true;
}

static enum request_progress read_body(struct request_parser *parser, const char *bytes, size_t len, size_t *used)
{
	struct request *request = &parser->request;
	uint64_t left = parser->limits->body - request->body_len;
	bool over = len > left;
	enum llhttp_errno error;

	error = llhttp_execute(&parser->llhttp, bytes, over ? left : len);
	if (error == HPE_PAUSED) {
		*used = (size_t)(llhttp_get_error_pos(&parser->llhttp) - bytes);
		request->body_len += *used;
		request->framed = true;
		return REQUEST_COMPLETE;
	}
	if (error != HPE_OK)
		return fail(parser, bytes + len);
	if (over) {
		request->status = 413;
		return REQUEST_FAILED;
	}
	request->body_len += len;
	*used = len;
	return REQUEST_MORE;
}

static enum request_progress head_complete(struct request_parser *parser, const char *bytes, size_t len, size_t *used)
{
	struct request *request = &parser->request;
	const char *end = llhttp_get_error_pos(&parser->llhttp);

	*used = (size_t)(end - bytes);
	request->head_len = (uint32_t)(end - parser->base);
	if (!head_is_sound(parser))
		return REQUEST_FAILED;
	if (!request->has_body) {
		request->framed = true;
		return REQUEST_COMPLETE;
	}
	if ((request->expects_continue && request->minor > 0) || request->status == 417) {
		/* The final answer at once, without the body; whether the client still sends it cannot be known. */
		request->framed = false;
		return REQUEST_COMPLETE;
	}

	request->in_body = true;
	llhttp_resume(&parser->llhttp);
	if (*used == len)
		return REQUEST_MORE;
	{
		size_t body_used = 0;
		enum request_progress progress = read_body(parser, end, len - *used, &body_used);

		*used += body_used;
		return progress;
	}
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
