/*
 * test_features_uring.c - see test_features_uring.h.
 */
#include "test_features_uring.h"

#include <errno.h>

#include "uring.h"

unsigned ring_flags(struct io *io)
{
	return uring_of(io)->ring.flags;
}

int ring_fd(struct io *io)
{
	return uring_of(io)->ring.ring_fd;
}

unsigned ring_entries(struct io *io)
{
	return uring_of(io)->ring.sq.ring_entries;
}

unsigned ring_cq_entries(struct io *io)
{
	return uring_of(io)->ring.cq.ring_entries;
}

unsigned ring_shared_buffers(struct io *io)
{
	return uring_of(io)->group[URING_SHARED].mask + 1U;
}

const void *ring_scratch(struct io *io)
{
	return uring_of(io)->scratch;
}

static int result(struct uring *uring)
{
	int res = -ETIME;

	if (uring_enter(uring, 1, 100) == 0 && uring_completed(uring)) {
		res = uring->cqes[uring->cq_head & uring->cq_mask].res;
		uring_seen(uring);
	}
	return res;
}

int ring_receive_without_buffers(struct io *io, struct io_conn *conn)
{
	struct uring *uring = uring_of(io);
	const struct uring_receive *receive = &uring->receive[false];

	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = receive->opcode,
		.flags = receive->flags,
		.ioprio = receive->ioprio,
		.fd = conn->fd,
		.len = receive->len,
		.buf_group = 7, /* there is none */
	};
	return result(uring);
}

int ring_try(struct io *io, unsigned opcode)
{
	struct uring *uring = uring_of(io);

	*uring_sqe(uring) = (struct io_uring_sqe){ .opcode = (uint8_t)opcode, .fd = -1 };
	return result(uring);
}
