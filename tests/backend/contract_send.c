/*
 * contract_send.c - what IO_SENT promises, and io_shutdown() and io_progress().
 */
#include "contract.h"

#include <stdlib.h>
#include <string.h>

START_TEST(all_numbers_of_pieces_arrive)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	size_t sizes[IO_SEND_IOVS];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned n = 1; n <= IO_SEND_IOVS; n++) {
			unsigned sents = link->sents;

			for (unsigned i = 0; i < n; i++)
				sizes[i] = round == 0 ? 1 : 1 + rig_random(rig, round == 1 ? 300 : 20000);
			link_send_pieces(link, sizes, n);
			link_read_all(link, link->sent - link->read);
			RIG_UNTIL(rig, link->sents == sents + 1);
			ck_assert_int_eq(link->sent_res, 0);
		}
	}
	rig_quiet(rig);
	rig_stop(rig);
}
END_TEST

START_TEST(a_large_body_reaches_a_slow_reader)
{
	size_t size = 64u << 20;
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	char *memory = malloc(size);
	uint64_t progress = 0;

	ck_assert_ptr_nonnull(memory);
	link_send_memory(link, memory, &size, 1);
	rig_quiet(rig);
	ck_assert_uint_eq(link->sents, 0);
	while (link->read < size) {
		uint64_t now = io_progress(rig->io, &link->conn);

		ck_assert_uint_ge(now, progress);
		progress = now;
		link_read_all(link, size - link->read < (1u << 20) ? size - link->read : 1u << 20);
	}
	RIG_UNTIL(rig, link->sents == 1);
	ck_assert_int_eq(link->sent_res, 0);
	rig_quiet(rig);
	ck_assert_uint_eq(link->sents, 1);
	ck_assert_uint_ge(io_progress(rig->io, &link->conn), size);
	rig_stop(rig);
	free(memory);
}
END_TEST

/* A piece larger than any backend sends at once, in the first, the middle and the last place. */
START_TEST(a_head_and_a_large_body_arrive_as_one)
{
	size_t size = 5u << 20;
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	char *memory = malloc(size + 200);

	ck_assert_ptr_nonnull(memory);
	for (unsigned i = 0; i < 3; i++) {
		size_t sizes[3] = { 100, 100, 100 };

		sizes[i] = size;
		link_send_memory(link, memory, sizes, 3);
		link_read_all(link, size + 200);
		RIG_UNTIL(rig, link->sents == i + 1);
		ck_assert_int_eq(link->sent_res, 0);
	}
	rig_stop(rig);
	free(memory);
}
END_TEST

START_TEST(sent_means_that_the_kernel_has_it_all)
{
	size_t size = 16u << 20;
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	char *memory = malloc(size);

	ck_assert_ptr_nonnull(memory);
	link_send_memory(link, memory, &size, 1);
	rig_quiet(rig);
	ck_assert(link->sending);
	while (link->sending) {
		link_read(link, 65536);
		rig_turn(rig, 1);
	}
	/* The memory is ours again, unless it is lent: what the peer has not read yet must not change with it. */
	if (link->lents == 0)
		memset(memory, 0xdd, size);
	link_read_all(link, size - link->read);
	RIG_UNTIL(rig, link->lents == 0);
	memset(memory, 0xdd, size);
	rig_stop(rig);
	free(memory);
}
END_TEST

START_TEST(small_sends_follow_one_another)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);

	for (unsigned i = 1; i <= 1000; i++) {
		char memory[256];
		size_t size = 1 + rig_random(rig, sizeof(memory));

		link_send_memory(link, memory, &size, 1);
		RIG_UNTIL(rig, link->sents == i);
		ck_assert_int_eq(link->sent_res, 0);
		memset(memory, 0xdd, sizeof(memory));
		if (i % 50 == 0)
			link_read_all(link, link->sent - link->read);
	}
	rig_stop(rig);
}
END_TEST

