/*
 * seam_ring.c - where the linker sends what the io_uring backend asks of liburing. It knows each ring by its descriptor,
 * looks at what is submitted and at what has completed, and makes the planned fault of it:
 *
 *  - an operation that fails is submitted as a NOP, so that nothing was done and nothing was taken, and its completion gets
 *    the error;
 *  - one that falls short is submitted with less to do, so that its short count is true;
 *  - a multishot whose first completion is the last is submitted as a one-shot;
 *  - one that is cut is cancelled behind the back of the backend when it has completed once more;
 *  - where undoing would be untrue (CLOSE, ASYNC_CANCEL) or is too late, the completion alone is rewritten.
 */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "uring.h"

#define RINGS 16
#define OPS   4096 /* a power of two: more than are in flight in any scenario */

struct op {
	uint64_t data;
	enum fault_call call;
	bool multishot;
	bool failing; /* a NOP stands for it */
};

struct ring {
	struct io_uring *ring;
	int fd;
	unsigned looked; /* submissions up to here have been looked at */
	unsigned reaped; /* completions likewise */
	struct msghdr message;
	struct iovec iov;
	bool cut; /* the next completion of `data` without F_MORE gets the error */
	uint64_t data;
	struct op op[OPS];
};

static struct ring rings[RINGS];
static pthread_mutex_t rings_lock = PTHREAD_MUTEX_INITIALIZER; /* who takes one; each is its thread's then */

static struct ring *ring_of(int fd)
{
	for (unsigned i = 0; i < RINGS; i++)
		if (rings[i].ring && rings[i].fd == fd)
			return &rings[i];
	return NULL;
}

int __real_io_uring_queue_mmap(int, struct io_uring_params *, struct io_uring *);
int __wrap_io_uring_queue_mmap(int, struct io_uring_params *, struct io_uring *);
int __wrap_io_uring_queue_mmap(int fd, struct io_uring_params *params, struct io_uring *ring)
{
	struct ring *free = NULL;
	int ret = __real_io_uring_queue_mmap(fd, params, ring);

	if (ret)
		return ret;
	pthread_mutex_lock(&rings_lock);
	for (unsigned i = 0; i < RINGS; i++)
		if (!rings[i].ring)
			free = &rings[i];
	if (free) {
		memset(free, 0, sizeof(*free));
		free->fd = fd;
		free->ring = ring;
	}
	pthread_mutex_unlock(&rings_lock);
	return 0;
}

void __real_io_uring_queue_exit(struct io_uring *);
void __wrap_io_uring_queue_exit(struct io_uring *);
void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	struct ring *known = ring_of(ring->ring_fd);

	if (known)
		known->ring = NULL;
	__real_io_uring_queue_exit(ring);
}

static enum fault_call call_of(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_ACCEPT:
		return FAULT_RING_ACCEPT;
	case IORING_OP_RECV:
		return FAULT_RING_RECV;
	case IORING_OP_SEND:
		return FAULT_RING_SEND;
	case IORING_OP_SENDMSG:
		return FAULT_RING_SENDMSG;
	case IORING_OP_SEND_ZC:
		return FAULT_RING_SEND_ZC;
	case IORING_OP_READ:
		return (sqe->user_data & URING_OP_MASK) == URING_WAKE ? FAULT_RING_WAKE : FAULT_RING_READ;
	case IORING_OP_POLL_ADD:
		return FAULT_RING_POLL;
	case IORING_OP_CLOSE:
		return FAULT_RING_CLOSE;
	case IORING_OP_ASYNC_CANCEL:
		return FAULT_RING_CANCEL;
	default:
		return FAULT_NONE;
	}
}

static struct op *op_of(struct ring *ring, uint64_t data)
{
	unsigned at = (unsigned)((data ^ data >> 17 ^ data >> 40) * 2654435761U) & (OPS - 1);

	for (unsigned i = 0; i < OPS; i++, at = (at + 1) & (OPS - 1))
		if (ring->op[at].data == data || !ring->op[at].call)
			return &ring->op[at];
	return &ring->op[0];
}

static void shorten(struct ring *ring, struct io_uring_sqe *sqe)
{
	unsigned most = (unsigned)fault.plan.value;

	if (sqe->opcode == IORING_OP_SENDMSG) {
		const struct msghdr *message = (const struct msghdr *)(uintptr_t)sqe->addr;

		ring->iov = message->msg_iov[0];
		if (ring->iov.iov_len > most)
			ring->iov.iov_len = most;
		ring->message = (struct msghdr){ .msg_iov = &ring->iov, .msg_iovlen = 1 };
		sqe->addr = (uintptr_t)&ring->message;
	} else if (sqe->opcode == IORING_OP_RECV && !sqe->ioprio) {
		sqe->len = most;
	} else if (sqe->len > most) {
		sqe->len = most;
	}
}

