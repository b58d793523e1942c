/*
 * fuzz_condition.c - conditional requests (condition.h), and the field lines that they are made of
 * (request_next_line()). The input is a field section, without the empty line that ends it; what request.h does not
 * accept is left alone.
 *
 * What must hold: the judgement on representations with and without validators is that of a second reading (RFC 9110
 * 13, docs/http.md), which finds the field lines by itself.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "loom/condition.h"
#include "loom/date.h"

#define LINES_MAX 100
#define NOW       1763979000

static const struct limits limits = { .request_line = 200, .head = REQUEST_HEAD_MAX, .fields = LINES_MAX };

static const char request_line[] = "GET / HTTP/1.0\r\n";

/* One with everything, and some that lack something. */
static const struct representation representations[] = {
	{ .etag_len = ETAG_LEN, .etag = "\"0123456789abcdefghijkl\"", .last_modified = 784111777 },
	{ .etag_len = ETAG_LEN, .etag = "\"0123456789abcdefghijkl\"" },
	{ .etag_len = ETAG_LEN, .etag = "\"0123456789abcdefghijkl\"", .last_modified = 784111777, .varies = true },
	{ .etag_len = 4, .etag = "\"ab\"", .last_modified = 784111777 },
	{ .last_modified = 784111777 },
	{ .status = 200 },
};

/* A field line's value, white space around it aside. */
struct line {
	const char *value;
	size_t len;
};

/* The lines of one name, in an accepted head. */
struct lines {
	struct line line[LINES_MAX];
	unsigned n;
};

static void find_lines(struct lines *lines, const char *head, size_t len, const char *name)
{
	const char *end = head + len, *at = memmem(head, len, "\r\n", 2);

	lines->n = 0;
	for (at += 2; at < end; at = (const char *)memmem(at, (size_t)(end - at), "\r\n", 2) + 2) {
		const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2), *colon;

		if (line_end == at)
			break;
		colon = memchr(at, ':', (size_t)(line_end - at));
		fuzz_require(colon, "an accepted field line without a colon");
		if ((size_t)(colon - at) != strlen(name) || strncasecmp(at, name, strlen(name)) != 0)
			continue;
		do
			colon++;
		while (colon < line_end && (*colon == ' ' || *colon == '\t'));
		while (line_end > colon && (line_end[-1] == ' ' || line_end[-1] == '\t'))
			line_end--;
		lines->line[lines->n++] = (struct line){ colon, (size_t)(line_end - colon) };
	}
}

/* The length of an entity-tag at the beginning, or 0. */
static size_t etag_length(const char *text, size_t len, bool *weak)
{
	size_t at = 0;

	*weak = len >= 2 && memcmp(text, "W/", 2) == 0;
	if (*weak)
		at = 2;
	if (at == len || text[at++] != '"')
		return 0;
	for (; at < len && text[at] != '"'; at++)
		if ((unsigned char)text[at] <= ' ' || text[at] == 0x7f)
			return 0;
	return at < len ? at + 1 : 0;
}

static bool is_tag_of(const struct representation *of, const char *text, size_t len, bool weak)
{
	size_t skip = weak ? 2 : 0;

	return len - skip == of->etag_len && memcmp(text + skip, of->etag, of->etag_len) == 0;
}

static bool model_names(const struct lines *lines, const struct representation *of, bool strong)
{
	for (unsigned i = 0; i < lines->n; i++) {
		const char *text = lines->line[i].value, *end = text + lines->line[i].len;

		if (lines->line[i].len == 1 && *text == '*')
			return true;
		for (;;) {
			const char *after;
			size_t len;
			bool weak;

			while (text < end && (*text == ',' || *text == ' ' || *text == '\t'))
				text++;
			len = etag_length(text, (size_t)(end - text), &weak);
			if (len > 0 && is_tag_of(of, text, len, weak) && !(weak && strong))
				return true;
			for (after = text + len; after < end && (*after == ' ' || *after == '\t'); after++)
				;
			if (len == 0 || (after < end && *after != ','))
				break; /* malformed from here on */
			text = after;
		}
	}
	return false;
}

/* What a date field says, where it counts. */
static bool model_date(const struct lines *lines, time_t *date)
{
	return lines->n == 1 && http_date_parse(lines->line[0].value, lines->line[0].len, NOW, date);
}

