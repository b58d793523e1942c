/*
 * epoll.c - loom/io.h on edge-triggered epoll. Runs on the worker's thread, except for ep_wake().
 *
 * Each operation is tried first and parks only when the kernel says EAGAIN; the next edge resumes it. A socket is registered
 * when it is first waited for, once, for both directions and for its whole life. So a keep-alive request costs one recv,
 * one send and its share of an epoll_wait, and a connection for one request is often never registered at all.
 *
 * Completions are made when they are pulled. Connections with something to say stand in a FIFO: a send that is done, a
 * credit on a socket that may be readable, a send that has room again, a close. ep_next() takes the first, does the
 * one system call that is due, and puts it at the end if there is more. Receiving as late as that is what makes one
 * scratch buffer a worker enough. Between two waits only so many turns are taken, so one tireless peer cannot keep the
 * others, whose edges are still in the kernel, from theirs; and what would only go on with a long send stands in a FIFO of
 * its own, which is served when the first one is empty or has had its turns, and within a budget of bytes.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends.h"
#include "direct.h"
#include "epoll.h"

/*
 * Turns between two waits for each connection that stood in the queue or was opened since: a request is an IO_RECV and an
 * IO_SENT, so it is done without a second epoll_wait. One that pipelines without an end has no more than these either.
 */
#define EPOLL_TURNS 2

static const struct figure ep_figures[] = {
	[EPOLL_WAITS] = { "epoll_waits", "Calls of epoll_wait." },
	[EPOLL_EVENTS] = { "epoll_events", "Events that epoll_wait has returned." },
	[EPOLL_SPLICED] = { "epoll_spliced_bytes", "Bytes sent by reference to memory (--splice-above)." },
	{ NULL, NULL },
};

/*
 * A send takes so many bytes at once when it begins, and when it goes on: a reader that keeps up must not hold the loop for
 * the length of a body. What goes on does so when nothing else is left to do, and for EPOLL_BULK bytes between two
 * waits, all such sends together.
 */
#define EPOLL_SEND_FIRST (64 * 1024)
#define EPOLL_SEND_MORE  (256 * 1024)
#define EPOLL_BULK       EPOLL_SEND_MORE

/* All that a connection is told of. */
#define EP_EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)

static struct io_conn *ep_pop(struct conn_queue *queue)
{
	struct io_conn *conn = conn_queue_pop(queue);

	conn->flags &= ~CONN_QUEUED;
	return conn;
}

/* Whether a send of memory may get on. Those of files have a queue of their own. */
static bool conn_may_send(const struct io_conn *conn)
{
	return (conn->flags & (CONN_SENDING | CONN_FULL | CONN_FILE)) == CONN_SENDING;
}

/* Whether the connection's next turn would do anything. */
static bool conn_has_turn(const struct io_conn *conn)
{
	if (conn->flags & CONN_CLOSED)
		return !(conn->flags & (CONN_WAITS | CONN_READING));
	if (conn->flags & CONN_SENT)
		return true;
	if ((conn->flags & (CONN_CREDIT | CONN_READABLE)) == (CONN_CREDIT | CONN_READABLE))
		return true;
	return conn_may_send(conn);
}

/* Whether that would only go on with a send: there is no hurry. One in the bulk queue that gets more to do stays there. */
static bool conn_is_bulk(const struct io_conn *conn)
{
	return !(conn->flags & (CONN_CLOSED | CONN_SENT)) && conn_may_send(conn) &&
	       (conn->flags & (CONN_CREDIT | CONN_READABLE)) != (CONN_CREDIT | CONN_READABLE);
}

void ep_push(struct io_epoll *ep, struct io_conn *conn)
{
	if (conn->flags & CONN_QUEUED)
		return;
	conn->flags |= CONN_QUEUED;
	conn_queue_push(conn_is_bulk(conn) ? &ep->bulk : &ep->ready, conn);
}

