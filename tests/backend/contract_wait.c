/*
 * contract_wait.c - io_wait(), io_wake(), and what is left when all is over. Times are only bounded from below: a wait
 * that returns too early is a loop that spins.
 */
#include "contract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

START_TEST(an_empty_wait_returns_and_gives_nothing)
{
	struct rig *rig = rig_start(_i, 1, 1);
	uint64_t start;
	char text[200] = "";

	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(rig_turn(rig, 0), 0);
	link_credit(link_open(rig));
	rig_quiet(rig);
	start = rig_now();
	ck_assert_uint_eq(rig_turn(rig, 50), 0);
	if (rig->row->peers->flags & PEER_KERNEL)
		ck_assert_uint_ge(rig_now() - start, 45);
	io_describe(rig->io, text, sizeof(text));
	ck_assert_uint_gt(strlen(text), 0);
	ck_assert_ptr_null(strchr(text, '\n'));
	rig_stop(rig);
}
END_TEST

START_TEST(a_wait_for_ever_ends_with_a_completion)
{
	struct rig *rig = rig_start(_i, 2, 0);
	struct link *link = link_open(rig);

	link_credit(link);
	link_write(link, 10);
	while (link->recvs == 0)
		rig_turn(rig, -1);
	link_send(link, 10);
	while (link->sents == 0)
		rig_turn(rig, -1);
	link_close(link);
	while (link->closeds == 0)
		rig_turn(rig, -1);
	rig_stop(rig);
}
END_TEST

/* Bytes and FINs that nobody asks for, a send that cannot go on, a silent peer: none of them is worth a wake-up. */
START_TEST(a_wait_sleeps_when_nothing_can_move)
{
	struct rig *rig = rig_start(_i, 4, 0);
	struct link *stuck = link_open(rig), *silent = link_open(rig), *held = link_open(rig), *ended = link_open(rig);
	unsigned waits = 0;
	uint64_t start;

	link_get_stuck(stuck);
	link_credit(silent);
	link_write(held, 1 << 20);
	link_write_all(ended, 10);
	ended->peer.ops->shutdown(&ended->peer);
	rig_settle(rig);
	for (start = rig_now(); waits < 1000 && rig_now() - start < 200; waits++)
		ck_assert_uint_eq(rig_turn(rig, 20), 0);
	ck_assert_uint_lt(waits, 50);
	rig_stop(rig);
}
END_TEST

