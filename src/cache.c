/*
 * cache.c - see cache.h. Runs on the compressing threads. It owns a descriptor of the directory, and no memory of what
 * is in there: another process may come and go.
 *
 * DIR/9a/9a3c...e1-48213.br: the content's hash, its length, the coding; 256 directories, so that none grows large. A
 * new file is written as DIR/9a/.new-PID-N and renamed. Nothing is synced to the disk: a file that a loss of power has
 * damaged is found out when it is read, as every other damage is, and compressing again costs less than waiting for the
 * disk each time. An empty file is one of these damages, which is why "none" is put into words.
 *
 * Whoever may write to the directory may replace anything in it, at any time: no link in it is followed, nothing but a
 * regular file is read.
 */
#include "loom/cache.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"

#define DAY        (24 * 60 * 60)
#define NEW_PREFIX ".new-"
#define NEW_TRIES  1000 /* names that others who count as we do, in another PID namespace, may have taken */

static const char none[] = "none\n";
#define NONE_LEN (sizeof(none) - 1)

struct cache {
	int dir;
};

/* Where a variant's file lies. */
struct place {
	char shelf[3];
	char name[2 * BODY_HASH_LEN + 32]; /* the hash, "-", up to 20 figures, the suffix */
};

int cache_open(struct cache **out, const char *path, char *why, size_t size)
{
	struct cache *cache = malloc(sizeof(*cache));
	int err;

	if (!cache) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	if (mkdir(path, 0700) < 0 && errno != EEXIST && errno != EROFS) {
		err = -errno;
		snprintf(why, size, "cannot make the directory %s: %s%s", path, strerror(-err),
		         err == -ENOENT ? " (the directory that it is to lie in must be there)" : "");
		goto fail;
	}
	cache->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cache->dir < 0) {
		err = -errno;
		snprintf(why, size, "cannot open the directory %s: %s", path, strerror(-err));
		goto fail;
	}
	*out = cache;
	return 0;

fail:
	free(cache);
	return err;
}

void cache_close(struct cache *cache)
{
	if (!cache)
		return;
	close(cache->dir);
	free(cache);
}

static struct place find_place(const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding)
{
	struct place place;
	int n = 0;

	assert(coding > CODING_IDENTITY && coding < CODINGS);

	for (int i = 0; i < BODY_HASH_LEN; i++)
		n += sprintf(place.name + n, "%02x", hash[i]);
	n += snprintf(place.name + n, sizeof(place.name) - (size_t)n, "-%llu%s", (unsigned long long)len,
	              coding_suffix(coding));
	assert((size_t)n < sizeof(place.name));
	memcpy(place.shelf, place.name, 2);
	place.shelf[2] = '\0';
	return place;
}

