/*
 * metrics_request.c - see metrics_request.h. The metrics' thread; pure.
 */
#include "metrics_request.h"

#include <string.h>
#include <strings.h>

#define TARGET "/metrics"

/* Bytes [at, end). */
struct piece {
	const char *at, *end;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static struct piece trimmed(const char *at, const char *end)
{
	while (at < end && is_space(*at))
		at++;
	while (end > at && is_space(end[-1]))
		end--;
	return (struct piece){ at, end };
}

/* The next of a list with separators in between, quoted strings kept whole. *at: NULL when there is no more. */
static bool next_of(const char **at, const char *end, char separator, struct piece *piece)
{
	const char *begin = *at, *stop = begin;
	bool quoted = false;

	if (!begin)
		return false;
	for (; stop < end && (quoted || *stop != separator); stop++) {
		if (*stop == '"')
			quoted = !quoted;
		else if (quoted && *stop == '\\' && stop + 1 < end)
			stop++;
	}
	*piece = trimmed(begin, stop);
	*at = stop < end ? stop + 1 : NULL;
	return true;
}

static bool equals(struct piece piece, const char *text)
{
	return (size_t)(piece.end - piece.at) == strlen(text) && strncasecmp(piece.at, text, strlen(text)) == 0;
}

/* The weight in thousandths (RFC 9110 12.4.2); what is no weight counts as none. */
static unsigned weight(struct piece value)
{
	unsigned weight = 0, digit = 100;
	const char *at = value.at;

	if (at == value.end || (*at != '0' && *at != '1'))
		return 0;
	weight = *at++ == '1' ? 1000 : 0;
	if (at < value.end && *at++ != '.')
		return 0;
	for (; at < value.end && *at >= '0' && *at <= '9' && digit > 0; at++, digit /= 10)
		weight += (unsigned)(*at - '0') * digit;
	return at < value.end || weight > 1000 ? 0 : weight;
}

/* One media range (RFC 9110 12.5.1): its weight, and whether a version is asked for that is not ours. */
static void read_range(struct piece range, unsigned *openmetrics, unsigned *text)
{
	const char *at = range.at;
	struct piece type = { 0 }, parameter;
	bool other_version = false;
	unsigned q = 1000;

	next_of(&at, range.end, ';', &type);
	while (next_of(&at, range.end, ';', &parameter)) {
		const char *value = parameter.at;
		struct piece name;

		next_of(&value, parameter.end, '=', &name);
		if (!value)
			continue;
		if (equals(name, "q"))
			q = weight(trimmed(value, parameter.end));
		else if (equals(name, "version") && equals(type, "application/openmetrics-text"))
			other_version = !equals(trimmed(value, parameter.end), "1.0.0");
	}
	if (equals(type, "application/openmetrics-text")) {
		if (!other_version && q > *openmetrics)
			*openmetrics = q;
	} else if (equals(type, "text/plain") || equals(type, "text/*")) {
		if (q > *text)
			*text = q;
	}
}

enum metrics_format metrics_accept(const char *accept, size_t len)
{
	const char *at = len > 0 ? accept : NULL;
	unsigned openmetrics = 0, text = 0;
	struct piece range;

	while (next_of(&at, accept + len, ',', &range))
		read_range(range, &openmetrics, &text);
	return openmetrics > 0 && openmetrics >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

/* Takes a line off [*at, end), without its end; false: there is none that is whole. */
static bool next_line(const char **at, const char *end, struct piece *line)
{
	const char *feed = memchr(*at, '\n', (size_t)(end - *at));

	if (!feed)
		return false;
	*line = (struct piece){ *at, feed > *at && feed[-1] == '\r' ? feed - 1 : feed };
	*at = feed + 1;
	return true;
}

/* "GET /metrics HTTP/1.1", and nothing that is nearly that. */
static unsigned read_request_line(struct piece line, struct metrics_request *request)
{
	const char *space = memchr(line.at, ' ', (size_t)(line.end - line.at)), *second, *query;
	struct piece method, target, version;

	second = space ? memchr(space + 1, ' ', (size_t)(line.end - space - 1)) : NULL;
	if (!second || space == line.at || second == space + 1)
		return 400;
	method = (struct piece){ line.at, space };
	target = (struct piece){ space + 1, second };
	version = (struct piece){ second + 1, line.end };
	if (version.end - version.at != 8 || memcmp(version.at, "HTTP/1.", 7) != 0 || version.at[7] < '0' ||
	    version.at[7] > '9')
		return 400;
	query = memchr(target.at, '?', (size_t)(target.end - target.at));
	if (query)
		target.end = query;
	if ((size_t)(target.end - target.at) != strlen(TARGET) || memcmp(target.at, TARGET, strlen(TARGET)) != 0)
		return 404;
	request->head = method.end - method.at == 4 && memcmp(method.at, "HEAD", 4) == 0;
	return request->head || (method.end - method.at == 3 && memcmp(method.at, "GET", 3) == 0) ? 200 : 405;
}

bool metrics_request_read(const char *bytes, size_t len, struct metrics_request *request)
{
	const char *at = bytes, *end = bytes + len;
	char accept[METRICS_HEAD_MAX];
	struct piece line;
	size_t used = 0;

	*request = (struct metrics_request){ .format = METRICS_TEXT };
	if (next_line(&at, end, &line))
		request->status = read_request_line(line, request);
	while (next_line(&at, end, &line)) {
		const char *colon = memchr(line.at, ':', (size_t)(line.end - line.at));
		struct piece value;

		if (line.at == line.end) {
			request->format = metrics_accept(accept, used);
			return true;
		}
		if (!colon || colon == line.at) {
			request->status = 400;
			continue;
		}
		if (!equals((struct piece){ line.at, colon }, "accept"))
			continue;
		/* Several lines are one list. All of them are in the head, so they fit, commas in the place of names. */
		value = trimmed(colon + 1, line.end);
		if (used > 0)
			accept[used++] = ',';
		memcpy(accept + used, value.at, (size_t)(value.end - value.at));
		used += (size_t)(value.end - value.at);
	}
	if (len < METRICS_HEAD_MAX)
		return false;
	request->status = 431;
	return true;
}
