/*
 * epoll.c - the baseline on epoll(7), level-triggered: the kernel keeps the set, and tells only what is ready; for room to
 * write is only asked while there is something to write. With --edge it is edge-triggered: registered once for both, and
 * read until there is nothing more. One thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "site.h"

#define EVENTS 512

static struct site site;
static struct exchange exchange;
static struct client *clients; /* by descriptor */
static bool *writing;          /* the same: what it is registered for */
static int epoll;

static void control(int operation, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(epoll, operation, fd, &event))
		site_die("epoll_ctl");
}

static void accept_all(void)
{
	int fd;

	while ((fd = site_accept(&site, SOCK_NONBLOCK)) >= 0) {
		writing[fd] = false;
		control(EPOLL_CTL_ADD, fd, site.flag ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN);
	}
}

static void turn(int fd)
{
	enum want want = client_turn(&site, &exchange, &clients[fd], fd, site.flag);

	if (want == WANT_CLOSE) {
		client_close(&clients[fd], fd);
	} else if (!site.flag && writing[fd] != (want == WANT_WRITE)) {
		writing[fd] = want == WANT_WRITE;
		control(EPOLL_CTL_MOD, fd, writing[fd] ? EPOLLOUT : EPOLLIN);
	}
}

int main(int argc, char *argv[])
{
	static struct epoll_event events[EVENTS];

	site_open(&site, argc, argv, true, "edge");
	clients = calloc(site.conns, sizeof(*clients));
	writing = calloc(site.conns, sizeof(*writing));
	if (!clients || !writing)
		site_die("calloc");
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		site_die("epoll_create1");
	control(EPOLL_CTL_ADD, site.listener, EPOLLIN);

	while (!site_stopping()) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		exchange.waits++;
		if (n < 0 && errno != EINTR)
			site_die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == site.listener)
				accept_all();
			else if (events[i].events != EPOLLOUT || clients[events[i].data.fd].pending)
				turn(events[i].data.fd); /* not for the edge that registering makes */
		}
	}
	site_tell(&exchange);
	return 0;
}
