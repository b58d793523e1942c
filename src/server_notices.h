/*
 * server_notices.h - what a worker has counted and cannot say itself, since a write may block (worker.h), in words for
 * the log. Private to server.c and server_notices.c; the main thread.
 */
#ifndef LOOM_SERVER_NOTICES_H
#define LOOM_SERVER_NOTICES_H

#include "loom/worker.h"

/* Up to where a worker's notices have been told. Zeroed by the caller. */
struct server_told {
	unsigned failures, full, crowding, stale, unreadable, untrusted, unproxied;
};

/* Writes a line for each kind that has grown. config: the worker's. */
void notices_log(const struct worker_config *config, const struct worker_notices *notices, struct server_told *told);

#endif
