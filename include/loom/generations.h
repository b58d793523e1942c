/*
 * generations.h - which snapshots there are: the current one, the earlier generations that stay for a roll-back
 * (--keep-generations), and the retired ones that a worker still holds. A generation is what was served under one id; a
 * snapshot that follows with the same id (new variants) takes its predecessor's place.
 *
 * Threads. One lock guards the list, and is held for microseconds by all but generations_visit(): workers never take
 * it.
 *   the builder's (the reloader; before and after it, the main thread) publishes what it has built, and it alone frees:
 *   generations_publish(), _reap(), _make_room(), _current(), _newest(). What these return stays valid while it builds.
 *   any thread, at any time, also during a build: generations_pin(), _rollback(), _unpin(), _list(), _visit(), _hold(),
 *   _release(). These make snapshots (build_again()) and publish them, and never free one: what they leave over is retired, and
 *   on_switch() asks the builder's thread to look at it. So a build's previous snapshot is safe while others switch.
 * Both publish into the same inboxes; the lock orders them.
 */
#ifndef LOOM_GENERATIONS_H
#define LOOM_GENERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/build.h"
#include "loom/snapshot.h"

#define GENERATION_ID_LEN  (ETAG_LEN - 2)
#define GENERATION_ID_SIZE (ETAG_LEN - 1) /* with the NUL */

/* An id may be cut to so many characters, where that is enough to tell it from all others. */
#define GENERATION_PREFIX_MIN 4

struct generations;

struct generations_config {
	struct snapshot_inbox *inboxes; /* one a worker; outlive the generations */
	unsigned workers;
	unsigned keep; /* earlier generations */
	/* After a switch by another thread than the builder's, on that thread: there may be something to free. */
	void (*on_switch)(void *context);
	void *context;
};

/* 0 or -ENOMEM. */
int generations_create(struct generations **generations, const struct generations_config *config);

/* All workers have ended, their inboxes are retracted, and nothing is held: frees every snapshot. NULL is allowed. */
void generations_destroy(struct generations *generations);

/*
 * Called after every switch, on the thread that made it: whoever knows the workers can wake them. Before other
 * threads.
 */
void generations_on_publish(struct generations *generations, void (*published)(void *context), void *context);

enum generations_kind {
	GENERATION_OF_TREE,   /* what the tree holds: a generation, unless its id is the current one's */
	GENERATION_FOLLOW_UP, /* the current generation once more, with new variants */
};

/*
 * Makes a snapshot the current one, born with one share a worker, and takes it over; earlier generations beyond the
 * number that is kept are retired. A generation that was pinned and is now left becomes the last of the earlier ones,
 * since it was served last. 0; or the snapshot is still the caller's:
 *   -EBUSY: a generation is pinned, and this is not a follow-up of it
 *   -ESTALE: a follow-up of a generation that is not the current one any more
 */
int generations_publish(struct generations *generations, struct snapshot *snapshot, enum generations_kind kind);

/*
 * What is served, and what was last built from the tree; the same unless pinned. NULL before the first. The last that
 * each has returned stays valid until generations_reap(), also when others switch and generations_make_room() is
 * called meanwhile.
 */
struct snapshot *generations_current(struct generations *generations);
struct snapshot *generations_newest(struct generations *generations);

/* Frees what is retired and held by nobody. Whether something is left to look at. */
bool generations_reap(struct generations *generations);

/*
 * Frees something that is not served, during a build: what is retired, or else the oldest generation that no worker
 * holds and that is neither the current one (pinned or not) nor the newest, which a build takes assets from. False:
 * there is nothing.
 */
bool generations_make_room(struct generations *generations);

struct generations_switch {
	char id[GENERATION_ID_SIZE]; /* that is served and pinned now */
	bool switched;               /* false: it was the current one */
	uint64_t nanoseconds;        /* from the call until all inboxes had it and the workers were told */
};

/*
 * Serves the generation with this id, or one that begins so, and holds it there: nothing is published until
 * generations_unpin(). NULL: the current one. 0, or an error:
 *   -EINVAL: less than GENERATION_PREFIX_MIN characters
 *   -ENOENT: there is none
 *   -ENOTUNIQ: there are several
 *   -ENOMEM
 */
int generations_pin(struct generations *generations, const char *id, struct generations_switch *result);

/* Pins the generation before the current one. -ENOENT: there is none; -ENOMEM. */
int generations_rollback(struct generations *generations, struct generations_switch *result);

/* Lets the tree be published again. Serves what it served. Whether something was pinned. */
bool generations_unpin(struct generations *generations);

/* Whether a generation is pinned; id, which may be NULL, gets which. */
bool generations_pinned(struct generations *generations, char id[GENERATION_ID_SIZE]);

enum generation_state {
	GENERATION_CURRENT,
	GENERATION_PINNED, /* and current */
	GENERATION_KEPT,
	GENERATION_RETIRED, /* held by a worker, whose answers are not all sent; cannot be pinned */
};

struct generation {
	char id[GENERATION_ID_SIZE];
	enum generation_state state;
	uint64_t age; /* milliseconds since it went live for the first time; of what is retired: 0 */
	uint64_t files, bytes, coded, coded_bytes;
	unsigned shares; /* workers that hold it */
	bool compared;   /* with the generation before it, as it was when it went live: */
	uint64_t added, changed, removed;
};

/* Tells of the generations, the newest first, and then of what is retired. Under the lock. False ends it. */
typedef bool generations_list_fn(void *context, const struct generation *generation);
void generations_list(struct generations *generations, generations_list_fn *fn, void *context);

/*
 * Has fn look at the current snapshot. Under the lock: a switch waits meanwhile. since: milliseconds of
 * CLOCK_MONOTONIC when this snapshot, and the counting of its hits, began.
 */
typedef void generations_visit_fn(void *context, const struct snapshot *snapshot, uint64_t since);
void generations_visit(struct generations *generations, generations_visit_fn *fn, void *context);

/*
 * A generation to read at leisure (build_diff()): it stays until it is released, by the same or another thread. id as
 * for generations_pin(), with its errors.
 */
int generations_hold(struct generations *generations, const char *id, struct snapshot **held);
void generations_release(struct generations *generations, struct snapshot *held);

#endif
