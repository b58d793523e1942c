/*
 * build.h - from a directory to a snapshot. Runs on the reloader's thread (and once on the main thread, before any
 * other exists). Never seen by the event loop.
 */
#ifndef LOOM_BUILD_H
#define LOOM_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "loom/coding.h"
#include "loom/options.h"
#include "loom/snapshot.h"

/* Told of every directory before it is read, so that a watch is there before its entries are; path relative to ROOT
 * ("." for ROOT itself). fd is open on the directory, for the time of the call. May be NULL. */
typedef void build_directory_fn(void *context, const char *path, int fd);

/* Told of every symbolic link that may be followed, before it is; path relative to ROOT. May be NULL. */
typedef void build_link_fn(void *context, const char *path);

struct build_request {
	const struct options *options;
	unsigned workers;                /* shares that the snapshot is born with */
	const struct snapshot *previous; /* may be NULL: where unchanged assets are taken from */
	struct variants *variants; /* where coded variants are asked for; NULL: there are those beside the files */
	uint32_t settle; /* milliseconds that a file must have been left alone for when it is read; 0: it need not */
	bool restless; /* the tree never comes to rest: what cannot be read whole now stays as it was in previous, or is
	                * left out, with a warning; no -EAGAIN for the sake of a file */
	/* Frees something that is held for comfort alone, such as an old generation. False: there is nothing left. May be NULL.
	 * Not previous. */
	bool (*make_room)(void *context);
	bool remounted; /* another file system may lie where one lay: by their stat alone files are not the same as before */
	bool as_before; /* the files of previous, without a look at the tree, with the variants that have become ready */
	/*
	 * Files that are in this snapshot or in previous, and gone from the tree, are still served (--keep-generations,
	 * --keep-for). Another than previous after a roll-back: what was served before it. NULL: none are.
	 */
	const struct snapshot *keep_from;
	uint64_t now; /* milliseconds of CLOCK_MONOTONIC, for keep_from */
	build_directory_fn *directory;
	build_link_fn *link;
	void *context;
};

/*
 * Walks the tree under options->root and builds a snapshot of it: what memory.h counts stays within
 * options->max_memory. Files larger than options->stream_above are streamed, and the largest ones when not all bodies
 * fit, unless stream_above is UINT64_MAX. When that is for want of room beside other snapshots, snapshot->squeezed
 * says so: a build after these have been freed does better. A file that is streamed must be at rest: a build with a
 * fresh one may sleep for two seconds, where the file system's clock is that coarse, else for a tenth of one. Files that are special, unreadable, hidden or behind a forbidden link are left
 * out, with a warning where that may surprise. Returns 0 with *snapshot set, or -errno with one line in why: nothing
 * is half-built.
 *
 * A file whose content has changed gets a Last-Modified later than before, whatever its time says, so that no date
 * stands for two contents; or none, while there is no such date that is not in the future.
 *
 *   -EAGAIN: a file changed while it was read, or less than request->settle before, or ROOT is another directory by now;
 *            try again when the tree has rested
 *   -ENOSPC: the tree needs more than options->max_memory (why says how much and what to do)
 *   -ENFILE: more files would have to be streamed than options->max_streams
 *   others: ROOT cannot be opened (ENOENT, ENOTDIR, EACCES), ENOMEM
 */
int build_snapshot(const struct build_request *request, struct snapshot **snapshot, char *why, size_t size);

/*
 * Lets go of what an earlier build has left to threads that had not come back by its end, on a machine that is too busy for
 * them: some memory and a descriptor of ROOT. Whether there is more. Builder's thread.
 */
bool build_sweep(void);

/* Whether clients would get the same answers from both, dates included: then the newer one need not be published. */
bool build_same(const struct snapshot *a, const struct snapshot *b);

/*
 * Another snapshot of the same index and assets, born with its own shares and with no hits, for being published once more:
 * in microseconds, whatever its size. Or with 0 workers, which holds all of it for whoever wants to read. The given one must
 * not be freed meanwhile; each of the two is freed for itself, in any order. NULL: no memory. Any thread.
 */
struct snapshot *build_again(const struct snapshot *snapshot, unsigned workers);

/* A file that is in one snapshot alone, or has another content or media type in the other. */
enum build_change {
	BUILD_ADDED,
	BUILD_REMOVED,
	BUILD_CHANGED,
};

/* Where a comparison has come to; zero at first. */
struct build_position {
	size_t old, new;
};

/* key: NUL-terminated, valid as long as either snapshot. False: no more for now. */
typedef bool build_change_fn(void *context, enum build_change change, const char *key, size_t key_len);

/*
 * The files that have changed from one snapshot to another, in the order of the keys, from the position on. True: all have
 * been told of; false: fn ended it, or so many keys of each have been looked at, and position says where to go on. Any thread
 * that keeps both from being freed.
 */
bool build_diff(const struct snapshot *old, const struct snapshot *new, struct build_position *position, size_t keys,
                build_change_fn *fn, void *context);

/* A file of a snapshot, borrowed from it. */
struct build_file {
	const char *key; /* NUL-terminated */
	size_t key_len;
	const char *type;     /* the media type */
	const uint8_t *bytes; /* NULL: streamed */
	uint64_t len;
	uint64_t memory;         /* of its head and key; the bytes, which others may share, count for themselves */
	const uint8_t *hash;     /* of the bytes: BODY_HASH_LEN */
	uint64_t coded[CODINGS]; /* lengths of the variants; 0: there is none */
};

typedef int build_file_fn(void *context, const struct build_file *file);

/* Every file of a snapshot, in the order of the keys. A result other than 0 ends it, and is its result. Builder's thread. */
int build_files(const struct snapshot *snapshot, build_file_fn *fn, void *context);

/* Frees a snapshot and every asset that no other snapshot shares. Same thread as build_snapshot(). */
void build_free(struct snapshot *snapshot);

#endif
