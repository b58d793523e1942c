/*
 * test_condition.c - conditional requests: which conditions are true, and in which order they are asked (RFC 9110 13).
 * The fields come from whole requests, as the reader has read them.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/condition.h"

#define NOW   784112000 /* Sun, 06 Nov 1994 08:53:20 GMT */
#define MTIME 784111777
#define DATE  "Sun, 06 Nov 1994 08:49:37 GMT"
#define PAST  "Sun, 06 Nov 1994 08:49:36 GMT"
#define LATER "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct limits limits = { .request_line = 8192, .head = 16384, .fields = 1000, .body = 65536 };

static const struct representation dated = { .etag = "\"e\"", .etag_len = 3, .last_modified = MTIME };
static const struct representation varying = { .etag = "\"e\"", .etag_len = 3, .last_modified = MTIME, .varies = true };
static const struct representation undated = { .etag = "\"e\"", .etag_len = 3 };

/* A GET with these field lines; its bytes are what is returned, exactly as long as they are. */
static char *read_request(const char *fields, struct request *request)
{
	size_t size = strlen(fields) + 64, len, used;
	char *text = malloc(size), *head;
	struct request_parser parser;

	len = (size_t)snprintf(text, size, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
	head = malloc(len);
	memcpy(head, text, len);
	free(text);
	request_begin(&parser, &limits, head);
	ck_assert_msg(request_read(&parser, head, len, &used) == REQUEST_COMPLETE && parser.request.status == 0, "%s",
	              fields);
	*request = parser.request;
	return head;
}

static bool exact; /* what condition_judge() is given */

static enum condition judge(const char *fields, const struct representation *representation)
{
	struct request request;
	char *head = read_request(fields, &request);
	enum condition condition = condition_judge(&request, head, representation, exact, NOW);

	free(head);
	return condition;
}

static bool if_range(const char *fields, const struct representation *representation)
{
	struct request request;
	char *head = read_request(fields, &request);
	bool is = condition_if_range(&request, head, representation, NOW);

	free(head);
	return is;
}

/* Values of If-None-Match and If-Match, and whether they name "e" weakly and strongly. */
static const struct {
	const char *value;
	bool weakly, strongly;
} lists[] = {
	{ "*", true, true },
	{ "\"e\"", true, true },
	{ "W/\"e\"", true, false },
	{ "\"a\", \"e\"", true, true },
	{ "\"a\",\"e\"", true, true },
	{ "\"e\",\"a\"", true, true },
	{ "\"a\"\t , \t\"e\" ,", true, true },
	{ ",, ,\"e\"", true, true },
	{ "\"a\",,\"e\"", true, true },
	{ "\"\", \"e\"", true, true },
	{ "W/\"e\", \"e\"", true, true },
	{ "\"e\", W/\"e\"", true, true },
	{ "W/\"a\", W/\"e\"", true, false },
	{ "\"a,\", \"e\"", true, true },
	{ "\"a\\\", \"e\"", true, true }, /* a backslash is a byte like others */
	{ "\"W/\", \"e\"", true, true },
	{ "\"!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\xff\", \"e\"", true, true },
	{ "", false, false },
	{ ",", false, false },
	{ "\"a\"", false, false },
	{ "\"\"", false, false },
	{ "\"E\"", false, false },
	{ "\"e \"", false, false },
	{ "\"ee\"", false, false },
	{ "\"a,e\"", false, false },
	{ "\"a\", \"b\", W/\"c\"", false, false },
	/* malformed: what stands before the fault counts, what comes after does not */
	{ "e", false, false },
	{ "'e'", false, false },
	{ "\"e", false, false },
	{ "e\"", false, false },
	{ "W/e", false, false },
	{ "W/", false, false },
	{ "W", false, false },
	{ "w/\"e\"", false, false },
	{ "W /\"e\"", false, false },
	{ "W/ \"e\"", false, false },
	{ "W/W/\"e\"", false, false },
	{ "/\"e\"", false, false },
	{ "\"a\" \"e\"", false, false },
	{ "\"a\"\"e\"", false, false },
	{ "\"a\";\"e\"", false, false },
	{ "a, \"e\"", false, false },
	{ "\"a b\", \"e\"", false, false }, /* no space in a tag */
	{ "\"e\", a", true, true },
	{ "\"e\", \"a", true, true },
	{ "\"e\" a", true, true },
	{ "\"e\"a", true, true },
	{ "W/\"e\"a", true, false },
	{ "*, \"a\"", false, false },
	{ "\"a\", *", false, false },
	{ "**", false, false },
};

START_TEST(lists_are_compared)
{
	char fields[512];

	snprintf(fields, sizeof(fields), "If-None-Match: %s\r\n", lists[_i].value);
	ck_assert_msg(judge(fields, &dated) == (lists[_i].weakly ? CONDITION_NOT_MODIFIED : CONDITION_NONE), "%s",
	              fields);
	snprintf(fields, sizeof(fields), "If-Match: %s\r\n", lists[_i].value);
	ck_assert_msg(judge(fields, &dated) == (lists[_i].strongly ? CONDITION_NONE : CONDITION_FAILED), "%s", fields);

	/* The same in the second of two lines, and in the first one. */
	snprintf(fields, sizeof(fields), "If-None-Match: \"x\"\r\nX: y\r\nif-none-match:%s\r\n", lists[_i].value);
	ck_assert_msg(judge(fields, &dated) == (lists[_i].weakly ? CONDITION_NOT_MODIFIED : CONDITION_NONE), "%s",
	              fields);
	snprintf(fields, sizeof(fields), "If-Match: %s\r\nIf-Match: \"x\"\r\n", lists[_i].value);
	ck_assert_msg(judge(fields, &dated) == (lists[_i].strongly ? CONDITION_NONE : CONDITION_FAILED), "%s", fields);
}
END_TEST

#define NONE CONDITION_NONE
#define C412 CONDITION_FAILED
#define C304 CONDITION_NOT_MODIFIED

static const struct {
	const char *fields;
	enum condition with_date, without;
} dates[] = {
	{ "", NONE, NONE },
	{ "If-Modified-Since: " DATE "\r\n", C304, NONE },
	{ "If-Modified-Since: " LATER "\r\n", C304, NONE },
	{ "If-Modified-Since: " PAST "\r\n", NONE, NONE },
	{ "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", C304, NONE },
	{ "If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", C304, NONE },
	{ "If-Modified-Since: Sunday, 06-Nov-94 08:49:36 GMT\r\n", NONE, NONE },
	{ "If-Modified-Since: Sun Nov  6 08:49:36 1994\r\n", NONE, NONE },
	{ "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", NONE, NONE },
	{ "If-Modified-Since: Mon, 01 Jan 1900 00:00:00 GMT\r\n", NONE, NONE },
	{ "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT\r\n", C304, NONE },
	{ "If-Modified-Since:\r\n", NONE, NONE },
	{ "If-Modified-Since: 784111777\r\n", NONE, NONE },
	{ "If-Modified-Since: *\r\n", NONE, NONE },
	{ "If-Modified-Since: \"" DATE "\"\r\n", NONE, NONE },
	{ "If-Modified-Since: " DATE ", " DATE "\r\n", NONE, NONE },
	{ "If-Modified-Since: " DATE "; length=5\r\n", NONE, NONE },
	{ "If-Modified-Since: " DATE "\r\nIf-Modified-Since: " DATE "\r\n", NONE, NONE }, /* twice is not at all */
	{ "If-Unmodified-Since: " DATE "\r\n", NONE, NONE },
	{ "If-Unmodified-Since: " LATER "\r\n", NONE, NONE },
	{ "If-Unmodified-Since: " PAST "\r\n", C412, NONE },
	{ "If-Unmodified-Since: Sunday, 06-Nov-94 08:49:36 GMT\r\n", C412, NONE },
	{ "If-Unmodified-Since: Sun Nov  6 08:49:36 1994\r\n", C412, NONE },
	{ "If-Unmodified-Since: yesterday\r\n", NONE, NONE },
	{ "If-Unmodified-Since: " PAST "\r\nIf-Unmodified-Since: " PAST "\r\n", NONE, NONE },
	{ "If-Unmodified-Since: " PAST "\r\nIf-Unmodified-Since: " LATER "\r\n", NONE, NONE },
};

START_TEST(dates_are_compared)
{
	ck_assert_msg(judge(dates[_i].fields, &dated) == dates[_i].with_date, "%s", dates[_i].fields);
	ck_assert_msg(judge(dates[_i].fields, &undated) == dates[_i].without, "%s", dates[_i].fields);
}
END_TEST

/*
 * All four conditions together, each absent, true (as far as going on is concerned) or false, in both orders of their
 * lines, against 13.2.2 said once more.
 */
START_TEST(conditions_have_an_order)
{
	static const char *const if_match[] = { "", "If-Match: \"e\"\r\n", "If-Match: \"x\"\r\n" };
	static const char *const unmodified[] = { "", "If-Unmodified-Since: " DATE "\r\n",
		                                  "If-Unmodified-Since: " PAST "\r\n" };
	static const char *const none_match[] = { "", "If-None-Match: \"x\"\r\n", "If-None-Match: \"e\"\r\n" };
	static const char *const modified[] = { "", "If-Modified-Since: " PAST "\r\n",
		                                "If-Modified-Since: " DATE "\r\n" };
	unsigned results[3] = { 0 };

	for (unsigned i = 0; i < 81; i++) {
		unsigned m = i % 3, u = i / 3 % 3, n = i / 9 % 3, s = i / 27;
		enum condition expected = NONE;
		char fields[512];

		if (m == 2 || (m == 0 && u == 2))
			expected = C412;
		else if (n == 2 || (n == 0 && s == 2))
			expected = C304;
		snprintf(fields, sizeof(fields), "%s%s%s%s", if_match[m], unmodified[u], none_match[n], modified[s]);
		ck_assert_msg(judge(fields, &dated) == expected, "%s", fields);
		snprintf(fields, sizeof(fields), "%s%sX: y\r\n%s%s", modified[s], none_match[n], unmodified[u],
		         if_match[m]);
		ck_assert_msg(judge(fields, &dated) == expected, "%s", fields);
		results[expected]++;
	}
	ck_assert(results[NONE] && results[C304] && results[C412]);
}
END_TEST

START_TEST(a_malformed_list_still_keeps_the_dates_out)
{
	ck_assert_int_eq(judge("If-None-Match: x\r\nIf-Modified-Since: " DATE "\r\n", &dated), NONE);
	ck_assert_int_eq(judge("If-None-Match:\r\nIf-Modified-Since: " DATE "\r\n", &dated), NONE);
	ck_assert_int_eq(judge("If-Match: *\r\nIf-Unmodified-Since: " PAST "\r\n", &dated), NONE);
}
END_TEST

START_TEST(lists_may_stand_in_many_lines)
{
	char fields[8192] = "";

	for (int i = 0; i < 300; i++)
		strcat(fields, i % 2 ? "If-None-Match: \"x\"\r\n" : "If-None-Matcx: \"e\"\r\n");
	ck_assert_int_eq(judge(fields, &dated), NONE);
	strcat(fields, "IF-NONE-MATCH: W/\"e\"\r\n");
	ck_assert_int_eq(judge(fields, &dated), C304);
	/* Names that are longer, or values that look like lines. */
	ck_assert_int_eq(judge("If-None-Match: \"x\"\r\nIf-None-Matches: \"e\"\r\nX: If-None-Match: \"e\"\r\n"
	                       "X-If-None-Match: \"e\"\r\nIf-Match: \"e\"\r\n",
	                       &dated),
	                 NONE);
}
END_TEST

static const struct {
	const char *fields;
	bool with_date, without;
} if_ranges[] = {
	{ "", true, true },
	{ "If-Range: \"e\"\r\n", true, true },
	{ "If-Range: \"x\"\r\n", false, false },
	{ "If-Range: W/\"e\"\r\n", false, false },
	{ "If-Range: \"e\", \"e\"\r\n", false, false },
	{ "If-Range: \"e\",\r\n", false, false },
	{ "If-Range: \"e\"x\r\n", false, false },
	{ "If-Range: e\r\n", false, false },
	{ "If-Range: \"e\r\n", false, false },
	{ "If-Range: *\r\n", false, false },
	{ "If-Range:\r\n", false, false },
	{ "If-Range: " DATE "\r\n", true, false },
	{ "If-Range: Sunday, 06-Nov-94 08:49:37 GMT\r\n", true, false },
	{ "If-Range: Sun Nov  6 08:49:37 1994\r\n", true, false },
	{ "If-Range: " LATER "\r\n", false, false },
	{ "If-Range: " PAST "\r\n", false, false },
	{ "If-Range: Thu, 01 Jan 1970 00:00:00 GMT\r\n", false, false }, /* "no date" is not this date */
	{ "If-Range: yesterday\r\n", false, false },
	{ "If-Range: \"e\"\r\nIf-Range: \"e\"\r\n", false, false },
	{ "If-Range: \"x\"\r\nIf-Range: \"e\"\r\n", false, false },
};

START_TEST(a_part_is_of_this_representation_or_not)
{
	ck_assert_msg(if_range(if_ranges[_i].fields, &dated) == if_ranges[_i].with_date, "%s", if_ranges[_i].fields);
	ck_assert_msg(if_range(if_ranges[_i].fields, &undated) == if_ranges[_i].without, "%s", if_ranges[_i].fields);
	/* A date that variants share is none. */
	ck_assert_msg(if_range(if_ranges[_i].fields, &varying) == if_ranges[_i].without, "%s", if_ranges[_i].fields);
}
END_TEST

/* After a roll-back the client may have a newer content, and with it a later date. */
START_TEST(an_exact_date_is_the_only_one)
{
	exact = true;
	ck_assert_int_eq(judge("If-Modified-Since: " DATE "\r\n", &dated), CONDITION_NOT_MODIFIED);
	ck_assert_int_eq(judge("If-Modified-Since: " LATER "\r\n", &dated), CONDITION_NONE);
	ck_assert_int_eq(judge("If-Modified-Since: " PAST "\r\n", &dated), CONDITION_NONE);
	ck_assert_int_eq(judge("If-Unmodified-Since: " DATE "\r\n", &dated), CONDITION_NONE);
	ck_assert_int_eq(judge("If-Unmodified-Since: " LATER "\r\n", &dated), CONDITION_FAILED);
	ck_assert_int_eq(judge("If-Unmodified-Since: " PAST "\r\n", &dated), CONDITION_FAILED);
	ck_assert_int_eq(judge("If-Modified-Since: " LATER "\r\n", &undated), CONDITION_NONE);
	ck_assert_int_eq(judge("If-Unmodified-Since: " PAST "\r\n", &undated), CONDITION_NONE);
	ck_assert_int_eq(judge("If-None-Match: \"e\"\r\nIf-Modified-Since: " LATER "\r\n", &dated),
	                 CONDITION_NOT_MODIFIED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("condition");
	TCase *tcase = tcase_create("condition");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tcase, lists_are_compared, 0, sizeof(lists) / sizeof(lists[0]));
	tcase_add_loop_test(tcase, dates_are_compared, 0, sizeof(dates) / sizeof(dates[0]));
	tcase_add_test(tcase, an_exact_date_is_the_only_one);
	tcase_add_test(tcase, conditions_have_an_order);
	tcase_add_test(tcase, a_malformed_list_still_keeps_the_dates_out);
	tcase_add_test(tcase, lists_may_stand_in_many_lines);
	tcase_add_loop_test(tcase, a_part_is_of_this_representation_or_not, 0,
	                    sizeof(if_ranges) / sizeof(if_ranges[0]));
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
