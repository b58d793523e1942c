/*
 * access_sink.c - see access_sink.h.
 */
#include "access_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "loom/syslog_socket.h"

/* Who visited what is nobody's business but the operator's. */
#define LOG_MODE 0640

static int complain(const char *where, int err, const char *what, char *why, size_t size)
{
	snprintf(why, size, "cannot write the access log to %s: %s", where, what ? what : strerror(-err));
	return err;
}

static int open_path(struct access_sink *sink, const char *path, char *why, size_t size)
{
	/* O_NONBLOCK: a FIFO without a reader is refused, and a slow one makes nobody wait. Files do not know it. */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, LOG_MODE), err = -errno;
	struct stat st;

	if (fd >= 0) {
		sink->fd = fd;
		sink->kind = SINK_PLAIN;
		sink->alone = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
		return 0;
	}
	if (err == -ENXIO && stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
		return complain(path, err, "it is a FIFO that nobody reads (start its reader first)", why, size);
	if (err == -ENXIO && stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		return complain(path, err, "it is a socket (of a log daemon? then say syslog:PATH)", why, size);
	return complain(path, err, NULL, why, size);
}

static int open_stdout(struct access_sink *sink, char *why, size_t size)
{
	int fd = -1, flags = fcntl(STDOUT_FILENO, F_GETFL);
	struct stat st;

	if (flags < 0 || flags & O_PATH || fstat(STDOUT_FILENO, &st) < 0) /* see take_standard_streams() */
		return complain("stdout", -EBADF, "standard output is closed", why, size);
	sink->kind = S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_PLAIN;
	sink->alone = S_ISREG(st.st_mode);
	if (!S_ISSOCK(st.st_mode) && !S_ISREG(st.st_mode)) {
		/* The same pipe by an open file of our own, so that O_NONBLOCK is ours alone. */
		fd = open("/proc/self/fd/1", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd < 0)
			sink->kind = SINK_SHARED; /* a pipe of another user, say */
	}
	if (fd < 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return complain("stdout", -errno, NULL, why, size);
	sink->fd = fd;
	return 0;
}

static int open_syslog(struct access_sink *sink, const char *path, char *why, size_t size)
{
	int fd = syslog_socket_open(path);
	char text[256];

	if (fd < 0) {
		snprintf(text, sizeof(text), "%s: %s (is a log daemon running?)", path, strerror(-fd));
		return complain("syslog", fd, text, why, size);
	}
	sink->fd = fd;
	sink->kind = SINK_SYSLOG;
	sink->path = path;
	return 0;
}

int access_sink_open(struct access_sink *sink, const char *where, char *why, size_t size)
{
	const char *path = syslog_socket_path(where);

	*sink = (struct access_sink){ .where = where, .fd = -1 };
	if (path)
		return open_syslog(sink, path, why, size);
	if (strcmp(where, "stdout") == 0)
		return open_stdout(sink, why, size);
	return open_path(sink, where, why, size);
}

/* Whether both are open on one pipe, device or file. */
static bool is_same(int a, int b)
{
	struct stat at, bt;

	return fstat(a, &at) == 0 && fstat(b, &bt) == 0 && at.st_dev == bt.st_dev && at.st_ino == bt.st_ino;
}

int access_sink_reopen(struct access_sink *sink, char *why, size_t size)
{
	struct access_sink anew;
	int err;

	if (strcmp(sink->where, "stdout") == 0)
		return 0; /* it has no name by which another one could be found */
	err = access_sink_open(&anew, sink->where, why, size);
	if (err < 0)
		return err;
	err = sink->fd < 0 || !is_same(sink->fd, anew.fd);
	access_sink_close(sink);
	*sink = anew;
	return err;
}

void access_sink_close(struct access_sink *sink)
{
	if (sink->fd >= 0)
		close(sink->fd);
	sink->fd = -1;
}

/* Line by line, as far as the daemon takes them. */
static ssize_t write_syslog(struct access_sink *sink, const char *bytes, size_t len)
{
	char header[SYSLOG_SOCKET_HEADER_MAX];
	size_t header_len = syslog_socket_header(header, LOG_INFO), at = 0;

	while (at < len) {
		const char *end = memchr(bytes + at, '\n', len - at);
		size_t line = end ? (size_t)(end - bytes) - at : len - at;
		int err = syslog_socket_send(&sink->fd, sink->path, header, header_len, bytes + at, line);

		if (err < 0)
			return at > 0 ? (ssize_t)at : err;
		at += line + (end ? 1 : 0);
	}
	return (ssize_t)at;
}

static ssize_t write_shared(const struct access_sink *sink, const char *bytes, size_t len)
{
	struct pollfd room = { .fd = sink->fd, .events = POLLOUT };

	/* A pipe that poll(2) calls writable takes PIPE_BUF without waiting (pipe(7)), and it is no more: whole_lines(). */
	if (poll(&room, 1, 0) <= 0)
		return -EAGAIN;
	return write(sink->fd, bytes, len);
}

/*
 * How much of it goes where others write too, a predecessor for one: lines that are taken whole or not at all, as far as a
 * line is no longer than that (pipe(7); a stream socket takes as much in one piece).
 */
static size_t whole_lines(const char *bytes, size_t len)
{
	const char *end = len > PIPE_BUF ? memrchr(bytes, '\n', PIPE_BUF) : NULL;

	if (len <= PIPE_BUF)
		return len;
	return end ? (size_t)(end - bytes) + 1 : PIPE_BUF;
}

ssize_t access_sink_write(struct access_sink *sink, const char *bytes, size_t len)
{
	ssize_t n;

	if (sink->kind == SINK_SYSLOG)
		return write_syslog(sink, bytes, len);
	if (!sink->alone)
		len = whole_lines(bytes, len);
	do {
		if (sink->kind == SINK_SOCKET)
			n = send(sink->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else if (sink->kind == SINK_SHARED)
			n = write_shared(sink, bytes, len);
		else
			n = write(sink->fd, bytes, len);
	} while (n < 0 && n != -EAGAIN && errno == EINTR);
	if (n < -1 || n > 0)
		return n;
	return n == 0 ? -EIO : -errno;
}
