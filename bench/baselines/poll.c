/*
 * poll.c - the baseline on poll(2): an array of all descriptors, which the kernel reads and looks at one by one at each call,
 * and the program searches for those that are ready. Level-triggered by nature. One thread.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "site.h"

static struct site site;
static struct exchange exchange;
static struct pollfd *polls; /* the listener first, without gaps */
static struct client *clients;
static unsigned used;

static void accept_all(void)
{
	int fd;

	while ((fd = site_accept(&site, SOCK_NONBLOCK)) >= 0) {
		clients[used] = (struct client){ 0 };
		polls[used++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
}

/* Whether the place is still the same connection's: the last one takes that of one that has ended. */
static bool turn(unsigned at)
{
	enum want want = client_turn(&site, &exchange, &clients[at], polls[at].fd, false);

	polls[at].events = want == WANT_WRITE ? POLLOUT : POLLIN;
	if (want != WANT_CLOSE)
		return true;
	client_close(&clients[at], polls[at].fd);
	used--;
	polls[at] = polls[used];
	clients[at] = clients[used];
	return false;
}

int main(int argc, char *argv[])
{
	site_open(&site, argc, argv, true, NULL);
	polls = calloc(site.conns, sizeof(*polls));
	clients = calloc(site.conns, sizeof(*clients));
	if (!polls || !clients)
		site_die("calloc");
	polls[used++] = (struct pollfd){ .fd = site.listener, .events = POLLIN };

	while (!site_stopping()) {
		int left = poll(polls, used, -1);

		exchange.waits++;
		if (left < 0 && errno != EINTR)
			site_die("poll");
		for (unsigned at = 1; left > (polls[0].revents != 0) && at < used;) {
			if (!polls[at].revents) {
				at++;
				continue;
			}
			polls[at].revents = 0;
			left--;
			if (turn(at))
				at++;
		}
		if (polls[0].revents)
			accept_all();
	}
	site_tell(&exchange);
	return 0;
}
