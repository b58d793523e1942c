/*
 * response.c - see response.h. Which answer a request gets, and its head. Everything that does not depend on the
 * request was decided when the snapshot was built; what is left is a look-up, the variant, the validators, the ranges and
 * the connection.
 */
#include "loom/response.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "loom/condition.h"
#include "loom/target.h"

static enum snapshot_error error_index(unsigned status)
{
	switch (status) {
	case 200:
		return ANSWER_OPTIONS;
	case 400:
		return ERROR_400;
	case 404:
		return ERROR_404;
	case 405:
		return ERROR_405;
	case 406:
		return ERROR_406;
	case 408:
		return ERROR_408;
	case 412:
		return ERROR_412;
	case 413:
		return ERROR_413;
	case 414:
		return ERROR_414;
	case 416:
		return ERROR_416;
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

static void set_answer(struct response *response, enum snapshot_error which, const struct snapshot *snapshot)
{
	response->representation = snapshot->errors[which];
	response->form = RESPONSE_WHOLE;
	response->clock_is_behind = false;
	response->query_len = 0;
	response->parts = 0;
}

static void set_error(struct response *response, unsigned status, const struct snapshot *snapshot)
{
	set_answer(response, error_index(status), snapshot);
}

void response_error(struct response *response, unsigned status, bool with_body, const struct snapshot *snapshot)
{
	set_error(response, status, snapshot);
	response->slot = NULL;
	response->method = METHOD_OTHER;
	response->with_body = with_body;
	response->close = true;
	response->say_keep_alive = false;
}

static bool is_health(const struct target *target, const struct snapshot *snapshot)
{
	return snapshot->health && target->path_len == snapshot->health_len &&
	       memcmp(target->path, snapshot->health, snapshot->health_len) == 0;
}

static int read_target(const struct request *request, const char *head, char *scratch, struct target *target)
{
	const char *text = head + request->target.at;

	if (request->path_len == 0)
		return target_parse(text, request->target.len, scratch, target);
	target->path = text;
	target->path_len = request->path_len;
	if (request->path_len < request->target.len) {
		target->query = text + request->path_len;
		target->query_len = (size_t)request->target.len - request->path_len;
	}
	return 0;
}

/*
 * Target and method: 0 with *slot set, or without it when it is --health that is asked for; or the status of an answer
 * that every snapshot has (200: to OPTIONS).
 */
static unsigned find(const struct request *request, const char *head, const struct response_context *context,
                     struct target *target, const struct snapshot_slot **slot)
{
	int err = read_target(request, head, context->scratch, target);

	if (err == -ENOENT && request->method != METHOD_CONNECT)
		return request->method == METHOD_OTHER ? 405 : 404;
	if (err)
		return 400;
	if (target->form == TARGET_ASTERISK)
		return request->method == METHOD_OPTIONS ? 200 : 400;
	if ((target->form == TARGET_AUTHORITY) != (request->method == METHOD_CONNECT))
		return 400;
	if (request->method == METHOD_OTHER || request->method == METHOD_CONNECT)
		return 405;
	if (!is_health(target, context->snapshot)) {
		*slot = snapshot_find(context->snapshot, target->path, target->path_len);
		if (!*slot)
			return 404;
	}
	return request->method == METHOD_OPTIONS ? 200 : 0;
}

/* RFC 9110 12.5.3. NULL: none of the variants is acceptable. */
static const struct representation *choose_variant(const struct request *request, const char *head,
                                                   const struct snapshot *snapshot, const struct snapshot_slot *slot)
{
	const struct representation *const *coded;
	struct span line = request->field[FIELD_ACCEPT_ENCODING];
	size_t sizes[CODINGS];
	struct coding_wishes wishes = request->wishes;
	enum content_coding chosen;

	if (!request_has(request, FIELD_ACCEPT_ENCODING))
		return slot->representation;
	if (!request->has_wishes) {
		/* Identity alone is refused only by somebody who says "q=0". */
		if (slot->variants == 0 && !request_repeats(request, FIELD_ACCEPT_ENCODING) &&
		    !memchr(head + line.at, '0', line.len))
			return slot->representation;
		request_wishes(request, head, &wishes);
	}
	if (slot->variants == 0)
		return wishes.q[CODING_IDENTITY] ? slot->representation : NULL;
	coded = snapshot->variants[slot->variants].coded;
	for (unsigned i = 0; i < CODINGS; i++)
		sizes[i] = coded[i] ? coded[i]->body_len : SIZE_MAX;
	chosen = coding_choose(&wishes, sizes);
	return chosen < CODINGS ? coded[chosen] : NULL;
}

/* RFC 9110 14.2: for GET alone, after the conditions. */
static void plan_ranges(struct response *response, const struct request *request, const char *head, bool coded,
                        const struct response_context *context)
{
	const struct representation *found = response->representation;
	struct span span = request->field[FIELD_RANGE];
	unsigned parts;

	if (request_repeats(request, FIELD_RANGE) || !condition_if_range(request, head, found, context->now))
		return;
	switch (range_parse(head + span.at, span.len, found->body_len, response->part, &parts)) {
	case RANGE_WHOLE:
		return;
	case RANGE_UNSATISFIABLE:
		response->length = found->body_len;
		set_error(response, 416, context->snapshot);
		response->form = RESPONSE_UNSATISFIABLE;
		return;
	case RANGE_PARTS:
		/* Content-Encoding in a multipart message would be taken for the coding of the message itself. */
		if (coded && parts > 1)
			return;
		response->form = RESPONSE_PARTS;
		response->briefly = request_has(request, FIELD_IF_RANGE);
		response->parts = parts;
	}
}

/* A representation for GET or HEAD: which one, and what of it. */
static void plan_content(struct response *response, const struct request *request, const char *head,
                         const struct snapshot_slot *slot, const struct response_context *context)
{
	const struct representation *found = choose_variant(request, head, context->snapshot, slot);

	if (!found) {
		set_error(response, 406, context->snapshot);
		return;
	}
	response->representation = found;
	switch (condition_judge(request, head, found, context->snapshot->returned, context->now)) {
	case CONDITION_FAILED:
		set_error(response, 412, context->snapshot);
		return;
	case CONDITION_NOT_MODIFIED:
		response->form = RESPONSE_NOT_MODIFIED;
		response->with_body = false;
		return;
	case CONDITION_NONE:
		break;
	}
	response->clock_is_behind = found->modified_at && found->last_modified > context->now;
	if (request_has(request, FIELD_RANGE) && request->method == METHOD_GET)
		plan_ranges(response, request, head, found != slot->representation, context);
}

void response_plan(struct response *response, const struct request *request, const char *head,
                   const struct response_context *context)
{
	const struct snapshot_slot *slot = NULL;
	struct target target = { 0 };
	unsigned status = request->status ? request->status : find(request, head, context, &target, &slot);

	response->close = !request->keep_alive || !request->framed || !context->may_keep_alive;
	response->say_keep_alive = request->minor == 0 && !response->close;
	response->method = request->method;
	response->with_body = request->method != METHOD_HEAD;
	response->slot = status ? NULL : slot;
	response->form = RESPONSE_WHOLE;
	response->clock_is_behind = false;
	response->query_len = 0;
	response->parts = 0;
	if (status) {
		set_error(response, status, context->snapshot);
	} else if (!slot) {
		set_answer(response, context->unhealthy ? ANSWER_DRAINING : ANSWER_HEALTHY, context->snapshot);
	} else if (slot->representation->location_end) {
		response->representation = slot->representation;
		response->query = target.query;
		response->query_len = target.query_len;
	} else {
		plan_content(response, request, head, slot, context);
	}
}

static char *append(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

#define APPEND(out, literal) append(out, literal, sizeof(literal) - 1)

static char *append_number(char *out, uint64_t number)
{
	char digits[20];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

/* "a-b/length", RFC 9110 14.4. */
static char *append_content_range(char *out, const struct range *range, uint64_t length)
{
	out = APPEND(out, "Content-Range: bytes ");
	out = append_number(out, range->first);
	*out++ = '-';
	out = append_number(out, range->last);
	*out++ = '/';
	out = append_number(out, length);
	return APPEND(out, "\r\n");
}

/*
 * What separates the parts: it must not occur in any of them, and does not, since nothing contains its own hash. The
 * validator without its quotes.
 */
static char *append_boundary(char *out, const struct representation *found)
{
	out = APPEND(out, "loom-");
	return append(out, found->etag + 1, found->etag_len - 2U);
}

size_t response_part_head(const struct response *response, unsigned i, char *out)
{
	const struct representation *found = response->representation;
	char *at = out;

	if (i > 0)
		at = APPEND(at, "\r\n");
	at = APPEND(at, "--");
	at = append_boundary(at, found);
	if (i == response->parts) {
		at = APPEND(at, "--\r\n");
	} else {
		at = APPEND(at, "\r\n");
		at = append(at, found->head + found->type_at, (size_t)found->length_at - found->type_at);
		at = append_content_range(at, &response->part[i], found->body_len);
		at = APPEND(at, "\r\n");
	}
	assert(at - out <= RESPONSE_PART_MAX);
	return (size_t)(at - out);
}

static uint64_t parts_length(const struct response *response)
{
	char scratch[RESPONSE_PART_MAX];
	uint64_t length = 0;

	for (unsigned i = 0; i < response->parts; i++)
		length += response->part[i].last - response->part[i].first + 1;
	if (response->parts > 1)
		for (unsigned i = 0; i <= response->parts; i++)
			length += response_part_head(response, i, scratch);
	return length;
}

uint64_t response_length(const struct response *response)
{
	if (response->parts > 0)
		return parts_length(response);
	return response->with_body ? response->representation->body_len : 0;
}

/* 206: the fields of the 200 with another framing (RFC 9110 15.3.7). */
static char *append_parts_head(char *at, const struct response *response)
{
	const struct representation *found = response->representation;
	const char *from = found->head + found->validators_at;

	if (response->parts == 1) {
		at = append(at, from,
		            (size_t)(response->briefly ? found->metadata_at : found->length_at) - found->validators_at);
		at = append_content_range(at, &response->part[0], found->body_len);
	} else {
		at = append(at, from,
		            (size_t)(response->briefly ? found->metadata_at : found->type_at) - found->validators_at);
		at = APPEND(at, "Content-Type: multipart/byteranges; boundary=");
		at = append_boundary(at, found);
		at = APPEND(at, "\r\n");
	}
	at = APPEND(at, "Content-Length: ");
	at = append_number(at, parts_length(response));
	return APPEND(at, "\r\n");
}

size_t response_head(const struct response *response, const char *date, char *out)
{
	const struct representation *found = response->representation;
	char *at = out, *date_at = out + found->date_at;

	switch (response->form) {
	case RESPONSE_WHOLE:
		if (response->query_len > 0 && found->head_len + response->query_len <= REPRESENTATION_HEAD_MAX) {
			at = append(at, found->head, found->location_end);
			at = append(at, response->query, response->query_len);
			at = append(at, found->head + found->location_end,
			            (size_t)found->head_len - found->location_end);
		} else {
			at = append(at, found->head, found->head_len);
		}
		break;
	case RESPONSE_NOT_MODIFIED:
		at = APPEND(at, "HTTP/1.1 304 Not Modified\r\n");
		date_at = at + (found->date_at - found->validators_at);
		at = append(at, found->head + found->validators_at, (size_t)found->metadata_at - found->validators_at);
		break;
	case RESPONSE_PARTS:
		at = APPEND(at, "HTTP/1.1 206 Partial Content\r\n");
		date_at = at + (found->date_at - found->validators_at);
		at = append_parts_head(at, response);
		break;
	case RESPONSE_UNSATISFIABLE:
		at = append(at, found->head, found->head_len);
		at = APPEND(at, "Content-Range: bytes */");
		at = append_number(at, response->length);
		at = APPEND(at, "\r\n");
		break;
	}
	memcpy(date_at, date, HTTP_DATE_LEN);
	if (response->clock_is_behind && !(response->form == RESPONSE_PARTS && response->briefly))
		memcpy(date_at + (found->modified_at - found->date_at), date, HTTP_DATE_LEN);

	if (response->close)
		at = APPEND(at, "Connection: close\r\n");
	else if (response->say_keep_alive)
		at = APPEND(at, "Connection: keep-alive\r\n");
	at = APPEND(at, "\r\n");
	assert((size_t)(at - out) <= RESPONSE_HEAD_MAX);
	return (size_t)(at - out);
}

size_t response_say_snapshot(char *head, size_t len, const struct snapshot *snapshot)
{
	char *at = head + len - 2; /* before the empty line */

	at = APPEND(at, "Loom-Snapshot: ");
	at = append(at, snapshot->id, strlen(snapshot->id));
	at = APPEND(at, "\r\n\r\n");
	assert((size_t)(at - head) <= RESPONSE_HEAD_MAX);
	return (size_t)(at - head);
}