static enum condition model_judge(const char *head, size_t len, const struct representation *of)
{
	struct lines match, none, since, not_since;
	time_t date;

	find_lines(&match, head, len, "If-Match");
	find_lines(&none, head, len, "If-None-Match");
	find_lines(&since, head, len, "If-Modified-Since");
	find_lines(&not_since, head, len, "If-Unmodified-Since");
	if (match.n > 0 && !model_names(&match, of, true))
		return CONDITION_FAILED;
	if (match.n == 0 && of->last_modified && model_date(&not_since, &date) && of->last_modified > date)
		return CONDITION_FAILED;
	if (none.n > 0 && model_names(&none, of, false))
		return CONDITION_NOT_MODIFIED;
	if (none.n == 0 && of->last_modified && model_date(&since, &date) && of->last_modified <= date)
		return CONDITION_NOT_MODIFIED;
	return CONDITION_NONE;
}

static bool model_if_range(const char *head, size_t len, const struct representation *of)
{
	const struct line *line;
	struct lines lines;
	time_t date;
	bool weak;

	find_lines(&lines, head, len, "If-Range");
	if (lines.n != 1)
		return lines.n == 0;
	line = &lines.line[0];
	if (etag_length(line->value, line->len, &weak) == line->len && line->len > 0)
		return !weak && is_tag_of(of, line->value, line->len, weak);
	return of->last_modified && !of->varies && model_date(&lines, &date) && date == of->last_modified;
}

/* request_next_line() finds every line, and no other. */
static void check_lines(const struct request *request, const char *head, enum request_field field, const char *name)
{
	struct lines lines;
	struct span span = request->field[field];

	find_lines(&lines, head, request->head_len, name);
	fuzz_require(request_has(request, field) == (lines.n > 0), "%s: there, or not there", name);
	fuzz_require(request_repeats(request, field) == (lines.n > 1), "%s: once, or more often", name);
	for (unsigned i = 0; i < lines.n; i++) {
		fuzz_require(i == 0 || request_next_line(request, field, head, &span), "%s: line %u is lost", name, i);
		fuzz_require(span.len == lines.line[i].len &&
		                     memcmp(head + span.at, lines.line[i].value, span.len) == 0,
		             "%s: line %u is %s instead of %s", name, i, fuzz_text(head + span.at, span.len),
		             fuzz_text(lines.line[i].value, lines.line[i].len));
	}
	fuzz_require(lines.n == 0 || !request_next_line(request, field, head, &span), "%s: a line too many", name);
}

static void check(const struct request *request, const char *head)
{
	static const char *const names[REQUEST_FIELDS] = {
		"Accept-Encoding",     "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
		"If-Unmodified-Since", "Range",
	};

	for (unsigned i = 0; i < REQUEST_FIELDS; i++)
		check_lines(request, head, i, names[i]);
	for (size_t i = 0; i < sizeof(representations) / sizeof(representations[0]); i++) {
		const struct representation *of = &representations[i];
		enum condition condition = condition_judge(request, head, of, false, NOW);
		enum condition expected = model_judge(head, request->head_len, of);
		bool part = condition_if_range(request, head, of, NOW);

		fuzz_require(condition == expected, "representation %zu: judged %d instead of %d", i, condition,
		             expected);
		fuzz_require(part == model_if_range(head, request->head_len, of), "representation %zu: If-Range is %d",
		             i, part);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request_parser parser;
	size_t line_len = sizeof(request_line) - 1, used;
	char *head;

	if (size > 4096)
		return 0;
	head = fuzz_memory(line_len + size + 4);
	memcpy(head, request_line, line_len);
	memcpy(head + line_len, data, size);
	memcpy(head + line_len + size, "\r\n\r\n", 4);
	request_begin(&parser, &limits, head);
	/* One empty line will do when the input has no field line, or brings the end of the last. */
	used = 0;
	if (request_read(&parser, head, line_len + size + (size > 0 ? 4 : 2), &used) == REQUEST_COMPLETE &&
	    parser.request.status == 0) {
		/* Nothing behind the head is there to be read. */
		char *exact = fuzz_copy(head, parser.request.head_len);

		check(&parser.request, exact);
		free(exact);
	}
	free(head);
	return 0;
}
