/*
 * epoll_listen.c - the listening half of the epoll backend: registering, accepting, suspending, taking turns. Runs on
 * the worker's thread. A listener owns nothing but its place in the FIFO of those with something to say.
 */
#include <errno.h>
#include <sys/socket.h>

#include "epoll.h"

/* Accepts after off, at most: about the longest backlog that there is (somaxconn). Clients that keep coming end there. */
#define SWEEP_MAX 4096

enum listener_flag {
	LISTENER_QUEUED = 1 << 0, /* in the listeners' FIFO */
	LISTENER_ON = 1 << 1,     /* between io_listen(on) and IO_UNLISTENED */
	LISTENER_ARMED = 1 << 2,  /* in the epoll set; not when suspended after an error */
	LISTENER_READY = 1 << 3,  /* an accept may find something */
	LISTENER_OFF = 1 << 4,    /* an IO_UNLISTENED is due */
	LISTENER_FAILED =
		1 << 5, /* accepting has failed: the caller was told, and nothing is accepted until off and on */
	LISTENER_TOOK = 1 << 6, /* something was accepted since it was armed */
};

static void listener_push(struct io_epoll *ep, struct io_listener *listener)
{
	if (listener->flags & LISTENER_QUEUED)
		return;
	listener->flags |= LISTENER_QUEUED;
	listener->next = NULL;
	if (ep->listener_head)
		ep->listener_tail->next = listener;
	else
		ep->listener_head = listener;
	ep->listener_tail = listener;
}

static struct io_listener *listener_pop(struct io_epoll *ep)
{
	struct io_listener *listener = ep->listener_head;

	ep->listener_head = listener->next;
	listener->flags &= ~LISTENER_QUEUED;
	return listener;
}

void ep_listener_told(struct io_epoll *ep, struct io_listener *listener)
{
	listener->flags |= LISTENER_READY;
	listener_push(ep, listener);
}

static void listener_disarm(struct io_epoll *ep, struct io_listener *listener)
{
	if (listener->flags & LISTENER_ARMED)
		epoll_ctl(ep->fd, EPOLL_CTL_DEL, listener->fd, NULL);
	listener->flags &= ~LISTENER_ARMED;
}

/*
 * Level-triggered: what a pass leaves in the backlog is told again by the next wait, and nobody has to be right about
 * edges that another worker's accept made stale. Exclusive (unless no-exclusive was asked for), since workers may share the socket: a connection then wakes
 * one idle worker; one that comes while that worker is busy goes on to the next.
 */
static void listener_arm(struct io_epoll *ep, struct io_listener *listener)
{
	struct epoll_event event = {
		.events = EPOLLIN | (ep->io.features.epoll.exclusive ? EPOLLEXCLUSIVE : 0),
		.data.u64 = tag_make(listener, TAG_LISTENER, 0),
	};

	listener->flags |= LISTENER_ARMED;
	if (epoll_ctl(ep->fd, EPOLL_CTL_ADD, listener->fd, &event) < 0) {
		listener->owed = (uint16_t)errno;
		listener->flags = (listener->flags & ~LISTENER_ARMED) | LISTENER_READY;
		listener_push(ep, listener);
	}
}

/*
 * The kernel wakes the first in the queue of those who wait for a shared socket, again and again (measured: 194 of 200,
 * with three workers, when connections come one by one). Who has taken something goes to the end.
 */
static void listener_queue_up(struct io_epoll *ep, struct io_listener *listener)
{
	if (!listener->shared ||
	    (listener->flags & (LISTENER_TOOK | LISTENER_ARMED)) != (LISTENER_TOOK | LISTENER_ARMED))
		return;
	listener->flags &= ~LISTENER_TOOK;
	listener_disarm(ep, listener);
	listener_arm(ep, listener);
}

/* Accepts one connection. False when there is none, or when the one there was is already gone. */
static bool listener_accept(struct io_epoll *ep, struct io_listener *listener, struct io_event *event)
{
	int res;

	if (listener->owed) {
		/* Nothing in the kernel is owed to a listener here; the field holds the errno of its registration. */
		res = -(int)listener->owed;
		listener->owed = 0;
	} else {
		res = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (res < 0)
			res = -errno;
	}

	if (res == -EAGAIN) {
		listener->flags &= ~LISTENER_READY;
		listener_queue_up(ep, listener);
		return false;
	}
	if (res < 0 && socket_accept_passes(res))
		return false;

	if (res < 0) {
		/* Suspended. Left in the set, the backlog would be reported again by every wait. */
		listener_disarm(ep, listener);
		listener->flags &= ~LISTENER_READY;
		listener->flags |= LISTENER_FAILED;
		if (listener->flags & LISTENER_OFF)
			return false;
	} else {
		listener->flags |= LISTENER_TOOK;
	}
	*event = (struct io_event){ .op = IO_ACCEPT, .res = res, .listener = listener };
	return true;
}

/*
 * One turn of a listener. After off the backlog is emptied, as far as there is room: clients whose handshake is over
 * believe to be connected, and would be reset if the listener were closed; and EPOLLEXCLUSIVE may have told this worker
 * alone of a connection on a shared socket. Where there is no room, they are better off waiting in the backlog.
 */
static bool listener_turn(struct io_epoll *ep, struct io_listener *listener, struct io_event *event)
{
	bool given = false;

	if (listener->flags & LISTENER_OFF && (ep->conns >= ep->config.conns || listener->swept == SWEEP_MAX))
		listener->flags &= ~LISTENER_READY;
	if (listener->flags & LISTENER_READY) {
		if (listener->flags & LISTENER_OFF)
			listener->swept++;
		given = listener_accept(ep, listener, event);
	} else if (listener->flags & LISTENER_OFF) {
		listener->flags = 0;
		ep->listeners--;
		*event = (struct io_event){ .op = IO_UNLISTENED, .listener = listener };
		return true;
	}

	if (listener->flags & (LISTENER_READY | LISTENER_OFF))
		listener_push(ep, listener);
	return given;
}

bool ep_listener_next(struct io_epoll *ep, struct io_event *event)
{
	while (ep->accepts && ep->listener_head) {
		ep->accepts--;
		if (listener_turn(ep, listener_pop(ep), event))
			return true;
	}
	return false;
}

static void listener_on(struct io_epoll *ep, struct io_listener *listener)
{
	assert(!(listener->flags & LISTENER_ON) && ep->listeners < ep->config.listeners);
	ep->listeners++;
	listener->flags = LISTENER_ON;
	listener->owed = 0;
	listener_arm(ep, listener);
}

static void listener_off(struct io_epoll *ep, struct io_listener *listener)
{
	assert((listener->flags & (LISTENER_ON | LISTENER_OFF)) == LISTENER_ON);
	listener_disarm(ep, listener);
	listener->swept = 0;
	listener->flags |= LISTENER_OFF | (listener->flags & LISTENER_FAILED ? 0 : LISTENER_READY);
	listener->owed = 0;
	listener_push(ep, listener);
}

void ep_listen(struct io *io, struct io_listener *listener, bool on)
{
	if (on)
		listener_on(ep_of(io), listener);
	else
		listener_off(ep_of(io), listener);
}
