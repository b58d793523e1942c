/*
 * request_fields.c - what the field lines of a request mean, to the letter and all lines of a name together. Pure. llhttp has
 * found where a line's name and value begin and end; nothing else of it is relied on here.
 */
#include "request_fields.h"

#include <string.h>

#include "loom/authority.h"
#include "loom/chars.h"

/*
 * The next member of a comma-separated list (RFC 9110 5.6.1), white space around it aside; empty ones are passed over.
 * False at the end.
 */
static bool next_member(const char **at, const char *end, const char **member, size_t *len)
{
	const char *last;

	while (*at < end && (chars_is_space(**at) || **at == ','))
		(*at)++;
	if (*at == end)
		return false;
	*member = *at;
	while (*at < end && **at != ',')
		(*at)++;
	for (last = *at; chars_is_space(last[-1]); last--)
		;
	*len = (size_t)(last - *member);
	return true;
}

/* Once, and valid (RFC 9112 3.2). Its value is not used. */
static bool read_host(struct request_parser *parser, const char *value, size_t len)
{
	size_t host_len;
	bool has_port;

	return parser->request.hosts++ == 0 && authority_parse(value, len, &host_len, &has_port);
}

/* RFC 9110 7.6.1. */
static void read_connection(struct request_lines *lines, const char *value, size_t value_len)
{
	const char *at = value, *option;
	size_t len;

	while (next_member(&at, value + value_len, &option, &len)) {
		if (len == 5 && chars_equal(option, "close", 5))
			lines->connection_close = true;
		else if (len == 10 && chars_equal(option, "keep-alive", 10))
			lines->connection_keep_alive = true;
	}
}

/* RFC 9110 10.1.1. */
static void read_expect(struct request_lines *lines, const char *value, size_t value_len)
{
	const char *at = value, *expectation;
	size_t len;

	while (next_member(&at, value + value_len, &expectation, &len)) {
		if (len == 12 && chars_equal(expectation, "100-continue", 12))
			lines->expects_continue = true;
		else
			lines->expects_other = true;
	}
}

/* RFC 9112 6.1, 7: chunked is said once, last, and without parameters. */
static void read_transfer_encoding(struct request_lines *lines, const char *value, size_t value_len)
{
	const char *at = value, *coding;
	size_t len;

	lines->has_coding = true;
	while (next_member(&at, value + value_len, &coding, &len)) {
		if (lines->chunked)
			lines->coding_bad = true; /* something behind it */
		if (len == 7 && chars_equal(coding, "chunked", 7))
			lines->chunked = true;
		else if (len > 7 && chars_equal(coding, "chunked", 7) && !chars_in(CHARS_TOKEN, coding[7]))
			lines->coding_bad = true;
		else
			lines->coding_unknown = true;
	}
}

/* Digits, once (RFC 9112 6.3). A number that is too large for us to hold is too large for the limit as well. */
static bool read_content_length(struct request_parser *parser, const char *value, size_t len)
{
	bool again = parser->lines.has_length;

	parser->lines.has_length = true;
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return false;
		if (__builtin_mul_overflow(parser->length, 10, &parser->length) ||
		    __builtin_add_overflow(parser->length, (unsigned)(value[i] - '0'), &parser->length))
			parser->length = UINT64_MAX / 16; /* whatever digits follow: above every limit */
	}
	return len > 0 && !again;
}

static unsigned keep_field(struct request *request, enum request_field field, struct span value)
{
	if (request->present & 1 << field) {
		request->repeated |= (uint8_t)(1 << field);
	} else {
		request->present |= (uint8_t)(1 << field);
		request->field[field] = value;
	}
	return 0;
}

/* For the access log. */
static unsigned note_field(struct span *noted, struct span value)
{
	if (noted->at == 0)
		*noted = value;
	return 0;
}

unsigned request_read_field(struct request_parser *parser, const char *name, size_t name_len, const char *value,
                            struct span span)
{
	struct request *request = &parser->request;

