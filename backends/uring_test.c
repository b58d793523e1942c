/*
 * uring_test.c - the self-test of a ring: each operation that serving needs is tried, as serving will use it with the
 * features that are in effect. On the thread that will wait on the ring, once, when it is made.
 *
 * A ring that was set up proves little: a seccomp filter can allow io_uring_setup and deny io_uring_enter, and versions do
 * not say what a distribution has taken out.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "uring.h"

/* How long one operation may take; all of them complete at once on a ring that works. */
#define URING_TEST_MS 2000

int uring_test_wait(struct uring *uring, struct io_uring_cqe *cqe)
{
	int ret;

	uring_publish(uring);
	do {
		ret = uring_enter(uring, 1, URING_TEST_MS);
	} while (ret == -EINTR);
	if (ret)
		return ret;
	if (!uring_completed(uring))
		return -ETIME;
	/* By member: the structure ends with a flexible array. */
	cqe->user_data = uring->cqes[uring->cq_head & uring->cq_mask].user_data;
	cqe->res = uring->cqes[uring->cq_head & uring->cq_mask].res;
	cqe->flags = uring->cqes[uring->cq_head & uring->cq_mask].flags;
	uring_seen(uring);
	return 0;
}

/* Awaits the only completion, or the first of several, of what was queued. Its result, or -errno of the ring. */
static int uring_test(struct uring *uring, struct io_uring_cqe *cqe)
{
	int ret = uring_test_wait(uring, cqe);

	return ret ? ret : cqe->res;
}

/* Cancels what was submitted with the user_data which, and sees both completions. */
static int uring_test_cancel(struct uring *uring, uint64_t which)
{
	struct io_uring_cqe cqe;
	int cancelled = 0;

	uring_cancel(uring, which, URING_TEST);
	for (int i = 0; i < 2; i++) {
		int ret = uring_test_wait(uring, &cqe);

		if (ret)
			return ret;
		if (cqe.user_data == which)
			cancelled = cqe.res;
		else if (cqe.res < 0)
			return cqe.res;
	}
	return cancelled == -ECANCELED ? 0 : -EPROTO;
}

/* As connections receive: what is written to the other end of a socket pair is found where it should be. */
static int uring_test_recv(struct uring *uring, const int pair[2], bool multishot)
{
	const struct uring_receive *receive = &uring->receive[multishot];
	const uint64_t which = 1 << 4 | URING_TEST;
	static const char text[] = "loom";
	const void *bytes = uring->scratch;
	struct io_uring_cqe cqe = { 0 };
	unsigned index = 0;
	int ret;

	if (send(pair[1], text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
		return -errno;
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = receive->opcode,
		.flags = receive->flags,
		.ioprio = receive->ioprio,
		.fd = pair[0],
		.len = receive->len,
		.poll32_events = receive->events,
		.buf_group = receive->group,
		.file_index = receive->cap,
		.user_data = which,
	};
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		return ret;
	if (uring->polls) {
		ret = recv(pair[0], uring->scratch, IO_RECV_MAX, MSG_DONTWAIT);
	} else {
		index = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
		if (!(cqe.flags & IORING_CQE_F_BUFFER) ||
		    index >= uring->singles + uring->io.features.uring.buf_count ||
		    (index < uring->singles) == multishot)
			return -EPROTO;
		bytes = uring_buffer(uring, index) + uring->held[index].used;
	}
	if (ret != sizeof(text) || memcmp(bytes, text, sizeof(text)) != 0)
		return -EPROTO;
	if (uring->inc && cqe.flags & URING_CQE_F_BUF_MORE)
		uring->held[index].used += ret;
	else if (uring->inc)
		return -EOPNOTSUPP; /* all of the buffer was given for five bytes */
	else if (!uring->polls)
		uring_give_back(uring, index);
	if (!(cqe.flags & IORING_CQE_F_MORE))
		return multishot ? -EINVAL : 0;
	return uring_test_cancel(uring, which);
}

/* The length of a multishot came with the kernel that has recv-cap; before, the field must be 0. */
static int uring_test_cap(struct uring *uring, const int pair[2])
{
	struct io_uring_cqe cqe;
	int ret;

	if (send(pair[1], "!", 1, MSG_NOSIGNAL) != 1)
		return -errno;
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_RECV,
		.flags = IOSQE_BUFFER_SELECT,
		.ioprio = IORING_RECV_MULTISHOT,
		.fd = pair[0],
		.buf_group = URING_SHARED,
		.file_index = 1, /* in its place: one byte, and no more */
		.user_data = URING_TEST,
	};
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		return ret == -EINVAL ? -EOPNOTSUPP : ret;
	uring_give_back(uring, cqe.flags >> IORING_CQE_BUFFER_SHIFT);
	return cqe.flags & IORING_CQE_F_MORE ? -EOPNOTSUPP : 0;
}

