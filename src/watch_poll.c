/*
 * watch_poll.c - what is looked at from time to time, since inotify does not serve: directories of the tree, and ways of
 * links. See watch.h.
 *
 * Of each there are its path and its signature. Entries lie packed in one block of memory a pass: tens of bytes each, and
 * at most POLLED_MAX bytes together.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "loom/walk.h"
#include "watcher.h"

#define RECENT_S 3    /* the granularity of the coarsest clock (FAT: two seconds), and a little */
#define FUTURE_S 3600 /* a time that is later was set by somebody; less is the difference of two machines' clocks */

struct polled {
	uint64_t signature;
	uint16_t size; /* to the next one */
	bool way;
	bool doubted; /* a write in the moment of the signature might not show in it */
	char path[];
};

static_assert(sizeof(struct polled) + PATH_MAX + 8 < UINT16_MAX, "size");

uint64_t signature_of(uint64_t seed, const char *name, const struct stat *st, bool with_times)
{
	uint64_t values[8] = { st->st_dev, st->st_ino, st->st_mode };

	if (with_times) {
		values[3] = (uint64_t)st->st_size;
		values[4] = (uint64_t)st->st_mtim.tv_sec;
		values[5] = (uint64_t)st->st_ctim.tv_sec;
		values[6] = (uint64_t)st->st_mtim.tv_nsec << 32 | (uint64_t)st->st_ctim.tv_nsec;
	}
	values[7] = XXH3_64bits(name, strlen(name));
	return XXH3_64bits_withSeed(values, sizeof(values), seed);
}

static bool time_recent(int64_t time, int64_t now)
{
	return time >= now - RECENT_S && time <= now + FUTURE_S;
}

/* Both times, as there are file systems that keep only one of them. */
bool signature_recent(const struct stat *st, int64_t now)
{
	return time_recent(st->st_mtim.tv_sec, now) || time_recent(st->st_ctim.tv_sec, now);
}

static int64_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec;
}

/* The signature of one entry as the walk would see it; a link's target's is that of its way. */
static uint64_t entry_signature(int dir, const char *name, int64_t now, bool *recent)
{
	char target[PATH_MAX];
	uint64_t signature;
	struct stat st;
	ssize_t len;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return XXH3_64bits_withSeed(name, strlen(name), (uint64_t)errno);
	/* What happens in a directory below is that one's own. */
	signature = signature_of(0, name, &st, S_ISREG(st.st_mode));
	if (S_ISREG(st.st_mode) && signature_recent(&st, now))
		*recent = true;
	if (S_ISLNK(st.st_mode) && (len = readlinkat(dir, name, target, sizeof(target))) >= 0)
		signature = XXH3_64bits_withSeed(target, (size_t)len, signature);
	return signature;
}

/*
 * Takes over fd. The order in which a file system gives the names is its own, and so the sum is taken. -errno when the
 * directory cannot be read for a reason that says nothing about it.
 */
static int directory_signature(const struct options *options, int fd, int64_t now, uint64_t *out, bool *recent)
{
	uint64_t signature;
	struct dirent *entry;
	struct stat st;
	DIR *dir;
	int err = 0;

	*recent = false;
	*out = 0;
	dir = fdopendir(fd);
	if (!dir || fstat(fd, &st) < 0) {
		err = -errno;
		if (dir)
			closedir(dir);
		else
			close(fd);
		return err;
	}
	signature = signature_of(0, "", &st, false);
	for (errno = 0; (entry = readdir(dir)); errno = 0) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    !walk_is_hidden(options, entry->d_name))
			signature += entry_signature(fd, entry->d_name, now, recent);
	}
	err = -errno;
	closedir(dir);
	*out = signature;
	return err;
}

static int add(struct polled_list *list, const char *path, uint64_t signature, bool way, bool doubted)
{
	size_t len = strlen(path) + 1, size = (sizeof(struct polled) + len + 7) & ~(size_t)7;
	struct polled *polled;

	if (list->room - list->len < size) {
		size_t room = list->room * 2 + size + 4096;
		char *more;

		if (room > POLLED_MAX)
			room = POLLED_MAX;
		if (room - list->len < size)
			return -ENOSPC;
		more = realloc(list->bytes, room);
		if (!more)
			return -ENOMEM;
		list->bytes = more;
		list->room = room;
	}
	polled = (struct polled *)(void *)(list->bytes + list->len);
	*polled = (struct polled){ .signature = signature, .size = (uint16_t)size, .way = way, .doubted = doubted };
	memcpy(polled->path, path, len);
	list->len += size;
	list->count++;
	return 0;
}

