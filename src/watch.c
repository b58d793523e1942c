/*
 * watch.c - a pass over ROOT's tree, the events of inotify, and what is said about doubts: see watch.h.
 *
 * Runs on the reloader's thread (and on the main thread before that one exists). Owns the inotify instance and the sets of
 * watcher.h.
 *
 * Directories of the tree are watched through the builder's open descriptor (/proc/self/fd/N), so that the directory
 * watched is the one that is read, whatever its path means by now. One inode has one watch descriptor an instance, so
 * a renamed directory keeps its own, and a directory that is both in the tree and on a way has one for both purposes;
 * that is why masks are only added to (IN_MASK_ADD).
 */
#include "loom/watch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/walk.h"
#include "watcher.h"

/* IN_MODIFY tells that a file is not finished; IN_CLOSE_WRITE that it may be. */
#define TREE_MASK                                                                                       \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK | IN_MASK_ADD)

enum doubt watch_doubt_of(int error)
{
	switch (error) {
	case ENOSPC:
		return DOUBT_LIMIT;
	case EACCES:
	case EPERM:
		return DOUBT_PERMISSION;
	case ENOMEM:
		return DOUBT_MEMORY;
	default:
		return DOUBT_OTHER;
	}
}

void watch_doubt(struct watch *watch, enum doubt doubt, const char *path, int error)
{
	struct doubted *doubted = &watch->doubts[doubt];
	bool absolute = path[0] == '/', root = path[0] == '\0' || strcmp(path, ".") == 0;

	if (doubted->count++)
		return;
	doubted->error = error;
	snprintf(doubted->first, sizeof(doubted->first), "%s%s%s", absolute ? "" : watch->options->root,
	         absolute || root ? "" : "/", root ? "" : path);
}

static const char *reason(enum doubt doubt, int error)
{
	switch (doubt) {
	case DOUBT_LIMIT:
		return "the limit of inotify watches is reached";
	case DOUBT_FILE_SYSTEM:
		return "its file system may change without this kernel's knowing";
	case DOUBT_WAY:
		return "there are too many links";
	default:
		return strerror(error);
	}
}

static const char *advice(enum doubt doubt, int error)
{
	if (doubt == DOUBT_LIMIT)
		return "raise the sysctl fs.inotify.max_user_watches";
	if (doubt == DOUBT_INSTANCE && error == EMFILE)
		return "raise the sysctl fs.inotify.max_user_instances, or the limit of open files";
	if (doubt == DOUBT_PERMISSION)
		return "inotify asks for permission to read a directory, not only to pass through it";
	return NULL;
}

/* "/srv/www" or "/srv/www and 3 more". */
static void name_doubted(const struct doubted *doubted, char *out, size_t size)
{
	if (doubted->count > 1)
		snprintf(out, size, "%s and %u more", doubted->first, doubted->count - 1);
	else
		snprintf(out, size, "%s", doubted->first);
}

static void tell(enum doubt doubt, const struct doubted *doubted)
{
	const char *what = advice(doubt, doubted->error);
	char names[sizeof(doubted->first) + 32];

	name_doubted(doubted, names, sizeof(names));
	if (doubt == DOUBT_FILE_SYSTEM)
		log_info("%s: %s; looked at every few seconds as well", names, reason(doubt, doubted->error));
	else if (doubt == DOUBT_POLLING)
		log_warn(
			"cannot look for changes of %s by itself: %s; the whole tree is read every few seconds instead",
			names, doubted->error == ENOSPC ? "it is too much" : strerror(doubted->error));
	else
		log_warn("cannot watch %s for changes: %s; looked at every few seconds instead%s%s%s", names,
		         reason(doubt, doubted->error), what ? " (" : "", what ? what : "", what ? ")" : "");
}

bool watch_refuses(const struct watch *watch, char *why, size_t size)
{
	if (watch->options->watch != WATCH_INOTIFY)
		return false;
	for (unsigned i = 0; i < DOUBTS; i++) {
		const struct doubted *doubted = &watch->doubts[i];
		const char *what = advice(i, doubted->error);
		char names[sizeof(doubted->first) + 32];

		if (!doubted->count)
			continue;
		name_doubted(doubted, names, sizeof(names));
		snprintf(why, size, "cannot watch %s for changes: %s (%s%s--watch=auto looks there every few seconds)",
		         names, reason(i, doubted->error), what ? what : "", what ? "; " : "");
		return true;
	}
	return false;
}

/* Each reason once, for the life of the process. What was asked for is no news: with --watch=poll everything is polled. */
static void tell_doubts(struct watch *watch)
{
	char why[1024];

	if (watch->options->watch == WATCH_INOTIFY) {
		struct doubted *once = &watch->doubts[0];

		/* At the start this is an error, and the reloader's to tell. */
		if (watch->complete > 1 && !once->told && watch_refuses(watch, why, sizeof(why))) {
			log_warn("%s; until then changes there show with SIGHUP alone", why);
			once->told = true;
		}
		return;
	}
	for (unsigned i = 0; i < DOUBTS; i++) {
		struct doubted *doubted = &watch->doubts[i];

		if (!doubted->count || doubted->told)
			continue;
		doubted->told = true;
		tell(i, doubted);
	}
}

