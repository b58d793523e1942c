/*
 * reload_setup.c - how the reloader comes to be and ends, on the main thread; and what other threads ask of it: a note in its
 * eventfd, or a look at its report (reload_report.h). Owns what struct reload points to.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/variants.h"
#include "loom/watch.h"
#include "reloader.h"

#define THREADS_MAX 4 /* that make variants: each may take a hundred megabytes for the largest files */

/* For these threads to end, once they are told: as soon as the server drains. */
#define VARIANTS_PATIENCE_MS 1000

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

static void on_switch(void *context)
{
	notify(context, EVENT_SWITCH);
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
		.patience = VARIANTS_PATIENCE_MS,
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

static int create_generations(struct reload *reload, char *why, size_t size)
{
	const struct generations_config config = {
		.inboxes = reload->inboxes,
		.workers = reload->options.workers,
		.keep = reload->options.keep_generations,
		.on_switch = on_switch,
		.context = reload,
	};
	int err = generations_create(&reload->generations, &config);

	if (err)
		snprintf(why, size, "%s", strerror(-err));
	return err;
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
	report_init(&reload->report);
	pthread_mutex_init(&reload->settings_lock, NULL);
	reload->restless_since = reload->build_at = reload->reap_at = reload->variants_at = NEVER;
	reload->failing_since = reload->poll_at = reload->kept_at = NEVER;
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
		err = watch_create(&reload->watch, &reload->options, why, size);
		if (err < 0)
			goto fail;
	}
	err = create_generations(reload, why, size);
	if (!err)
		err = create_variants(reload, why, size);
	if (!err)
		err = reload_first_build(reload, why, size);
	if (err < 0)
		goto fail;
	*out = reload;
	return 0;

fail:
	generations_destroy(reload->generations);
	variants_destroy(reload->variants);
	if (reload->watch)
		watch_destroy(reload->watch);
	if (reload->event >= 0)
		close(reload->event);
	pthread_mutex_destroy(&reload->settings_lock);
	free(reload->root);
	free(reload);
	return err;
}

const struct snapshot *reload_snapshot(const struct reload *reload)
{
	assert(!reload->started);
	return generations_current(reload->generations);
}

void reload_on_publish(struct reload *reload, void (*published)(void *context), void *context)
{
	assert(!reload->started);
	generations_on_publish(reload->generations, published, context);
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

void reload_set(struct reload *reload, const struct reload_settings *settings)
{
	pthread_mutex_lock(&reload->settings_lock);
	reload->settings = *settings;
	reload->has_settings = true;
	pthread_mutex_unlock(&reload->settings_lock);
}

void reload_adopt(struct reload *reload)
{
	pthread_mutex_lock(&reload->settings_lock);
	if (reload->has_settings) {
		reload->options.settle = reload->settings.settle;
		reload->options.settle_max = reload->settings.settle_max;
		reload->options.keep_for = reload->settings.keep_for;
		reload->options.gate = reload->settings.gate;
	}
	reload->has_settings = false;
	pthread_mutex_unlock(&reload->settings_lock);
}

void reload_request(struct reload *reload)
{
	notify(reload, EVENT_REQUEST);
}

uint64_t reload_ask(struct reload *reload)
{
	uint64_t ticket = report_ask(&reload->report);

	notify(reload, EVENT_REQUEST);
	return ticket;
}

uint64_t reload_asked(struct reload *reload)
{
	return report_asked(&reload->report);
}

bool reload_answer(struct reload *reload, uint64_t ticket, struct reload_outcome *outcome)
{
	return report_answer(&reload->report, ticket, outcome);
}

void reload_on_answer(struct reload *reload, void (*tell)(void *context), void *context)
{
	report_on_answer(&reload->report, tell, context);
}

void reload_status(struct reload *reload, struct reload_status *status)
{
	report_status(&reload->report, status);
}

struct generations *reload_generations(struct reload *reload)
{
	return reload->generations;
}

void reload_drain(struct reload *reload)
{
	if (reload->variants)
		variants_stop(reload->variants);
}

void reload_destroy(struct reload *reload, bool lent)
{
	if (reload->started) {
		notify(reload, EVENT_STOP);
		pthread_join(reload->thread, NULL);
	}
	for (unsigned i = 0; i < reload->options.workers; i++)
		snapshot_retract(&reload->inboxes[i]);
	if (!lent)
		generations_destroy(reload->generations);
	variants_destroy(reload->variants);
	pthread_mutex_destroy(&reload->report.lock);
	pthread_mutex_destroy(&reload->settings_lock);
	if (reload->watch)
		watch_destroy(reload->watch);
	close(reload->event);
	free(reload->root);
	free(reload);
}
