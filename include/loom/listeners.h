/*
 * listeners.h - all sockets that loom listens on, by the values of --listen: bound by loom, or passed by whoever has
 * started it. Main thread. Errors are logged.
 */
#ifndef LOOM_LISTENERS_H
#define LOOM_LISTENERS_H

#include "loom/listen.h"
#include "loom/options.h"

#define LISTENERS_WORKERS_MAX 1024

struct listeners {
	unsigned n, workers;
	struct listen_address address[OPTIONS_LISTEN_MAX];  /* of the n */
	int fds[OPTIONS_LISTEN_MAX][LISTENERS_WORKERS_MAX]; /* of each, one a worker */
};

/*
 * Opens and binds, or takes over, what the options say. 0 or -errno; what it has opened by then is in the set, for
 * listeners_close(). Before this process opens descriptors that it keeps: a passed one is known by its number.
 */
int listeners_bind(struct listeners *listeners, const struct options *options);

/* listen(2) on all of them. 0 or -errno. */
int listeners_start(struct listeners *listeners);

/* "listening on ..." for each. */
void listeners_log(const struct listeners *listeners);

/* Removes the files of Unix sockets that are still ours. */
void listeners_cleanup(const struct listeners *listeners);

/* The same, and closes all descriptors: when no worker has done it. The set is then empty. */
void listeners_close(struct listeners *listeners);

#endif