	switch (name_len) {
	case 4:
		if (chars_equal(name, "host", 4) && !read_host(parser, value, span.len))
			return 400;
		break;
	case 5:
		if (chars_equal(name, "range", 5))
			return keep_field(request, FIELD_RANGE, span);
		break;
	case 6:
		if (chars_equal(name, "expect", 6))
			read_expect(&parser->lines, value, span.len);
		break;
	case 7:
		if (chars_equal(name, "refe", 4) && chars_equal(name + 3, "erer", 4)) /* four bytes at once are cheap */
			return note_field(&request->referer, span);
		break;
	case 8:
		if (chars_equal(name, "if-match", 8))
			return keep_field(request, FIELD_IF_MATCH, span);
		if (chars_equal(name, "if-range", 8))
			return keep_field(request, FIELD_IF_RANGE, span);
		break;
	case 10:
		if (chars_equal(name, "user", 4) && chars_equal(name + 4, "-age", 4) &&
		    chars_equal(name + 6, "gent", 4))
			return note_field(&request->agent, span);
		if (chars_equal(name, "connection", 10))
			read_connection(&parser->lines, value, span.len);
		break;
	case 13:
		if (chars_equal(name, "if-none-match", 13))
			return keep_field(request, FIELD_IF_NONE_MATCH, span);
		break;
	case 14:
		if (chars_equal(name, "content-length", 14) && !read_content_length(parser, value, span.len))
			return 400;
		break;
	case 15:
		if (chars_equal(name, "accept-encoding", 15))
			return keep_field(request, FIELD_ACCEPT_ENCODING, span);
		break;
	case 17:
		if (chars_equal(name, "if-modified-since", 17))
			return keep_field(request, FIELD_IF_MODIFIED_SINCE, span);
		if (chars_equal(name, "transfer-encoding", 17))
			read_transfer_encoding(&parser->lines, value, span.len);
		break;
	case 19:
		if (chars_equal(name, "if-unmodified-since", 19))
			return keep_field(request, FIELD_IF_UNMODIFIED_SINCE, span);
		break;
	}
	return 0;
}

/* The names of enum request_field, in lower case. */
static const char *const field_names[REQUEST_FIELDS] = {
	[FIELD_ACCEPT_ENCODING] = "accept-encoding",
	[FIELD_IF_MATCH] = "if-match",
	[FIELD_IF_MODIFIED_SINCE] = "if-modified-since",
	[FIELD_IF_NONE_MATCH] = "if-none-match",
	[FIELD_IF_RANGE] = "if-range",
	[FIELD_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
	[FIELD_RANGE] = "range",
};

/* The head has been read once and found sound: every line has a colon and ends with CRLF. */
bool request_next_line(const struct request *request, enum request_field field, const char *head, struct span *value)
{
	const char *name = field_names[field], *at = head + value->at + value->len, *end = head + request->head_len;
	size_t name_len = strlen(name);

	while ((at = memchr(at, '\n', (size_t)(end - at)))) {
		at++;
		if ((size_t)(end - at) <= name_len)
			return false;
		if (at[name_len] == ':' && chars_equal(at, name, name_len)) {
			const char *begin = chars_skip_space(at + name_len + 1, end);
			const char *last = memchr(begin, '\r', (size_t)(end - begin));

			while (last > begin && chars_is_space(last[-1]))
				last--;
			*value = (struct span){ (uint16_t)(begin - head), (uint16_t)(last - begin) };
			return true;
		}
	}
	return false;
}

void request_wishes(const struct request *request, const char *head, struct coding_wishes *wishes)
{
	struct span line = request->field[FIELD_ACCEPT_ENCODING];
	struct coding_list list;

	coding_list_begin(&list, wishes);
	do
		coding_list_line(&list, head + line.at, line.len);
	while (request_repeats(request, FIELD_ACCEPT_ENCODING) &&
	       request_next_line(request, FIELD_ACCEPT_ENCODING, head, &line));
	coding_list_end(&list);
}
