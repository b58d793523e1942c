/*
 * test_features.c - each feature that --uring and --epoll name does what it says: seen by what the kernel tells of a ring or
 * a set of epoll, by the backend's figures, or by what only goes with it. And what is refused is refused with its name.
 * Looks behind io.h, as no operation of io.h tells one way of doing a thing from another.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "epoll.h"
#ifdef HAVE_LIBURING
#include "test_features_uring.h"
#endif

static struct io *io, *made[16]; /* the one in use; and all, so that none is lost */
static struct io_conn conns[8];
static int peers[8];
static unsigned recvs, sents, accepts, releases, lents, most;
static const uint8_t *data, *last_data; /* of the last two receives */
static int length, last_length;
static char why[600];
static char body[1 << 20] __attribute__((aligned(4096)));
static struct iovec registered; /* of the next instance */

static int make(enum feature_option option, const char *text, bool contain)
{
	struct features features = features_standard;
	const struct io_config config = {
		.conns = 8,
		.listeners = 1,
		.features = &features,
		.contain = contain,
		.files = contain,
		.registered = registered,
	};
	const struct io_ops *ops = &io_epoll_ops;

#ifdef HAVE_LIBURING
	if (option == FEATURE_URING)
		ops = &io_uring_ops;
#endif
	ck_assert_msg(features_parse(&features, option, text, why, sizeof(why)) == 0, "%s", why);
	memset(conns, 0, sizeof(conns)); /* what was there before is left as it is: the process ends soon */
	for (unsigned i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		if (!made[i]) {
			int err = io_create(ops, &made[i], &config, why, sizeof(why));

			io = made[i];
			return err;
		}
	ck_abort_msg("too many instances");
}

static void start(enum feature_option option, const char *text)
{
	ck_assert_msg(make(option, text, false) == 0, "%s: %s", text, why);
}

/* A connection over TCP on loopback. */
static void open_conn(unsigned i)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(address);

	peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	ck_assert_int_eq(connect(peers[i], (struct sockaddr *)&address, len), 0);
	io_open(io, &conns[i], accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	close(listener);
}

static void turn(int timeout_ms)
{
	struct io_event event;

	ck_assert_int_eq(io_wait(io, timeout_ms), 0);
	while (io_next(io, &event)) {
		switch (event.op) {
		case IO_RECV:
			ck_assert_int_gt(event.res, 0);
			recvs++;
			last_data = data;
			last_length = length;
			data = event.data;
			length = event.res;
			most = (unsigned)event.res > most ? (unsigned)event.res : most;
			break;
		case IO_SENT:
			ck_assert_int_eq(event.res, 0);
			sents++;
			lents += event.data != NULL;
			break;
		case IO_ACCEPT:
			ck_assert_int_ge(event.res, 0);
			close(event.res);
			accepts++;
			break;
		case IO_RELEASED:
			releases++;
			break;
		default:
			break;
		}
	}
}

#define UNTIL(condition)                                                         \
	do {                                                                     \
		for (unsigned turns_ = 0; !(condition); turns_++) {              \
			ck_assert_msg(turns_ < 5000, "in vain: %s", #condition); \
			turn(5);                                                 \
		}                                                                \
	} while (0)

static void drain_peer(int fd, size_t n)
{
	static char buffer[65536];

	while (n) {
		ssize_t got = recv(fd, buffer, n < sizeof(buffer) ? n : sizeof(buffer), MSG_DONTWAIT);

		if (got > 0)
			n -= (size_t)got;
		else
			turn(1);
	}
}

/* Requests of 60 bytes, one after another, and answers of two pieces. */
static void serve(unsigned n, size_t size)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned before = recvs, sent = sents;
		struct iovec iov[2] = { { body, size / 2 }, { body, size - size / 2 } };

		io_recv(io, &conns[0]);
		ck_assert_int_eq(send(peers[0], body, 60, 0), 60);
		UNTIL(recvs > before);
		io_send(io, &conns[0], iov, 2);
		drain_peer(peers[0], size);
		UNTIL(sents > sent);
	}
}

static uint64_t figure(const char *name)
{
	for (unsigned i = 0; i < FIGURES_MAX && io->ops->figures[i].name; i++)
		if (strcmp(io->ops->figures[i].name, name) == 0)
			return io->figures[i];
	ck_abort_msg("no figure %s", name);
	return 0;
}

