/*
 * stats.h - what one worker counts, in memory of its own: plain additions and relaxed stores by its thread, relaxed loads
 * by whoever asks (the admin socket, metrics). A count costs no more than an addition; what needs a clock or a walk is
 * not counted here.
 *
 * Figures of one worker are not all of the same moment: each is one that was true.
 */
#ifndef LOOM_STATS_H
#define LOOM_STATS_H

#include <stdint.h>

#include "loom/figure.h"
#include "loom/histogram.h"

#define STATS_METHODS 5 /* enum request_method */
#define STATS_CLASSES 6 /* by the first digit of the status */
#define STATS_STATES  7 /* enum conn_state */

/* Nothing but uint64_t: see conn_stats_add(). */
struct conn_stats {
	uint64_t accepted;
	uint64_t requests; /* answers, errors included */
	uint64_t timeouts;
	uint64_t
		bytes; /* of answers, heads included, that the kernel has taken; of a send that was given up, those sent */
	/* By method (what could not be read counts as METHOD_OTHER) and the first digit of the status. */
	uint64_t answers[STATS_METHODS][STATS_CLASSES];
	uint64_t stale;       /* answers that ended unfinished, since a streamed file was changed in place (-ESTALE) */
	uint64_t unreadable;  /* and since one could not be read (-EIO) */
	uint64_t untrusted;   /* connections to a listener with proxy=on from outside of --proxy-from, closed */
	uint64_t unproxied;   /* and those whose PROXY header was malformed or missing */
	uint64_t refused;     /* connections that were answered 503 unasked: too many in all, or of one address */
	uint64_t turned_away; /* and those that were closed without a word for the same reasons */

	uint64_t kept;                 /* answers with what is gone from the tree (snapshot_slot.gone) */
	uint64_t streamed;             /* sends of bytes that lie in a file */
	uint64_t states[STATS_STATES]; /* connections in each state at the moment; CONN_FREE: nothing to rely on */

	/* The worker's, not its connections'. */
	uint64_t accept_failures;
	uint64_t full; /* times that the last free connection was taken */

	/*
	 * With worker_config.measure. A turn is from the return of io_wait() to the next call, with which at the latest all its
	 * answers are handed to the kernel. So a request's latency is that of the turn in which it was answered.
	 */
	struct histogram turns;
	struct histogram latency;

	/* Not counted, but filled in by worker_stats(): */
	uint64_t cpu;             /* nanoseconds of the worker's thread */
	uint64_t io[FIGURES_MAX]; /* the backend's figures (io.h) */
};

/* Adds to a counter. By the thread that owns it: no other writes, and a reader sees the old figure or the new one. */
static inline void conn_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Adds a worker's figures to a total of the caller's. Any thread. */
void conn_stats_add(struct conn_stats *total, const struct conn_stats *stats);

/* Connections that are open. */
static inline uint64_t conn_stats_open(const struct conn_stats *stats)
{
	uint64_t open = 0;

	for (unsigned i = 1; i < STATS_STATES; i++)
		open += stats->states[i];
	return open;
}

#endif
