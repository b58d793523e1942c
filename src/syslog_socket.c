/*
 * syslog_socket.c - see syslog_socket.h.
 */
#include "loom/syslog_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

const char *syslog_socket_path(const char *where)
{
	if (strcmp(where, "syslog") == 0)
		return "/dev/log";
	return strncmp(where, "syslog:", 7) == 0 ? where + 7 : NULL;
}

int syslog_socket_open(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	int fd;

	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

size_t syslog_socket_header(char out[SYSLOG_SOCKET_HEADER_MAX], int severity)
{
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t now = time(NULL);
	struct tm tm;
	int n;

	localtime_r(&now, &tm);
	n = snprintf(out, SYSLOG_SOCKET_HEADER_MAX, "<%d>%s %2d %02d:%02d:%02d loom[%d]: ", LOG_DAEMON | severity,
	             months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)getpid());
	return n < SYSLOG_SOCKET_HEADER_MAX ? (size_t)n : SYSLOG_SOCKET_HEADER_MAX - 1;
}

static int send_once(int fd, const char *header, size_t header_len, const char *text, size_t len)
{
	/* The casts: struct iovec has no const; a send only reads. */
	struct iovec iov[] = { { .iov_base = (void *)(size_t)header, .iov_len = header_len },
		               { .iov_base = (void *)(size_t)text,
		                 .iov_len = len < SYSLOG_SOCKET_LINE_MAX ? len : SYSLOG_SOCKET_LINE_MAX } };
	const struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	do
		n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	return errno == ENOBUFS ? -EAGAIN : -errno;
}

int syslog_socket_send(int *fd, const char *path, const char *header, size_t header_len, const char *text, size_t len)
{
	int err = *fd < 0 ? -ENOTCONN : send_once(*fd, header, header_len, text, len), again;

	if (err == 0 || err == -EAGAIN)
		return err;
	/* ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE: the daemon has another socket now, or none. */
	again = syslog_socket_open(path);
	if (again < 0)
		return again;
	if (*fd >= 0)
		close(*fd);
	*fd = again;
	return send_once(*fd, header, header_len, text, len);
}
