/*
 * reload.c - the reloader: it knows when the tree is to be built anew, and which snapshots are still held.
 *
 * One thread of its own, after reload_start(); before that and after it has been joined, the main thread. It owns
 * every snapshot: the current one, which is also where the next build takes unchanged assets from, and the retired
 * ones that a worker still holds. It sleeps in poll(2) on the watch and on an eventfd, and wakes up for nothing else
 * but the time of the next build and, while there are retired snapshots, for looking whether they are free by now.
 */
#include "loom/reload.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loom/build.h"
#include "loom/gate.h"
#include "loom/log.h"
#include "loom/variants.h"
#include "loom/watch.h"

#define NEVER        UINT64_MAX
#define AGAIN_MIN_MS 100  /* before a file that was being written is tried again, however short the settle time */
#define RETRY_MS     5000 /* after any other failure, when nothing changes meanwhile; doubled each time */
#define RETRY_MAX_MS 120000
#define POLL_MS      5000 /* between looks at a tree that cannot be watched in full; */
#define POLL_FACTOR  20   /* and at least so many times what the last look took, so that it costs 5 % at most */
#define NAP_MIN_MS   10   /* between two looks at the watch */
#define NAP_MAX_MS   500
#define REAP_MS      10 /* until retired snapshots are looked at; doubled each time */
#define REAP_MAX_MS  2000
#define VARIANTS_MS  3000 /* while variants are being made, those that are ready are published so often */
#define THREADS_MAX  4    /* that make variants: each may take a hundred megabytes for the largest files */

/* What the eventfd counts: requests, variants that have become ready, and at last the order to end. */
#define EVENT_REQUEST UINT64_C(1)
#define EVENT_VARIANT (UINT64_C(1) << 31)
#define EVENT_STOP    (UINT64_C(1) << 62)

struct reload {
	struct options options; /* a copy, whose root is absolute */
	char *root;
	struct snapshot_inbox *inboxes;
	void (*published)(void *context);
	void *context;
	struct watch *watch;       /* NULL with --watch off */
	struct variants *variants; /* NULL with --no-compress */
	int event;
	bool started;
	pthread_t thread;

	struct snapshot *current;
	struct snapshot **retired;
	size_t retirees;
	size_t room;

	/* Milliseconds of the monotonic clock. */
	uint64_t restless_since; /* the first change that is not in a snapshot yet; NEVER */
	uint64_t build_at;
	uint64_t look_at; /* at the watch, not before */
	uint64_t reap_at;
	uint64_t variants_at; /* variants that are ready are published then */
	uint64_t failing_since;
	uint32_t reap_wait;
	uint32_t retry_wait;

