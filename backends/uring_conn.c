/*
 * uring_conn.c - connections on io_uring: open, receive, close, and what a completion is of. uring_send.c has the sends.
 * On the worker's thread; see uring.c for the ring, and for what the kernel asks of this code.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>

#include "uring.h"

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

void uring_make_ready(struct uring *uring, struct io_conn *conn)
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
	if (conn->flags & CONN_FILE)
		file_sealed_drop(&uring->sender, conn->files);
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
 * is waiting to be pulled; so as many as there are may try, and whoever fails again is not the only thing to happen. The
 * others try with the next wait, and this one does not sleep: of those who try now it may be that none has anything to receive.
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
