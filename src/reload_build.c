/*
 * reload_build.c - one build of the tree, and what comes of it: a snapshot that is published, or a reason why the old one
 * stays, and when it is tried again. The reloader's thread; of the first build, the main thread.
 *
 * That is the builder's thread of generations.h, where the snapshots are: the newest is where the next build takes
 * unchanged assets from.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "loom/build.h"
#include "loom/gate.h"
#include "loom/log.h"
#include "loom/memory.h"
#include "loom/variants.h"
#include "loom/watch.h"
#include "reloader.h"

#define YOUNG_MS     1000 /* a file must have been left alone for --settle, but for no more than this */
#define AGAIN_MIN_MS 100  /* before a file that was being written is tried again, however short the settle time */
#define RETRY_MS     5000 /* after any other failure, when nothing changes meanwhile; doubled each time */
#define RETRY_MAX_MS 120000

/* Whether the tree has had its time to come to rest, and is taken as it is: what cannot be read whole stays as it was. */
static bool is_restless(const struct reload *reload, uint64_t now)
{
	return reload->restless_since != NEVER && now - reload->restless_since >= reload->options.settle_max;
}

/* The present files again, with the variants that have become ready. */
static int build_as_before(struct reload *reload, struct snapshot **snapshot, char *why, size_t size)
{
	const struct build_request request = {
		.options = &reload->options,
		.workers = reload->options.workers,
		.previous = generations_current(reload->generations),
		.variants = reload->variants,
		.as_before = true,
		/* What a roll-back has taken away is missed by those who have seen it. */
		.keep_from = reload->has_switched ? generations_newest(reload->generations)
		                                  : generations_current(reload->generations),
		.now = now_ms(),
	};

	return build_snapshot(&request, snapshot, why, size);
}

static void tell_watch(void *context, const char *path, int fd)
{
	struct reload *reload = context;

	watch_directory(reload->watch, path, fd);
}

static void tell_watch_link(void *context, const char *path)
{
	struct reload *reload = context;

	watch_link(reload->watch, path);
}

static bool make_room(void *context)
{
	struct reload *reload = context;

	if (!generations_make_room(reload->generations))
		return false;
	log_debug("an earlier generation is dropped: its memory is needed (--max-memory)");
	return true;
}

/* One build, with the tree watched. */
static int build(struct reload *reload, struct snapshot **snapshot, char *why, size_t size)
{
	struct build_request request = {
		.options = &reload->options,
		.workers = reload->options.workers,
		.previous = generations_newest(reload->generations),
		.variants = reload->variants,
		.keep_from = generations_current(reload->generations),
		.now = now_ms(),
		.settle = (uint32_t)earlier(reload->options.settle, reload->asked ? ASKED_MS : YOUNG_MS),
		.restless = reload->taken_restless = is_restless(reload, now_ms()),
		.make_room = make_room,
		.directory = reload->watch ? tell_watch : NULL,
		.link = reload->watch ? tell_watch_link : NULL,
		.context = reload,
	};
	int err;

	if (reload->watch) {
		watch_begin(reload->watch);
		reload->remounted |= watch_remounted(reload->watch);
		request.remounted = reload->remounted;
	}
	err = build_snapshot(&request, snapshot, why, size);
	if (reload->watch)
		watch_end(reload->watch, err == 0);
	assert(err <= 0);
	return err;
}

/* Makes the snapshot the current one. 0, or an error of generations_publish(), and then it is freed. */
static int publish(struct reload *reload, struct snapshot *snapshot, enum generations_kind kind)
{
	int err = generations_publish(reload->generations, snapshot, kind);

	if (err)
		build_free(snapshot);
	else
		reload_reap_soon(reload, now_ms());
	return err;
}

/*
 * The tree has been read as it is: the next build is for what changes. A file that was left behind in a restless one
 * has changed after that began, which gives an event; but where nobody watches, it is looked for all the same.
 */
