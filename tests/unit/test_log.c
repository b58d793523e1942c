/*
 * test_log.c - lines reach standard error whole, at the right level, and cannot be forged.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/log.h"

static int saved_stderr;
static int pipe_end;

static void redirect(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	saved_stderr = dup(STDERR_FILENO);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
	pipe_end = ends[0];
}

static void restore(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_end);
}

/* What has been written since the last call. */
static const char *written(void)
{
	static char text[4 * PIPE_BUF];
	ssize_t n = read(pipe_end, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(a_line_has_the_name_in_front_and_an_end)
{
	log_error("cannot open '%s': %d", "x", 7);
	ck_assert_str_eq(written(), "loom: cannot open 'x': 7\n");
}
END_TEST

START_TEST(levels_choose_what_is_said)
{
	static const char *const expected[] = {
		"loom: e\n",
		"loom: e\nloom: w\n",
		"loom: e\nloom: w\nloom: i\n",
		"loom: e\nloom: w\nloom: i\nloom: d\n",
	};

	log_set_level((enum log_level)_i);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	ck_assert_str_eq(written(), expected[_i]);
}
END_TEST

START_TEST(control_bytes_cannot_forge_a_line)
{
	log_warn("skipped %s", "a\nloom: b\r\x1b[2J\x7f\tc \xc3\xa9");
	ck_assert_str_eq(written(), "loom: skipped a?loom: b??[2J??c \xc3\xa9\n");
}
END_TEST

START_TEST(a_long_line_is_cut_to_one_atomic_write)
{
	static const int lengths[] = { PIPE_BUF - 8, PIPE_BUF - 7, PIPE_BUF - 6, PIPE_BUF, 3 * PIPE_BUF };
	int length = lengths[_i];
	char *text = malloc((size_t)length + 1);
	const char *line;
	size_t len;

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', (size_t)length);
	text[length] = '\0';
	log_error("%s", text);
	line = written();
	len = strlen(line);
	if (length <= PIPE_BUF - 8) {
		ck_assert_uint_eq(len, 6 + (size_t)length + 1);
		ck_assert_int_eq(line[len - 2], 'x');
	} else {
		ck_assert_uint_le(len, PIPE_BUF);
		ck_assert_uint_ge(len, PIPE_BUF - 1);
		ck_assert_str_eq(line + len - 5, "x...\n");
	}
	ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);
	free(text);
}
END_TEST

START_TEST(errno_survives)
{
	close(STDERR_FILENO);
	errno = ENOTDIR;
	log_error("nobody reads this");
	ck_assert_int_eq(errno, ENOTDIR);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tcase = tcase_create("log");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, redirect, restore);
	tcase_add_test(tcase, a_line_has_the_name_in_front_and_an_end);
	tcase_add_loop_test(tcase, levels_choose_what_is_said, 0, 4);
	tcase_add_test(tcase, control_bytes_cannot_forge_a_line);
	tcase_add_loop_test(tcase, a_long_line_is_cut_to_one_atomic_write, 0, 5);
	tcase_add_test(tcase, errno_survives);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
