/*
 * contract_listen.c - accepting: on, off, on again, and what happens when descriptors run out.
 */
#include "contract.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define CROWD 100

/* The accepted descriptors, in the order of their events. */
struct crowd {
	struct io_listener listener;
	struct peer peers[CROWD];
	int fds[CROWD];
	unsigned connected, accepted;
	unsigned pulls; /* of IO_ACCEPT and IO_UNLISTENED */
};

static void crowd_event(struct rig *rig, struct link *link, const struct io_event *event)
{
	struct crowd *crowd = rig->context;

	if (link)
		return;
	ck_assert(event->listener == &crowd->listener);
	ck_assert_msg(rig->unlisteneds == 0 || event->op == IO_UNLISTENED, "IO_ACCEPT after IO_UNLISTENED");
	if (event->op == IO_ACCEPT && event->res >= 0) {
		ck_assert_uint_lt(crowd->accepted, CROWD);
		crowd->fds[crowd->accepted++] = event->res;
	}
}

static struct rig *crowd_start(int row, struct crowd *crowd, unsigned links)
{
	struct rig *rig = rig_start(row, links, 1);

	memset(crowd, 0, sizeof(*crowd));
	rig->context = crowd;
	rig->on_event = crowd_event;
	ck_assert_int_eq(rig->row->peers->listener(rig->io, &crowd->listener), 0);
	return rig;
}

static void crowd_connect(struct rig *rig, struct crowd *crowd, unsigned n)
{
	while (n--) {
		ck_assert_uint_lt(crowd->connected, CROWD);
		ck_assert_int_eq(rig->row->peers->connect(rig->io, &crowd->listener, &crowd->peers[crowd->connected]),
		                 0);
		crowd->connected++;
	}
}

static void crowd_on(struct rig *rig, struct crowd *crowd)
{
	rig->unlisteneds = 0;
	io_listen(rig->io, &crowd->listener, true);
}

static void crowd_off(struct rig *rig, struct crowd *crowd)
{
	io_listen(rig->io, &crowd->listener, false);
	while (rig->unlisteneds == 0)
		rig_turn(rig, -1); /* that it comes is enough to end a wait */
	rig_quiet(rig);
	ck_assert_uint_eq(rig->unlisteneds, 1);
}

static void crowd_stop(struct rig *rig, struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->accepted; i++) {
		if (crowd->fds[i] >= 0)
			rig->row->peers->drop(rig->io, crowd->fds[i]);
	}
	for (unsigned i = 0; i < crowd->connected; i++)
		crowd->peers[i].ops->close(&crowd->peers[i]);
	rig->row->peers->unlisten(rig->io, &crowd->listener);
	rig->on_event = NULL;
	rig_stop(rig);
}

/* Opens all accepted connections as links [0..n) and matches each with its peer, by a byte that says which it is. */
static void crowd_serve(struct rig *rig, struct crowd *crowd, unsigned from)
{
	for (unsigned i = from; i < crowd->accepted; i++) {
		struct link *link = link_new(rig);

		link_adopt(link, crowd->fds[i]);
		crowd->fds[i] = -1;
		link->peer = crowd->peers[i]; /* a backlog is served in order */
		crowd->peers[i].fd = -1;
		link_credit(link);
		link_write_all(link, 50 + i);
		RIG_UNTIL(rig, link->recvs == 1);
		link_send(link, 1000);
		link_read_all(link, 1000);
	}
}

START_TEST(accepted_descriptors_serve)
{
	struct crowd crowd;
	struct rig *rig = crowd_start(_i, &crowd, CROWD);

	crowd_on(rig, &crowd);
	rig_quiet(rig);
	for (unsigned i = 1; i <= 5; i++) {
		crowd_connect(rig, &crowd, 1);
		RIG_UNTIL(rig, crowd.accepted == i);
		if (rig->row->peers->flags & PEER_KERNEL)
			ck_assert(fcntl(crowd.fds[i - 1], F_GETFD) & FD_CLOEXEC);
		crowd_serve(rig, &crowd, i - 1);
	}
	crowd_off(rig, &crowd);
	crowd_stop(rig, &crowd);
}
END_TEST