int watch_create(struct watch **out, const struct options *options, char *why, size_t size)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	assert(options->root[0] == '/' && options->watch != WATCH_OFF);
	if (!watch) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	watch->options = options;
	watch->fd = watch->mounts = -1;
	*out = watch;
	mounts_create(watch);
	if (options->watch == WATCH_POLL)
		return 0;
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0) {
		int err = -errno;

		watch_doubt(watch, DOUBT_INSTANCE, options->root, -err);
		if (!watch_refuses(watch, why, size))
			return 0;
		watch_destroy(watch);
		return err;
	}
	return 0;
}

void watch_destroy(struct watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	if (watch->mounts >= 0)
		close(watch->mounts);
	polled_free(watch);
	known_clear(watch);
	free(watch->hops);
	free(watch->watched);
	free(watch);
}

int watch_fd(const struct watch *watch)
{
	return watch->fd;
}

unsigned watch_count(const struct watch *watch)
{
	unsigned count = 0;

	for (size_t i = 0; i < watch->count; i++)
		count += watch->watched[i].tree != 0;
	return count;
}

void watch_begin(struct watch *watch)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	watch->began = now.tv_sec;
	watch->pass++;
	watch->whole = false;
	for (unsigned i = 0; i < DOUBTS; i++)
		if (i != DOUBT_INSTANCE)
			watch->doubts[i].count = 0;
	way_to_root(watch);
	mounts_begin(watch);
}

/* Whether all that happens in the directory gives an event. */
static bool watch_tree(struct watch *watch, const char *path, int fd)
{
	char name[2 * PATH_MAX];
	struct watched *watched;
	int wd;

	if (watch->fd < 0)
		return false;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(watch->fd, name, TREE_MASK);
	if (wd < 0 && errno == ENOENT) {
		/* No /proc here. By path then; should the path have changed its meaning, an event is on its way. */
		snprintf(name, sizeof(name), "%s/%s", watch->options->root, path);
		wd = inotify_add_watch(watch->fd, name, TREE_MASK);
		if (wd < 0 && (errno == ENOENT || errno == ENOTDIR))
			return true; /* just gone, and that gives an event too */
	}
	if (wd < 0) {
		watch_doubt(watch, watch_doubt_of(errno), path, errno);
		return false;
	}
	watched = watched_add(watch, wd);
	if (!watched) {
		/* It is a new one, or it would have been found: its events would be passed over. */
		inotify_rm_watch(watch->fd, wd);
		watch_doubt(watch, DOUBT_MEMORY, path, ENOMEM);
		return false;
	}
	watched->tree = watch->pass;
	if (!way_is_unseen(fd, NULL))
		return true;
	watch_doubt(watch, DOUBT_FILE_SYSTEM, path, 0);
	return false;
}

void watch_directory(void *context, const char *path, int fd)
{
	struct watch *watch = context;

	if (!watch_tree(watch, path, fd))
		polled_directory(watch, path, fd);
}

void watch_link(void *context, const char *path)
{
	way_of_link(context, path);
}

void watch_end(struct watch *watch, bool complete)
{
	known_clear(watch);
	polled_end(watch, complete);
	if (complete) {
		watch->complete++;
		hops_forget(watch);
		watched_forget(watch);
	}
	tell_doubts(watch);
}

/* Without a name it is about the directory itself: gone, moved, unmounted (which no parent tells). */
static bool event_concerns(struct watch *watch, const struct inotify_event *event)
{
	struct watched *watched = watched_find(watch, event->wd);
	bool concerns = false;

	if (!watched)
		return false;
	if (watched->tree)
		concerns = event->len == 0 || !walk_is_hidden(watch->options, event->name);
	if (watched->hop && !concerns)
		concerns = event->len == 0 || hops_have(watch, event->wd, event->name);
	if (event->mask & IN_UNMOUNT)
		watch->remounted = true;
	if (event->mask & IN_IGNORED) {
		/* The kernel has removed the watch; the number will not be met again for a long time. */
		watched->tree = watched->hop = 0;
	}
	return concerns;
}

enum watch_news watch_read(struct watch *watch)
{
	enum watch_news news = WATCH_QUIET;

	if (watch->fd < 0)
		return WATCH_QUIET;
	for (unsigned turn = 0; turn < READS_MAX; turn++) {
		ssize_t got = read(watch->fd, watch->buffer, sizeof(watch->buffer));
		const char *at = watch->buffer;

		if (got <= 0)
			break; /* EAGAIN; and there is nothing to be done about anything else */
		while (at < watch->buffer + got) {
			const struct inotify_event *event = (const void *)at;

			if (event->mask & IN_Q_OVERFLOW)
				news = WATCH_LOST;
			else if (event_concerns(watch, event) && news == WATCH_QUIET)
				news = WATCH_CHANGED;
			at += sizeof(*event) + event->len;
		}
	}
	return news;
}
