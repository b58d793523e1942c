/*
 * uring_conn.c - connections on io_uring: receive, send, close. On the worker's thread; see uring.c for the ring, and
 * for what the kernel asks of this code.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>

#include "uring.h"

static void uring_push(struct uring_list *list, struct io_conn *conn)
{
	conn->next = NULL;
	if (list->first)
		list->last->next = conn;
	else
		list->first = conn;
	list->last = conn;
}

static struct io_conn *uring_shift(struct uring_list *list)
{
	struct io_conn *conn = list->first;

	list->first = conn->next;
	return conn;
}

static bool uring_lend(struct uring *uring, struct io_conn *conn, unsigned index, int len, struct io_event *event)
{
	uring->lent = index;
	event->op = IO_RECV;
	event->res = len;
	event->conn = conn;
	event->data = uring_buffer(uring, index);
	return true;
}

static bool uring_tell_end(struct io_conn *conn, struct io_event *event)
{
	conn->flags &= ~CONN_CREDIT;
	conn->flags |= CONN_TOLD;
	*event = (struct io_event){ .op = IO_RECV, .res = conn->result, .conn = conn };
	return true;
}

/*
 * Arms a receive. A multishot is wanted from the second receive on, while the shared buffers are not about to run out.
 */
static void uring_arm(struct uring *uring, struct io_conn *conn, bool multishot)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);

	assert(!(conn->flags & (CONN_ARMED | CONN_PARKED)));
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_RECV,
		.flags = IOSQE_BUFFER_SELECT,
		.ioprio = multishot ? IORING_RECV_MULTISHOT : 0,
		.fd = conn->fd,
		.len = multishot ? 0 : URING_BUFFER_SIZE,
		.buf_group = multishot ? URING_SHARED : URING_SINGLE,
		.user_data = uring_conn_data(conn, URING_RECV),
	};
	conn->flags &= ~CONN_SHARED;
	conn->flags |= CONN_ARMED | CONN_AGAIN | (multishot ? CONN_SHARED : 0);
	conn->owed++;
}

static inline bool uring_scarce(const struct uring *uring)
{
	return uring->held_count > URING_SHARED_BUFFERS / 2;
}

static void uring_leave_bulk(struct uring *uring, struct io_conn *conn);

void uring_recv(struct io *io, struct io_conn *conn)
{
	struct uring *uring = uring_of(io);

	assert(conn->flags & CONN_OPEN && !(conn->flags & (CONN_CREDIT | CONN_CLOSING | CONN_TOLD)));
	if (conn->flags & CONN_BULK)
		uring_leave_bulk(uring, conn);
	conn->flags |= CONN_CREDIT;
	if (conn->flags & CONN_ARMED && !conn->held)
		return;
	if (conn->held || conn->flags & CONN_ENDED) {
		conn->flags |= CONN_READY;
		uring_push(&uring->ready, conn);
		return;
	}
	uring_arm(uring, conn, conn->flags & CONN_AGAIN && uring->multishot && !uring_scarce(uring));
}

/* Submits as much of what is left to send as goes into one operation. */
static void uring_send_piece(struct uring *uring, struct io_conn *conn)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);
	struct iovec *iov = conn->iov;
	size_t piece = conn->flags & CONN_COARSE ? URING_PIECE_COARSE : URING_PIECE;
	struct uring_message *message;
	size_t total = 0;
	unsigned n = 0;

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND,
		.fd = conn->fd,
		.msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
		.user_data = uring_conn_data(conn, URING_SEND),
	};
	conn->owed++;
	if (conn->niov == 1 || iov->iov_len >= piece) {
		sqe->addr = (uintptr_t)iov->iov_base;
		sqe->len = iov->iov_len < piece ? iov->iov_len : piece;
		return;
	}

	while (n < conn->niov && total + iov[n].iov_len <= piece)
		total += iov[n++].iov_len;
	message = &uring->message[sqe - uring->sqes];
	message->header.msg_iov = iov;
	message->header.msg_iovlen = n;
	if (n < conn->niov) {
		if (n < URING_CUT_IOVS) {
			for (unsigned i = 0; i <= n; i++)
				message->iov[i] = iov[i];
			message->iov[n].iov_len = piece - total;
			message->header.msg_iov = message->iov;
			message->header.msg_iovlen = n + 1;
		} else {
			sqe->msg_flags |= MSG_MORE; /* the next piece fills up the segment */
		}
	}
	sqe->opcode = IORING_OP_SENDMSG;
	sqe->addr = (uintptr_t)&message->header;
	sqe->len = 1;
}

/* One that gets a credit may have to stand in another list: it goes on with its send at once. Rare, so it may take long. */
static void uring_leave_bulk(struct uring *uring, struct io_conn *conn)
{
	struct uring_list bulk = uring->bulk;

	uring->bulk.first = NULL;
	while (bulk.first) {
		struct io_conn *one = uring_shift(&bulk);

		if (one != conn)
			uring_push(&uring->bulk, one);
	}
	conn->flags &= ~CONN_BULK;
	uring_send_piece(uring, conn);
}

