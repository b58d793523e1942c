/*
 * uring.c - the io_uring backend: every operation of io.h as entries of one ring. Here are the ring itself, waiting,
 * waking and listening; uring_conn.c has the connections, uring_send.c what they send, uring_setup.c the creation.
 * One instance a worker, on the worker's thread alone (but for uring_wake()); it owns the ring, its receive buffers and an eventfd. Nothing allocates
 * once it is created. The system calls are io_uring_enter in uring_wait(), shutdown(2) for a connection that is closed
 * with an operation under way, accept4(2) and getsockopt(2) when accepting ends and begins, and those of file_send.c.
 *
 * What the kernel does, and this file therefore must:
 *  - Any completion may be the last of its multishot, successful ones too; without F_MORE the operation is over, and is
 *    armed again when there is a reason to. That is also all that an overflow of the completion queue asks for: the
 *    kernel keeps the completions, and ends the multishots.
 *  - ENOBUFS is immediate when the buffers have run out, even on a silent socket. It is no error of the connection.
 *  - close(2) does not end an armed receive, shutdown(2) does; and an entry looks its descriptor up when it is
 *    submitted. So nothing is closed before everything submitted for it has completed: io_conn.owed counts it.
 *  - A receive that is armed between requests saves an entry a request, but takes a cancellation or shutdown(2) to end.
 *    So the first receive of a connection is one-shot: a client that asks once and goes away costs neither.
 */
#include <assert.h>
#include <errno.h>
#include <linux/time_types.h>
#include <time.h>
#include <unistd.h>

#include "uring.h"

/* io_listener.flags */
enum {
	LISTENER_ON = 1 << 0,
	LISTENER_OFF = 1 << 1,       /* an IO_UNLISTENED is due */
	LISTENER_ARMED = 1 << 2,     /* an accept is submitted, or about to be */
	LISTENER_SUSPENDED = 1 << 3, /* accepting failed, and the caller was told */
	LISTENER_COARSE = 1 << 4,    /* its sockets do not count what the peer has taken: socket_counts() */
};

static const struct figure uring_figures[] = {
	[URING_ENTERS] = { "io_uring_enters", "Calls of io_uring_enter." },
	[URING_SUBMISSIONS] = { "io_uring_submissions",
	                        "Entries that the kernel has taken from the submission queue." },
	[URING_COMPLETIONS] = { "io_uring_completions", "Entries taken from the completion queue." },
	[URING_NO_BUFFERS] = { "io_uring_enobufs",
	                       "Receives that found no provided buffer (ENOBUFS) and were armed again." },
	[URING_OVERFLOWS] = { "io_uring_cq_overflows",
	                      "Waits after which completions were left over, the queue being full." },
	[URING_INLINE_SENDS] = { "io_uring_inline_sends", "Sends that send(2) has taken whole (send=inline)." },
	[URING_ZC_SENDS] = { "io_uring_zc_sends", "Sends without a copy that were submitted (zc=on, zc=fixed)." },
	[URING_ZC_COPIED] = { "io_uring_zc_copied", "Of these, those that the kernel copied all the same." },
	[URING_SPLICED] = { "io_uring_spliced_bytes", "Bytes sent by reference to memory (--splice-above)." },
	{ NULL, NULL },
};

/* Connections accepted after a listener was turned off: about the longest backlog there is (net.core.somaxconn). */
#define URING_SWEEP_MAX 4096

static uint64_t uring_listener_data(struct io_listener *listener, enum uring_op op)
{
	return (uintptr_t)listener | op;
}

/* After an io_uring_enter: what the kernel has taken. */
static void uring_entered(struct uring *uring)
{
	unsigned before = uring->sq_head;

	uring->sq_head = io_uring_smp_load_acquire(uring->ring.sq.khead);
	io_count(&uring->io, URING_ENTERS, 1);
	io_count(&uring->io, URING_SUBMISSIONS, uring->sq_head - before);
}

