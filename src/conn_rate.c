/*
 * conn_rate.c - see conn_rate.h. The worker's thread. What there is to remember of a request lies in its input, and of an
 * answer in the connection; so an idle connection pays nothing, and neither does a request that arrives whole.
 */
#include "conn_rate.h"

void conn_set_deadline(struct conn_context *context, struct conn *conn, uint32_t timeout)
{
	wheel_set(&context->wheel, &conn->timer, context->now + timeout);
}

/*
 * Bytes that must have come in the window that has ended now, of so many milliseconds at a rate of bytes a second: more than
 * none, where there is a rate. One that may have begun under other settings is not judged by these.
 */
static uint64_t least_in(const struct conn_context *context, const struct conn *conn, uint32_t ms, uint32_t rate)
{
	uint64_t least = (uint64_t)ms * rate / 1000;

	return least > 1 && conn->timer.deadline <= context->windows_until ? 1 : least;
}

/* The end of the next window, or of all time if that comes first. */
static void look_again(struct conn_context *context, struct conn *conn)
{
	uint64_t at = conn->input->deadline;

	if (context->limits->recv_rate && context->now + context->timeouts->recv_window < at)
		at = context->now + context->timeouts->recv_window;
	wheel_set(&context->wheel, &conn->timer, at);
}

void conn_await_request(struct conn_context *context, struct conn *conn)
{
	conn->input->deadline = context->now + context->timeouts->header;
	look_again(context, conn);
}

bool conn_is_arriving(struct conn_context *context, struct conn *conn)
{
	struct input *input = conn->input;

	if (context->now >= input->deadline)
		return false;
	if (input->received < least_in(context, conn, context->timeouts->recv_window, context->limits->recv_rate))
		return false;
	input->received = 0;
	look_again(context, conn);
	return true;
}

bool conn_is_taking(struct conn_context *context, struct conn *conn)
{
	uint64_t progress = io_progress(context->io, &conn->io);
	uint64_t least = least_in(context, conn, context->timeouts->send, context->limits->send_rate);
	bool taking = progress < conn->progress || progress - conn->progress >= (least > 0 ? least : 1);

	/* Who had bytes of earlier sends to take has taken more than can be seen in the first window. */
	taking = taking || (!conn->measured && progress > conn->progress);
	conn->progress = progress;
	conn->measured = true;
	if (taking)
		conn_set_deadline(context, conn, context->timeouts->send);
	return taking;
}
