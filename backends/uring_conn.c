/*
 * uring_conn.c - connections on io_uring: receive, send, close. On the worker's thread; see uring.c for the ring, and
 * for what the kernel asks of this code.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>

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

static bool uring_lend(struct uring *uring, struct io_conn *conn, unsigned index, int len, struct io_event *event)
{
	uring->lent = index;
	event->op = IO_RECV;
	event->res = len;
	event->conn = conn;
	event->data = uring_buffer(uring, index);
	return true;
}

/*
 * Lends a piece of a buffer that receives share (buf-inc). The kernel goes on with what is left of it, or has done with it:
 * then it is ours again after the loan, and the earlier pieces have been lent and taken back by then.
 */
static bool uring_lend_piece(struct uring *uring, struct io_conn *conn, unsigned index, int len, bool more,
                             struct io_event *event)
{
	struct uring_held *held = &uring->held[index];

	*event = (struct io_event){
		.op = IO_RECV,
		.res = len,
		.conn = conn,
		.data = uring_buffer(uring, index) + held->used,
	};
	held->used += len;
	if (!more) {
		held->used = 0;
		uring->lent = index;
	}
	return true;
}

/* A buffer that a completion names, and nobody wants: as far as the kernel has done with it. */
static __attribute__((noinline)) void uring_spill(struct uring *uring, unsigned index, int res, unsigned flags)
{
	struct uring_group *group = &uring->group[index < uring->singles ? URING_SINGLE : URING_SHARED];
	unsigned slot = uring->held[index].slot;

	if (uring->inc && flags & URING_CQE_F_BUF_MORE) {
		uring->held[index].used += res > 0 ? res : 0;
		return;
	}
	uring->held[index].used = 0;
	uring_give_back(uring, index);
	/* The others of a bundle. */
	for (res -= (int)uring->buf_size; uring->bundles && res > 0; res -= (int)uring->buf_size)
		uring_give_back(uring, group->ring->bufs[++slot & group->mask].bid);
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
	const struct uring_receive *receive = &uring->receive[multishot];
	struct io_uring_sqe *sqe = uring_sqe(uring);

	assert(!(conn->flags & (CONN_ARMED | CONN_PARKED)));
	*sqe = (struct io_uring_sqe){
		.opcode = receive->opcode,
		.flags = receive->flags | uring_fixed(conn),
		.ioprio = receive->ioprio,
		.fd = conn->fd,
		.len = receive->len,
		.poll32_events = receive->events,
		.buf_group = receive->group,
		.file_index = receive->cap, /* sqe.optlen of newer headers, in the same place */
		.user_data = uring_conn_data(conn, URING_RECV),
	};
	conn->flags &= ~CONN_SHARED;
	conn->flags |= CONN_ARMED | CONN_AGAIN | (multishot ? CONN_SHARED : 0);
	conn->owed++;
}

static inline bool uring_scarce(const struct uring *uring)
{
	return uring->held_count > uring->scarce;
}

static void uring_leave_bulk(struct uring *uring, struct io_conn *conn);

static void uring_make_ready(struct uring *uring, struct io_conn *conn)
{
	if (conn->flags & CONN_READY)
		return;
	conn->flags |= CONN_READY;
	conn_queue_push(&uring->ready, conn);
}

/* Something is held, or nothing is armed. */
static __attribute__((noinline)) void uring_recv_anew(struct uring *uring, struct io_conn *conn)
{
	if (conn->held || conn->flags & CONN_ENDED) {
		uring_make_ready(uring, conn);
		return;
	}
	uring_arm(uring, conn, conn->flags & CONN_AGAIN && uring->multishot && !uring_scarce(uring));
}

