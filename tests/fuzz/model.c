/*
 * model.c - see model.h.
 */
#include "model.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* Bytes that are being read. What cannot be read leaves ok false, for good. */
struct text {
	const uint8_t *at, *end;
	bool ok;
};

static bool is_token(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_text(uint8_t c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

static bool is_space(uint8_t c)
{
	return c == '\t' || c == ' ';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_graph(uint8_t c)
{
	return c > ' ' && c < 0x7f;
}

static size_t take_while(struct text *text, bool is(uint8_t))
{
	const uint8_t *begin = text->at;

	while (text->at < text->end && is(*text->at))
		text->at++;
	return (size_t)(text->at - begin);
}

static bool take(struct text *text, const char *literal)
{
	size_t len = strlen(literal);

	text->ok = text->ok && (size_t)(text->end - text->at) >= len && memcmp(text->at, literal, len) == 0;
	if (text->ok)
		text->at += len;
	return text->ok;
}

/* Passes over CR LF; MODEL_END when they are there. */
static enum model_progress line_end(const uint8_t *bytes, size_t len, size_t *at)
{
	for (unsigned i = 0; i < 2; i++) {
		if (*at == len)
			return MODEL_MORE;
		if (bytes[(*at)++] != "\r\n"[i])
			return MODEL_BAD;
	}
	return MODEL_END;
}

static enum model_progress chunk_line(const uint8_t *bytes, size_t len, size_t *at, size_t size_max, size_t *size)
{
	size_t begin = *at;

	for (*size = 0; *at < len; (*at)++) {
		const char *digits = "0123456789abcdef0123456789ABCDEF", *digit = strchr(digits, bytes[*at]);

		if (!digit || bytes[*at] == 0)
			break;
		*size = *size * 16 + (size_t)(digit - digits) % 16;
		if (*size > size_max)
			return MODEL_TOO_LARGE;
	}
	if (*at == len)
		return MODEL_MORE;
	if (*at == begin)
		return MODEL_BAD;
	begin = *at;
	while (*at < len && is_space(bytes[*at]))
		(*at)++;
	if (*at == len)
		return MODEL_MORE;
	if (bytes[*at] == ';')
		while (*at < len && is_text(bytes[*at]))
			(*at)++;
	else if (*at > begin)
		return MODEL_BAD;
	return line_end(bytes, len, at);
}

static enum model_progress trailers(const uint8_t *bytes, size_t len, size_t *at)
{
	while (*at < len && bytes[*at] != '\r') {
		enum model_progress end;
		size_t begin = *at;

		while (*at < len && is_token(bytes[*at]))
			(*at)++;
		if (*at == len)
			return MODEL_MORE;
		if (*at == begin || bytes[*at] != ':')
			return MODEL_BAD;
		(*at)++;
		while (*at < len && is_text(bytes[*at]))
			(*at)++;
		end = line_end(bytes, len, at);
		if (end != MODEL_END)
			return end;
	}
	return line_end(bytes, len, at);
}

enum model_progress model_chunked(const uint8_t *bytes, size_t len, size_t size_max, size_t *used)
{
	enum model_progress progress;
	size_t at = 0, size;

	for (;;) {
		progress = chunk_line(bytes, len, &at, size_max, &size);
		if (progress != MODEL_END)
			return progress;
		if (size == 0)
			break;
		if (len - at < size)
			return MODEL_MORE;
		at += size;
		progress = line_end(bytes, len, &at);
		if (progress != MODEL_END)
			return progress;
	}
	progress = trailers(bytes, len, &at);
	*used = at;
	return progress;
}

/* What the field lines say, all together. */
struct fields {
	unsigned n, hosts, lengths, codings, chunked;
	uint64_t length;
	bool transfer_encoding, close, keep_alive, expects_continue, expects_other;
	bool bad;
};

static bool name_is(const uint8_t *name, size_t len, const char *expected)
{
	return len == strlen(expected) && strncasecmp((const char *)name, expected, len) == 0;
}

static bool is_letter(uint8_t c)
{
	return (c | 32) >= 'a' && (c | 32) <= 'z';
}

static bool is_hex(uint8_t c)
{
	return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

/* Of a reg-name, percent-encodings aside (RFC 3986 3.2.2). */
static bool is_name(uint8_t c)
{
	return is_digit(c) || is_letter(c) || (c && strchr("-._~!$&'()*+,;=", c));
}

static bool is_future(uint8_t c)
{
	return is_name(c) || c == ':';
}

/* What stands between brackets: for IPv6 the C library knows the grammar. */
static bool is_ip_literal(const uint8_t *bytes, size_t len)
{
	struct text text = { .at = bytes + 1, .end = bytes + len, .ok = true };
	char address[64] = "";
	struct in6_addr ignored;

	if (len > 0 && (bytes[0] | 32) == 'v')
		return take_while(&text, is_hex) > 0 && take(&text, ".") && take_while(&text, is_future) > 0 &&
		       text.at == text.end;
	if (len >= sizeof(address) || memchr(bytes, 0, len))
		return false;
	memcpy(address, bytes, len);
	return inet_pton(AF_INET6, address, &ignored) == 1;
}

bool model_authority(const uint8_t *bytes, size_t len, size_t *host_len, bool *has_port)
{
	struct text text = { .at = bytes, .end = bytes + len, .ok = true };

	if (len > 0 && bytes[0] == '[') {
		const uint8_t *close = memchr(bytes, ']', len);

		if (!close || !is_ip_literal(bytes + 1, (size_t)(close - bytes - 1)))
			return false;
		text.at = close + 1;
	} else {
		do
			take_while(&text, is_name);
		while (text.end - text.at >= 3 && text.at[0] == '%' && is_hex(text.at[1]) && is_hex(text.at[2]) &&
		       (text.at += 3));
	}
	*host_len = (size_t)(text.at - bytes);
	*has_port = false;
	if (text.at == text.end)
		return true;
	if (!take(&text, ":"))
		return false;
	*has_port = take_while(&text, is_digit) > 0;
	return text.at == text.end;
}

static void read_member(struct fields *fields, const char *name, const uint8_t *member, size_t len)
{
	switch (name[0]) {
	case 'c': /* connection */
		fields->close |= name_is(member, len, "close");
		fields->keep_alive |= name_is(member, len, "keep-alive");
		break;
	case 'e': /* expect */
		if (name_is(member, len, "100-continue"))
			fields->expects_continue = true;
		else
			fields->expects_other = true;
		break;
	default: /* transfer-encoding */
		fields->codings++;
		fields->chunked += name_is(member, len, "chunked");
	}
}

static void read_list(struct fields *fields, const char *name, const uint8_t *value, size_t len)
{
	for (size_t at = 0, end; at <= len; at = end + 1) {
		size_t begin = at, last;

		for (end = at; end < len && value[end] != ','; end++)
			;
		while (begin < end && is_space(value[begin]))
			begin++;
		for (last = end; last > begin && is_space(value[last - 1]); last--)
			;
		if (last > begin)
			read_member(fields, name, value + begin, last - begin);
	}
}

static void read_length(struct fields *fields, const uint8_t *value, size_t len)
{
	fields->bad |= fields->lengths++ > 0 || len == 0;
	for (size_t i = 0; i < len; i++) {
		fields->bad |= !is_digit(value[i]);
		fields->bad |= __builtin_mul_overflow(fields->length, 10, &fields->length);
		fields->bad |= __builtin_add_overflow(fields->length, (unsigned)(value[i] - '0'), &fields->length);
	}
}

static void read_field(struct fields *fields, const uint8_t *name, size_t name_len, const uint8_t *value, size_t len)
{
	size_t host_len;
	bool has_port;

	fields->n++;
	if (name_is(name, name_len, "host")) {
		fields->hosts++;
		fields->bad |= !model_authority(value, len, &host_len, &has_port);
	} else if (name_is(name, name_len, "content-length")) {
		read_length(fields, value, len);
	} else if (name_is(name, name_len, "transfer-encoding")) {
		fields->transfer_encoding = true;
		read_list(fields, "transfer-encoding", value, len);
	} else if (name_is(name, name_len, "connection")) {
		read_list(fields, "connection", value, len);
	} else if (name_is(name, name_len, "expect")) {
		read_list(fields, "expect", value, len);
	}
}

static void read_fields(struct text *text, struct fields *fields)
{
	while (text->ok && text->at < text->end && *text->at != '\r') {
		const uint8_t *name = text->at, *value;
		size_t name_len = take_while(text, is_token), len;

		text->ok = name_len > 0;
		if (!take(text, ":"))
			return;
		take_while(text, is_space);
		value = text->at;
		len = take_while(text, is_text);
		while (len > 0 && is_space(value[len - 1]))
			len--;
		if (take(text, "\r\n"))
			read_field(fields, name, name_len, value, len);
	}
	take(text, "\r\n");
}

/* Those of RFC 9110, and of the registry (RFC 9110 16.1.1) that llhttp knows: any other is 501. */
static bool is_known(const struct model_request *request)
{
	static const char *const names[] = {
		"GET",         "HEAD",       "OPTIONS",    "CONNECT", "POST",     "PUT",    "DELETE",
		"TRACE",       "PATCH",      "COPY",       "LOCK",    "MKCOL",    "MOVE",   "PROPFIND",
		"PROPPATCH",   "SEARCH",     "UNLOCK",     "BIND",    "REBIND",   "UNBIND", "ACL",
		"REPORT",      "MKACTIVITY", "CHECKOUT",   "MERGE",   "M-SEARCH", "NOTIFY", "SUBSCRIBE",
		"UNSUBSCRIBE", "PURGE",      "MKCALENDAR", "LINK",    "UNLINK",   "SOURCE",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (model_method_is(request, names[i]))
			return true;
	return false;
}

/* RFC 9112 6: where the request ends. False when that cannot be known, or when it is not there yet. */
static bool find_end(struct model_request *request, const struct fields *fields, const uint8_t *body, size_t left,
                     const struct limits *limits)
{
	bool has_body = fields->transfer_encoding || fields->length > 0;
	size_t used = 0;

	if (fields->transfer_encoding &&
	    (request->minor == 0 || fields->lengths > 0 || fields->codings != 1 || fields->chunked != 1))
		return false;
	if (fields->length > limits->body)
		return false;
	request->len = request->head_len;
	request->framed = !has_body && !model_method_is(request, "CONNECT");
	/* A body that nobody asked for: whether it comes is not known. */
	if (!has_body || model_method_is(request, "CONNECT") || request->status ||
	    (fields->expects_continue && request->minor > 0))
		return true;
	request->framed = true;
	if (!fields->transfer_encoding) {
		request->len += fields->length;
		return left >= fields->length;
	}
	if (model_chunked(body, left, limits->body, &used) != MODEL_END || used > limits->body)
		return false;
	request->len += used;
	return true;
}

bool model_method_is(const struct model_request *request, const char *method)
{
	return request->method_len == strlen(method) && memcmp(request->method, method, request->method_len) == 0;
}

bool model_target_is_plain(const struct model_request *request)
{
	return request->target[0] == '/' && !model_method_is(request, "CONNECT");
}

size_t model_empty_line(const uint8_t *bytes, size_t len)
{
	return len >= 2 && memcmp(bytes, "\r\n", 2) == 0 ? 2 : 0;
}

bool model_request(const uint8_t *bytes, size_t len, const struct limits *limits, struct model_request *request)
{
	struct text text = { .at = bytes, .end = bytes + len, .ok = true };
	struct fields fields = { 0 };

	*request = (struct model_request){ 0 };
	request->method = text.at;
	request->method_len = take_while(&text, is_token);
	take(&text, " ");
	request->target = text.at;
	request->target_len = take_while(&text, is_graph);
	if (!take(&text, " ") || !is_known(request) || request->target_len == 0 ||
	    (size_t)(text.at - bytes) > limits->request_line)
		return false;
	if (!take(&text, "HTTP/1.") || text.at == text.end || !is_digit(*text.at))
		return false;
	request->minor = (unsigned)(*text.at++ - '0');
	if (!take(&text, "\r\n"))
		return false;
	read_fields(&text, &fields);
	request->head_len = (size_t)(text.at - bytes);
	request->fields = fields.n;
	if (!text.ok || fields.bad || request->head_len > limits->head || fields.n > limits->fields)
		return false;
	if (fields.hosts > 1 || (fields.hosts == 0 && request->minor > 0))
		return false;
	request->keep_alive = !fields.close && (request->minor > 0 || fields.keep_alive);
	request->status = fields.expects_other ? 417 : 0;
	return find_end(request, &fields, text.at, (size_t)(text.end - text.at), limits);
}
