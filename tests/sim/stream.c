/*
 * stream.c - the simulated streams as their clients see them (sim.h): connect, write, read, the ways to end; and what
 * each of them does to the server's end. After Linux's TCP, except where that is one of several things a network may
 * do: then the dice decide (whether a reset overtakes the bytes sent before it, say).
 */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Sebastiano Vigna's splitmix64: one word of state, every seed as good as the next. */
uint64_t sim_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t *state, uint64_t n)
{
	assert(n > 0);
	return sim_random(state) % n;
}

bool sim_chance(uint64_t *state, unsigned per_mille)
{
	return per_mille > 0 && sim_below(state, 1000) < per_mille;
}

size_t sim_queue_put(struct sim_queue *queue, const void *bytes, size_t len)
{
	size_t room = queue->size - queue->len, at = (queue->first + queue->len) % queue->size, run;

	if (len > room)
		len = room;
	run = len < queue->size - at ? len : queue->size - at;
	memcpy(queue->bytes + at, bytes, run);
	memcpy(queue->bytes, (const char *)bytes + run, len - run);
	queue->len += len;
	return len;
}

size_t sim_queue_get(struct sim_queue *queue, void *bytes, size_t len)
{
	size_t run;

	if (len > queue->len)
		len = queue->len;
	run = len < queue->size - queue->first ? len : queue->size - queue->first;
	memcpy(bytes, queue->bytes + queue->first, run);
	memcpy((char *)bytes + run, queue->bytes, len - run);
	queue->first = (queue->first + len) % queue->size;
	queue->len -= len;
	return len;
}

static void sim_queue_init(struct sim_queue *queue, size_t size)
{
	*queue = (struct sim_queue){ .bytes = malloc(size), .size = size };
	assert(queue->bytes);
}

/* From 1 to most; small values as likely as large ones. */
static size_t sim_size(struct sim *sim, unsigned most)
{
	unsigned bits = 0;

	if (sim->weather.steady)
		return most;
	while (bits < 31 && most >> (bits + 1))
		bits++;
	bits = (unsigned)sim_below(&sim->dice, bits + 1);
	return 1 + sim_below(&sim->dice, most < 2U << bits ? most : 2U << bits);
}

static struct sim_stream *sim_stream_new(struct sim *sim, size_t buffer)
{
	struct sim_stream *stream = calloc(1, sizeof(*stream));

	assert(stream);
	stream->sim = sim;
	stream->fd = -1;
	stream->stirred = true;
	stream->piece = sim_size(sim, sim->weather.piece);
	stream->step = sim_size(sim, sim->weather.step);
	sim_queue_init(&stream->up, sim_size(sim, sim->weather.window));
	sim_queue_init(&stream->down, buffer ? buffer : sim->weather.buffer);
	return stream;
}

static void sim_stream_free(struct sim_stream *stream)
{
	struct sim_stream **link = &stream->sim->loose;

	while (*link && *link != stream)
		link = &(*link)->next;
	if (*link)
		*link = stream->next;
	free(stream->up.bytes);
	free(stream->down.bytes);
	free(stream->loan.copy);
	free(stream);
}

void sim_stream_break(struct sim_stream *stream)
{
	struct sim *sim = stream->sim;

	if (stream->broken)
		return;
	stream->broken = stream->stirred = true;
	stream->error = sim_chance(&sim->dice, 50) ? ETIMEDOUT : ECONNRESET;
	stream->down.len = 0;
	if (sim_chance(&sim->dice, 500))
		stream->up.len = 0; /* the reset has overtaken them */
}

void sim_stream_fail(struct sim_stream *stream)
{
	static const int errors[] = { ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETDOWN, ENOMEM, ENOBUFS, EPIPE };
	struct sim *sim = stream->sim;

	if (stream->broken)
		return;
	sim_trace(sim, "the network gives %d up", stream->fd);
	stream->broken = stream->client_reset = stream->stirred = true;
	stream->error = errors[sim_below(&sim->dice, sizeof(errors) / sizeof(errors[0]))];
	stream->up.len = 0;
}

/* The server's end has answered with a reset. What had arrived at the client may be lost to it or not. */
static void sim_stream_refuse(struct sim_stream *stream)
{
	struct sim *sim = stream->sim;

	if (stream->client_reset)
		return;
	sim_trace(sim, "reset for the client of %d", stream->fd);
	stream->client_reset = stream->stirred = true;
	stream->up.len = 0;
	if (stream->down.len > 0 && sim_chance(&sim->dice, 500))
		stream->down.len = sim_below(&sim->dice, stream->down.len + 1);
}

void sim_stream_over(struct sim_stream *stream)
{
	struct sim *sim = stream->sim;

	assert(stream->side != SIDE_OVER && stream->side != SIDE_BACKLOG);

	if (!stream->broken && stream->up.len > 0)
		sim_stream_refuse(stream);
	stream->down_fin = stream->stirred = true;
	stream->side = SIDE_OVER;
	stream->conn = NULL;
	sim_fd_give(sim, stream->fd);
	if (stream->client_gone) {
		sim_stream_free(stream);
		return;
	}
	stream->next = sim->loose;
	sim->loose = stream;
}

struct sim_stream *sim_pair(struct sim *sim, int *fd)
{
	struct sim_stream *stream = sim_stream_new(sim, 0);

	stream->side = SIDE_ACCEPTED;
	stream->fd = sim_fd_take(sim, stream, NULL);
	assert(stream->fd >= 0);
	*fd = stream->fd;
	return stream;
}

struct sim_stream *sim_connect(struct sim *sim, int listening, size_t buffer)
{
	struct sim_port *port = sim->fds[listening - SIM_FD_BASE].port;
	struct sim_stream *stream, **link;

