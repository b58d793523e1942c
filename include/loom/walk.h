/*
 * walk.h - a directory tree, as far as it may be served: what is hidden, special, or behind a link that may not be
 * followed is left out. Runs on the builder's thread and holds two or three descriptors, however deep the tree is.
 */
#ifndef LOOM_WALK_H
#define LOOM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "loom/options.h"

struct walk;

/* Paths are relative to ROOT, at most PATH_MAX - 1 bytes. A result other than 0 ends the walk, and is its result. */
struct walk_handlers {
	/* A directory has been opened ("." for ROOT) and is about to be read. */
	int (*directory)(void *context, const char *path, int fd);
	/* A symbolic link has been met that may be followed, and has not been yet. May be NULL. */
	void (*link)(void *context, const char *path);
	/* A regular file (possibly at the end of a link), not opened. */
	int (*file)(void *context, struct walk *walk, const char *path, const struct stat *stat);
	/* The last entry has been seen: the time for walk_open(). May be NULL. */
	int (*end)(void *context, struct walk *walk);
	bool restless; /* a directory whose place a link takes is left out, with a warning: no -EAGAIN for that */
};

/*
 * Walks the tree under options->root: of each directory first the files, in the order of their names' bytes, then the
 * directories. What vanishes meanwhile is not there. What cannot be read for want of permission is left out with a
 * warning. 0, what a handler returned, or -errno with one line in why:
 *   -EAGAIN: the tree is being changed in a way that makes the walk senseless
 *   others: ROOT cannot be opened, ENOMEM, EMFILE, EIO ...
 */
int walk_tree(const struct options *options, const struct walk_handlers *handlers, void *context, char *why,
              size_t size);

/* Whether an entry of that name is passed over, with all that is in it. */
bool walk_is_hidden(const struct options *options, const char *name);

/* Opens a file that the walk has found, for reading, by the same rules about links. Never blocks. -errno. Any thread. */
int walk_open(struct walk *walk, const char *path);

/* What lies there, by the same rules, without opening it for anything. 0 or -errno. */
int walk_stat(struct walk *walk, const char *path, struct stat *st);

/*
 * Another one of the same ROOT, which is good for walk_open() and nothing else, and outlives the walk. NULL: no
 * memory, or no descriptor. Any thread frees it.
 */
struct walk *walk_copy(const struct walk *walk);
void walk_copy_free(struct walk *walk);

/* "path: what" as a warning; only the first ones of a walk are written out, the others counted. */
void walk_warn(struct walk *walk, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The warning of a path that may not be read: by its mode, or by the sandbox. */
const char *walk_denied(const struct walk *walk, const char *path);

/* Writes "what path: error" into the walk's why ("path changed ..." for -EAGAIN), and returns err (negative). */
int walk_fail(struct walk *walk, int err, const char *what, const char *path);

#endif
