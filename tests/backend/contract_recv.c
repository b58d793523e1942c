/*
 * contract_recv.c - credits, loans, backpressure, and the ends of the incoming stream.
 */
#include "contract.h"

#include <string.h>
#include <sys/socket.h>

/* Enough to fill any peer's buffers and ours. */
#define FLOOD (64u * 1024 * 1024)

START_TEST(a_credit_gives_exactly_one_recv)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	for (unsigned i = 1; i <= 10; i++) {
		link_write_all(link, 100);
		link_write_all(link, 100);
		rig_quiet(rig);
		ck_assert_uint_eq(link->recvs, i - 1);
		link_credit(link);
		RIG_UNTIL(rig, link->recvs == i);
		rig_quiet(rig);
		ck_assert_uint_eq(link->recvs, i);
		ck_assert_int_gt(link->recv_res, 0);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(a_credit_waits_for_bytes)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	for (unsigned i = 1; i <= 5; i++) {
		link_credit(link);
		rig_quiet(rig);
		ck_assert_uint_eq(link->recvs, i - 1);
		link_write_all(link, 1);
		RIG_UNTIL(rig, link->recvs == i);
		ck_assert_int_eq(link->recv_res, 1);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(bytes_that_were_there_before_open_are_received)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_new(rig);
	int fd;

	ck_assert_int_eq(rig->row->peers->pair(rig->io, &link->peer, &fd), 0);
	ck_assert_int_eq(link->peer.ops->write(&link->peer, "x", 1), 1);
	link->peer.ops->shutdown(&link->peer);
	link->rig = rig;
	/* The stream's first byte has no place in the table: so it is looked at here, and not by the rig. */
	link->open = true;
	io_open(rig->io, &link->conn, fd);
	io_recv(rig->io, &link->conn);
	for (unsigned turns = 0, seen = 0; seen < 2; turns++) {
		struct io_event event;

		ck_assert_uint_lt(turns, 1000);
		ck_assert_int_eq(io_wait(rig->io, 10), 0);
		while (io_next(rig->io, &event)) {
			ck_assert_int_eq(event.op, IO_RECV);
			ck_assert_int_eq(event.res, seen == 0 ? 1 : 0);
			ck_assert(seen || memcmp(event.data, "x", 1) == 0);
			if (seen++ == 0)
				io_recv(rig->io, &link->conn);
		}
	}
	rig_stop(rig);
}
END_TEST

/* A receive that fills the largest loan exactly, and no more or a FIN behind it: where "short means drained" ends. */
START_TEST(a_full_loan_is_no_promise_of_more)
{
	struct rig *rig = rig_start(_i, 2, 0);
	struct link *quiet = link_open(rig), *ended = link_open(rig);

	link_write_all(quiet, IO_RECV_MAX);
	link_write_all(ended, IO_RECV_MAX);
	ended->peer.ops->shutdown(&ended->peer);
	rig_quiet(rig);
	quiet->keep_crediting = ended->keep_crediting = true;
	link_credit(quiet);
	link_credit(ended);
	rig_quiet(rig);
	ck_assert_uint_eq(quiet->received, IO_RECV_MAX);
	ck_assert(!quiet->ended);
	ck_assert_uint_eq(ended->received, IO_RECV_MAX);
	ck_assert(ended->ended && ended->recv_res == 0);
	link_write_all(quiet, 1);
	RIG_UNTIL(rig, quiet->received == IO_RECV_MAX + 1);
	rig_stop(rig);
}
END_TEST

static struct {
	unsigned char copy[IO_RECV_MAX];
	struct link *other;
	struct link *spare;
	unsigned loans;
} loan;

/* Submits what a caller may submit while it looks at a loan, and then looks again. */
static void loan_hold(struct rig *rig, struct link *link, const struct io_event *event)
{
	if (event->op != IO_RECV || event->res <= 0)
		return;
	memcpy(loan.copy, event->data, (size_t)event->res);
	loan.loans++;
	link_credit(link);
	if (loan.other != link && !loan.other->credit)
		link_credit(loan.other);
	if (!link->sending)
		link_send(link, 1 + rig_random(rig, 5000));
	if (loan.loans == 3)
		link_close(loan.spare);
	ck_assert_mem_eq(loan.copy, event->data, (size_t)event->res);
}

START_TEST(a_loan_lasts_until_the_next_pull)
{
	struct rig *rig = rig_start(_i, 3, 0);

	memset(&loan, 0, sizeof(loan));
	loan.spare = link_open(rig);
	loan.other = link_open(rig);
	link_open(rig);
	rig->on_event = loan_hold;
	link_write_all(loan.spare, 3000);
	rig_quiet(rig);
	link_credit(loan.other);
	link_credit(&rig->links[2]);
	for (unsigned i = 0; i < 100 || loan.loans <= 100; i++) {
		ck_assert_uint_lt(i, 20000);
		for (unsigned k = 1; k < 3; k++) {
			link_write(&rig->links[k], 1 + rig_random(rig, 20000));
			link_read(&rig->links[k], 1 << 20);
		}
		rig_turn(rig, 1);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(no_credit_stops_the_peer_and_loses_nothing)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	size_t before;

	/* One receive first: a backend may behave differently once it has seen a connection's traffic. */
	for (unsigned round = 0; round < 2; round++) {
		do {
			before = link->written;
			link_write(link, FLOOD);
			rig_quiet(rig);
		} while (link->written > before);
		ck_assert_uint_lt(link->written - link->received, FLOOD);
		ck_assert_uint_eq(link->recvs, round);
		link_credit(link);
		RIG_UNTIL(rig, link->recvs == round + 1);
		rig_quiet(rig);
		ck_assert_uint_eq(link->recvs, round + 1);
	}
	link->keep_crediting = true;
	link_credit(link);
	RIG_UNTIL(rig, link->received == link->written);
	/* And what was stopped can go on. */
	link_write_all(link, 1 << 20);
	RIG_UNTIL(rig, link->received == link->written);
	rig_stop(rig);
}
END_TEST

START_TEST(bytes_without_a_credit_wait_in_order)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	link_credit(link);
	link_write_all(link, 10);
	RIG_UNTIL(rig, link->recvs == 1);
	for (unsigned i = 0; i < 300; i++) {
		link_write(link, 1 + rig_random(rig, 3000));
		if (i % 7 == 0)
			rig_turn(rig, 0);
		if (i % 11 == 0 && !link->credit)
			link_credit(link);
	}
	link->keep_crediting = true;
	if (!link->credit)
		link_credit(link);
	RIG_UNTIL(rig, link->received == link->written);
	rig_stop(rig);
}
END_TEST

START_TEST(a_fin_comes_after_the_bytes)
{
	static const size_t sizes[] = { 1, 100, 5000, 40000 };
	struct rig *rig = rig_start(_i, 8, 0);

	for (unsigned i = 0; i < 8; i++) {
		struct link *link = link_open(rig);

		link->keep_crediting = true;
		if (i < 4)
			link_credit(link);
		link_write_all(link, sizes[i % 4]);
		link->peer.ops->shutdown(&link->peer);
	}
	for (unsigned i = 4; i < 8; i++)
		link_credit(&rig->links[i]);
	for (unsigned i = 0; i < 8; i++) {
		struct link *link = &rig->links[i];

		RIG_UNTIL(rig, link->ended);
		ck_assert_int_eq(link->recv_res, 0);
		ck_assert_uint_eq(link->received, sizes[i % 4]);
	}
	rig_quiet(rig);
	rig_stop(rig);
}
END_TEST

START_TEST(a_fin_meets_a_credit_and_waits_for_one)
{
	struct rig *rig = rig_start(_i, 3, 0);
	struct link *with = link_open(rig), *without = link_open(rig), *later = link_open(rig);

	link_credit(with);
	link_credit(later);
	link_write_all(later, 1);
	RIG_UNTIL(rig, later->recvs == 1);
	rig_quiet(rig);
	with->peer.ops->shutdown(&with->peer);
	without->peer.ops->shutdown(&without->peer);
	later->peer.ops->shutdown(&later->peer);
	RIG_UNTIL(rig, with->ended);
	ck_assert_int_eq(with->recv_res, 0);
	rig_quiet(rig);
	ck_assert_uint_eq(without->recvs, 0);
	ck_assert_uint_eq(later->recvs, 1);
	link_credit(without);
	link_credit(later);
	RIG_UNTIL(rig, without->ended && later->ended);
	ck_assert_int_eq(without->recv_res, 0);
	ck_assert_int_eq(later->recv_res, 0);
	rig_stop(rig);
}
END_TEST

START_TEST(a_half_closed_peer_gets_its_answer)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	link->keep_crediting = true;
	link_credit(link);
	link_write_all(link, 500);
	link->peer.ops->shutdown(&link->peer);
	RIG_UNTIL(rig, link->ended);
	rig_quiet(rig);
	for (unsigned i = 1; i <= 10; i++) {
		link_send(link, 60000);
		link_read_all(link, 60000);
		RIG_UNTIL(rig, link->sents == i);
		ck_assert_int_eq(link->sent_res, 0);
	}
	link_close(link);
	RIG_UNTIL(rig, (link_read(link, 1), link->peer_eof));
	rig_stop(rig);
}
END_TEST