/* At least one goes on, and no more than makes up the budget. A socket that has no room uses up its part of it. */
void uring_conn_go_on(struct uring *uring)
{
	for (size_t budget = URING_BULK; uring->bulk.first && budget > 0;) {
		struct io_conn *conn = uring_shift(&uring->bulk);
		size_t piece = conn->flags & CONN_COARSE ? URING_PIECE_COARSE : URING_PIECE;

		conn->flags &= ~CONN_BULK;
		if (conn->flags & CONN_CLOSING) {
			uring_settle(uring, conn);
			continue;
		}
		uring_send_piece(uring, conn);
		budget -= piece < budget ? piece : budget;
	}
}

void uring_send(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n)
{
	assert(conn->flags & CONN_OPEN && !(conn->flags & (CONN_SENDING | CONN_CLOSING)));
	assert(n >= 1 && n <= IO_SEND_IOVS);
	conn->flags |= CONN_SENDING;
	conn->iov = iov;
	conn->niov = n;
	uring_send_piece(uring_of(io), conn);
}

/* IORING_OP_CLOSE shares its system call with everything else. */
void uring_settle(struct uring *uring, struct io_conn *conn)
{
	struct io_uring_sqe *sqe;

	if (conn->owed || conn->flags & (CONN_READY | CONN_PARKED | CONN_WAITS | CONN_BULK))
		return;
	sqe = uring_sqe(uring);
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_CLOSE,
		.fd = conn->fd,
		.user_data = uring_conn_data(conn, URING_CLOSE),
	};
	conn->owed = 1;
}

static unsigned uring_unhold(struct uring *uring, struct io_conn *conn)
{
	unsigned index = conn->held_first;

	conn->held_first = uring->held[index].next;
	conn->held--;
	uring->held_count--;
	return index;
}

void uring_close(struct io *io, struct io_conn *conn)
{
	struct uring *uring = uring_of(io);

	assert(conn->flags & CONN_OPEN && !(conn->flags & CONN_CLOSING));
	conn->flags |= CONN_CLOSING;
	while (conn->held)
		uring_give_back(uring, uring_unhold(uring, conn));
	/* Ends what is armed and in flight, on TCP and Unix sockets alike. ENOTCONN: the peer's reset has done so. */
	if (conn->owed)
		shutdown(conn->fd, SHUT_RDWR);
	uring_settle(uring, conn);
}

static void uring_hold(struct uring *uring, struct io_conn *conn, unsigned index, int len)
{
	uring->held[index].len = len;
	if (conn->held)
		uring->held[conn->held_last].next = index;
	else
		conn->held_first = index;
	conn->held_last = index;
	conn->held++;
	uring->held_count++;
	if (conn->held < URING_HELD_MAX && !uring_scarce(uring))
		return;
	if ((conn->flags & (CONN_ARMED | CONN_CANCELLING)) == CONN_ARMED) {
		uring_cancel(uring, uring_conn_data(conn, URING_RECV), uring_conn_data(conn, URING_CANCEL_RECV));
		conn->flags |= CONN_CANCELLING;
		conn->owed++;
	}
}

/* A receive was ended by us, or for want of buffers: it is armed again when somebody waits for it. */
static void uring_rearm(struct uring *uring, struct io_conn *conn, int res)
{
	if (!(conn->flags & CONN_CREDIT) || conn->held || conn->flags & CONN_ARMED)
		return;
	if (res != -ENOBUFS) {
		uring_arm(uring, conn, uring->multishot && !uring_scarce(uring));
	} else if (conn->flags & CONN_SHARED) {
		uring_arm(uring, conn, false);
	} else {
		conn->flags |= CONN_PARKED;
		uring_push(&uring->parked, conn);
	}
}

static bool uring_received(struct uring *uring, struct io_conn *conn, int res, unsigned flags, struct io_event *event)
{
	unsigned index = flags >> IORING_CQE_BUFFER_SHIFT;

	if (!(flags & IORING_CQE_F_MORE)) {
		conn->owed--;
		conn->flags &= ~CONN_ARMED;
	}
	if (res > 0 && !(conn->flags & CONN_CLOSING)) {
		assert(flags & IORING_CQE_F_BUFFER && index < URING_BUFFERS);
		if (conn->flags & CONN_CREDIT && !conn->held) {
			conn->flags &= ~CONN_CREDIT;
			return uring_lend(uring, conn, index, res, event);
		}
		uring_hold(uring, conn, index, res);
		return false;
	}

	if (flags & IORING_CQE_F_BUFFER)
		uring_give_back(uring, index);
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	if (res == -ENOBUFS)
		io_count(&uring->io, URING_NO_BUFFERS, 1);
	if (res == -ENOBUFS || res == -ECANCELED || res == -EINTR) {
		uring_rearm(uring, conn, res);
		return false;
	}
	conn->flags |= CONN_ENDED;
	conn->result = res;
	if (!(conn->flags & CONN_CREDIT) || conn->held)
		return false;
	return uring_tell_end(conn, event);
}