/* Counts what n requests add to a figure. */
static uint64_t grown(const char *name, unsigned n, size_t size)
{
	uint64_t before = figure(name);

	serve(n, size);
	return figure(name) - before;
}

/* What the kernel tells of a descriptor: "events: 201f" of the target tfd, say. */
static void fdinfo(int fd, char *text, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
}

static unsigned events_of(int target)
{
	char text[4096], line[64];
	const char *at;

	fdinfo(ep_of(io)->fd, text, sizeof(text));
	snprintf(line, sizeof(line), "tfd: %8d events: ", target);
	at = strstr(text, line);
	ck_assert_msg(at, "no '%s' in %s", line, text);
	return (unsigned)strtoul(at + strlen(line), NULL, 16);
}

START_TEST(trigger)
{
	start(FEATURE_EPOLL, "trigger=edge");
	open_conn(0);
	serve(3, 1000);
	ck_assert_uint_eq(events_of(conns[0].fd) & (EPOLLET | EPOLLOUT), EPOLLET | EPOLLOUT);
	start(FEATURE_EPOLL, "trigger=level");
	open_conn(0);
	serve(3, 1000);
	ck_assert_uint_eq(events_of(conns[0].fd) & (EPOLLET | EPOLLOUT), 0);
}
END_TEST

START_TEST(read_drain)
{
	for (unsigned i = 0; i < 2; i++) {
		start(FEATURE_EPOLL, i ? "read=drain" : "read=short");
		open_conn(0);
		serve(1, 100);
		/* Whether it still has to find out that there is no more. */
		ck_assert_int_eq(!!(conns[0].flags & CONN_READABLE), i);
	}
}
END_TEST

START_TEST(write_wait)
{
	uint64_t events[2];

	for (unsigned i = 0; i < 2; i++) {
		start(FEATURE_EPOLL, i ? "write=wait" : "write=first");
		open_conn(0);
		serve(1, 100);
		events[i] = grown("epoll_events", 20, 100);
	}
	/* One for the request, and one for the room; acknowledgements add to both. */
	ck_assert_uint_ge(events[1], events[0] + 15);
}
END_TEST

START_TEST(exclusive)
{
	for (unsigned i = 0; i < 2; i++) {
		struct io_listener listener = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0) };

		start(FEATURE_EPOLL, i ? "no-exclusive" : "exclusive");
		io_listen(io, &listener, true);
		ck_assert_int_eq(!(events_of(listener.fd) & EPOLLEXCLUSIVE), i);
	}
}
END_TEST

START_TEST(busy_poll)
{
	struct {
		uint32_t usec;
		uint16_t budget;
		uint8_t prefer, pad;
	} params = { 0 };

	if (make(FEATURE_EPOLL, "busy-poll=70", false) < 0) {
		ck_assert_msg(strstr(why, "--epoll: busy-poll cannot be had here"), "%s", why);
		printf("SKIP: %s\n", why);
		return;
	}
	ck_assert_int_eq(ioctl(ep_of(io)->fd, _IOR(0x8A, 0x02, params), &params), 0);
	ck_assert_uint_eq(params.usec, 70);
	open_conn(0);
	serve(3, 100);
}
END_TEST

#ifdef HAVE_LIBURING

static bool missing(const char *text)
{
	if (make(FEATURE_URING, text, false) == 0)
		return false;
	/* Refused in one line that names it; and then there is nothing to see. */
	ck_assert_msg(strncmp(why, "--uring: ", 9) == 0 && strstr(why, "cannot be had here"), "%s", why);
	printf("SKIP: %s\n", why);
	return true;
}

START_TEST(taskrun)
{
	static const struct {
		const char *text;
		unsigned flag;
	} rows[] = {
		{ "taskrun=defer", IORING_SETUP_DEFER_TASKRUN },
		{ "taskrun=coop", IORING_SETUP_COOP_TASKRUN },
		{ "taskrun=none", 0 },
	};

	for (unsigned i = 0; i < 3; i++) {
		if (missing(rows[i].text))
			continue;
		ck_assert_uint_eq(ring_flags(io) & (IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN),
		                  rows[i].flag);
		open_conn(0);
		serve(3, 100);
	}
}
END_TEST