/* A descriptor of the subdirectory, or -errno. */
static int open_shelf(const struct cache *cache, const char *shelf, int flags)
{
	int fd = openat(cache->dir, shelf, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* The place's file, opened for reading, or -errno. */
static int open_place(const struct cache *cache, const struct place *place)
{
	int shelf = open_shelf(cache, place->shelf, O_PATH), fd;

	if (shelf < 0)
		return shelf;
	/* Not to wait for the other end of a FIFO. */
	fd = openat(shelf, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		fd = errno == ELOOP ? -ENOENT : -errno;
	close(shelf);
	return fd;
}

static int read_bytes(int fd, uint8_t *bytes, uint64_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ENOENT; /* shorter than it was a moment ago: not by us */
		if (n > 0) {
			bytes += n;
			len -= (uint64_t)n;
		}
	}
	return 0;
}

static bool older(const struct stat *st, time_t seconds)
{
	return st->st_mtim.tv_sec < time(NULL) - seconds;
}

/* The file's time of modification is that of its last use: times of access are kept by few file systems. */
static void touch(int fd, const struct stat *st)
{
	if (older(st, DAY) && futimens(fd, NULL) < 0)
		log_debug("cannot set the times of a file in the cache: %s", strerror(errno));
}

/* As cache_read(), from the open file. */
static int read_coded(int fd, uint64_t len, struct body **coded)
{
	struct body *body;
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return -ENOENT;
	if ((uint64_t)st.st_size >= len && st.st_size != NONE_LEN)
		return -ENOENT;
	err = body_create(&body, (uint64_t)st.st_size);
	if (err)
		return err;
	err = read_bytes(fd, body->bytes, body->len);
	if (!err && body->len == NONE_LEN && memcmp(body->bytes, none, NONE_LEN) == 0)
		err = -ENODATA;
	else if (!err && body->len >= len)
		err = -ENOENT;
	if (err == 0 || err == -ENODATA)
		touch(fd, &st);
	if (err) {
		body_release(body);
		return err;
	}
	body_seal(body);
	*coded = body;
	return 0;
}

int cache_read(struct cache *cache, const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding,
               struct body **coded)
{
	struct place place = find_place(hash, len, coding);
	int fd = open_place(cache, &place), err;

	if (fd < 0)
		return fd;
	err = read_coded(fd, len, coded);
	close(fd);
	return err;
}

/* The subdirectory, made if it is not there. */
static int make_shelf(const struct cache *cache, const char *shelf)
{
	int fd = open_shelf(cache, shelf, O_PATH);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(cache->dir, shelf, 0700) < 0 && errno != EEXIST)
		return -errno;
	return open_shelf(cache, shelf, O_PATH);
}

/* A file that nobody else writes to, with its name. */
static int create_new(int shelf, char name[64])
{
	static atomic_uint count;

	for (int i = 0; i < NEW_TRIES; i++) {
		int fd;

		snprintf(name, 64, NEW_PREFIX "%ld-%u", (long)getpid(), atomic_fetch_add(&count, 1));
		fd = openat(shelf, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static int write_bytes(int fd, const uint8_t *bytes, uint64_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (uint64_t)n;
		}
	}
	return 0;
}

static int write_place(int shelf, const char *name, const uint8_t *bytes, uint64_t len)
{
	char new[64];
	int fd = create_new(shelf, new), err;

	if (fd < 0)
		return fd;
	err = write_bytes(fd, bytes, len);
	/* Some file systems tell of a full disk only now. */
	if (close(fd) < 0 && !err)
		err = -errno;
	/* NOLINTNEXTLINE(readability-suspicious-call-argument): new is the file, which becomes what name says */
	if (!err && renameat(shelf, new, shelf, name) < 0)
		err = -errno;
	if (err)
		unlinkat(shelf, new, 0);
	return err;
}

int cache_write(struct cache *cache, const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding,
                const struct body *coded)
{
	struct place place = find_place(hash, len, coding);
	int shelf = make_shelf(cache, place.shelf), err;

	if (shelf < 0)
		return shelf;
	err = coded ? write_place(shelf, place.name, coded->bytes, coded->len)
	            : write_place(shelf, place.name, (const uint8_t *)none, NONE_LEN);
	close(shelf);
	return err;
}

void cache_forget(struct cache *cache, const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding)
{
	struct place place = find_place(hash, len, coding);
	int shelf = open_shelf(cache, place.shelf, O_PATH);

	if (shelf < 0)
		return;
	if (unlinkat(shelf, place.name, 0) < 0 && errno != ENOENT)
		log_debug("cannot delete %s from the cache: %s", place.name, strerror(errno));
	close(shelf);
}

static const char hex[] = "0123456789abcdef";

/* Whether a name in the directory is that of one of our subdirectories. */
static bool is_shelf(const char *name)
{
	return strlen(name) == 2 && strspn(name, hex) == 2;
}

/* Whether a name in that subdirectory is what find_place() gives. */
static bool is_place(const char *shelf, const char *name)
{
	size_t figures;

	if (strncmp(name, shelf, 2) != 0 || strspn(name, hex) != 2 * BODY_HASH_LEN)
		return false;
	name += 2 * BODY_HASH_LEN;
	if (*name++ != '-')
		return false;
	figures = strspn(name, "0123456789");
	if (figures == 0)
		return false;
	for (enum content_coding coding = CODING_IDENTITY + 1; coding < CODINGS; coding++)
		if (strcmp(name + figures, coding_suffix(coding)) == 0)
			return true;
	return false;
}

/* Deletes what has expired in one subdirectory. How many. */
static unsigned expire_shelf(const char *shelf, DIR *dir, unsigned days, const atomic_bool *stop)
{
	const struct dirent *entry;
	unsigned deleted = 0;

	while (!atomic_load_explicit(stop, memory_order_relaxed) && (entry = readdir(dir))) {
		bool new = strncmp(entry->d_name, NEW_PREFIX, sizeof(NEW_PREFIX) - 1) == 0;
		struct stat st;

		if (!new && !is_place(shelf, entry->d_name))
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (older(&st, new ? DAY : DAY *(time_t)days) && unlinkat(dirfd(dir), entry->d_name, 0) == 0)
			deleted++;
	}
	return deleted;
}

/* fdopendir(), which takes the descriptor, if there is one. */
static DIR *directory_of(int fd)
{
	DIR *dir;

	if (fd < 0)
		return NULL;
	dir = fdopendir(fd);
	if (!dir)
		close(fd);
	return dir;
}

void cache_expire(struct cache *cache, unsigned days, const atomic_bool *stop)
{
	DIR *shelves = directory_of(openat(cache->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *entry;
	unsigned deleted = 0;

	if (!shelves) {
		log_debug("cannot look through the cache: %s", strerror(errno));
		return;
	}
	while (!atomic_load_explicit(stop, memory_order_relaxed) && (entry = readdir(shelves))) {
		DIR *shelf;

		if (!is_shelf(entry->d_name))
			continue;
		shelf = directory_of(open_shelf(cache, entry->d_name, O_RDONLY));
		if (!shelf)
			continue;
		deleted += expire_shelf(entry->d_name, shelf, days, stop);
		closedir(shelf);
	}
	closedir(shelves);
	if (deleted)
		log_debug("deleted %u files from the cache that nobody has used for %u days", deleted, days);
}
