/*
 * access_log.h - the thread that writes the access log: it takes the workers' records from their rings (access_ring.h),
 * formats them (access_format.h), and writes them in large pieces.
 *
 * Workers never wait for it. When lines cannot be written (a full disk, a reader that is slow, a log daemon that has gone)
 * they wait in the rings as long as these have room, and then records are dropped and counted; once it goes on, the count
 * is said in the error log. Lines of one worker are in the order in which answers ended; those of several are not sorted.
 */
#ifndef LOOM_ACCESS_LOG_H
#define LOOM_ACCESS_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "loom/access_format.h"
#include "loom/access_ring.h"

struct access_log;

/*
 * Opens the log: where is "stdout", "syslog", "syslog:PATH" (of a datagram socket) or a file's path, and is borrowed. 0, or
 * -errno with one line in why. Before the workers.
 */
int access_log_create(struct access_log **log, const char *where, enum access_format format, unsigned workers,
                      char *why, size_t size);

/* Where a worker, 0 to workers - 1, puts its records. */
struct access_ring *access_log_ring(struct access_log *log, unsigned worker);

/* Starts the thread. 0 or -errno. */
int access_log_start(struct access_log *log);

/*
 * Any thread: the file has been renamed (log rotation); lines go to a new one of the old name from now on. One that cannot
 * be opened is an error in the error log, and the old one goes on being written. No line is lost or torn.
 */
void access_log_reopen(struct access_log *log);

/*
 * When the workers have ended: writes all that they left, and ends the thread. A reader that takes nothing for two seconds is
 * not waited for longer: what is lost then is said.
 */
void access_log_stop(struct access_log *log);

/* After access_log_stop(), or when the thread was never started. NULL: nothing. */
void access_log_destroy(struct access_log *log);

/* For metrics. Counts since the start; they only grow. */
struct access_log_stats {
	uint64_t records; /* formatted: in the file, or on their way there */
	uint64_t dropped; /* never written, for lack of room */
	uint64_t bytes;   /* written */
};

/* Any thread. The figures are not all of the same moment. */
void access_log_stats(const struct access_log *log, struct access_log_stats *stats);

#endif
