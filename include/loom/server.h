/*
 * server.h - the whole server from bind to exit: listeners, the first snapshot, threads, signals, draining.
 */
#ifndef LOOM_SERVER_H
#define LOOM_SERVER_H

#include "loom/options.h"

struct inherited;

/* How this process was started: for reading the configuration again, and for a successor. */
struct server_start {
	int argc;
	char **argv;
	struct inherited *inherited; /* from a predecessor; NULL: there is none */
};

/*
 * Serves until a signal, or a successor, ends it. Main thread. Returns the exit status: 0 after a drain or an abort, 1 when
 * it could not start or could not go on; why has been logged.
 */
int server_run(const struct options *options, const struct server_start *start);

#endif