static bool uring_sent(struct uring *uring, struct io_conn *conn, int res, struct io_event *event)
{
	struct iovec *iov = conn->iov;

	conn->owed--;
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	if (res > 0) {
		size_t taken = res;

		conn->sent += taken;
		while (conn->niov && taken >= iov->iov_len) {
			taken -= iov++->iov_len;
			conn->niov--;
		}
		conn->iov = iov;
		res = 0;
		if (conn->niov) {
			iov->iov_base = (char *)iov->iov_base + taken;
			iov->iov_len -= taken;
			if (!(conn->flags & CONN_CREDIT)) {
				conn->flags |= CONN_BULK;
				uring_push(&uring->bulk, conn);
				return false;
			}
			res = -EINTR;
		}
	} else if (res == 0) {
		res = -EPIPE; /* nothing was taken and nothing says why: do not ask for ever */
	}
	if (res == -EINTR) {
		uring_send_piece(uring, conn);
		return false;
	}
	conn->flags &= ~CONN_SENDING;
	*event = (struct io_event){ .op = IO_SENT, .res = res, .conn = conn };
	return true;
}

void uring_open(struct io *io, struct io_conn *conn, int fd)
{
	struct uring *uring = uring_of(io);
	bool coarse;

	assert(fd >= 0 && !(conn->flags & CONN_OPEN) && !conn->owed);
	assert(!((uintptr_t)conn & ~URING_ADDRESS_MASK));
	assert(uring->open < uring->conns);
	uring->open++;
	*conn = (struct io_conn){ .fd = fd, .generation = conn->generation + 1, .flags = CONN_OPEN };
	if (fd == uring->accepted) {
		/* The usual case, a socket that this ring has just accepted, needs no system call. */
		coarse = uring->accepted_coarse;
	} else {
		coarse = !socket_counts(fd);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	}
	uring->accepted = -1;
	if (coarse)
		conn->flags |= CONN_COARSE;
}

void uring_shutdown(struct io *io, struct io_conn *conn)
{
	(void)io;
	assert(conn->flags & CONN_OPEN && !(conn->flags & (CONN_SENDING | CONN_CLOSING)));
	shutdown(conn->fd, SHUT_WR);
}

uint64_t uring_progress(struct io *io, struct io_conn *conn)
{
	(void)io;
	assert(conn->flags & CONN_OPEN);
	return socket_progress(conn->fd, conn->sent);
}

bool uring_conn_complete(struct uring *uring, uint64_t data, int res, unsigned flags, struct io_event *event)
{
	struct io_conn *conn = (struct io_conn *)(uintptr_t)(data & URING_ADDRESS_MASK);

	/* IO_CLOSED comes last, so a completion of an earlier life of the connection would be a miscount of owed. */
	assert(conn->owed && conn->generation == data >> URING_ADDRESS_BITS);
	switch (data & URING_OP_MASK) {
	case URING_RECV:
		return uring_received(uring, conn, res, flags, event);
	case URING_SEND:
		if (conn->flags & CONN_FILE)
			return uring_file_complete(uring, conn, res, event);
		return uring_sent(uring, conn, res, event);
	case URING_CANCEL_RECV:
		conn->owed--;
		conn->flags &= ~CONN_CANCELLING;
		if (conn->flags & CONN_CLOSING)
			uring_settle(uring, conn);
		return false;
	case URING_CLOSE:
		conn->owed = 0;
		conn->flags = 0;
		uring->open--;
		*event = (struct io_event){ .op = IO_CLOSED, .conn = conn };
		return true;
	default:
		assert(!"an operation of connections");
		return false;
	}
}

bool uring_conn_ready(struct uring *uring, struct io_event *event)
{
	struct io_conn *conn = uring_shift(&uring->ready);
	unsigned index;

	conn->flags &= ~CONN_READY;
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	if (!conn->held)
		return uring_tell_end(conn, event);
	conn->flags &= ~CONN_CREDIT;
	index = uring_unhold(uring, conn);
	return uring_lend(uring, conn, index, uring->held[index].len, event);
}

/*
 * Connections that found no buffer try again. Between two waits every one-shot buffer has come back, or its completion
 * is waiting to be pulled; so as many as there are may try, and whoever fails again is not the only thing to happen.
 */
void uring_conn_unpark(struct uring *uring)
{
	struct uring_list parked = uring->parked;
	unsigned tries = URING_SINGLE_BUFFERS;

	uring->parked.first = NULL;
	while (parked.first) {
		struct io_conn *conn = uring_shift(&parked);

		if (conn->flags & CONN_CLOSING) {
			conn->flags &= ~CONN_PARKED;
			uring_settle(uring, conn);
		} else if (tries) {
			tries--;
			conn->flags &= ~CONN_PARKED;
			uring_arm(uring, conn, false);
		} else {
			uring_push(&uring->parked, conn);
		}
	}
}
