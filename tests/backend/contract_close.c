/*
 * contract_close.c - io_close() in every state: silence, exactly one IO_CLOSED, and nothing after it.
 */
#include "contract.h"

/* The states that a connection can be in when it is closed. A bit more brings it one further. */
enum {
	HELD = 1 << 0,     /* bytes have come that nobody asked for */
	CREDIT = 1 << 1,   /* a credit is out */
	STUCK = 1 << 2,    /* a send waits for a peer that does not read */
	USED = 1 << 3,     /* it has received and sent before */
	UNPULLED = 1 << 4, /* completions are there, and not pulled */
	ENDED = 1 << 5,    /* the peer has sent its FIN */
	SHUT = 1 << 6,     /* we have sent ours */
	GONE = 1 << 7,     /* the peer is gone, by a reset where there is one */
	STATES = 1 << 8,
};

static void prepare(struct rig *rig, struct link *link, unsigned state)
{
	if (state & USED) {
		link_credit(link);
		link_write_all(link, 100);
		RIG_UNTIL(rig, link->recvs == 1);
		link_send(link, 100);
		link_read_all(link, 100);
		RIG_UNTIL(rig, link->sents == 1);
	}
	if (state & STUCK) {
		for (unsigned i = 0; !link->sending && i < 10000; i++) {
			link_send(link, LINK_SEND_MAX);
			for (unsigned turns = 0; link->sending && turns < 2; turns++)
				rig_turn(rig, 1);
		}
	}
	if (state & CREDIT)
		link_credit(link);
	if ((state & SHUT) && !link->sending)
		io_shutdown(rig->io, &link->conn);
	rig_turn(rig, 0);
	if (state & HELD)
		link_write(link, 3000);
	if (state & ENDED)
		link->peer.ops->shutdown(&link->peer);
	if (state & GONE)
		link->peer.ops->reset(&link->peer);
	if (state & UNPULLED) {
		if (!link->credit && !link->ended)
			link_credit(link);
		if (!link->sending && !(state & SHUT))
			link_send(link, 10);
		ck_assert_int_eq(io_wait(rig->io, 1), 0);
	} else if (state & (HELD | ENDED | GONE)) {
		rig_turn(rig, 1);
	}
}

START_TEST(closing_works_in_every_state)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_new(rig);

	for (unsigned state = 0; state < STATES; state++) {
		unsigned closeds = rig->closeds;

		link_reopen(link);
		prepare(rig, link, state);
		link_close(link);
		RIG_UNTIL(rig, link->closeds == 1);
		/* The descriptor is really closed: the peer sees an end. */
		if (!(state & GONE)) {
			link->peer.ops->shutdown(&link->peer);
			RIG_UNTIL(rig, (link_read(link, 1 << 20), link->peer_eof || link->peer_error));
		}
		ck_assert_uint_eq(rig->closeds, closeds + 1);
	}
	rig_quiet(rig);
	rig_stop(rig);
}
END_TEST

START_TEST(closing_many_at_once_in_all_states)
{
	struct rig *rig = rig_start(_i, STATES, 0);

	for (unsigned state = 0; state < STATES; state++)
		prepare(rig, link_open(rig), state & ~(unsigned)STUCK);
	for (unsigned state = 0; state < STATES; state++)
		link_close(&rig->links[state]);
	RIG_UNTIL(rig, rig->closeds == STATES);
	rig_quiet(rig);
	ck_assert_uint_eq(rig->closeds, STATES);
	rig_stop(rig);
}
END_TEST

static void close_when_told(struct rig *rig, struct link *link, const struct io_event *event)
{
	if ((int)event->op == *(int *)rig->context && !link->closing && event->op != IO_CLOSED)
		link_close(link);
}

/* From within the handling of its own event, with the other kind pending or not. */
START_TEST(closing_in_answer_to_an_event)
{
	int ops[] = { IO_RECV, IO_SENT };
	struct rig *rig = rig_start(_i, 8, 0);

	rig->on_event = close_when_told;
	for (unsigned i = 0; i < 8; i++) {
		struct link *link = link_open(rig);

		rig->context = &ops[i & 1];
		if (i & 2)
			rig_turn(rig, 1);
		link_credit(link);
		link_write(link, 100);
		if (i & 4)
			rig_turn(rig, 1);
		if (link->open && !link->closing)
			link_send(link, 100);
		RIG_UNTIL(rig, link->closeds == 1);
	}
	rig_quiet(rig);
	ck_assert_uint_eq(rig->closeds, 8);
	rig_stop(rig);
}
END_TEST

