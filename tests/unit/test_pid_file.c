/*
 * test_pid_file.c - the file that says which process serves: whole, and removed by nobody but that process.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loom/pid_file.h"

static char directory[] = "/tmp/loom-pid-XXXXXX", path[64], why[256];

static void begin(void)
{
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/pid", directory);
}

static void end(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(directory), 0); /* nothing is left beside it */
}

static const char *content(void)
{
	static char text[64];
	FILE *file = fopen(path, "r");

	text[0] = '\0';
	if (!file)
		return NULL;
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
	fclose(file);
	return text;
}

static void put(const char *text)
{
	FILE *file = fopen(path, "w");

	fputs(text, file);
	fclose(file);
}

START_TEST(it_names_us_and_goes)
{
	char ours[16];

	snprintf(ours, sizeof(ours), "%d\n", (int)getpid());
	put("the one before\n");
	ck_assert_int_eq(pid_file_write(path, why, sizeof(why)), 0);
	ck_assert_str_eq(content(), ours);
	pid_file_remove(path);
	ck_assert_ptr_null(content());
	pid_file_remove(path); /* once more: nothing */
}
END_TEST

START_TEST(a_successors_stays)
{
	put("1\n");
	pid_file_remove(path);
	ck_assert_str_eq(content(), "1\n");
}
END_TEST

START_TEST(what_cannot_be_written_is_told)
{
	ck_assert_int_eq(pid_file_write("/nonexistent/pid", why, sizeof(why)), -ENOENT);
	ck_assert_str_eq(why, "cannot write /nonexistent/pid: No such file or directory");
	ck_assert_int_eq(pid_file_try("/nonexistent/pid", why, sizeof(why)), -ENOENT);
	ck_assert_int_eq(pid_file_try(path, why, sizeof(why)), 0);
	ck_assert_ptr_null(content());
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(pid_file_write(path, why, sizeof(why)), -EISDIR);
	ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pid_file");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, it_names_us_and_goes);
	tcase_add_test(tests, a_successors_stays);
	tcase_add_test(tests, what_cannot_be_written_is_told);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
