/*
 * contract_version.c - io_send_file() and a file that is written to: what a peer reads whole is one version of it.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "seam.h"

#define MIB (1u << 20)

/* Far more than any queue of these sockets, and little enough to be copied whole. */
#define MIDDLING (4 * MIB)

static void overwrite(const struct file *file, uint64_t from, uint64_t to)
{
	static char other[65536];
	char path[64];
	int fd;

	memset(other, 0xee, sizeof(other));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	while (from < to) {
		ssize_t res = pwrite(fd, other, to - from < sizeof(other) ? to - from : sizeof(other), (off_t)from);

		ck_assert_int_gt(res, 0);
		from += (uint64_t)res;
	}
	close(fd);
}

/* What a peer has read of a file that was written to meanwhile: how much, and whether any of it was wrong. */
struct taken {
	size_t n;
	bool wrong;
};

/* Reads what is there, up to most, and turns the backend. */
static void take(struct link *link, struct taken *taken, size_t most)
{
	static char buffer[65536];
	size_t n = 0;

	while (n < most && !link->peer_eof && !link->peer_error) {
		size_t len = most - n < sizeof(buffer) ? most - n : sizeof(buffer);
		ssize_t res = link->peer.ops->read(&link->peer, buffer, len);

		if (res == -EAGAIN)
			break;
		if (res <= 0) {
			link->peer_eof = res == 0;
			link->peer_error = (int)res;
			break;
		}
		taken->wrong |= !link_matches(link, taken->n, buffer, (size_t)res);
		taken->n += (size_t)res;
		n += (size_t)res;
	}
	rig_turn(link->rig, n ? 0 : 1);
}

/* Reads until the send has ended and nothing comes any more. */
static void take_rest(struct link *link, struct taken *taken)
{
	size_t before;

	RIG_UNTIL(link->rig, (take(link, taken, 65536), !link->sending));
	do {
		before = taken->n;
		for (unsigned i = 0; i < 20; i++)
			take(link, taken, MIB);
	} while (taken->n > before);
	rig_quiet(link->rig);
	take(link, taken, MIB);
	ck_assert_uint_eq(taken->n, before);
}

/* Sent means sent: what the peer has not read yet is not the file's any more. */
static void written_to_afterwards(int row, uint64_t size)
{
	struct rig *rig = rig_start_files(row, 1);
	struct link *link = link_open(rig);
	struct taken taken = { 0 };
	struct file file;

	file_make(&file, size);
	link_send_file(link, &file, 0, size, NULL, 0);
	while (link->sending)
		take(link, &taken, 16384);
	ck_assert_int_eq(link->sent_res, 0);
	if (rig->row->peers->flags & PEER_KERNEL)
		ck_assert_uint_lt(taken.n, size);
	overwrite(&file, 0, size);
	take_rest(link, &taken);
	ck_assert_uint_eq(taken.n, size);
	ck_assert(!taken.wrong);
	link->read = link->sent;
	rig_stop(rig);
	file_unmake(&file);
}

START_TEST(what_was_sent_does_not_change_with_the_file)
{
	written_to_afterwards(_i, MIDDLING);
}
END_TEST

START_TEST(what_was_sent_does_not_change_with_a_large_file)
{
	written_to_afterwards(_i, file_large());
	ck_assert_int_gt(seam.splices, 0);
}
END_TEST

enum harm { REWRITTEN, REWRITTEN_BEHIND, TRUNCATED, GROWN, TOUCHED, HARMS };

static void do_harm(const struct file *file, enum harm harm, uint64_t at)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
	switch (harm) {
	case REWRITTEN:
		overwrite(file, 0, file->size);
		break;
	case REWRITTEN_BEHIND:
		overwrite(file, 0, at ? at : 1);
		break;
	case TRUNCATED:
		ck_assert_int_eq(truncate(path, (off_t)(at / 2)), 0);
		break;
	case GROWN:
		ck_assert_int_eq(truncate(path, (off_t)file->size + 1), 0);
		break;
	default:
		ck_assert_int_eq(futimens(file->fd, NULL), 0);
	}
}

static void changed_in_the_middle(int row, uint64_t size, unsigned rounds)
{
	struct rig *rig = rig_start_files(row, 1);
	struct link *link = link_new(rig);

	for (unsigned i = 0; i < rounds; i++) {
		size_t head = 100, point = rig_random(rig, size - 2 * MIB);
		struct taken taken = { 0 };
		struct file file;

		file_make(&file, size);
		link_reopen(link);
		link_send_file(link, &file, 0, size, &head, 1);
		RIG_UNTIL(rig, (take(link, &taken, point - taken.n), taken.n >= point || !link->sending));
		ck_assert(link->sending);
		rig_quiet(rig);
		do_harm(&file, i % HARMS, taken.n);
		take_rest(link, &taken);
		ck_assert_int_eq(link->sent_res, -ESTALE);
		ck_assert_msg(taken.n < size + head, "all bytes came, though the file had changed");
		link_close(link);
		RIG_UNTIL(rig, link->closeds == 1);
		file_unmake(&file);
	}
	rig_stop(rig);
}