	bool asked;       /* somebody waits for an answer in the log */
	char reason[512]; /* of the last failure that was logged */
	uint64_t refusal; /* the same of a refusal by the gate; 0: there was none since the last success */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The tree has changed: it has until now + settle to change again, but not for ever. */
static void restless(struct reload *reload, uint64_t now, uint64_t settle)
{
	if (reload->restless_since == NEVER)
		reload->restless_since = now;
	reload->build_at = earlier(now + settle, reload->restless_since + reload->options.settle_max);
}

/* The present files again, with the variants that have become ready. */
static int build_as_before(struct reload *reload, struct snapshot **snapshot, char *why, size_t size)
{
	const struct build_request request = {
		.options = &reload->options,
		.workers = reload->options.workers,
		.previous = reload->current,
		.variants = reload->variants,
		.as_before = true,
	};

	return build_snapshot(&request, snapshot, why, size);
}

/* One build, with the tree watched. */
static int build(struct reload *reload, struct snapshot **snapshot, char *why, size_t size)
{
	const struct build_request request = {
		.options = &reload->options,
		.workers = reload->options.workers,
		.previous = reload->current,
		.variants = reload->variants,
		.directory = reload->watch ? watch_directory : NULL,
		.context = reload->watch,
	};
	int err;

	if (reload->watch)
		watch_begin(reload->watch);
	err = build_snapshot(&request, snapshot, why, size);
	if (reload->watch)
		watch_end(reload->watch, err == 0);
	assert(err <= 0);
	return err;
}

/* Frees what no worker holds any more, and sets the time of the next look. */
static void reap(struct reload *reload, uint64_t now)
{
	size_t kept = 0, before = reload->retirees;

	for (size_t i = 0; i < reload->retirees; i++) {
		if (snapshot_unused(reload->retired[i]))
			build_free(reload->retired[i]);
		else
			reload->retired[kept++] = reload->retired[i];
	}
	reload->retirees = kept;
	/* What there was no room for beside them can be had now. */
	if (kept < before && reload->current->squeezed)
		reload->build_at = earlier(reload->build_at, now);
	reload->reap_at = kept ? now + reload->reap_wait : NEVER;
	reload->reap_wait = (uint32_t)earlier(reload->reap_wait * 2, REAP_MAX_MS);
}

/* Makes the snapshot the current one. 0 or -ENOMEM, and then nothing has happened. */
static int publish(struct reload *reload, struct snapshot *snapshot)
{
	if (reload->current) {
		if (reload->retirees == reload->room) {
			size_t room = reload->room ? reload->room * 2 : 8;
			struct snapshot **more = reallocarray(reload->retired, room, sizeof(*more));

			if (!more)
				return -ENOMEM;
			reload->retired = more;
			reload->room = room;
		}
		reload->retired[reload->retirees++] = reload->current;
		reload->reap_wait = REAP_MS;
		reload->reap_at = now_ms() + REAP_MS;
	}
	snapshot_publish(snapshot, reload->inboxes, reload->options.workers);
	reload->current = snapshot;
	if (reload->published)
		reload->published(reload->context);
	return 0;
}

/* Whether the tree may change without an event: then it is built from time to time, and compared. */
static bool changes_unseen(const struct reload *reload)
{
	if (!reload->watch)
		return false; /* it was asked for */
	/* A link may lead to a file whose directory is not in the tree. */
	return watch_blind(reload->watch) || reload->options.symlinks == SYMLINKS_FOLLOW;
}

/* The tree has been read as it is: the next build is for what changes. */
static void has_read(struct reload *reload, uint64_t began, uint64_t now)
{
	reload->restless_since = NEVER;
	reload->failing_since = NEVER;
	reload->retry_wait = RETRY_MS;
	reload->build_at = NEVER;
	if (changes_unseen(reload)) {
		uint64_t pause = (now - began) * POLL_FACTOR;

		reload->build_at = now + (pause > POLL_MS ? pause : POLL_MS);
	}
}

static void succeeded(struct reload *reload, uint64_t began, uint64_t now)
{
	has_read(reload, began, now);
	reload->reason[0] = '\0';
	reload->refusal = 0;
	reload->asked = false;
	reload->variants_at = NEVER; /* what is ready is in it */
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
	reload->asked = false;
}

/* The old snapshot stays. The reason is told once, and again when it is another one or when somebody has asked. */
static void failed(struct reload *reload, int err, const char *why, uint64_t now)
{
	reload->restless_since = NEVER;
	if (reload->failing_since == NEVER)
		reload->failing_since = now;

	if (err == -EAGAIN) {
		uint64_t settle = reload->options.settle;

		restless(reload, now, settle > AGAIN_MIN_MS ? settle : AGAIN_MIN_MS);
		/* Normal while a large file arrives; worth a line only when it goes on. */
		if (now - reload->failing_since < reload->options.settle_max) {
			log_debug("reload put off: %s", why);
			return;
		}
	} else {
		reload->build_at = now + reload->retry_wait;
		reload->retry_wait = (uint32_t)earlier(reload->retry_wait * 2, RETRY_MAX_MS);
	}
	if (reload->asked || strcmp(reload->reason, why) != 0) {
		snprintf(reload->reason, sizeof(reload->reason), "%s", why);
		log_warn("cannot reload, the old snapshot stays: %s", why);
	}
	reload->asked = false;
}

static void rebuild(struct reload *reload)
{
	struct snapshot *snapshot = NULL;
	char why[sizeof(reload->reason)] = "";
	uint64_t began = now_ms(), now, reason;
	bool asked = reload->asked, changed;
	int err = build(reload, &snapshot, why, sizeof(why));

	if (err < 0) {
		failed(reload, err, why[0] ? why : strerror(-err), now_ms());
		return;
	}
	assert(snapshot);
	changed = strcmp(snapshot->id, reload->current->id) != 0;
	if (changed && gate_check(&reload->options, snapshot, reload->current, &reason, why, sizeof(why)) < 0) {
		build_free(snapshot);
		refused(reload, reason, why, began, now_ms());
		return;
	}
	if (build_same(reload->current, snapshot)) {
		build_free(snapshot);
	} else if ((err = publish(reload, snapshot)) < 0) {
		build_free(snapshot);
		failed(reload, err, strerror(-err), now_ms());
		return;
	}
	now = now_ms();
	if (changed)
		log_info("reloaded: snapshot %s, %" PRIu64 " files, %" PRIu64 " bytes, in %" PRIu64 " ms",
		         reload->current->id, reload->current->files, reload->current->bytes, now - began);
	else if (asked)
		log_info("reloaded: nothing has changed, snapshot %s stays (%" PRIu64 " ms)", reload->current->id,
		         now - began);
	else
		log_debug("reloaded: the same contents (%" PRIu64 " ms)", now - began);
	succeeded(reload, began, now);
}

/* Variants have become ready, or turned out not to be worth having. */
static void collect_variants(struct reload *reload, uint64_t now)
{
	if (variants_collect(reload->variants) > 0)
		reload->variants_at = earlier(reload->variants_at, now + VARIANTS_MS);
	if (variants_pending(reload->variants) == 0 && reload->variants_at != NEVER)
		reload->variants_at = now;
}

static void publish_variants(struct reload *reload, uint64_t now)
{
	struct snapshot *snapshot = NULL;
	char why[sizeof(reload->reason)] = "";
	int err = build_as_before(reload, &snapshot, why, sizeof(why));

	reload->variants_at = NEVER;
	if (!err && build_same(reload->current, snapshot)) {
		build_free(snapshot);
		return;
	}
	if (!err) {
		err = publish(reload, snapshot);
		if (err)
			build_free(snapshot);
	}
	if (err) {
		/* An older snapshot may be in the way that is gone by then. */
		reload->variants_at = now + RETRY_MAX_MS;
		log_warn("cannot publish what has been compressed: %s", why[0] ? why : strerror(-err));
	} else if (variants_pending(reload->variants) == 0) {
		log_info("compressed: snapshot %s has %" PRIu64 " variants of %" PRIu64 " bytes", snapshot->id,
		         snapshot->coded, snapshot->coded_bytes);
	}
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
		restless(reload, now, reload->options.settle);
		nap /= 8;
	}
	reload->look_at = now + (nap < NAP_MIN_MS ? NAP_MIN_MS : nap > NAP_MAX_MS ? NAP_MAX_MS : nap);
}

