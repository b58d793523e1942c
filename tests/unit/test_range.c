/*
 * test_range.c - the Range field: a table of its grammar, and sets of short ranges against a model that is nothing but a
 * map of bytes.
 */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/range.h"

static struct range ranges[RANGES_MAX];
static unsigned count;

/* Reads from memory of exactly that length, so that a sanitizer sees a byte too far. */
static enum range_result parse(const char *text, uint64_t length)
{
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	enum range_result result;

	memcpy(copy, text, len);
	memset(ranges, 0xff, sizeof(ranges));
	count = 4711;
	result = range_parse(copy, len, length, ranges, &count);
	free(copy);
	if (result == RANGE_PARTS)
		ck_assert(count >= 1 && count <= RANGES_MAX);
	return result;
}

/* "0-1 5-9" of the ranges; "whole"; "none". */
static const char *describe(enum range_result result)
{
	static char text[2048];

	text[0] = '\0';
	if (result != RANGE_PARTS)
		return result == RANGE_WHOLE ? "whole" : "none";
	for (unsigned i = 0; i < count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu-%llu", i ? " " : "",
		         (unsigned long long)ranges[i].first, (unsigned long long)ranges[i].last);
	return text;
}

static const struct {
	const char *text;
	const char *result; /* of 1000 bytes */
} cases[] = {
	{ "bytes=0-0", "0-0" },
	{ "bytes=0-499", "0-499" },
	{ "bytes=500-999", "500-999" },
	{ "bytes=500-", "500-999" },
	{ "bytes=999-", "999-999" },
	{ "bytes=-1", "999-999" },
	{ "bytes=-500", "500-999" },
	{ "bytes=900-1000", "900-999" },
	{ "bytes=900-999999", "900-999" },
	{ "bytes=0-", "0-999" }, /* all of it, and a part all the same */
	{ "bytes=0-999", "0-999" },
	{ "bytes=-1000", "0-999" },
	{ "bytes=-1001", "0-999" },
	{ "BYTES=0-0", "0-0" },
	{ "Bytes=0-0", "0-0" },
	{ "bytes=00000000000000000000000000000001-002", "1-2" },
	/* numbers without end */
	{ "bytes=5-18446744073709551615", "5-999" },
	{ "bytes=5-18446744073709551616", "5-999" },
	{ "bytes=5-99999999999999999999999999", "5-999" },
	{ "bytes=-99999999999999999999999999", "0-999" },
	{ "bytes=18446744073709551615-", "none" },
	{ "bytes=18446744073709551616-", "none" },
	{ "bytes=18446744073709551616-18446744073709551617", "none" },
	{ "bytes=18446744073709551617-5", "whole" },
	/* that lie beyond */
	{ "bytes=1000-", "none" },
	{ "bytes=1000-1000", "none" },
	{ "bytes=-0", "none" },
	{ "bytes=-000", "none" },
	{ "bytes=1000-,1001-1002,-0", "none" },
	{ "bytes=1000-,5-6", "5-6" },
	{ "bytes=5-6,-0,1000-", "5-6" },
	/* several */
	{ "bytes=0-0,500-500", "0-0 500-500" },
	{ "bytes=500-500,0-0", "500-500 0-0" },
	{ "bytes=-1,0-0", "999-999 0-0" },
	{ "bytes=0-0 , 500-500\t,\t900-", "0-0 500-500 900-999" },
	{ "bytes= 0-0", "0-0" },
	{ "bytes=,0-0", "0-0" },
	{ "bytes=, ,0-0,,500-,", "0-0 500-999" },
	/* that touch, or nearly */
	{ "bytes=0-1,1-2", "0-2" },
	{ "bytes=0-1,2-3", "0-3" },
	{ "bytes=0-0,80-80", "0-80" },      /* 79 bytes between them */
	{ "bytes=0-0,81-81", "0-0 81-81" }, /* 80 */
	{ "bytes=81-81,0-0", "81-81 0-0" },
	{ "bytes=80-80,0-0", "0-80" },
	{ "bytes=500-500,0-0,420-420", "420-500 0-0" }, /* where the first of them stood */
	{ "bytes=0-0,500-500,60-60", "0-60 500-500" },
	{ "bytes=0-0,160-160,80-80", "0-160" }, /* the last one joins the others */
	{ "bytes=500-,0-499", "0-999" },
	{ "bytes=0-499,500-", "0-999" },
	{ "bytes=0-9,0-9,0-9", "0-9" },
	{ "bytes=300-400,310-320", "300-400" },
	{ "bytes=310-320,300-400", "300-400" },
	/* what is no set of byte ranges is passed over */
	{ "", "whole" },
	{ "bytes", "whole" },
	{ "bytes=", "whole" },
	{ "bytes= ", "whole" },
	{ "bytes=,", "whole" },
	{ "bytes=-", "whole" },
	{ "bytes=--1", "whole" },
	{ "bytes=1", "whole" },
	{ "bytes=a", "whole" },
	{ "bytes=0-a", "whole" },
	{ "bytes=a-0", "whole" },
	{ "bytes=0x0-0x1", "whole" },
	{ "bytes=+0-1", "whole" },
	{ "bytes=0-+1", "whole" },
	{ "bytes=0--1", "whole" },
	{ "bytes=0-1-2", "whole" },
	{ "bytes=0-1-", "whole" },
	{ "bytes=0 -1", "whole" },
	{ "bytes=0- 1", "whole" },
	{ "bytes=0-1 2-3", "whole" },
	{ "bytes=0-1;2-3", "whole" },
	{ "bytes=0-1/1000", "whole" },
	{ "bytes=0-1,x", "whole" },
	{ "bytes=x,0-1", "whole" },
	{ "bytes=0.5-1", "whole" },
	{ "bytes=1-0", "whole" },
	{ "bytes=0-1,5-4", "whole" },
	{ "bytes=1000-999", "whole" },
	{ "bytes =0-1", "whole" },
	{ " bytes=0-1", "whole" },
	{ "bytes:0-1", "whole" },
	{ "bytes 0-1", "whole" },
	{ "bytes=bytes=0-1", "whole" },
	{ "bits=0-1", "whole" },
	{ "byte=0-1", "whole" },
	{ "bytess=0-1", "whole" },
	{ "items=0-1", "whole" },
	{ "none", "whole" },
	{ "=0-1", "whole" },
	{ "0-1", "whole" },
};