/* With sqpoll, once the tail is stored: the flag that wakes the kernel's thread, if it sleeps. */
static unsigned uring_waking(const struct uring *uring)
{
	if (!uring->sqpoll)
		return 0;
	/* Once more, and in order with the look that follows: the thread's own last look is at the tail. */
	__atomic_store_n(uring->ring.sq.ktail, uring->sq_tail, __ATOMIC_SEQ_CST);
	return __atomic_load_n(uring->ring.sq.kflags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP ? IORING_ENTER_SQ_WAKEUP
	                                                                                        : 0;
}

/* With sqpoll: nothing is to be waited for, no thread to be woken, and no overflow to be collected. */
static bool uring_need_not_enter(const struct uring *uring, unsigned want)
{
	return (want == 0 || uring_completed(uring)) &&
	       !(__atomic_load_n(uring->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW);
}

static inline __attribute__((always_inline)) int uring_enter_with(struct uring *uring, unsigned want, int timeout_ms,
                                                                  unsigned usec, unsigned flags)
{
	struct __kernel_timespec ts;
	struct uring_wait_arg arg = { .min_wait_usec = usec };
	unsigned submit = uring->sq_tail - uring->sq_head;
	int ret;

	if (want && timeout_ms >= 0) {
		ts.tv_sec = timeout_ms / 1000;
		ts.tv_nsec = timeout_ms % 1000 * 1000000LL;
		arg.ts = (uintptr_t)&ts;
	}
	ret = io_uring_enter2(uring->enter_fd, submit, want, flags, (sigset_t *)&arg, sizeof(arg));
	uring_entered(uring);
	return ret < 0 ? ret : 0;
}

/* With sqpoll, or for several completions. */
static __attribute__((noinline)) int uring_enter_oddly(struct uring *uring, unsigned want, int timeout_ms)
{
	unsigned waking = uring_waking(uring);

	if (uring->sqpoll && !waking && uring_need_not_enter(uring, want)) {
		uring->sq_head = io_uring_smp_load_acquire(uring->ring.sq.khead);
		return 0;
	}
	return uring_enter_with(uring, want, want > 1 && timeout_ms < 0 ? URING_WAIT_MAX_MS : timeout_ms,
	                        want > 1 ? uring->wait_usec : 0, uring->enter_flags | waking);
}

int uring_enter(struct uring *uring, unsigned want, int timeout_ms)
{
	io_uring_smp_store_release(uring->ring.sq.ktail, uring->sq_tail);
	if (uring->odd_wait)
		return uring_enter_oddly(uring, want, timeout_ms);
	return uring_enter_with(uring, want, timeout_ms, 0, uring->enter_flags);
}

void uring_submit(struct uring *uring)
{
	unsigned waking;

	io_uring_smp_store_release(uring->ring.sq.ktail, uring->sq_tail);
	waking = uring_waking(uring);
	if (uring->sqpoll && !waking)
		return;
	io_uring_enter(uring->enter_fd, uring->sq_tail - uring->sq_head, 0, uring->fd_flags | waking, NULL);
	uring_entered(uring);
}

static void uring_pause(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/*
 * The kernel takes every entry unless it has no memory for requests. That is waited out here, for entries cannot be
 * given up; running what has completed frees requests. After some seconds the backend counts as broken: the entry is
 * overwritten, and io_wait() says so.
 */
void uring_make_room(struct uring *uring)
{
	for (int i = 0; i < 10000 && !uring->broken; i++) {
		unsigned flags = uring->fd_flags;
		int ret;

		io_uring_smp_store_release(uring->ring.sq.ktail, uring->sq_tail);
		if (i)
			flags |= IORING_ENTER_GETEVENTS;
		if (uring->sqpoll)
			flags |= IORING_ENTER_SQ_WAIT | uring_waking(uring);
		ret = io_uring_enter(uring->enter_fd, uring->sq_tail - uring->sq_head, 0, flags, NULL);
		uring_entered(uring);
		if (uring->sq_head != uring->sq_tail - uring->sq_entries)
			return;
		if (ret < 0 && ret != -EAGAIN && ret != -EBUSY && ret != -EINTR && ret != -ENOMEM) {
			uring->broken = ret;
			break;
		}
		uring_pause();
	}
	if (!uring->broken)
		uring->broken = -EAGAIN;
	uring->sq_tail--;
}

/*
 * Arms an accept, a multishot one where accept= says so. On a shared socket that would stay in front of the queue of those who wait, and be given
 * every connection, however busy its worker is (measured: 200 of 200, with three workers); one for a single connection
 * leaves the queue when it is woken, and the next one comes to its end. The new sockets are left blocking: an
 * O_NONBLOCK one is not waited for by older kernels.
 */
static void uring_accept(struct uring *uring, struct io_listener *listener)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_ACCEPT,
		.ioprio = listener->shared ? 0 : uring->accepts,
		.fd = listener->fd,
		.accept_flags = SOCK_CLOEXEC,
		.user_data = uring_listener_data(listener, URING_ACCEPT),
	};
	listener->flags |= LISTENER_ARMED;
	listener->owed++;
}

/* Off and nothing owed: its backlog comes next, after those of the listeners that were turned off before. */
static void uring_unlisten(struct uring *uring, struct io_listener *listener)
{
	struct io_listener **last = &uring->swept;

	if (!(listener->flags & LISTENER_OFF) || listener->owed)
		return;
	while (*last)
		last = &(*last)->next;
	*last = listener;
	listener->next = NULL;
}

static void uring_listen(struct io *io, struct io_listener *listener, bool on)
{
	struct uring *uring = uring_of(io);

	if (on) {
		assert(!listener->flags);
		listener->flags = LISTENER_ON | (socket_counts(listener->fd) ? 0 : LISTENER_COARSE);
		uring_accept(uring, listener);
		return;
	}
	assert(listener->flags & LISTENER_ON);
	listener->flags ^= LISTENER_ON | LISTENER_OFF;
	if (listener->flags & LISTENER_ARMED) {
		uring_cancel(uring, uring_listener_data(listener, URING_ACCEPT),
		             uring_listener_data(listener, URING_CANCEL_ACCEPT));
		listener->owed++;
	}
	uring_unlisten(uring, listener);
}

static bool uring_accepted(struct uring *uring, struct io_listener *listener, int res, unsigned flags,
                           struct io_event *event)
{
	bool told;

	if (!(flags & IORING_CQE_F_MORE)) {
		listener->owed--;
		listener->flags &= ~LISTENER_ARMED;
	}
	if (res >= 0) {
		uring->accepted = res;
		uring->accepted_coarse = listener->flags & LISTENER_COARSE;
		told = true;
	} else {
		told = listener->flags & LISTENER_ON && !socket_accept_passes(res);
		if (told)
			listener->flags |= LISTENER_SUSPENDED;
	}
	if ((listener->flags & (LISTENER_ON | LISTENER_ARMED | LISTENER_SUSPENDED)) == LISTENER_ON)
		uring_accept(uring, listener);
	uring_unlisten(uring, listener);
	*event = (struct io_event){ .op = IO_ACCEPT, .res = res, .listener = listener };
	return told;
}

/*
 * One step for a listener that was turned off. Clients whose handshake is over believe to be connected, and would be
 * reset if the listener were closed; so they are accepted still, as far as there is room for connections. When there
 * is none, or no descriptor, accepting was turned off for that reason, and they are better off waiting in the backlog.
 */
static void uring_sweep(struct uring *uring, struct io_event *event)
{
	struct io_listener *listener = uring->swept;
	int fd = -1;

	while (!(listener->flags & LISTENER_SUSPENDED) && uring->open < uring->conns &&
	       uring->sweeps < URING_SWEEP_MAX) {
		uring->sweeps++;
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 || !socket_accept_passes(-errno))
			break;
	}
	if (fd >= 0) {
		uring->accepted = fd;
		uring->accepted_coarse = listener->flags & LISTENER_COARSE;
		*event = (struct io_event){ .op = IO_ACCEPT, .res = fd, .listener = listener };
		return;
	}
	uring->sweeps = 0;
	uring->swept = listener->next;
	listener->flags = 0;
	*event = (struct io_event){ .op = IO_UNLISTENED, .listener = listener };
}

