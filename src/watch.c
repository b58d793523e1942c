/*
 * watch.c - the inotify watches on ROOT's tree and on the way to it: see watch.h.
 *
 * Runs on the reloader's thread (and on the main thread before that one exists). Owns the inotify instance, and for
 * every watched directory of the tree its watch descriptor with the number of the pass that saw it last.
 *
 * Directories of the tree are watched through the builder's open descriptor (/proc/self/fd/N), so that the directory
 * watched is the one that is read, whatever its path means by now. One inode has one watch descriptor an instance, so
 * a renamed directory keeps its own, and a directory that is both in the tree and on the way to ROOT has one for both
 * purposes; that is why masks are only added to (IN_MASK_ADD).
 */
#include "loom/watch.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "loom/log.h"

/* IN_MODIFY tells that a file is not finished; IN_CLOSE_WRITE that it may be. */
#define TREE_MASK                                                                                       \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK | IN_MASK_ADD)
#define HOP_MASK                                                                                           \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | \
	 IN_ONLYDIR | IN_DONT_FOLLOW | IN_MASK_ADD)

#define HOPS_MAX  64 /* components on the way to ROOT; a longer way leaves us blind */
#define LINKS_MAX 40 /* as the kernel has it (path_resolution(7)) */
#define READ_SIZE (32 * 1024)
#define READS_MAX 64 /* a turn; more than the default length of the kernel's queue */

/* A name that is looked up on the way to ROOT, and the directory where. */
struct hop {
	int wd;
	char name[NAME_MAX + 1];
};

/* A directory of the tree. */
struct seen {
	int wd;
	unsigned pass; /* the last one that met it */
};

struct watch {
	const char *root;
	int fd;
	unsigned pass;
	bool blind;
	bool warned; /* said why, once: of what went wrong, and of what is no fault */
	bool told;
	unsigned hops;
	struct hop hop[HOPS_MAX];
	/* Sorted by wd. The kernel hands descriptors out in rising order, so that inserting is nearly always appending. */
	struct seen *seen;
	size_t count;
	size_t room;
	alignas(struct inotify_event) char buffer[READ_SIZE];
};

/*
 * Says once, for the life of the process, why changes are looked for instead of waited for. directory: absolute, or
 * relative to ROOT.
 */
static void go_blind(struct watch *watch, const char *directory, int error)
{
	bool absolute = directory[0] == '/', root = strcmp(directory, ".") == 0;
	const char *advice = "";

	watch->blind = true;
	if (watch->warned)
		return;
	watch->warned = true;
	if (error == ENOSPC)
		advice = " (raise the sysctl fs.inotify.max_user_watches)";
	else if (error == EMFILE)
		advice = " (raise the sysctl fs.inotify.max_user_instances, or the limit of open files)";
	log_warn("cannot watch %s%s%s for changes: %s; the whole tree is looked at every few seconds instead%s",
	         absolute ? "" : watch->root, absolute || root ? "" : "/", root ? "" : directory,
	         error == ENOSPC ? "The limit of inotify watches is reached" : strerror(error), advice);
}

int watch_create(struct watch **out, const char *root)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	assert(root[0] == '/');
	if (!watch)
		return -ENOMEM;
	watch->root = root;
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0)
		go_blind(watch, root, errno);
	*out = watch;
	return 0;
}

void watch_destroy(struct watch *watch)
{
	if (watch->fd >= 0)
		close(watch->fd);
	free(watch->seen);
	free(watch);
}

int watch_fd(const struct watch *watch)
{
	return watch->fd;
}

bool watch_blind(const struct watch *watch)
{
	return watch->blind;
}

unsigned watch_count(const struct watch *watch)
{
	return (unsigned)watch->count;
}

