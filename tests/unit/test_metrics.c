/*
 * test_metrics.c - what a scraper asks for, and how lines of metrics are written. What the figures are is for tests/e2e.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "metrics_request.h"
#include "metrics_text.h"

static const struct {
	const char *accept;
	enum metrics_format format;
} wishes[] = {
	{ "", METRICS_TEXT },
	{ "*/*", METRICS_TEXT },
	{ "text/plain", METRICS_TEXT },
	{ "text/html, application/json", METRICS_TEXT },
	{ "application/openmetrics-text", METRICS_OPENMETRICS },
	{ "Application/OpenMetrics-Text; Version=1.0.0", METRICS_OPENMETRICS },
	{ "application/openmetrics-text;version=\"1.0.0\"",
	  METRICS_TEXT }, /* nobody quotes it, and text is always right */
	{ "application/openmetrics-text;version=0.0.1", METRICS_TEXT },
	{ "application/openmetrics-text;q=0", METRICS_TEXT },
	{ "application/openmetrics-text;q=0.000", METRICS_TEXT },
	{ "application/openmetrics-text;q=0.001", METRICS_OPENMETRICS },
	{ "application/openmetrics-text;q=2", METRICS_TEXT },
	{ "application/openmetrics-text;q=1.001", METRICS_TEXT },
	{ "application/openmetrics-text;q=x", METRICS_TEXT },
	{ "application/openmetrics-text;q=0.5, text/plain;q=0.5", METRICS_OPENMETRICS },
	{ "application/openmetrics-text;q=0.5, text/plain;q=0.6", METRICS_TEXT },
	{ "application/openmetrics-text;q=0.5, text/plain", METRICS_TEXT },
	{ "text/plain;q=0.4;x=\"a,b;q=1\",application/openmetrics-text ; q=0.5", METRICS_OPENMETRICS },
	{ "application/openmetrics-text;x=\"unfinished, text/plain", METRICS_OPENMETRICS },
	{ ",,;;=,application/openmetrics-text,", METRICS_OPENMETRICS },
	/* Prometheus 2.42, and 3. */
	{ "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
	  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
	  METRICS_OPENMETRICS },
	{ "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;"
	  "version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
	  METRICS_OPENMETRICS },
};

START_TEST(accept_chooses_the_format)
{
	const char *accept = wishes[_i].accept;
	char *exact = malloc(strlen(accept) + 1); /* so that a sanitizer sees where it ends */

	memcpy(exact, accept, strlen(accept));
	ck_assert_msg(metrics_accept(exact, strlen(accept)) == wishes[_i].format, "%s", accept);
	free(exact);
}
END_TEST