static void poll_from_now_on(struct watch *watch, const char *path, uint64_t signature, bool way, bool doubted)
{
	int err = add(&watch->polling, path, signature, way, doubted);

	if (!err)
		return;
	watch->whole = true;
	watch_doubt(watch, DOUBT_POLLING, path, -err);
}

void polled_directory(struct watch *watch, const char *path, int fd)
{
	uint64_t signature = 0;
	bool recent = true;
	int again, err;

	if (watch->options->watch == WATCH_INOTIFY)
		return;
	/* The builder reads fd, and has a position in it. */
	again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = again < 0 ? -errno : directory_signature(watch->options, again, watch->began, &signature, &recent);
	if (err && err != -ENOENT && err != -ENOTDIR)
		watch_doubt(watch, DOUBT_POLLING, path, -err);
	poll_from_now_on(watch, path, signature, false, recent || err);
}

/* path relative to ROOT; "" for ROOT's own way. */
static bool whole_path(const struct watch *watch, const char *path, char out[2 * PATH_MAX])
{
	return snprintf(out, 2 * PATH_MAX, "%s%s%s", watch->options->root, *path ? "/" : "", path) < 2 * PATH_MAX;
}

void polled_way(struct watch *watch, const char *path)
{
	char whole[2 * PATH_MAX];
	uint64_t signature;
	bool recent;

	if (watch->options->watch == WATCH_INOTIFY || !whole_path(watch, path, whole))
		return;
	signature = way_signature(whole, watch->began, &recent);
	poll_from_now_on(watch, path, signature, true, recent);
}

void polled_end(struct watch *watch, bool complete)
{
	if (complete) {
		free(watch->polled.bytes);
		watch->polled = watch->polling;
		watch->passed = watch->began;
	} else {
		free(watch->polling
		             .bytes); /* there will be another pass soon, and until then what was polled still is */
	}
	watch->polling = (struct polled_list){ 0 };
}

void polled_free(struct watch *watch)
{
	free(watch->polled.bytes);
	free(watch->polling.bytes);
}

/* -errno: it cannot be told. */
static int signature_now(const struct watch *watch, const struct polled *polled, int64_t now, uint64_t *signature)
{
	char whole[2 * PATH_MAX];
	bool recent;
	int fd;

	if (!whole_path(watch, polled->path, whole))
		return -ENAMETOOLONG;
	if (polled->way) {
		*signature = way_signature(whole, now, &recent);
		return 0;
	}
	fd = open(whole, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		return directory_signature(watch->options, fd, now, signature, &recent);
	*signature = 0;
	return errno == ENFILE || errno == EMFILE || errno == ENOMEM || errno == EINTR ? -errno : 0;
}

enum watch_polls watch_polls(const struct watch *watch)
{
	return watch->whole ? WATCH_POLLS_WHOLE : watch->polled.count ? WATCH_POLLS_PARTS : WATCH_POLLS_NOTHING;
}

unsigned watch_polled(const struct watch *watch)
{
	return watch->polled.count;
}

enum watch_news watch_poll(struct watch *watch, bool again)
{
	int64_t now = now_s();
	bool changed = watch->whole && !again;

	/* To the end of the list even when the first one has changed: whether it goes on changing is the next question. */
	for (size_t at = 0; at < watch->polled.len;) {
		struct polled *polled = (struct polled *)(void *)(watch->polled.bytes + at);
		uint64_t signature;

		at += polled->size;
		if (signature_now(watch, polled, now, &signature) < 0)
			continue; /* the next time, then */
		if (signature != polled->signature) {
			polled->signature = signature;
			changed = true;
		} else if (polled->doubted && !again && now > watch->passed + RECENT_S) {
			polled->doubted = false;
			changed = true;
		}
	}
	return changed ? WATCH_CHANGED : WATCH_QUIET;
}