static void has_read(struct reload *reload, uint64_t began, uint64_t now)
{
	reload->restless_since = NEVER;
	reload->failing_since = NEVER;
	reload->full = false;
	reload->retry_wait = RETRY_MS;
	reload->build_at = reload->taken_restless ? now + reload->options.settle_max : NEVER;
	reload_plan_poll(reload, now - began, false, now);
}

/* A snapshot is there that has what is gone, for as long as it says. */
static void keep(struct reload *reload, const struct snapshot *snapshot)
{
	reload->kept_at = snapshot->kept_until > 0 ? snapshot->kept_until : NEVER;
	reload->has_switched = false;
}

/* For whoever asks how the tree is watched. */
static void describe_watch(const struct reload *reload, char *text, size_t size)
{
	static const char *const polls[] = {
		[WATCH_POLLS_NOTHING] = "",
		[WATCH_POLLS_PARTS] = "; parts are looked at from time to time",
		[WATCH_POLLS_WHOLE] = "; all is looked at from time to time",
	};

	if (!reload->watch)
		snprintf(text, size, "off");
	else if (reload->options.watch == WATCH_POLL)
		snprintf(text, size, "by looking from time to time");
	else
		snprintf(text, size, "inotify, %u directories%s", watch_count(reload->watch),
		         polls[watch_polls(reload->watch)]);
}

void reload_tell_variants(struct reload *reload)
{
	struct variants_counts counts;

	if (!reload->variants)
		return;
	variants_count(reload->variants, &counts);
	report_variants(&reload->report, counts.pending, counts.made, counts.dropped);
}

/* Everybody who has asked is answered. why NULL: the snapshot is what the tree holds. */
static void answer(struct reload *reload, enum reload_result result, const struct snapshot *snapshot, const char *why,
                   uint64_t ms)
{
	struct reload_outcome outcome = { .result = result, .ms = ms };
	char watching[sizeof(reload->report.status.watching)];

	if (snapshot) {
		memcpy(outcome.id, snapshot->id, sizeof(outcome.id));
		outcome.files = snapshot->files;
		outcome.bytes = snapshot->bytes;
	}
	snprintf(outcome.why, sizeof(outcome.why), "%s", why ? why : "");
	reload_tell_variants(reload);
	describe_watch(reload, watching, sizeof(watching));
	report_end(&reload->report, &outcome, watching);
	reload->asked = false;
}

static void succeeded(struct reload *reload, enum reload_result result, const struct snapshot *snapshot, uint64_t began,
                      uint64_t now)
{
	has_read(reload, began, now);
	reload->reason[0] = '\0';
	reload->refusal = 0;
	reload->told_pinned = reload->remounted = false;
	reload->variants_at = NEVER; /* what is ready is in it */
	keep(reload, snapshot);
	answer(reload, result, snapshot, NULL, now - began);
}

/* By the gate. Nothing is tried again before the tree changes: the same would be refused. */
static void refused(struct reload *reload, uint64_t reason, const char *why, uint64_t began, uint64_t now)
{
	has_read(reload, began, now);
	if (reload->asked || reload->refusal != reason)
		log_warn("cannot reload, the old snapshot stays: %s", why);
	else
		log_debug("cannot reload yet: %s", why);
	reload->refusal = reason;
	reload->reason[0] = '\0';
	answer(reload, RELOAD_REFUSED, NULL, why, now - began);
}