START_TEST(fields_are_read)
{
	ck_assert_msg(strcmp(describe(parse(cases[_i].text, 1000)), cases[_i].result) == 0, "%s: %s instead of %s",
	              cases[_i].text, describe(parse(cases[_i].text, 1000)), cases[_i].result);
}
END_TEST

START_TEST(of_nothing_there_is_no_part)
{
	ck_assert_str_eq(describe(parse("bytes=0-", 0)), "none");
	ck_assert_str_eq(describe(parse("bytes=0-0", 0)), "none");
	ck_assert_str_eq(describe(parse("bytes=-0", 0)), "none");
	/* This one can be satisfied (14.1.2), but not said in a Content-Range. */
	ck_assert_str_eq(describe(parse("bytes=-1", 0)), "whole");
	ck_assert_str_eq(describe(parse("bytes=0-0,-1", 0)), "whole");
}
END_TEST

START_TEST(the_largest_lengths_have_no_overflow)
{
	ck_assert_str_eq(describe(parse("bytes=9223372036854775800-", INT64_MAX)),
	                 "9223372036854775800-9223372036854775806");
	ck_assert_str_eq(describe(parse("bytes=0-0,-1", INT64_MAX)), "0-0 9223372036854775806-9223372036854775806");
	ck_assert_str_eq(describe(parse("bytes=-18446744073709551615", INT64_MAX)), "0-9223372036854775806");
}
END_TEST

/* n ranges of a byte each, too far apart to be joined. */
static const char *many(unsigned n, unsigned apart)
{
	static char text[8192];

	strcpy(text, "bytes=");
	for (unsigned i = 0; i < n; i++)
		sprintf(text + strlen(text), "%s%u-%u", i ? "," : "", i * apart, i * apart);
	return text;
}

START_TEST(the_number_of_ranges_has_limits)
{
	ck_assert_int_eq(parse(many(RANGES_MAX, 100), 100000), RANGE_PARTS);
	ck_assert_uint_eq(count, RANGES_MAX);
	for (unsigned i = 0; i < RANGES_MAX; i++)
		ck_assert_uint_eq(ranges[i].first, 100 * i);
	ck_assert_int_eq(parse(many(RANGES_MAX + 1, 100), 100000), RANGE_WHOLE);
	ck_assert_int_eq(parse(many(RANGE_SPECS_MAX, 100), 100000), RANGE_WHOLE);
	/* Many that are joined are few. */
	ck_assert_str_eq(describe(parse(many(RANGE_SPECS_MAX, 1), 100000)), "0-63");
	ck_assert_str_eq(describe(parse(many(RANGE_SPECS_MAX + 1, 1), 100000)), "whole");
	/* Those that are not there do not count as parts, but as asked for. */
	ck_assert_str_eq(describe(parse(many(RANGE_SPECS_MAX, 100), 101)), "0-0 100-100");
	ck_assert_str_eq(describe(parse(many(RANGE_SPECS_MAX + 1, 100), 101)), "whole");
}
END_TEST

