/*
 * log.c - lines for people, on standard error.
 *
 * Any thread but an event loop's may call; there is no state but the level and the last error. A line is put together on the stack and leaves in one write(2), so that lines of several threads, or of several
 * processes on one pipe, never mix. A line that cannot be written is lost: there is nobody left to tell.
 */
#include "loom/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A write to a pipe is atomic up to this size: pipe(7). */
#define LINE_MAX_BYTES PIPE_BUF

static atomic_int verbosity;

static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER;
static char last_error[512];

/*
 * File names and addresses come into these lines: a control byte in one must not forge a second line, nor reach a
 * terminal as a command.
 */
static void disarm(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char byte = (unsigned char)text[i];

		if (byte < 0x20 || byte == 0x7f)
			text[i] = '?';
	}
}

static void write_line(const char *line, size_t len)
{
	ssize_t written;

	do
		written = write(STDERR_FILENO, line, len);
	while (written < 0 && errno == EINTR);
}

__attribute__((format(printf, 1, 0))) static void print(const char *format, va_list arguments)
{
	static const char prefix[] = "loom: ";
	static const char cut[] = "...";
	const size_t start = sizeof(prefix) - 1;
	int saved = errno; /* a caller may log between a failure and its return */
	char line[LINE_MAX_BYTES];
	const size_t room = sizeof(line) - start - 1; /* the last byte is the line's end */
	size_t len;
	int n;

	memcpy(line, prefix, start);
	n = vsnprintf(line + start, room, format, arguments);
	if (n < 0)
		n = 0;
	len = (size_t)n;
	if (len >= room) {
		len = room - 1;
		memcpy(line + start + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	}
	disarm(line + start, len);
	line[start + len] = '\n';
	write_line(line, start + len + 1);
	errno = saved;
}

void log_verbosity(int level)
{
	assert(level >= -1 && level <= 1);
	atomic_store_explicit(&verbosity, level, memory_order_relaxed);
}

void log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&last_lock);
	va_start(arguments, format);
	vsnprintf(last_error, sizeof(last_error), format, arguments);
	va_end(arguments);
	disarm(last_error, strlen(last_error));
	pthread_mutex_unlock(&last_lock);
}

void log_last_error(char *line, size_t size)
{
	pthread_mutex_lock(&last_lock);
	snprintf(line, size, "%s", last_error);
	pthread_mutex_unlock(&last_lock);
}

void log_warn(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(format, arguments);
	va_end(arguments);
}

void log_info(const char *format, ...)
{
	va_list arguments;

	if (atomic_load_explicit(&verbosity, memory_order_relaxed) < 0)
		return;
	va_start(arguments, format);
	print(format, arguments);
	va_end(arguments);
}

void log_debug(const char *format, ...)
{
	va_list arguments;

	if (atomic_load_explicit(&verbosity, memory_order_relaxed) < 1)
		return;
	va_start(arguments, format);
	print(format, arguments);
	va_end(arguments);
}