static int sleep_for(const struct reload *reload, uint64_t now)
{
	uint64_t next = earlier(earlier(reload->build_at, reload->variants_at), reload->reap_at);

	if (now < reload->look_at)
		next = earlier(next, reload->look_at);
	if (next == NEVER)
		return -1;
	return next <= now ? 0 : (int)earlier(next - now, 60 * 60 * 1000);
}

static void *reload_run(void *argument)
{
	struct reload *reload = argument;

	pthread_setname_np(pthread_self(), "loom-reload");
	/* A thread's own on Linux: where processors are short, answers come before the next snapshot. */
	errno = 0;
	if (nice(10) < 0 && errno)
		log_debug("cannot lower the reloader's priority: %s", strerror(errno));

	for (;;) {
		uint64_t now = now_ms(), events;
		struct pollfd fds[] = {
			{ .fd = reload->event, .events = POLLIN },
			{ .fd = reload->watch && now >= reload->look_at ? watch_fd(reload->watch) : -1,
			  .events = POLLIN },
		};

		if (poll(fds, 2, sleep_for(reload, now)) < 0)
			continue; /* EINTR, after a stop and continue; revents are not set */
		now = now_ms();
		if (fds[1].revents)
			look(reload, now);
		if (fds[0].revents && read(reload->event, &events, sizeof(events)) == sizeof(events)) {
			if (events >= EVENT_STOP)
				return NULL;
			if (events % EVENT_VARIANT) {
				reload->asked = true;
				reload->build_at = now;
			}
			if (events >= EVENT_VARIANT)
				collect_variants(reload, now);
		}
		if (now >= reload->build_at)
			rebuild(reload);
		if (now >= reload->variants_at)
			publish_variants(reload, now);
		if (now >= reload->reap_at)
			reap(reload, now);
	}
}

/* ROOT without the working directory: it may be deleted and made again, and "." would not find the new one. */
static char *absolute(const char *root)
{
	char *cwd, *path = NULL;

	if (root[0] == '/')
		return strdup(root);
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return NULL;
	if (strcmp(root, ".") == 0)
		return cwd;
	if (asprintf(&path, "%s/%s", cwd, root) < 0)
		path = NULL;
	free(cwd);
	return path;
}

/* The first build. A tree that is being deployed at this moment gets a little time to come to rest. */
static int first_build(struct reload *reload, char *why, size_t size)
{
	const struct timespec pause = { .tv_nsec = AGAIN_MIN_MS * 1000000L };
	uint64_t began = now_ms();
	struct snapshot *snapshot = NULL;
	uint64_t reason;
	int err;

	while ((err = build(reload, &snapshot, why, size)) == -EAGAIN && now_ms() - began < reload->options.settle_max)
		nanosleep(&pause, NULL);
	if (err < 0)
		return err;
	err = gate_check(&reload->options, snapshot, NULL, &reason, why, size);
	if (err < 0) {
		build_free(snapshot);
		return err;
	}
	err = publish(reload, snapshot);
	assert(err == 0); /* there is none to retire */
	succeeded(reload, began, now_ms());
	return 0;
}

