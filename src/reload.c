/*
 * reload.c - the reloader: it knows when the tree is to be built anew.
 *
 * One thread of its own, after reload_start(); before that and after it has been joined, the main thread. It sleeps in
 * poll(2) on the watch and on an eventfd, and wakes up for nothing else but the time of the next build and, while there
 * are retired snapshots, for looking whether they are free by now. What a build is, and what comes of it, is in
 * reload_build.c; how the reloader comes to be, and what others may ask of it, in reload_setup.c.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "loom/build.h"
#include "loom/log.h"
#include "loom/memory.h"
#include "loom/sandbox.h"
#include "loom/variants.h"
#include "loom/watch.h"
#include "reloader.h"

#define POLL_MS     5000 /* between looks at a tree that cannot be watched in full; */
#define POLL_FACTOR 20   /* and at least so many times what the last look took, so that it costs 5 % at most */
#define NAP_MIN_MS  10   /* between two looks at the watch */
#define NAP_MAX_MS  500
#define REAP_MS     10 /* until retired snapshots are looked at; doubled each time */
#define REAP_MAX_MS 2000
#define VARIANTS_MS 3000 /* while variants are being made, those that are ready are published so often */

void reload_restless(struct reload *reload, uint64_t now, uint64_t settle)
{
	if (reload->restless_since == NEVER)
		reload->restless_since = now;
	if (reload->asked && settle > ASKED_MS)
		settle = ASKED_MS;
	reload->build_at = earlier(now + settle, reload->restless_since + reload->options.settle_max);
}

/* Frees what no worker holds any more, and sets the time of the next look. */
static void reap(struct reload *reload, uint64_t now)
{
	bool left = generations_reap(reload->generations);
	bool freed = memory_held() < reload->held;
	const struct snapshot *newest = generations_newest(reload->generations);

	left |= build_sweep();
	/* What there was no room for beside them can be had now; once, as generations that are kept take room as well. */
	if (!left && newest && newest->squeezed && strcmp(newest->id, reload->squeezed) != 0) {
		memcpy(reload->squeezed, newest->id, sizeof(reload->squeezed));
		reload->build_at = earlier(reload->build_at, now);
	}
	if (reload->full && freed) {
		reload->full = false;
		reload->build_at = earlier(reload->build_at, now);
	}
	reload->held = memory_held();
	reload->reap_at = left ? now + reload->reap_wait : NEVER;
	reload->reap_wait = (uint32_t)earlier(reload->reap_wait * 2, REAP_MAX_MS);
}

void reload_reap_soon(struct reload *reload, uint64_t now)
{
	reload->reap_wait = REAP_MS;
	reload->reap_at = now + REAP_MS;
}

void reload_plan_poll(struct reload *reload, uint64_t build_took, bool again, uint64_t now)
{
	enum watch_polls polls = reload->watch ? watch_polls(reload->watch) : WATCH_POLLS_NOTHING;
	uint64_t least = again ? reload->options.settle : POLL_MS;
	uint64_t pause = reload->poll_took * POLL_FACTOR;

	if (polls == WATCH_POLLS_WHOLE && pause < build_took * POLL_FACTOR)
		pause = build_took * POLL_FACTOR;
	if (least < NAP_MIN_MS)
		least = NAP_MIN_MS;
	reload->poll_at = polls == WATCH_POLLS_NOTHING ? NEVER : now + (pause > least ? pause : least);
}

/* Variants have become ready, or turned out not to be worth having. */
static void collect_variants(struct reload *reload, uint64_t now)
{
	if (variants_collect(reload->variants) > 0)
		reload->variants_at = earlier(reload->variants_at, now + VARIANTS_MS);
	reload_tell_variants(reload);
	if (variants_pending(reload->variants) > 0)
		return;
	if (reload->variants_at == NEVER)
		reload_tell_compressed(reload);
	else
		reload->variants_at = now;
}

