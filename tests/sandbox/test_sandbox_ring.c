/*
 * test_sandbox_ring.c - a ring carries operations past the filters; so a worker's ring takes those that loom uses, and no
 * others. On the ring that the backend makes, with what lies behind io.h, as no operation of io.h can do the forbidden.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "acts.h"
#include "loom/io.h"

#ifdef HAVE_LIBURING
#include "uring.h"

static struct uring *ring;
static unsigned opcode, sqe_flags;

/* The result of one operation, whose other members are harmless zeroes. -EACCES: it is not on the ring's list. */
static int submit(void)
{
	struct io_uring_cqe *cqe;
	int res = -ETIME;

	while (uring_completed(ring))
		uring_seen(ring); /* a second completion of the one before */
	*uring_sqe(ring) = (struct io_uring_sqe){ .opcode = (uint8_t)opcode, .flags = (uint8_t)sqe_flags, .fd = -1 };
	if (uring_enter(ring, 1, 5000) == 0 && uring_completed(ring)) {
		cqe = &ring->cqes[ring->cq_head & ring->cq_mask];
		res = cqe->res;
		uring_seen(ring);
	}
	return -res;
}

static int submit_open(void)
{
	struct io_uring_cqe *cqe;
	int res;

	*uring_sqe(ring) = (struct io_uring_sqe){
		.opcode = IORING_OP_OPENAT,
		.fd = AT_FDCWD,
		.addr = (uintptr_t)at("site/root/index.html"),
		.open_flags = O_RDONLY,
	};
	if (uring_enter(ring, 1, 5000) || !uring_completed(ring))
		return ETIME;
	cqe = &ring->cqes[ring->cq_head & ring->cq_mask];
	res = cqe->res;
	uring_seen(ring);
	return res < 0 ? -res : 0;
}

static int register_file(void)
{
	int fd = 0;

	return syscall(SYS_io_uring_register, ring->ring.ring_fd, IORING_REGISTER_FILES, &fd, 1) < 0 ? errno : 0;
}

static act *inside;
static bool contain;

/*
 * Each operation that there is: 0 when the ring takes those of the list and no others, and the flags likewise. 200 and
 * more: the one that is wrong.
 */
static const uint8_t *allowed;
static unsigned allowed_flags;

static int submit_all(void)
{
	for (opcode = 0; opcode < IORING_OP_LAST; opcode++) {
		bool expected = memchr(allowed, (int)opcode, strlen((const char *)allowed + 1) + 1) != NULL;

		if ((submit() != EACCES) != expected)
			return 100 + (int)opcode;
	}
	opcode = IORING_OP_READ; /* which knows all flags */
	for (sqe_flags = 1; sqe_flags < 128; sqe_flags <<= 1)
		if ((submit() != EACCES) != !!(allowed_flags & sqe_flags))
			return 200 + __builtin_ctz(sqe_flags);
	return 0;
}

static const char *asked = ""; /* as --uring has it */
static bool files = true;

/* On the thread that has the ring, which is the only one that may submit. */
static int with_a_ring(void)
{
	struct features features = features_standard;
	const struct io_config config = {
		.conns = 16, .listeners = 1, .files = files, .contain = contain, .features = &features
	};
	struct io *io;
	char why[512];

	/* The probe of a start, outside of the sandbox, is what tries sends without a copy. */
	if (*asked && features_parse(&features, FEATURE_URING, asked, why, sizeof(why)))
		return 242;
	if (io_create(io_backends[0], &io, &config, why, sizeof(why)) < 0) {
		fprintf(stderr, "%s\n", why);
		return 240;
	}
	if (io->limits != (contain ? IO_LIMITED : IO_UNLIMITED))
		return 241;
	ring = (struct uring *)io;
	if (inside != register_file) /* which the filter would refuse before the ring does */
		sandbox_thread(SANDBOX_WORKER);
	return inside();
}

static int in_a_worker(bool limited, act *what)
{
	struct options options = standard();

	contain = limited;
	inside = what;
	return attempt(&options, SANDBOX_ALL, with_a_ring);
}

START_TEST(a_ring_takes_what_loom_uses)
{
	static const unsigned used[] = { IORING_OP_NOP,   IORING_OP_ACCEPT,  IORING_OP_RECV,
		                         IORING_OP_SEND,  IORING_OP_SENDMSG, IORING_OP_ASYNC_CANCEL,
		                         IORING_OP_CLOSE, IORING_OP_READ,    IORING_OP_POLL_ADD };

	sqe_flags = 0;
	for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
		opcode = used[i];
		ck_assert_msg(in_a_worker(true, submit) != EACCES, "operation %u", opcode);
	}
	opcode = IORING_OP_NOP;
	ck_assert_int_eq(in_a_worker(true, submit), 0);
	sqe_flags = IOSQE_ASYNC;
	ck_assert_int_eq(in_a_worker(true, submit), 0);
}
END_TEST