/* The old snapshot stays. The reason is told once, and again when it is another one or when somebody has asked. */
static void failed(struct reload *reload, int err, const char *why, uint64_t began, uint64_t now)
{
	if (reload->failing_since == NEVER)
		reload->failing_since = now;

	if (err == -EAGAIN) {
		uint64_t settle = reload->options.settle;

		/* It is the same unrest still, and its time goes on. */
		reload_restless(reload, now, settle > AGAIN_MIN_MS ? settle : AGAIN_MIN_MS);
		if (reload->build_at < now + AGAIN_MIN_MS)
			reload->build_at = now + AGAIN_MIN_MS;
		/* Normal while a large file arrives; worth a line only when it goes on. */
		if (now - reload->failing_since < reload->options.settle_max) {
			log_debug("reload put off: %s", why);
			report_put_off(&reload->report);
			return;
		}
	} else {
		/* When something is freed it is tried again before its time. */
		reload->full = err == -ENOSPC || err == -ENFILE;
		reload->held = memory_held();
		reload->restless_since = NEVER;
		reload->build_at = now + reload->retry_wait;
		reload->retry_wait = (uint32_t)earlier(reload->retry_wait * 2, RETRY_MAX_MS);
	}
	if (reload->asked || strcmp(reload->reason, why) != 0) {
		snprintf(reload->reason, sizeof(reload->reason), "%s", why);
		log_warn("cannot reload, the old snapshot stays: %s", why);
	}
	answer(reload, RELOAD_FAILED, NULL, why, now - began);
}

/* A generation is pinned: the tree is left alone until somebody unpins it, and with that asks for a build. */
static void held(struct reload *reload, const char *id, uint64_t began, uint64_t now)
{
	char why[128];

	snprintf(why, sizeof(why), "generation %s is pinned (loomctl unpin goes back to the tree)", id);
	if (reload->asked)
		log_warn("cannot reload: %s", why);
	else if (reload->restless_since != NEVER && !reload->told_pinned)
		log_info("the tree has changed, and is not published: %s", why);
	reload->told_pinned |= reload->restless_since != NEVER;
	reload->restless_since = NEVER;
	reload->failing_since = NEVER;
	reload->build_at = NEVER;
	answer(reload, RELOAD_PINNED, NULL, why, now - began);
}

/*
 * Whether the tree has changed since it was last asked. What it holds must have been left alone for --settle before it is
 * read, and while it is read: a build of which that is not so may have a page of one deploy and a script of the next.
 */
static bool has_moved(const struct reload *reload)
{
	return reload->watch && watch_read(reload->watch) != WATCH_QUIET;
}

/* The same of what has just been read, with a look at what no event tells of; that takes as long as it is large. */
static bool moved_meanwhile(const struct reload *reload, bool changed)
{
	if (has_moved(reload))
		return true;
	return changed && reload->watch && watch_polls(reload->watch) != WATCH_POLLS_NOTHING &&
	       watch_poll(reload->watch, true) != WATCH_QUIET;
}

void reload_rebuild(struct reload *reload)
{
	struct snapshot *snapshot = NULL, *current;
	char why[sizeof(reload->reason)] = "", id[GENERATION_ID_SIZE];
	uint64_t began = now_ms(), now, reason;
	bool asked = reload->asked, changed;
	int err;

	if (has_moved(reload) && !asked && !is_restless(reload, began)) {
		reload_restless(reload, began, reload->options.settle);
		return;
	}
	report_begin(&reload->report);
	if (generations_pinned(reload->generations, id)) {
		held(reload, id, began, began);
		return;
	}
	err = build(reload, &snapshot, why, sizeof(why));
	if (build_sweep())
		reload_reap_soon(reload, now_ms());
	if (err < 0) {
		failed(reload, err, why[0] ? why : strerror(-err), began, now_ms());
		return;
	}
	assert(snapshot);
	current = generations_current(reload->generations);
	changed = strcmp(snapshot->id, current->id) != 0;
	if (!reload->taken_restless && moved_meanwhile(reload, changed)) {
		build_free(snapshot);
		failed(reload, -EAGAIN, "the tree changed while it was being read", began, now_ms());
		return;
	}
	if (changed && gate_check(&reload->options, snapshot, current, &reason, why, sizeof(why)) < 0) {
		build_free(snapshot);
		refused(reload, reason, why, began, now_ms());
		return;
	}
	if (build_same(current, snapshot)) {
		build_free(snapshot);
		snapshot = current;
	} else if (publish(reload, snapshot, GENERATION_OF_TREE) < 0) {
		/* Pinned meanwhile; or even unpinned again, and then a request for a build is waiting. */
		if (!generations_pinned(reload->generations, id))
			memcpy(id, current->id, sizeof(id));
		held(reload, id, began, now_ms());
		return;
	}
	if (changed && reload->variants)
		variants_sweep(reload->variants);
	now = now_ms();
	if (changed && snapshot->kept > 0)
		log_info("%" PRIu64 " files of earlier snapshots are still served, %" PRIu64
		         " bytes (--keep-generations)",
		         snapshot->kept, snapshot->kept_bytes);
	if (changed)
		log_info("reloaded: snapshot %s, %" PRIu64 " files, %" PRIu64 " bytes, in %" PRIu64 " ms", snapshot->id,
		         snapshot->files, snapshot->bytes, now - began);
	else if (asked)
		log_info("reloaded: nothing has changed, snapshot %s stays (%" PRIu64 " ms)", snapshot->id,
		         now - began);
	else
		log_debug("reloaded: the same contents (%" PRIu64 " ms)", now - began);
	succeeded(reload, changed ? RELOAD_LIVE : RELOAD_SAME, snapshot, began, now);
}

