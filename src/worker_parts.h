/*
 * worker_parts.h - the state of a worker, shared by worker.c (its loop, its life) and worker_accept.c (whom it lets in).
 * Private to these two. All on the worker's thread, but for what is said to be others'.
 */
#ifndef LOOM_WORKER_PARTS_H
#define LOOM_WORKER_PARTS_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "loom/worker.h"

/*
 * Connections that are accepted between the decision to stop accepting, because all connections are in use, and its taking
 * effect. They wait here as they would in the backlog; io_uring may hand over a whole backlog at once.
 */
#define ACCEPTED_MAX 4096

enum listener_state {
	LISTENER_OFF,
	LISTENER_ON,
	LISTENER_STOPPING, /* until IO_UNLISTENED */
	LISTENER_CLOSED,
};

struct listener {
	struct io_listener io; /* first: the completion is the listener */
	enum listener_state state;
	bool proxy; /* its connections begin with a PROXY header */
};

struct accepted {
	int fd;
	bool proxy;
};

struct worker {
	struct conn_context context;
	struct worker_config config;
	uint32_t most_conns;
	uint32_t spare_conns; /* beyond them, for refusals */
	/* With config.peers, of each connection of the pool: peer_count_enter()'s, or PEER_UNCOUNTED. */
	uint32_t *peer_slot;
	struct wheel_node accept_pause; /* linked while accepting is paused after a failure */
	struct wheel_node drain_end;    /* linked while draining */
	enum worker_command obeyed;
	uint64_t noticed; /* when notify() was last called */
	uint64_t told;    /* of what notice_ends() looks at, what has been noticed */
	int err;
	clockid_t cpu_clock; /* of the worker's thread */
	bool serving;        /* the first turn has begun */
	uint64_t begun;      /* with config.measure: nanoseconds of CLOCK_MONOTONIC, when this turn began */
	unsigned listeners;
	struct listener *listener;
	unsigned accepted_first; /* a ring of descriptors that have no connection yet */
	unsigned accepted_count;
	struct accepted accepted[ACCEPTED_MAX];

	uint64_t turns; /* written here alone, read by others too */
	const struct worker_settings *adopted;

	alignas(CACHE_LINE) atomic_int command; /* written by other threads */
	_Atomic(const struct worker_settings *) settings;
	struct worker_notices notices;
};

/* Whether clients may come. */
static inline bool worker_is_open(const struct worker *worker)
{
	return worker->obeyed <= WORKER_LAME_DUCK;
}

/*
 * worker.c: has the main thread look at the notices, if it has not been told for WORKER_NOTICE_MS. False when the last time
 * was too short a time ago.
 */
bool worker_give_notice(struct worker *worker);

/*
 * worker_accept.c. worker_steer(): brings every listener to where it should be now, as far as the backend lets it; to be
 * called whenever what that depends on may have changed. worker_accepted(): handles IO_ACCEPT. worker_unlistened():
 * IO_UNLISTENED.
 */
void worker_steer(struct worker *worker);
void worker_accepted(struct worker *worker, const struct listener *listener, int res);
void worker_unlistened(struct worker *worker, struct listener *listener);

/* With config.peers: a connection is over, and its address may have another. Before it is given back to its pool. */
void worker_forget_peer(struct worker *worker, const struct conn *conn);

/* A connection is free again: for one that waits, or for the backlog. */
void worker_room_again(struct worker *worker);

/* Closes what was accepted and waits for a connection. */
void worker_close_accepted(struct worker *worker);

#endif
