/*
 * test_access_ring.c - records come out as they went in, in order, whatever wraps; what does not fit is counted; and who
 * sleeps is woken.
 */
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loom/access_ring.h"

#define SIZE 4096

static struct access_bell bell;
static struct access_ring ring;

static void setup(void)
{
	bell.sleeping = 0;
	bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ck_assert_int_eq(access_ring_create(&ring, SIZE, &bell), 0);
}

static void teardown(void)
{
	access_ring_destroy(&ring);
	close(bell.fd);
}

/* A record whose bytes all follow from its number. */
static size_t make(char *out, uint64_t number, size_t text)
{
	struct access_record *record = (void *)out;
	size_t size = (sizeof(*record) + text + 7) / 8 * 8;

	memset(out, (int)(number * 7), size);
	record->size = (uint32_t)size;
	record->began = number;
	return size;
}

/* Each assertion of Check is a system call: there is one for all that is looked at. */
static void check_record(const struct access_record *record, uint64_t number, size_t text)
{
	bool same = record && record->began == number && record->size == (sizeof(*record) + text + 7) / 8 * 8;

	for (size_t i = 0; same && i < text; i++)
		same = (unsigned char)record->text[i] == (unsigned char)(number * 7);
	ck_assert_msg(same, "record %llu", (unsigned long long)number);
}