START_TEST(a_ring_takes_nothing_else)
{
	static const unsigned forbidden[] = {
		IORING_OP_OPENAT,       IORING_OP_OPENAT2,    IORING_OP_CONNECT,     IORING_OP_SOCKET,
		IORING_OP_WRITE,        IORING_OP_READV,      IORING_OP_WRITEV,      IORING_OP_SPLICE,
		IORING_OP_UNLINKAT,     IORING_OP_RENAMEAT,   IORING_OP_MKDIRAT,     IORING_OP_SYMLINKAT,
		IORING_OP_STATX,        IORING_OP_FALLOCATE,  IORING_OP_MADVISE,     IORING_OP_URING_CMD,
		IORING_OP_SHUTDOWN,     IORING_OP_MSG_RING,   IORING_OP_SETXATTR,    IORING_OP_EPOLL_CTL,
		IORING_OP_FILES_UPDATE, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_PROVIDE_BUFFERS,
		IORING_OP_LINK_TIMEOUT, IORING_OP_TIMEOUT,    IORING_OP_SEND_ZC,     IORING_OP_TEE,
	};

	sqe_flags = 0;
	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		opcode = forbidden[i];
		ck_assert_msg(in_a_worker(true, submit) == EACCES, "operation %u", opcode);
	}
	/* It is the list that refuses: Landlock lets the file be read, and so does a ring without a list. */
	ck_assert_int_eq(in_a_worker(true, submit_open), EACCES);
	ck_assert_int_eq(in_a_worker(false, submit_open), 0);
	opcode = IORING_OP_NOP;
	sqe_flags = IOSQE_IO_LINK;
	ck_assert_int_eq(in_a_worker(true, submit), EACCES);
	sqe_flags = IOSQE_FIXED_FILE;
	ck_assert_int_eq(in_a_worker(true, submit), EACCES);
}
END_TEST

/* What is always there, without IORING_OP_NOP, which is 0 and is the first of each list. */
#define ALWAYS IORING_OP_ACCEPT, IORING_OP_SEND, IORING_OP_READ, IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE

static const struct {
	const char *asked;
	bool files;
	uint8_t operations[16]; /* NOP, and then as a string */
	unsigned flags;
} lists[] = {
	{ "",
	  true,
	  { 0, ALWAYS, IORING_OP_RECV, IORING_OP_SENDMSG, IORING_OP_POLL_ADD },
	  IOSQE_BUFFER_SELECT | IOSQE_ASYNC },
	{ "", false, { 0, ALWAYS, IORING_OP_RECV, IORING_OP_SENDMSG }, IOSQE_BUFFER_SELECT },
	{ "recv=poll", false, { 0, ALWAYS, IORING_OP_SENDMSG, IORING_OP_POLL_ADD }, 0 },
	{ "send-vec", false, { 0, ALWAYS, IORING_OP_RECV }, IOSQE_BUFFER_SELECT },
	{ "zc=on", false, { 0, ALWAYS, IORING_OP_RECV, IORING_OP_SENDMSG, IORING_OP_SEND_ZC }, IOSQE_BUFFER_SELECT },
	{ "zc=fixed", false, { 0, ALWAYS, IORING_OP_RECV, IORING_OP_SENDMSG, IORING_OP_SEND_ZC }, IOSQE_BUFFER_SELECT },
	{ "files=direct",
	  false,
	  { 0, ALWAYS, IORING_OP_RECV, IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_FILES_UPDATE },
	  IOSQE_BUFFER_SELECT | IOSQE_FIXED_FILE },
};

START_TEST(a_ring_takes_exactly_what_its_features_use)
{
	int status;

	asked = lists[_i].asked;
	files = lists[_i].files;
	allowed = lists[_i].operations;
	allowed_flags = lists[_i].flags;
	sqe_flags = 0;
	status = in_a_worker(true, submit_all);
	if (status == 240) {
		printf("SKIP: %s cannot be had here\n", asked);
		return;
	}
	ck_assert_msg(status == 0, "--uring '%s': %s %d", asked, status >= 200 ? "flag" : "operation",
	              status >= 200 ? status - 200 : status - 100);
}
END_TEST

START_TEST(nothing_more_is_registered)
{
	ck_assert_int_eq(in_a_worker(true, register_file), EACCES);
	ck_assert_int_eq(in_a_worker(false, register_file), 0);
}
END_TEST

Suite *ring_suite(void)
{
	Suite *suite = suite_create("ring");
	TCase *rings = tcase_create("rings");
	char why[512];

	if (io_backends[0]->probe(NULL, why, sizeof(why)) < 0) {
		printf("SKIP: %s\n", why);
		return suite;
	}
	tcase_set_timeout(rings, PATIENCE);
	tcase_add_checked_fixture(rings, make_place, remove_place);
	tcase_add_test(rings, a_ring_takes_what_loom_uses);
	tcase_add_test(rings, a_ring_takes_nothing_else);
	tcase_add_loop_test(rings, a_ring_takes_exactly_what_its_features_use, 0, sizeof(lists) / sizeof(lists[0]));
	tcase_add_test(rings, nothing_more_is_registered);
	suite_add_tcase(suite, rings);
	return suite;
}

#else

Suite *ring_suite(void)
{
	printf("SKIP: built without liburing\n");
	return suite_create("ring");
}

#endif