/*
 * Two connections of the table, as files=direct has them: one with a receive that goes on, the other closed. Where the latter's
 * peer hears nothing, a file stays open until all receives that began earlier have ended (before 6.13).
 */
static int uring_test_direct(struct uring *uring, const int pair[2])
{
	const uint64_t which = 3 << 4 | URING_TEST;
	struct io_uring_cqe cqe;
	int other[2], ret;
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other))
		return -errno;
	ret = -EMFILE;
	for (unsigned i = 0; i < 2; i++) {
		int fd = i ? other[0] : pair[0];

		if ((unsigned)fd >= uring->table)
			goto out;
		*uring_sqe(uring) = (struct io_uring_sqe){
			.opcode = IORING_OP_FILES_UPDATE,
			.fd = -1,
			.off = fd,
			.addr = (uintptr_t)&fd,
			.len = 1,
			.user_data = URING_TEST,
		};
		ret = uring_test(uring, &cqe);
		if (ret < 0)
			goto out;
	}
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD,
		.flags = IOSQE_FIXED_FILE,
		.fd = pair[0],
		.poll32_events = __io_uring_prep_poll_mask(POLLIN),
		.user_data = which,
	};
	for (unsigned i = 0; i < 2; i++) {
		*uring_sqe(uring) = (struct io_uring_sqe){
			.opcode = IORING_OP_CLOSE,
			.fd = i ? other[0] : 0,
			.file_index = i ? 0 : other[0] + 1,
			.user_data = URING_TEST,
		};
		ret = uring_test(uring, &cqe);
		if (ret < 0)
			goto out;
	}
	other[0] = -1;
	ret = recv(other[1], &byte, 1, MSG_DONTWAIT) == 0 ? uring_test_cancel(uring, which) : -EOPNOTSUPP;
	if (ret == 0) {
		*uring_sqe(uring) = (struct io_uring_sqe){
			.opcode = IORING_OP_CLOSE,
			.file_index = pair[0] + 1,
			.user_data = URING_TEST,
		};
		ret = uring_test(uring, &cqe);
	}
out:
	if (other[0] >= 0)
		close(other[0]);
	close(other[1]);
	return ret < 0 ? ret : 0;
}

/* A send without a copy has two completions, the second of which says whether it was one. Over TCP: Unix sockets copy. */
static int uring_test_zc(struct uring *uring)
{
	const bool fixed = uring->io.features.uring.zc == ZC_FIXED; /* whatever lies there now */
	static const char text[] = "loom";
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address);
	struct io_uring_cqe cqe;
	int ret = -EACCES;

	(void)len;
	/* Behind the sandbox's filter there are no such sockets: the start has tried it before, with the probe. */
	if (listener < 0 || client < 0) {
		ret = errno == EPERM || errno == EAFNOSUPPORT ? 0 : -errno;
		goto out;
	}
	if (bind(listener, (struct sockaddr *)&address, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &len) ||
	    connect(client, (struct sockaddr *)&address, len)) {
		ret = errno == EACCES || errno == EPERM ? 0 : -errno;
		goto out;
	}
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND_ZC,
		.ioprio = IORING_SEND_ZC_REPORT_USAGE | (fixed ? IORING_RECVSEND_FIXED_BUF : 0),
		.fd = client,
		.addr = (uintptr_t)(fixed ? uring->registered.iov_base : text),
		.len = sizeof(text),
		.msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
		.user_data = URING_TEST,
	};
	ret = uring_test(uring, &cqe);
	if (ret > 0 && cqe.flags & IORING_CQE_F_MORE) {
		ret = uring_test_wait(uring, &cqe);
		if (ret == 0 && !(cqe.flags & IORING_CQE_F_NOTIF))
			ret = -EPROTO;
	}
out:
	if (listener >= 0)
		close(listener);
	if (client >= 0)
		close(client);
	return ret < 0 ? ret : 0;
}

