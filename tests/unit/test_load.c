/*
 * test_load.c - the load generator's pure parts: percentiles are those of the values to within a bucket, requests are due
 * by the clock and not by the server, and answers are counted however they are cut up.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "histogram.h"
#include "schedule.h"

static struct latencies latencies;

START_TEST(percentiles_are_within_a_bucket)
{
	/* 1 us to 100 ms, in steps of 1 us: the value at a fraction is known. */
	static const double fractions[] = { 0.001, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 };

	latencies_clear(&latencies);
	for (uint64_t us = 1; us <= 100000; us++)
		latencies_add(&latencies, us * 1000);
	ck_assert_uint_eq(latencies.count, 100000);
	ck_assert_uint_eq(latencies.max, 100000000);
	for (size_t i = 0; i < sizeof(fractions) / sizeof(*fractions); i++) {
		double exact = fractions[i] * 1e8, told = (double)latencies_at(&latencies, fractions[i]);

		ck_assert_msg(told >= exact * 0.9999 && told <= exact * (1 + 1.0 / 128), "%g: %g, not %g", fractions[i],
		              told, exact);
	}
}
END_TEST

START_TEST(every_value_has_its_bucket)
{
	for (unsigned bit = 0; bit < LATENCY_MAX_BITS; bit++) {
		for (int off = -1; off <= 1; off++) {
			uint64_t ns = (UINT64_C(1) << bit) + (uint64_t)off;

			latencies_clear(&latencies);
			latencies_add(&latencies, ns);
			latencies_add(&latencies, UINT64_C(1)
			                                  << (LATENCY_MAX_BITS - 1)); /* so that max does not cut it */
			ck_assert_uint_ge(latencies_at(&latencies, 0.5), ns);
			ck_assert_uint_le(latencies_at(&latencies, 0.5), ns + ns / 128);
		}
	}
}
END_TEST

START_TEST(what_is_too_long_is_not_lost)
{
	latencies_clear(&latencies);
	ck_assert_uint_eq(latencies_at(&latencies, 0.99), 0);
	latencies_add(&latencies, 5);
	latencies_add(&latencies, UINT64_C(1) << 50);
	ck_assert_uint_eq(latencies_at(&latencies, 0.5), 5);
	ck_assert_uint_eq(latencies_at(&latencies, 0.99), UINT64_C(1) << 50);
	ck_assert_uint_eq(latencies.max, UINT64_C(1) << 50);
}
END_TEST

START_TEST(even_schedules_do_not_drift)
{
	struct schedule schedule;
	uint64_t due, n = 0, last = 0;

	/* 3 a second for 1000 s: gaps of no whole number of nanoseconds. */
	schedule_begin(&schedule, 7, UINT64_C(1000000000000), 3, 0);
	ck_assert(!schedule_take(&schedule, 6, &due));
	while (schedule_take(&schedule, UINT64_MAX - 1, &due)) {
		ck_assert_uint_ge(due, 7 + (uint64_t)((double)n * 1e9 / 3) - 1);
		ck_assert_uint_le(due, 7 + (uint64_t)((double)n * 1e9 / 3) + 1);
		last = due;
		n++;
	}
	ck_assert_uint_eq(n, 3000);
	ck_assert_uint_lt(last, schedule.end);
}
END_TEST

/* The server stalls, and nobody asks the schedule for 100 ms: what was due meanwhile is due still, at its own times. */
START_TEST(a_stall_omits_nothing)
{
	struct schedule schedule;
	uint64_t due;

	schedule_begin(&schedule, 0, 1000000000, 1000, 0);
	for (uint64_t i = 0; i <= 100; i++) {
		ck_assert(schedule_take(&schedule, 100000000, &due));
		ck_assert_uint_eq(due, i * 1000000);
	}
	ck_assert(!schedule_take(&schedule, 100000000, &due));
}
END_TEST

START_TEST(poisson_arrivals_have_their_mean_and_spread)
{
	struct schedule schedule, again;
	uint64_t due, twin, before = 0;
	double sum = 0, squares = 0, n = 0;

	schedule_begin(&schedule, 0, UINT64_C(100000000000), 1000, 42);
	schedule_begin(&again, 0, UINT64_C(100000000000), 1000, 42);
	while (schedule_take(&schedule, UINT64_MAX - 1, &due)) {
		double gap = (double)(due - before);

		ck_assert(schedule_take(&again, UINT64_MAX - 1, &twin));
		ck_assert_uint_eq(due, twin);
		sum += gap;
		squares += gap * gap;
		n++;
		before = due;
	}
	ck_assert_double_eq_tol(sum / n, 1e6, 2e4);
	/* The deviation of exponential gaps is their mean. */
	ck_assert_double_eq_tol(sqrt(squares / n - sum / n * (sum / n)), 1e6, 3e4);
}
END_TEST

static const char stream[] = "HTTP/1.1 200 OK\r\nServer: a\r\ncontent-length:  5\r\n\r\nhello"
			     "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"
			     "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

START_TEST(answers_are_counted_however_they_are_cut)
{
	static const unsigned statuses[] = { 200, 304, 404 };
	size_t len = strlen(stream);

	for (size_t piece = 1; piece <= len; piece++) {
		struct answer answer = { 0 };
		unsigned n = 0;

		for (size_t from = 0; from < len; from += piece) {
			size_t at = from, end = from + piece < len ? from + piece : len, used;

			while (at < end) {
				enum answer_progress progress = answer_read(&answer, stream + at, end - at, &used);

				ck_assert_int_ne(progress, ANSWER_BAD);
				ck_assert_uint_gt(used, 0);
				at += used;
				if (progress == ANSWER_DONE) {
					ck_assert_uint_eq(answer.status, statuses[n]);
					n++;
				}
			}
		}
		ck_assert_uint_eq(n, 3);
		ck_assert(answer.close);
		free(answer.head);
	}
}
END_TEST

START_TEST(bodies_can_be_skipped)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n";
	struct answer answer = { 0 };
	size_t used;

	ck_assert_int_eq(answer_read(&answer, head, strlen(head), &used), ANSWER_MORE);
	ck_assert(answer.in_body);
	ck_assert(!answer_skip(&answer, 4999999999));
	ck_assert(answer_skip(&answer, 1));
	ck_assert(!answer.in_body);
}
END_TEST

START_TEST(nonsense_is_told)
{
	static const char *const texts[] = {
		"HTTP/1.1 200 OK\r\nServer: a\r\n\r\n",
		"HTTP/1.1 2x0 OK\r\nContent-Length: 1\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct answer answer = { 0 };
		size_t used;

		ck_assert_int_eq(answer_read(&answer, texts[i], strlen(texts[i]), &used), ANSWER_BAD);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("load");
	TCase *tests = tcase_create("load");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, percentiles_are_within_a_bucket);
	tcase_add_test(tests, every_value_has_its_bucket);
	tcase_add_test(tests, what_is_too_long_is_not_lost);
	tcase_add_test(tests, even_schedules_do_not_drift);
	tcase_add_test(tests, a_stall_omits_nothing);
	tcase_add_test(tests, poisson_arrivals_have_their_mean_and_spread);
	tcase_add_test(tests, answers_are_counted_however_they_are_cut);
	tcase_add_test(tests, bodies_can_be_skipped);
	tcase_add_test(tests, nonsense_is_told);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