/*
 * Another generation is served: what it was built with may be retired, it may lack variants that are there by now, and
 * whoever has seen the one before may still ask for what only that one had.
 */
static void switched(struct reload *reload, uint64_t now)
{
	reload_reap_soon(reload, now);
	reload->has_switched = true;
	reload->variants_at = now;
}

/*
 * Looks at the watch, and then leaves it alone for a while: a tree in upheaval must not wake us for every file, and
 * still less a busy neighbour of ROOT, /tmp for one, whose events are not about us.
 */
static void look(struct reload *reload, uint64_t now)
{
	uint64_t nap = reload->options.settle;
	enum watch_news news = watch_read(reload->watch);

	if (news == WATCH_LOST)
		log_debug("more changes than inotify could count");
	if (news != WATCH_QUIET) {
		reload_restless(reload, now, reload->options.settle);
		nap /= 8;
	}
	reload->look_at = now + (nap < NAP_MIN_MS ? NAP_MIN_MS : nap > NAP_MAX_MS ? NAP_MAX_MS : nap);
}

/* Looks at what cannot be watched. A difference is like an event, and so is its going on. */
static void look_closely(struct reload *reload, uint64_t began)
{
	bool again = reload->restless_since != NEVER, changed;
	uint64_t now;

	changed = watch_poll(reload->watch, again) != WATCH_QUIET;
	now = now_ms();
	reload->poll_took = now - began;
	if (changed)
		reload_restless(reload, now, reload->options.settle);
	reload_plan_poll(reload, 0, changed, now);
}

static int sleep_for(const struct reload *reload, uint64_t now)
{
	uint64_t next = earlier(earlier(reload->build_at, earlier(reload->variants_at, reload->kept_at)),
	                        earlier(reload->reap_at, reload->poll_at));

	if (now < reload->look_at)
		next = earlier(next, reload->look_at);
	if (next == NEVER)
		return -1;
	return next <= now ? 0 : (int)earlier(next - now, 60 * 60 * 1000);
}

void *reload_run(void *argument)
{
	struct reload *reload = argument;

	pthread_setname_np(pthread_self(), "loom-reload");
	/* A thread's own on Linux: where processors are short, answers come before the next snapshot. */
	errno = 0;
	if (nice(10) < 0 && errno)
		log_debug("cannot lower the reloader's priority: %s", strerror(errno));
	sandbox_thread(SANDBOX_RELOADER);

	for (;;) {
		uint64_t now = now_ms(), events;
		struct pollfd fds[] = {
			{ .fd = reload->event, .events = POLLIN },
			{ .fd = reload->watch && now >= reload->look_at ? watch_fd(reload->watch) : -1,
			  .events = POLLIN },
			{ .fd = reload->watch ? watch_mounts_fd(reload->watch) : -1, .events = POLLPRI },
		};

		if (poll(fds, 3, sleep_for(reload, now)) < 0)
			continue; /* EINTR, after a stop and continue; revents are not set */
		now = now_ms();
		if (fds[1].revents)
			look(reload, now);
		if (fds[2].revents && watch_mounts(reload->watch) != WATCH_QUIET)
			reload_restless(reload, now, reload->options.settle);
		if (fds[0].revents && read(reload->event, &events, sizeof(events)) == sizeof(events)) {
			if (events >= EVENT_STOP)
				return NULL;
			reload_adopt(reload);
			if (events % EVENT_VARIANT) {
				reload->asked = true;
				reload->build_at = now;
			}
			if (reload->variants && events >= EVENT_VARIANT)
				collect_variants(reload, now);
			if (events >= EVENT_SWITCH)
				switched(reload, now);
		}
		if (now >= reload->poll_at)
			look_closely(reload, now);
		if (now >= reload->build_at)
			reload_rebuild(reload);
		if (now >= reload->variants_at || now >= reload->kept_at)
			reload_publish_follower(reload, now);
		if (now >= reload->reap_at)
			reap(reload, now);
	}
}
