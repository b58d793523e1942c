/*
 * contract_sealed.c - what io_send_file() promises of sealed memory: the bytes, by reference all of them, and nothing is asked
 * of a disk. io_config.sealed alone is enough.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "seam.h"

#define MIB (1u << 20)

/* Far more than any queue of these sockets. */
#define LONG (16 * MIB)

/* What a connection has taken that may have more unsent. */
#define PROVEN (512 * 1024)

START_TEST(any_range_of_sealed_memory_arrives_behind_any_memory)
{
	struct rig *rig = rig_start_sealed(_i, 1);
	struct link *link = link_open(rig);
	struct file file;

	file_seal(&file, 300007);
	link_take_ranges(link, &file);
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

START_TEST(all_of_it_goes_by_reference)
{
	struct rig *rig = rig_start_sealed(_i, 1);
	struct link *link = link_open(rig);
	size_t head = 250;
	struct file file;

	file_seal(&file, LONG);
	seam.splices = seam.moves = seam.reads = 0;
	link_send_file(link, &file, 1, 1, &head, 1);
	link_read_all(link, head + 1);
	RIG_UNTIL(rig, link->sents == 1);
	ck_assert_int_eq(seam.moves, 1);
	link_send_file(link, &file, 0, LONG, &head, 1);
	link_read_all(link, head + LONG);
	RIG_UNTIL(rig, link->sents == 2);
	ck_assert_int_gt(seam.moves, 2);
	ck_assert_int_eq(seam.splices + seam.reads, 0);
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

START_TEST(a_slow_reader_gets_sealed_memory)
{
	struct rig *rig = rig_start_sealed(_i, 1);
	struct link *link = link_open(rig);
	size_t head = 250, steps = 0;
	uint64_t progress = 0;
	struct file file;
	int flags = fcntl(link->conn.fd, F_GETFL);

	file_seal(&file, LONG);
	link->keep_crediting = true;
	link_credit(link);
	link_send_file(link, &file, 3, LONG - 3, &head, 1);
	rig_quiet(rig);
	ck_assert_uint_eq(link->sents, 0);
	while (link->read < link->sent) {
		uint64_t now = io_progress(rig->io, &link->conn);
		size_t left = link->sent - link->read;

		ck_assert_uint_ge(now, progress);
		progress = now;
		link_read_all(link, left < MIB ? left : MIB);
		if (steps++ % 4 == 0) {
			link_write_all(link, 1000);
			RIG_UNTIL(rig, link->received == link->written);
		}
	}
	RIG_UNTIL(rig, link->sents == 1);
	ck_assert_int_eq(link->sent_res, 0);
	/* The socket is as it was: what follows is received, and sent whole. */
	ck_assert_int_eq(fcntl(link->conn.fd, F_GETFL), flags);
	link_write_all(link, 1000);
	RIG_UNTIL(rig, link->received == link->written);
	link_send(link, LINK_SEND_MAX);
	link_read_all(link, LINK_SEND_MAX);
	RIG_UNTIL(rig, link->sents == 2);
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

START_TEST(what_waits_in_a_queue_outlives_the_memory)
{
	struct rig *rig = rig_start_sealed(_i, 1);
	struct link *link = link_open(rig);
	struct file file;

	file_seal(&file, 30000);
	link_send_file(link, &file, 0, 30000, NULL, 0);
	RIG_UNTIL(rig, link->sents == 1);
	file_unseal(&file);
	link_read_all(link, 30000);
	rig_stop(rig);
}
END_TEST

START_TEST(rare_answers_of_the_kernel_about_sealed_memory)
{
	static const struct {
		int referred, moved, move_max;
	} cases[] = { { 0, 0, 1 << 12 }, { 0, 0, 99999 },  { ENOMEM, 0, 0 },
		      { EPERM, 0, 0 },   { 0, EINVAL, 0 }, { 0, ENOSYS, 0 } };
	struct file file;

	file_seal(&file, 4 * MIB);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rig *rig = rig_start_sealed(_i, 1);
		struct link *link = link_open(rig);
		size_t head = 100;

		seam.referred = cases[i].referred;
		seam.moved = cases[i].moved;
		seam.move_max = cases[i].move_max;
		link_send_file(link, &file, 5, 4 * MIB - 5, &head, 1);
		link_read_all(link, link->sent);
		RIG_UNTIL(rig, link->sents == 1);
		ck_assert_int_eq(link->sent_res, 0);
		rig_stop(rig);
	}
	/* Any other error is the result. */
	for (unsigned i = 0; i < 2; i++) {
		struct rig *rig = rig_start_sealed(_i, 1);
		struct link *link = link_open(rig);

		seam.referred = seam.move_max = 0;
		seam.moved = i ? EIO : ENOMEM;
		link_send_file(link, &file, 0, 1000, NULL, 0);
		RIG_UNTIL(rig, link->sents == 1);
		ck_assert_int_eq(link->sent_res, -seam.moved);
		rig_stop(rig);
	}
	seam.moved = 0;
	file_unseal(&file);
}
END_TEST

static int may_be_unsent(const struct link *link)
{
	socklen_t size = sizeof(int);
	int value = -1;

	return getsockopt(link->conn.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &size) ? -1 : value;
}

/* Of a connection that has taken some: once for each of more sends than are allowed it at a time, whether they end or are closed. */
START_TEST(more_may_be_unsent_as_long_as_it_is_sent)
{
	static const int few = 65536;
	struct rig *rig = rig_start_sealed(_i, 1);
	struct link *link = link_open(rig);
	struct file file;
	bool tcp = may_be_unsent(link) >= 0;

	file_seal(&file, LONG);
	for (unsigned i = 0; tcp && i < 400; i++) {
		ck_assert_int_eq(setsockopt(link->conn.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &few, sizeof(few)), 0);
		while (link->conn.sent < PROVEN) {
			link_send_file(link, &file, 0, few, NULL, 0);
			link_read_all(link, link->sent - link->read);
			RIG_UNTIL(rig, !link->sending);
			ck_assert_int_eq(may_be_unsent(link), few); /* it fits anyhow */
		}
		link_send_file(link, &file, 0, 4 * MIB, NULL, 0);
		RIG_UNTIL(rig, may_be_unsent(link) > few);
		if (i % 3 == 0) {
			link_close(link);
			RIG_UNTIL(rig, link->closeds == 1);
			link_reopen(link);
			continue;
		}
		link_read_all(link, link->sent - link->read);
		RIG_UNTIL(rig, !link->sending);
		ck_assert_int_eq(may_be_unsent(link), few);
	}
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

/* Of one that has taken nothing yet not even a long one may. */
START_TEST(no_more_may_be_unsent_of_the_first_bytes)
{
	static const int few = 65536;
	struct rig *rig = rig_start_sealed(_i, 1);
	struct link *link = link_open(rig);
	struct file file;

	file_seal(&file, PROVEN);
	if (may_be_unsent(link) >= 0) {
		ck_assert_int_eq(setsockopt(link->conn.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &few, sizeof(few)), 0);
		link_send_file(link, &file, 0, PROVEN, NULL, 0);
		while (link->sending) {
			ck_assert_int_eq(may_be_unsent(link), few);
			rig_turn(rig, 5);
			link_read(link, link->sent - link->read);
		}
	}
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

/* The pipe cannot be emptied of what a socket did not take: nobody gets that instead of his own. */
START_TEST(a_pipe_that_is_stuck_is_used_no_more)
{
	struct rig *rig = rig_start_sealed(_i, 2);
	struct file file;

	file_seal(&file, LONG);
	for (unsigned i = 0; i < 2; i++) {
		struct link *link = link_open(rig);

		seam.stuck = EIO;
		link_send_file(link, &file, i, LONG - i, NULL, 0);
		rig_quiet(rig);
		link_read_all(link, LONG - i);
		RIG_UNTIL(rig, link->sents == 1);
		ck_assert_int_eq(link->sent_res, 0);
	}
	seam.stuck = 0;
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

START_TEST(a_peer_that_goes_ends_a_send_of_sealed_memory)
{
	struct rig *rig = rig_start_sealed(_i, 4);
	struct file file;

	file_seal(&file, LONG);
	for (unsigned i = 0; i < 4; i++) {
		struct link *link = link_open(rig);

		link_send_file(link, &file, 0, LONG, NULL, 0);
		link_read_all(link, i * MIB);
		if (i % 2)
			link_credit(link);
		link_lose_peer(link);
	}
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

START_TEST(closing_in_the_middle_of_sealed_memory)
{
	struct rig *rig = rig_start_sealed(_i, 8);
	struct file file;

	file_seal(&file, LONG);
	for (unsigned i = 0; i < 8; i++)
		link_open(rig);
	for (unsigned round = 0; round < 200; round++) {
		struct link *link = &rig->links[round % 8];
		unsigned turns = rig_random(rig, 4);

		if (link->open && !link->closing && !link->sending && !link->sents) {
			size_t head = 100;

			link_send_file(link, &file, rig_random(rig, LONG / 2), LONG / 2, &head, round % 2);
		}
		if (round % 7 == 0 && !link->credit)
			link_credit(link);
		for (; turns; turns--)
			rig_turn(rig, 0);
		if (rig_random(rig, 2))
			link_read(link, 100000);
		link_close(link);
		if (rig_random(rig, 2))
			rig_next(rig);
		RIG_UNTIL(rig, link->closeds == 1);
		link_reopen(link);
	}
	rig_stop(rig);
	file_unseal(&file);
}
END_TEST

/* A send of files and one of memory, beside each other and by turns. */
START_TEST(sealed_memory_and_other_sends_take_turns)
{
	struct rig *rig = rig_start_files(_i, 3);
	struct file sealed, file;

	file_seal(&sealed, 4 * MIB);
	file_make(&file, 4 * MIB);
	for (unsigned i = 0; i < 3; i++)
		link_open(rig);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 3; i++) {
			struct link *link = &rig->links[i];
			size_t head = 200;

			if ((round + i) % 3 == 2)
				link_send(link, LINK_SEND_MAX);
			else
				link_send_file(link, (round + i) % 3 ? &sealed : &file, round, 4 * MIB - round, &head,
				               1);
		}
		RIG_UNTIL(rig, ({
				  bool all = true;

				  for (unsigned i = 0; i < 3; i++) {
					  link_read(&rig->links[i], 300000);
					  all &= rig->links[i].read == rig->links[i].sent && !rig->links[i].sending;
				  }
				  all;
			  }));
		for (unsigned i = 0; i < 3; i++)
			ck_assert_int_eq(rig->links[i].sent_res, 0);
	}
	rig_stop(rig);
	file_unseal(&sealed);
	file_unmake(&file);
}
END_TEST

void contract_sealed(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "sealed");

	contract_add(tcase, row, any_range_of_sealed_memory_arrives_behind_any_memory, 0);
	contract_add(tcase, row, all_of_it_goes_by_reference, PEER_KERNEL);
	contract_add(tcase, row, a_slow_reader_gets_sealed_memory, PEER_KERNEL);
	contract_add(tcase, row, what_waits_in_a_queue_outlives_the_memory, PEER_KERNEL);
	contract_add(tcase, row, rare_answers_of_the_kernel_about_sealed_memory, PEER_KERNEL);
	contract_add(tcase, row, more_may_be_unsent_as_long_as_it_is_sent, PEER_KERNEL);
	contract_add(tcase, row, no_more_may_be_unsent_of_the_first_bytes, PEER_KERNEL);
	contract_add(tcase, row, a_pipe_that_is_stuck_is_used_no_more, PEER_KERNEL);
	contract_add(tcase, row, a_peer_that_goes_ends_a_send_of_sealed_memory, 0);
	contract_add(tcase, row, closing_in_the_middle_of_sealed_memory, 0);
	contract_add(tcase, row, sealed_memory_and_other_sends_take_turns, 0);
}