/* Without a handler for SIGPIPE: the signal would end this process. */
START_TEST(sending_to_a_closed_peer_is_an_error)
{
	struct rig *rig = rig_start(_i, 2, 0);
	size_t two[2] = { 10, 10 };

	for (unsigned i = 0; i < 2; i++) {
		struct link *link = link_open(rig);

		link->peer.ops->close(&link->peer);
		for (unsigned k = 1; link->sent_res == 0; k++) {
			ck_assert_uint_lt(k, 100);
			link_send_pieces(link, two, i + 1);
			RIG_UNTIL(rig, link->sents == k);
			rig_turn(rig, 5);
		}
		ck_assert_int_lt(link->sent_res, 0);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(a_stuck_send_ends_when_the_peer_goes)
{
	struct rig *rig = rig_start(_i, 3, 0);
	struct link *reset = link_open(rig), *closed = link_open(rig), *both = link_open(rig);

	link_get_stuck(reset);
	link_get_stuck(closed);
	link_get_stuck(both);
	link_credit(both);
	rig_quiet(rig);
	reset->peer.ops->reset(&reset->peer);
	closed->peer.ops->close(&closed->peer);
	both->peer.ops->reset(&both->peer);
	RIG_UNTIL(rig, !reset->sending && !closed->sending && !both->sending && !both->credit);
	ck_assert_int_lt(reset->sent_res, 0);
	ck_assert_int_lt(closed->sent_res, 0);
	ck_assert_int_lt(both->sent_res, 0);
	ck_assert_int_le(both->recv_res, 0);
	rig_quiet(rig);
	rig_stop(rig);
}
END_TEST

START_TEST(shutdown_is_a_fin_after_the_bytes)
{
	struct rig *rig = rig_start(_i, 2, 0);

	for (unsigned i = 0; i < 2; i++) {
		struct link *link = link_open(rig);

		link->keep_crediting = true;
		if (i)
			link_credit(link);
		link_send(link, 50000);
		RIG_UNTIL(rig, (link_read(link, 20000), link->sents == 1));
		io_shutdown(rig->io, &link->conn);
		link_read_all(link, link->sent - link->read);
		RIG_UNTIL(rig, (link_read(link, 1), link->peer_eof));
		ck_assert_int_eq(link->peer_error, 0);
		/* The other direction is open: lingering reads on until the peer ends, too. */
		if (!i)
			link_credit(link);
		link_write_all(link, 30000);
		RIG_UNTIL(rig, link->received == 30000);
		link->peer.ops->shutdown(&link->peer);
		RIG_UNTIL(rig, link->ended);
		ck_assert_int_eq(link->recv_res, 0);
		ck_assert_uint_eq(link->sents, 1);
	}
	rig_stop(rig);
}
END_TEST

START_TEST(progress_follows_what_the_reader_takes)
{
	size_t size = 8u << 20;
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	char *memory = malloc(size);
	unsigned moved = 0, steps = 0;
	uint64_t last;

	ck_assert_ptr_nonnull(memory);
	link_send_memory(link, memory, &size, 1);
	rig_settle(rig);
	last = io_progress(rig->io, &link->conn);
	ck_assert_uint_lt(last, size);
	rig_quiet(rig);
	ck_assert_msg(io_progress(rig->io, &link->conn) == last, "progress moves for a reader that does not read");

	/*
	 * A trickle must show, long before IO_SENT; not for each read, since a window opens in steps, and where the
	 * kernel does not count acknowledgements (Unix sockets), a backend's own pieces are what is seen.
	 */
	while (link->sending) {
		uint64_t now;

		link_read_all(link, 256 * 1024);
		for (unsigned i = 0; i < 5; i++)
			rig_turn(rig, 1);
		now = io_progress(rig->io, &link->conn);
		ck_assert_uint_ge(now, last);
		moved += now > last;
		steps++;
		last = now;
	}
	ck_assert_uint_gt(moved, rig->row->peers->flags & PEER_ACKS ? steps / 2 : 4);
	link_read_all(link, size - link->read);
	RIG_UNTIL(rig, io_progress(rig->io, &link->conn) >= size);
	rig_stop(rig);
	free(memory);
}
END_TEST

/* The kernel's buffer swallows a small answer whole; only what the peer has taken tells a dead reader from a live one. */
START_TEST(progress_counts_what_the_peer_has_taken)
{
	struct rig *rig = rig_start(_i, 1, 0);
	struct link *link = link_open(rig);
	uint64_t taken;

	link_get_stuck(link);
	taken = io_progress(rig->io, &link->conn);
	ck_assert_uint_lt(taken, link->sent);
	link_read_all(link, link->sent);
	RIG_UNTIL(rig, io_progress(rig->io, &link->conn) >= link->sent);
	rig_stop(rig);
}
END_TEST

void contract_send(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "send");

	contract_add(tcase, row, all_numbers_of_pieces_arrive, 0);
	contract_add(tcase, row, a_large_body_reaches_a_slow_reader, 0);
	contract_add(tcase, row, a_head_and_a_large_body_arrive_as_one, 0);
	contract_add(tcase, row, sent_means_that_the_kernel_has_it_all, 0);
	contract_add(tcase, row, small_sends_follow_one_another, 0);
	contract_add(tcase, row, sending_to_a_closed_peer_is_an_error, 0);
	contract_add(tcase, row, a_stuck_send_ends_when_the_peer_goes, 0);
	contract_add(tcase, row, shutdown_is_a_fin_after_the_bytes, 0);
	contract_add(tcase, row, progress_follows_what_the_reader_takes, 0);
	contract_add(tcase, row, progress_counts_what_the_peer_has_taken, PEER_ACKS);
}