START_TEST(a_change_in_the_middle_ends_it_unfinished)
{
	changed_in_the_middle(_i, MIDDLING, 4 * HARMS);
}
END_TEST

START_TEST(a_change_in_the_middle_ends_a_large_one_unfinished)
{
	changed_in_the_middle(_i, file_large(), HARMS);
	ck_assert_int_gt(seam.splices, 0);
}
END_TEST

/* Whenever it happens: all of the old one, or not all. */
START_TEST(a_whole_answer_is_never_of_two_versions)
{
	struct rig *rig = rig_start_files(_i, 1);
	struct link *link = link_new(rig);

	for (unsigned i = 0; i < 60; i++) {
		uint64_t size = 1000 + rig_random(rig, 2 * MIB);
		size_t point = rig_random(rig, (uint32_t)size);
		struct taken taken = { 0 };
		struct file file;

		file_make(&file, size);
		link_reopen(link);
		link_send_file(link, &file, 0, size, NULL, 0);
		for (unsigned turns = rig_random(rig, 20); turns; turns--)
			rig_turn(rig, 0);
		while (taken.n < point && link->sending)
			take(link, &taken, point - taken.n);
		overwrite(&file, 0, size);
		take_rest(link, &taken);
		if (link->sent_res == 0) {
			ck_assert_uint_eq(taken.n, size);
			ck_assert(!taken.wrong);
		} else {
			ck_assert_int_eq(link->sent_res, -ESTALE);
			ck_assert_uint_lt(taken.n, size);
		}
		link_close(link);
		RIG_UNTIL(rig, link->closeds == 1);
		file_unmake(&file);
	}
	rig_stop(rig);
}
END_TEST

static void overwrite_it(void *context)
{
	const struct file *file = context;

	overwrite(file, 0, file->size);
}

/* After the send has looked at the file, and before it has read of it: warm, and cold. */
START_TEST(a_change_under_its_hands_is_seen)
{
	struct rig *rig = rig_start_files(_i, 2);

	for (unsigned i = 0; i < 2; i++) {
		struct link *link = link_open(rig);
		struct taken taken = { 0 };
		struct file file;

		file_make(&file, 50000);
		seam = (struct seam){ .cold = i ? INT_MAX : 0, .before = overwrite_it, .context = &file };
		link_send_file(link, &file, 0, 50000, NULL, 0);
		take_rest(link, &taken);
		ck_assert_ptr_null(seam.before);
		ck_assert_int_eq(link->sent_res, -ESTALE);
		ck_assert_uint_lt(taken.n, 50000);
		seam = (struct seam){ 0 };
		link_close(link);
		RIG_UNTIL(rig, link->closeds == 1);
		file_unmake(&file);
	}
	rig_stop(rig);
}
END_TEST

/* The usual deploy: a new file takes the name, and who downloads the old one goes on. */
START_TEST(a_file_that_lost_its_name_is_sent_to_the_end)
{
	struct rig *rig = rig_start_files(_i, 1);
	struct link *link = link_open(rig);
	struct file file;

	file_make(&file, MIDDLING);
	link_send_file(link, &file, 0, MIDDLING, NULL, 0);
	link_read_all(link, MIDDLING / 4);
	file_unname(&file);
	link_read_all(link, link->sent - link->read);
	RIG_UNTIL(rig, link->sents == 1);
	ck_assert_int_eq(link->sent_res, 0);
	rig_stop(rig);
	file_unmake(&file);
}
END_TEST

void contract_version(Suite *suite, int row)
{
	TCase *tcase = contract_case(suite, "version");

	tcase_set_tags(tcase, "version"); /* for ci/features: no feature has to do with it */
	contract_add(tcase, row, what_was_sent_does_not_change_with_the_file, 0);
	contract_add(tcase, row, what_was_sent_does_not_change_with_a_large_file, PEER_KERNEL);
	contract_add(tcase, row, a_change_in_the_middle_ends_it_unfinished, 0);
	contract_add(tcase, row, a_change_in_the_middle_ends_a_large_one_unfinished, PEER_KERNEL);
	contract_add(tcase, row, a_whole_answer_is_never_of_two_versions, 0);
	contract_add(tcase, row, a_change_under_its_hands_is_seen, PEER_KERNEL);
	contract_add(tcase, row, a_file_that_lost_its_name_is_sent_to_the_end, 0);
}