START_TEST(sqpoll)
{
	char text[4096];

	if (missing("sqpoll=500"))
		return;
	ck_assert_uint_eq(io->features.uring.taskrun, TASKRUN_NONE);
	fdinfo(ring_fd(io), text, sizeof(text));
	ck_assert_msg(strstr(text, "SqThread:\t") && !strstr(text, "SqThread:\t-1"), "%s", text);
	open_conn(0);
	serve(20, 100);
}
END_TEST

START_TEST(sizes_and_array)
{
	if (missing("entries=32,cq-entries=128,no-sqarray"))
		return;
	ck_assert_uint_eq(ring_entries(io), 32);
	ck_assert_uint_eq(ring_cq_entries(io), 128);
	ck_assert_uint_ne(ring_flags(io) & IORING_SETUP_NO_SQARRAY, 0);
	open_conn(0);
	serve(100, 100); /* more than once around */
	start(FEATURE_URING, "sqarray");
	ck_assert_uint_eq(ring_flags(io) & IORING_SETUP_NO_SQARRAY, 0);
}
END_TEST

/* With the descriptor gone only the registered ring is left. */
START_TEST(registered_ring)
{
	if (missing("ring-fd"))
		return;
	open_conn(0);
	serve(1, 100);
	ck_assert_int_ge(dup2(open("/dev/null", O_RDWR | O_CLOEXEC), ring_fd(io)), 0);
	serve(5, 100);
}
END_TEST

START_TEST(napi)
{
	struct uring_napi settings = { 0 };

	if (missing("napi=70"))
		return;
	ck_assert_int_ge(syscall(SYS_io_uring_register, ring_fd(io), URING_REGISTER_NAPI + 1, &settings, 1), 0);
	ck_assert_uint_eq(settings.busy_poll_to, 70);
}
END_TEST

/* Submissions for connections that come one after another. */
static uint64_t accepting(const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct io_listener listener = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) };
	socklen_t len = sizeof(address);
	uint64_t before;

	start(FEATURE_URING, text);
	ck_assert_int_eq(bind(listener.fd, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(listener.fd, 8), 0);
	ck_assert_int_eq(getsockname(listener.fd, (struct sockaddr *)&address, &len), 0);
	io_listen(io, &listener, true);
	turn(0);
	before = figure("io_uring_submissions");
	accepts = 0;
	for (unsigned i = 1; i <= 10; i++) {
		ck_assert_int_eq(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, len), 0);
		UNTIL(accepts == i);
	}
	turn(0);
	return figure("io_uring_submissions") - before;
}

START_TEST(accepts_of_both_kinds)
{
	ck_assert_uint_eq(accepting("accept=multishot"), 0);
	ck_assert_uint_eq(accepting("accept=oneshot"), 10);
}
END_TEST

/* With another file under its number, only the table still has the connection. */
START_TEST(direct_files)
{
	unsigned before;

	if (missing("files=direct"))
		return;
	open_conn(0);
	serve(2, 100);
	ck_assert_int_ge(dup2(open("/dev/null", O_RDWR | O_CLOEXEC), conns[0].fd), 0);
	serve(2, 100);
	before = recvs;
	io_recv(io, &conns[0]);
	ck_assert_int_eq(send(peers[0], body, 5, 0), 5);
	UNTIL(recvs > before);
}
END_TEST

START_TEST(receives_of_each_kind)
{
	start(FEATURE_URING, "recv=multishot");
	open_conn(0);
	serve(3, 100);
	ck_assert_uint_le(grown("io_uring_submissions", 50, 100), 52); /* the sends */
	start(FEATURE_URING, "recv=oneshot");
	open_conn(0);
	serve(3, 100);
	ck_assert_uint_ge(grown("io_uring_submissions", 50, 100), 100);
	start(FEATURE_URING, "recv=poll");
	open_conn(0);
	serve(3, 100);
	ck_assert_uint_ge(grown("io_uring_submissions", 50, 100), 100);
	ck_assert_ptr_eq(data, ring_scratch(io));
}
END_TEST

/* A receive of the ring's kind that finds no buffer says so at once, unless it waits for bytes first. */
START_TEST(poll_first)
{
	start(FEATURE_URING, "recv=oneshot");
	open_conn(0);
	ck_assert_int_eq(ring_receive_without_buffers(io, &conns[0]), -ENOBUFS);
	start(FEATURE_URING, "recv=oneshot,recv-poll-first");
	open_conn(0);
	ck_assert_int_eq(ring_receive_without_buffers(io, &conns[0]), -ETIME);
}
END_TEST

