/*
 * server_logs.h - the server's two logs: opening them, with words about what is wrong; and opening them anew. Private to
 * server.c and server_logs.c. The main thread.
 */
#ifndef LOOM_SERVER_LOGS_H
#define LOOM_SERVER_LOGS_H

#include "loom/access_log.h"
#include "loom/options.h"

/* Opens the error log, and the access log if there is one (*access, else NULL). 0, or -errno after one line of why. */
int server_logs_open(const struct options *options, struct access_log **access);

/* SIGUSR1: files that were renamed. */
void server_logs_reopen(struct access_log *access);

/* When the workers have ended: what they left is written. */
void server_logs_end(struct access_log *access);

#endif