void uring_recv(struct io *io, struct io_conn *conn)
{
	struct uring *uring = uring_of(io);

	assert(conn->flags & CONN_OPEN && !(conn->flags & (CONN_CREDIT | CONN_CLOSING | CONN_TOLD)));
	if (conn->flags & CONN_BULK)
		uring_leave_bulk(uring, conn);
	conn->flags |= CONN_CREDIT;
	if (!(conn->flags & CONN_ARMED) || conn->held)
		uring_recv_anew(uring, conn);
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

/* One that gets a credit may have to stand in another list: it goes on with its send at once. Rare, so it may take long. */
static __attribute__((noinline)) void uring_leave_bulk(struct uring *uring, struct io_conn *conn)
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
void uring_conn_go_on(struct uring *uring)
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
	for (unsigned i = 0; i < conn->niov; i++) {
		if (iov[i].iov_len >= uring->zc_min)
			return false; /* without a copy */
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

/* IORING_OP_CLOSE shares its system call with everything else. The table's reference goes first: both keep a file open. */
void uring_settle(struct uring *uring, struct io_conn *conn)
{
	struct io_uring_sqe *sqe;

	if (conn->owed || conn->flags & (CONN_READY | CONN_PARKED | CONN_WAITS | CONN_BULK))
		return;
	if (conn->flags & CONN_DIRECT) {
		sqe = uring_sqe(uring);
		*sqe = (struct io_uring_sqe){
			.opcode = IORING_OP_CLOSE,
			.file_index = conn->fd + 1,
			.user_data = uring_conn_data(conn, URING_CLOSE),
		};
		conn->owed++;
	}
	sqe = uring_sqe(uring);
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_CLOSE,
		.fd = conn->fd,
		.user_data = uring_conn_data(conn, URING_CLOSE),
	};
	conn->owed++;
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
		conn_queue_push(&uring->parked, conn);
	}
}

/* A completion that filled several buffers: the first one is at index, the others behind it in the ring. */
static bool uring_received_bundle(struct uring *uring, struct io_conn *conn, unsigned index, int res,
                                  struct io_event *event)
{
	struct uring_group *group = &uring->group[index < uring->singles ? URING_SINGLE : URING_SHARED];
	unsigned slot = uring->held[index].slot;
	int size = (int)uring->buf_size;
	bool told = false;

	if (conn->flags & CONN_CREDIT && !conn->held) {
		conn->flags &= ~CONN_CREDIT;
		told = uring_lend(uring, conn, index, res < size ? res : size, event);
	} else {
		uring_hold(uring, conn, index, res < size ? res : size);
	}
	while ((res -= size) > 0)
		uring_hold(uring, conn, group->ring->bufs[++slot & group->mask].bid, res < size ? res : size);
	return told;
}

/* recv=poll: there is something, or there was. */
static bool uring_polled(struct uring *uring, struct io_conn *conn, int res, struct io_event *event)
{
	conn->owed--;
	conn->flags &= ~CONN_ARMED;
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	assert(conn->flags & CONN_CREDIT);
	if (res > 0) {
		do
			res = recv(conn->fd, uring->scratch, IO_RECV_MAX, MSG_DONTWAIT);
		while (res < 0 && errno == EINTR);
		if (res < 0)
			res = -errno;
	}
	if (res == -EAGAIN || res == -EINTR || res == -ECANCELED) {
		uring_arm(uring, conn, false);
		return false;
	}
	if (res <= 0) {
		conn->flags |= CONN_ENDED;
		conn->result = res;
		return uring_tell_end(conn, event);
	}
	conn->flags &= ~CONN_CREDIT;
	*event = (struct io_event){ .op = IO_RECV, .res = res, .conn = conn, .data = uring->scratch };
	return true;
}

/* recv=poll, recv-bundle and buf-inc: whether it made an event, 1 or 0; -1: it is as any other receive. */
static __attribute__((noinline)) int uring_received_oddly(struct uring *uring, struct io_conn *conn, int res,
                                                          unsigned flags, struct io_event *event)
{
	unsigned index = flags >> IORING_CQE_BUFFER_SHIFT;

	if (uring->polls)
		return uring_polled(uring, conn, res, event);
	if (res <= 0 || conn->flags & CONN_CLOSING || (uring->bundles && res <= (int)uring->buf_size))
		return -1;
	if (!(flags & IORING_CQE_F_MORE)) {
		conn->owed--;
		conn->flags &= ~CONN_ARMED;
	}
	if (uring->bundles)
		return uring_received_bundle(uring, conn, index, res, event);
	/* A one-shot receive, so there is a credit. */
	assert(conn->flags & CONN_CREDIT && !conn->held);
	conn->flags &= ~CONN_CREDIT;
	return uring_lend_piece(uring, conn, index, res, flags & URING_CQE_F_BUF_MORE, event);
}

