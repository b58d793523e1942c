/*
 * contract_file.c - what io_send_file() promises: the bytes, all of them, from wherever in the file and whatever is
 * in the page cache. contract_version.c is about files that are written to.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "seam.h"

struct seam seam;

#define MIB (1u << 20)

/* Far more than any queue of these sockets, and little enough to be copied whole. */
#define MIDDLING (4 * MIB)

/* Whether the kernel tells cold pages from warm ones here: tmpfs does not, and files are copied. */
static bool tells_cold(const struct file *file)
{
	char byte;

	return preadv2(file->fd, &(struct iovec){ &byte, 1 }, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
}

static void make_cold(const struct file *file)
{
	ck_assert_int_eq(fsync(file->fd), 0);
	ck_assert_int_eq(posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

START_TEST(any_range_arrives_behind_any_memory)
{
	struct rig *rig = rig_start_files(_i, 1);
	struct link *link = link_open(rig);
	struct file file;

	file_make(&file, 300007);
	link_take_ranges(link, &file);
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

START_TEST(files_and_memory_take_turns_while_receiving_goes_on)
{
	struct rig *rig = rig_start_files(_i, 1);
	struct link *link = link_open(rig);
	struct file file;

	file_make(&file, MIDDLING);
	link->keep_crediting = true;
	link_credit(link);
	for (unsigned i = 0; i < 20; i++) {
		size_t size = 200;

		if (i % 2)
			link_send_file(link, &file, i, MIDDLING / 4, &size, 1);
		else
			link_send(link, 10000);
		link_write_all(link, 40000);
		link_read_all(link, link->sent - link->read);
		RIG_UNTIL(rig, link->sents == i + 1);
		ck_assert_int_eq(link->sent_res, 0);
	}
	RIG_UNTIL(rig, link->received == 20 * 40000);
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

static void a_slow_reader_gets_all(int row, uint64_t size)
{
	struct rig *rig = rig_start_files(row, 1);
	struct link *link = link_open(rig);
	size_t head = 250, steps = 0;
	uint64_t progress = 0;
	struct file file;

	file_make(&file, size);
	link->keep_crediting = true;
	link_credit(link);
	link_send_file(link, &file, 3, size - 3, &head, 1);
	rig_quiet(rig);
	ck_assert_uint_eq(link->sents, 0);
	while (link->read < link->sent) {
		uint64_t now = io_progress(rig->io, &link->conn);
		size_t left = link->sent - link->read;

		ck_assert_uint_ge(now, progress);
		progress = now;
		link_read_all(link, left < MIB ? left : MIB);
		if (steps++ % 8 == 0) {
			link_write_all(link, 1000);
			RIG_UNTIL(rig, link->received == link->written);
		}
	}
	RIG_UNTIL(rig, link->sents == 1);
	ck_assert_int_eq(link->sent_res, 0);
	RIG_UNTIL(rig, io_progress(rig->io, &link->conn) >= link->sent);
	if (size == file_large())
		ck_assert_int_eq(seam.splices > 0, tells_cold(&file));
	/* The socket is as it was: what follows is received, and sent whole. */
	link_write_all(link, 1000);
	RIG_UNTIL(rig, link->received == link->written);
	link_send(link, LINK_SEND_MAX);
	link_read_all(link, LINK_SEND_MAX);
	RIG_UNTIL(rig, link->sents == 2);
	rig_stop(rig);
	file_unmake(&file);
}

START_TEST(a_slow_reader_gets_a_file)
{
	a_slow_reader_gets_all(_i, MIDDLING);
}
END_TEST

START_TEST(a_slow_reader_gets_a_large_file)
{
	a_slow_reader_gets_all(_i, file_large());
}
END_TEST

START_TEST(progress_follows_what_the_reader_takes_of_a_file)
{
	struct rig *rig = rig_start_files(_i, 1);
	struct link *link = link_open(rig);
	unsigned moved = 0;
	struct file file;
	uint64_t last;

	file_make(&file, 2 * MIDDLING);
	link_send_file(link, &file, 0, 2 * MIDDLING, NULL, 0);
	rig_settle(rig);
	last = io_progress(rig->io, &link->conn);
	ck_assert_uint_lt(last, 2 * MIDDLING);
	while (link->sending) {
		uint64_t now;

		link_read_all(link, 256 * 1024);
		for (unsigned i = 0; i < 5; i++)
			rig_turn(rig, 1);
		now = io_progress(rig->io, &link->conn);
		ck_assert_uint_ge(now, last);
		moved += now > last;
		last = now;
	}
	ck_assert_uint_gt(moved, 4);
	link_read_all(link, link->sent - link->read);
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

START_TEST(a_peer_that_goes_ends_it)
{
	struct rig *rig = rig_start_files(_i, 4);
	uint64_t size = rig->row->peers->flags & PEER_KERNEL ? file_large() : MIDDLING;
	struct file file;

	file_make(&file, size);
	for (unsigned i = 0; i < 4; i++) {
		struct link *link = link_open(rig);

		link_send_file(link, &file, 0, i < 2 ? MIDDLING : size, NULL, 0);
		link_read_all(link, MIB);
		if (i % 2)
			link_credit(link);
		link_lose_peer(link);
	}
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

/* In every state, also while what is cold is being read; and the connection is used again at once. */
START_TEST(closing_in_the_middle_of_a_file)
{
	struct rig *rig = rig_start_files(_i, 8);
	struct file file;

	file_make(&file, MIDDLING);
	for (unsigned i = 0; i < 8; i++)
		link_open(rig);
	for (unsigned round = 0; round < 300; round++) {
		struct link *link = &rig->links[round % 8];
		unsigned turns = rig_random(rig, 4);

		if (round % 3 == 0)
			make_cold(&file);
		seam.cold = round % 5 == 0 ? INT_MAX : 0;
		if (link->open && !link->closing && !link->sending && !link->sents) {
			size_t head = 100;

			link_send_file(link, &file, rig_random(rig, MIDDLING / 2), MIDDLING / 2, &head, round % 2);
		}
		if (round % 7 == 0 && !link->credit)
			link_credit(link);
		for (; turns; turns--)
			rig_turn(rig, 0);
		if (rig_random(rig, 2))
			link_read(link, 100000);
		if (rig_random(rig, 2))
			link_write(link, 100);
		link_close(link);
		if (rig_random(rig, 2))
			rig_next(rig);
		RIG_UNTIL(rig, link->closeds == 1);
		link_reopen(link);
	}
	seam.cold = 0;
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

static void read_all_of(struct rig *rig, unsigned n)
{
	RIG_UNTIL(rig, ({
			  bool all = true;

			  for (unsigned i = 0; i < n; i++) {
				  link_read(&rig->links[i], 100000);
				  all &= rig->links[i].read == rig->links[i].sent && !rig->links[i].sending;
			  }
			  all;
		  }));
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(rig->links[i].sent_res, 0);
}

/* More of them than any backend reads for at a time. */
START_TEST(many_take_ranges_of_one_cold_file)
{
	enum { LINKS = 40 };
	struct rig *rig = rig_start_files(_i, LINKS);
	struct file file;

	file_make(&file, 2 * MIDDLING);
	for (unsigned i = 0; i < LINKS; i++)
		link_open(rig);
	for (unsigned round = 0; round < 3; round++) {
		make_cold(&file);
		for (unsigned i = 0; i < LINKS; i++) {
			uint64_t offset = rig_random(rig, 2 * MIDDLING), left = 2 * MIDDLING - offset;
			size_t head = 1 + i;

			link_send_file(&rig->links[i], &file, offset, left < MIB ? left : MIB, &head, i % 2);
		}
		read_all_of(rig, LINKS);
	}
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

START_TEST(two_loops_read_side_by_side)
{
	struct rig *rig = rig_start_files(_i, 4), *other = rig_start_files(_i, 4);
	struct file file;

	file_make(&file, MIDDLING);
	for (unsigned round = 0; round < 3; round++) {
		make_cold(&file);
		for (unsigned i = 0; i < 4; i++) {
			struct link *one = round ? &rig->links[i] : link_open(rig);
			struct link *two = round ? &other->links[i] : link_open(other);

			link_send_file(one, &file, i, MIDDLING / 2, NULL, 0);
			link_send_file(two, &file, MIDDLING / 2 - i, MIDDLING / 2, NULL, 0);
		}
		rig_turn(rig, 0);
		rig_turn(other, 0);
		read_all_of(other, 4);
		read_all_of(rig, 4);
	}
	/* One goes while the other has something to be read. */
	make_cold(&file);
	for (unsigned i = 0; i < 4; i++) {
		link_send_file(&rig->links[i], &file, i, MIDDLING / 2, NULL, 0);
		link_send_file(&other->links[i], &file, i, MIDDLING / 2, NULL, 0);
	}
	rig_turn(rig, 0);
	rig_turn(other, 0);
	rig_stop(other);
	read_all_of(rig, 4);
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

/* What the page cache says from call to call; what a file system does not know; what a socket takes at a time. */
START_TEST(rare_answers_of_the_kernel)
{
	const struct {
		int cold, counted, nowait, spliced, splice_max;
	} answers[] = {
		{ .cold = INT_MAX },
		{ .cold = 2 },
		{ .cold = 7 },
		{ .nowait = EOPNOTSUPP },
		{ .spliced = EINVAL },
		{ .splice_max = 1000000 },
		{ .splice_max = 70001 },
		{ .nowait = EOPNOTSUPP, .spliced = EINVAL },
		{ .nowait = ENOSYS },
		{ .counted = EPERM },
		{ .counted = ENOSYS, .cold = 3 },
	};
	uint64_t size = file_large();
	struct file file;

	file_make(&file, size);
	for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct rig *rig = rig_start_files(_i, 1);
		struct link *link = link_open(rig);
		size_t head = 100;

		seam.cold = answers[i].cold;
		seam.counted = answers[i].counted;
		seam.nowait = answers[i].nowait;
		seam.spliced = answers[i].spliced;
		seam.splice_max = answers[i].splice_max;
		seam.reads = seam.splices = 0;
		link_send_file(link, &file, 0, size, &head, 1);
		link_read_all(link, link->sent);
		RIG_UNTIL(rig, link->sents == 1);
		ck_assert_int_eq(link->sent_res, 0);
		ck_assert_int_gt(seam.reads, 0);
		seam = (struct seam){ 0 };
		rig_stop(rig);
	}
	file_unmake(&file);
}
END_TEST

/* Sends a large file whole, with what is remembered of it in warm; gives whether the kernel tells cold pages of it. */
static bool send_remembering(int row, uint32_t warm[static FILE_WARM_PARTS])
{
	struct rig *rig = rig_start_files(row, 1);
	struct link *link = link_open(rig);
	uint64_t size = file_large();
	struct file file;
	bool tells;

	file_make(&file, size);
	file.warm = warm;
	link_send_file(link, &file, 0, size, NULL, 0);
	link_read_all(link, size);
	RIG_UNTIL(rig, link->sents == 1);
	ck_assert_int_eq(link->sent_res, 0);
	tells = tells_cold(&file);
	rig_stop(rig);
	file_unmake(&file);
	return tells;
}

START_TEST(what_was_seen_is_remembered)
{
	uint32_t warm[FILE_WARM_PARTS] = { 0 };
	bool tells = send_remembering(_i, warm);

	ck_assert_int_eq(warm[0] != 0, tells);
	ck_assert_uint_eq(warm[FILE_WARM_PARTS - 1], 0); /* its end is copied */
}
END_TEST

/* What is remembered is taken for granted a while, but not any more when a page of it is gone. */
START_TEST(what_was_remembered_is_forgotten_when_a_page_is_gone)
{
	uint32_t warm[FILE_WARM_PARTS];
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC_COARSE, &now), 0);
	for (unsigned i = 0; i < FILE_WARM_PARTS; i++)
		warm[i] = (uint32_t)now.tv_sec;
	seam.cold = INT_MAX;
	send_remembering(_i, warm);
	seam.cold = 0;
	for (unsigned i = 0; i < FILE_WARM_PARTS; i++)
		ck_assert_uint_eq(warm[i], 0);
}
END_TEST

START_TEST(an_error_of_the_disk_is_the_result)
{
	struct rig *rig = rig_start_files(_i, 2);
	struct file file, folder;
	struct stat stat;

	/* Reading a directory fails, and always the same way. */
	file_make(&file, 1000);
	folder = file;
	folder.fd = open("/", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(fstat(folder.fd, &stat), 0);
	folder.size = (uint64_t)stat.st_size;
	folder.mtime = stat.st_mtim;
	folder.ctime = stat.st_ctim;
	folder.nlink = (uint32_t)stat.st_nlink;
	for (unsigned i = 0; i < 2; i++) {
		struct link *link = link_open(rig);

		seam.cold = i ? INT_MAX : 0;
		link_send_file(link, &folder, 0, 1, NULL, 0);
		RIG_UNTIL(rig, link->sents == 1);
		ck_assert_int_eq(link->sent_res, -EISDIR);
	}
	seam.cold = 0;
	rig_stop(rig);
	close(folder.fd);
	file_unmake(&file);
}
END_TEST

void contract_file(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "file");

	contract_add(tcase, row, any_range_arrives_behind_any_memory, 0);
	contract_add(tcase, row, files_and_memory_take_turns_while_receiving_goes_on, 0);
	contract_add(tcase, row, a_slow_reader_gets_a_file, 0);
	contract_add(tcase, row, a_slow_reader_gets_a_large_file, PEER_KERNEL);
	contract_add(tcase, row, progress_follows_what_the_reader_takes_of_a_file, 0);
	contract_add(tcase, row, a_peer_that_goes_ends_it, 0);
	contract_add(tcase, row, closing_in_the_middle_of_a_file, 0);
	contract_add(tcase, row, many_take_ranges_of_one_cold_file, 0);
	contract_add(tcase, row, two_loops_read_side_by_side, PEER_KERNEL);
	contract_add(tcase, row, rare_answers_of_the_kernel, PEER_KERNEL);
	contract_add(tcase, row, what_was_remembered_is_forgotten_when_a_page_is_gone, PEER_KERNEL);
	contract_add(tcase, row, what_was_seen_is_remembered, PEER_KERNEL);
	contract_add(tcase, row, an_error_of_the_disk_is_the_result, PEER_KERNEL);
}
