/*
 * logs.h - the two logs of a server by its options: opening them, with words about what is wrong; and opening them anew. The
 * main thread.
 */
#ifndef LOOM_LOGS_H
#define LOOM_LOGS_H

#include <stddef.h>

#include "loom/access_log.h"
#include "loom/options.h"

/* Opens the error log, and the access log if there is one (*access, else NULL). 0, or -errno after one line of why. */
int logs_open(const struct options *options, struct access_log **access);

/*
 * Whether logs_open() could open a log that is a file: option is "access-log" or "error-log". Changes nothing. 1 when it could,
 * 0 when it is no file (a daemon and a reader may come later), or -errno with one line in why.
 */
int logs_try(const struct options *options, const char *option, char *why, size_t size);

/* SIGUSR1: files that were renamed. access: or NULL. */
void logs_reopen(struct access_log *access);

/* When the workers have ended: what they left is written. access: or NULL. */
void logs_end(struct access_log *access);

#endif