/* Nobody may sleep on completions that were not pulled: one is taken a wait, and no more bytes ever come. */
START_TEST(a_wait_does_not_sleep_on_what_is_there)
{
	struct rig *rig = rig_start(_i, 40, 0);

	for (unsigned i = 0; i < 40; i++) {
		struct link *link = link_open(rig);

		link_credit(link);
		link_write_all(link, 10);
		if (i & 1)
			link_send(link, 10);
	}
	for (unsigned i = 0; i < 40; i++) {
		struct link *link = &rig->links[i];

		while (link->recvs == 0 || link->sents < (i & 1)) {
			ck_assert_int_eq(io_wait(rig->io, -1), 0);
			rig_next(rig);
		}
	}
	for (unsigned i = 0; i < 40; i++)
		link_close(&rig->links[i]);
	while (rig->closeds < 40) {
		ck_assert_int_eq(io_wait(rig->io, -1), 0);
		rig_next(rig);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(a_wake_before_the_wait_is_not_lost)
{
	struct rig *rig = rig_start(_i, 1, 0);

	for (unsigned i = 0; i < 1000; i++) {
		io_wake(rig->io);
		if (i % 3 == 0)
			io_wake(rig->io);
		/* Once asleep for ever is enough to fail, by the suite's time limit. */
		ck_assert_int_eq(io_wait(rig->io, -1), 0);
		ck_assert(!rig_next(rig));
	}
	rig_stop(rig);
}
END_TEST

START_TEST(a_wake_does_not_wake_for_ever)
{
	struct rig *rig = rig_start(_i, 1, 0);
	uint64_t start;

	for (unsigned i = 0; i < 100; i++)
		io_wake(rig->io);
	rig_quiet(rig);
	start = rig_now();
	rig_turn(rig, 50);
	ck_assert_uint_ge(rig_now() - start, 45);
	rig_stop(rig);
}
END_TEST

#define WAKERS 4
#define WAKES  2000

struct waker {
	struct io *io;
	pthread_t thread;
	_Atomic unsigned asked, answered;
};

/* Asks, wakes, and asks again only when answered: one lost wake, and both sleep for ever. */
static void *waker_run(void *arg)
{
	struct waker *waker = arg;

	for (unsigned i = 1; i <= WAKES; i++) {
		atomic_store(&waker->asked, i);
		io_wake(waker->io);
		while (atomic_load(&waker->answered) != i)
			sched_yield();
	}
	return NULL;
}

START_TEST(wakes_from_threads_are_not_lost)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct waker wakers[WAKERS];
	unsigned done = 0;

	for (unsigned i = 0; i < WAKERS; i++) {
		wakers[i].io = rig->io;
		atomic_init(&wakers[i].asked, 0);
		atomic_init(&wakers[i].answered, 0);
		ck_assert_int_eq(pthread_create(&wakers[i].thread, NULL, waker_run, &wakers[i]), 0);
	}
	while (done < WAKERS) {
		ck_assert_uint_eq(rig_turn(rig, -1), 0);
		done = 0;
		for (unsigned i = 0; i < WAKERS; i++) {
			unsigned asked = atomic_load(&wakers[i].asked);

			atomic_store(&wakers[i].answered, asked);
			done += asked == WAKES;
		}
	}
	for (unsigned i = 0; i < WAKERS; i++)
		pthread_join(wakers[i].thread, NULL);
	rig_stop(rig);
}
END_TEST

static struct io *signal_io;
static volatile sig_atomic_t signals;

static void on_signal(int signal)
{
	(void)signal;
	signals++;
	if (signal_io)
		io_wake(signal_io);
}

static void signals_start(int flags, struct io *io, long interval_us)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
	struct itimerval timer = {
		.it_interval.tv_usec = interval_us,
		.it_value.tv_usec = interval_us,
	};

	signal_io = io;
	signals = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void signals_stop(void)
{
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
}

START_TEST(a_signal_ends_a_wait)
{
	struct rig *rig = rig_start(_i, 1, 0);

	/* Again and again, since one that comes just before the wait does not count. */
	signals_start(0, NULL, 5000);
	while (signals < 20)
		ck_assert_uint_eq(rig_turn(rig, -1), 0);
	signals_stop();
	signals_start(SA_RESTART, rig->io, 5000);
	while (signals < 20)
		ck_assert_uint_eq(rig_turn(rig, -1), 0);
	signals_stop();
	rig_stop(rig);
}
END_TEST

START_TEST(a_wake_from_a_signal_handler_keeps_errno)
{
	struct rig *rig = rig_start(_i, 1, 0);

	errno = ERANGE;
	io_wake(rig->io);
	ck_assert_int_eq(errno, ERANGE);
	rig_turn(rig, -1);
	rig_stop(rig);
}
END_TEST

/* Traffic under a hail of signals: no system call may take an EINTR for an error. */
START_TEST(signals_disturb_nothing)
{
	struct rig *rig = rig_start(_i, 2, 0);

	for (unsigned i = 0; i < 2; i++)
		link_open(rig);
	signals_start(0, NULL, 500);
	for (unsigned round = 0; round < 200; round++) {
		struct link *link = &rig->links[round & 1];
		unsigned recvs = link->recvs, sents = link->sents;

		link_credit(link);
		link_write_all(link, 100);
		RIG_UNTIL(rig, link->recvs == recvs + 1);
		ck_assert_int_gt(link->recv_res, 0);
		link_send(link, LINK_SEND_MAX);
		link_read_all(link, LINK_SEND_MAX);
		RIG_UNTIL(rig, link->sents == sents + 1);
		ck_assert_int_eq(link->sent_res, 0);
	}
	signals_stop();
	rig_stop(rig);
}
END_TEST

static unsigned count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void live_a_life(int row)
{
	struct rig *rig = rig_start(row, 50, 2);

	for (unsigned i = 0; i < 50; i++) {
		struct link *link = link_open(rig);

		link->keep_crediting = true;
		link_credit(link);
		link_write(link, 5000);
		link_send(link, 5000);
		rig_turn(rig, 0);
	}
	for (unsigned i = 0; i < 50; i++)
		RIG_UNTIL(rig, rig->links[i].received == rig->links[i].written);
	rig_stop(rig);
}

START_TEST(destroy_leaves_nothing_behind)
{
	unsigned fds, threads;

	live_a_life(_i); /* what the process keeps for good (the suite's own listener) is there after this */
	fds = count_entries("/proc/self/fd");
	threads = count_entries("/proc/self/task");
	for (unsigned i = 0; i < 10; i++)
		live_a_life(_i);
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
	/* A kernel's helper thread may take a moment to go. */
	for (unsigned i = 0; i < 1000 && count_entries("/proc/self/task") > threads; i++)
		usleep(10000);
	ck_assert_uint_le(count_entries("/proc/self/task"), threads);
}
END_TEST

START_TEST(a_probe_leaves_nothing_behind)
{
	struct rig *rig = rig_start(_i, 1, 0);
	unsigned fds = count_entries("/proc/self/fd");
	char why[256];

	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(rig->row->ops->probe(contract_features, why, sizeof(why)), 0);
	ck_assert_uint_eq(count_entries("/proc/self/fd"), fds);
	rig_stop(rig);
}
END_TEST

/* Not a socket, and nothing that can be waited for: no event tells of it until something is asked. */
START_TEST(a_descriptor_that_cannot_serve_is_an_error_of_its_operations)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_new(rig);

	for (unsigned round = 0; round < 3; round++) {
		int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

		ck_assert_int_ge(fd, 0);
		link_adopt(link, fd);
		rig_quiet(rig);
		if (round != 0)
			link_send(link, 10);
		if (round != 1)
			link_credit(link);
		RIG_UNTIL(rig, !link->sending && !link->credit);
		if (round != 0)
			ck_assert_int_lt(link->sent_res, 0);
		if (round != 1)
			ck_assert_int_lt(link->recv_res, 0);
		rig_quiet(rig);
		link_close(link);
		RIG_UNTIL(rig, link->closeds == 1);
		ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	}
	rig_stop(rig);
}
END_TEST