static bool uring_received(struct uring *uring, struct io_conn *conn, int res, unsigned flags, struct io_event *event)
{
	unsigned index = flags >> IORING_CQE_BUFFER_SHIFT;

	if (__builtin_expect(uring->odd_recv, 0)) {
		int told = uring_received_oddly(uring, conn, res, flags, event);

		if (told >= 0)
			return told;
	}
	if (!(flags & IORING_CQE_F_MORE)) {
		conn->owed--;
		conn->flags &= ~CONN_ARMED;
	}
	if (res > 0 && !(conn->flags & CONN_CLOSING)) {
		assert(flags & IORING_CQE_F_BUFFER);
		if (conn->flags & CONN_CREDIT && !conn->held) {
			conn->flags &= ~CONN_CREDIT;
			return uring_lend(uring, conn, index, res, event);
		}
		uring_hold(uring, conn, index, res);
		return false;
	}

	if (flags & IORING_CQE_F_BUFFER)
		uring_spill(uring, index, res, flags);
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

static inline __attribute__((always_inline)) bool uring_sent(struct uring *uring, struct io_conn *conn, int res,
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

bool uring_sent_zc(struct uring *uring, struct io_conn *conn, int res, struct io_event *event)
{
	return uring_sent(uring, conn, res, event);
}

/* Enters the descriptor into the table, where its own number is its index. */
static __attribute__((noinline)) void uring_enter_table(struct uring *uring, struct io_conn *conn)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);
	/* The kernel looks at it when it takes the entry, and until then nobody else has its place. */
	int *fd = (int *)&uring->message[sqe - uring->sqes];

	*fd = conn->fd;
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_FILES_UPDATE,
		.fd = -1,
		.off = conn->fd,
		.addr = (uintptr_t)fd,
		.len = 1,
		.user_data = uring_conn_data(conn, URING_REGISTER),
	};
	conn->flags |= CONN_DIRECT;
	conn->owed++;
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
	if (uring->direct && (unsigned)fd < uring->table)
		uring_enter_table(uring, conn);
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
		if (--conn->owed)
			return false;
		conn->flags = 0;
		uring->open--;
		*event = (struct io_event){
			.op = IO_CLOSED,
			.conn = conn,
			.data = conn->lent ? uring_still_lent(uring, conn) : NULL,
		};
		return true;
	case URING_REGISTER:
		/* Out of memory: what was submitted for the index has failed, or will, and the connection with it. */
		conn->owed--;
		if (res < 0)
			conn->flags &= ~CONN_DIRECT;
		if (conn->flags & CONN_CLOSING)
			uring_settle(uring, conn);
		return false;
	default:
		assert(!"an operation of connections");
		return false;
	}
}

bool uring_conn_ready(struct uring *uring, struct io_event *event)
{
	struct io_conn *conn = conn_queue_pop(&uring->ready);
	unsigned index;

	conn->flags &= ~CONN_READY;
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	if (conn->flags & CONN_SENT) {
		conn->flags &= ~(CONN_SENT | CONN_SENDING);
		if (conn->flags & CONN_CREDIT && (conn->held || conn->flags & CONN_ENDED))
			uring_make_ready(uring, conn);
		*event = (struct io_event){ .op = IO_SENT, .conn = conn };
		return true;
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
	struct conn_queue parked = conn_queue_take(&uring->parked);
	unsigned tries = uring->singles;

	while (parked.first) {
		struct io_conn *conn = conn_queue_pop(&parked);

		if (conn->flags & CONN_CLOSING) {
			conn->flags &= ~CONN_PARKED;
			uring_settle(uring, conn);
		} else if (tries) {
			tries--;
			conn->flags &= ~CONN_PARKED;
			uring_arm(uring, conn, false);
		} else {
			conn_queue_push(&uring->parked, conn);
		}
	}
}
