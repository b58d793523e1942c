/*
 * conn_output.c - see conn_output.h. The worker's thread.
 */
#include "conn_output.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct output) == OUTPUT_SIZE, "an output is four pages");
static_assert(METHODS == STATS_METHODS, "each method is counted");
static_assert(OUTPUT_BYTES < IO_LENT_MIN, "what lies in an output is lent only where outputs are registered");
static_assert(OUTPUT_IOVS <= IO_SEND_IOVS, "a backend takes a whole output at once");
static_assert(ANSWER_BYTES <= OUTPUT_BYTES && ANSWER_IOVS <= OUTPUT_IOVS, "one answer fits an empty output");
static_assert(PARTS_BYTES <= OUTPUT_BYTES && PARTS_IOVS <= OUTPUT_IOVS, "one answer of many parts fits too");

static void add_iovec(struct output *output, const void *base, size_t len)
{
	assert(output->niov < OUTPUT_IOVS && len > 0);
	/* The cast: struct iovec has no const; a send only reads. */
	output->iov[output->niov++] = (struct iovec){ .iov_base = (void *)(uintptr_t)base, .iov_len = len };
}

void output_end_run(struct output *output)
{
	if (output->used > output->run)
		add_iovec(output, output->bytes + output->run, output->used - output->run);
	output->run = output->used;
}

/* The output refers to what belongs to the snapshot: memory, or a file that is open as long as it is held. */
static void pin_snapshot(struct conn_context *context, struct conn *conn)
{
	if (!conn->snapshot) {
		conn->snapshot = context->snapshot;
		snapshot_pin(conn->snapshot, context->worker);
	}
}

static void add_file(struct output *output, const struct file *file, uint64_t offset, uint64_t len)
{
	assert(output->file.len == 0 && offset + len <= file->size);
	output->file = (struct io_file_send){ .file = file, .offset = offset, .len = len };
}

/* The answer's content, or a part of it: copied when it is small, otherwise referred to, and then the snapshot is pinned. */
static void add_content(struct conn_context *context, struct conn *conn, const uint8_t *bytes, size_t len)
{
	output_end_run(conn->output);
	add_iovec(conn->output, bytes, len);
	pin_snapshot(context, conn);
}

static void add_body(struct conn_context *context, struct conn *conn, const struct representation *found,
                     uint64_t offset, uint64_t len)
{
	struct output *output = conn->output;

	if (found->file && (!found->body || len > context->splice_above)) {
		if (len > 0) {
			add_file(output, found->file, offset, len);
			pin_snapshot(context, conn);
		}
	} else if (len > COPY_MAX) {
		add_content(context, conn, found->body + offset, len);
	} else {
		memcpy(output->bytes + output->used, found->body + offset, len);
		output->used += (uint32_t)len;
	}
}

/* The part's head, or what follows the last part. */
static void add_part_head(struct output *output, const struct response *response, unsigned i)
{
	output->used += (uint32_t)response_part_head(response, i, output->bytes + output->used);
}

/* Of a file, one part at a time. */
static void add_part_of_file(struct output *output)
{
	const struct response *response = &output->parts;
	const struct range *range = &response->part[output->part];

	add_part_head(output, response, output->part);
	if (output->part < response->parts) {
		add_file(output, response->representation->file, range->first, range->last - range->first + 1);
		output->part++;
	} else {
		output->part = 0;
	}
}

/* multipart/byteranges (RFC 9110 14.6). */
static void add_parts(struct conn_context *context, struct conn *conn, const struct response *response)
{
	struct output *output = conn->output;

	if (!response->representation->body) {
		output->parts = *response;
		output->part = 0;
		add_part_of_file(output);
		pin_snapshot(context, conn);
		return;
	}
	for (unsigned i = 0; i <= response->parts; i++) {
		const struct range *range = &response->part[i];

		add_part_head(output, response, i);
		if (i < response->parts)
			add_content(context, conn, response->representation->body + range->first,
			            range->last - range->first + 1);
	}
}

bool output_next_part(struct output *output)
{
	if (output->part == 0)
		return false;
	output->niov = output->used = output->run = 0;
	output->file.len = 0;
	add_part_of_file(output);
	return true;
}

static void count(struct conn_context *context, const struct response *response)
{
	const struct snapshot *snapshot = context->snapshot;
	uint32_t *hits = snapshot->share[context->worker].hits;

	conn_count(&context->stats.requests, 1);
	conn_count(&context->stats.answers[response->method][response_status(response) / 100], 1);
	if (response->slot && hits) {
		uint32_t *hit = &hits[response->slot - snapshot->slots];

		__atomic_store_n(hit, *hit + 1, __ATOMIC_RELAXED);
	}
	if (response->slot && response->slot->gone)
		conn_count(&context->stats.kept, 1);
}

void conn_answer(struct conn_context *context, struct conn *conn, const struct request_parser *parser,
                 const struct response *response)
{
	const struct representation *found = response->representation;
	struct output *output = conn->output;
	size_t len;

	if (!output) {
		output = conn->output = pool_take(&context->outputs);
		assert(output); /* there are as many as connections */
		output->niov = output->used = output->run = output->part = 0;
		output->file.len = 0;
		output->notes = context->access ? access_notes_take(context, conn) : NULL;
	}

	len = response_head(response, context->date, output->bytes + output->used);
	if (context->say_snapshot)
		len = response_say_snapshot(output->bytes + output->used, len, context->snapshot);
	output->used += (uint32_t)len;
	if (output->notes)
		access_note(context, conn, output->notes, parser, response, len);
	if (response->parts > 1)
		add_parts(context, conn, response);
	else if (response->parts == 1)
		add_body(context, conn, found, response->part[0].first,
		         response->part[0].last - response->part[0].first + 1);
	else if (response->with_body)
		add_body(context, conn, found, 0, found->body_len);
	conn->last = response->close;
	conn->answered++;
	count(context, response);
}
