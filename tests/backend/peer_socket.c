/*
 * peer_socket.c - peers on real sockets: TCP on loopback and AF_UNIX streams. See peer.h.
 *
 * Socket buffers are set to a moderate size, so that a test can fill them, and so that the kernel's tuning does not
 * decide how far a slow reader can be outrun.
 */
#include "peer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_BUFFER  (128 * 1024)
#define SOCKET_BACKLOG 1024

static void socket_tune(int fd)
{
	int size = SOCKET_BUFFER, on = 1;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* ENOTSUP on Unix sockets */
}

static void socket_unblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static ssize_t socket_write(struct peer *peer, const void *data, size_t n)
{
	ssize_t res = send(peer->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	return res < 0 ? -errno : res;
}

static ssize_t socket_read(struct peer *peer, void *data, size_t n)
{
	ssize_t res = recv(peer->fd, data, n, MSG_DONTWAIT);

	return res < 0 ? -errno : res;
}

static void socket_shutdown(struct peer *peer)
{
	shutdown(peer->fd, SHUT_WR);
}

static void socket_close(struct peer *peer)
{
	if (peer->fd >= 0)
		close(peer->fd);
	peer->fd = -1;
}

static void socket_reset(struct peer *peer)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	socket_close(peer);
}

static int socket_listen(int family, struct io_listener *listener)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd, err;

	memset(listener, 0, sizeof(*listener));
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	socket_tune(fd);
	/* A Unix address of no length: the kernel picks an abstract name. */
	err = family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in))
	                        : bind(fd, (struct sockaddr *)&un, sizeof(sa_family_t));
	if (err || listen(fd, SOCKET_BACKLOG)) {
		err = -errno;
		close(fd);
		return err;
	}
	listener->fd = fd;
	return 0;
}

static int socket_connect(struct io *io, struct io_listener *listener, struct peer *peer)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int err;

	(void)io;
	if (getsockname(listener->fd, (struct sockaddr *)&address, &len))
		return -errno;
	peer->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (peer->fd < 0)
		return -errno;
	peer->ops = address.ss_family == AF_INET ? &peer_tcp : &peer_unix;
	socket_tune(peer->fd);
	if (connect(peer->fd, (struct sockaddr *)&address, len)) {
		err = -errno;
		socket_close(peer);
		return err;
	}
	socket_unblock(peer->fd);
	return 0;
}

static void socket_unlisten(struct io *io, struct io_listener *listener)
{
	(void)io;
	close(listener->fd);
	listener->fd = -1;
}

static void socket_drop(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

static void socket_exhaust(struct io *io, bool on)
{
	static rlim_t before;
	struct rlimit limit;

	(void)io;
	getrlimit(RLIMIT_NOFILE, &limit);
	if (on) {
		before = limit.rlim_cur;
		limit.rlim_cur = 0;
	} else {
		limit.rlim_cur = before;
	}
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int tcp_listener(struct io *io, struct io_listener *listener)
{
	(void)io;
	return socket_listen(AF_INET, listener);
}

static int unix_listener(struct io *io, struct io_listener *listener)
{
	int err = socket_listen(AF_UNIX, listener);

	(void)io;
	listener->shared = true; /* both ways of accepting keep the contract */
	return err;
}

/* The backend's end stays a blocking socket: io_open() takes what it is given. */
static int tcp_pair(struct io *io, struct peer *peer, int *fd)
{
	static struct io_listener listener; /* one for the process: its tests make thousands of pairs */
	static pid_t owner;
	int err;

	if (owner != getpid()) {
		err = socket_listen(AF_INET, &listener);
		if (err)
			return err;
		owner = getpid();
	}
	err = socket_connect(io, &listener, peer);
	if (err)
		return err;
	do
		*fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC);
	while (*fd < 0 && errno == EAGAIN);
	if (*fd < 0) {
		err = -errno;
		socket_close(peer);
		return err;
	}
	socket_tune(*fd);
	return 0;
}

static int unix_pair(struct io *io, struct peer *peer, int *fd)
{
	int fds[2];

	(void)io;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	socket_tune(fds[0]);
	socket_tune(fds[1]);
	socket_unblock(fds[1]);
	*fd = fds[0];
	peer->ops = &peer_unix;
	peer->fd = fds[1];
	return 0;
}

const struct peer_ops peer_tcp = {
	.name = "tcp",
	.flags = PEER_RESETS | PEER_KERNEL | PEER_ACKS | PEER_LISTENS,
	.pair = tcp_pair,
	.write = socket_write,
	.read = socket_read,
	.shutdown = socket_shutdown,
	.reset = socket_reset,
	.close = socket_close,
	.listener = tcp_listener,
	.unlisten = socket_unlisten,
	.connect = socket_connect,
	.drop = socket_drop,
	.exhaust = socket_exhaust,
};

/* close(2) of a Unix socket is its only way to go, and reads as a FIN when nothing was left unread. */
const struct peer_ops peer_unix = {
	.name = "unix",
	.flags = PEER_KERNEL | PEER_LISTENS,
	.pair = unix_pair,
	.write = socket_write,
	.read = socket_read,
	.shutdown = socket_shutdown,
	.reset = socket_close,
	.close = socket_close,
	.listener = unix_listener,
	.unlisten = socket_unlisten,
	.connect = socket_connect,
	.drop = socket_drop,
	.exhaust = socket_exhaust,
};
