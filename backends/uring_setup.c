/*
 * uring_setup.c - creates a ring, tests it, and explains what could not be had. On the thread that will wait on the
 * ring; runs once at start, so it may allocate.
 *
 * The probe is a creation that is undone. Every creation ends with a self-test that tries each operation that serving
 * needs: a ring that was set up proves little, for a seccomp filter can allow io_uring_setup and deny io_uring_enter,
 * and versions do not say what a distribution has taken out.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "uring.h"

#if __has_include(<liburing/io_uring_version.h>)
#include <liburing/io_uring_version.h>
#define URING_TEXT_OF(x) #x
#define URING_TEXT(x)    URING_TEXT_OF(x)
const char io_uring_library[] = URING_TEXT(IO_URING_VERSION_MAJOR) "." URING_TEXT(IO_URING_VERSION_MINOR);
#else
const char io_uring_library[] = "2.3"; /* the last without a version, and the oldest that the build takes */
#endif

/* How long one operation of the self-test may take; all of them complete at once on a ring that works. */
#define URING_TEST_MS 2000

/* How long the kernel may take to give back the memory of rings that were closed. */
#define URING_TEARDOWN_MS 50

/* What is tried in turn, until the kernel knows all flags. The kernel versions that know them are in the names. */
static const struct {
	unsigned flags;
	const char *name;
} uring_rungs[] = {
	/* Completions run when the thread that waits asks for them: Linux 6.1 */
	{ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "defer-taskrun" },
	/* They run at its next system call, instead of interrupting it: 5.19 */
	{ IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, "coop-taskrun" },
	{ 0, "plain" },
};

#define URING_RUNGS    (sizeof(uring_rungs) / sizeof(uring_rungs[0]))
#define URING_COMMON   (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL)
#define URING_FEATURES (IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG)