static void flood(size_t n)
{
	size_t sent = 0, before = 0;

	io_recv(io, &conns[0]);
	turn(1);
	ck_assert_int_eq(send(peers[0], body, 1, 0), 1);
	UNTIL(recvs == 1);
	io_recv(io, &conns[0]);
	ck_assert_int_eq(send(peers[0], body, 1, 0), 1);
	UNTIL(recvs == 2);
	most = 0;
	sent = (size_t)send(peers[0], body, n, 0);
	ck_assert_uint_eq(sent, n);
	for (sent = 0; sent < n; sent += (size_t)length) {
		before = recvs;
		io_recv(io, &conns[0]);
		UNTIL(recvs > before);
	}
}

START_TEST(bundles)
{
	uint64_t completions;

	if (missing("recv-bundle,buf-size=512"))
		return;
	open_conn(0);
	recvs = 0;
	completions = figure("io_uring_completions");
	flood(20000);
	/* Each IO_RECV is a buffer, and there were fewer completions than that. */
	ck_assert_uint_ge(recvs, 40);
	ck_assert_uint_lt(figure("io_uring_completions") - completions, recvs);
}
END_TEST

START_TEST(capped)
{
	uint64_t submissions;

	if (missing("recv-cap=1K,buf-size=512"))
		return;
	open_conn(0);
	recvs = 0;
	submissions = figure("io_uring_submissions");
	flood(20000);
	ck_assert_uint_ge(figure("io_uring_submissions") - submissions, 19);
	start(FEATURE_URING, "recv=multishot");
	open_conn(0);
	recvs = 0;
	submissions = figure("io_uring_submissions");
	flood(3000);
	ck_assert_uint_le(figure("io_uring_submissions") - submissions, 5);
}
END_TEST

START_TEST(buffers)
{
	start(FEATURE_URING, "buf-count=16,buf-size=512");
	ck_assert_uint_eq(ring_shared_buffers(io), 16);
	open_conn(0);
	recvs = 0;
	flood(20000);
	ck_assert_uint_eq(most, 512);
	start(FEATURE_URING, "buf-size=16K");
	open_conn(0);
	recvs = 0;
	flood(40000);
	ck_assert_uint_gt(most, 4096);
}
END_TEST

START_TEST(incremental)
{
	if (missing("buf-inc"))
		return;
	ck_assert_uint_eq(io->features.uring.recv, RECV_ONESHOT);
	open_conn(0);
	serve(2, 100);
	ck_assert_ptr_eq(data, last_data + last_length);
	serve(200, 100); /* more than a buffer */
}
END_TEST

START_TEST(inline_sends)
{
	start(FEATURE_URING, "send=inline");
	open_conn(0);
	serve(3, 100);
	ck_assert_uint_eq(grown("io_uring_inline_sends", 50, 1000), 50);
	ck_assert_uint_le(grown("io_uring_submissions", 50, 1000), 2);   /* a multishot receive, and no sends */
	ck_assert_uint_eq(grown("io_uring_inline_sends", 2, 300000), 0); /* too long */
}
END_TEST

/* A ring that may not sendmsg sends two pieces all the same. */
START_TEST(vectors)
{
	if (missing("send-vec"))
		return;
	ck_assert_int_eq(make(FEATURE_URING, "send-vec", true), 0);
	if (io->limits == IO_LIMITED)
		ck_assert_int_eq(ring_try(io, IORING_OP_SENDMSG), -EACCES);
	open_conn(0);
	serve(3, 300000);
}
END_TEST

START_TEST(zero_copy)
{
	uint64_t sends;

	if (missing("zc=on,zc-min=16K"))
		return;
	open_conn(0);
	ck_assert_uint_eq(grown("io_uring_zc_sends", 3, 20000), 0); /* two halves, both too short */
	sends = grown("io_uring_zc_sends", 1, 100000);
	ck_assert_uint_ge(sends, 2);
	UNTIL(releases == lents);
	/* Loopback copies, the kernel says so, and it is turned off. */
	serve(30, 100000);
	UNTIL(releases == lents);
	ck_assert_uint_eq(figure("io_uring_zc_copied"), figure("io_uring_zc_sends"));
	ck_assert_uint_ge(figure("io_uring_zc_sends"), 16);
	ck_assert_uint_le(figure("io_uring_zc_sends"), 20);
}
END_TEST