START_TEST(a_crowd_is_accepted)
{
	struct crowd crowd;
	struct rig *rig = crowd_start(_i, &crowd, CROWD);

	/* Half of it waits in the backlog already. */
	crowd_connect(rig, &crowd, CROWD / 2);
	crowd_on(rig, &crowd);
	rig_turn(rig, 0);
	crowd_connect(rig, &crowd, CROWD / 2);
	RIG_UNTIL(rig, crowd.accepted == CROWD);
	crowd_serve(rig, &crowd, 0);
	rig_quiet(rig);
	crowd_off(rig, &crowd);
	crowd_stop(rig, &crowd);
}
END_TEST

START_TEST(off_and_on_again)
{
	struct crowd crowd;
	struct rig *rig = crowd_start(_i, &crowd, CROWD);

	/* Without a turn in between, with one, and with somebody in the backlog. */
	crowd_on(rig, &crowd);
	crowd_off(rig, &crowd);
	crowd_on(rig, &crowd);
	rig_turn(rig, 1);
	crowd_off(rig, &crowd);
	ck_assert_uint_eq(crowd.accepted, 0);

	for (unsigned i = 1; i <= 5; i++) {
		unsigned before;

		crowd_connect(rig, &crowd, 3);
		before = crowd.accepted;
		rig_quiet(rig);
		ck_assert_msg(crowd.accepted == before, "accepted while off");
		crowd_on(rig, &crowd);
		RIG_UNTIL(rig, crowd.accepted == 3 * i);
		crowd_off(rig, &crowd);
	}
	crowd_serve(rig, &crowd, 0);
	crowd_stop(rig, &crowd);
}
END_TEST

/*
 * Off in the midst of a crowd: who was connected by then comes before IO_UNLISTENED, since there is room; the others then
 * or after the next on.
 */
START_TEST(off_loses_nobody)
{
	for (unsigned when = 0; when < 12; when++) {
		struct crowd crowd;
		struct rig *rig = crowd_start(_i, &crowd, CROWD);

		crowd_on(rig, &crowd);
		if (when & 1)
			rig_turn(rig, 0);
		crowd_connect(rig, &crowd, 40);
		if (when & 2)
			ck_assert_int_eq(io_wait(rig->io, 10), 0);
		for (unsigned i = 0; i < when; i++)
			rig_next(rig);
		io_listen(rig->io, &crowd.listener, false);
		crowd_connect(rig, &crowd, 5);
		RIG_UNTIL(rig, rig->unlisteneds == 1);
		ck_assert_uint_ge(crowd.accepted, 40);
		crowd_on(rig, &crowd);
		RIG_UNTIL(rig, crowd.accepted == 45);
		crowd_serve(rig, &crowd, 0);
		crowd_off(rig, &crowd);
		crowd_stop(rig, &crowd);
	}
}
END_TEST

