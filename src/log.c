/*
 * log.c - see log.h.
 *
 * Any thread but an event loop's may call. A line is put together on the stack and leaves in one write(2), so that lines of
 * several processes on one pipe never mix. One lock guards where lines go, and which came last. A line that cannot be
 * written is lost: there is nobody left to tell.
 */
#include "loom/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "loom/syslog_socket.h"

/* A write to a pipe is atomic up to this size: pipe(7). */
#define LINE_MAX_BYTES PIPE_BUF

/* What may stand before a line's text. */
#define PREFIX_MAX 96

#define FILE_MODE 0640

static const struct {
	int severity; /* syslog(3) */
	const char *name;
} levels[] = {
	[LOG_LEVEL_ERROR] = { LOG_ERR, "error" },
	[LOG_LEVEL_WARN] = { LOG_WARNING, "warning" },
	[LOG_LEVEL_INFO] = { LOG_INFO, "info" },
	[LOG_LEVEL_DEBUG] = { LOG_DEBUG, "debug" },
};

static atomic_int most_level = LOG_LEVEL_INFO;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum {
	TO_STDERR,
	TO_JOURNAL,
	TO_FILE,
	TO_SYSLOG,
} target;
static const char *path; /* of the file, or of the log daemon's socket */
static int target_fd = -1;
static bool started = true;
static int wake_fd = -1;
static char last_error[512];

/* The line that was written last, and how often it came again since. */
static struct {
	enum log_level level;
	size_t len;
	unsigned repeats;
	uint64_t written; /* ms */
	char text[LINE_MAX_BYTES];
} last;

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

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

static void write_bytes(int fd, const char *bytes, size_t len)
{
	ssize_t written;

	do
		written = write(fd, bytes, len);
	while (written < 0 && errno == EINTR);
}

/* "2026-11-28T17:43:06.123Z loom[4711] warning: " */
static size_t file_prefix(char out[PREFIX_MAX], enum log_level level)
{
	struct timespec now;
	struct tm tm;
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = snprintf(out, PREFIX_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ loom[%d] %s: ", tm.tm_year + 1900,
	             tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(now.tv_nsec / 1000000),
	             (int)getpid(), levels[level].name);
	return n < PREFIX_MAX ? (size_t)n : PREFIX_MAX - 1;
}

/* Prefix, text and end as one. The text is cut where it does not fit. */
static void write_line(int fd, const char *prefix, size_t prefix_len, const char *text, size_t len)
{
	static const char cut[] = "...";
	char line[LINE_MAX_BYTES];
	const size_t room = sizeof(line) - prefix_len - 1;

	memcpy(line, prefix, prefix_len);
	memcpy(line + prefix_len, text, len < room ? len : room);
	if (len > room) {
		len = room;
		memcpy(line + prefix_len + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	}
	line[prefix_len + len] = '\n';
	write_bytes(fd, line, prefix_len + len + 1);
}

static void write_stderr(const char *text, size_t len)
{
	write_line(STDERR_FILENO, "loom: ", strlen("loom: "), text, len);
}

/* Under the lock. */
static void deliver(enum log_level level, const char *text, size_t len)
{
	char prefix[PREFIX_MAX];
	size_t prefix_len;

	switch (target) {
	case TO_STDERR:
		write_stderr(text, len);
		return;
	case TO_JOURNAL:
		prefix_len = (size_t)snprintf(prefix, sizeof(prefix), "<%d>", levels[level].severity);
		write_line(STDERR_FILENO, prefix, prefix_len, text, len);
		return;
	case TO_FILE:
		write_line(target_fd, prefix, file_prefix(prefix, level), text, len);
		break;
	case TO_SYSLOG:
		prefix_len = syslog_socket_header(prefix, levels[level].severity);
		syslog_socket_send(&target_fd, path, prefix, prefix_len, text, len);
		break;
	}
	if (!started && level == LOG_LEVEL_ERROR)
		write_stderr(text, len);
}

/* Under the lock: what is known about the last line, now. */
static void say_repeats(uint64_t now)
{
	char text[64];
	int n;

	if (last.repeats == 0)
		return;
	n = snprintf(text, sizeof(text), "last message repeated %u time%s", last.repeats, last.repeats == 1 ? "" : "s");
	last.repeats = 0;
	last.written = now;
	deliver(last.level, text, (size_t)n);
}

/* Under the lock: whether the line is the last one again, so soon that counting it is enough. */
static bool is_repeated(enum log_level level, const char *text, size_t len, uint64_t now)
{
	uint64_t one = 1;
	ssize_t n;

	if (wake_fd < 0 || level != last.level || len != last.len || memcmp(text, last.text, len) != 0 || len == 0 ||
	    now - last.written >= LOG_REPEAT_MS)
		return false;
	if (last.repeats++ == 0) {
		n = write(wake_fd, &one, sizeof(one));
		(void)n; /* a full one wakes as well */
	}
	return true;
}

__attribute__((format(printf, 2, 0))) static void print(enum log_level level, const char *format, va_list arguments)
{
	static const char cut[] = "...";
	int saved = errno; /* a caller may log between a failure and its return */
	char text[LINE_MAX_BYTES - sizeof("loom: ")];
	uint64_t now;
	size_t len;
	int n;

	if ((int)level > atomic_load_explicit(&most_level, memory_order_relaxed))
		return;
	n = vsnprintf(text, sizeof(text), format, arguments);
	len = n > 0 ? (size_t)n : 0;
	if (len >= sizeof(text)) {
		len = sizeof(text) - 1;
		memcpy(text + len - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	}
	disarm(text, len);

	pthread_mutex_lock(&lock);
	if (level == LOG_LEVEL_ERROR)
		snprintf(last_error, sizeof(last_error), "%.*s", (int)len, text);
	now = milliseconds();
	if (!is_repeated(level, text, len, now)) {
		say_repeats(now);
		last.level = level;
		last.len = len;
		last.written = now;
		memcpy(last.text, text, len);
		deliver(level, text, len);
	}
	pthread_mutex_unlock(&lock);
	errno = saved;
}

void log_set_level(enum log_level most)
{
	assert(most <= LOG_LEVEL_DEBUG);
	atomic_store_explicit(&most_level, (int)most, memory_order_relaxed);
}

/* systemd.exec(5): JOURNAL_STREAM is the device and inode of the journal's socket, which standard error still has to be. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == device && st.st_ino == inode;
}

/* O_NONBLOCK: a FIFO without a reader is refused. */
static int open_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, FILE_MODE);

	return fd < 0 ? -errno : fd;
}

