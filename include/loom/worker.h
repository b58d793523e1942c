/*
 * worker.h - an event-loop thread: one backend, its listeners, its connections, its timers, its current snapshot.
 */
#ifndef LOOM_WORKER_H
#define LOOM_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "loom/conn.h"
#include "loom/io.h"
#include "loom/options.h"
#include "loom/peer_count.h"
#include "loom/snapshot.h"

enum worker_command {
	WORKER_RUN,
	WORKER_LAME_DUCK, /* goes on, but --health says that clients are to be sent elsewhere: --drain-delay */
	WORKER_YIELD,     /* a successor accepts from the same sockets: as DRAIN, but idle clients may ask once more */
	WORKER_DRAIN,     /* stop accepting, finish what is under way */
	WORKER_ABORT,     /* close everything now */
};

/*
 * What a worker has to say to people. It counts, and calls notify(), at most once in WORKER_NOTICE_MS; the main thread
 * puts it into words. What is counted in between is told with the next notice. Written by the worker, read by the
 * main thread.
 */
#define WORKER_NOTICE_MS 5000

struct worker_notices {
	atomic_uint accept_failures;
	atomic_int accept_errno; /* of the last failure */
	atomic_uint full;        /* times that the last free connection was taken */
	atomic_uint crowding;    /* connections that were not let in since their address has too many */
	atomic_uint stale;       /* answers that ended unfinished: a streamed file was changed in place */
	atomic_uint unreadable;  /* and: a streamed file could not be read */
	atomic_uint untrusted;   /* connections that were closed: conn_stats.untrusted */
	atomic_uint unproxied;   /* and conn_stats.unproxied */
};

enum worker_listen {
	WORKER_LISTEN_PROXY = 1 << 0,  /* its connections begin with a PROXY header */
	WORKER_LISTEN_SHARED = 1 << 1, /* other workers accept from the same socket */
};

/* What may change while a worker runs. Immutable once it is given to worker_set(). */
struct worker_settings {
	struct limits limits;
	struct timeouts timeouts;
	bool say_snapshot;
};

struct worker_config {
	const struct io_ops *ops;
	const struct options *options;
	struct snapshot_inbox *inbox; /* holds a snapshot already */
	unsigned index;               /* 0 .. workers - 1 */
	unsigned conns;               /* the most connections of this worker */
	const int *listen_fds;        /* the worker's, to close, from its first turn on */
	const uint8_t *listen_flags;  /* enum worker_listen of each; NULL: 0 */
	unsigned listens;
	struct access_ring *access; /* for records of the access log; NULL: there is none */
	bool measure; /* how long turns take: one exact reading of the clock at the beginning of each, and one at its end */
	struct peer_count *peers; /* of all workers; NULL: addresses are not counted */
	/* NULL: peer_address(). */
	bool (*peer)(int fd, uint64_t *address);
	/* NULL: the system's. */
	void (*clock)(void *context, uint64_t *monotonic_ms, time_t *real);
	void (*notify)(void *context); /* may be NULL; must not block */
	bool contain;                  /* io_config's, as is what follows */
	void (*on_thread)(void);
	void *context;
};

struct worker;

/* On the worker's own thread. 0, or -errno with one line in why. Nothing is accepted before the first turn. */
int worker_create(struct worker **worker, const struct worker_config *config, char *why, size_t size);

/* The loop: until a drain or an abort has ended. 0, or -errno of a broken backend, after which only exit is left. */
int worker_run(struct worker *worker);

/* One turn of the loop, for the simulator: true while there is more to do. */
bool worker_turn(struct worker *worker);

/* Gives everything back, the share of the snapshot included; before the first turn or after the last. Same thread. */
void worker_destroy(struct worker *worker);

/*
 * Any thread, while the worker exists; async-signal-safe. A command is never taken back to a milder one; WORKER_RUN only
 * wakes the worker, to look at its inbox.
 */
void worker_command(struct worker *worker, enum worker_command command);

/*
 * Has the worker use other settings from its next turn on, in place of those of its options; deadlines that are set by
 * then stay. They must live as long as the worker, those that were given before included: requests that have begun go
 * on by them. One thread at a time, while the worker exists.
 */
void worker_set(struct worker *worker, const struct worker_settings *settings);

/* How often the loop has turned. A worker that was woken and has not turned since is held up. Any thread. */
uint64_t worker_turns(const struct worker *worker);

struct worker_notices *worker_notices(struct worker *worker);

/* Adds the worker's figures, and those of its backend, to a total of the caller's. Any thread, while the worker exists. */
void worker_stats(const struct worker *worker, struct conn_stats *total);

/* For the simulator, the tests and the final log line. On the worker's thread, or when it has ended. */
const struct conn_context *worker_context(const struct worker *worker);

/*
 * Sends whose memory the kernel still reads (struct io_lent), each with a pin on its snapshot: 0 when the worker has ended, unless
 * it was aborted. On the worker's thread.
 */
unsigned worker_lent(const struct worker *worker);

/* io_describe() of the worker's backend. On the worker's thread, before it runs. */
void worker_describe(struct worker *worker, char *text, size_t size);

/* Whether that backend limits itself. Likewise. */
enum io_limits worker_limits(const struct worker *worker);

#endif
