/*
 * test_live.c - the configuration read again: what has changed, what of it can take effect, and what a mistake leaves.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/live.h"

static char path[] = "/tmp/loom-live-XXXXXX", why[512];
static struct options options;
static struct live live;
static struct live_changes changes;
static char config[64];
static char name[] = "loom", fields[] = "--max-fields=50";
static char *arguments[] = { name, config, fields, NULL };

static void put(const char *text)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void begin(const char *text)
{
	int fd;

	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(config, sizeof(config), "--config=%s", path);
	put(text);
	ck_assert_int_eq(options_parse(&options, 3, arguments, why, sizeof(why)), OPTIONS_RUN);
	live_init(&live, 3, arguments, &options);
}

static void end(void)
{
	live_free(&live);
	options_free(&options);
	unlink(path);
}

/* What the file was, what it is, and which settings are named for that. */
static const struct {
	const char *was, *is, *adopted, *waiting;
} readings[] = {
	{ "", "", "", "" },
	{ "", "# nothing\n", "", "" },
	{ "", "max-requests = 3\n", "max-requests", "" },
	{ "max-requests = 3\n", "", "max-requests", "" },
	{ "max-requests = 3\n", "max-requests = 3\n", "", "" },
	{ "max-body = 64K\n", "max-body = 65536\n", "", "" },
	{ "", "keepalive-timeout = 5000ms\n", "", "" }, /* the default in other words */
	{ "", "drain-delay = 1s\n", "drain-delay", "" },
	{ "", "grace = 1s\nsettle = 1s\nverbose = yes\n", "settle, grace, verbose", "" },
	{ "verbose = yes\n", "verbose = no\n", "verbose", "" },
	{ "verbose = no\n", "", "", "" },
	{ "", "gate = index,vanished=50%\n", "gate", "" }, /* said, it is stricter than as a default */
	{ "", "workers = 3\n", "", "workers" },
	{ "", "listen = 127.0.0.1:1\nlisten = 127.0.0.1:2\n", "", "listen" },
	{ "listen = 127.0.0.1:1\nlisten = 127.0.0.1:2\n", "listen = 127.0.0.1:1\n", "", "listen" },
	{ "listen = 127.0.0.1:1\n", "listen = 127.0.0.1:1\n", "", "" },
	{ "", "max-fields = 70\n", "", "" }, /* the command line wins */
	{ "index = a\n", "index = b\nmax-head = 12K\ncache-control = no-store\n", "max-head", "index, cache-control" },
};

START_TEST(changes_are_named)
{
	begin(readings[_i].was);
	put(readings[_i].is);
	ck_assert_int_eq(live_read(&live, &changes, why, sizeof(why)), 0);
	ck_assert_str_eq(changes.adopted, readings[_i].adopted);
	ck_assert_str_eq(changes.waiting, readings[_i].waiting);
	/* Once more: what is adopted is in effect, what waits still does. */
	ck_assert_int_eq(live_read(&live, &changes, why, sizeof(why)), 0);
	ck_assert_str_eq(changes.adopted, "");
	ck_assert_str_eq(changes.waiting, readings[_i].waiting);
	end();
}
END_TEST

START_TEST(a_mistake_leaves_all_as_it_was)
{
	char expected[128];

	begin("max-requests = 3\n");
	put("\nmax-requests = 4\nmax-head = x\n");
	snprintf(expected, sizeof(expected), "%s:3: max-head: ", path);
	ck_assert_int_eq(live_read(&live, &changes, why, sizeof(why)), -EINVAL);
	ck_assert_ptr_eq(strstr(why, expected), why);
	ck_assert_uint_eq(live_options(&live)->limits.requests, 3);

	put("max-requests = 4\n");
	ck_assert_int_eq(live_read(&live, &changes, why, sizeof(why)), 0);
	ck_assert_str_eq(changes.adopted, "max-requests");
	ck_assert_uint_eq(live_options(&live)->limits.requests, 4);
	ck_assert_uint_eq(options.limits.requests, 3); /* the start's */

	unlink(path);
	ck_assert_int_eq(live_read(&live, &changes, why, sizeof(why)), -EINVAL);
	ck_assert_uint_eq(live_options(&live)->limits.requests, 4);
	end();
}
END_TEST

START_TEST(without_a_file_there_is_nothing_to_read)
{
	char *none[] = { name, NULL };

	unsetenv("LOOM_CONFIG");
	ck_assert_int_eq(options_parse(&options, 1, none, why, sizeof(why)), OPTIONS_RUN);
	live_init(&live, 1, none, &options);
	ck_assert_int_eq(live_read(&live, &changes, why, sizeof(why)), -ENOENT);
	ck_assert_ptr_eq(live_options(&live), &options);
	live_free(&live);
	options_free(&options);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("live");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, changes_are_named, 0, sizeof(readings) / sizeof(readings[0]));
	tcase_add_test(tests, a_mistake_leaves_all_as_it_was);
	tcase_add_test(tests, without_a_file_there_is_nothing_to_read);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
