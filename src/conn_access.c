/*
 * conn_access.c - see conn_access.h. The worker's thread.
 */
#include "conn_access.h"

#include <assert.h>
#include <string.h>
#include <time.h>

static_assert(sizeof(struct access_notes) == NOTES_SIZE, "notes are four pages");
static_assert(NOTES_SIZE <= ACCESS_RING_SIZE / 4, "notes fit a ring");
static_assert(ACCESS_SNAPSHOT_LEN == sizeof(((struct snapshot *)NULL)->id) - 1, "a snapshot's id");
static_assert(sizeof(((struct access_notes *)NULL)->bytes) / ACCESS_RECORD_MAX >= 1, "one record fits");

static uint64_t microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* by the vDSO */
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct access_notes *access_notes_take(struct conn_context *context, const struct conn *conn)
{
	struct access_notes *notes = pool_take(&context->notes);

	assert(notes); /* there are as many as connections */
	notes->base = conn->sent;
	notes->count = notes->used = 0;
	return notes;
}

/* Copies a piece of the request, as much as is kept of it, and returns its length. */
static uint16_t copy(char **to, const char *from, size_t len, size_t most, uint8_t cut, uint8_t *flags)
{
	if (len > most) {
		len = most;
		*flags |= cut;
	}
	memcpy(*to, from, len);
	*to += len;
	return (uint16_t)len;
}

/* A request line that is cut, or not over, or not as RFC 9112 3 has it: its parts. */
static char *copy_parts(struct access_record *record, char *to, const struct request_parser *parser, size_t method)
{
	const struct request *request = &parser->request;

	record->method_len = (uint8_t)(method < ACCESS_METHOD_MAX ? method : ACCESS_METHOD_MAX);
	memcpy(to, parser->base, record->method_len);
	to += record->method_len;
	*to++ = ' ';
	record->target_len = copy(&to, parser->base + request->target.at, request->target.len, ACCESS_TARGET_MAX,
	                          ACCESS_TARGET_CUT, &record->flags);
	if (!parser->line_read)
		record->flags |= ACCESS_TARGET_CUT;
	return to;
}

/* The request line, as far as there is one. */
static char *copy_line(struct access_record *record, char *to, const struct request_parser *parser)
{
	const struct request *request = &parser->request;
	const size_t end = (size_t)request->target.at + request->target.len;
	size_t method = request->target.at;

	if (request->target.len == 0)
		return to;
	while (method > 0 && parser->base[method - 1] == ' ')
		method--;
	/* What has been read of the line after this one says that the version was one. */
	if (request->head_len > 0 || request->fields > 0)
		record->protocol = (uint8_t)(parser->llhttp.http_major << 4 | parser->llhttp.http_minor);
	if (record->protocol && method + 1 == request->target.at && method <= ACCESS_METHOD_MAX &&
	    request->target.len <= ACCESS_TARGET_MAX && memcmp(parser->base + end, " HTTP/", 6) == 0) {
		record->flags |= ACCESS_LINE_WHOLE;
		record->method_len = (uint8_t)method;
		record->target_len = request->target.len;
		memcpy(to, parser->base, end + ACCESS_VERSION_LEN);
		to += end + ACCESS_VERSION_LEN;
	} else {
		to = copy_parts(record, to, parser, method);
	}
	record->line_len = (uint16_t)(to - record->text);
	return to;
}

static char *copy_fields(struct access_record *record, char *to, const struct request_parser *parser)
{
	const struct request *request = &parser->request;

	if (request->is_plain)
		record->flags |= ACCESS_PLAIN;
	if (request->referer.at > 0) {
		record->flags |= ACCESS_REFERER;
		record->referer_len = copy(&to, parser->base + request->referer.at, request->referer.len,
		                           ACCESS_REFERER_MAX, ACCESS_REFERER_CUT, &record->flags);
	}
	if (request->agent.at > 0) {
		record->flags |= ACCESS_AGENT;
		record->agent_len = copy(&to, parser->base + request->agent.at, request->agent.len, ACCESS_AGENT_MAX,
		                         ACCESS_AGENT_CUT, &record->flags);
	}
	return to;
}

/* Which of the key's variants it is. */
static enum content_coding coding_of(const struct snapshot *snapshot, const struct response *response)
{
	const struct snapshot_slot *slot = response->slot;

	if (!slot || slot->variants == 0)
		return CODING_IDENTITY;
	for (unsigned i = CODING_IDENTITY + 1; i < CODINGS; i++)
		if (snapshot->variants[slot->variants].coded[i] == response->representation)
			return (enum content_coding)i;
	return CODING_IDENTITY;
}

void access_note(struct conn_context *context, struct conn *conn, struct access_notes *notes,
                 const struct request_parser *parser, const struct response *response, size_t head)
{
	struct access_record *record = (void *)(notes->bytes + notes->used);
	char *to = record->text;

	assert(access_has_room(notes));
	/* What a turn answers was there when it began. */
	if (context->turn == 0)
		context->turn = microseconds();
	record->status = (uint16_t)response_status(response);
	record->flags = ACCESS_COMPLETE;
	record->coding = (uint8_t)coding_of(context->snapshot, response);
	record->began = context->turn;
	record->duration = 0;
	record->bytes = response_length(response);
	record->head = (uint32_t)head;
	record->peer = *conn_peer(context, conn);
	memcpy(record->snapshot, context->snapshot->id, ACCESS_SNAPSHOT_LEN);
	record->method_len = record->protocol = 0;
	record->line_len = record->target_len = record->referer_len = record->agent_len = 0;
	if (parser) {
		to = copy_line(record, to, parser);
		to = copy_fields(record, to, parser);
	}
	record->size = (uint32_t)((size_t)(to - (char *)record) + ACCESS_RECORD_ALIGN - 1) / ACCESS_RECORD_ALIGN *
	               ACCESS_RECORD_ALIGN;
	notes->used += record->size;
	notes->count++;
}

/* Only so many bytes of these answers have left. */
static void cut_short(struct access_notes *notes, uint64_t left)
{
	for (uint32_t at = 0; at < notes->used;) {
		struct access_record *record = (void *)(notes->bytes + at);
		uint64_t whole = record->head + record->bytes;

		if (left >= whole) {
			left -= whole;
		} else {
			record->flags &= (uint8_t)~ACCESS_COMPLETE;
			record->bytes = left > record->head ? left - record->head : 0;
			left = 0;
		}
		at += record->size;
	}
}

void access_sent(struct conn_context *context, struct access_notes *notes, uint64_t left)
{
	if (left != ACCESS_ALL)
		cut_short(notes, left);
	access_ring_put(context->access, notes->bytes, notes->used, notes->count);
	if (access_ring_is_long(context->access))
		access_ring_show(context->access, microseconds());
	notes->count = notes->used = 0;
}
