/*
 * server.h - the whole server from bind to exit: listeners, the first snapshot, threads, signals, draining.
 */
#ifndef LOOM_SERVER_H
#define LOOM_SERVER_H

#include "loom/options.h"

/*
 * Serves until a signal ends it. Main thread. Returns the exit status: 0 after a drain or an abort by signal, 1 when
 * it could not start or could not go on; why has been logged.
 */
int server_run(const struct options *options);

#endif