/* Reads the eventfd that io_wake() writes, so that it counts from nothing again. */
static void uring_arm_wake(struct uring *uring)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_READ,
		.fd = uring->wake_fd,
		.addr = (uintptr_t)&uring->wake_value,
		.len = sizeof(uring->wake_value),
		.user_data = URING_WAKE,
	};
	uring->wake_armed = true;
}

/* Handles one completion. True when it made an event. */
static bool uring_complete(struct uring *uring, uint64_t data, int res, unsigned flags, struct io_event *event)
{
	struct io_listener *listener = (struct io_listener *)(uintptr_t)(data & URING_ADDRESS_MASK);

	switch ((enum uring_op)(data & URING_OP_MASK)) {
	case URING_RECV:
	case URING_SEND:
	case URING_CANCEL_RECV:
	case URING_CLOSE:
	case URING_REGISTER:
		return uring_conn_complete(uring, data, res, flags, event);
	case URING_ACCEPT:
		return uring_accepted(uring, listener, res, flags, event);
	case URING_CANCEL_ACCEPT:
		listener->owed--;
		uring_unlisten(uring, listener);
		return false;
	case URING_WAKE:
		if (listener)
			return uring_lent_complete(uring, (struct uring_lent *)listener, res, flags, event);
		uring_arm_wake(uring);
		return false;
	}
	assert(!"a completion of nobody's");
	return false;
}

