/*
 * watch.h - whether a directory tree has changed, by inotify(7). The reloader's; one thread at a time.
 *
 * It does not say what has changed: the answer to any change is to build the next snapshot, which shares what is the
 * same. Watched are the directories of the tree, as the builder reads them, and the way to ROOT: every directory in
 * which a component of ROOT's path is looked up, symbolic links included, so that a ROOT that is deleted and made
 * again, or a link that is switched from one release to the next, is seen.
 *
 * A rebuild is a pass:
 *     watch_begin()            the way to ROOT is watched
 *     watch_directory() ...    from the builder, for every directory, before it is read
 *     watch_end()              directories that are no longer in the tree are let go
 * Whatever changes after a directory is watched gives an event, and what changed before is read: nothing is missed
 * between the two, and there may be one rebuild too many.
 */
#ifndef LOOM_WATCH_H
#define LOOM_WATCH_H

#include <stdbool.h>

struct watch;

enum watch_news {
	WATCH_QUIET,   /* nothing that concerns the tree */
	WATCH_CHANGED, /* something may be different */
	WATCH_LOST,    /* events were lost (IN_Q_OVERFLOW): anything may be different */
};

/*
 * root: an absolute path; borrowed. When this process cannot have an inotify instance, the watch is blind from the
 * beginning, with one warning. 0 or -ENOMEM.
 */
int watch_create(struct watch **watch, const char *root);
void watch_destroy(struct watch *watch);

/* For poll(2): readable when watch_read() has something to read. -1 when there never will be. */
int watch_fd(const struct watch *watch);

void watch_begin(struct watch *watch);

/* A build_directory_fn; watch is the context. path, relative to ROOT, is only used where there is no /proc. */
void watch_directory(void *watch, const char *path, int fd);

/* complete: the builder has read the whole tree. Otherwise all watches stay, since nobody knows what was left out. */
void watch_end(struct watch *watch, bool complete);

/* Reads what is waiting, without blocking; a bounded part of it, if it never ends. */
enum watch_news watch_read(struct watch *watch);

/*
 * Whether the last pass left something unwatched (limits of the system, permissions, file systems that change without
 * this kernel's knowing): then someone has to look at the tree from time to time. The first time there is a warning
 * that says why and what to do about it.
 */
bool watch_blind(const struct watch *watch);

/* Directories of the tree that are watched now. */
unsigned watch_count(const struct watch *watch);

#endif
