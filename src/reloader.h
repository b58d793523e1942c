/*
 * reloader.h - the reloader's state, shared by reload.c (its thread), reload_build.c (a build, and what comes of it) and
 * reload_setup.c (its beginning and end, and what others ask of it). Private to these three.
 */
#ifndef LOOM_RELOADER_H
#define LOOM_RELOADER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "loom/generations.h"
#include "loom/options.h"
#include "loom/reload.h"
#include "reload_report.h"

#define NEVER UINT64_MAX

/* When somebody says that he is done, the tree must have been left alone for --settle, but for no more than this. */
#define ASKED_MS 100

/*
 * What the eventfd counts: requests, variants that have become ready, switches to a generation by others, and at last the
 * order to end. One that overflows into the next asks for a look too many, and not for one too few.
 */
#define EVENT_REQUEST UINT64_C(1)
#define EVENT_VARIANT (UINT64_C(1) << 31)
#define EVENT_SWITCH  (UINT64_C(1) << 55)
#define EVENT_STOP    (UINT64_C(1) << 62)

struct reload {
	struct options options; /* a copy, whose root is absolute */
	char *root;
	struct snapshot_inbox *inboxes;
	struct generations *generations;
	struct report report;
	struct watch *watch;       /* NULL with --watch off */
	struct variants *variants; /* NULL with --no-compress */
	int event;
	bool started;
	pthread_t thread;
	pthread_mutex_t settings_lock; /* the next two */
	bool has_settings;
	struct reload_settings settings; /* for the thread to adopt */

	/* Milliseconds of the monotonic clock. */
	uint64_t restless_since; /* the first change that is not in a snapshot yet; NEVER */
	uint64_t build_at;
	uint64_t look_at; /* at the watch, not before */
	uint64_t poll_at; /* what cannot be watched is looked at */
	uint64_t poll_took;
	bool taken_restless; /* by the last build */
	bool remounted;      /* since the build of what is served */
	uint64_t reap_at;
	uint64_t variants_at; /* variants that are ready are published then */
	uint64_t kept_at;     /* something that is gone has been served long enough */
	uint64_t failing_since;
	uint32_t reap_wait;
	uint32_t retry_wait;

	bool asked;                        /* somebody waits for an answer in the log */
	bool full;                         /* the last build failed for want of memory or descriptors, */
	uint64_t held;                     /* and so much was held then, or at the last look since */
	char squeezed[GENERATION_ID_SIZE]; /* the last that was built once more for want of memory */
	bool compressing;  /* variants have been published, and it was not told yet that all are there */
	bool has_switched; /* others have, and no snapshot has followed yet */
	bool told_pinned;  /* that the tree has changed and is not published */
	char reason[512];  /* of the last failure that was logged */
	uint64_t refusal;  /* the same of a refusal by the gate; 0: there was none since the last success */
};

/*
 * Builds, checks and publishes the first snapshot. A tree that is being deployed at this moment gets --settle-max to come to
 * rest; then what can be read whole is served. 0, or -errno with one line in why.
 */
int reload_first_build(struct reload *reload, char *why, size_t size);

/* On the thread: adopts settings that others have for it. */
void reload_adopt(struct reload *reload);

/* The thread. */
void *reload_run(void *reload);

/* Milliseconds of the monotonic clock. */
static inline uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static inline uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* reload.c: the tree has changed: it has until now + settle to change again, but not for ever. */
void reload_restless(struct reload *reload, uint64_t now, uint64_t settle);

/* A snapshot has been retired. */
void reload_reap_soon(struct reload *reload, uint64_t now);

/*
 * When what cannot be watched is looked at next. While it is changing (again), that is when it may have come to rest.
 * build_took: of the last build, which is what looking costs where it means to build.
 */
void reload_plan_poll(struct reload *reload, uint64_t build_took, bool again, uint64_t now);

/* reload_build.c: builds the tree, if it is at rest; publishes what is new; answers whoever has asked. */
void reload_rebuild(struct reload *reload);

/* The same files again: with variants that are ready, and without what has been kept for long enough. */
void reload_publish_follower(struct reload *reload, uint64_t now);

/* Logs that all variants are there, when some have been published and nothing is pending any more. */
void reload_tell_compressed(struct reload *reload);

/* For whoever asks what has become of variants. */
void reload_tell_variants(struct reload *reload);

#endif