/* What is about to be submitted. */
static void look_at(struct ring *ring, struct io_uring_sqe *sqe)
{
	enum fault_call call = call_of(sqe);
	bool multishot = (call == FAULT_RING_RECV && sqe->ioprio & IORING_RECV_MULTISHOT) ||
	                 (call == FAULT_RING_ACCEPT && sqe->ioprio & IORING_ACCEPT_MULTISHOT);
	struct op *op;

	if (!call)
		return;
	op = op_of(ring, sqe->user_data);
	*op = (struct op){ .data = sqe->user_data, .call = call, .multishot = multishot };
	switch (fault.plan.how) {
	case FAULT_FAILS:
	case FAULT_PERSISTS:
		if (!fault_hits(call))
			return;
		op->failing = true;
		*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = sqe->user_data };
		return;
	case FAULT_SHORT:
		if (fault_hits(call))
			shorten(ring, sqe);
		return;
	case FAULT_LAST:
		if (!multishot || !fault_hits(call))
			return;
		sqe->ioprio = 0;
		if (call == FAULT_RING_RECV)
			sqe->len = features_standard.uring.buf_size;
		return;
	case FAULT_DONE:
	case FAULT_CUT:
	case FAULT_REWRITTEN:
		return;
	}
}

static void cancel(struct ring *ring, uint64_t data)
{
	struct io_uring_sync_cancel_reg reg = {
		.addr = data,
		.fd = -1,
		.timeout = { .tv_sec = -1, .tv_nsec = -1 },
	};
	bool exempt = fault_exempt;

	fault_exempt = true;
	syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_SYNC_CANCEL, &reg, 1);
	fault_exempt = exempt;
	ring->cut = true;
	ring->data = data;
}

/* What has completed. */
static void look_back(struct ring *ring, struct io_uring_cqe *cqe)
{
	struct op *op = op_of(ring, cqe->user_data);
	bool more = cqe->flags & IORING_CQE_F_MORE;

	if (ring->cut && cqe->user_data == ring->data && !more) {
		if (cqe->res == -ECANCELED)
			cqe->res = (int)-fault.plan.value;
		ring->cut = false;
		seam.cuts++;
		return;
	}
	if (!op->call || op->data != cqe->user_data)
		return;
	if (cqe->flags & IORING_CQE_F_NOTIF) {
		/* Of a send that was submitted before. Loopback copies; the backend, told so, would soon do without. */
		cqe->res = (int)((unsigned)cqe->res & ~IORING_NOTIF_USAGE_ZC_COPIED);
		return;
	}
	if (op->failing) {
		cqe->res = (int)-fault.plan.value;
		op->failing = false;
		return;
	}
	if (fault.plan.how == FAULT_CUT && more && fault_hits(op->call))
		cancel(ring, cqe->user_data);
	if (fault.plan.how == FAULT_DONE && fault_hits(op->call))
		cqe->res = (int)-fault.plan.value;
	if (fault.plan.how == FAULT_REWRITTEN && cqe->res <= 0 && !(cqe->flags & IORING_CQE_F_BUFFER) &&
	    fault_hits(op->call))
		cqe->res = (int)-fault.plan.value;
}

int __real_io_uring_enter(unsigned, unsigned, unsigned, unsigned, sigset_t *);
int __wrap_io_uring_enter(unsigned, unsigned, unsigned, unsigned, sigset_t *);
int __real_io_uring_enter2(unsigned, unsigned, unsigned, unsigned, sigset_t *, size_t);
int __wrap_io_uring_enter2(unsigned, unsigned, unsigned, unsigned, sigset_t *, size_t);

int __wrap_io_uring_enter2(unsigned fd, unsigned submit, unsigned want, unsigned flags, sigset_t *argument, size_t size)
{
	struct ring *ring = ring_of((int)fd);
	bool waits = want > 0;
	unsigned tail;
	int ret;

	if (!ring)
		return __real_io_uring_enter2(fd, submit, want, flags, argument, size);
	if (seam.sleepless)
		want = 0;
	seam.would_sleep = false;
	if (fault_hits(FAULT_io_uring_enter)) {
		if (fault.plan.how != FAULT_SHORT)
			return (int)-fault.plan.value;
		submit = submit < (unsigned)fault.plan.value ? submit : (unsigned)fault.plan.value;
	}
	tail = __atomic_load_n(ring->ring->sq.khead, __ATOMIC_ACQUIRE) + submit;
	for (; (int)(tail - ring->looked) > 0; ring->looked++)
		look_at(ring, &ring->ring->sq.sqes[ring->looked & *ring->ring->sq.kring_mask]);
	ret = __real_io_uring_enter2(fd, submit, want, flags, argument, size);
	for (; ring->reaped != __atomic_load_n(ring->ring->cq.ktail, __ATOMIC_ACQUIRE); ring->reaped++)
		look_back(ring, &ring->ring->cq.cqes[ring->reaped & *ring->ring->cq.kring_mask]);
	seam.would_sleep = waits && ring->reaped == *ring->ring->cq.khead;
	return ret;
}

int __wrap_io_uring_enter(unsigned fd, unsigned submit, unsigned want, unsigned flags, sigset_t *sigset)
{
	return __wrap_io_uring_enter2(fd, submit, want, flags, sigset, _NSIG / 8);
}

int seam_ring_buffers(int ring_fd, unsigned group, unsigned tail, unsigned entries)
{
	/* IORING_REGISTER_PBUF_STATUS, Linux 6.8 */
	struct {
		uint32_t group;
		uint32_t head;
		uint32_t reserved[8];
	} status = { .group = group };

	if (syscall(SYS_io_uring_register, ring_fd, 26, &status, 1) < 0)
		return -1;
	return (uint16_t)(tail - status.head) == entries;
}
