/*
 * uring_send.c - sends of memory on io_uring: a piece at a time through the ring, or by send(2) at once where that is
 * asked for; and their completions. What has more pieces to go waits in uring.bulk for the next wait, unless it has a
 * credit. On the worker's thread; uring_zc.c has sends without a copy, uring_file.c those of files.
 */
#include <assert.h>

#include "uring.h"

/* Takes sent bytes off the front of what is to be sent. */
static inline __attribute__((always_inline)) void uring_take_off(struct io_conn *conn, size_t taken)
{
	struct iovec *iov = conn->iov;

	conn->sent += taken;
	while (conn->niov && taken >= iov->iov_len) {
		taken -= iov++->iov_len;
		conn->niov--;
	}
	conn->iov = iov;
	if (conn->niov) {
		iov->iov_base = (char *)iov->iov_base + taken;
		iov->iov_len -= taken;
	}
}

void uring_advance(struct io_conn *conn, size_t taken)
{
	uring_take_off(conn, taken);
}

/* Of several pieces of memory as many as go into one operation, the last one cut. */
static __attribute__((noinline)) void uring_send_several(struct uring *uring, struct io_conn *conn,
                                                         struct io_uring_sqe *sqe, size_t piece)
{
	struct uring_message *message = &uring->message[sqe - uring->sqes];
	struct iovec *iov = conn->iov;
	size_t total = 0;
	unsigned n = 0;

	while (n < conn->niov && total + iov[n].iov_len <= piece)
		total += iov[n++].iov_len;
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
	if (uring->send_vec) {
		sqe->ioprio = IORING_SEND_VECTORIZED;
		sqe->addr = (uintptr_t)message->header.msg_iov;
		sqe->len = message->header.msg_iovlen;
		return;
	}
	sqe->opcode = IORING_OP_SENDMSG;
	sqe->addr = (uintptr_t)&message->header;
	sqe->len = 1;
}

/* Submits as much of what is left to send as goes into one operation; flags are those of its submission. */
static inline __attribute__((always_inline)) void uring_send_as_usual(struct uring *uring, struct io_conn *conn,
                                                                      uint8_t flags)
{
	size_t piece = conn->flags & CONN_COARSE ? URING_PIECE_COARSE : URING_PIECE;
	struct io_uring_sqe *sqe = uring_sqe(uring);
	struct iovec *iov = conn->iov;

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND,
		.flags = flags,
		.fd = conn->fd,
		.msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
		.user_data = uring_conn_data(conn, URING_SEND),
	};
	conn->owed++;
	if (conn->niov > 1 && iov->iov_len < piece) {
		uring_send_several(uring, conn, sqe, piece);
		return;
	}
	sqe->addr = (uintptr_t)iov->iov_base;
	sqe->len = iov->iov_len < piece ? iov->iov_len : piece;
}

/* The same, without a copy where that is the way for it. */
static __attribute__((noinline)) void uring_send_piece(struct uring *uring, struct io_conn *conn)
{
	if (uring->zc && uring_send_zc(uring, conn))
		return;
	uring_send_as_usual(uring, conn, uring_fixed(conn));
}

/* Rare, so it may take long. */
__attribute__((noinline)) void uring_leave_bulk(struct uring *uring, struct io_conn *conn)
{
	struct conn_queue bulk = conn_queue_take(&uring->bulk);

	while (bulk.first) {
		struct io_conn *one = conn_queue_pop(&bulk);

		if (one != conn)
			conn_queue_push(&uring->bulk, one);
	}
	conn->flags &= ~CONN_BULK;
	uring_send_piece(uring, conn);
}

/* At least one goes on, and no more than makes up the budget. A socket that has no room uses up its part of it. */
void uring_go_on(struct uring *uring)
{
	for (size_t budget = URING_BULK; uring->bulk.first && budget > 0;) {
		struct io_conn *conn = conn_queue_pop(&uring->bulk);
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

/*
 * send=inline: send(2) at once, as much as goes into one operation. True when that was all: its IO_SENT comes with the next
 * io_next(). False when the ring has to go on, be it with an error, which it meets again. A connection that waits for a
 * buffer stands in another list; and between two waits there are only so many, or a reader that keeps up would have no end.
 */
static bool uring_send_now(struct uring *uring, struct io_conn *conn)
{
	struct iovec *iov = conn->iov;
	size_t total = 0;
	ssize_t res;

	if (uring->inline_turn != uring->cq_end) {
		uring->inline_turn = uring->cq_end;
		uring->inlines = URING_INLINE_MORE + uring->cq_end - uring->cq_head;
	}
	if (conn->flags & CONN_PARKED || uring->inlines == 0)
		return false;
	if (uring->zc && uring_send_is_fixed(uring, conn))
		return false; /* without a copy */
	for (unsigned i = 0; i < conn->niov; i++) {
		if (iov[i].iov_len >= uring->zc_min)
			return false; /* likewise */
		total += iov[i].iov_len;
	}
	if (total > URING_PIECE_COARSE)
		return false;
	uring->inlines--;
	if (conn->niov == 1)
		res = send(conn->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		res = sendmsg(conn->fd, &(struct msghdr){ .msg_iov = iov, .msg_iovlen = conn->niov },
		              MSG_NOSIGNAL | MSG_DONTWAIT);
	if (res <= 0)
		return false;
	uring_advance(conn, res);
	if (conn->niov)
		return false;
	io_count(&uring->io, URING_INLINE_SENDS, 1);
	conn->flags |= CONN_SENT;
	uring_make_ready(uring, conn);
	return true;
}

/* send=inline, zc=on or files=direct. */
static __attribute__((noinline)) void uring_send_oddly(struct uring *uring, struct io_conn *conn)
{
	if (!uring->send_inline || !uring_send_now(uring, conn))
		uring_send_piece(uring, conn);
}

void uring_send(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n)
{
	assert(conn->flags & CONN_OPEN && !(conn->flags & (CONN_SENDING | CONN_CLOSING)));
	assert(n >= 1 && n <= IO_SEND_IOVS);
	conn->flags |= CONN_SENDING;
	conn->iov = iov;
	conn->niov = n;
	if (__builtin_expect(uring_of(io)->odd_send, 0))
		uring_send_oddly(uring_of(io), conn);
	else
		uring_send_as_usual(uring_of(io), conn, 0);
}

static inline __attribute__((always_inline)) bool uring_piece_sent(struct uring *uring, struct io_conn *conn, int res,
                                                                   struct io_event *event)
{
	conn->owed--;
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	if (res > 0) {
		uring_take_off(conn, res);
		res = 0;
		if (conn->niov) {
			if (!(conn->flags & CONN_CREDIT)) {
				conn->flags |= CONN_BULK;
				conn_queue_push(&uring->bulk, conn);
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
	*event = (struct io_event){
		.op = IO_SENT,
		.res = res,
		.conn = conn,
		.data = conn->lent ? uring_still_lent(uring, conn) : NULL,
	};
	return true;
}

/*
 * Two of one kind. This one is put into the way of a request by the link, as it would be by the compiler if it stood beside
 * its caller.
 */
inline __attribute__((always_inline)) bool uring_sent(struct uring *uring, struct io_conn *conn, int res,
                                                      struct io_event *event)
{
	return uring_piece_sent(uring, conn, res, event);
}

bool uring_sent_zc(struct uring *uring, struct io_conn *conn, int res, struct io_event *event)
{
	return uring_piece_sent(uring, conn, res, event);
}