/* From now on epoll_ctl(2) fails in this process as it does when fs.epoll.max_user_watches is reached. */
static void deny_watches(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_ctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSPC),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

/* A good socket that cannot be watched. A backend that does not need to watch serves it; no backend may hang on it. */
START_TEST(a_socket_that_cannot_be_watched_is_served_or_an_error)
{
	struct rig *rig = rig_start(_i, 2, 0);
	const char *fork_mode = getenv("CK_FORK");

	/* The filter is for the rest of the process's life: not when all tests share one. */
	if (!fork_mode || strcmp(fork_mode, "no") != 0) {
		struct link *before = link_open(rig), *after;

		link_credit(before);
		rig_quiet(rig);
		deny_watches();
		after = link_open(rig);
		rig_quiet(rig);
		link_credit(after);
		rig_quiet(rig);
		link_write(after, 10); /* unless it is ended already */
		RIG_UNTIL(rig, !after->credit);
		link_send(after, 10);
		RIG_UNTIL(rig, !after->sending);
		ck_assert((after->recv_res > 0) == (after->sent_res == 0));
		link_write_all(before, 10);
		RIG_UNTIL(rig, before->recvs == 1);
		ck_assert_int_eq(before->recv_res, 10);
	}
	rig_stop(rig);
}
END_TEST

void contract_wait(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "wait");

	contract_add(tcase, row, an_empty_wait_returns_and_gives_nothing, 0);
	contract_add(tcase, row, a_wait_for_ever_ends_with_a_completion, 0);
	contract_add(tcase, row, a_wait_sleeps_when_nothing_can_move, PEER_KERNEL);
	contract_add(tcase, row, a_wait_does_not_sleep_on_what_is_there, 0);
	contract_add(tcase, row, a_wake_before_the_wait_is_not_lost, 0);
	contract_add(tcase, row, a_wake_does_not_wake_for_ever, PEER_KERNEL);
	contract_add(tcase, row, wakes_from_threads_are_not_lost, PEER_KERNEL);
	contract_add(tcase, row, a_signal_ends_a_wait, PEER_KERNEL);
	contract_add(tcase, row, a_wake_from_a_signal_handler_keeps_errno, PEER_KERNEL);
	contract_add(tcase, row, signals_disturb_nothing, PEER_KERNEL);
	contract_add(tcase, row, destroy_leaves_nothing_behind, PEER_KERNEL);
	contract_add(tcase, row, a_probe_leaves_nothing_behind, PEER_KERNEL);
	contract_add(tcase, row, a_descriptor_that_cannot_serve_is_an_error_of_its_operations, PEER_KERNEL);
	contract_add(tcase, row, a_socket_that_cannot_be_watched_is_served_or_an_error, PEER_KERNEL);
}