static int uring_test_accept(struct uring *uring)
{
	const uint64_t which = 2 << 4 | URING_TEST;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(address);
	struct io_uring_cqe cqe = { 0 }, closed;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret = -1;

	/* An address of the family alone binds to a fresh abstract one: no name to clash with, no file to leave behind. */
	if (listener < 0 || client < 0 || bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&address, &len) ||
	    connect(client, (struct sockaddr *)&address, len)) {
		ret = -errno;
		goto out;
	}
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_ACCEPT,
		.ioprio = uring->accepts,
		.fd = listener,
		.accept_flags = SOCK_CLOEXEC,
		.user_data = which,
	};
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		goto out;
	/* Its descriptor is closed as connections are. */
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_CLOSE,
		.fd = ret,
		.user_data = URING_TEST,
	};
	ret = uring_test(uring, &closed);
	if (ret < 0)
		goto out;
	ret = 0;
	if (uring->accepts)
		ret = cqe.flags & IORING_CQE_F_MORE ? uring_test_cancel(uring, which) : -EINVAL;
out:
	if (listener >= 0)
		close(listener);
	if (client >= 0)
		close(client);
	return ret;
}

static int uring_test_send(struct uring *uring, const int pair[2])
{
	static char text[] = "loom";
	struct iovec iov[2] = { { text, 2 }, { text + 2, 2 } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	struct io_uring_cqe cqe;
	char back[8];
	int ret;

	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND,
		.fd = pair[0],
		.addr = (uintptr_t)text,
		.len = 4,
		.msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
		.user_data = URING_TEST,
	};
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		return ret;
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = uring->send_vec ? IORING_OP_SEND : IORING_OP_SENDMSG,
		.ioprio = uring->send_vec ? IORING_SEND_VECTORIZED : 0,
		.fd = pair[0],
		.addr = uring->send_vec ? (uintptr_t)iov : (uintptr_t)&message,
		.len = uring->send_vec ? 2 : 1,
		.msg_flags = MSG_NOSIGNAL | MSG_WAITALL,
		.user_data = URING_TEST,
	};
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		return ret;
	if (recv(pair[1], back, sizeof(back), MSG_DONTWAIT) != 8 || memcmp(back, "loomloom", 8) != 0)
		return -EPROTO;
	return 0;
}

/* Receives of both kinds, and what goes with them. */
static int uring_test_recvs(struct uring *uring, const int pair[2], const char **what)
{
	const struct features *features = &uring->io.features;
	int ret;

	*what = "the self-test's receive";
	ret = uring_test_recv(uring, pair, false);
	if (ret == 0 && uring->multishot) {
		*what = "the self-test's multishot receive";
		ret = uring_test_recv(uring, pair, true);
		/* Linux 5.19: each receive is one-shot, unless somebody has asked for what is not there. */
		if (ret == -EINVAL && !features_asked(features, &features->uring.recv) &&
		    !features->uring.recv_bundle && !features->uring.recv_cap) {
			uring->multishot = false;
			uring->io.features.uring.recv = RECV_ONESHOT;
			ret = 0;
		}
	}
	if (ret == 0 && features->uring.recv_cap) {
		*what = "the self-test's capped receive";
		ret = uring_test_cap(uring, pair);
	}
	return ret;
}

int uring_self_test(struct uring *uring, const char **what)
{
	struct io_uring_cqe cqe;
	int pair[2];
	int ret;

	*what = "io_uring_enter";
	*uring_sqe(uring) = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = URING_TEST };
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		return ret;
	*what = "socketpair";
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = uring_test_recvs(uring, pair, what);
	if (ret == 0) {
		*what = "the self-test's send";
		ret = uring_test_send(uring, pair);
	}
	if (ret == 0 && uring->direct) {
		*what = "the self-test of registered files";
		ret = uring_test_direct(uring, pair);
	}
	close(pair[0]);
	close(pair[1]);
	if (ret == 0 && uring->zc) {
		*what = "the self-test's send without a copy";
		ret = uring_test_zc(uring);
	}
	if (ret == 0) {
		*what = "the self-test's accept";
		ret = uring_test_accept(uring);
	}
	if (ret == 0) {
		*what = "the self-test's read of an eventfd";
		eventfd_write(uring->wake_fd, 1);
		*uring_sqe(uring) = (struct io_uring_sqe){
			.opcode = IORING_OP_READ,
			.fd = uring->wake_fd,
			.addr = (uintptr_t)&uring->wake_value,
			.len = sizeof(uring->wake_value),
			.user_data = URING_TEST,
		};
		ret = uring_test(uring, &cqe);
		ret = ret < 0 ? ret : 0;
	}
	return ret;
}