START_TEST(running_out_of_descriptors_suspends)
{
	struct crowd crowd;
	struct rig *rig = crowd_start(_i, &crowd, CROWD + 1);
	struct link *link = link_open(rig);
	uint64_t start;
	unsigned waits;

	crowd_on(rig, &crowd);
	rig_quiet(rig);
	rig->row->peers->exhaust(rig->io, true);
	/* Two rounds: what works once may spin the second time. The peers connect while there are descriptors. */
	for (unsigned round = 1; round <= 2; round++) {
		rig->row->peers->exhaust(rig->io, false);
		crowd_off(rig, &crowd);
		crowd_connect(rig, &crowd, 3);
		rig->row->peers->exhaust(rig->io, true);
		crowd_on(rig, &crowd);
		RIG_UNTIL(rig, rig->accept_errors == round);

		/* Nothing more comes, and a wait sleeps: 200 ms are 10 waits, not thousands. */
		start = rig_now();
		for (waits = 0; waits < 100 && rig_now() - start < 200; waits++)
			ck_assert_uint_eq(rig_turn(rig, 20), 0);
		if (rig->row->peers->flags & PEER_KERNEL)
			ck_assert_uint_lt(waits, 50);
		ck_assert_uint_eq(rig->accept_errors, round);

		/* The others are served meanwhile. */
		link_credit(link);
		link_write_all(link, 100);
		RIG_UNTIL(rig, link->recvs == round);
		link_send(link, 100);
		link_read_all(link, 100);
		RIG_UNTIL(rig, link->sents == round);
	}
	rig->row->peers->exhaust(rig->io, false);
	crowd_off(rig, &crowd);
	crowd_on(rig, &crowd);
	RIG_UNTIL(rig, crowd.accepted == 6);
	crowd_serve(rig, &crowd, 0);
	crowd_off(rig, &crowd);
	crowd_stop(rig, &crowd);
}
END_TEST

/* The peer is gone before it was accepted: that one may be passed over or be accepted dead, the others are served. */
START_TEST(a_reset_in_the_backlog_hurts_nobody)
{
	struct crowd crowd;
	struct rig *rig = crowd_start(_i, &crowd, CROWD);

	crowd_connect(rig, &crowd, 3);
	crowd.peers[1].ops->reset(&crowd.peers[1]);
	crowd_on(rig, &crowd);
	RIG_UNTIL(rig, crowd.accepted >= 2);
	rig_quiet(rig);
	ck_assert_uint_eq(rig->accept_errors, 0);
	if (crowd.accepted == 3) {
		struct link *link = link_new(rig);

		link_adopt(link, crowd.fds[1]);
		crowd.fds[1] = -1;
		link_credit(link);
		RIG_UNTIL(rig, link->ended);
		link_close(link);
		RIG_UNTIL(rig, link->closeds == 1);
	}
	for (unsigned i = 0; i < crowd.accepted; i += crowd.accepted - 1) {
		struct link *link = link_new(rig);

		link_adopt(link, crowd.fds[i]);
		crowd.fds[i] = -1;
		link->peer = crowd.peers[i ? 2 : 0];
		crowd.peers[i ? 2 : 0].fd = -1;
		link_credit(link);
		link_write_all(link, 10);
		RIG_UNTIL(rig, link->recvs == 1);
	}
	crowd_off(rig, &crowd);
	crowd_stop(rig, &crowd);
}
END_TEST

static void pair_event(struct rig *rig, struct link *link, const struct io_event *event)
{
	struct crowd *crowd = rig->context;

	(void)link;
	if (event->listener == &crowd[1].listener)
		crowd++;
	ck_assert(event->listener == &crowd->listener);
	crowd->pulls++;
	if (event->op == IO_ACCEPT) {
		ck_assert_int_ge(event->res, 0);
		crowd->fds[crowd->accepted++] = event->res;
	}
}