int log_open(const char *where, char *why, size_t size)
{
	const char *socket = syslog_socket_path(where);
	int fd;

	if (strcmp(where, "stderr") == 0) {
		target = stderr_is_journal() ? TO_JOURNAL : TO_STDERR;
		return 0;
	}
	fd = socket ? syslog_socket_open(socket) : open_file(where);
	if (fd < 0) {
		snprintf(why, size, "cannot write the error log to %s: %s%s", socket ? socket : where, strerror(-fd),
		         socket         ? " (is a log daemon running?)"
		         : fd == -ENXIO ? " (a FIFO needs its reader first, a socket is syslog:PATH)"
		                        : "");
		return fd;
	}
	target = socket ? TO_SYSLOG : TO_FILE;
	path = socket ? socket : where;
	target_fd = fd;
	started = false;
	return 0;
}

void log_started(void)
{
	pthread_mutex_lock(&lock);
	started = true;
	pthread_mutex_unlock(&lock);
}

void log_reopen(void)
{
	int fd;

	if (target != TO_FILE)
		return; /* syslog finds its daemon again by itself */
	fd = open_file(path);
	if (fd < 0) {
		log_error("cannot write the error log to %s: %s (the one that is open goes on being written)", path,
		          strerror(-fd));
		return;
	}
	pthread_mutex_lock(&lock);
	say_repeats(milliseconds());
	last.len = 0; /* the new file begins with the line itself */
	close(target_fd);
	target_fd = fd;
	pthread_mutex_unlock(&lock);
}

void log_close(void)
{
	pthread_mutex_lock(&lock);
	say_repeats(milliseconds());
	last.len = 0;
	pthread_mutex_unlock(&lock);
}

void log_wake(int fd)
{
	pthread_mutex_lock(&lock);
	wake_fd = fd;
	pthread_mutex_unlock(&lock);
}

int log_repeats(void)
{
	uint64_t now;
	int left = -1;

	pthread_mutex_lock(&lock);
	now = milliseconds();
	if (last.repeats > 0 && now - last.written >= LOG_REPEAT_MS)
		say_repeats(now);
	else if (last.repeats > 0)
		left = (int)(LOG_REPEAT_MS - (now - last.written));
	pthread_mutex_unlock(&lock);
	return left;
}

void log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(LOG_LEVEL_ERROR, format, arguments);
	va_end(arguments);
}

void log_last_error(char *line, size_t size)
{
	pthread_mutex_lock(&lock);
	snprintf(line, size, "%s", last_error);
	pthread_mutex_unlock(&lock);
}

void log_warn(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(LOG_LEVEL_WARN, format, arguments);
	va_end(arguments);
}

void log_info(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(LOG_LEVEL_INFO, format, arguments);
	va_end(arguments);
}

void log_debug(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print(LOG_LEVEL_DEBUG, format, arguments);
	va_end(arguments);
}
