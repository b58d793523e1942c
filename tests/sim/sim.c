/*
 * sim.c - the simulated event backend: io.h's operations over a world in memory (sim.h), and the assertions that hold
 * the caller to its side of the contract.
 *
 * There is no queue of completions. Every look around asks, from a place that the dice choose, what each stream and
 * each listener has to say at this moment, and takes the first that is due: so every order that the contract allows
 * comes up, and a connection that was silenced has nothing in a queue to take back.
 */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCH(sim, what, ...) ((sim)->watch ? (sim)->watch->what((sim)->watch_context, ##__VA_ARGS__) : (void)0)

/* The loan of the last IO_RECV is over. */
static void sim_lent_end(struct sim *sim)
{
	if (!sim->lent)
		return;
	memset(sim->lent, LENT_POISON, sim->lent_len);
	__asm__ volatile("" : : "r"(sim->lent) : "memory"); /* freed next, but to be written all the same */
	free(sim->lent);
	sim->lent = NULL;
}

static int sim_probe(const struct features *features, char *why, size_t size)
{
	snprintf(why, size, "no kernel is needed");
	return 0;
}

static int sim_create(struct io **io, const struct io_config *config, char *why, size_t size)
{
	struct sim *sim = sim_take();

	(void)why;
	(void)size;
	assert(config->conns > 0 && config->listeners > 0);
	assert(sim && "io_create() before sim_new()");
	sim->io.ops = &io_sim_ops;
	sim->entered = true;
	sim->conns_max = config->conns;
	sim->listeners_max = config->listeners;
	sim->files = config->files;
	sim->sealed = config->sealed;
	*io = &sim->io;
	return 0;
}

static void sim_destroy(struct io *io)
{
	struct sim *sim = sim_of(io);

	sim_require(sim, sim->conns == 0, "io_destroy() with %u connections open", sim->conns);
	sim_require(sim, sim->listeners == 0, "io_destroy() with %u listeners on", sim->listeners);
	sim_lent_end(sim);
	sim->entered = false;
	if (sim->own)
		sim_free(sim);
}

/* The stream of a connection, which must be just as the backend has left it. */
static struct sim_stream *sim_stream_of(struct sim *sim, const struct io_conn *conn, const char *what)
{
	int fd = conn->fd;
	struct sim_stream *stream = NULL;

	if (fd >= SIM_FD_BASE && fd < SIM_FD_BASE + SIM_FDS)
		stream = sim->fds[fd - SIM_FD_BASE].stream;
	sim_require(sim, stream && stream->side >= SIDE_OPEN, "%s: %d is not open", what, fd);
	sim_require(sim, stream->conn == conn, "%s: the io_conn of %d has moved", what, fd);
	sim_require(sim, memcmp(conn, &stream->as_left, sizeof(*conn)) == 0, "%s: the io_conn of %d was changed", what,
	            fd);
	sim_require(sim, stream->side == SIDE_OPEN, "%s of %d after io_close()", what, fd);
	return stream;
}

static void sim_open(struct io *io, struct io_conn *conn, int fd)
{
	struct sim *sim = sim_of(io);
	struct sim_stream *stream = NULL;

	if (fd >= SIM_FD_BASE && fd < SIM_FD_BASE + SIM_FDS)
		stream = sim->fds[fd - SIM_FD_BASE].stream;
	sim_require(sim, stream && stream->side == SIDE_ACCEPTED, "io_open() of %d, which is not free to be opened",
	            fd);
	sim_require(sim, sim->conns < sim->conns_max, "io_open() of %d: more than %u connections", fd, sim->conns_max);
	sim->conns++;
	stream->side = SIDE_OPEN;
	stream->conn = conn;

	/* The backend's part holds nothing that the caller could make use of. */
	conn->fd = fd;
	conn->generation++;
	conn->flags = (uint32_t)sim_random(&sim->dice);
	conn->owed = (uint8_t)sim_random(&sim->dice);
	conn->result = (int)sim_random(&sim->dice);
	conn->sent = sim_random(&sim->dice);
	stream->as_left = *conn;
	sim_trace(sim, "open %d", fd);
	WATCH(sim, opens, stream);
}

static void sim_recv(struct io *io, struct io_conn *conn)
{
	struct sim *sim = sim_of(io);
	struct sim_stream *stream = sim_stream_of(sim, conn, "io_recv()");

	sim_require(sim, !stream->credit, "io_recv() of %d: a second credit", stream->fd);
	sim_require(sim, !stream->received_end, "io_recv() of %d after its end or an error", stream->fd);
	stream->credit = true;
	stream->recv_at = 0;
	WATCH(sim, receives, stream);
}

static void sim_send_all(struct sim *sim, struct io_conn *conn, struct iovec *iov, unsigned n,
                         struct io_file_send *file, const char *what)
{
	struct sim_stream *stream = sim_stream_of(sim, conn, what);

	sim_require(sim, !stream->sending, "%s of %d: a second send in flight", what, stream->fd);
	sim_require(sim, !stream->shut, "%s of %d after io_shutdown()", what, stream->fd);
	sim_require(sim, n <= IO_SEND_IOVS && (n >= 1 || file), "%s of %d: %u iovecs", what, stream->fd, n);
	stream->sending = true;
	stream->sent = false;
	stream->move_at = stream->sent_at = 0;
	WATCH(sim, sends, stream, iov, n, file);
	sim_loan_begin(sim, stream, iov, n, file);
	sim_trace(sim, "send %d: %llu bytes, %zu of them in %u", stream->fd, (unsigned long long)stream->loan.whole,
	          stream->loan.len, n);
}

static void sim_send(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n)
{
	sim_send_all(sim_of(io), conn, iov, n, NULL, "io_send()");
}

static void sim_send_file(struct io *io, struct io_conn *conn, struct io_file_send *file)
{
	sim_require(sim_of(io), file->file->bytes ? sim_of(io)->sealed : sim_of(io)->files,
	            "io_send_file() without io_config.files or .sealed");
	sim_send_all(sim_of(io), conn, file->iov, file->niov, file, "io_send_file()");
}

static void sim_shutdown(struct io *io, struct io_conn *conn)
{
	struct sim *sim = sim_of(io);
	struct sim_stream *stream = sim_stream_of(sim, conn, "io_shutdown()");

	sim_require(sim, !stream->sending, "io_shutdown() of %d with a send in flight", stream->fd);
	sim_require(sim, !stream->shut, "io_shutdown() of %d twice", stream->fd);
	stream->shut = true;
	stream->down_fin = stream->stirred = true;
	sim_trace(sim, "shutdown %d", stream->fd);
	WATCH(sim, shuts, stream);
}

static void sim_end(struct io *io, struct io_conn *conn)
{
	struct sim *sim = sim_of(io);
	struct sim_stream *stream = sim_stream_of(sim, conn, "io_close()");

	stream->side = SIDE_CLOSING;
	stream->closed_at = 0;
	sim_trace(sim, "close %d", stream->fd);
	WATCH(sim, closes, stream);
}

static uint64_t sim_progress(struct io *io, struct io_conn *conn)
{
	struct sim *sim = sim_of(io);
	struct sim_stream *stream = sim_stream_of(sim, conn, "io_progress()");

	WATCH(sim, asks_progress, stream, stream->acked);
	return stream->acked;
}

static void sim_wake(struct io *io)
{
	atomic_store(&sim_of(io)->woken, true);
}

static void sim_describe(struct io *io, char *text, size_t size)
{
	(void)io;
	snprintf(text, size, "simulated");
}

static void sim_listen(struct io *io, struct io_listener *listener, bool on)
{
	struct sim *sim = sim_of(io);
	struct sim_port *port = NULL;

	if (listener->fd >= SIM_FD_BASE && listener->fd < SIM_FD_BASE + SIM_FDS)
		port = sim->fds[listener->fd - SIM_FD_BASE].port;
	sim_require(sim, port, "io_listen() of %d, which is not listening", listener->fd);
	sim_trace(sim, "listen %d %s", listener->fd, on ? "on" : "off");
	if (on) {
		sim_require(sim, !port->listener, "io_listen(on) of %d, which is on already", port->fd);
		sim_require(sim, sim->listeners < sim->listeners_max, "io_listen(): more than %u listeners",
		            sim->listeners_max);
		sim->listeners++;
		port->listener = listener;
		listener->flags = (uint16_t)sim_random(&sim->dice);
		listener->owed = (uint16_t)sim_random(&sim->dice);
		port->as_left = *listener;
		port->off = port->suspended = false;
		port->accept_at = 0;
		return;
	}
	sim_require(sim, port->listener == listener, "io_listen(off) of %d, which is not on", port->fd);
	sim_require(sim, !port->off, "io_listen(off) of %d twice", port->fd);
	sim_require(sim, memcmp(listener, &port->as_left, sizeof(*listener)) == 0, "the io_listener of %d was changed",
	            port->fd);
	port->off = true;
	port->owed = port->waiting;
	port->hasty = 0;
	while (port->hasty < port->owed && sim_chance(&sim->dice, sim->weather.hasty))
		port->hasty++;
	port->off_at = 0;
}

static bool sim_recv_due(struct sim *sim, struct sim_stream *stream)
{
	if (sim->now < sim->starved_to) {
		if (stream->credit && sim->starved_to < sim->soonest)
			sim->soonest = sim->starved_to;
		return false;
	}
	return stream->credit && (stream->up.len > 0 || stream->up_fin || stream->broken) &&
	       sim_due(sim, &stream->recv_at);
}

static bool sim_sent_due(struct sim *sim, struct sim_stream *stream)
{
	return stream->sending && stream->sent && sim_due(sim, &stream->sent_at);
}

static bool sim_accept_due(struct sim *sim, struct sim_port *port)
{
	return port->backlog && !port->suspended && sim_due(sim, &port->accept_at);
}

/* What one stream has to say now: IO_RECV, IO_SENT, IO_CLOSED, or -1. */
static int sim_stream_due(struct sim *sim, struct sim_stream *stream)
{
	bool recv, sent;

	if (stream->side == SIDE_CLOSING)
		return sim_due(sim, &stream->closed_at) ? IO_CLOSED : -1;
	if (stream->side != SIDE_OPEN)
		return -1;
	sim_send_move(sim, stream);
	recv = sim_recv_due(sim, stream);
	sent = sim_sent_due(sim, stream);
	if (recv && sent)
		return sim_chance(&sim->dice, 500) ? IO_RECV : IO_SENT;
	return recv ? IO_RECV : sent ? IO_SENT : -1;
}

/* Whether an accept is owed before IO_UNLISTENED: of a connection that was waiting when the listener was turned off. */
static bool sim_owes_accept(const struct sim *sim, const struct sim_port *port)
{
	return port->owed > 0 && port->backlog && !port->suspended && (port->hasty > 0 || sim->conns < sim->conns_max);
}

static int sim_port_due(struct sim *sim, struct sim_port *port)
{
	if (!port->listener)
		return -1;
	if (port->off && !sim_owes_accept(sim, port) && sim_due(sim, &port->off_at))
		return IO_UNLISTENED;
	if (port->off && port->hasty == 0 && sim->conns == sim->conns_max)
		return -1;
	return sim_accept_due(sim, port) ? IO_ACCEPT : -1;
}

/* Looks around. The operation that is due and where, or -1; soonest is then when to look again. */
static int sim_look(struct sim *sim, struct sim_descriptor **where)
{
	unsigned start = sim->top ? (unsigned)sim_below(&sim->dice, sim->top) : 0;

	sim->soonest = SIM_NEVER;
	for (unsigned i = 0; i < sim->top; i++) {
		int op = -1;

		*where = &sim->fds[(start + i) % sim->top];
		if ((*where)->stream)
			op = sim_stream_due(sim, (*where)->stream);
		else if ((*where)->port)
			op = sim_port_due(sim, (*where)->port);
		if (op >= 0)
			return op;
	}
	return -1;
}

static void sim_event_recv(struct sim *sim, struct sim_stream *stream, struct io_event *event)
{
	size_t len = 1 + sim_below(&sim->dice, stream->piece);

	stream->credit = false;
	stream->stirred = true;
	event->conn = stream->conn;
	if (sim_chance(&sim->dice, sim->weather.breaks))
		sim_stream_fail(stream);
	if (stream->up.len > 0) {
		if (sim->weather.steady)
			len = stream->piece;
		len = len < stream->up.len ? len : stream->up.len;
		sim->lent = malloc(len);
		assert(sim->lent);
		sim->lent_len = sim_queue_get(&stream->up, sim->lent, len);
		event->data = sim->lent;
		event->res = (int)len;
	} else {
		stream->received_end = true;
		event->res = -stream->error;
		stream->error = 0;
	}
	sim_trace(sim, "recv %d: %d", stream->fd, event->res);
	WATCH(sim, handles, stream, event);
}

static void sim_event_accept(struct sim *sim, struct sim_port *port, struct io_event *event)
{
	static const int errors[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM };
	struct sim_stream *stream = port->backlog;

	event->listener = port->listener;
	port->accept_at = 0;
	if (sim->exhausted || (!port->off && sim_chance(&sim->dice, sim->weather.accept_fails))) {
		port->suspended = true;
		event->res = sim->exhausted ? -EMFILE : -errors[sim_below(&sim->dice, 4)];
		sim_trace(sim, "accept fails: %s", strerror(-event->res));
		WATCH(sim, handles, NULL, event);
		return;
	}
	port->backlog = stream->next;
	port->waiting--;
	if (port->owed > 0)
		port->owed--;
	if (port->hasty > 0)
		port->hasty--;
	stream->next = NULL;
	stream->side = SIDE_ACCEPTED;
	stream->fd = sim_fd_take(sim, stream, NULL);
	assert(stream->fd >= 0);
	event->res = stream->fd;
	sim_trace(sim, "accept %d", stream->fd);
	WATCH(sim, handles, stream, event);
}

static void sim_event_sent(struct sim *sim, struct sim_stream *stream, struct io_event *event)
{
	sim_loan_end(sim, stream);
	stream->sending = false;
	event->conn = stream->conn;
	event->res = stream->sent_res;
	sim->file_failures += stream->file_failed;
	sim_trace(sim, "sent %d: %d", stream->fd, event->res);
	WATCH(sim, handles, stream, event);
}

static void sim_event_closed(struct sim *sim, struct sim_stream *stream, struct io_event *event)
{
	if (stream->sending)
		sim_loan_end(sim, stream);
	sim_require(sim, memcmp(stream->conn, &stream->as_left, sizeof(*stream->conn)) == 0,
	            "the io_conn of %d was changed before IO_CLOSED", stream->fd);
	sim->conns--;
	event->conn = stream->conn;
	sim_trace(sim, "closed %d", stream->fd);
	WATCH(sim, handles, stream, event);
	sim_stream_over(stream);
}

static void sim_event_unlistened(struct sim *sim, struct sim_port *port, struct io_event *event)
{
	event->listener = port->listener;
	port->listener = NULL;
	port->off = false;
	port->owed = port->hasty = 0;
	sim->listeners--;
	sim_trace(sim, "unlistened %d", port->fd);
	WATCH(sim, handles, NULL, event);
}

static bool sim_next(struct io *io, struct io_event *event)
{
	struct sim *sim = sim_of(io);
	struct sim_descriptor *where;
	int op;

	sim_lent_end(sim);
	WATCH(sim, handled);
	if (sim->left == 0)
		return false;
	op = sim_look(sim, &where);
	if (op < 0)
		return false;
	sim->left--;
	*event = (struct io_event){ .op = (enum io_op)op };
	switch (event->op) {
	case IO_ACCEPT:
		sim_event_accept(sim, where->port, event);
		break;
	case IO_UNLISTENED:
		sim_event_unlistened(sim, where->port, event);
		break;
	case IO_RECV:
		sim_event_recv(sim, where->stream, event);
		break;
	case IO_SENT:
		sim_event_sent(sim, where->stream, event);
		break;
	case IO_CLOSED:
		sim_event_closed(sim, where->stream, event);
		break;
	case IO_RELEASED: /* it lends nothing beyond IO_SENT */
		break;
	}
	return true;
}

/* Until there is something to do, or the time is up. */
static void sim_sleep_on(struct sim *sim, int timeout_ms)
{
	uint64_t until, next;
	struct sim_descriptor *where;

	if (sim->weather.late_ms > 0 && sim_chance(&sim->dice, sim->weather.sluggish))
		sim->now += 1 + sim_below(&sim->dice, sim->weather.late_ms);
	if (sim_chance(&sim->dice, sim->weather.spurious))
		return;
	until = timeout_ms < 0 ? SIM_NEVER : sim->now + (unsigned)timeout_ms;
	for (;;) {
		next = sim->clients ? sim->clients(sim->clients_context) : SIM_NEVER;
		if (atomic_exchange(&sim->woken, false) || sim_look(sim, &where) >= 0)
			break;
		if (sim->stirred) {
			sim->stirred = false;
			continue; /* the clients may have something to read */
		}
		if (sim->soonest < next)
			next = sim->soonest;
		if (timeout_ms == 0)
			sim->now++; /* so that a caller who only ever polls gets on */
		if (until <= sim->now)
			break;
		if (until < next)
			next = until;
		sim_require(sim, next != SIM_NEVER, "io_wait() for ever, and nothing can come");
		if (next > sim->now)
			sim->now = next;
	}
	sim->left = 1 + (unsigned)sim_below(&sim->dice, sim->weather.batch);
}

static int sim_wait(struct io *io, int timeout_ms)
{
	struct sim *sim = sim_of(io);

	sim_lent_end(sim);
	sim->left = 0;
	WATCH(sim, turn_ends, timeout_ms);
	sim_sleep_on(sim, timeout_ms);
	sim->now += sim->jump;
	sim->jump = 0;
	WATCH(sim, turn_begins);
	return 0;
}

const struct io_ops io_sim_ops = {
	.name = "sim",
	.probe = sim_probe,
	.create = sim_create,
	.destroy = sim_destroy,
	.wait = sim_wait,
	.next = sim_next,
	.listen = sim_listen,
	.open = sim_open,
	.recv = sim_recv,
	.send = sim_send,
	.send_file = sim_send_file,
	.shutdown = sim_shutdown,
	.close = sim_end,
	.progress = sim_progress,
	.wake = sim_wake,
	.describe = sim_describe,
};