static bool rung(void)
{
	uint64_t count;

	return read(bell.fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

START_TEST(records_come_out_as_they_went_in)
{
	char bytes[SIZE];

	for (uint64_t number = 0; number < 20000; number++) {
		size_t text = number * 13 % 120;

		access_ring_put(&ring, bytes, make(bytes, number, text), 1);
		ck_assert_ptr_null(access_ring_next(&ring)); /* not published */
		access_ring_publish(&ring, 7);
		check_record(access_ring_next(&ring), number, text);
		ck_assert_ptr_null(access_ring_next(&ring));
		access_ring_release(&ring);
	}
	ck_assert_uint_eq(ring.dropped, 0);
	ck_assert(!rung());
}
END_TEST

START_TEST(what_does_not_fit_is_counted_and_nothing_else_is_lost)
{
	char bytes[SIZE];
	uint64_t put = 0, taken = 0;

	for (unsigned round = 0; round < 1000; round++) {
		uint64_t before = ring.dropped;

		while (ring.dropped == before) {
			size_t len = make(bytes, put, 100);

			len += make(bytes + len, put + 1, 31);
			access_ring_put(&ring, bytes, len, 2);
			put += ring.dropped == before ? 2 : 0;
		}
		ck_assert_uint_eq(ring.dropped, before + 2); /* together or not at all */
		access_ring_publish(&ring, 7);
		for (const struct access_record *record; (record = access_ring_next(&ring)); taken++)
			check_record(record, taken, taken % 2 ? 31 : 100);
		ck_assert_uint_eq(taken, put);
		access_ring_release(&ring);
	}
	ck_assert_uint_gt(put, 1000 * 10);
}
END_TEST

START_TEST(room_comes_back_when_it_is_released_and_not_before)
{
	char bytes[SIZE];
	size_t len = make(bytes, 0, 900);

	while (ring.dropped == 0)
		access_ring_put(&ring, bytes, len, 1);
	access_ring_publish(&ring, 7);
	ck_assert_ptr_nonnull(access_ring_next(&ring));
	ck_assert_ptr_nonnull(access_ring_next(&ring));
	access_ring_put(&ring, bytes, len, 1);
	ck_assert_uint_eq(ring.dropped, 2);
	access_ring_release(&ring);
	access_ring_put(&ring, bytes, len, 1);
	ck_assert_uint_eq(ring.dropped, 2);
}
END_TEST

/* A turn with very many answers: the consumer sees the first of them before the turn is over. */
START_TEST(much_is_shown_before_it_is_published)
{
	char bytes[SIZE];

	access_ring_put(&ring, bytes, make(bytes, 0, 300), 1);
	ck_assert(!access_ring_is_long(&ring));
	access_ring_put(&ring, bytes, make(bytes, 1, 300), 1);
	ck_assert(access_ring_is_long(&ring));
	ck_assert_ptr_null(access_ring_next(&ring));
	access_ring_show(&ring, 7);
	ck_assert(!access_ring_is_long(&ring));
	check_record(access_ring_next(&ring), 0, 300);
	ck_assert(!rung());
}
END_TEST

/* A turn's records have left when they are shown; and who sleeps is woken for those that were shown before, too. */
START_TEST(records_left_when_they_were_shown)
{
	char bytes[SIZE];
	uint64_t left = 100;

	for (unsigned round = 0; round < 1000; round++, left += 10) {
		const struct access_record *record;

		for (unsigned i = 0; i < 3; i++)
			access_ring_put(&ring, bytes, make(bytes, left - 20 + i * 15, round % 40), 1);
		access_ring_show(&ring, left);
		access_ring_show(&ring, left + 1000); /* there is nothing more */
		access_ring_put(&ring, bytes, make(bytes, left, 50), 1);
		atomic_store(&bell.sleeping, round % 2);
		access_ring_publish(&ring, left + 5);
		ck_assert_int_eq(rung(), round % 2);
		for (unsigned i = 0; i < 3; i++) {
			record = access_ring_next(&ring);
			check_record(record, left - 20 + i * 15, round % 40);
			ck_assert_uint_eq(record->duration, i == 0 ? 20 : i == 1 ? 5 : 0); /* never less than nothing */
		}
		record = access_ring_next(&ring);
		check_record(record, left, 50);
		ck_assert_uint_eq(record->duration, 5);
		ck_assert_ptr_null(access_ring_next(&ring));
		access_ring_release(&ring);
	}
	ck_assert_uint_eq(ring.dropped, 0);
}
END_TEST

START_TEST(a_sleeper_is_woken_once)
{
	char bytes[SIZE];

	atomic_store(&bell.sleeping, 1);
	access_ring_publish(&ring, 7); /* nothing to tell */
	ck_assert(!rung());
	access_ring_put(&ring, bytes, make(bytes, 1, 1), 1);
	ck_assert(!rung());
	access_ring_publish(&ring, 7);
	ck_assert(rung());
	ck_assert_int_eq(bell.sleeping, 0);
	access_ring_put(&ring, bytes, make(bytes, 2, 1), 1);
	access_ring_publish(&ring, 7);
	ck_assert(!rung());
}
END_TEST

#define MANY 10000

static void *produce(void *argument)
{
	char bytes[SIZE];

	(void)argument;
	for (uint64_t number = 0; number < MANY;) {
		uint64_t before = ring.dropped;

		access_ring_put(&ring, bytes, make(bytes, number, number % 200), 1);
		if (ring.dropped == before)
			number++;
		if (number % 5 == 0 || ring.dropped != before)
			access_ring_publish(&ring, 7);
		if (ring.dropped != before)
			sched_yield();
	}
	access_ring_publish(&ring, 7);
	return NULL;
}

/* The consumer sleeps whenever it finds nothing: a wake that is lost is a test that does not end. */
START_TEST(no_wake_is_lost)
{
	struct pollfd fd = { .fd = bell.fd, .events = POLLIN };
	uint64_t number = 0;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, produce, NULL), 0);
	while (number < MANY) {
		const struct access_record *record = access_ring_next(&ring);

		if (record) {
			check_record(record, number, number % 200);
			number++;
			continue;
		}
		access_ring_release(&ring);
		atomic_store(&bell.sleeping, 1);
		if (access_ring_filled(&ring) == 0)
			ck_assert_int_gt(poll(&fd, 1, 60 * 1000), 0);
		atomic_store(&bell.sleeping, 0);
		rung();
	}
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("access_ring");
	TCase *tcase = tcase_create("access_ring");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 100);
	tcase_add_test(tcase, records_come_out_as_they_went_in);
	tcase_add_test(tcase, what_does_not_fit_is_counted_and_nothing_else_is_lost);
	tcase_add_test(tcase, room_comes_back_when_it_is_released_and_not_before);
	tcase_add_test(tcase, much_is_shown_before_it_is_published);
	tcase_add_test(tcase, records_left_when_they_were_shown);
	tcase_add_test(tcase, a_sleeper_is_woken_once);
	tcase_add_test(tcase, no_wake_is_lost);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
