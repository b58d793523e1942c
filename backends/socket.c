/*
 * socket.c - questions about a socket that every backend asks in the same way. Any thread; owns nothing.
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
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

/* Whether both ends have the same address, or the loopback network's: 127.1.2.3 may talk to 127.0.0.1. */
static bool socket_is_local(int fd)
{
	struct sockaddr_storage ours = { 0 }, peers = { 0 };
	socklen_t ours_len = sizeof(ours), peers_len = sizeof(peers);
	const struct sockaddr_in *in = (const struct sockaddr_in *)&ours,
				 *peers_in = (const struct sockaddr_in *)&peers;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ours;
	const struct sockaddr_in6 *peers_in6 = (const struct sockaddr_in6 *)&peers;

	if (getsockname(fd, (struct sockaddr *)&ours, &ours_len) ||
	    getpeername(fd, (struct sockaddr *)&peers, &peers_len))
		return false;
	if (ours.ss_family != peers.ss_family)
		return false;
	if (ours.ss_family == AF_INET)
		return in->sin_addr.s_addr == peers_in->sin_addr.s_addr ||
		       ntohl(peers_in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return ours.ss_family == AF_INET6 &&
	       memcmp(&in6->sin6_addr, &peers_in6->sin6_addr, sizeof(in6->sin6_addr)) == 0;
}

void socket_unpace(int fd)
{
	static const char reno[] = "reno"; /* the one that every kernel has, and that everybody may use */

	if (socket_is_local(fd))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno) - 1);
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
