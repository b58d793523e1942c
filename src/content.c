/*
 * content.c - see content.h. Files are read, never mapped: a mapped file that is cut short is a SIGBUS, and one that is
 * written to is a torn answer.
 */
#include "loom/content.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* The granularity of the coarsest clock, in ns: two seconds (FAT), and a few ticks of the kernel's. */
#define SETTLED_NS (2 * NS + NS / 10)
#define NS         1000000000LL

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_source(const struct asset_source *source, const struct stat *st)
{
	return source->dev == st->st_dev && source->ino == st->st_ino && source->size == st->st_size &&
	       same_time(&source->mtime, &st->st_mtim) && same_time(&source->ctime, &st->st_ctim);
}

bool content_vouched(const struct asset *asset, const struct stat *st)
{
	assert(asset->kind == ASSET_FILE);
	return asset->source.settled && same_source(&asset->source, st);
}

/* Whether a time is so long past that whatever happens now gets a later one. */
static bool is_past(const struct timespec *time, const struct timespec *now)
{
	if (time->tv_sec < now->tv_sec - SETTLED_NS / NS - 1)
		return true;
	if (time->tv_sec > now->tv_sec)
		return false;
	return (now->tv_sec - time->tv_sec) * NS + now->tv_nsec - time->tv_nsec > SETTLED_NS;
}

int content_begin(struct content *content, int fd)
{
	struct timespec now;
	struct stat st;

	clock_gettime(CLOCK_REALTIME, &now); /* before the stat: a write in between must not count as past */
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EAGAIN; /* it was a file a moment ago */
	assert(st.st_size >= 0);

	*content = (struct content){
		.fd = fd,
		.size = (uint64_t)st.st_size,
		.mtime = st.st_mtim.tv_sec < now.tv_sec ? st.st_mtim.tv_sec : now.tv_sec,
		.now = now.tv_sec,
		.source = {
			.dev = st.st_dev,
			.ino = st.st_ino,
			.size = st.st_size,
			.mtime = st.st_mtim,
			.ctime = st.st_ctim,
			/* Both, as there are file systems that keep only one of them. */
			.settled = is_past(&st.st_mtim, &now) && is_past(&st.st_ctim, &now),
		},
	};
	return 0;
}

/* Reads len bytes to their last. -ENODATA when there are fewer. */
static int read_bytes(int fd, uint8_t *bytes, uint64_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, bytes, len < SSIZE_MAX ? len : SSIZE_MAX);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ENODATA;
		if (n > 0) {
			bytes += n;
			len -= (uint64_t)n;
		}
	}
	return 0;
}

/*
 * After reading, with its result: whether the file ends where it should, and is what it was before. If not, the bytes
 * may be torn.
 */
static int check_unchanged(const struct content *content, int result)
{
	struct stat st;
	uint8_t byte;

	if (result == 0) {
		result = read_bytes(content->fd, &byte, 1);
		result = result == 0 ? -ENODATA : result == -ENODATA ? 0 : result;
	}
	if (fstat(content->fd, &st) < 0)
		return -errno;
	return same_source(&content->source, &st) ? result : -EAGAIN;
}

int content_compare(struct content *content, const struct body *body, uint8_t scratch[CONTENT_SCRATCH])
{
	const uint8_t *bytes = body->bytes;
	uint64_t left = content->size;
	int err;

	assert(content->size == body->len);

	while (left > 0) {
		size_t n = left < CONTENT_SCRATCH ? left : CONTENT_SCRATCH;

		err = read_bytes(content->fd, scratch, n);
		if (err)
			return check_unchanged(content, err);
		if (memcmp(bytes, scratch, n) != 0)
			return lseek(content->fd, 0, SEEK_SET) < 0 ? -errno : 0;
		bytes += n;
		left -= n;
	}
	err = check_unchanged(content, 0);
	return err ? err : 1;
}

int content_read(struct content *content, struct body *body)
{
	int err;

	assert(content->size == body->len);

	err = check_unchanged(content, read_bytes(content->fd, body->bytes, content->size));
	if (!err)
		body_seal(body);
	return err;
}
