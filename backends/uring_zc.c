/*
 * uring_zc.c - sends without a copy (zc=on, zc=fixed): large pieces of memory go to the network card as they lie, and the kernel says
 * when it has done with them. On the worker's thread; owns the records of what is lent.
 *
 * A send has two completions: the first one as any send has, after which the caller goes on; and a notification, when the
 * peer has acknowledged the bytes, which may be long after, and after the connection's end. So a send has a record, which
 * both completions name, and which the caller is told of with IO_SENT: it keeps the memory until IO_RELEASED. All pieces of
 * one io_send() share a record.
 *
 * With zc=fixed that is also the way of short answers, which lie as a whole in the memory that the caller has named when the
 * backend was made (io_config.registered). The kernel has looked its pages up once, and a send names them.
 *
 * What is not worth it, or cannot be: short pieces, which are not the caller's to keep either; Unix sockets; more than there
 * are records for. On loopback, and through some devices, the kernel copies all the same, and then this is the dearer way:
 * after some notifications in a row that say so it is turned off, and only tried now and then.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "uring.h"

int uring_zc_create(struct uring *uring)
{
	uring->lents = calloc(URING_LENTS, sizeof(*uring->lents));
	if (!uring->lents)
		return -ENOMEM;
	for (unsigned i = 0; i < URING_LENTS; i++)
		uring->lents[i].next = i + 2 <= URING_LENTS ? i + 2 : 0;
	uring->lent_free = 1;
	return 0;
}

static void uring_lent_free(struct uring *uring, struct uring_lent *lent)
{
	lent->next = uring->lent_free;
	uring->lent_free = lent - uring->lents + 1;
}

/* The record of the connection's send. NULL: there is none left. */
static struct uring_lent *uring_lent_of(struct uring *uring, struct io_conn *conn)
{
	struct uring_lent *lent;

	if (conn->lent)
		return &uring->lents[conn->lent - 1];
	if (!uring->lent_free)
		return NULL;
	conn->lent = uring->lent_free;
	lent = &uring->lents[conn->lent - 1];
	uring->lent_free = lent->next;
	*lent = (struct uring_lent){ .conn = conn };
	return lent;
}

const void *uring_still_lent(struct uring *uring, struct io_conn *conn)
{
	struct uring_lent *lent = &uring->lents[conn->lent - 1];

	assert(lent->conn == conn);
	conn->lent = 0;
	lent->conn = NULL;
	if (lent->pending)
		return &lent->io;
	uring_lent_free(uring, lent);
	return NULL;
}

/* Whether it is worth it now: unless it was turned off, or this is the one in so many that is tried. */
static bool uring_zc_is_on(struct uring *uring)
{
	if (uring->zc_copied < URING_ZC_COPIED_MAX)
		return true;
	if (++uring->zc_skipped < URING_ZC_RETRY)
		return false;
	uring->zc_skipped = 0;
	return true;
}

/*
 * A head in front of a large piece goes by send(2), with MSG_MORE: it is short, lies where the next answer will, and must
 * come first. What the socket does not take of it is left to the usual way.
 */
static bool uring_send_head(struct io_conn *conn)
{
	ssize_t res = send(conn->fd, conn->iov->iov_base, conn->iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
	bool whole = res == (ssize_t)conn->iov->iov_len;

	if (res > 0)
		uring_advance(conn, res);
	return whole;
}

bool uring_send_is_fixed(const struct uring *uring, const struct io_conn *conn)
{
	const struct iovec *iov = conn->iov;
	size_t offset = (uintptr_t)iov->iov_base - (uintptr_t)uring->registered.iov_base;

	return uring->io.features.uring.zc == ZC_FIXED && conn->niov == 1 && iov->iov_len >= URING_FIXED_MIN &&
	       offset < uring->registered.iov_len && iov->iov_len <= uring->registered.iov_len - offset;
}

bool uring_send_zc(struct uring *uring, struct io_conn *conn)
{
	size_t least = uring->zc_min;
	bool headed = conn->niov > 1 && conn->iov[0].iov_len < least && conn->iov[1].iov_len >= least;
	bool fixed = uring_send_is_fixed(uring, conn);
	struct io_uring_sqe *sqe;
	struct uring_lent *lent;
	struct iovec *iov;

	if (conn->flags & (CONN_COARSE | CONN_COPIES) || (conn->iov[0].iov_len < least && !headed && !fixed))
		return false;
	if (!uring_zc_is_on(uring) || (headed && !uring_send_head(conn)))
		return false;
	lent = uring_lent_of(uring, conn);
	if (!lent)
		return false;
	iov = conn->iov;
	sqe = uring_sqe(uring);
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND_ZC,
		.flags = uring_fixed(conn),
		.ioprio = IORING_SEND_ZC_REPORT_USAGE | (fixed ? IORING_RECVSEND_FIXED_BUF : 0),
		.buf_index = 0,
		.fd = conn->fd,
		.addr = (uintptr_t)iov->iov_base,
		.len = iov->iov_len < URING_PIECE ? iov->iov_len : URING_PIECE,
		.msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
		.user_data = (uintptr_t)lent | URING_LENT,
	};
	lent->pending++;
	conn->owed++;
	io_count(&uring->io, URING_ZC_SENDS, 1);
	return true;
}

/* The kernel has done with the memory of one piece. */
static bool uring_notified(struct uring *uring, struct uring_lent *lent, int res, struct io_event *event)
{
	if ((unsigned)res & IORING_NOTIF_USAGE_ZC_COPIED) {
		io_count(&uring->io, URING_ZC_COPIED, 1);
		if (uring->zc_copied < URING_ZC_COPIED_MAX)
			uring->zc_copied++;
	} else {
		uring->zc_copied = 0;
	}
	if (--lent->pending || lent->conn)
		return false;
	uring_lent_free(uring, lent);
	*event = (struct io_event){ .op = IO_RELEASED, .data = &lent->io };
	return true;
}

/* A socket, or a limit, that does not let memory be lent: then it is copied. */
static bool uring_cannot_lend(int res)
{
	return res == -EOPNOTSUPP || res == -ENOMEM || res == -ENOBUFS;
}

bool uring_lent_complete(struct uring *uring, struct uring_lent *lent, int res, unsigned flags, struct io_event *event)
{
	if (flags & IORING_CQE_F_NOTIF)
		return uring_notified(uring, lent, res, event);
	if (!(flags & IORING_CQE_F_MORE))
		lent->pending--;
	if (uring_cannot_lend(res)) {
		lent->conn->flags |= CONN_COPIES;
		res = -EINTR; /* again, then */
	}
	return uring_sent_zc(uring, lent->conn, res, event);
}
