/*
 * socket.c - questions about a socket that every backend asks in the same way. Any thread; owns nothing.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "backends.h"

static bool socket_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0 &&
	       len >= offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info->tcpi_bytes_acked);
}

bool socket_counts(int fd)
{
	struct tcp_info info;

	return socket_info(fd, &info);
}

uint64_t socket_progress(int fd, uint64_t taken)
{
	struct tcp_info info;

	return socket_info(fd, &info) ? info.tcpi_bytes_acked : taken;
}

bool socket_accept_passes(int err)
{
	switch (err) {
	case -EINTR:
	case -ECONNABORTED:
	case -EPROTO:
	case -ENOPROTOOPT:
	case -ENETDOWN:
	case -ENETUNREACH:
	case -EHOSTDOWN:
	case -EHOSTUNREACH:
	case -ENONET:
	case -EOPNOTSUPP:
	case -ETIMEDOUT:
		return true;
	default:
		return false;
	}
}
