/*
 * peer_sim.c - the contract suite of tests/backend on the simulated backend: the other end of a connection is a
 * simulated client (sim.h). The suite is run in three kinds of weather, since what it demands must hold in each.
 */
#include <errno.h>
#include <stdlib.h>

#include "contract.h"
#include "peer.h"
#include "sim.h"

static const struct peer_ops peer_calm, peer_mild, peer_storm; /* they differ in name only */

/* fd says whether the peer is open: 0 or -1. The suite, too, makes it -1, in a peer that it has moved elsewhere. */
static struct sim_stream *stream_of(const struct peer *peer)
{
	return peer->fd >= 0 ? peer->data : NULL;
}

static void gone(struct peer *peer)
{
	peer->fd = -1;
	peer->data = NULL;
}

static int pair(struct io *io, struct peer *peer, int *fd)
{
	*peer = (struct peer){ .ops = &peer_mild, .data = sim_pair(sim_of(io), fd) };
	return 0;
}

static ssize_t write_some(struct peer *peer, const void *data, size_t n)
{
	ssize_t res = stream_of(peer) ? sim_write(stream_of(peer), data, n) : -EPIPE;

	return res == 0 ? -EAGAIN : res;
}

static ssize_t read_some(struct peer *peer, void *data, size_t n)
{
	return stream_of(peer) ? sim_read(stream_of(peer), data, n) : -ECONNRESET;
}

static void finish(struct peer *peer)
{
	if (stream_of(peer))
		sim_finish(stream_of(peer));
}

static void reset(struct peer *peer)
{
	if (stream_of(peer))
		sim_reset(stream_of(peer));
	gone(peer);
}

static void hang_up(struct peer *peer)
{
	if (stream_of(peer))
		sim_hang_up(stream_of(peer));
	gone(peer);
}

static int listener_open(struct io *io, struct io_listener *listener)
{
	int fd = sim_listening(sim_of(io));

	*listener = (struct io_listener){ .fd = fd };
	return fd < 0 ? fd : 0;
}

static void listener_close(struct io *io, struct io_listener *listener)
{
	sim_close(sim_of(io), listener->fd);
}

static int connect_to(struct io *io, struct io_listener *listener, struct peer *peer)
{
	*peer = (struct peer){ .ops = &peer_mild, .data = sim_connect(sim_of(io), listener->fd, 0) };
	return peer->data ? 0 : -ECONNREFUSED;
}

static void drop(struct io *io, int fd)
{
	sim_close(sim_of(io), fd);
}

static void exhaust(struct io *io, bool on)
{
	sim_exhaust(sim_of(io), on);
}

#define PEER_SIM(kind)                                                                                              \
	{                                                                                                           \
		.name = kind, .flags = PEER_RESETS | PEER_ACKS | PEER_LISTENS, .pair = pair, .write = write_some,   \
		.read = read_some, .shutdown = finish, .reset = reset, .close = hang_up, .listener = listener_open, \
		.unlisten = listener_close, .connect = connect_to, .drop = drop, .exhaust = exhaust,                \
	}

static const struct peer_ops peer_calm = PEER_SIM("calm"), peer_mild = PEER_SIM("mild"), peer_storm = PEER_SIM("storm");

/* A client writes a good deal before anybody reads, as the suite wants it; a send is stuck before long. */
#define WINDOW (512 * 1024)
#define BUFFER (64 * 1024)

static const struct sim_weather calm = {
	.batch = 64,
	.piece = IO_RECV_MAX,
	.step = WINDOW,
	.window = WINDOW,
	.buffer = BUFFER,
	.steady = true,
};

static const struct sim_weather mild = {
	.late = 100,
	.late_ms = 3,
	.spurious = 50,
	.batch = 64,
	.piece = IO_RECV_MAX,
	.step = WINDOW,
	.window = WINDOW,
	.buffer = BUFFER,
	.steady = true,
};

static const struct sim_weather storm = {
	.late = 300,
	.late_ms = 2, /* more, and less comes to pass in a turn than the suite counts on */
	.spurious = 50,
	.sluggish = 300,
	.batch = 8,
	.piece = 4000,
	.step = 10000,
	.window = WINDOW,
	.buffer = BUFFER,
	.steady = true,
};

static int create(const struct sim_weather *weather, struct io **io, const struct io_config *config, char *why,
                  size_t size)
{
	const char *seed = getenv("LOOM_SEED");

	sim_free_later(sim_new(seed ? strtoull(seed, NULL, 0) : 1, weather));
	return io_sim_ops.create(io, config, why, size);
}

static int create_calm(struct io **io, const struct io_config *config, char *why, size_t size)
{
	return create(&calm, io, config, why, size);
}

static int create_mild(struct io **io, const struct io_config *config, char *why, size_t size)
{
	return create(&mild, io, config, why, size);
}

static int create_storm(struct io **io, const struct io_config *config, char *why, size_t size)
{
	return create(&storm, io, config, why, size);
}

int main(void)
{
	struct io_ops ops[] = { io_sim_ops, io_sim_ops, io_sim_ops };
	const struct contract_row rows[] = {
		{ .ops = &ops[0], .peers = &peer_calm },
		{ .ops = &ops[1], .peers = &peer_mild },
		{ .ops = &ops[2], .peers = &peer_storm },
		{ 0 },
	};

	ops[0].create = create_calm;
	ops[1].create = create_mild;
	ops[2].create = create_storm;
	unsetenv("LOOM_REQUIRE_BACKENDS"); /* those of the kernel, which this binary does not have */
	return contract_main(rows);
}
