/*
 * reload.h - the reloader: a thread that watches ROOT (watch.h), and when it has changed and come to rest builds
 * the next snapshot, publishes it, and frees the old ones that no worker holds any more. It never touches a socket.
 */
#ifndef LOOM_RELOAD_H
#define LOOM_RELOAD_H

#include "loom/options.h"
#include "loom/snapshot.h"

struct reload;

/*
 * Builds and publishes the first snapshot on the calling thread; inotify watches are in place before it reads a
 * directory. inboxes: one a worker, options->workers of them, which must outlive the reloader. 0, or -errno with one
 * line in why (see build_snapshot()); -EPERM: the gate refuses the tree (gate.h). A later snapshot that it refuses leaves the
 * old one where it is, until the tree has changed again.
 */
int reload_create(struct reload **reload, const struct options *options, struct snapshot_inbox inboxes[], char *why,
                  size_t size);

/* The first snapshot, for the start-up lines; valid until reload_start(). */
const struct snapshot *reload_snapshot(const struct reload *reload);

/*
 * Has published() called, on the reloader's thread, after each later snapshot has been published: whoever knows the
 * workers can wake them, so that an idle one gives the old snapshot back now and not with its next request. Must not
 * block. Before reload_start(); optional.
 */
void reload_on_publish(struct reload *reload, void (*published)(void *context), void *context);

/* Starts the thread (all signals blocked in it). 0 or -errno. */
int reload_start(struct reload *reload);

/* Asks for a rebuild now, whatever inotify says (SIGHUP). Any thread; async-signal-safe. */
void reload_request(struct reload *reload);

/*
 * Stops and joins the thread and frees every snapshot. All workers must have ended and have given their shares back;
 * their inboxes are retracted here. An asset still shared would be a bug: asserted.
 */
void reload_destroy(struct reload *reload);

#endif