static void notify(const struct reload *reload, uint64_t what)
{
	int saved = errno;
	ssize_t written;

	/* Can fail only when it has been asked 2^64 times: then it knows. */
	written = write(reload->event, &what, sizeof(what));
	(void)written;
	errno = saved;
}

static void variant_news(void *context)
{
	notify(context, EVENT_VARIANT);
}

/* The cache would be served, and each file in it a reason to look at the tree again. */
static int refuse_cache_in_root(const struct reload *reload, char *why, size_t size)
{
	const char *dir = reload->options.cache_dir;
	char *root = realpath(reload->root, NULL), *cache = dir ? realpath(dir, NULL) : NULL;
	size_t len = root ? strlen(root) : 0;
	bool inside = root && cache && strncmp(cache, root, len) == 0 &&
	              (cache[len] == '/' || cache[len] == '\0' || len == 1);

	free(root);
	free(cache);
	if (!inside)
		return 0;
	snprintf(why, size, "the cache directory %s lies in ROOT, where it would be served (choose one outside)", dir);
	return -EINVAL;
}

static int create_variants(struct reload *reload, char *why, size_t size)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const struct variants_config config = {
		.threads = cpus < 1             ? 1
		           : cpus > THREADS_MAX ? THREADS_MAX
		                                : (unsigned)cpus,
		.cache_dir = reload->options.cache_dir,
		.max_memory = reload->options.max_memory,
		.news = variant_news,
		.context = reload,
	};

	int err;

	if (!reload->options.compress || !reload->options.encodings) {
		if (reload->options.cache_dir)
			log_warn(
				"--cache-dir has no effect: nothing is compressed (--no-compress, or --encodings none)");
		return 0;
	}
	err = variants_create(&reload->variants, &config, why, size);
	return err ? err : refuse_cache_in_root(reload, why, size);
}

int reload_create(struct reload **out, const struct options *options, struct snapshot_inbox inboxes[], char *why,
                  size_t size)
{
	struct reload *reload = calloc(1, sizeof(*reload));
	int err;

	assert(options->workers > 0);
	if (!reload) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	reload->options = *options;
	reload->inboxes = inboxes;
	reload->restless_since = reload->build_at = reload->reap_at = reload->variants_at = NEVER;
	reload->failing_since = NEVER;
	reload->event = -1;
	reload->root = absolute(options->root);
	if (!reload->root) {
		err = -errno;
		snprintf(why, size, "cannot find the way to %s: %s", options->root, strerror(-err));
		goto fail;
	}
	reload->options.root = reload->root;
	reload->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (reload->event < 0) {
		err = -errno;
		snprintf(why, size, "cannot create an eventfd: %s", strerror(-err));
		goto fail;
	}
	if (options->watch != WATCH_OFF) {
		err = watch_create(&reload->watch, reload->root);
		if (err < 0) {
			snprintf(why, size, "%s", strerror(-err));
			goto fail;
		}
	}
	err = create_variants(reload, why, size);
	if (!err)
		err = first_build(reload, why, size);
	if (err < 0)
		goto fail;
	*out = reload;
	return 0;

fail:
	variants_destroy(reload->variants);
	if (reload->watch)
		watch_destroy(reload->watch);
	if (reload->event >= 0)
		close(reload->event);
	free(reload->root);
	free(reload);
	return err;
}

const struct snapshot *reload_snapshot(const struct reload *reload)
{
	assert(!reload->started);
	return reload->current;
}

void reload_on_publish(struct reload *reload, void (*published)(void *context), void *context)
{
	assert(!reload->started);
	reload->published = published;
	reload->context = context;
}

int reload_start(struct reload *reload)
{
	sigset_t all, before;
	int err;

	assert(!reload->started);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&reload->thread, NULL, reload_run, reload);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	reload->started = err == 0;
	return -err;
}

void reload_request(struct reload *reload)
{
	notify(reload, EVENT_REQUEST);
}

void reload_destroy(struct reload *reload)
{
	if (reload->started) {
		notify(reload, EVENT_STOP);
		pthread_join(reload->thread, NULL);
	}
	for (unsigned i = 0; i < reload->options.workers; i++)
		snapshot_retract(&reload->inboxes[i]);
	reap(reload, now_ms());
	assert(reload->retirees == 0);
	assert(snapshot_unused(reload->current));
	build_free(reload->current);
	variants_destroy(reload->variants);
	free(reload->retired);
	if (reload->watch)
		watch_destroy(reload->watch);
	close(reload->event);
	free(reload->root);
	free(reload);
}
