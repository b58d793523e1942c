/*
 * conn.c - see conn.h. The worker's thread.
 *
 * Order of a turn in the life of a connection: bytes come (conn_read), each whole request is answered into the output
 * (conn_input.c), and then exactly one thing is asked of the backend: a send when there is an answer, a receive when
 * there is none (conn_go_on). So a pipelined batch costs one send, and a client that does not read is not read from.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn_access.h"
#include "conn_input.h"
#include "conn_output.h"
#include "conn_proxy.h"
#include "conn_rate.h"

static_assert(sizeof(struct conn) == 128, "an idle connection is two cache lines");

static_assert(CONN_STATES == STATS_STATES, "each state is counted");

const char *const conn_state_names[CONN_STATES] = {
	[CONN_PROXY] = "proxy",     [CONN_IDLE] = "idle",           [CONN_READING] = "reading",
	[CONN_SENDING] = "sending", [CONN_LINGERING] = "lingering", [CONN_CLOSING] = "closing",
};

/* How many connections are in each state is kept up as they change it. */
static void set_state(struct conn_context *context, struct conn *conn, enum conn_state state)
{
	conn_count(&context->stats.states[conn->state], UINT64_MAX); /* one less */
	conn_count(&context->stats.states[state], 1);
	conn->state = (uint8_t)state;
}