START_TEST(two_listeners_keep_apart)
{
	struct crowd crowd[2];
	struct rig *rig = rig_start(_i, 1, 2);

	memset(crowd, 0, sizeof(crowd));
	rig->context = crowd;
	rig->on_event = pair_event;
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(rig->row->peers->listener(rig->io, &crowd[i].listener), 0);
		io_listen(rig->io, &crowd[i].listener, true);
	}
	crowd_connect(rig, &crowd[0], 30);
	crowd_connect(rig, &crowd[1], 20);
	RIG_UNTIL(rig, crowd[0].accepted == 30 && crowd[1].accepted == 20);
	io_listen(rig->io, &crowd[0].listener, false);
	RIG_UNTIL(rig, rig->unlisteneds == 1);
	crowd_connect(rig, &crowd[0], 1);
	crowd_connect(rig, &crowd[1], 5);
	RIG_UNTIL(rig, crowd[1].accepted == 25);
	rig_quiet(rig);
	ck_assert_uint_eq(crowd[0].accepted, 30);
	io_listen(rig->io, &crowd[1].listener, false);
	RIG_UNTIL(rig, rig->unlisteneds == 2);
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < crowd[i].accepted; k++)
			rig->row->peers->drop(rig->io, crowd[i].fds[k]);
		for (unsigned k = 0; k < crowd[i].connected; k++)
			crowd[i].peers[k].ops->close(&crowd[i].peers[k]);
		rig->row->peers->unlisten(rig->io, &crowd[i].listener);
	}
	rig_stop(rig);
}
END_TEST

static void *connect_later(void *arg)
{
	struct rig *rig = arg;

	usleep(20000);
	crowd_connect(rig, rig->context, 1);
	return NULL;
}

/* One socket, two backends, as two workers have it. Each connection comes out once, whoever turns off in between. */
START_TEST(a_shared_listener_gives_each_connection_once)
{
	for (unsigned when = 0; when < 4; when++) {
		struct crowd crowd[2];
		struct rig *rig[2] = { crowd_start(_i, &crowd[0], 1), NULL };

		rig[1] = rig_start(_i, 1, 1);
		memset(&crowd[1], 0, sizeof(crowd[1]));
		rig[1]->context = &crowd[1];
		rig[1]->on_event = crowd_event;
		crowd[1].listener.fd = crowd[0].listener.fd;

		crowd_on(rig[0], &crowd[0]);
		crowd_on(rig[1], &crowd[1]);
		rig_turn(rig[0], 0);
		rig_turn(rig[1], 0);
		if (when & 2) {
			pthread_t thread;

			/* The first sleeps, is told alone, and turns off without looking. */
			ck_assert_int_eq(pthread_create(&thread, NULL, connect_later, rig[0]), 0);
			ck_assert_int_eq(io_wait(rig[0]->io, RIG_PATIENCE_MS), 0);
			pthread_join(thread, NULL);
		}
		if (when & 1)
			crowd_connect(rig[0], &crowd[0], 40);
		io_listen(rig[0]->io, &crowd[0].listener, false);
		RIG_UNTIL(rig[0], rig[0]->unlisteneds == 1);
		RIG_UNTIL(rig[1], crowd[0].accepted + crowd[1].accepted == crowd[0].connected);
		rig_quiet(rig[1]);
		ck_assert_uint_eq(crowd[0].accepted + crowd[1].accepted, crowd[0].connected);

		io_listen(rig[1]->io, &crowd[1].listener, false);
		RIG_UNTIL(rig[1], rig[1]->unlisteneds == 1);
		for (unsigned i = 0; i < crowd[1].accepted; i++)
			rig[1]->row->peers->drop(rig[1]->io, crowd[1].fds[i]);
		rig_stop(rig[1]);
		crowd_stop(rig[0], &crowd[0]);
	}
}
END_TEST

void contract_listen(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "listen");

	contract_add(tcase, row, accepted_descriptors_serve, PEER_LISTENS);
	contract_add(tcase, row, a_crowd_is_accepted, PEER_LISTENS);
	contract_add(tcase, row, off_and_on_again, PEER_LISTENS);
	contract_add(tcase, row, off_loses_nobody, PEER_LISTENS);
	contract_add(tcase, row, running_out_of_descriptors_suspends, PEER_LISTENS);
	contract_add(tcase, row, a_reset_in_the_backlog_hurts_nobody, PEER_LISTENS | PEER_RESETS);
	contract_add(tcase, row, two_listeners_keep_apart, PEER_LISTENS);
	contract_add(tcase, row, a_shared_listener_gives_each_connection_once, PEER_LISTENS | PEER_KERNEL);
}
