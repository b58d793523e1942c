/*
 * limit_epoll.c - the limit server on edge-triggered epoll: each connection is registered once, and is asked again
 * only when the kernel says so. Three system calls for a lone request (epoll_wait, recv, send), two and a fraction when
 * several are ready. One thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "limit.h"

#define EVENTS 512

static struct limit limit;
static struct limit_conn *conns;
static char buffer[16 * 1024];
static int epoll;

static void accept_all(void)
{
	for (;;) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
		int fd = accept4(limit.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EAGAIN)
				return;
			if (errno == ECONNABORTED || errno == EINTR)
				continue;
			limit_die("accept", errno);
		}
		conns[fd] = (struct limit_conn){ 0 };
		event.data.fd = fd;
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
			limit_die("epoll_ctl", errno);
	}
}

/* 0 when all is sent, -errno when not: -EAGAIN until the kernel says that there is room. */
static int flush(int fd, struct limit_conn *conn)
{
	while (conn->left) {
		size_t len;
		const char *bytes = limit_next(&limit, conn, &len);
		ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);

		if (sent < 0)
			return -errno;
		conn->left -= (size_t)sent;
		/* A short send means that the socket is full: the next one would only say so. */
		if ((size_t)sent < len)
			return -EAGAIN;
	}
	return 0;
}

static void turn(int fd, uint32_t events)
{
	struct limit_conn *conn = &conns[fd];
	bool drained = false;

	/* The edge that registering makes: nothing was waiting for room. */
	if (events == EPOLLOUT && !conn->left)
		return;
	for (;;) {
		int error = flush(fd, conn);
		ssize_t len;

		if (error == -EAGAIN)
			return;
		if (error || conn->done)
			break;
		/* A short read has drained the socket, unless its end is already there, which makes no second edge. */
		if (drained && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
			return;
		len = recv(fd, buffer, sizeof(buffer), 0);
		if (len < 0 && errno == EAGAIN)
			return;
		if (len <= 0)
			break;
		drained = (size_t)len < sizeof(buffer);
		limit_receive(&limit, conn, buffer, (size_t)len);
	}
	close(fd);
}

int main(int argc, char *argv[])
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	static struct epoll_event events[EVENTS];

	limit_setup(&limit, argc, argv, true);
	conns = calloc(limit.conns, sizeof(*conns));
	if (!conns)
		limit_die("calloc", errno);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		limit_die("epoll_create1", errno);
	event.data.fd = limit.listener;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, limit.listener, &event))
		limit_die("epoll_ctl", errno);

	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		if (n < 0 && errno != EINTR)
			limit_die("epoll_wait", errno);
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == limit.listener)
				accept_all();
			else
				turn(events[i].data.fd, events[i].events);
		}
	}
}