static void tell_follower(struct reload *reload, const struct snapshot *snapshot, uint64_t kept)
{
	if (snapshot->kept < kept)
		log_debug("%" PRIu64 " files that are gone are no longer served, %" PRIu64 " still are",
		          kept - snapshot->kept, snapshot->kept);
	else if (reload->variants)
		reload->compressing = true;
}

void reload_tell_compressed(struct reload *reload)
{
	const struct snapshot *current = generations_current(reload->generations);

	if (!reload->compressing || variants_pending(reload->variants) > 0)
		return;
	reload->compressing = false;
	log_info("compressed: snapshot %s has %" PRIu64 " variants of %" PRIu64 " bytes", current->id, current->coded,
	         current->coded_bytes);
}

void reload_publish_follower(struct reload *reload, uint64_t now)
{
	struct snapshot *snapshot = NULL, *current;
	char why[sizeof(reload->reason)] = "";
	uint64_t kept;
	int err = build_as_before(reload, &snapshot, why, sizeof(why));

	reload_tell_variants(reload);
	reload->variants_at = reload->kept_at = NEVER;
	current = generations_current(reload->generations);
	kept = current->kept;
	if (!err && build_same(current, snapshot)) {
		keep(reload, snapshot);
		build_free(snapshot);
		reload_tell_compressed(reload);
		return;
	}
	if (!err) {
		err = publish(reload, snapshot, GENERATION_FOLLOW_UP);
		if (err == -ESTALE) {
			reload->variants_at = now; /* another generation is served by now: of that one, then */
			return;
		}
	}
	if (err) {
		/* An older snapshot may be in the way that is gone by then. */
		reload->variants_at = now + RETRY_MAX_MS;
		log_warn("cannot publish what has been compressed: %s", why[0] ? why : strerror(-err));
		return;
	}
	keep(reload, snapshot);
	tell_follower(reload, snapshot, kept);
	reload_tell_compressed(reload);
}

int reload_first_build(struct reload *reload, char *why, size_t size)
{
	const struct timespec pause = { .tv_nsec = AGAIN_MIN_MS * 1000000L };
	uint64_t began = now_ms();
	struct snapshot *snapshot = NULL;
	uint64_t reason;
	int err;

	reload->restless_since = began;
	for (;;) {
		bool last = is_restless(reload, now_ms());

		err = build(reload, &snapshot, why, size);
		if (err != -EAGAIN || last)
			break;
		nanosleep(&pause, NULL);
	}
	if (err < 0)
		return err;
	if (reload->watch && watch_refuses(reload->watch, why, size)) {
		build_free(snapshot);
		return -EOPNOTSUPP;
	}
	err = gate_check(&reload->options, snapshot, NULL, &reason, why, size);
	if (err < 0) {
		build_free(snapshot);
		return err;
	}
	err = publish(reload, snapshot, GENERATION_OF_TREE);
	assert(err == 0); /* nobody can have pinned anything */
	succeeded(reload, RELOAD_LIVE, snapshot, began, now_ms());
	return 0;
}
