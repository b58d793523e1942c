/*
 * watcher.h - what the files of the watch share: watch.c has the pass and the events, watch_set.c the sets of what is
 * watched, watch_way.c the ways of links, watch_poll.c what is looked at instead, watch_mounts.c the mounts.
 */
#ifndef LOOM_WATCHER_H
#define LOOM_WATCHER_H

#include <limits.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "loom/watch.h"

#define LINKS_MAX  40          /* in one way, as the kernel has it (path_resolution(7)) */
#define HOPS_MAX   65536       /* names watched on the ways of links, 1 MiB; a link beyond is polled */
#define POLLED_MAX (64u << 20) /* bytes of what is polled; beyond, the whole tree is rebuilt from time to time */
#define READ_SIZE  (32 * 1024)
#define READS_MAX  64 /* a turn; more than the default length of the kernel's queue */

/* A watched inode. Numbers of passes: the last one that met it in that role; 0: none. */
struct watched {
	int wd;
	unsigned tree; /* as a directory of the tree */
	unsigned hop;  /* as a directory where a name of a way is looked up */
};

/* A name that is looked up on a way. Two names of one hash cost a rebuild too many. */
struct hop {
	uint64_t name; /* hash */
	int wd;        /* 0: a free slot; the kernel's begin with 1 */
	unsigned pass;
};

/* A directory that a way has led through in this pass. Should its path change its meaning, an event is on its way. */
struct known {
	uint64_t path; /* hash; 0: a free slot */
	int wd;        /* -1: not watched, or not to be relied on */
	bool contents; /* writes to files in it are watched */
	bool unseen;   /* it may change without an event */
};

/* Why something is not watched, or not only watched. */
enum doubt {
	DOUBT_INSTANCE, /* there is no inotify instance */
	DOUBT_LIMIT,    /* of watches */
	DOUBT_PERMISSION,
	DOUBT_MEMORY,
	DOUBT_FILE_SYSTEM, /* may change without an event */
	DOUBT_WAY,         /* more names on the ways of links than are kept */
	DOUBT_OTHER,
	DOUBT_POLLING, /* cannot be polled in parts, either */
	DOUBTS,
};

struct doubted {
	unsigned count; /* in this pass */
	int error;
	bool told;
	char first[512]; /* path */
};

struct watch {
	const struct options *options;
	int fd; /* inotify; -1 */
	unsigned pass;
	unsigned complete; /* passes that were */
	struct doubted doubts[DOUBTS];

	/* Sorted by wd. The kernel hands descriptors out in rising order, so that inserting is nearly always appending. */
	struct watched *watched;
	size_t count, room;

	/* Open addressing; sizes are powers of two. */
	struct hop *hops;
	size_t hop_count, hop_room;
	struct known *known;
	size_t known_count, known_room;

	/* ROOT and the directory that the last link lay in, without links; "" when they could not be walked to. */
	char root[PATH_MAX];
	char link_path[PATH_MAX];
	char link_directory[PATH_MAX];

	/* Packed struct polled; of the last complete pass, and of the one that goes on. */
	struct polled_list {
		char *bytes;
		size_t len, room;
		unsigned count;
	} polled, polling;
	bool whole;
	int64_t passed; /* when the last complete pass began: seconds of CLOCK_REALTIME */
	int64_t began;

	int mounts;     /* /proc/self/mountinfo; -1 */
	bool outside;   /* a way has led out of ROOT */
	bool remounted; /* since watch_remounted() was asked last */
	struct mount_state {
		uint64_t way, over, inside, all; /* hashes; over: mounts that ROOT lies in */
	} mounted;

	alignas(struct inotify_event) char buffer[READ_SIZE];
};

/* watch.c. error: a positive errno, or 0. path: relative to ROOT, or absolute. */
void watch_doubt(struct watch *watch, enum doubt doubt, const char *path, int error);
enum doubt watch_doubt_of(int error);

/* watch_set.c */
struct watched *watched_find(const struct watch *watch, int wd);
struct watched *watched_add(struct watch *watch, int wd); /* found or made; NULL: no memory */
bool hops_have(const struct watch *watch, int wd, const char *name);
int hops_add(struct watch *watch, int wd, const char *name, size_t most); /* -ENOMEM, -ENOSPC */
void hops_forget(struct watch *watch);                                    /* those of earlier passes */
struct known *known_at(struct watch *watch, const char *path); /* found or made, with wd 0; NULL: no memory */
void known_clear(struct watch *watch);
void watched_forget(
	struct watch *watch); /* what neither this pass's tree nor its ways have; and the kernel's watches */

/* watch_way.c */
void way_to_root(struct watch *watch);
void way_of_link(struct watch *watch, const char *path);
uint64_t way_signature(const char *path, int64_t now, bool *recent); /* of an absolute path, resolved */
bool way_is_unseen(int fd, const char *path); /* by its file system; by fd, or by path when fd < 0 */

/* watch_poll.c. fd: the open directory. */
void polled_directory(struct watch *watch, const char *path, int fd);
void polled_way(struct watch *watch, const char *path);
void polled_end(struct watch *watch, bool complete);
void polled_free(struct watch *watch);
uint64_t signature_of(uint64_t seed, const char *name, const struct stat *st, bool with_times);
bool signature_recent(const struct stat *st, int64_t now);

/* watch_mounts.c */
void mounts_create(struct watch *watch);
void mounts_begin(struct watch *watch);

#endif
