/*
 * contract_load.c - many connections, many bytes, both ways, in random order.
 */
#include "contract.h"

#include <string.h>

#define CROWD 1000

/* A backend's receive buffers are fewer than this crowd's bytes: it must share them out, and drop nothing. */
START_TEST(a_thousand_connections_receive_at_once)
{
	struct rig *rig = rig_start(_i, CROWD, 0);

	for (unsigned i = 0; i < CROWD; i++)
		link_open(rig);
	for (unsigned round = 1; round <= 4; round++) {
		for (unsigned i = 0; i < CROWD; i++) {
			/* Credits before the bytes, after them, and a mixture; the last time they come without end. */
			if (round == 4)
				rig->links[i].keep_crediting = true;
			if (round == 1 || (round > 2 && i % 2))
				link_credit(&rig->links[i]);
			if (round == 1 && i % 100 == 0)
				rig_turn(rig, 0);
		}
		for (unsigned i = 0; i < CROWD; i++)
			link_write_all(&rig->links[i], round == 4 ? 20000 : 6000);
		for (unsigned i = 0; i < CROWD; i++) {
			if (!rig->links[i].credit && rig->links[i].recvs < round)
				link_credit(&rig->links[i]);
		}
		for (unsigned i = 0; i < CROWD; i++)
			RIG_UNTIL(rig, rig->links[i].recvs >= round);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		if (!rig->links[i].credit)
			link_credit(&rig->links[i]);
	}
	for (unsigned i = 0; i < CROWD; i++)
		RIG_UNTIL(rig, rig->links[i].received == rig->links[i].written);
	rig_stop(rig);
}
END_TEST

/* Bytes that nobody asks for must not take the buffers from those who ask. */
START_TEST(those_without_credits_starve_nobody)
{
	struct rig *rig = rig_start(_i, CROWD, 0);

	for (unsigned i = 0; i < CROWD; i++) {
		struct link *link = link_open(rig);

		link_credit(link);
		link_write_all(link, 1);
	}
	for (unsigned i = 0; i < CROWD; i++)
		RIG_UNTIL(rig, rig->links[i].recvs == 1);
	for (unsigned i = 1; i < CROWD; i++)
		link_write(&rig->links[i], 50000);
	rig_quiet(rig);
	for (unsigned round = 0; round < 100; round++) {
		link_credit(&rig->links[0]);
		link_write_all(&rig->links[0], 1000);
		RIG_UNTIL(rig, !rig->links[0].credit);
	}
	for (unsigned i = 1; i < CROWD; i++) {
		rig->links[i].keep_crediting = true;
		link_credit(&rig->links[i]);
	}
	for (unsigned i = 1; i < CROWD; i++)
		RIG_UNTIL(rig, rig->links[i].received == rig->links[i].written);
	rig_stop(rig);
}
END_TEST

START_TEST(a_thousand_connections_answer)
{
	struct rig *rig = rig_start(_i, CROWD, 0);

	for (unsigned i = 0; i < CROWD; i++)
		link_open(rig);
	for (unsigned round = 1; round <= 5; round++) {
		for (unsigned i = 0; i < CROWD; i++) {
			link_credit(&rig->links[i]);
			link_write_all(&rig->links[i], 200);
		}
		for (unsigned i = 0; i < CROWD; i++) {
			RIG_UNTIL(rig, rig->links[i].recvs == round);
			link_send(&rig->links[i], 1000);
		}
		for (unsigned i = 0; i < CROWD; i++) {
			link_read_all(&rig->links[i], 1000);
			RIG_UNTIL(rig, rig->links[i].sents == round);
		}
	}
	rig_stop(rig);
}
END_TEST

