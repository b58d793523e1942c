/*
 * reload.h - the reloader: a thread that watches ROOT (watch.h), and when it has changed and come to rest builds
 * the next snapshot, publishes it, and frees the old ones that no worker holds any more. It never touches a socket.
 *
 * Other threads switch to what is there already by way of reload_generations(); while one is pinned, nothing is built.
 */
#ifndef LOOM_RELOAD_H
#define LOOM_RELOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "loom/generations.h"
#include "loom/options.h"
#include "loom/snapshot.h"

struct reload;

/*
 * Builds and publishes the first snapshot on the calling thread; inotify watches are in place before it reads a
 * directory. inboxes: one a worker, options->workers of them, which must outlive the reloader. 0, or -errno with one
 * line in why (see build_snapshot()); -EPERM: the gate refuses the tree (gate.h). A later snapshot that it refuses
 * leaves the old one where it is, until the tree has changed again.
 */
int reload_create(struct reload **reload, const struct options *options, struct snapshot_inbox inboxes[], char *why,
                  size_t size);

/* The first snapshot, for the start-up lines; valid until reload_start(). */
const struct snapshot *reload_snapshot(const struct reload *reload);

/*
 * Has published() called, on the reloader's thread, after each later snapshot has been published: whoever knows the
 * workers can wake them, so that an idle one gives the old snapshot back now and not with its next request. Must not
 * block. Before reload_start(); optional.
 */
void reload_on_publish(struct reload *reload, void (*published)(void *context), void *context);

/* Starts the thread (all signals blocked in it). 0 or -errno. */
int reload_start(struct reload *reload);

/* What may change while the reloader runs. */
struct reload_settings {
	uint32_t settle, settle_max, keep_for; /* milliseconds: options.h */
	struct gate_rules gate;
};

/* Has the next build that is asked for, and all after it, go by other settings. Any thread. */
void reload_set(struct reload *reload, const struct reload_settings *settings);

/* Asks for a rebuild now, whatever inotify says (SIGHUP). Any thread; async-signal-safe. */
void reload_request(struct reload *reload);

enum reload_result {
	RELOAD_LIVE,    /* a new snapshot is served */
	RELOAD_SAME,    /* nothing has changed */
	RELOAD_REFUSED, /* by the gate; the old snapshot stays, as with all that follow */
	RELOAD_FAILED,
	RELOAD_PINNED, /* a generation is pinned: nothing was published */
};

#define RELOAD_RESULTS (RELOAD_PINNED + 1)

/* What became of a reload. */
struct reload_outcome {
	enum reload_result result;
	time_t at;                   /* seconds since the epoch, when it ended; 0: there was none yet */
	uint64_t ms;                 /* that it took */
	char id[GENERATION_ID_SIZE]; /* LIVE, SAME: what the tree holds, and is served */
	uint64_t files, bytes;
	char why[512]; /* the others: one line */
};

/* The same as reload_request(), with an answer: the ticket for reload_answer(). Any thread. */
uint64_t reload_ask(struct reload *reload);

/* The ticket that was given last; 0: none was. Any thread. */
uint64_t reload_asked(struct reload *reload);

/*
 * Whether a build that began after the ticket was issued has ended; outcome: of the first of these, if he who asked looks
 * before many others have asked in their turn and been answered. Any thread.
 */
bool reload_answer(struct reload *reload, uint64_t ticket, struct reload_outcome *outcome);

/* Has tell() called, on the reloader's thread, when there is something new for reload_answer(); it must not block, nor call
 * functions of this header. NULL: no more, once this has returned. Any thread. */
void reload_on_answer(struct reload *reload, void (*tell)(void *context), void *context);

/* Where the buckets of durations end, in milliseconds; one more is for what took longer. */
#define RELOAD_BOUNDS_MS                                         \
	{                                                        \
		1, 5, 10, 50, 100, 500, 1000, 5000, 10000, 60000 \
	}
#define RELOAD_BOUNDS_TEXT                                                                   \
	{                                                                                    \
		"0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "10.0", "60.0" \
	}
#define RELOAD_BOUNDS 10

struct reload_status {
	bool building;
	char watching[160]; /* how changes are noticed, for people */
	struct reload_outcome last;
	time_t succeeded;                 /* seconds since the epoch: the last that was LIVE or SAME */
	uint64_t results[RELOAD_RESULTS]; /* reloads so far, the first build included */
	uint64_t took[RELOAD_BOUNDS + 1]; /* how many of them took so long; not cumulative */
	uint64_t took_ms;                 /* all of them together */
	uint64_t pending, made, dropped;  /* variants: see variants.h */
};

/* Any thread. */
void reload_status(struct reload *reload, struct reload_status *status);

/* The snapshots: see there which thread may do what. Valid until reload_destroy(). */
struct generations *reload_generations(struct reload *reload);

/*
 * The server drains: what nobody would wait for any more is stopped early, so that it does not hold the end up. Any
 * thread.
 */
void reload_drain(struct reload *reload);

/*
 * Stops and joins the thread and frees every snapshot. All workers must have ended and have given their shares back;
 * their inboxes are retracted here. An asset still shared would be a bug: asserted. lent: the kernel may still be reading
 * snapshots' memory for clients that an abort has cut off (struct io_lent): snapshots stay, until the process has ended.
 */
void reload_destroy(struct reload *reload, bool lent);

#endif
