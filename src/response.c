/*
 * response.c - see response.h. Which answer a request gets, and its head. Everything that does not depend on the
 * request was decided when the snapshot was built; what is left is a look-up, the validators, and the connection.
 */
#include "loom/response.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "loom/target.h"

static enum snapshot_error error_index(unsigned status)
{
	switch (status) {
	case 400:
		return ERROR_400;
	case 404:
		return ERROR_404;
	case 405:
		return ERROR_405;
	case 408:
		return ERROR_408;
	case 413:
		return ERROR_413;
	case 414:
		return ERROR_414;
	case 417:
		return ERROR_417;
	case 431:
		return ERROR_431;
	case 501:
		return ERROR_501;
	case 503:
		return ERROR_503;
	case 505:
		return ERROR_505;
	}
	return ERROR_500;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/*
 * Whether If-None-Match names the tag: "*", or a list of entity-tags compared weakly (RFC 9110 13.1.2, 8.8.3.2). What
 * is no entity-tag ends the list: an answer too many is right, a 304 too many is not.
 */
static bool list_has_etag(const char *text, size_t len, const char *etag, size_t etag_len)
{
	const char *end = text + len;

	if (len == 1 && text[0] == '*')
		return true;
	while (text < end) {
		const char *close;

		if (is_space(*text) || *text == ',') {
			text++;
			continue;
		}
		if (end - text > 2 && text[0] == 'W' && text[1] == '/')
			text += 2;
		if (*text != '"')
			return false;
		close = memchr(text + 1, '"', (size_t)(end - text - 1));
		if (!close)
			return false;
		close++;
		if ((size_t)(close - text) == etag_len && memcmp(text, etag, etag_len) == 0)
			return true;
		text = close;
		while (text < end && is_space(*text))
			text++;
		if (text < end && *text != ',')
			return false;
	}
	return false;
}

/* RFC 9110 13.2.2, steps 3 and 4: If-None-Match first, If-Modified-Since only without it. */
static bool is_not_modified(const struct request *request, const char *head, const struct representation *found)
{
	if (!found->not_modified)
		return false;
	if (request->if_none_match.at)
		return !request->if_none_match_more &&
		       list_has_etag(head + request->if_none_match.at, request->if_none_match.len, found->etag,
		                     found->etag_len);
	if (request->if_modified_since.at && found->last_modified) {
		time_t since = http_date_parse(head + request->if_modified_since.at, request->if_modified_since.len);

		return since >= 0 && found->last_modified <= since;
	}
	return false;
}

void response_error(struct response *response, unsigned status, bool with_body, const struct snapshot *snapshot)
{
	*response = (struct response){
		.representation = snapshot->errors[error_index(status)],
		.with_body = with_body,
		.close = true,
	};
}

void response_plan(struct response *response, const struct request *request, const char *head,
                   const struct snapshot *snapshot, bool may_keep_alive, char *scratch)
{
	const struct representation *found = NULL;
	struct target target = { 0 };
	unsigned status = request->status;

	if (status == 0 && request->method == METHOD_OTHER)
		status = 405;
	if (status == 0) {
		switch (target_parse(head + request->target.at, request->target.len, scratch, &target)) {
		case 0:
			found = snapshot_find(snapshot, target.path, target.path_len);
			status = found ? 0 : 404;
			break;
		case -ENOENT:
			status = 404;
			break;
		default:
			status = 400;
		}
	}

	response_error(response, status, request->method != METHOD_HEAD, snapshot);
	response->close = !request->keep_alive || !request->framed || !may_keep_alive;
	response->say_keep_alive = request->minor == 0 && !response->close;
	if (!found)
		return;

	response->representation = found;
	if (found->location_end) {
		response->query = target.query;
		response->query_len = target.query_len;
	} else if (is_not_modified(request, head, found)) {
		response->not_modified = true;
		response->with_body = false;
	}
}

static char *append(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

#define APPEND(out, literal) append(out, literal, sizeof(literal) - 1)

size_t response_head(const struct response *response, const char *date, char *out)
{
	const struct representation *found = response->representation;
	char *at = out, *date_at;

	if (response->not_modified) {
		date_at = at + found->not_modified_date_at;
		at = append(at, found->not_modified, found->not_modified_len);
	} else {
		date_at = at + found->date_at;
		if (response->query_len > 0 && found->head_len + response->query_len <= REPRESENTATION_HEAD_MAX) {
			at = append(at, found->head, found->location_end);
			at = append(at, response->query, response->query_len);
			at = append(at, found->head + found->location_end,
			            (size_t)found->head_len - found->location_end);
		} else {
			at = append(at, found->head, found->head_len);
		}
	}
	memcpy(date_at, date, HTTP_DATE_LEN);

	if (response->close)
		at = APPEND(at, "Connection: close\r\n");
	else if (response->say_keep_alive)
		at = APPEND(at, "Connection: keep-alive\r\n");
	at = APPEND(at, "\r\n");
	assert((size_t)(at - out) <= RESPONSE_HEAD_MAX);
	return (size_t)(at - out);
}
