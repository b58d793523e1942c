/*
 * test_log.c - lines reach standard error whole, at the right level, and cannot be forged.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
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

/* Somebody who is told when to look, as the main thread is. */
START_TEST(repeats_are_counted)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t count;
	int left;

	log_warn("disk");
	log_warn("disk");
	ck_assert_str_eq(written(), "loom: disk\nloom: disk\n"); /* nobody would say how often */
	log_wake(fd);
	ck_assert_int_eq(log_repeats(), -1);
	log_warn("disk %d", 1);
	ck_assert_str_eq(written(), "loom: disk 1\n");
	ck_assert_int_eq(log_repeats(), -1);
	ck_assert_int_eq(read(fd, &count, sizeof(count)), -1);
	for (unsigned i = 0; i < 7; i++)
		log_warn("disk %d", 1);
	ck_assert_str_eq(written(), "");
	ck_assert_int_eq(read(fd, &count, sizeof(count)), sizeof(count));
	ck_assert_uint_eq(count, 1); /* once, not for each */
	left = log_repeats();
	ck_assert_int_gt(left, 0);
	ck_assert_int_le(left, LOG_REPEAT_MS);
	ck_assert_str_eq(written(), "");

	log_error("disk %d", 1); /* the same words, but worse */
	ck_assert_str_eq(written(), "loom: last message repeated 7 times\nloom: disk 1\n");
	ck_assert_int_eq(log_repeats(), -1);
	log_error("disk %d", 1);
	log_info("disk %d", 11);
	ck_assert_str_eq(written(), "loom: last message repeated 1 time\nloom: disk 11\n");
	log_info("disk %d", 11);
	log_close();
	ck_assert_str_eq(written(), "loom: last message repeated 1 time\n");
	log_info("disk %d", 11);
	ck_assert_str_eq(written(), "loom: disk 11\n");
	log_wake(-1);
	close(fd);
}
END_TEST

START_TEST(the_journal_gets_severities)
{
	char stream[64], why[256];
	struct stat st;

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert_int_eq(log_open("stderr", why, sizeof(why)), 0);
	log_error("not the journal's");
	ck_assert_str_eq(written(), "loom: not the journal's\n");

	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	ck_assert_int_eq(log_open("stderr", why, sizeof(why)), 0);
	log_set_level(LOG_LEVEL_DEBUG);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	ck_assert_str_eq(written(), "<3>e\n<4>w\n<6>i\n<7>d\n");
}
END_TEST

/* The file's text, without times. */
static const char *file_text(const char *name)
{
	static char text[4096];
	FILE *file = fopen(name, "r");
	char line[1024], *out = text;
	int year, month, day, hour, minute, second, ms, pid, at;

	ck_assert_ptr_nonnull(file);
	*text = '\0';
	while (fgets(line, sizeof(line), file)) {
		ck_assert_msg(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ loom[%d] %n", &year, &month, &day, &hour,
		                     &minute, &second, &ms, &pid, &at) == 8,
		              "%s", line);
		ck_assert_int_eq(pid, getpid());
		out += sprintf(out, "%s", line + at);
	}
	fclose(file);
	return text;
}

START_TEST(a_file_has_times_and_is_opened_anew)
{
	char directory[] = "/tmp/loom-test-log-XXXXXX", name[64], old[64], why[256];

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(name, sizeof(name), "%s/log", directory);
	snprintf(old, sizeof(old), "%s/log.1", directory);
	ck_assert_int_eq(log_open(name, why, sizeof(why)), 0);
	log_error("e");
	ck_assert_str_eq(written(), "loom: e\n"); /* at the start, here too */
	log_info("i");
	log_started();
	log_error("later");
	ck_assert_str_eq(written(), "");
	ck_assert_str_eq(file_text(name), "error: e\ninfo: i\nerror: later\n");

	ck_assert_int_eq(rename(name, old), 0);
	log_warn("to the old one");
	log_reopen();
	log_warn("to the new one");
	ck_assert_str_eq(file_text(old), "error: e\ninfo: i\nerror: later\nwarning: to the old one\n");
	ck_assert_str_eq(file_text(name), "warning: to the new one\n");

	/* What cannot be opened does not take the place of what is open. */
	ck_assert_int_eq(unlink(name), 0);
	ck_assert_int_eq(mkdir(name, 0700), 0);
	ck_assert_int_eq(rename(old, old), 0);
	log_reopen();
	rmdir(name);
	log_reopen();
	log_warn("again");
	ck_assert_str_eq(file_text(name), "warning: again\n");
	unlink(name);
	unlink(old);
	rmdir(directory);
	log_open("stderr", why, sizeof(why));
}
END_TEST

START_TEST(a_place_that_cannot_be_written_is_an_error)
{
	char why[256];

	ck_assert_int_eq(log_open("/nonexistent/log", why, sizeof(why)), -ENOENT);
	ck_assert_str_eq(why, "cannot write the error log to /nonexistent/log: No such file or directory");
	ck_assert_int_eq(log_open("syslog:/nonexistent/log", why, sizeof(why)), -ENOENT);
	ck_assert_str_eq(why, "cannot write the error log to /nonexistent/log: No such file or directory (is a log "
	                      "daemon running?)");
	log_error("here");
	ck_assert_str_eq(written(), "loom: here\n");
}
END_TEST

static int log_daemon(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* What came, without the time, which is of 15 characters: "Nov 28 17:43:06". */
static const char *received(int fd)
{
	static char text[1024], rest[1024];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
	int severity, at = 0;

	if (n < 0)
		return "";
	text[n] = '\0';
	ck_assert_msg(sscanf(text, "<%d>%n", &severity, &at) == 1 && text[at + 15] == ' ', "%s", text);
	snprintf(rest, sizeof(rest), "%d%s", severity, text + at + 15);
	return rest;
}

START_TEST(syslog_gets_a_datagram_a_line)
{
	char directory[] = "/tmp/loom-test-log-XXXXXX", path[64], where[80], expected[64], why[256];
	int daemon;

	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/log", directory);
	snprintf(where, sizeof(where), "syslog:%s", path);
	daemon = log_daemon(path);
	ck_assert_int_eq(log_open(where, why, sizeof(why)), 0);
	log_started();
	log_warn("one");
	snprintf(expected, sizeof(expected), "28 loom[%d]: one", (int)getpid());
	ck_assert_str_eq(received(daemon), expected);

	/* It is started anew. */
	close(daemon);
	unlink(path);
	log_warn("lost");
	daemon = log_daemon(path);
	log_error("two");
	snprintf(expected, sizeof(expected), "27 loom[%d]: two", (int)getpid());
	ck_assert_str_eq(received(daemon), expected);
	ck_assert_str_eq(received(daemon), "");
	ck_assert_str_eq(written(), "");
	close(daemon);
	unlink(path);
	rmdir(directory);
	log_open("stderr", why, sizeof(why));
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
	tcase_add_test(tcase, repeats_are_counted);
	tcase_add_test(tcase, the_journal_gets_severities);
	tcase_add_test(tcase, a_file_has_times_and_is_opened_anew);
	tcase_add_test(tcase, a_place_that_cannot_be_written_is_an_error);
	tcase_add_test(tcase, syslog_gets_a_datagram_a_line);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
