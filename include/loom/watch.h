/*
 * watch.h - whether a directory tree has changed, by inotify(7), and by looking from time to time at those parts that
 * inotify does not serve. The reloader's; one thread at a time.
 *
 * It does not say what has changed: the answer to any change is to build the next snapshot, which shares what is the
 * same. Watched are:
 *   - the directories of the tree, as the builder reads them; what is hidden in them, and so not served, is passed over;
 *   - the way to ROOT: every directory in which a component of ROOT's path is looked up, symbolic links included, for
 *     that name, so that a ROOT that is deleted and made again, or a link that is switched from one release to the next,
 *     is seen;
 *   - the way of every symbolic link in the tree, likewise, hidden directories and those outside ROOT included, and the
 *     file at its end for being written. A link that leads nowhere is watched as far as its way goes;
 *   - the mounts of this process's namespace (proc_pid_mountinfo(5)): inotify does not tell of a mount over a directory.
 *
 * A rebuild is a pass:
 *     watch_begin()            the way to ROOT is watched
 *     watch_directory() ...    from the builder, for every directory, before it is read
 *     watch_link() ...         from the builder, for every link, before it is followed
 *     watch_end()              what is no longer in the tree is let go
 * Whatever changes after a directory is watched gives an event, and what changed before is read: nothing is missed
 * between the two, and there may be one rebuild too many.
 *
 * Doubt. A directory that cannot be watched (the limit of watches, want of permission or of memory), and one on a file
 * system that others may change without this kernel's taking part, is polled: watch_poll() compares its signature, a hash
 * of its entries as the walk would see them, with that of the pass. The same goes for a link whose way has such a
 * directory, for ROOT's way, and for links beyond HOPS_MAX names (watcher.h). A signature that was taken while a time in
 * it was so recent that a further write could leave no trace is doubted once, by one rebuild more. Should there be more
 * to poll than the memory set aside for it, the whole tree is rebuilt from time to time. Each reason is said once, in a
 * line of the log.
 *
 * What neither way shows: writes through a mapping (mmap(2)) until the file's times change and something else is seen,
 * and writes in place through another hard link outside the tree; changes made to the lower layers of an overlay behind
 * its back, which overlayfs itself does not allow.
 */
#ifndef LOOM_WATCH_H
#define LOOM_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/options.h"

struct watch;

enum watch_news {
	WATCH_QUIET,   /* nothing that concerns the tree */
	WATCH_CHANGED, /* something may be different */
	WATCH_LOST,    /* events were lost (IN_Q_OVERFLOW): anything may be different */
};

enum watch_polls {
	WATCH_POLLS_NOTHING,
	WATCH_POLLS_PARTS,
	WATCH_POLLS_WHOLE, /* by rebuilding: watch_poll() says WATCH_CHANGED each time */
};

/*
 * options: borrowed; root is an absolute path, and watch is not WATCH_OFF. 0, or -errno with one line in why: -ENOMEM, and
 * with --watch=inotify what inotify_init1(2) says (EMFILE).
 */
int watch_create(struct watch **watch, const struct options *options, char *why, size_t size);
void watch_destroy(struct watch *watch);

/* For poll(2), POLLIN: readable when watch_read() has something to read. -1 when there never will be. */
int watch_fd(const struct watch *watch);

/* For poll(2), POLLPRI alone, which tells once of each change: then watch_mounts() is to be called. -1: there is none. */
int watch_mounts_fd(const struct watch *watch);

void watch_begin(struct watch *watch);

/* A build_directory_fn; watch is the context. path is relative to ROOT. */
void watch_directory(void *watch, const char *path, int fd);

/* A build_link_fn; watch is the context. path is relative to ROOT. */
void watch_link(void *watch, const char *path);

/* complete: the builder has read the whole tree. Otherwise all watches stay, since nobody knows what was left out. */
void watch_end(struct watch *watch, bool complete);

/* Reads what is waiting, without blocking; a bounded part of it, if it never ends. */
enum watch_news watch_read(struct watch *watch);

/* Whether a mount or unmount concerns the tree or the way to it. */
enum watch_news watch_mounts(struct watch *watch);

/*
 * Whether another file system may lie in the tree, or be its own, than when this was asked before: then device, inode and times may
 * be those of another file (images are made with the same ones each time).
 */
bool watch_remounted(struct watch *watch);

/* Whether someone has to call watch_poll() from time to time. */
enum watch_polls watch_polls(const struct watch *watch);

/*
 * Looks at the polled parts; takes as long as these are large. again: that something has changed is known, and the
 * question is whether it goes on changing; what is merely in doubt does not count then.
 */
enum watch_news watch_poll(struct watch *watch, bool again);

/*
 * With --watch=inotify: whether the last pass left something unwatched, and what, with what to do about it. In a later
 * pass than the first complete one that is a warning, once.
 */
bool watch_refuses(const struct watch *watch, char *why, size_t size);

/* Directories of the tree that are watched, and directories and links that are polled now. */
unsigned watch_count(const struct watch *watch);
unsigned watch_polled(const struct watch *watch);

#endif
