/* test_date.c - HTTP dates, written and read, against the C library's calendar; the obsolete formats too. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/date.h"

#define NOW 1800000000 /* Fri, 15 Jan 2027 08:00:00 GMT */

/* Reads from memory of exactly that length, so that a sanitizer sees a byte too far. -1 when it is no date. */
static time_t parse_at(const char *text, size_t len, time_t now)
{
	char *copy = malloc(len ? len : 1);
	time_t time = 4711;
	bool known;

	memcpy(copy, text, len);
	known = http_date_parse(copy, len, now, &time);
	free(copy);
	return known ? time : -1;
}

static time_t parse(const char *text)
{
	return parse_at(text, strlen(text), NOW);
}

static void check_against_libc(time_t time)
{
	char ours[HTTP_DATE_LEN + 1] = "", theirs[64];
	time_t parsed = -1;
	struct tm tm;

	http_date_format(time, ours);
	gmtime_r(&time, &tm);
	strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (strcmp(ours, theirs) != 0 || !http_date_parse(ours, HTTP_DATE_LEN, NOW, &parsed) || parsed != time)
		ck_abort_msg("%s instead of %s", ours, theirs);
	strftime(theirs, sizeof(theirs), "%a %b %e %H:%M:%S %Y", &tm);
	if (!http_date_parse(theirs, strlen(theirs), NOW, &parsed) || parsed != time)
		ck_abort_msg("%s is %ld", theirs, (long)parsed);
}

START_TEST(test_known_dates)
{
	char text[HTTP_DATE_LEN + 1] = "";

	http_date_format(784111777, text);
	ck_assert_str_eq(text, "Sun, 06 Nov 1994 08:49:37 GMT");
	http_date_format(0, text);
	ck_assert_str_eq(text, "Thu, 01 Jan 1970 00:00:00 GMT");
	http_date_format(951782400, text);
	ck_assert_str_eq(text, "Tue, 29 Feb 2000 00:00:00 GMT");
	http_date_format(-1, text);
	ck_assert_str_eq(text, "Wed, 31 Dec 1969 23:59:59 GMT");
}
END_TEST

START_TEST(test_every_day_of_eight_thousand_years)
{
	for (time_t day = 0; day < 8000 * 365; day += day < 100 * 365 ? 1 : 23)
		check_against_libc(day * 86400 + day % 86400);
	for (time_t day = -1; day > -600000; day -= 7) {
		char text[HTTP_DATE_LEN];
		time_t parsed;

		http_date_format(day * 86400, text);
		if (!http_date_parse(text, HTTP_DATE_LEN, NOW, &parsed) || parsed != day * 86400)
			ck_abort_msg("day %ld", (long)day);
	}
}
END_TEST

