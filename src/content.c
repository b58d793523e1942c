/*
 * content.c - see content.h. Files are read, never mapped: a mapped file that is cut short is a SIGBUS, and one that is
 * written to is a torn answer.
 */
#include "loom/content.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define NS 1000000000LL

/*
 * How long ago a time must be, in ns, so that a write from now on cannot leave it as it is: a few ticks of the kernel's,
 * and where times are kept no better, the coarsest that there are: two seconds (FAT).
 */
#define TICKS_NS   (NS / 10)
#define SETTLED_NS (2 * NS + TICKS_NS)

/* The finest of the coarse: the times of creation of FAT and exFAT. */
#define COARSE_NS (NS / 100)

/* What is read between two looks at *stop; and of a long file, hashed while it is still in the processor's caches. */
#define PIECE (256 * 1024)

struct content_scratch {
	XXH3_state_t *hash;
	uint8_t bytes[PIECE];
};

struct content_scratch *content_scratch_create(void)
{
	struct content_scratch *scratch = malloc(sizeof(*scratch));

	if (!scratch)
		return NULL;
	scratch->hash = XXH3_createState();
	if (scratch->hash)
		return scratch;
	free(scratch);
	return NULL;
}

void content_scratch_free(struct content_scratch *scratch)
{
	if (!scratch)
		return;
	XXH3_freeState(scratch->hash);
	free(scratch);
}

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

/* A time that is no multiple of any coarse granularity is of a file system that has a fine one. */
static int64_t settles_in(const struct timespec *time)
{
	return time->tv_nsec % COARSE_NS ? TICKS_NS : SETTLED_NS;
}

/* Whether a time is so long past that whatever happens now gets a later one. */
static bool is_past(const struct timespec *time, const struct timespec *now)
{
	if (time->tv_sec < now->tv_sec - SETTLED_NS / NS - 1)
		return true;
	if (time->tv_sec > now->tv_sec)
		return false;
	return (now->tv_sec - time->tv_sec) * NS + now->tv_nsec - time->tv_nsec > settles_in(time);
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
		.now = now,
		.source = {
			.dev = st.st_dev,
			.ino = st.st_ino,
			.size = st.st_size,
			.mtime = st.st_mtim,
			.ctime = st.st_ctim,
			.nlink = (uint32_t)st.st_nlink,
			/* Both, as there are file systems that keep only one of them. */
			.settled = is_past(&st.st_mtim, &now) && is_past(&st.st_ctim, &now),
		},
	};
	return 0;
}

bool content_is_young(const struct content *content, uint64_t ms)
{
	const struct timespec *time = &content->source.ctime, *now = &content->now;
	int64_t seconds = now->tv_sec - time->tv_sec;
	int64_t age;

	if (seconds < 0 || seconds > INT64_MAX / NS - 1)
		return false;
	age = seconds * NS + now->tv_nsec - time->tv_nsec;
	return age >= 0 && (uint64_t)age / (NS / 1000) < ms;
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
 * A truncate(2) shows the new size when it begins and the new times when it ends, which can take as long as a commit of the
 * journal: in between a file that is being cut off looks as if it had been at rest. It holds the inode's lock, for which
 * whoever asks where the data begin has to wait: on ext4, Btrfs, F2FS, tmpfs, and overlayfs on these; XFS waits in read(2).
 * What the answer is, and that other file systems give none, is no matter. It moves the offset.
 */
static void await_truncate(int fd)
{
	(void)lseek(fd, 0, SEEK_DATA);
}

int content_check(const struct content *content, int fd)
{
	struct stat st;

	await_truncate(fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	return same_source(&content->source, &st) ? 0 : -EAGAIN;
}

/*
 * After reading, with its result: whether the file ends where it should, and is what it was before. If not, the bytes
 * may be torn.
 */
static int check_unchanged(const struct content *content, int result)
{
	uint8_t byte;
	int err;

	if (result == -ECANCELED)
		return result;
	if (result == 0) {
		result = read_bytes(content->fd, &byte, 1);
		result = result == 0 ? -ENODATA : result == -ENODATA ? 0 : result;
	}
	err = content_check(content, content->fd);
	return err ? err : result;
}

static bool stopped(const atomic_bool *stop)
{
	return atomic_load_explicit(stop, memory_order_relaxed);
}

int content_compare(struct content *content, const struct body *body, struct content_scratch *scratch,
                    const atomic_bool *stop)
{
	const uint8_t *bytes = body->bytes;
	uint64_t left = content->size;
	int err;

	assert(bytes && content->size == body->len);

	while (left > 0) {
		size_t n = left < PIECE ? left : PIECE;

		err = stopped(stop) ? -ECANCELED : read_bytes(content->fd, scratch->bytes, n);
		if (err)
			return check_unchanged(content, err);
		if (memcmp(bytes, scratch->bytes, n) != 0)
			return lseek(content->fd, 0, SEEK_SET) < 0 ? -errno : 0;
		bytes += n;
		left -= n;
	}
	err = check_unchanged(content, 0);
	return err ? err : 1;
}

/* Reads the file piece by piece: into bytes, or, when that is NULL, for its hash alone. */
static int read_all(struct content *content, uint8_t *bytes, uint8_t hash[BODY_HASH_LEN],
                    struct content_scratch *scratch, const atomic_bool *stop)
{
	XXH128_canonical_t canonical;
	uint64_t left = content->size;
	int err = 0;

	XXH3_128bits_reset(scratch->hash);
	while (!err && left > 0) {
		size_t n = left < PIECE ? left : PIECE;
		uint8_t *piece = bytes ? bytes + (content->size - left) : scratch->bytes;

		err = stopped(stop) ? -ECANCELED : read_bytes(content->fd, piece, n);
		if (!err)
			XXH3_128bits_update(scratch->hash, piece, n);
		left -= n;
	}
	err = check_unchanged(content, err);
	if (err)
		return err;
	/* The canonical byte order is the same everywhere. */
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(scratch->hash));
	memcpy(hash, canonical.digest, BODY_HASH_LEN);
	return 0;
}

int content_read(struct content *content, struct body *body, struct content_scratch *scratch, const atomic_bool *stop)
{
	assert(body->bytes && content->size == body->len);
	return read_all(content, body->bytes, body->hash, scratch, stop);
}

int content_hash(struct content *content, uint8_t hash[BODY_HASH_LEN], struct content_scratch *scratch,
                 const atomic_bool *stop)
{
	return read_all(content, NULL, hash, scratch, stop);
}

/* How long until a time is past, in ns. */
static int64_t unrest(const struct timespec *time, const struct timespec *now)
{
	int64_t seconds = now->tv_sec - time->tv_sec, left;

	if (seconds > SETTLED_NS / NS + 1)
		return 0;
	if (seconds < 0)
		return settles_in(time) + 1; /* what lies in the future will be as old as it takes never */
	left = settles_in(time) - (seconds * NS + now->tv_nsec - time->tv_nsec) + 1;
	return left < 0 ? 0 : left <= settles_in(time) ? left : settles_in(time) + 1;
}

uint64_t content_unrest(const struct content *content)
{
	const struct asset_source *source = &content->source;
	int64_t mtime, ctime;
	struct timespec now;

	if (source->settled)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	mtime = unrest(&source->mtime, &now);
	ctime = unrest(&source->ctime, &now);
	return (uint64_t)(mtime > ctime ? mtime : ctime);
}
