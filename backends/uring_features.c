/*
 * uring_features.c - from what was asked for (features.h) to what this ring does: what goes together, what follows, and the
 * plain values that the way of a request reads. On the thread that makes the ring, once.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uring.h"

int uring_register(const struct uring *uring, unsigned opcode, void *argument, unsigned n)
{
	int ret = syscall(__NR_io_uring_register, uring->ring.ring_fd, opcode, argument, n);

	return ret < 0 ? -errno : ret;
}

static int uring_refuse(char *why, size_t size, const char *reason)
{
	snprintf(why, size, "--uring: %s", reason);
	return -EINVAL;
}

/* What only multishot, or only one-shot receives can have. Where nothing was said, it follows. */
static int uring_resolve_recv(struct uring_features *uring, const struct features *asked, char *why, size_t size)
{
	bool said = features_asked(asked, &asked->uring.recv);

	if (uring->buf_inc && !said)
		uring->recv = RECV_ONESHOT;
	if (uring->buf_inc && uring->recv != RECV_ONESHOT)
		return uring_refuse(why, size,
		                    "buf-inc needs recv=oneshot: a receive that goes on would hold pieces of a buffer "
		                    "that all others share");
	if (uring->recv_bundle && uring->recv != RECV_MULTISHOT)
		return uring_refuse(why, size, "recv-bundle needs recv=multishot");
	if (uring->recv_cap && uring->recv != RECV_MULTISHOT)
		return uring_refuse(why, size, "recv-cap needs recv=multishot");
	if (uring->recv_poll_first && uring->recv == RECV_POLL)
		return uring_refuse(why, size,
		                    "recv-poll-first needs recv=multishot or recv=oneshot: with recv=poll "
		                    "there is a poll before each receive");
	if (uring->recv == RECV_POLL &&
	    (features_asked(asked, &asked->uring.buf_count) || features_asked(asked, &asked->uring.buf_size)))
		return uring_refuse(why, size,
		                    "buf-count and buf-size need recv=multishot or recv=oneshot: with recv=poll "
		                    "there is one buffer a worker");
	return 0;
}

int uring_resolve(struct uring_features *uring, const struct features *asked, char *why, size_t size)
{
	*uring = asked->uring;
	if (uring->sqpoll && !features_asked(asked, &asked->uring.taskrun))
		uring->taskrun = TASKRUN_NONE;
	if (uring->sqpoll && uring->taskrun != TASKRUN_NONE)
		return uring_refuse(why, size, "sqpoll needs taskrun=none: completions run on the kernel's thread");
	if (uring->entries && uring->cq_entries && uring->cq_entries < uring->entries)
		return uring_refuse(why, size, "cq-entries must be at least entries");
	if (features_asked(asked, &asked->uring.zc_min) && uring->zc == ZC_OFF)
		return uring_refuse(why, size, "zc-min needs zc=on or zc=fixed");
	return uring_resolve_recv(uring, asked, why, size);
}

/* How receives are submitted: one for a credit, and those that go on. */
static void uring_adopt_receives(struct uring *uring)
{
	const struct uring_features *features = &uring->io.features.uring;
	uint16_t first = features->recv_poll_first ? IORING_RECVSEND_POLL_FIRST : 0;

	uring->receive[false] = (struct uring_receive){
		.opcode = IORING_OP_RECV,
		.flags = IOSQE_BUFFER_SELECT,
		.ioprio = first,
		.group = URING_SINGLE,
		.len = features->buf_size,
	};
	uring->receive[true] = (struct uring_receive){
		.opcode = IORING_OP_RECV,
		.flags = IOSQE_BUFFER_SELECT,
		.ioprio = IORING_RECV_MULTISHOT | (features->recv_bundle ? IORING_RECVSEND_BUNDLE : 0),
		.group = URING_SHARED,
		.cap = features->recv_cap,
	};
	if (features->recv == RECV_POLL)
		uring->receive[false] = (struct uring_receive){
			.opcode = IORING_OP_POLL_ADD,
			.events = __io_uring_prep_poll_mask(POLLIN | POLLRDHUP),
		};
}