/* Random sizes, both ways at once, credits and reads at random times; every byte is checked by the rig. */
START_TEST(both_streams_are_whole_at_random)
{
	enum { LINKS = 16, BYTES = 300000 };
	struct rig *rig = rig_start(_i, LINKS, 0);
	unsigned spins;

	for (unsigned i = 0; i < LINKS; i++)
		link_open(rig);
	for (spins = 0; spins < 10000000; spins++) {
		struct link *link = &rig->links[rig_random(rig, LINKS)];
		bool all = true;

		switch (rig_random(rig, 6)) {
		case 0:
			if (link->written < BYTES)
				link_write(link, 1 + rig_random(rig, rig_random(rig, 3) ? 2000 : 40000));
			break;
		case 1:
			if (!link->credit)
				link_credit(link);
			break;
		case 2:
			link_read(link, 1 + rig_random(rig, 30000));
			break;
		case 3:
			if (!link->sending && link->sent < BYTES) {
				size_t sizes[IO_SEND_IOVS];
				unsigned n = 1 + rig_random(rig, rig_random(rig, 3) ? 3 : IO_SEND_IOVS);

				for (unsigned i = 0; i < n; i++)
					sizes[i] = 1 + rig_random(rig, 5000);
				link_send_pieces(link, sizes, n);
			}
			break;
		case 4:
			rig_turn(rig, 0);
			break;
		default:
			rig_next(rig);
		}
		if (spins % 256)
			continue;
		for (unsigned i = 0; i < LINKS && all; i++) {
			link = &rig->links[i];
			all = link->written >= BYTES && link->received == link->written && link->sent >= BYTES &&
			      link->read == link->sent;
		}
		if (all)
			break;
	}
	ck_assert_msg(spins < 10000000, "the streams do not end");
	rig_stop(rig);
}
END_TEST

static void flood(struct rig *rig, struct link *link, const struct io_event *event)
{
	/* The first half of the links have peers that are always a write ahead of us. */
	if (event->op == IO_RECV && event->res > 0 && link < (struct link *)rig->context)
		link_write(link, 100000);
}

/* Work between two waits is bounded, and so is what a quiet connection waits for. */
START_TEST(tireless_peers_starve_nobody)
{
	enum { LINKS = 8 };
	struct rig *rig = rig_start(_i, LINKS, 0);
	struct link *quiet[LINKS / 2];

	rig->on_event = flood;
	rig->context = &rig->links[LINKS / 2];
	for (unsigned i = 0; i < LINKS; i++)
		link_open(rig);
	for (unsigned i = 0; i < LINKS / 2; i++) {
		quiet[i] = &rig->links[LINKS / 2 + i];
		rig->links[i].keep_crediting = true;
		link_credit(&rig->links[i]);
		link_write(&rig->links[i], 100000);
	}
	for (unsigned round = 1; round <= 50; round++) {
		struct link *link = quiet[round % (LINKS / 2)];
		unsigned recvs = link->recvs, pulls = 0, waits = 0;

		link_credit(link);
		link_write_all(link, 10);
		while (link->recvs == recvs) {
			ck_assert_uint_lt(waits++, 200);
			ck_assert_int_eq(io_wait(rig->io, 10), 0);
			for (pulls = 0; rig_next(rig); pulls++)
				ck_assert_msg(pulls < 100000, "no end of events between two waits");
		}
	}
	rig_stop(rig);
}
END_TEST

/* The same for a reader that keeps up with a body without end. */
START_TEST(a_tireless_reader_starves_nobody)
{
	struct rig *rig = rig_start(_i, 2, 0);
	struct link *reader = link_open(rig), *quiet = link_open(rig);

	for (unsigned round = 1; round <= 200; round++) {
		link_credit(quiet);
		link_write_all(quiet, 10);
		for (unsigned waits = 0; quiet->recvs < round; waits++) {
			ck_assert_uint_lt(waits, 200);
			ck_assert_int_eq(io_wait(rig->io, 10), 0);
			for (unsigned pulls = 0; rig_next(rig); pulls++) {
				ck_assert_uint_lt(pulls, 100000);
				if (!reader->sending)
					link_send(reader, LINK_SEND_MAX);
				link_read(reader, 1 << 20);
			}
		}
		if (!reader->sending)
			link_send(reader, LINK_SEND_MAX);
	}
	rig_stop(rig);
}
END_TEST

void contract_load(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "load");

	contract_add(tcase, row, a_thousand_connections_receive_at_once, 0);
	contract_add(tcase, row, those_without_credits_starve_nobody, 0);
	contract_add(tcase, row, a_thousand_connections_answer, 0);
	contract_add(tcase, row, both_streams_are_whole_at_random, 0);
	contract_add(tcase, row, tireless_peers_starve_nobody, 0);
	contract_add(tcase, row, a_tireless_reader_starves_nobody, 0);
}
