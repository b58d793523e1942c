/*
 * worker_accept.c - whom a worker lets in: its listeners, the most connections, refusals, and those of one address. The
 * worker's thread. See worker_parts.h.
 */
#include <assert.h>
#include <unistd.h>

#include "worker_parts.h"

/* After a failed accept (no descriptors, no memory), and at most so long after the connections were all in use. */
#define ACCEPT_PAUSE_MS 100

/* Connections in use. Refusals are none while there are spare ones for them. */
static uint32_t conns_taken(const struct worker *worker)
{
	return worker->context.conns.used - (worker->spare_conns ? worker->context.refusing : 0);
}

/*
 * The most refusals at a time. Without spare connections they take those of clients who would be let in, so they are few:
 * nobody may keep others out by being refused.
 */
static uint32_t most_refusals(const struct worker *worker)
{
	uint32_t few = worker->most_conns / 8;

	if (worker->spare_conns)
		return worker->spare_conns;
	return few < OPTIONS_REFUSALS ? few : OPTIONS_REFUSALS;
}

static bool is_full(const struct worker *worker)
{
	return conns_taken(worker) >= worker->most_conns;
}

/* Whether who comes when all connections are in use waits in the backlog. */
static bool lets_wait(const struct worker *worker)
{
	return worker->config.options->when_full == WHEN_FULL_WAIT;
}

static bool may_accept(const struct worker *worker)
{
	return worker_is_open(worker) && !worker->accept_pause.next && worker->accepted_count == 0 &&
	       !(lets_wait(worker) && is_full(worker));
}

static void listener_close(struct listener *listener)
{
	if (listener->state != LISTENER_CLOSED)
		close(listener->io.fd);
	listener->state = LISTENER_CLOSED;
}

void worker_steer(struct worker *worker)
{
	bool accept = may_accept(worker);

	for (unsigned i = 0; i < worker->listeners; i++) {
		struct listener *listener = &worker->listener[i];

		switch (listener->state) {
		case LISTENER_OFF:
			if (!worker_is_open(worker)) {
				listener_close(listener);
			} else if (accept) {
				listener->state = LISTENER_ON;
				io_listen(worker->context.io, &listener->io, true);
			}
			break;
		case LISTENER_ON:
			if (!accept) {
				listener->state = LISTENER_STOPPING;
				io_listen(worker->context.io, &listener->io, false);
			}
			break;
		case LISTENER_STOPPING:
		case LISTENER_CLOSED:
			break;
		}
	}
}

/* Not let in: told so, if that is wanted and so many are not being told already. */
static void turn_away(struct worker *worker, int fd)
{
	struct conn_context *context = &worker->context;

	if (worker->config.options->when_full != WHEN_FULL_CLOSE && context->refusing < most_refusals(worker) &&
	    conn_refuse(context, fd))
		return;
	close(fd);
	conn_count(&context->stats.turned_away, 1);
}

/* Whether the client's address may have one more connection; *slot is what to give back. */
static bool may_enter(struct worker *worker, int fd, uint32_t *slot)
{
	uint64_t address;

	*slot = PEER_UNCOUNTED;
	if (!worker->config.peer(fd, &address) || peer_count_enter(worker->config.peers, address, slot))
		return true;
	atomic_fetch_add_explicit(&worker->notices.crowding, 1, memory_order_relaxed);
	worker_give_notice(worker);
	return false;
}

/*
 * Lets a client in, for whom there is a connection. Behind a proxy all have its address, and nobody is counted: whom a
 * PROXY header names shows later.
 */
static void admit(struct worker *worker, int fd, bool proxy)
{
	uint32_t slot = PEER_UNCOUNTED;
	struct conn *conn;

	assert(!is_full(worker));
	if (worker->config.peers && !proxy && !may_enter(worker, fd, &slot)) {
		turn_away(worker, fd);
		return;
	}
	conn = conn_accept(&worker->context, fd, proxy);
	assert(conn);
	if (slot != PEER_UNCOUNTED)
		worker->peer_slot[pool_index(&worker->context.conns, conn)] = slot;
}

void worker_forget_peer(struct worker *worker, const struct conn *conn)
{
	uint32_t *slot = &worker->peer_slot[pool_index(&worker->context.conns, conn)];

	peer_count_leave(worker->config.peers, *slot);
	*slot = PEER_UNCOUNTED;
}

void worker_accepted(struct worker *worker, const struct listener *listener, int res)
{
	bool proxy = listener->proxy;

	if (res < 0) {
		atomic_store_explicit(&worker->notices.accept_errno, -res, memory_order_relaxed);
		atomic_fetch_add_explicit(&worker->notices.accept_failures, 1, memory_order_relaxed);
		conn_count(&worker->context.stats.accept_failures, 1);
		worker_give_notice(worker);
		wheel_set(&worker->context.wheel, &worker->accept_pause, worker->context.now + ACCEPT_PAUSE_MS);
		worker_steer(worker);
		return;
	}
	if (proxy && !conn_trusts(&worker->context, res)) {
		close(res);
	} else if (worker->obeyed == WORKER_ABORT) {
		close(res);
	} else if (worker->accepted_count == 0 && !is_full(worker)) {
		admit(worker, res, proxy);
		if (is_full(worker)) {
			atomic_fetch_add_explicit(&worker->notices.full, 1, memory_order_relaxed);
			conn_count(&worker->context.stats.full, 1);
			worker_give_notice(worker);
			worker_steer(worker);
		}
	} else if (!lets_wait(worker)) {
		turn_away(worker, res);
	} else if (worker->accepted_count == ACCEPTED_MAX) {
		close(res);
	} else {
		worker->accepted[(worker->accepted_first + worker->accepted_count++) % ACCEPTED_MAX] =
			(struct accepted){ res, proxy };
	}
}

static struct accepted next_accepted(struct worker *worker)
{
	struct accepted next = worker->accepted[worker->accepted_first];

	worker->accepted_first = (worker->accepted_first + 1) % ACCEPTED_MAX;
	worker->accepted_count--;
	return next;
}

void worker_room_again(struct worker *worker)
{
	while (worker->accepted_count > 0 && !is_full(worker)) {
		struct accepted next = next_accepted(worker);

		admit(worker, next.fd, next.proxy);
	}
	if (conns_taken(worker) == worker->most_conns - 1)
		worker_steer(worker);
}

void worker_unlistened(struct worker *worker, struct listener *listener)
{
	listener->state = LISTENER_OFF;
	worker_steer(worker);
}

void worker_close_accepted(struct worker *worker)
{
	while (worker->accepted_count > 0)
		close(next_accepted(worker).fd);
}