START_TEST(test_the_three_formats_of_rfc_9110_are_one_date)
{
	ck_assert_int_eq(parse("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
	ck_assert_int_eq(parse("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
	ck_assert_int_eq(parse("Sun Nov  6 08:49:37 1994"), 784111777);
	ck_assert_int_eq(parse("Sun Nov 06 08:49:37 1994"), 784111777);
	/* A second that is inserted is the first of the next minute. */
	ck_assert_int_eq(parse("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800);
}
END_TEST

/* RFC 850's years, for each day of a week that names it, from every kind of present. */
START_TEST(test_two_digits_are_of_the_last_fifty_years_or_the_next)
{
	static const char *const names[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
		                             "Thursday", "Friday", "Saturday" };

	for (int present = 1970; present <= 2200; present++) {
		struct tm tm = { .tm_year = present - 1900, .tm_mon = 6, .tm_mday = 1 };
		time_t now = timegm(&tm);

		for (int year = present - 49; year <= present + 50; year++) {
			char text[64];
			time_t expected;

			tm = (struct tm){ .tm_year = year - 1900, .tm_mon = 2, .tm_mday = 9, .tm_hour = 12 };
			expected = timegm(&tm);
			snprintf(text, sizeof(text), "%s, 09-Mar-%02d 12:00:00 GMT", names[tm.tm_wday], year % 100);
			if (parse_at(text, strlen(text), now) != expected)
				ck_abort_msg("%s in %d: %ld instead of %ld", text, present,
				             (long)parse_at(text, strlen(text), now), (long)expected);
		}
	}
}
END_TEST

/* Fifty years are counted to the second. */
START_TEST(test_two_digits_at_the_edge_of_fifty_years)
{
	static const char present[] = "Wed, 25 Nov 2026 12:30:30 GMT";
	static const struct {
		const char *rfc850, *fixdate;
	} edges[] = {
		{ "Wednesday, 25-Nov-76 12:30:30 GMT", "Wed, 25 Nov 2076 12:30:30 GMT" },
		{ "Monday, 24-Nov-76 23:59:59 GMT", NULL }, /* 2076's is a Tuesday */
		{ "Tuesday, 24-Nov-76 23:59:59 GMT", "Tue, 24 Nov 2076 23:59:59 GMT" },
		{ "Saturday, 31-Oct-76 23:59:59 GMT", "Sat, 31 Oct 2076 23:59:59 GMT" },
		{ "Thursday, 25-Nov-76 12:30:31 GMT", "Thu, 25 Nov 1976 12:30:31 GMT" },
		{ "Thursday, 25-Nov-76 12:31:00 GMT", "Thu, 25 Nov 1976 12:31:00 GMT" },
		{ "Thursday, 25-Nov-76 13:00:00 GMT", "Thu, 25 Nov 1976 13:00:00 GMT" },
		{ "Friday, 26-Nov-76 00:00:00 GMT", "Fri, 26 Nov 1976 00:00:00 GMT" },
		{ "Friday, 31-Dec-76 23:59:59 GMT", "Fri, 31 Dec 1976 23:59:59 GMT" },
		{ "Thursday, 31-Dec-76 23:59:59 GMT", NULL }, /* 2076's, and too far away */
		{ "Saturday, 01-Jan-77 00:00:00 GMT", "Sat, 01 Jan 1977 00:00:00 GMT" },
	};
	time_t now = parse(present);

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		time_t expected = edges[i].fixdate ? parse(edges[i].fixdate) : -1;

		if (parse_at(edges[i].rfc850, strlen(edges[i].rfc850), now) != expected)
			ck_abort_msg("%s", edges[i].rfc850);
	}
}
END_TEST

START_TEST(test_what_is_no_date_is_refused)
{
	static const char *const bad[] = {
		"",
		"0",
		"784111777",
		"Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Nov 1994 08:49:37 gmt",
		"Mon, 06 Nov 1994 08:49:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT",
		/* days that would be the first of the next month, with its weekday */
		"Thu, 31 Nov 1994 08:49:37 GMT",
		"Wed, 29 Feb 2023 00:00:00 GMT",
		"Mon, 29 Feb 2100 00:00:00 GMT",
		"Fri, 30 Feb 2024 00:00:00 GMT",
		"Wed, 31 Apr 2024 00:00:00 GMT",
		"Sat, 32 Jan 2020 00:00:00 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 6  Nov 1994 08:49:37 GMT",
		"Sun,  6 Nov 1994 08:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 29 Feb 2100 00:00:00 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		" Sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GM",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06-Nov-1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08-49-37 GMT",
		"Sun, 06 Nov 1994 0x:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sat, 01 Jan 0000 00:00:00 GMT",
		"Sun, 06 Nov +994 08:49:37 GMT",
		"Xun, 06 Nov 1994 08:49:37 GMT",
		/* RFC 850 */
		"Sun, 06-Nov-94 08:49:37 GMT",
		"sunday, 06-Nov-94 08:49:37 GMT",
		"Monday, 06-Nov-94 08:49:37 GMT",
		"Sunday, 06 Nov 94 08:49:37 GMT",
		"Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sunday, 6-Nov-94 08:49:37 GMT",
		"Sunday 06-Nov-94 08:49:37 GMT",
		"Sunday,06-Nov-94 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 UTC",
		"Sunday, 31-Nov-94 08:49:37 GMT",
		"Sunday, 06-Nov--1 08:49:37 GMT",
		"Someday, 06-Nov-94 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT ",
		"Sunday, ",
		",",
		/* asctime(3) */
		"Sun Nov 6 08:49:37 1994",
		"Mon Nov  6 08:49:37 1994",
		"Sun Nov  6 08:49:37 94",
		"Sun Nov  6 08:49:37 1994\n",
		"Sun, Nov 6 08:49:37 1994",
		"Sun Nov  0 08:49:37 1994",
		"Sun Nov 31 08:49:37 1994",
		"Sun Nov  6 24:49:37 1994",
		"Sun Nov -6 08:49:37 1994",
		"Sun Nov   08:49:37 1994 ",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(parse(bad[i]) == -1, "%s", bad[i]);
}
END_TEST

/* Every single byte of a good date matters, and every length but its own is wrong. */
START_TEST(test_a_date_with_one_wrong_byte_is_none_or_another)
{
	static const char *const good[] = { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
		                            "Sun Nov  6 08:49:37 1994" };

	for (size_t g = 0; g < 3; g++) {
		size_t len = strlen(good[g]);

		for (size_t cut = 0; cut < len; cut++)
			ck_assert_int_eq(parse_at(good[g], cut, NOW), -1);
		for (size_t i = 0; i < len; i++) {
			for (int c = 0; c < 256; c++) {
				char text[64];
				time_t time;

				if ((char)c == good[g][i])
					continue;
				memcpy(text, good[g], len + 1);
				text[i] = (char)c;
				time = parse_at(text, len, NOW);
				/* "06" and " 6" are the same day to asctime(3). */
				if (time == 784111777 && !(g == 2 && i == 8 && c == '0'))
					ck_abort_msg("%s is taken for %s", text, good[g]);
				/* Only a figure can be exchanged for another one. */
				if (time != -1 && time != 784111777 && (c < '0' || c > '9'))
					ck_abort_msg("%s is a date", text);
			}
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("date");
	TCase *tcase = tcase_create("date");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_known_dates);
	tcase_add_test(tcase, test_every_day_of_eight_thousand_years);
	tcase_add_test(tcase, test_the_three_formats_of_rfc_9110_are_one_date);
	tcase_add_test(tcase, test_two_digits_are_of_the_last_fifty_years_or_the_next);
	tcase_add_test(tcase, test_two_digits_at_the_edge_of_fifty_years);
	tcase_add_test(tcase, test_what_is_no_date_is_refused);
	tcase_add_test(tcase, test_a_date_with_one_wrong_byte_is_none_or_another);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
