/*
 * test_notify.c - what a service manager is told, and when its watchdog is fed.
 */
#include <check.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "loom/notify.h"

/* The manager's end, abstract: nothing is left behind. */
static int listen_at(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path + 1, name, strlen(name));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address,
	                      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))),
	                 0);
	return fd;
}

static const char *heard(int fd)
{
	static char text[2048];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void clear(void)
{
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

START_TEST(lines_are_sent_as_they_are)
{
	struct notify notify;
	char name[32], path[40];
	uint64_t before, told;
	struct timespec now;
	int fd;

	clear();
	snprintf(name, sizeof(name), "loom-test-%d", (int)getpid());
	snprintf(path, sizeof(path), "@%s", name);
	fd = listen_at(name);
	setenv("NOTIFY_SOCKET", path, 1);
	notify_open(&notify);
	ck_assert_int_ge(notify.fd, 0);
	ck_assert_uint_eq(notify.watchdog_ms, 0);

	notify_send(&notify, "READY=1\nSTATUS=%s %d", "x", 7);
	ck_assert_str_eq(heard(fd), "READY=1\nSTATUS=x 7");

	clock_gettime(CLOCK_MONOTONIC, &now);
	before = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	notify_reloading(&notify);
	ck_assert_int_eq(sscanf(heard(fd), "RELOADING=1\nMONOTONIC_USEC=%" SCNu64, &told), 1);
	ck_assert_uint_ge(told, before);

	notify_close(&notify);
	notify_send(&notify, "READY=1"); /* to nobody */
	ck_assert_str_eq(heard(fd), "");
	close(fd);
}
END_TEST

static const struct {
	const char *path;
	bool wanted;
} paths[] = {
	{ NULL, false }, { "", false },  { "relative", false },  { "@", false },
	{ "/", false },  { "/x", true }, { "vsock:2:1", false }, { "@x", true },
};

START_TEST(whose_address_is_right_is_told)
{
	struct notify notify;

	clear();
	if (paths[_i].path)
		setenv("NOTIFY_SOCKET", paths[_i].path, 1);
	notify_open(&notify);
	ck_assert_int_eq(notify.fd >= 0, paths[_i].wanted);
	notify_send(&notify, "READY=1"); /* and if nobody is there, nothing happens */
	notify_close(&notify);
}
END_TEST

static const struct {
	const char *usec, *pid; /* pid ".": ours */
	uint64_t ms;
} watchdogs[] = {
	{ NULL, NULL, 0 },
	{ "30000000", NULL, 30000 },
	{ "30000000", ".", 30000 },
	{ "30000000", "1", 0 },
	{ "30000000", "", 0 },
	{ "0", NULL, 0 },
	{ "500", NULL, 1 },
	{ "x", NULL, 0 },
	{ "-1", NULL, 0 },
	{ "30000000 ", NULL, 0 },
	{ "", NULL, 0 },
};

START_TEST(the_watchdog_is_ours_or_not)
{
	struct notify notify;
	char pid[16];

	clear();
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", "/x", 1);
	if (watchdogs[_i].usec)
		setenv("WATCHDOG_USEC", watchdogs[_i].usec, 1);
	if (watchdogs[_i].pid)
		setenv("WATCHDOG_PID", *watchdogs[_i].pid == '.' ? pid : watchdogs[_i].pid, 1);
	notify_open(&notify);
	ck_assert_uint_eq(notify.watchdog_ms, watchdogs[_i].ms);
	notify_close(&notify);
}
END_TEST

START_TEST(it_is_fed_when_all_have_turned)
{
	uint64_t seen[3], turns[3] = { 0, 5, 9 };
	struct watchdog watchdog = { .seen = seen, .workers = 3 };
	unsigned hung = 7;

	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_FEED); /* nobody has been woken yet */
	turns[0]++, turns[1]++, turns[2]++;
	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_FEED);
	ck_assert_uint_eq(hung, 7);

	/* One stands still, however often the others turn and it is looked at. */
	for (int i = 0; i < 3; i++) {
		turns[0]++, turns[2]++;
		ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_HOLD);
		ck_assert_uint_eq(hung, 1);
	}
	/* The others need not turn again for its sake: they have, since they were woken. */
	turns[1]++;
	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_FEED);
	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_HOLD);
}
END_TEST

START_TEST(who_has_ended_need_not_turn)
{
	uint64_t seen[2], turns[2] = { 3, 3 };
	struct watchdog watchdog = { .seen = seen, .workers = 2 };
	unsigned hung;

	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_FEED);
	turns[0] = WATCHDOG_ENDED;
	turns[1]++;
	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_FEED);
	turns[1]++;
	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_FEED);
	ck_assert_int_eq(watchdog_look(&watchdog, turns, &hung), WATCHDOG_HOLD);
	ck_assert_uint_eq(hung, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("notify");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tests, lines_are_sent_as_they_are);
	tcase_add_loop_test(tests, whose_address_is_right_is_told, 0, sizeof(paths) / sizeof(paths[0]));
	tcase_add_loop_test(tests, the_watchdog_is_ours_or_not, 0, sizeof(watchdogs) / sizeof(watchdogs[0]));
	tcase_add_test(tests, it_is_fed_when_all_have_turned);
	tcase_add_test(tests, who_has_ended_need_not_turn);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
