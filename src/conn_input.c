/*
 * conn_input.c - see conn_input.h. The worker's thread. A request that arrives whole is read where it lies, with the parser
 * that all connections share (context->parser); one that does not is copied to an input, with a parser of its own.
 */
#include "conn_input.h"

#include <assert.h>
#include <string.h>

#include "conn_output.h"

static_assert(sizeof(((struct input *)NULL)->bytes) >= REQUEST_HEAD_MAX + IO_RECV_MAX, "a remainder fits an input");

void input_release(struct conn_context *context, struct conn *conn)
{
	if (conn->input) {
		pool_give(&context->inputs, conn->input);
		conn->input = NULL;
	}
}

/* Keeps bytes that cannot be dealt with now. They may lie in the input already. */
static void keep_bytes(struct conn_context *context, struct conn *conn, const char *bytes, size_t len)
{
	struct input *input = conn->input;

	if (!input) {
		input = conn->input = pool_take(&context->inputs);
		assert(input); /* there are as many as connections */
	}
	assert(len <= sizeof(input->bytes));
	memmove(input->bytes, bytes, len);
	input->len = (uint32_t)len;
	input->reading = false;
}

/* A request has begun and is not whole: keeps its head so far, and the parser. */
static void keep_request(struct conn_context *context, struct conn *conn, const struct request_parser *parser,
                         const char *bytes, size_t len)
{
	keep_bytes(context, conn, bytes, parser->request.in_body ? parser->request.head_len : len);
	conn->input->parser = *parser;
	conn->input->reading = true;
	conn->input->received = (uint32_t)len;
	request_moved(&conn->input->parser, conn->input->bytes);
}

static bool is_last_request(const struct conn_context *context, const struct conn *conn)
{
	return context->limits->requests && conn->answered + 1 >= context->limits->requests;
}

enum answered {
	ANSWERED_MORE_MAY_COME,
	ANSWERED_LAST,
	ANSWERED_NO_ROOM, /* not answered: what is in the output has to be sent first */
};

/*
 * Workers take up a snapshot one after another, each in its own turn. A page that one of them has sent may name files
 * that another, which is asked for them next, does not have yet: it looks whether it is behind, before it says no.
 */
static bool is_behind(const struct conn_context *context, const struct response *response)
{
	return response_status(response) == 404 && context->inbox && snapshot_waiting(context->inbox);
}

/* Answers a request that has been read, left being the bytes known to follow it. */
static enum answered answer_request(struct conn_context *context, struct conn *conn,
                                    const struct request_parser *parser, enum request_progress progress, size_t left)
{
	const struct request *request = &parser->request;
	struct response response;

	if (progress == REQUEST_COMPLETE) {
		const struct response_context plan = {
			.snapshot = context->snapshot,
			.now = context->real,
			.unhealthy = context->unhealthy,
			.may_keep_alive = !context->draining && !is_last_request(context, conn),
			.scratch = context->scratch,
		};

		response_plan(&response, request, parser->base, &plan);
		if (is_behind(context, &response)) {
			conn_adopt(context);
			/* One snapshot at a time is pinned for an output. */
			if (conn->snapshot)
				return ANSWERED_NO_ROOM;
			return answer_request(context, conn, parser, progress, left);
		}
	} else {
		response_error(&response, request->status, !request_is_head(parser), context->snapshot);
	}
	if (response.parts > 1 && !output_has_room(conn->output, PARTS_BYTES, PARTS_IOVS))
		return ANSWERED_NO_ROOM;
	conn_answer(context, conn, parser, &response);
	/* A client that said close has nothing more to say; any other may be sending. */
	conn->linger = left > 0 || request->keep_alive || !request->framed;
	return response.close ? ANSWERED_LAST : ANSWERED_MORE_MAY_COME;
}

/*
 * One empty line before a request is forgiven (RFC 9112 2.2), however it comes, and begins none: the number of its bytes
 * here.
 */
static size_t pass_empty_line(struct conn *conn, const char *bytes, size_t len)
{
	size_t n = 0;

	while (n < len && conn->blank < 2 && bytes[n] == "\r\n"[conn->blank]) {
		conn->blank++;
		n++;
	}
	return n;
}

/* Answers every whole request in bytes[0..len), len > 0, as far as the output has room, and keeps the rest. */
static void read_requests(struct conn_context *context, struct conn *conn, const char *bytes, size_t len)
{
	struct request_parser *parser = &context->parser;
	enum request_progress progress;
	enum answered answered;
	size_t used;

	do {
		if (!output_has_room(conn->output, ANSWER_BYTES, ANSWER_IOVS)) {
			keep_bytes(context, conn, bytes, len);
			return;
		}
		if (conn->blank > 0 || *bytes == '\r' || *bytes == '\n') {
			used = pass_empty_line(conn, bytes, len);
			bytes += used;
			len -= used;
			if (len == 0)
				break;
		}
		request_next(parser, context->limits, bytes);
		conn->started = true;
		if (conn->blank == 1 || *bytes == '\r' || *bytes == '\n') {
			request_refuse(parser, 400); /* a CR without its LF, or a second empty line */
			answer_request(context, conn, parser, REQUEST_FAILED, len);
			break;
		}
		conn->blank = 0;
		progress = request_read(parser, bytes, len, &used);
		if (progress == REQUEST_MORE) {
			keep_request(context, conn, parser, bytes, len);
			return;
		}
		answered = answer_request(context, conn, parser, progress, len - used);
		if (answered == ANSWERED_NO_ROOM) {
			keep_bytes(context, conn, bytes, len);
			return;
		}
		bytes += used;
		len -= used;
	} while (answered == ANSWERED_MORE_MAY_COME && len > 0);
	input_release(context, conn);
}

/* The same for a request that began in earlier bytes. Lent bytes of its head join those before; of its body, not. */
static void continue_request(struct conn_context *context, struct conn *conn, const char *bytes, size_t len)
{
	struct input *input = conn->input;
	struct request_parser *parser = &input->parser;
	enum request_progress progress;
	enum answered answered;
	size_t used;

	assert(!conn->output); /* so there is room for any answer */
	if (!parser->request.in_body) {
		assert(input->len + len <= sizeof(input->bytes));
		memcpy(input->bytes + input->len, bytes, len);
		bytes = input->bytes + input->len;
		input->len += (uint32_t)len;
	}
	progress = request_read(parser, bytes, len, &used);
	if (progress == REQUEST_MORE) {
		if (parser->request.in_body)
			input->len = parser->request.head_len;
		input->received += (uint32_t)len;
		return;
	}
	answered = answer_request(context, conn, parser, progress, len - used);
	if (answered == ANSWERED_MORE_MAY_COME && used < len)
		read_requests(context, conn, bytes + used, len - used);
	else
		input_release(context, conn);
}

void conn_read_requests(struct conn_context *context, struct conn *conn, const char *bytes, size_t len)
{
	if (conn->input && conn->input->reading)
		continue_request(context, conn, bytes, len);
	else
		read_requests(context, conn, bytes, len);
}
