/*
 * uring_contain.c - limits a ring to what its backend submits: no filter of system calls sees what a ring does, and it could
 * open, connect and much more. On the thread that will wait on the ring, once, when it is made.
 */
#include <errno.h>

#include "uring.h"

#define URING_ALLOWED_MAX 16

struct uring_allowed {
	struct io_uring_restriction row[URING_ALLOWED_MAX];
	unsigned n;
};

static void uring_allow(struct uring_allowed *allowed, uint8_t opcode)
{
	allowed->row[allowed->n].opcode = IORING_RESTRICTION_SQE_OP;
	allowed->row[allowed->n++].sqe_op = opcode;
}

/*
 * Exactly the operations of the features that are in effect, and of the self-test, which has them all. Nothing can be
 * registered any more. The ring was made disabled, since a ring that runs cannot be limited, and is enabled here, by the
 * thread that will be the only one to submit (IORING_SETUP_SINGLE_ISSUER counts from now on). A kernel that cannot limit it
 * (before 5.10, or without it) goes on without; io.limits says so.
 */
int uring_contain(struct uring *uring, bool files, bool sealed)
{
	static const uint8_t always[] = { IORING_OP_NOP,  IORING_OP_ACCEPT,       IORING_OP_SEND,
		                          IORING_OP_READ, IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE };
	struct uring_allowed allowed = { 0 };
	uint8_t flags = uring->polls ? 0 : IOSQE_BUFFER_SELECT;

	for (unsigned i = 0; i < sizeof(always); i++)
		uring_allow(&allowed, always[i]);
	if (!uring->polls)
		uring_allow(&allowed, IORING_OP_RECV);
	if (!uring->send_vec)
		uring_allow(&allowed, IORING_OP_SENDMSG);
	if (uring->polls || files || sealed || uring->direct)
		uring_allow(&allowed, IORING_OP_POLL_ADD);
	if (uring->zc)
		uring_allow(&allowed, IORING_OP_SEND_ZC);
	if (uring->direct) {
		uring_allow(&allowed, IORING_OP_FILES_UPDATE);
		flags |= IOSQE_FIXED_FILE;
	}
	if (files)
		flags |= IOSQE_ASYNC;
	allowed.row[allowed.n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	allowed.row[allowed.n++].sqe_flags = flags;
	uring->io.limits = uring_register(uring, IORING_REGISTER_RESTRICTIONS, allowed.row, allowed.n) == 0
	                           ? IO_LIMITED
	                           : IO_UNLIMITABLE;
	return uring_register(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}