/* Close does not take back what the kernel has, when nothing was left unread. */
START_TEST(bytes_sent_before_a_close_are_delivered)
{
	struct rig *rig = rig_start(_i, 200, 0);

	for (unsigned i = 0; i < 200; i++) {
		struct link *link = link_open(rig);

		if (i & 1) {
			/* All of it, in however many pieces: what is left unread makes a close a reset. */
			link_write_all(link, 200);
			while (link->received < link->written) {
				link_credit(link);
				RIG_UNTIL(rig, !link->credit);
			}
		}
		if (i & 2)
			link_credit(link);
		link_send(link, 1 + rig_random(rig, 30000));
		RIG_UNTIL(rig, link->sents == 1);
		if (i & 4)
			io_shutdown(rig->io, &link->conn);
		link_close(link);
		if (i & 8)
			RIG_UNTIL(rig, link->closeds == 1);
		link_read_all(link, link->sent);
		RIG_UNTIL(rig, (link_read(link, 1), link->peer_eof));
		ck_assert_int_eq(link->peer_error, 0);
	}
	rig_stop(rig);
}
END_TEST

/*
 * A submitted send must reach its own peer or none, also when the descriptor's number is taken by another connection
 * in the next instant; and a completion of an earlier life must not be taken for one of the next.
 */
static void churn_reopen(struct rig *rig, struct link *link, const struct io_event *event)
{
	unsigned *rounds = rig->context;

	if (event->op == IO_CLOSED && *rounds) {
		--*rounds;
		link_reopen(link);
	}
}

START_TEST(a_slot_is_used_again_at_once_and_bytes_never_cross)
{
	struct rig *rig = rig_start(_i, 8, 0);
	unsigned rounds = 3000;

	rig->on_event = churn_reopen;
	rig->context = &rounds;
	for (unsigned i = 0; i < 8; i++)
		link_open(rig);
	for (unsigned spins = 0; rounds; spins++) {
		struct link *link = &rig->links[rig_random(rig, 8)];

		ck_assert_uint_lt(spins, 10000000);
		switch (rig_random(rig, 10)) {
		case 0:
		case 1:
			link_write(link, 1 + rig_random(rig, 6000));
			break;
		case 2:
			link_read(link, 1 << 20);
			break;
		case 3:
			if (link->peer.fd >= 0 && rig_random(rig, 4) == 0)
				link->peer.ops->reset(&link->peer);
			break;
		case 4:
			if (link->open && !link->closing && !link->credit && !link->ended)
				link_credit(link);
			break;
		case 5:
		case 6:
			if (link->open && !link->closing && !link->sending && link->sent_res == 0)
				link_send(link, 1 + rig_random(rig, rig_random(rig, 4) ? 500 : LINK_SEND_MAX));
			break;
		case 7:
			rig_turn(rig, 0);
			break;
		default:
			if (link->open && !link->closing)
				link_close(link);
			if (rig_random(rig, 2))
				rig_next(rig);
		}
	}
	rig_stop(rig);
}
END_TEST

START_TEST(nothing_comes_after_closed)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	link_credit(link);
	link_send(link, 10);
	rig_turn(rig, 0);
	link_close(link);
	RIG_UNTIL(rig, link->closeds == 1);
	link->peer.ops->write(&link->peer, "late", 4);
	link->peer.ops->close(&link->peer);
	rig_quiet(rig);
	ck_assert_uint_eq(link->closeds, 1);
	rig_stop(rig);
}
END_TEST

void contract_close(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "close");

	contract_add(tcase, row, closing_works_in_every_state, 0);
	contract_add(tcase, row, closing_many_at_once_in_all_states, 0);
	contract_add(tcase, row, closing_in_answer_to_an_event, 0);
	contract_add(tcase, row, bytes_sent_before_a_close_are_delivered, 0);
	contract_add(tcase, row, a_slot_is_used_again_at_once_and_bytes_never_cross, 0);
	contract_add(tcase, row, nothing_comes_after_closed, 0);
}
