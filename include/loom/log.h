/*
 * log.h - lines for people: the error log. Not for the event loop: a write to a full pipe blocks. Workers leave
 * counters (worker.h) that the main thread puts into words.
 *
 * Each line is one write(2), or one datagram:
 *
 *     standard error   loom: text
 *     under systemd    <4>text (sd-daemon(3)), when standard error is the journal: JOURNAL_STREAM, systemd.exec(5)
 *     a file           2026-11-28T17:43:06.123Z loom[4711] warning: text
 *     syslog           severity and text
 *
 * While there is somebody who says it in time (log_wake()), a line that says what the one before said is held back, for
 * LOG_REPEAT_MS at most, and then counted: "last message repeated 7 times".
 */
#ifndef LOOM_LOG_H
#define LOOM_LOG_H

#include <stddef.h>

#define LOG_REPEAT_MS 10000

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

void log_set_level(enum log_level most); /* what is said; info is the default. Any thread. */

/*
 * Where lines go: "stderr" (which is where they go before), "syslog", "syslog:PATH", or a file's path; borrowed. Once, before
 * the first thread. Errors are on standard error as well until log_started(), for who starts loom by hand. 0, or -errno with
 * one line in why.
 */
int log_open(const char *where, char *why, size_t size);
void log_started(void);

/* The file has been renamed: opens a new one of its name; the old one stays when that fails, which is said. Any thread. */
void log_reopen(void);

/* Says what has been held back. At the end. */
void log_close(void);

/*
 * An eventfd(2) that is written to when a line is held back, so that somebody calls log_repeats() in time; -1: nobody does,
 * and nothing is held back. log_repeats() says how often the last line was repeated, if that is due, and returns the milliseconds until it is; -1: nothing waits.
 */
void log_wake(int fd);
int log_repeats(void);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What log_error() was last told, in one line; empty: nothing yet. Any thread. */
void log_last_error(char *line, size_t size);

#endif