/*
 * The model: a map of the bytes asked for; gaps shorter than RANGE_GAP are filled; each run that is left is a part, and
 * the parts stand in the order of the first ranges in them.
 */
static const char *model(uint64_t length, const struct range asked[], unsigned n)
{
	static char text[2048];
	bool map[512] = { false }, told[512] = { false };
	unsigned parts = 0;

	ck_assert_uint_le(length, sizeof(map));
	for (unsigned i = 0; i < n; i++)
		for (uint64_t at = asked[i].first; at <= asked[i].last && at < length; at++)
			map[at] = true;
	for (uint64_t at = 0, last = UINT64_MAX; at < length; at++) {
		if (!map[at])
			continue;
		for (uint64_t fill = last + 1; last != UINT64_MAX && at - last <= RANGE_GAP && fill < at; fill++)
			map[fill] = true;
		last = at;
	}
	text[0] = '\0';
	for (unsigned i = 0; i < n; i++) {
		uint64_t first = asked[i].first, last = asked[i].first;

		if (first >= length || told[first])
			continue;
		while (first > 0 && map[first - 1])
			first--;
		while (last + 1 < length && map[last + 1])
			last++;
		memset(told + first, true, last - first + 1);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu-%llu", parts++ ? " " : "",
		         (unsigned long long)first, (unsigned long long)last);
	}
	return parts ? text : "none";
}

static void compare(uint64_t length, const struct range asked[], unsigned n)
{
	char text[512] = "bytes=";

	for (unsigned i = 0; i < n; i++)
		sprintf(text + strlen(text), "%s%llu-%llu", i ? "," : "", (unsigned long long)asked[i].first,
		        (unsigned long long)asked[i].last);
	if (strcmp(describe(parse(text, length)), model(length, asked, n)) != 0)
		ck_abort_msg("%s of %llu: %s instead of %s", text, (unsigned long long)length,
		             describe(parse(text, length)), model(length, asked, n));
}

START_TEST(all_pairs_of_short_ranges_are_as_in_the_model)
{
	struct range asked[2];

	for (uint64_t length = 1; length <= 6; length++)
		for (unsigned i = 0; i < 8 * 8 * 8 * 8; i++) {
			asked[0] = (struct range){ i % 8, i / 8 % 8 };
			asked[1] = (struct range){ i / 64 % 8, i / 512 };
			if (asked[0].first <= asked[0].last && asked[1].first <= asked[1].last)
				compare(length, asked, 2);
		}
}
END_TEST

START_TEST(sets_of_chance_are_as_in_the_model)
{
	unsigned seed = 3;

	for (int round = 0; round < 200000; round++) {
		struct range asked[8];
		uint64_t length;
		unsigned n;

		seed = seed * 1103515245 + 12345;
		length = 1 + seed / 65536 % 512;
		n = 1 + seed / 1024 % 8;
		for (unsigned i = 0; i < n; i++) {
			seed = seed * 1103515245 + 12345;
			asked[i].first = seed / 65536 % 600;
			seed = seed * 1103515245 + 12345;
			asked[i].last = asked[i].first + seed / 65536 % 20;
		}
		compare(length, asked, n);
	}
}
END_TEST

START_TEST(suffixes_are_the_ends)
{
	char text[32];

	for (uint64_t length = 1; length < 20; length++)
		for (uint64_t n = 0; n < 25; n++) {
			const struct range asked = { n < length ? length - n : 0, length - 1 };

			sprintf(text, "bytes=-%llu", (unsigned long long)n);
			ck_assert_str_eq(describe(parse(text, length)), n ? model(length, &asked, 1) : "none");
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("range");
	TCase *tcase = tcase_create("range");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, fields_are_read, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, of_nothing_there_is_no_part);
	tcase_add_test(tcase, the_largest_lengths_have_no_overflow);
	tcase_add_test(tcase, the_number_of_ranges_has_limits);
	tcase_add_test(tcase, all_pairs_of_short_ranges_are_as_in_the_model);
	tcase_add_test(tcase, sets_of_chance_are_as_in_the_model);
	tcase_add_test(tcase, suffixes_are_the_ends);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