static int uring_disabled(void)
{
	FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

/* One line: what was tried, how it failed, what that means here and what to do. Returns err, a -errno. */
static int uring_explain(int err, const char *what, char *why, size_t size)
{
	char cause[200] = "";
	struct utsname os = { .release = "?" };
	struct rlimit limit = { 0 };
	int disabled;

	uname(&os);
	switch (err) {
	case -ENOSYS:
		snprintf(cause, sizeof(cause),
		         "this kernel (%s) is built without io_uring, or a seccomp filter hides it: "
		         "allow io_uring_setup, io_uring_enter and io_uring_register",
		         os.release);
		break;
	case -EPERM:
	case -EACCES:
		disabled = uring_disabled();
		if (disabled == 2)
			snprintf(cause, sizeof(cause), "it is switched off: sysctl kernel.io_uring_disabled=0");
		else if (disabled == 1 && geteuid() != 0)
			snprintf(cause, sizeof(cause),
			         "kernel.io_uring_disabled=1 keeps it for privileged users: "
			         "set it to 0, or put this user's group into kernel.io_uring_group");
		else
			snprintf(cause, sizeof(cause),
			         "a seccomp filter, such as a container's default one, or a security "
			         "module denies it: allow io_uring_setup, io_uring_enter and io_uring_register");
		break;
	case -ENOMEM:
		getrlimit(RLIMIT_MEMLOCK, &limit);
		snprintf(cause, sizeof(cause),
		         "the limit on locked memory is %llu KiB for all of this user's rings: raise it "
		         "(ulimit -l, LimitMEMLOCK=), or use fewer workers",
		         (unsigned long long)limit.rlim_cur / 1024);
		break;
	case -EMFILE:
	case -ENFILE:
		snprintf(cause, sizeof(cause), "raise the limit on open files (ulimit -n, LimitNOFILE=)");
		break;
	case -EINVAL:
	case -EOPNOTSUPP:
		snprintf(cause, sizeof(cause), "Linux 5.19 or newer is needed, this is %s", os.release);
		break;
	case -ETIME:
		snprintf(cause, sizeof(cause), "it did not complete; please report this, with the kernel's version, %s",
		         os.release);
		break;
	}
	snprintf(why, size, "io_uring cannot be used: %s: %s%s%s%s", what, strerror(-err), *cause ? " (" : "", cause,
	         *cause ? ")" : "");
	return err;
}

/* The largest ring up to what is useful, on the highest rung of the ladder that can be had. */
static int uring_setup(struct uring *uring, const struct io_config *config)
{
	unsigned cq = URING_CQ_MIN;
	unsigned sq, rung = URING_FIRST_RUNG, waited = 0;

	while (cq < URING_CQ_MAX && cq < 4ULL * config->conns)
		cq *= 2;
	sq = cq / 2 < URING_SQ_ENTRIES ? cq / 2 : URING_SQ_ENTRIES;
	for (;;) {
		struct io_uring_params params = {
			.flags = uring_rungs[rung].flags | URING_COMMON |
			         (config->contain ? IORING_SETUP_R_DISABLED : 0),
			.cq_entries = cq,
		};
		int ret = io_uring_queue_init_params(sq, &uring->ring, &params);

		if (ret == 0) {
			uring->setup_flags = params.flags;
			return 0;
		}
		if (ret == -EINVAL && rung + 1 < URING_RUNGS) {
			rung++;
		} else if (ret == -ENOMEM && waited < URING_TEARDOWN_MS) {
			/* The memory of a ring that was closed, by the probe for one, is only given back after a while. */
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
			waited += 10;
		} else if (ret == -ENOMEM && cq > URING_CQ_MIN) {
			cq /= 2;
			sq = cq / 2 < sq ? cq / 2 : sq;
		} else {
			uring->ring.ring_fd = -1;
			return ret;
		}
	}
}

static void uring_map(struct uring *uring)
{
	const struct io_uring *ring = &uring->ring;

	uring->sqes = ring->sq.sqes;
	uring->sq_mask = ring->sq.ring_mask;
	uring->sq_entries = ring->sq.ring_entries;
	uring->cqes = ring->cq.cqes;
	uring->cq_mask = ring->cq.ring_mask;
	/* The index array has no use for a queue that is submitted in order: set once, it is never looked at again. */
	for (unsigned i = 0; i < uring->sq_entries; i++)
		ring->sq.array[i] = i;
	uring->enter_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
	if (ring->features & IORING_FEAT_NO_IOWAIT)
		uring->enter_flags |= IORING_ENTER_NO_IOWAIT;
}

/* The buffers and, in pages of their own behind them, the two rings that offer them to the kernel. */
static int uring_map_buffers(struct uring *uring)
{
	const unsigned entries[URING_GROUPS] = { URING_SINGLE_BUFFERS, URING_SHARED_BUFFERS };
	size_t page = sysconf(_SC_PAGESIZE);
	size_t sizes[URING_GROUPS];
	uint8_t *memory;

	uring->memory_size = (size_t)URING_BUFFERS * URING_BUFFER_SIZE;
	uring->memory_size = (uring->memory_size + page - 1) / page * page;
	for (unsigned i = 0; i < URING_GROUPS; i++) {
		sizes[i] = (entries[i] * sizeof(struct io_uring_buf) + page - 1) / page * page;
		uring->memory_size += sizes[i];
	}
	memory = mmap(NULL, uring->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	uring->buffers = memory;
	memory += uring->memory_size;
	for (unsigned i = 0; i < URING_GROUPS; i++) {
		memory -= sizes[i];
		uring->group[i].ring = (struct io_uring_buf_ring *)memory;
		uring->group[i].mask = entries[i] - 1;
	}
	for (unsigned i = 0; i < URING_BUFFERS; i++)
		uring_give_back(uring, i);
	uring_publish(uring);

	for (unsigned i = 0; i < URING_GROUPS; i++) {
		struct io_uring_buf_reg reg = {
			.ring_addr = (uintptr_t)uring->group[i].ring,
			.ring_entries = entries[i],
			.bgid = i,
		};
		int ret = io_uring_register_buf_ring(&uring->ring, &reg, 0);

		if (ret)
			return ret;
	}
	return 0;
}

/* The system call: liburing declares what is done with it here, and its shared library 2.3 does not have it. */
static int uring_register(const struct uring *uring, unsigned opcode, void *argument, unsigned n)
{
	return syscall(__NR_io_uring_register, uring->ring.ring_fd, opcode, argument, n) < 0 ? -errno : 0;
}

/*
 * Limits the ring to what this backend submits: no filter of system calls sees what a ring does, and it could open, connect
 * and much more. Nothing can be registered any more. The ring was made disabled, since a ring that runs cannot be limited,
 * and is enabled here, by the thread that will be the only one to submit (IORING_SETUP_SINGLE_ISSUER counts from now on).
 * A kernel that cannot limit it (before 5.10, or without it) goes on without; io.limits says so.
 */
static int uring_contain(struct uring *uring)
{
	static const uint8_t opcodes[] = { IORING_OP_NOP,          IORING_OP_ACCEPT, IORING_OP_RECV,
		                           IORING_OP_SEND,         IORING_OP_READ,   IORING_OP_SENDMSG,
		                           IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,  IORING_OP_POLL_ADD };
	struct io_uring_restriction allowed[sizeof(opcodes) + 1] = { 0 };
	unsigned n;

	for (n = 0; n < sizeof(opcodes); n++) {
		allowed[n].opcode = IORING_RESTRICTION_SQE_OP;
		allowed[n].sqe_op = opcodes[n];
	}
	allowed[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	allowed[n++].sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_ASYNC;
	uring->io.limits = uring_register(uring, IORING_REGISTER_RESTRICTIONS, allowed, n) == 0 ? IO_LIMITED
	                                                                                        : IO_UNLIMITABLE;
	return uring_register(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* The next completion of the self-test: 0 with *cqe a copy, or -errno. */
static int uring_test_wait(struct uring *uring, struct io_uring_cqe *cqe)
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

/* Receives what is written to the other end of a socket pair, and finds it in a buffer of the right group. */
static int uring_test_recv(struct uring *uring, const int pair[2], bool multishot)
{
	const uint64_t which = 1 << 4 | URING_TEST;
	static const char text[] = "loom";
	struct io_uring_cqe cqe;
	unsigned index;
	int ret;

	if (send(pair[1], text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
		return -errno;
	*uring_sqe(uring) = (struct io_uring_sqe){
		.opcode = IORING_OP_RECV,
		.flags = IOSQE_BUFFER_SELECT,
		.ioprio = multishot ? IORING_RECV_MULTISHOT : 0,
		.fd = pair[0],
		.len = multishot ? 0 : URING_BUFFER_SIZE,
		.buf_group = multishot ? URING_SHARED : URING_SINGLE,
		.user_data = which,
	};
	ret = uring_test(uring, &cqe);
	if (ret < 0)
		return ret;
	index = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
	if (ret != sizeof(text) || !(cqe.flags & IORING_CQE_F_BUFFER) || index >= URING_BUFFERS ||
	    (index < URING_SINGLE_BUFFERS) == multishot || memcmp(uring_buffer(uring, index), text, sizeof(text)) != 0)
		return -EPROTO;
	uring_give_back(uring, index);
	if (!(cqe.flags & IORING_CQE_F_MORE))
		return multishot ? -EINVAL : 0;
	return uring_test_cancel(uring, which);
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
		.ioprio = IORING_ACCEPT_MULTISHOT,
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
		.opcode = IORING_OP_SENDMSG,
		.fd = pair[0],
		.addr = (uintptr_t)&message,
		.len = 1,
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

/* Tries each operation that serving needs, as serving will use it. 0, or -errno with *what the one that failed. */
static int uring_self_test(struct uring *uring, const char **what)
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
	*what = "the self-test's receive";
	ret = uring_test_recv(uring, pair, false);
	if (ret == 0) {
		*what = "the self-test's multishot receive";
		ret = uring_test_recv(uring, pair, true);
		uring->multishot = ret == 0;
		if (ret == -EINVAL)
			ret = 0; /* Linux 5.19: each receive is one-shot */
	}
	if (ret == 0) {
		*what = "the self-test's send";
		ret = uring_test_send(uring, pair);
	}
	close(pair[0]);
	close(pair[1]);
	if (ret == 0) {
		*what = "the self-test's multishot accept";
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

int uring_create(struct io **io, const struct io_config *config, char *why, size_t size)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	const char *what = "memory for it";
	int ret = -ENOMEM;

	assert(config->conns >= 1 && config->listeners >= 1);
	if (!uring) {
		snprintf(why, size, "io_uring cannot be used: %s: %s", what, strerror(ENOMEM));
		return ret;
	}
	uring->io.ops = &io_uring_ops;
	uring->conns = config->conns;
	uring->lent = -1;
	uring->accepted = -1;
	uring->ring.ring_fd = -1;
	uring->wake_fd = -1;

	what = "io_uring_setup";
	ret = uring_setup(uring, config);
	if (ret)
		goto fail;
	what = "io_uring_setup's features";
	ret = -EOPNOTSUPP;
	if ((uring->ring.features & URING_FEATURES) != URING_FEATURES)
		goto fail;
	uring_map(uring);
	what = "buffer rings";
	ret = uring_map_buffers(uring);
	if (ret)
		goto fail;
	what = "io_uring_register's enabling of a restricted ring";
	ret = config->contain ? uring_contain(uring) : 0;
	if (ret)
		goto fail;
	what = "memory for it";
	ret = -ENOMEM;
	uring->message = calloc(uring->sq_entries, sizeof(*uring->message));
	uring->held = calloc(URING_BUFFERS, sizeof(*uring->held));
	if (!uring->message || !uring->held)
		goto fail;
	what = "eventfd";
	uring->wake_fd = eventfd(0, EFD_CLOEXEC); /* blocking, or the ring would not wait on it */
	ret = -errno;
	if (uring->wake_fd < 0)
		goto fail;
	ret = uring_self_test(uring, &what);
	if (ret)
		goto fail;
	what = "memory for sending files";
	ret = config->files ? uring_files_create(uring) : 0;
	if (ret)
		goto fail;
	uring->cq_end = uring->cq_head;
	*io = &uring->io;
	return 0;
fail:
	uring_explain(ret, what, why, size);
	uring_destroy(&uring->io);
	return ret;
}

void uring_destroy(struct io *io)
{
	struct uring *uring = uring_of(io);
	struct io_uring_cqe cqe;

	assert(!uring->open && !uring->swept);
	/* The kernel ends a closed ring in its own time; what may still write to our memory is ended here. */
	if (uring->wake_armed) {
		uring_cancel(uring, URING_WAKE, URING_TEST);
		while (uring_test_wait(uring, &cqe) == 0 && cqe.user_data != URING_WAKE)
			;
	}
	if (uring->ring.ring_fd >= 0)
		io_uring_queue_exit(&uring->ring);
	uring_files_destroy(uring);
	if (uring->buffers)
		munmap(uring->buffers, uring->memory_size);
	if (uring->wake_fd >= 0)
		close(uring->wake_fd);
	free(uring->message);
	free(uring->held);
	free(uring);
}

int uring_probe(char *why, size_t size)
{
	const struct io_config config = { .conns = 1, .listeners = 1 };
	struct io *io;
	int ret = uring_create(&io, &config, why, size);

	if (ret == 0)
		uring_destroy(io);
	return ret;
}

void uring_describe(struct io *io, char *text, size_t size)
{
	const struct uring *uring = uring_of(io);
	const char *rung = "";

	for (unsigned i = 0; i < URING_RUNGS; i++)
		if ((uring->setup_flags & ~(URING_COMMON | IORING_SETUP_R_DISABLED)) == uring_rungs[i].flags)
			rung = uring_rungs[i].name;
	snprintf(text, size, "%s, multishot accept%s, ring of %u/%u entries, %u x %u KiB receive buffers", rung,
	         uring->multishot ? " and receive" : "", uring->sq_entries, uring->ring.cq.ring_entries, URING_BUFFERS,
	         URING_BUFFER_SIZE / 1024);
}