/* Notes what an edge says. Nothing is read or sent here: the caller may not have asked, and its turn will come. */
static void conn_edge(struct io_epoll *ep, struct io_conn *conn, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
		conn->flags |= CONN_READABLE;
	if (events & (EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
		conn->flags |= CONN_TO_EOF;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		conn->flags &= ~CONN_FULL;
	if (ep->level)
		ep_level_told(ep, conn, events);
	if (conn->flags & CONN_FILE)
		ep_file_ready(ep, conn);
	if (conn_has_turn(conn))
		ep_push(ep, conn);
}

static int ep_wait(struct io *io, int timeout_ms)
{
	struct io_epoll *ep = ep_of(io);
	int n;

	assert(timeout_ms >= -1);
	if (ep->ready.first || ep->bulk.first || ep->listener_head || ep->sender.turns.first)
		timeout_ms = 0;

	n = direct_epoll_wait(ep->fd, ep->events, EPOLL_BATCH, timeout_ms);
	io_count(io, EPOLL_WAITS, 1);
	if (n < 0) {
		if (errno != EINTR)
			return -errno;
		n = 0;
	}

	io_count(io, EPOLL_EVENTS, (unsigned)n);
	for (int i = 0; i < n; i++) {
		uint64_t tag = ep->events[i].data.u64;

		if (tag & TAG_LISTENER) {
			ep_listener_told(ep, tag_object(tag));
		} else if (tag) {
			struct io_conn *conn = tag_object(tag);

			if (conn->generation == tag >> TAG_ADDRESS_BITS && (conn->flags & CONN_OPEN) &&
			    !(conn->flags & CONN_CLOSED))
				conn_edge(ep, conn, ep->events[i].events);
		}
		/* Else a wake: its edge is spent, and the counter of an eventfd may grow for ever. */
	}

	if (ep->config.files)
		ep_files_done(ep);
	ep->turns = EPOLL_TURNS * ep->ready.len;
	ep->bulk_budget = EPOLL_BULK;
	ep->sender.budget = FILE_BUDGET;
	ep->accepts = EPOLL_ACCEPTS;
	return 0;
}

void ep_give_up(struct io_conn *conn)
{
	shutdown(conn->fd, SHUT_RDWR);
	conn->flags &= ~CONN_FULL;
	conn->flags |= CONN_READABLE | CONN_TO_EOF;
}

static int ep_set(struct io_epoll *ep, struct io_conn *conn, int what)
{
	struct epoll_event event = { .events = EP_EDGES, .data.u64 = tag_make(conn, 0, conn->generation) };

	return epoll_ctl(ep->fd, what, conn->fd, &event);
}

/* An edge is waited for. What is so before the socket is registered makes one at once. */
static void ep_watch(struct io_epoll *ep, struct io_conn *conn)
{
	if (conn->held)
		return;
	if (ep_set(ep, conn, EPOLL_CTL_ADD) < 0)
		ep_give_up(conn);
	else
		conn->held = (uint16_t)EP_EDGES;
}

/* Nothing was there to be received. */
static void ep_await_bytes(struct io_epoll *ep, struct io_conn *conn)
{
	if (ep->level)
		ep_level_want(ep, conn, LEVEL_IN);
	else
		ep_watch(ep, conn);
}

void ep_await_room(struct io_epoll *ep, struct io_conn *conn)
{
	conn->flags |= CONN_FULL;
	if (ep->level)
		ep_level_want(ep, conn, EPOLLOUT);
	else
		ep_watch(ep, conn);
}

void ep_ask_for_room(struct io_epoll *ep, struct io_conn *conn)
{
	bool told = conn->held;

	ep_await_room(ep, conn);
	/* What is set anew is looked at, and told if it is so. Without memory for that, the send is tried at once. */
	if (told && !ep->level && ep_set(ep, conn, EPOLL_CTL_MOD) < 0)
		conn->flags &= ~CONN_FULL;
}

/* Takes n sent bytes off the front of the iovecs. */
static void conn_advance(struct io_conn *conn, size_t n)
{
	conn->sent += n;
	while (conn->niov && n >= conn->iov->iov_len) {
		n -= conn->iov->iov_len;
		conn->iov++;
		conn->niov--;
	}
	if (n) {
		conn->iov->iov_base = (char *)conn->iov->iov_base + n;
		conn->iov->iov_len -= n;
	}
}

/*
 * Hands the kernel the front of the iovecs, no more than most bytes. *asked is how many that was. An entry
 * that crosses the limit is cut for the time of the call.
 */
static ssize_t conn_send_front(struct io_conn *conn, size_t most, size_t *asked)
{
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
	struct iovec *last = conn->iov;
	size_t total = 0, cut = 0;
	unsigned n = 0;
	ssize_t res;

	if (last->iov_len <= most && conn->niov == 1) { /* most sends */
		*asked = last->iov_len;
		res = direct_send(conn->fd, last->iov_base, last->iov_len, flags);
		return res < 0 ? -errno : res;
	}
	for (; n < conn->niov && total < most; n++) {
		last = &conn->iov[n];
		total += last->iov_len;
	}
	if (total > most) {
		cut = total - most;
		last->iov_len -= cut;
		total = most;
	}
	/* The rest follows at once or finds the socket full, so no segment that is not full need leave before it. */
	if (cut || n < conn->niov)
		flags |= MSG_MORE;

	if (n == 1)
		res = direct_send(conn->fd, conn->iov->iov_base, total, flags);
	else
		res = sendmsg(conn->fd, &(struct msghdr){ .msg_iov = conn->iov, .msg_iovlen = n }, flags);

	last->iov_len += cut;
	*asked = total;
	return res < 0 ? -errno : res;
}

/*
 * One turn of the send in flight. Ends it with a result, or finds the socket full, or leaves it for another turn. Returns the
 * bytes sent.
 */
static size_t conn_send(struct io_conn *conn, size_t most)
{
	size_t asked, sent = 0;
	ssize_t res;

	do
		res = conn_send_front(conn, most, &asked);
	while (res == -EINTR);

	if (res >= 0) {
		sent = (size_t)res;
		conn_advance(conn, sent);
		if (conn->niov) {
			/* A short count has filled the socket: its edge will come, without asking again for EAGAIN. */
			if (sent < asked)
				conn->flags |= CONN_FULL;
			return sent;
		}
		res = 0;
	} else if (res == -EAGAIN) {
		conn->flags |= CONN_FULL;
		return 0;
	}

	conn->flags = (conn->flags & ~CONN_SENDING) | CONN_SENT;
	conn->result = (int)res;
	return sent;
}

/*
 * Receives for a credit. False when there was nothing after all: the credit stays, and the next edge brings the turn.
 *
 * A short read means drained, and the edge of whatever came after it is still in the kernel. Not so when the end was
 * seen before (its edge is spent, and the FIN or the error is still to be read) or with urgent data, at whose mark TCP
 * cuts a read short. A Unix socket also cuts where a peer passes descriptors: it waits for its own next byte then.
 */
static bool conn_recv(struct io_epoll *ep, struct io_conn *conn, struct io_event *event)
{
	ssize_t res;

	do
		res = direct_recv(conn->fd, ep->scratch, sizeof(ep->scratch), MSG_DONTWAIT);
	while (res < 0 && errno == EINTR);
	if (res < 0)
		res = -errno;
	if (res == -EAGAIN) {
		conn->flags &= ~CONN_READABLE;
		ep_await_bytes(ep, conn);
		return false;
	}

	conn->flags &= ~CONN_CREDIT;
	if (res <= 0)
		conn->flags |= CONN_ENDED;
	else if (res < ep->full_read && !(conn->flags & CONN_TO_EOF))
		conn->flags &= ~CONN_READABLE;
	*event = (struct io_event){ .op = IO_RECV, .res = (int)res, .conn = conn, .data = ep->scratch };
	return true;
}

/* One turn: at most one send and one receive, and at most one event. */
static bool conn_turn(struct io_epoll *ep, struct io_conn *conn, struct io_event *event)
{
	bool given = false;

	if (conn->flags & CONN_CLOSED) {
		if (!conn_has_turn(conn))
			return false; /* something is lent still; who gives it back puts it here again */
		conn->flags = 0;
		ep->conns--;
		*event = (struct io_event){ .op = IO_CLOSED, .conn = conn };
		return true;
	}

	if (conn_may_send(conn)) {
		size_t sent = conn_send(conn, EPOLL_SEND_MORE);

		if (conn->flags & CONN_FULL)
			ep_await_room(ep, conn);
		ep->bulk_budget -= sent < ep->bulk_budget ? sent : ep->bulk_budget;
	}
	if (conn->flags & CONN_SENT) {
		conn->flags &= ~CONN_SENT;
		*event = (struct io_event){ .op = IO_SENT, .res = conn->result, .conn = conn };
		given = true;
	} else if ((conn->flags & (CONN_CREDIT | CONN_READABLE)) == (CONN_CREDIT | CONN_READABLE)) {
		given = conn_recv(ep, conn, event);
	}

	if (conn_has_turn(conn))
		ep_push(ep, conn);
	return given;
}

static bool ep_next(struct io *io, struct io_event *event)
{
	struct io_epoll *ep = ep_of(io);

	if (ep->listener_head && ep_listener_next(ep, event))
		return true;
	/* What is quickly done goes first. A turn for a file may put its connection into the FIFO. */
	do {
		while (ep->turns && ep->ready.first) {
			ep->turns--;
			if (conn_turn(ep, ep_pop(&ep->ready), event))
				return true;
		}
		while (ep->bulk_budget && ep->bulk.first)
			if (conn_turn(ep, ep_pop(&ep->bulk), event))
				return true;
	} while (ep_file_turn(ep));
	return false;
}

static void ep_open(struct io *io, struct io_conn *conn, int fd)
{
	struct io_epoll *ep = ep_of(io);

	assert(!(conn->flags & CONN_OPEN) && fd >= 0 && ep->conns < ep->config.conns);
	ep->conns++;
	ep->turns += EPOLL_TURNS;
	conn->generation++;
	conn->fd = fd;
	conn->flags = CONN_OPEN | CONN_READABLE;
	conn->owed = 0;
	conn->niov = 0;
	conn->iov = NULL;
	conn->sent = 0;
	conn->held = 0;
}

static void ep_recv(struct io *io, struct io_conn *conn)
{
	struct io_epoll *ep = ep_of(io);

	assert((conn->flags & (CONN_OPEN | CONN_CLOSED | CONN_CREDIT | CONN_ENDED)) == CONN_OPEN);
	conn->flags |= CONN_CREDIT;
	if (!(conn->flags & CONN_READABLE))
		ep_await_bytes(ep, conn);
	if (conn->flags & CONN_READABLE)
		ep_push(ep, conn);
}

static void ep_send(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n)
{
	struct io_epoll *ep = ep_of(io);

	assert((conn->flags & (CONN_OPEN | CONN_CLOSED | CONN_SENDING | CONN_SENT | CONN_SHUT)) == CONN_OPEN);
	assert(n >= 1 && n <= IO_SEND_IOVS);
	conn->iov = iov;
	conn->niov = (uint16_t)n;
	conn->flags = (conn->flags & ~CONN_FULL) | CONN_SENDING;
	if (__builtin_expect(ep->waits_first, 0)) {
		ep_ask_for_room(ep, conn);
	} else {
		conn_send(conn, EPOLL_SEND_FIRST);
		if (conn->flags & CONN_FULL)
			ep_await_room(ep, conn);
	}
	if (conn_has_turn(conn))
		ep_push(ep, conn);
}

static void ep_shutdown(struct io *io, struct io_conn *conn)
{
	(void)ep_of(io);
	assert((conn->flags & (CONN_OPEN | CONN_CLOSED | CONN_SENDING | CONN_SENT)) == CONN_OPEN);
	conn->flags |= CONN_SHUT;
	shutdown(conn->fd, SHUT_WR); /* ENOTCONN: the peer was faster, and a receive will tell */
}

static void ep_close(struct io *io, struct io_conn *conn)
{
	struct io_epoll *ep = ep_of(io);

	assert((conn->flags & (CONN_OPEN | CONN_CLOSED)) == CONN_OPEN);
	/* No system call is ever in flight here, so nothing refers to the descriptor. This takes it out of the set too. */
	close(conn->fd);
	conn->fd = -1;
	/* What a thread reads for it, or is in a queue, is still lent. */
	if (conn->flags & CONN_READING)
		file_read_cancel(conn->files);
	if (conn->flags & CONN_FILE)
		file_sealed_drop(&ep->sender, conn->files);
	conn->flags = (conn->flags & (CONN_QUEUED | CONN_WAITS | CONN_READING)) | CONN_OPEN | CONN_CLOSED;
	if (conn_has_turn(conn))
		ep_push(ep, conn);
}

static uint64_t ep_progress(struct io *io, struct io_conn *conn)
{
	(void)ep_of(io);
	assert((conn->flags & (CONN_OPEN | CONN_CLOSED)) == CONN_OPEN);
	return socket_progress(conn->fd, conn->sent);
}

static void ep_wake(struct io *io)
{
	int saved = errno; /* for signal handlers */
	ssize_t res;

	/* Cannot fail: the counter is never read, but it takes 2^64 - 2 wakes to fill it. */
	res = write(ep_of(io)->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	(void)res;
	errno = saved;
}

static void ep_describe(struct io *io, char *text, size_t size)
{
	features_print(&io->features, FEATURE_EPOLL, false, text, size);
}

const struct io_ops io_epoll_ops = {
	.name = "epoll",
	.probe = ep_probe,
	.create = ep_create,
	.destroy = ep_destroy,
	.wait = ep_wait,
	.next = ep_next,
	.listen = ep_listen,
	.open = ep_open,
	.recv = ep_recv,
	.send = ep_send,
	.send_file = ep_send_file,
	.shutdown = ep_shutdown,
	.close = ep_close,
	.progress = ep_progress,
	.wake = ep_wake,
	.describe = ep_describe,
	.figures = ep_figures,
};
