/*
 * log.h - lines for people, on standard error. Not for the event loop: a write to a full pipe blocks. Workers leave
 * counters (worker.h) that the main thread puts into words.
 *
 * Each line is one write(2): "loom: text\n". Levels: -q leaves errors and warnings, -v adds details.
 */
#ifndef LOOM_LOG_H
#define LOOM_LOG_H

#include <stddef.h>

void log_verbosity(int level); /* -1, 0 or 1, as options.h has it. Any thread. */

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What log_error() was last told, in one line; empty: nothing yet. Any thread. */
void log_last_error(char *line, size_t size);

#endif