void uring_adopt(struct uring *uring)
{
	const struct uring_features *features = &uring->io.features.uring;

	uring->polls = features->recv == RECV_POLL;
	uring->multishot = features->recv == RECV_MULTISHOT;
	uring->bundles = features->recv_bundle;
	uring->inc = features->buf_inc;
	uring->send_inline = features->send == SEND_INLINE;
	uring->send_vec = features->send_vec;
	uring->sqpoll = features->sqpoll;
	uring->direct = features->files == FILES_DIRECT;
	uring->accepts = features->accept == ACCEPT_MULTISHOT ? IORING_ACCEPT_MULTISHOT : 0;
	uring->wait = features->wait;
	uring->wait_usec = features->wait_usec;
	uring->odd_wait = uring->sqpoll || uring->wait > 1;
	uring->zc = features->zc != ZC_OFF;
	uring->odd_send = uring->zc || uring->direct || uring->send_inline;
	uring->zc_min = uring->zc ? features->zc_min : SIZE_MAX;
	uring->odd_recv = uring->polls || uring->bundles || uring->inc;
	uring->buf_size = features->buf_size;
	uring->singles = uring->multishot ? URING_SINGLE_BUFFERS : features->buf_count;
	uring->scarce = features->buf_count / 2;
	uring_adopt_receives(uring);
}

/* A table for descriptors, each at the index of its own number. */
static int uring_register_table(struct uring *uring)
{
	struct rlimit limit = { .rlim_cur = URING_TABLE_MAX };
	struct io_uring_rsrc_register table = { .flags = IORING_RSRC_REGISTER_SPARSE };

	getrlimit(RLIMIT_NOFILE, &limit);
	uring->table = limit.rlim_cur < URING_TABLE_MAX ? limit.rlim_cur : URING_TABLE_MAX;
	table.nr = uring->table;
	return uring_register(uring, IORING_REGISTER_FILES2, &table, sizeof(table));
}

int uring_register_features(struct uring *uring, const char **what)
{
	const struct uring_features *features = &uring->io.features.uring;
	int ret;

	if (features->napi) {
		struct uring_napi napi = { .busy_poll_to = features->napi };

		*what = "IORING_REGISTER_NAPI";
		ret = uring_register(uring, URING_REGISTER_NAPI, &napi, 1);
		if (ret < 0)
			return ret;
	}
	if (features->zc == ZC_FIXED) {
		*what = "IORING_REGISTER_BUFFERS, 17 MiB of locked memory a worker (raise ulimit -l, LimitMEMLOCK=)";
		ret = uring_register(uring, IORING_REGISTER_BUFFERS, &uring->registered, 1);
		if (ret < 0)
			return ret;
	}
	if (features->files == FILES_DIRECT) {
		*what = "IORING_REGISTER_FILES2";
		ret = uring_register_table(uring);
		if (ret < 0)
			return ret;
	}
	*what = "IORING_FEAT_MIN_TIMEOUT";
	if (features->wait > 1 && !(uring->ring.features & IORING_FEAT_MIN_TIMEOUT))
		return -EOPNOTSUPP;
	*what = "IORING_FEAT_RECVSEND_BUNDLE";
	if (features->recv_bundle && !(uring->ring.features & IORING_FEAT_RECVSEND_BUNDLE))
		return -EOPNOTSUPP;
	if (features->ring_fd) {
		*what = "IORING_REGISTER_RING_FDS";
		ret = io_uring_register_ring_fd(&uring->ring);
		if (ret < 0)
			return ret;
		uring->enter_fd = uring->ring.enter_ring_fd;
		uring->fd_flags = IORING_ENTER_REGISTERED_RING;
		uring->enter_flags |= IORING_ENTER_REGISTERED_RING;
	}
	return 0;
}