/* Where wd is, or would have to be. */
static size_t seen_at(const struct watch *watch, int wd)
{
	size_t low = 0, high = watch->count;

	if (high > 0 && watch->seen[high - 1].wd < wd)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (watch->seen[middle].wd < wd)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool seen_has(const struct watch *watch, int wd)
{
	size_t at = seen_at(watch, wd);

	return at < watch->count && watch->seen[at].wd == wd;
}

static int seen_add(struct watch *watch, int wd)
{
	size_t at = seen_at(watch, wd);

	if (at < watch->count && watch->seen[at].wd == wd) {
		watch->seen[at].pass = watch->pass;
		return 0;
	}
	if (watch->count == watch->room) {
		size_t room = watch->room ? watch->room * 2 : 64;
		struct seen *more = reallocarray(watch->seen, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		watch->seen = more;
		watch->room = room;
	}
	memmove(&watch->seen[at + 1], &watch->seen[at], (watch->count - at) * sizeof(watch->seen[0]));
	watch->seen[at] = (struct seen){ .wd = wd, .pass = watch->pass };
	watch->count++;
	return 0;
}

static void seen_remove(struct watch *watch, int wd)
{
	size_t at = seen_at(watch, wd);

	if (at == watch->count || watch->seen[at].wd != wd)
		return;
	watch->count--;
	memmove(&watch->seen[at], &watch->seen[at + 1], (watch->count - at) * sizeof(watch->seen[0]));
}

static bool hop_has(const struct watch *watch, int wd)
{
	for (unsigned i = 0; i < watch->hops; i++)
		if (watch->hop[i].wd == wd)
			return true;
	return false;
}

/*
 * Watches directory for what happens to name in it. Returns false when the way ends here: it is not there, or there is
 * no more room for it. A directory that may not be read cannot be watched, but be walked through.
 */
static bool hop_add(struct watch *watch, const char *directory, const char *name)
{
	int wd;

	if (watch->hops == HOPS_MAX) {
		go_blind(watch, watch->root, ELOOP);
		return false;
	}
	wd = inotify_add_watch(watch->fd, directory, HOP_MASK);
	if (wd < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return false; /* just gone; the hop before this one tells when it is back */
		go_blind(watch, directory, errno);
		return errno != ENOMEM;
	}
	watch->hop[watch->hops].wd = wd;
	snprintf(watch->hop[watch->hops].name, sizeof(watch->hop[0].name), "%s", name);
	watch->hops++;
	return true;
}

/*
 * Follows ROOT's path as the kernel does, watching each directory before looking a name up in it. walked never has a
 * symbolic link in it, and dots are names like others. A change under our feet makes the walk go wrong, and gives an
 * event that makes it be done again.
 */
static void hops_watch(struct watch *watch)
{
	char walked[PATH_MAX] = "/";
	char rest[PATH_MAX], link[PATH_MAX], name[NAME_MAX + 1];
	size_t len = 1;
	unsigned links = 0;

	watch->hops = 0;
	if (strlen(watch->root) >= sizeof(rest)) {
		go_blind(watch, watch->root, ENAMETOOLONG);
		return;
	}
	strcpy(rest, watch->root);
	for (;;) {
		const char *at = rest + strspn(rest, "/");
		size_t part = strcspn(at, "/");
		size_t before = len;
		ssize_t linked;

		if (part == 0)
			return; /* this is ROOT, which the builder opens and watches itself */
		if (part > NAME_MAX || len + 1 + part >= sizeof(walked)) {
			go_blind(watch, watch->root, ENAMETOOLONG);
			return;
		}
		memcpy(name, at, part);
		name[part] = '\0';
		memmove(rest, at + part, strlen(at + part) + 1);
		if (!hop_add(watch, walked, name))
			return;
		if (len > 1)
			walked[len++] = '/';
		memcpy(walked + len, name, part + 1);
		len += part;
		linked = readlink(walked, link, sizeof(link));
		if (linked < 0) {
			if (errno == EINVAL)
				continue; /* no link, so a directory, or the next hop will see that it is none */
			return;
		}
		if (++links > LINKS_MAX || (size_t)linked + strlen(rest) >= sizeof(rest))
			return; /* the builder cannot come further either, and says so */
		memmove(rest + linked, rest, strlen(rest) + 1);
		memcpy(rest, link, (size_t)linked);
		len = link[0] == '/' ? 1 : before;
		walked[len] = '\0';
	}
}

void watch_begin(struct watch *watch)
{
	int old[HOPS_MAX];
	unsigned n = watch->hops;

	watch->pass++;
	watch->blind = watch->fd < 0;
	if (watch->fd < 0)
		return;
	for (unsigned i = 0; i < n; i++)
		old[i] = watch->hop[i].wd;
	hops_watch(watch);
	for (unsigned i = 0; i < n; i++)
		if (!hop_has(watch, old[i]) && !seen_has(watch, old[i]))
			inotify_rm_watch(watch->fd, old[i]);
}

/*
 * File systems that others can change without this kernel's taking part. An overlay is not among them: what is
 * changed through the mount itself is seen.
 */
static bool changes_unseen(int fd)
{
	struct statfs about;

	if (fstatfs(fd, &about) < 0)
		return false;
	switch ((uint32_t)about.f_type) {
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case FUSE_SUPER_MAGIC:
	case V9FS_MAGIC:
	case CODA_SUPER_MAGIC:
	case AFS_SUPER_MAGIC:
	case AFS_FS_MAGIC:
	case CEPH_SUPER_MAGIC:
	case OCFS2_SUPER_MAGIC:
		return true;
	}
	return false;
}

void watch_directory(void *context, const char *path, int fd)
{
	struct watch *watch = context;
	char name[PATH_MAX];
	int wd;

	if (watch->fd < 0)
		return;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(watch->fd, name, TREE_MASK);
	if (wd < 0 && errno == ENOENT) {
		/* No /proc here. By path then; should the path have changed its meaning, an event is on its way. */
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", watch->root, path) >= sizeof(name)) {
			go_blind(watch, path, ENAMETOOLONG);
			return;
		}
		wd = inotify_add_watch(watch->fd, name, TREE_MASK);
	}
	if (wd < 0) {
		go_blind(watch, path, errno);
		return;
	}
	if (seen_add(watch, wd) < 0) {
		go_blind(watch, path, ENOMEM);
		/* An event of a descriptor that is not known would be passed over. */
		if (!hop_has(watch, wd))
			inotify_rm_watch(watch->fd, wd);
		return;
	}
	if (!watch->blind && changes_unseen(fd)) {
		watch->blind = true;
		if (!watch->told)
			log_info("%s has file systems that may change unseen: it is looked at every few seconds",
			         watch->root);
		watch->told = true;
	}
}

void watch_end(struct watch *watch, bool complete)
{
	size_t kept = 0;

	if (!complete || watch->fd < 0)
		return;
	for (size_t i = 0; i < watch->count; i++) {
		struct seen *seen = &watch->seen[i];

		if (seen->pass == watch->pass)
			watch->seen[kept++] = *seen;
		else if (!hop_has(watch, seen->wd))
			inotify_rm_watch(watch->fd, seen->wd); /* may be gone already: EINVAL */
	}
	watch->count = kept;
}

static bool event_concerns(struct watch *watch, const struct inotify_event *event)
{
	bool concerns = seen_has(watch, event->wd);

	for (unsigned i = 0; i < watch->hops && !concerns; i++) {
		const struct hop *hop = &watch->hop[i];

		/* Without a name it is about the directory itself: gone, moved, unmounted (which no parent tells). */
		if (hop->wd == event->wd)
			concerns = event->len == 0 || strcmp(hop->name, event->name) == 0;
	}
	if (event->mask & IN_IGNORED) {
		/* The kernel has removed the watch; the number will not be met again for a long time. */
		seen_remove(watch, event->wd);
		for (unsigned i = 0; i < watch->hops; i++)
			if (watch->hop[i].wd == event->wd)
				watch->hop[i].wd = -1;
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
