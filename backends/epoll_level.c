/*
 * epoll_level.c - trigger=level: connections are told of what is so, again with every wait, and not of what changes. On the
 * worker's thread; owns nothing. io_conn.held has what a connection is told of.
 *
 * So nothing may be asked for that cannot be dealt with: bytes that nobody wants yet would be told of without an end, as
 * would room. It is done late, though: what is told in vain is not asked for any more, and what is waited for is asked for,
 * so that a client that asks and is answered in turns costs no epoll_ctl(2) at all. A hang-up and an error cannot be left
 * out, and a connection that waits for nothing is taken out of the set.
 */
#include "epoll.h"

static void level_set(struct io_epoll *ep, struct io_conn *conn, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = tag_make(conn, 0, conn->generation) };
	int what = !conn->held ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (conn->held == events)
		return;
	if (epoll_ctl(ep->fd, what, conn->fd, &event) == 0) {
		conn->held = (uint16_t)events;
		return;
	}
	ep_give_up(conn);
}

void ep_level_want(struct io_epoll *ep, struct io_conn *conn, uint32_t events)
{
	level_set(ep, conn, conn->held | events);
}

void ep_level_told(struct io_epoll *ep, struct io_conn *conn, uint32_t events)
{
	uint32_t want = conn->held;

	if (!(conn->flags & CONN_CREDIT))
		want &= ~LEVEL_IN;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		want &= ~EPOLLOUT;
	level_set(ep, conn, want);
}