static bool uring_next(struct io *io, struct io_event *event)
{
	struct uring *uring = uring_of(io);

	uring_take_back(uring);
	for (;;) {
		const struct io_uring_cqe *cqe;
		uint64_t data;
		unsigned flags;
		int res;

		if (uring->ready.first) {
			if (uring_conn_ready(uring, event))
				return true;
			continue;
		}
		if (uring->cq_head == uring->cq_end) {
			/* Files come last: what is quickly done goes first. */
			if (!uring_file_turn(uring, event))
				break;
			if (event->conn)
				return true;
			continue;
		}
		cqe = &uring->cqes[uring->cq_head & uring->cq_mask];
		data = cqe->user_data;
		res = cqe->res;
		flags = cqe->flags;
		uring_seen(uring);
		if (uring_complete(uring, data, res, flags, event))
			return true;
	}
	if (!uring->swept)
		return false;
	uring_sweep(uring, event);
	return true;
}

/* What has completed by now is this turn's share. */
static void uring_collected(struct uring *uring)
{
	unsigned before = uring->cq_end;

	uring->cq_end = io_uring_smp_load_acquire(uring->ring.cq.ktail);
	io_count(&uring->io, URING_COMPLETIONS, uring->cq_end - before);
	if (__atomic_load_n(uring->ring.sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_CQ_OVERFLOW)
		io_count(&uring->io, URING_OVERFLOWS, 1);
}

static int uring_wait(struct io *io, int timeout_ms)
{
	struct uring *uring = uring_of(io);
	bool waiting;
	int ret;

	uring_take_back(uring);
	if (uring->parked.first)
		uring_conn_unpark(uring);
	if (uring->bulk.first)
		uring_go_on(uring);
	if (!uring->wake_armed)
		uring_arm_wake(uring);
	if (uring->broken)
		return uring->broken;
	uring_publish(uring);
	uring->sender.budget = FILE_BUDGET;
	/* Those who are parked still: of those who try now it may be that none has anything to receive. */
	waiting = uring->ready.first || uring->bulk.first || uring->parked.first || uring->swept ||
	          uring->sender.turns.first;
	/* The kernel does not sleep while there are completions in the queue. */
	io_uring_smp_store_release(uring->ring.sq.ktail, uring->sq_tail);
	if (__builtin_expect(uring->odd_wait, 0))
		ret = uring_enter_oddly(uring, waiting || timeout_ms == 0 ? 0 : uring->wait, timeout_ms);
	else
		ret = uring_enter_with(uring, waiting || timeout_ms == 0 ? 0 : 1, timeout_ms, 0, uring->enter_flags);
	if ((ret == -EAGAIN || ret == -ENOMEM) && !waiting && !uring_completed(uring))
		uring_pause();
	uring_collected(uring);
	switch (ret) {
	case 0:
	case -ETIME:
	case -EINTR:
	case -EAGAIN: /* no memory for requests: what was submitted stays, and is submitted by the next wait */
	case -ENOMEM:
	case -EBUSY: /* completions overflow: there are some to be pulled */
		return 0;
	default:
		uring->broken = ret;
		return ret;
	}
}

static void uring_wake(struct io *io)
{
	const struct uring *uring = uring_of(io);
	const uint64_t one = 1;
	int saved = errno;
	/* It can only fail when it has been called 2^64 - 2 times without a wait: then there is one to come. */
	ssize_t ignored = write(uring->wake_fd, &one, sizeof(one));

	(void)ignored;
	errno = saved;
}

const struct io_ops io_uring_ops = {
	.name = "io_uring",
	.probe = uring_probe,
	.create = uring_create,
	.destroy = uring_destroy,
	.wait = uring_wait,
	.next = uring_next,
	.listen = uring_listen,
	.open = uring_open,
	.recv = uring_recv,
	.send = uring_send,
	.send_file = uring_send_file,
	.shutdown = uring_shutdown,
	.close = uring_close,
	.progress = uring_progress,
	.wake = uring_wake,
	.describe = uring_describe,
	.figures = uring_figures,
};