/* What lies in registered memory is lent, however short, and nothing else that is short. */
START_TEST(registered_memory)
{
	static const struct {
		size_t offset, len;
		bool split, lent;
	} sends[] = {
		{ 4096, 1024, false, true },   { 12288, 4096, false, true }, { 4096, 1023, false, false },
		{ 0, 4096, false, false },     { 4000, 2000, false, false }, { 15000, 2000, false, false },
		{ 16384, 4096, false, false }, { 4096, 4096, true, false },
	};
	struct iovec iov[2];

	registered = (struct iovec){ body + 4096, 12288 };
	if (missing("zc=fixed"))
		return;
	open_conn(0);
	for (size_t i = 0; i < sizeof(sends) / sizeof(sends[0]); i++) {
		uint64_t before = figure("io_uring_zc_sends");
		unsigned sent = sents;

		iov[0] = (struct iovec){ body + sends[i].offset, sends[i].split ? sends[i].len / 2 : sends[i].len };
		iov[1] = (struct iovec){ body + sends[i].offset + sends[i].len / 2, sends[i].len / 2 };
		io_send(io, &conns[0], iov, sends[i].split ? 2 : 1);
		drain_peer(peers[0], sends[i].len);
		UNTIL(sents == sent + 1);
		ck_assert_msg((figure("io_uring_zc_sends") > before) == sends[i].lent, "send %zu", i);
	}
	UNTIL(releases == lents);
}
END_TEST

/* The kernel sends from the pages that it has been told of, whatever lies at their address by now. */
START_TEST(registered_memory_is_known_by_its_pages)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, flags, -1, 0), got[2048];

	ck_assert_ptr_ne(memory, MAP_FAILED);
	memset(memory, 'a', 8192);
	registered = (struct iovec){ memory, 8192 };
	if (missing("zc=fixed"))
		return;
	open_conn(0);
	ck_assert_ptr_eq(mmap(memory, 8192, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0), memory);
	memset(memory, 'b', 8192);
	io_send(io, &conns[0], &(struct iovec){ memory, sizeof(got) }, 1);
	UNTIL(sents == 1);
	ck_assert_int_eq(recv(peers[0], got, sizeof(got), MSG_WAITALL), sizeof(got));
	for (size_t i = 0; i < sizeof(got); i++)
		ck_assert_int_eq(got[i], 'a');
	UNTIL(releases == lents);
}
END_TEST

/* The next request is answered while an earlier answer's memory is lent, and the end of the connection does not end that. */
START_TEST(zero_copy_makes_nobody_wait)
{
	struct iovec iov = { body, sizeof(body) };
	unsigned before;

	if (missing("zc=on,zc-min=16K"))
		return;
	open_conn(0);
	open_conn(1);
	before = sents;
	ck_assert_int_eq(setsockopt(peers[0], SOL_SOCKET, SO_RCVBUF, &(int){ 4096 }, sizeof(int)), 0);
	io_send(io, &conns[0], &(struct iovec){ body, 200000 }, 1);
	for (unsigned i = 0; i < 20 && sents == before; i++)
		turn(10);
	if (sents == before || lents == 0) {
		drain_peer(peers[0], 200000); /* the socket's buffers are too small for this here */
		UNTIL(sents > before);
		return;
	}
	ck_assert_uint_eq(releases, 0);
	iov.iov_len = 100;
	io_send(io, &conns[0], &iov, 1);
	UNTIL(sents == before + 2);
	ck_assert_uint_eq(releases, 0);
	io_close(io, &conns[0]);
	for (unsigned i = 0; i < 5; i++)
		turn(5);
	ck_assert_uint_eq(conns[0].flags, 0); /* IO_CLOSED has come */
	drain_peer(peers[0], 200100);
	UNTIL(releases == lents);
}
END_TEST

