/*
 * condition.c - see condition.h. Where a field is malformed the doubt goes towards sending: an answer too many is right, a
 * 304 too many is not.
 */
#include "loom/condition.h"

#include <string.h>

#include "loom/chars.h"
#include "loom/date.h"

/*
 * One entity-tag (RFC 9110 8.8.3) at the beginning of the text: its end, or NULL. *tag: its quotes included, without W/.
 */
static const char *read_etag(const char *text, const char *end, const char **tag, bool *weak)
{
	*weak = end - text > 2 && text[0] == 'W' && text[1] == '/';
	if (*weak)
		text += 2;
	if (text == end || *text != '"')
		return NULL;
	*tag = text++;
	while (text < end && chars_in(CHARS_ETAG, *text))
		text++;
	return text < end && *text == '"' ? text + 1 : NULL;
}

static bool same_etag(const struct representation *representation, const char *tag, const char *end)
{
	return (size_t)(end - tag) == representation->etag_len &&
	       memcmp(tag, representation->etag, representation->etag_len) == 0;
}

/* Whether one field line names the tag. What is no entity-tag ends the list. */
static bool line_names(const char *text, size_t len, const struct representation *representation, bool strong)
{
	const char *end = text + len;

	if (len == 1 && *text == '*')
		return true;
	for (;;) {
		const char *tag, *tag_end;
		bool weak;

		while (text < end && (chars_is_space(*text) || *text == ','))
			text++;
		tag_end = read_etag(text, end, &tag, &weak);
		if (!tag_end)
			return false;
		if (!(weak && strong) && same_etag(representation, tag, tag_end))
			return true;
		text = chars_skip_space(tag_end, end);
		if (text < end && *text != ',')
			return false;
	}
}

/* If-Match or If-None-Match, all its lines together. */
static bool list_names(const struct request *request, enum request_field field, const char *head,
                       const struct representation *representation, bool strong)
{
	struct span line = request->field[field];

	do {
		if (line_names(head + line.at, line.len, representation, strong))
			return true;
	} while (request_repeats(request, field) && request_next_line(request, field, head, &line));
	return false;
}

/* A date that stands once and is one. */
static bool read_date(const struct request *request, enum request_field field, const char *head, time_t now,
                      time_t *date)
{
	struct span span = request->field[field];

	return request_has(request, field) && !request_repeats(request, field) &&
	       http_date_parse(head + span.at, span.len, now, date);
}

/* Whether a content of the date modified is another than one that the client has, or knows of, with its date. */
static bool is_later(time_t modified, time_t date, bool exact)
{
	return exact ? modified != date : modified > date;
}

enum condition condition_judge(const struct request *request, const char *head,
                               const struct representation *representation, bool exact, time_t now)
{
	time_t date, modified = representation->last_modified;

	if (request_has(request, FIELD_IF_MATCH)) {
		if (!list_names(request, FIELD_IF_MATCH, head, representation, true))
			return CONDITION_FAILED;
	} else if (modified && read_date(request, FIELD_IF_UNMODIFIED_SINCE, head, now, &date) &&
	           is_later(modified, date, exact)) {
		return CONDITION_FAILED;
	}
	if (request_has(request, FIELD_IF_NONE_MATCH))
		return list_names(request, FIELD_IF_NONE_MATCH, head, representation, false) ? CONDITION_NOT_MODIFIED
		                                                                             : CONDITION_NONE;
	if (modified && read_date(request, FIELD_IF_MODIFIED_SINCE, head, now, &date) &&
	    !is_later(modified, date, exact))
		return CONDITION_NOT_MODIFIED;
	return CONDITION_NONE;
}

bool condition_if_range(const struct request *request, const char *head, const struct representation *representation,
                        time_t now)
{
	struct span span = request->field[FIELD_IF_RANGE];
	const char *text = head + span.at, *end = text + span.len, *tag, *tag_end;
	time_t date;
	bool weak;

	if (!request_has(request, FIELD_IF_RANGE))
		return true;
	if (request_repeats(request, FIELD_IF_RANGE))
		return false;
	tag_end = read_etag(text, end, &tag, &weak);
	if (tag_end)
		return !weak && tag_end == end && same_etag(representation, tag, tag_end);
	/*
	 * The builder gives no two contents of a name one Last-Modified (build.h), so that an equal date is a strong
	 * validator (8.8.2.2), unless variants share it (8.8.1): what the client has may be of another one, as one that
	 * was still being made is chosen a moment later, for the same request.
	 */
	return representation->last_modified && !representation->varies &&
	       http_date_parse(text, span.len, now, &date) && date == representation->last_modified;
}