	if (!port || port->waiting == SIM_BACKLOG)
		return NULL;
	stream = sim_stream_new(sim, buffer);
	stream->side = SIDE_BACKLOG;
	for (link = &port->backlog; *link; link = &(*link)->next)
		;
	*link = stream;
	port->waiting++;
	return stream;
}

int sim_listening(struct sim *sim)
{
	struct sim_port *port = calloc(1, sizeof(*port));

	assert(port);
	port->fd = sim_fd_take(sim, NULL, port);
	if (port->fd >= 0)
		return port->fd;
	free(port);
	return -EMFILE;
}

static void sim_port_close(struct sim *sim, struct sim_port *port)
{
	struct sim_stream *stream;

	sim_require(sim, !port->listener, "listening descriptor %d closed before IO_UNLISTENED", port->fd);
	while ((stream = port->backlog)) {
		port->backlog = stream->next;
		stream->side = SIDE_OVER;
		stream->next = sim->loose;
		sim->loose = stream;
		if (stream->client_gone)
			sim_stream_free(stream);
		else
			sim_stream_refuse(stream);
	}
	sim_fd_give(sim, port->fd);
	free(port);
}

bool sim_close(struct sim *sim, int fd)
{
	struct sim_descriptor *held;

	if (fd < SIM_FD_BASE || fd >= SIM_FD_BASE + SIM_FDS)
		return false;
	held = &sim->fds[fd - SIM_FD_BASE];
	sim_trace(sim, "close(2) of %d", fd);
	if (held->port) {
		sim_port_close(sim, held->port);
		return true;
	}
	sim_require(sim, held->stream, "close(2) of %d, which is not open", fd);
	sim_require(sim, held->stream->side == SIDE_ACCEPTED, "close(2) of %d, which belongs to the backend", fd);
	if (sim->watch)
		sim->watch->drops(sim->watch_context, held->stream);
	sim_stream_over(held->stream);
	return true;
}

ssize_t sim_write(struct sim_stream *stream, const void *bytes, size_t len)
{
	size_t taken;

	assert(!stream->client_gone);
	if (stream->client_reset)
		return -ECONNRESET;
	if (stream->up_fin)
		return -EPIPE;
	if (stream->side == SIDE_OVER) {
		if (len > 0)
			sim_stream_refuse(stream);
		return (ssize_t)len;
	}
	taken = sim_queue_put(&stream->up, bytes, len);
	if (taken > 0)
		sim_trace(stream->sim, "client of %d writes %zu", stream->fd, taken);
	return (ssize_t)taken;
}

ssize_t sim_read(struct sim_stream *stream, void *bytes, size_t len)
{
	assert(!stream->client_gone);
	if (stream->down.len > 0) {
		len = sim_queue_get(&stream->down, bytes, len);
		stream->acked += len;
		sim_trace(stream->sim, "client of %d reads %zu", stream->fd, len);
		return (ssize_t)len;
	}
	if (stream->client_reset)
		return -ECONNRESET;
	return stream->down_fin ? 0 : -EAGAIN;
}

void sim_finish(struct sim_stream *stream)
{
	assert(!stream->client_gone);
	sim_trace(stream->sim, "client of %d finishes", stream->fd);
	stream->up_fin = true;
}

static void sim_stream_leave(struct sim_stream *stream)
{
	assert(!stream->client_gone);
	stream->client_gone = true;
	if (stream->side == SIDE_OVER)
		sim_stream_free(stream);
}

void sim_hang_up(struct sim_stream *stream)
{
	sim_trace(stream->sim, "client of %d hangs up", stream->fd);
	if (stream->down.len > 0)
		sim_stream_break(stream);
	stream->up_fin = true;
	sim_stream_leave(stream);
}

void sim_reset(struct sim_stream *stream)
{
	sim_trace(stream->sim, "client of %d resets", stream->fd);
	sim_stream_break(stream);
	sim_stream_leave(stream);
}

void sim_set_owner(struct sim_stream *stream, void *owner)
{
	stream->owner = owner;
}

void *sim_owner(const struct sim_stream *stream)
{
	return stream->owner;
}

bool sim_has_stirred(struct sim_stream *stream)
{
	bool stirred = stream->stirred;

	stream->stirred = false;
	return stirred;
}

const struct io_conn *sim_conn_of(const struct sim_stream *stream)
{
	return stream->conn;
}

void *sim_owner_of(const struct sim *sim, int fd)
{
	const struct sim_stream *stream = NULL;

	if (fd >= SIM_FD_BASE && fd < SIM_FD_BASE + SIM_FDS)
		stream = sim->fds[fd - SIM_FD_BASE].stream;
	return stream ? stream->owner : NULL;
}

bool sim_is_listening(const struct sim *sim, int listening, unsigned *waiting)
{
	const struct sim_port *port = sim->fds[listening - SIM_FD_BASE].port;

	*waiting = port ? port->waiting : 0;
	return port && port->listener;
}

bool sim_is_over(const struct sim_stream *stream)
{
	return stream->side == SIDE_OVER;
}

bool sim_is_broken(const struct sim_stream *stream)
{
	return stream->broken;
}

void sim_free(struct sim *sim)
{
	assert(!sim->entered);
	for (unsigned i = 0; i < SIM_FDS; i++) {
		struct sim_stream *stream = sim->fds[i].stream;

		if (sim->fds[i].port)
			sim_port_close(sim, sim->fds[i].port);
		if (stream) {
			stream->client_gone = true;
			stream->side = SIDE_ACCEPTED;
			sim_stream_over(stream);
		}
	}
	while (sim->loose)
		sim_stream_free(sim->loose);
	free(sim);
}