START_TEST(waits_for_several)
{
	struct timespec from, to;

	if (missing("wait=4:60000"))
		return;
	for (unsigned i = 0; i < 2; i++) {
		open_conn(i);
		io_recv(io, &conns[i]);
	}
	turn(0);
	recvs = 0;
	ck_assert_int_eq(send(peers[0], body, 1, 0), 1);
	clock_gettime(CLOCK_MONOTONIC, &from);
	UNTIL(recvs == 1);
	clock_gettime(CLOCK_MONOTONIC, &to);
	(void)to;
	/* A wait that is as long as it may be: one completion of four does not end it sooner. */
	io_recv(io, &conns[0]);
	turn(0);
	ck_assert_int_eq(send(peers[1], body, 1, 0), 1);
	clock_gettime(CLOCK_MONOTONIC, &from);
	turn(5000);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ck_assert_int_ge((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 55);
	ck_assert_uint_eq(recvs, 2);
}
END_TEST

static const char *const conflicts[][2] = {
	{ "sqpoll,taskrun=defer", "sqpoll needs taskrun=none" },
	{ "sqpoll,taskrun=coop", "sqpoll needs taskrun=none" },
	{ "buf-inc,recv=multishot", "buf-inc needs recv=oneshot" },
	{ "recv-bundle,recv=oneshot", "recv-bundle needs recv=multishot" },
	{ "recv-bundle,buf-inc", "recv-bundle needs recv=multishot" },
	{ "recv-cap=1K,recv=poll", "recv-cap needs recv=multishot" },
	{ "recv-poll-first,recv=poll", "recv-poll-first needs recv=multishot or recv=oneshot" },
	{ "buf-count=16,recv=poll", "buf-count and buf-size need recv=multishot" },
	{ "zc-min=16K", "zc-min needs zc=on or zc=fixed" },
	{ "entries=256,cq-entries=128", "cq-entries must be at least entries" },
};

START_TEST(what_does_not_go_together)
{
	ck_assert_int_eq(make(FEATURE_URING, conflicts[_i][0], false), -IO_EFEATURE);
	ck_assert_msg(strstr(why, conflicts[_i][1]) && strncmp(why, "--uring: ", 9) == 0, "%s", why);
	ck_assert_ptr_null(strchr(why, '\n'));
}
END_TEST

/* From now on io_uring_register(2) of that opcode fails as on a kernel that has not got it. */
static void forget(unsigned opcode)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_register, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, opcode, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

START_TEST(the_one_that_is_missing_is_named)
{
	forget(URING_REGISTER_NAPI);
	start(FEATURE_URING, "send=inline");
	ck_assert_int_eq(make(FEATURE_URING, "send=inline,napi=50,accept=oneshot", false), -IO_EFEATURE);
	ck_assert_msg(strncmp(why,
	                      "--uring: napi=50 cannot be had here: IORING_REGISTER_NAPI: Invalid argument (it needs "
	                      "Linux 6.9,",
	                      75) == 0,
	              "%s", why);
	ck_assert_ptr_null(strchr(why, '\n'));
}
END_TEST

/* Without io_uring at all it is not the feature's fault, and --backend=auto may go on to another. */
START_TEST(without_a_ring_no_feature_is_blamed)
{
	forget(IORING_REGISTER_PBUF_RING);
	ck_assert_int_eq(make(FEATURE_URING, "send=inline", false), -EINVAL);
	ck_assert_msg(strncmp(why, "io_uring cannot be used", 23) == 0, "%s", why);
}
END_TEST

static void add_uring(Suite *suite)
{
	const TTest *const tests[] = { taskrun,
		                       sqpoll,
		                       sizes_and_array,
		                       registered_ring,
		                       napi,
		                       accepts_of_both_kinds,
		                       direct_files,
		                       receives_of_each_kind,
		                       poll_first,
		                       bundles,
		                       capped,
		                       buffers,
		                       incremental,
		                       inline_sends,
		                       vectors,
		                       zero_copy,
		                       registered_memory,
		                       registered_memory_is_known_by_its_pages,
		                       zero_copy_makes_nobody_wait,
		                       waits_for_several,
		                       the_one_that_is_missing_is_named,
		                       without_a_ring_no_feature_is_blamed };
	TCase *tcase = tcase_create("uring");

	if (io_uring_ops.probe(NULL, why, sizeof(why)) < 0) {
		printf("SKIP: %s\n", why);
		return;
	}
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, what_does_not_go_together, 0, sizeof(conflicts) / sizeof(conflicts[0]));
	suite_add_tcase(suite, tcase);
}

#endif

int main(void)
{
	const TTest *const tests[] = { trigger, read_drain, write_wait, exclusive, busy_poll };
	Suite *suite = suite_create("features");
	TCase *tcase = tcase_create("epoll");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
#ifdef HAVE_LIBURING
	add_uring(suite);
#endif
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