START_TEST(a_reset_ends_a_receive_with_an_error)
{
	struct rig *rig = rig_start(_i, 3, 0);
	struct link *with = link_open(rig), *without = link_open(rig), *later = link_open(rig);

	link_credit(with);
	link_credit(later);
	link_write_all(later, 1);
	RIG_UNTIL(rig, later->recvs == 1);
	with->peer.ops->reset(&with->peer);
	without->peer.ops->reset(&without->peer);
	later->peer.ops->reset(&later->peer);
	RIG_UNTIL(rig, with->ended);
	ck_assert_int_lt(with->recv_res, 0);
	rig_quiet(rig);
	ck_assert_uint_eq(without->recvs, 0);
	ck_assert_uint_eq(later->recvs, 1);
	link_credit(without);
	link_credit(later);
	RIG_UNTIL(rig, without->ended && later->ended);
	ck_assert_int_lt(without->recv_res, 0);
	ck_assert_int_lt(later->recv_res, 0);
	rig_stop(rig);
}
END_TEST

/* What was written before a reset may be lost with it, but never in part out of order, and the error does come. */
START_TEST(a_reset_behind_bytes_comes_through)
{
	struct rig *rig = rig_start(_i, 2, 0);

	for (unsigned i = 0; i < 2; i++) {
		struct link *link = link_open(rig);

		link->keep_crediting = true;
		if (i)
			link_credit(link);
		link_write_all(link, 40000);
		link->peer.ops->reset(&link->peer);
		if (!i)
			link_credit(link);
		RIG_UNTIL(rig, link->ended);
		ck_assert_int_lt(link->recv_res, 0);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(receiving_goes_on_beside_a_stuck_send)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	link_get_stuck(link);
	link->keep_crediting = true;
	link_credit(link);
	for (unsigned i = 0; i < 50; i++) {
		link_write_all(link, 5000);
		RIG_UNTIL(rig, link->received == link->written);
		if (!link->sending)
			link_get_stuck(link); /* acknowledgements that were late have made room */
	}
	link_read_all(link, link->sent);
	RIG_UNTIL(rig, !link->sending);
	ck_assert_int_eq(link->sent_res, 0);
	rig_stop(rig);
}
END_TEST

/* TCP cuts a read short at the mark of urgent data, whatever follows it. The urgent byte itself is out of band. */
START_TEST(urgent_data_does_not_hide_what_follows)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	link->keep_crediting = true;
	for (unsigned round = 0; round < 3; round++) {
		size_t end = link->received + 600;

		link_write_all(link, 300);
		ck_assert_int_eq(send(link->peer.fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
		link_write_all(link, 300);
		if (!link->credit)
			link_credit(link);
		RIG_UNTIL(rig, link->received == end);
	}
	rig_stop(rig);
}
END_TEST

void contract_recv(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "recv");

	contract_add(tcase, row, a_credit_gives_exactly_one_recv, 0);
	contract_add(tcase, row, a_credit_waits_for_bytes, 0);
	contract_add(tcase, row, bytes_that_were_there_before_open_are_received, 0);
	contract_add(tcase, row, a_full_loan_is_no_promise_of_more, 0);
	contract_add(tcase, row, a_loan_lasts_until_the_next_pull, 0);
	contract_add(tcase, row, no_credit_stops_the_peer_and_loses_nothing, 0);
	contract_add(tcase, row, bytes_without_a_credit_wait_in_order, 0);
	contract_add(tcase, row, a_fin_comes_after_the_bytes, 0);
	contract_add(tcase, row, a_fin_meets_a_credit_and_waits_for_one, 0);
	contract_add(tcase, row, a_half_closed_peer_gets_its_answer, 0);
	contract_add(tcase, row, a_reset_ends_a_receive_with_an_error, PEER_RESETS);
	contract_add(tcase, row, a_reset_behind_bytes_comes_through, PEER_RESETS);
	contract_add(tcase, row, receiving_goes_on_beside_a_stuck_send, 0);
	contract_add(tcase, row, urgent_data_does_not_hide_what_follows, PEER_KERNEL | PEER_ACKS);
}