static const struct {
	const char *bytes;
	unsigned status;
	bool head;
	enum metrics_format format;
} requests[] = {
	{ "GET /metrics HTTP/1.1\r\n\r\n", 200, false, METRICS_TEXT },
	{ "GET /metrics HTTP/1.0\n\n", 200, false, METRICS_TEXT },
	{ "GET /metrics?name[]=up HTTP/1.1\r\nHost: a\r\n\r\n", 200, false, METRICS_TEXT },
	{ "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200, true, METRICS_TEXT },
	{ "GET /metrics HTTP/1.1\r\naccept:application/openmetrics-text \r\n\r\n", 200, false, METRICS_OPENMETRICS },
	{ "GET /metrics HTTP/1.1\r\nAccept: text/plain;q=0.1\r\nAccept: application/openmetrics-text;q=0.2\r\n\r\n",
	  200, false, METRICS_OPENMETRICS },
	{ "GET /metrics HTTP/1.1\r\nAccept: text/plain;q=0.3\r\nAccept: application/openmetrics-text;q=0.2\r\n\r\n",
	  200, false, METRICS_TEXT },
	{ "GET / HTTP/1.1\r\n\r\n", 404, false, METRICS_TEXT },
	{ "GET /metrics/ HTTP/1.1\r\n\r\n", 404, false, METRICS_TEXT },
	{ "GET /metric HTTP/1.1\r\n\r\n", 404, false, METRICS_TEXT },
	{ "POST /metrics HTTP/1.1\r\n\r\n", 405, false, METRICS_TEXT },
	{ "get /metrics HTTP/1.1\r\n\r\n", 405, false, METRICS_TEXT },
	{ "GET  /metrics HTTP/1.1\r\n\r\n", 400, false, METRICS_TEXT },
	{ "GET /metrics HTTP/2.0\r\n\r\n", 400, false, METRICS_TEXT },
	{ "GET /metrics HTTP/1.1x\r\n\r\n", 400, false, METRICS_TEXT },
	{ "GET /metrics\r\n\r\n", 400, false, METRICS_TEXT },
	{ " GET /metrics HTTP/1.1\r\n\r\n", 400, false, METRICS_TEXT },
	{ "\r\n\r\n", 400, false, METRICS_TEXT },
	{ "GET /metrics HTTP/1.1\r\nno colon\r\n\r\n", 400, false, METRICS_TEXT },
	{ "GET /metrics HTTP/1.1\r\n: no name\r\n\r\n", 400, false, METRICS_TEXT },
};

/* However little there is of it, there is no answer before its last byte. */
START_TEST(a_request_is_read)
{
	size_t len = strlen(requests[_i].bytes);
	struct metrics_request request;

	for (size_t n = 0; n <= len; n++) {
		char *exact = malloc(n + 1);

		memcpy(exact, requests[_i].bytes, n);
		ck_assert_msg(metrics_request_read(exact, n, &request) == (n == len), "%zu bytes of %s", n,
		              requests[_i].bytes);
		free(exact);
	}
	ck_assert_msg(request.status == requests[_i].status, "%u: %s", request.status, requests[_i].bytes);
	if (request.status == 200) {
		ck_assert_int_eq(request.head, requests[_i].head);
		ck_assert_int_eq(request.format, requests[_i].format);
	}
}
END_TEST

START_TEST(a_head_that_does_not_end)
{
	char bytes[METRICS_HEAD_MAX] = "GET /metrics HTTP/1.1\r\n";
	struct metrics_request request;
	size_t at = strlen(bytes);

	/* As many lines of Accept as there can be. */
	while (at < sizeof(bytes))
		bytes[at] = "accept:a\n"[(at - strlen("GET /metrics HTTP/1.1\r\n")) % 9], at++;
	ck_assert(!metrics_request_read(bytes, sizeof(bytes) - 1, &request));
	ck_assert(metrics_request_read(bytes, sizeof(bytes), &request));
	ck_assert_uint_eq(request.status, 431);
}
END_TEST

static const char *written(struct metrics_text *text)
{
	ck_assert(!text->failed);
	text->bytes = realloc(text->bytes, text->len + 1);
	text->bytes[text->len] = '\0';
	return text->bytes;
}

START_TEST(lines_of_both_formats)
{
	static const char *const expected[] = {
		[METRICS_TEXT] = "# HELP a_total A \"b\" \\\\ \\n.\n# TYPE a_total counter\n"
				 "a_total{l=\"\\\\ \\\" \\n\",m=\"\"} 18446744073709551615\n"
				 "# HELP g G.\n# TYPE g gauge\ng 1.500000000\n"
				 "# HELP i_info I.\n# TYPE i_info gauge\ni_info 1\n"
				 "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 2\nh_bucket{le=\"1.0\"} 2\n"
				 "h_bucket{le=\"+Inf\"} 5\nh_sum 7.250000000\nh_count 5\n",
		[METRICS_OPENMETRICS] =
			"# HELP a A \\\"b\\\" \\\\ \\n.\n# TYPE a counter\n"
			"a_total{l=\"\\\\ \\\" \\n\",m=\"\"} 18446744073709551615\n"
			"# HELP g G.\n# TYPE g gauge\ng 1.500000000\n"
			"# HELP i I.\n# TYPE i info\ni_info 1\n"
			"# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 2\nh_bucket{le=\"1.0\"} 2\n"
			"h_bucket{le=\"+Inf\"} 5\nh_sum 7.250000000\nh_count 5\n# EOF\n",
	};
	static const struct label labels[] = { { "l", "\\ \" \n" }, { "m", "" }, { NULL, NULL } };
	static const char *const ends[] = { "0.5", "1.0" };
	static const uint64_t buckets[] = { 2, 0, 3 };
	struct metrics_text text = { .format = (enum metrics_format)_i };

	text_family(&text, FAMILY_COUNTER, "a", "A \"b\" \\ \n.");
	text_number(&text, labels, UINT64_MAX);
	text_family(&text, FAMILY_GAUGE, "g", "G.");
	text_real(&text, NULL, 1.5);
	text_family(&text, FAMILY_INFO, "i", "I.");
	text_number(&text, NULL, 1);
	text_family(&text, FAMILY_HISTOGRAM, "h", "H.");
	text_histogram(&text, ends, 2, buckets, 7.25);
	text_end(&text);
	ck_assert_str_eq(written(&text), expected[_i]);
	free(text.bytes);
}
END_TEST

/* The ends of buckets are the numbers that their names say, a duration counts in the first that is not too short. */
START_TEST(buckets)
{
	struct histogram histogram = { 0 };
	uint64_t sum = 0;

	for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
		uint64_t bound = histogram_bounds[i];

		ck_assert_uint_eq((uint64_t)(atof(histogram_bounds_text[i]) * 1e9 + 0.5), bound);
		if (i > 0)
			ck_assert_uint_lt(histogram_bounds[i - 1], bound);
		histogram_add(&histogram, bound, 2);
		histogram_add(&histogram, bound + 1, 1);
		sum += 3 * bound + 1;
	}
	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
		ck_assert_uint_eq(histogram.bucket[i], i == 0 ? 2 : i < HISTOGRAM_BOUNDS ? 3 : 1);
	ck_assert_uint_eq(histogram.sum, sum);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("metrics");
	TCase *tcase = tcase_create("metrics");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, accept_chooses_the_format, 0, sizeof(wishes) / sizeof(wishes[0]));
	tcase_add_loop_test(tcase, a_request_is_read, 0, sizeof(requests) / sizeof(requests[0]));
	tcase_add_test(tcase, a_head_that_does_not_end);
	tcase_add_loop_test(tcase, lines_of_both_formats, 0, 2);
	tcase_add_test(tcase, buckets);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