static size_t round_up(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

int conn_context_init(struct conn_context *context, uint32_t conns)
{
	int err;

	err = pool_create(&context->conns, sizeof(struct conn), conns);
	if (err == 0)
		err = pool_create(&context->inputs, round_up(sizeof(struct input), 4096), conns);
	if (err == 0)
		err = pool_create(&context->outputs, sizeof(struct output),
		                  conns + (context->lends_outputs ? IO_LENTS : 0));
	if (err == 0)
		err = conn_peers_init(context, conns);
	if (err == 0 && context->access)
		err = pool_create(&context->notes, sizeof(struct access_notes), conns);
	if (err == 0 && !(context->parser.memo = calloc(1, request_memo_size())))
		err = -ENOMEM;
	if (err < 0)
		conn_context_fini(context);
	return err;
}

void conn_context_fini(struct conn_context *context)
{
	pool_destroy(&context->conns);
	pool_destroy(&context->inputs);
	/* Those that are lent when all is cut off: the kernel has pages of its own, and nobody writes to them any more. */
	context->outputs.used -= context->lent_outputs;
	pool_destroy(&context->outputs);
	conn_peers_fini(context);
	pool_destroy(&context->notes);
	free(context->parser.memo);
	context->parser.memo = NULL;
}

struct iovec conn_outputs(const struct conn_context *context)
{
	const struct pool *outputs = &context->outputs;

	if (!context->lends_outputs)
		return (struct iovec){ 0 };
	return (struct iovec){ .iov_base = outputs->base, .iov_len = outputs->size * OUTPUTS_REGISTERED };
}

static void ask_for_bytes(struct conn_context *context, struct conn *conn)
{
	if (!conn->receiving) {
		conn->receiving = true;
		io_recv(context->io, &conn->io);
	}
}

static void release_output(struct conn_context *context, struct conn *conn)
{
	if (conn->output) {
		if (conn->output->notes)
			pool_give(&context->notes, conn->output->notes);
		pool_give(&context->outputs, conn->output);
		conn->output = NULL;
	}
	if (conn->snapshot) {
		snapshot_unpin(conn->snapshot, context->worker);
		conn->snapshot = NULL;
	}
}

/*
 * The send is over, and the kernel goes on reading its memory: the pin on the snapshot goes over to what is lent, and so does the
 * output, where outputs are. The connection goes on without, and with an output that says the same of what was sent.
 */
static __attribute__((noinline)) void hand_over(struct conn_context *context, struct conn *conn, const void *data)
{
	struct io_lent *lent =
		(struct io_lent *)(uintptr_t)data; /* an event's data is const for the sake of lent bytes */

	assert(conn->output && (conn->snapshot || context->lends_outputs));
	lent->keep[0] = conn->snapshot;
	lent->keep[1] = NULL;
	conn->snapshot = NULL;
	context->lent++;
	if (context->lends_outputs && pool_index(&context->outputs, conn->output) < OUTPUTS_REGISTERED) {
		struct output *fresh = pool_take(&context->outputs);

		assert(fresh); /* there are as many as connections and sends that are lent */
		memcpy(fresh, conn->output, offsetof(struct output, bytes));
		lent->keep[1] = conn->output;
		conn->output = fresh;
		context->lent_outputs++;
	}
}

void conn_released(struct conn_context *context, const struct io_event *event)
{
	const struct io_lent *lent = event->data;

	assert(context->lent > 0);
	context->lent--;
	if (lent->keep[0])
		snapshot_unpin(lent->keep[0], context->worker);
	if (lent->keep[1]) {
		pool_give(&context->outputs, lent->keep[1]);
		context->lent_outputs--;
	}
}

/* A send has come to nothing, or is given up: what has left of it all the same. */
static void count_unfinished(struct conn_context *context, struct conn *conn)
{
	uint64_t before = conn->sent - conn->output->sending, left = io_progress(context->io, &conn->io);

	if (left > before)
		conn_count(&context->stats.bytes, left - before);
	if (conn->output->notes)
		access_sent(context, conn->output->notes, (left > before ? left : before) - conn->output->notes->base);
}

/* Output and pin are kept until IO_CLOSED: the backend may still be sending from them. */
static void conn_close(struct conn_context *context, struct conn *conn)
{
	if (conn->state == CONN_SENDING && conn->output)
		count_unfinished(context, conn);
	wheel_cancel(&context->wheel, &conn->timer);
	input_release(context, conn);
	set_state(context, conn, CONN_CLOSING);
	io_close(context->io, &conn->io);
}

void conn_adopt(struct conn_context *context)
{
	struct snapshot *next;

	if (!context->inbox || !snapshot_waiting(context->inbox))
		return;
	next = snapshot_adopt(context->inbox, context->worker);
	if (context->snapshot)
		snapshot_unpin(context->snapshot, context->worker);
	context->snapshot = next;
}

static struct conn *conn_begin(struct conn_context *context, int fd, enum conn_state state)
{
	struct conn *conn = pool_take(&context->conns);

	if (!conn)
		return NULL;
	assert(conn->state == CONN_FREE && !conn->input && !conn->output && !conn->snapshot && !conn->timer.next);
	conn->sent = conn->progress = 0;
	conn->answered = conn->blank = 0;
	conn->receiving = conn->ended = conn->last = conn->linger = conn->started = conn->known = conn->refused = false;
	set_state(context, conn, state);
	io_open(context->io, &conn->io, fd);
	return conn;
}

struct conn *conn_accept(struct conn_context *context, int fd, bool proxy)
{
	struct conn *conn = conn_begin(context, fd, proxy ? CONN_PROXY : CONN_IDLE);

	if (!conn)
		return NULL;
	conn_count(&context->stats.accepted, 1);
	if (context->access && !proxy)
		conn_peer(context, conn); /* one system call; after a reset nobody would know */
	conn_set_deadline(context, conn, context->draining ? CONN_DRAIN_FIRST_MS : context->timeouts->header);
	ask_for_bytes(context, conn);
	return conn;
}

static void conn_send(struct conn_context *context, struct conn *conn)
{
	struct output *output = conn->output;

	output_end_run(output);
	output->sending = output->file.len;
	for (uint32_t i = 0; i < output->niov; i++)
		output->sending += output->iov[i].iov_len;
	conn->progress = conn->sent; /* what has left before this send does not count as its progress */
	conn->measured = false;
	conn->sent += output->sending;
	set_state(context, conn, CONN_SENDING);
	conn_set_deadline(context, conn, context->timeouts->send);
	if (output->file.len > 0) {
		output->file.iov = output->iov;
		output->file.niov = output->niov;
		conn_count(&context->stats.streamed, 1);
		io_send_file(context->io, &conn->io, &output->file);
	} else {
		io_send(context->io, &conn->io, output->iov, output->niov);
	}
}

/* Sends our FIN and throws away what still comes: closing with unread bytes would reset the connection (RFC 9112 9.6). */
static void conn_linger(struct conn_context *context, struct conn *conn, uint32_t timeout)
{
	io_shutdown(context->io, &conn->io);
	set_state(context, conn, CONN_LINGERING);
	conn_set_deadline(context, conn, context->draining ? CONN_LINGER_BRIEF_MS : timeout);
	ask_for_bytes(context, conn);
}

/* All answers so far are sent, and the last of them was the last. */
static void conn_finish(struct conn_context *context, struct conn *conn)
{
	if (conn->linger && !conn->ended)
		conn_linger(context, conn, conn->refused ? CONN_LINGER_BRIEF_MS : CONN_LINGER_MS);
	else
		conn_close(context, conn);
}

/* Ends a connection between two requests. The next may be on its way, and the last answer may not be read yet. */
static void conn_end_idle(struct conn_context *context, struct conn *conn)
{
	if (conn->started)
		conn_linger(context, conn, CONN_LINGER_BRIEF_MS);
	else
		conn_close(context, conn);
}

/* After reading: exactly one thing to do. */
static void conn_go_on(struct conn_context *context, struct conn *conn)
{
	if (conn->output) {
		conn_send(context, conn);
		return;
	}
	if (conn->input) {
		assert(conn->input->reading);
		if (conn->state != CONN_READING) {
			conn_await_request(context, conn); /* once a request */
			set_state(context, conn, CONN_READING);
		}
	} else if (conn->state != CONN_IDLE) { /* an empty line renews nothing */
		/* While draining, what the client has sent already, behind the last answer, is still answered. */
		set_state(context, conn, CONN_IDLE);
		conn_set_deadline(context, conn, context->draining ? CONN_DRAIN_NEXT_MS : context->timeouts->keepalive);
	}
	ask_for_bytes(context, conn);
}

static void conn_read(struct conn_context *context, struct conn *conn, const char *bytes, size_t len)
{
	conn_read_requests(context, conn, bytes, len);
	conn_go_on(context, conn);
}

/* What stands in front of the first request: it renews no deadline, and one that is malformed is not answered. */
static __attribute__((noinline, cold)) void conn_read_introduction(struct conn_context *context, struct conn *conn,
                                                                   const char *bytes, size_t len)
{
	size_t used;

	switch (conn_read_proxy(context, conn, bytes, len, &used)) {
	case PROXY_MORE:
		ask_for_bytes(context, conn);
		return;
	case PROXY_BAD:
		conn_count(&context->stats.unproxied, 1);
		conn_close(context, conn);
		return;
	case PROXY_DONE:
		break;
	}
	input_release(context, conn);
	set_state(context, conn, CONN_IDLE);
	if (used < len)
		conn_read(context, conn, bytes + used, len - used);
	else
		ask_for_bytes(context, conn);
}

static void conn_received(struct conn_context *context, struct conn *conn, const struct io_event *event)
{
	assert(conn->receiving);
	conn->receiving = false;
	if (event->res <= 0)
		conn->ended = true;

	switch ((enum conn_state)conn->state) {
	case CONN_PROXY:
		if (conn->ended)
			conn_close(context, conn);
		else
			conn_read_introduction(context, conn, event->data, (size_t)event->res);
		return;
	case CONN_IDLE:
	case CONN_READING:
		if (conn->ended)
			conn_close(context, conn);
		else
			conn_read(context, conn, event->data, (size_t)event->res);
		return;
	case CONN_SENDING:
		return; /* the receive was under way when a 408 was decided: too late */
	case CONN_LINGERING:
		if (conn->ended)
			conn_close(context, conn);
		else
			ask_for_bytes(context, conn);
		return;
	case CONN_FREE:
	case CONN_CLOSING:
		break;
	}
	assert(!"a silent connection was heard");
}

/* A client that has gone is everyday; a file that is not what it was is something that people should know of. */
static __attribute__((noinline, cold)) void conn_unsent(struct conn_context *context, struct conn *conn, int err)
{
	if (err == -ESTALE)
		conn_count(&context->stats.stale, 1);
	else if (err == -EIO)
		conn_count(&context->stats.unreadable, 1);
	conn_close(context, conn);
}

static void conn_sent(struct conn_context *context, struct conn *conn, int err)
{
	struct input *input = conn->input;

	assert(conn->state == CONN_SENDING);
	if (err < 0) {
		conn_unsent(context, conn, err);
		return;
	}
	conn_count(&context->stats.bytes, conn->output->sending);
	if (output_next_part(conn->output)) {
		conn_send(context, conn);
		return;
	}
	if (conn->output->notes)
		access_sent(context, conn->output->notes, ACCESS_ALL);
	release_output(context, conn);
	if (conn->last) {
		conn_finish(context, conn);
	} else if (input && !input->reading) {
		conn_read(context, conn, input->bytes, input->len);
	} else {
		conn_go_on(context, conn);
	}
}

static __attribute__((noinline)) void conn_closed(struct conn_context *context, struct conn *conn)
{
	assert(conn->state == CONN_CLOSING && !conn->input && !conn->timer.next);
	release_output(context, conn);
	context->refusing -= conn->refused;
	set_state(context, conn, CONN_FREE);
	pool_give(&context->conns, conn);
}

void conn_event(struct conn_context *context, const struct io_event *event)
{
	struct conn *conn = (struct conn *)event->conn;

	switch (event->op) {
	case IO_RECV:
		conn_received(context, conn, event);
		return;
	case IO_SENT:
		if (__builtin_expect(event->data != NULL, 0))
			hand_over(context, conn, event->data);
		conn_sent(context, conn, event->res);
		return;
	case IO_CLOSED:
		if (__builtin_expect(event->data != NULL, 0))
			hand_over(context, conn, event->data);
		conn_closed(context, conn);
		return;
	case IO_ACCEPT:
	case IO_UNLISTENED:
	case IO_RELEASED:
		break;
	}
	assert(!"an event of a connection");
}

/* The head did not come in time (RFC 9110 15.5.9). */
static void conn_refuse_slow_request(struct conn_context *context, struct conn *conn)
{
	bool is_head = request_is_head(&conn->input->parser); /* READING: there is one */
	struct response response;

	response_error(&response, 408, !is_head, context->snapshot);
	conn_answer(context, conn, &conn->input->parser, &response);
	input_release(context, conn);
	conn->linger = true;
	conn_send(context, conn);
}

bool conn_refuse(struct conn_context *context, int fd)
{
	struct conn *conn = conn_begin(context, fd, CONN_IDLE);
	struct response response;

	if (!conn)
		return false;
	conn->refused = conn->linger = true;
	context->refusing++;
	conn_count(&context->stats.refused, 1);
	response_error(&response, 503, true, context->snapshot);
	conn_answer(context, conn, NULL, &response);
	conn_send(context, conn);
	return true;
}

void conn_timeout(struct conn_context *context, struct wheel_node *node)
{
	struct conn *conn = (struct conn *)((char *)node - offsetof(struct conn, timer));

	switch ((enum conn_state)conn->state) {
	case CONN_IDLE:
		conn_end_idle(context, conn);
		return;
	case CONN_READING:
		if (conn_is_arriving(context, conn))
			return;
		conn_count(&context->stats.timeouts, 1);
		conn_refuse_slow_request(context, conn);
		return;
	case CONN_SENDING:
		if (conn_is_taking(context, conn))
			return;
		conn_count(&context->stats.timeouts, 1);
		break;
	case CONN_PROXY:
		conn_count(&context->stats.timeouts, 1);
		break;
	case CONN_LINGERING:
		break;
	case CONN_FREE:
	case CONN_CLOSING:
		assert(!"a timer of a connection that has none");
	}
	conn_close(context, conn);
}

void conn_drain(struct conn_context *context, bool patient)
{
	assert(context->draining);
	for (uint32_t i = 0; i < context->conns.touched; i++) {
		struct conn *conn = pool_at(&context->conns, i);

		if (conn->state != CONN_IDLE && conn->state != CONN_PROXY)
			continue;
		if (conn->started && patient)
			conn_set_deadline(context, conn, CONN_DRAIN_NEXT_MS);
		else if (conn->started)
			conn_end_idle(context, conn);
		else
			conn_set_deadline(context, conn, CONN_DRAIN_FIRST_MS);
	}
}

void conn_close_all(struct conn_context *context)
{
	for (uint32_t i = 0; i < context->conns.touched; i++) {
		struct conn *conn = pool_at(&context->conns, i);

		if (conn->state != CONN_FREE && conn->state != CONN_CLOSING)
			conn_close(context, conn);
	}
}
