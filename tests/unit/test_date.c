/* test_date.c - HTTP dates, written and read, against the C library's calendar. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "loom/date.h"

static void check_against_libc(time_t time)
{
	char ours[HTTP_DATE_LEN + 1] = "", theirs[64];
	struct tm tm;

	http_date_format(time, ours);
	gmtime_r(&time, &tm);
	strftime(theirs, sizeof(theirs), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	if (strcmp(ours, theirs) != 0 || http_date_parse(ours, HTTP_DATE_LEN) != time)
		ck_abort_msg("%s instead of %s", ours, theirs);
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

		http_date_format(day * 86400, text);
		if (http_date_parse(text, HTTP_DATE_LEN) != day * 86400)
			ck_abort_msg("day %ld", (long)day);
	}
}
END_TEST

START_TEST(test_what_is_no_date_is_refused)
{
	static const char *const bad[] = {
		"",
		"0",
		"Sun, 06 Nov 1994 08:49:37 UTC",
		"Mon, 06 Nov 1994 08:49:37 GMT",
		"Sun, 31 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT",
		"Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 6  Nov 1994 08:49:37 GMT",
		"Sun, 29 Feb 2100 00:00:00 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"Sun, 00 Nov 1994 08:49:37 GMT",
		"Sat, 01 Jan 0000 00:00:00 GMT",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(http_date_parse(bad[i], strlen(bad[i])) == -1, "%s", bad[i]);
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
	tcase_add_test(tcase, test_what_is_no_date_is_refused);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
