/*
 * test_launcher.c - from inside the sandbox the launcher starts what it was made for, outside of it, with the descriptors
 * and the variable that it is told, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "acts.h"
#include "loom/launcher.h"

static const char *binary, *script;
static int (*scene)(struct launcher *launcher);
static char *arguments[] = { (char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", NULL, NULL };

/* A process makes the launcher, enters the sandbox, and plays the scene: its status. */
static int played(void)
{
	static const char *const dropped[] = { "UNWANTED", NULL };
	struct options options = standard();
	sigset_t mask;
	int status;
	pid_t child;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	setenv("UNWANTED", "x", 1);
	setenv("WANTED", "y", 1);
	setenv("TOLD", "by nobody", 1);
	arguments[2] = (char *)(uintptr_t)script;
	child = fork();
	if (child == 0) {
		const struct launcher_config config = {
			.binary = binary, .argv = arguments, .mask = &mask, .variable = "TOLD", .dropped = dropped
		};
		struct launcher *launcher;
		char why[512];

		if (launcher_create(&launcher, &config, why, sizeof(why)) < 0 ||
		    sandbox_enter(&options, why, sizeof(why)) < 0) {
			fprintf(stderr, "%s\n", why);
			_exit(240);
		}
		sandbox_thread(SANDBOX_MAIN);
		status = scene(launcher);
		launcher_destroy(launcher);
		_exit(status);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int status_of(struct launcher *launcher, const int fds[], unsigned n, const char *value)
{
	pid_t pid = 0;
	int status, err = launcher_start(launcher, false, fds, n, value, &pid);

	if (err)
		return 241;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 242;
	return WEXITSTATUS(status);
}

static int start_plainly(struct launcher *launcher)
{
	return status_of(launcher, NULL, 0, "a\nvalue");
}

START_TEST(a_program_starts_outside)
{
	binary = "/bin/sh";
	scene = start_plainly;
	script = "exit 7";
	ck_assert_int_eq(played(), 7);
	script = "[ \"$TOLD\" = \"$(printf 'a\\nvalue')\" ] && [ -z \"$UNWANTED\" ] && [ \"$WANTED\" = y ]";
	ck_assert_int_eq(played(), 0);
	script = "grep -q '^NoNewPrivs:.0$' /proc/self/status && grep -q '^Seccomp:.0$' /proc/self/status";
	ck_assert_int_eq(played(), 0);
	script = "cat /etc/passwd >/dev/null"; /* which Landlock would not let it read */
	ck_assert_int_eq(played(), 0);
	script = "for fd in /proc/$$/fd/*; do case $fd in */[012]) ;; *) ! [ -e $fd ] || exit 1 ;; esac; done";
	ck_assert_int_eq(played(), 0);
}
END_TEST

static int pass_descriptors(struct launcher *launcher)
{
	int ends[2], fds[3], status;
	char text[16] = "", value[64];

	if (pipe(ends) < 0)
		return 243;
	/* The lowest there are, which are in the launcher's way and in each other's; the last one first. */
	for (int i = 2; i >= 0; i--)
		fds[i] = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
	snprintf(value, sizeof(value), "%d %d %d", fds[0], fds[1], fds[2]);
	status = status_of(launcher, fds, 3, value);
	return status ? status : read(ends[0], text, sizeof(text)) == 6 && strcmp(text, "a\nb\nc\n") == 0 ? 0 : 244;
}

START_TEST(descriptors_keep_their_numbers)
{
	binary = "/bin/bash"; /* unlike some other shells it knows numbers above 9, and leaves the mask as it is */
	scene = pass_descriptors;
	if (access(binary, X_OK) < 0) {
		printf("SKIP: no bash\n");
		return;
	}
	script = "set -- $TOLD; echo a >&$1 && echo b >&$2 && echo c >&$3";
	ck_assert_int_eq(played(), 0);
	scene = start_plainly;
	script = "grep -q '^SigBlk:.0000000000000800$' /proc/self/status"; /* SIGUSR2 */
	ck_assert_int_eq(played(), 0);
}
END_TEST

static int pass_many(struct launcher *launcher)
{
	static int fds[300];

	for (int i = 0; i < 300; i++) {
		fds[i] = dup2(1, 300 + i);
		if (fds[i] < 0)
			return 246;
	}
	return status_of(launcher, fds, 300, "");
}

START_TEST(there_may_be_many)
{
	binary = "/bin/sh";
	scene = pass_many;
	script = "[ -e /proc/$$/fd/300 ] && [ -e /proc/$$/fd/599 ] && ! [ -e /proc/$$/fd/299 ]";
	ck_assert_int_eq(played(), 0);
}
END_TEST

static int start_badly(struct launcher *launcher)
{
	pid_t pid = 0;

	/* And the next one is none the worse for it. */
	if (launcher_start(launcher, false, (const int[]){ 1 }, 1, "", &pid) == 0)
		return 247;
	return pid;
}

START_TEST(what_cannot_be_started_is_told)
{
	binary = place; /* a directory, which may be "executed" by access(2) and not by execve(2) */
	scene = start_badly;
	ck_assert_int_eq(played(), 0);
}
END_TEST

static int start_and_end(struct launcher *launcher)
{
	pid_t pid;
	int status;

	if (launcher_kill(launcher, SIGKILL) != -ESRCH || launcher_start(launcher, false, NULL, 0, "", &pid) < 0)
		return 248;
	if (kill(pid, SIGKILL) == 0 || launcher_kill(launcher, SIGKILL) < 0)
		return 249;
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 250;
}

START_TEST(it_ends_what_it_started)
{
	binary = "/bin/sh";
	scene = start_and_end;
	script = "exec sleep 60";
	ck_assert_int_eq(played(), 0);
}
END_TEST

/*
 * What whoever has taken over this process may send: packets as launcher.c has them, a kind, a length, and numbers or bytes,
 * with so many descriptors. The launcher, which is outside of the sandbox, ends or goes on, and does not trip.
 */
struct raw {
	uint32_t words[4];
	size_t len;
	unsigned fds;
};

enum { TAKE_FDS, TAKE_VALUE, FORGET, START, KILL }; /* as launcher.c numbers them */

static const struct raw nonsense[][4] = {
	/* No descriptor, twice: the second realloc(3) to nothing would free what the first one gave. */
	{ { { TAKE_FDS, 0 }, 8, 0 }, { { TAKE_FDS, 0 }, 8, 0 }, { { FORGET, 0 }, 8, 0 }, { { FORGET, 0 }, 8, 0 } },
	{ { { TAKE_FDS, 2, 10, 11 }, 16, 1 } },          /* fewer than it says */
	{ { { TAKE_FDS, 1, 2 }, 12, 1 } },               /* would be stderr */
	{ { { TAKE_FDS, 1, 1 << 30 }, 12, 1 } },         /* a number that nobody has */
	{ { { TAKE_FDS, 1 }, 8, 1 } },                   /* the number is missing */
	{ { { TAKE_VALUE, 5000, 1 }, 12, 0 } },          /* longer than a packet */
	{ { { TAKE_VALUE, 4000, 0x41414141 }, 12, 0 } }, /* longer than this one */
	{ { { TAKE_VALUE, 4, 0x00410041 }, 12, 0 } },    /* a NUL in it */
	{ { { TAKE_VALUE, 4, 0x41414141 }, 12, 1 } },    /* a descriptor with it */
	{ { { FORGET, 0 }, 4, 0 } },                     /* half of a head */
	{ { { KILL, 1 }, 8, 0 } },                       /* another signal */
	{ { { 99, 0 }, 8, 0 } },                         /* no kind of packet */
};
static unsigned turn;

static int the_socket(void)
{
	for (int fd = 3; fd < 100; fd++) {
		int type = 0;

		if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) }) == 0 &&
		    type == SOCK_SEQPACKET)
			return fd;
	}
	return -1;
}

static int send_nonsense(struct launcher *launcher)
{
	int fd = the_socket(), status;

	for (unsigned i = 0; i < 4 && nonsense[turn][i].len; i++) {
		const struct raw *raw = &nonsense[turn][i];
		union {
			struct cmsghdr header;
			char bytes[CMSG_SPACE(sizeof(int))];
		} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
		struct iovec iov = { (void *)(uintptr_t)raw->words, raw->len };
		struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

		memcpy(CMSG_DATA(&control.header), &(int){ 1 }, sizeof(int));
		if (raw->fds)
			message.msg_control = &control, message.msg_controllen = sizeof(control);
		if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0 && errno != EPIPE)
			return 251;
	}
	shutdown(fd, SHUT_RDWR);
	(void)launcher;
	return waitpid(-1, &status, 0) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 252;
}

START_TEST(nonsense_does_not_trip_it)
{
	binary = "/bin/sh";
	script = "exit 1";
	scene = send_nonsense;
	for (turn = 0; turn < sizeof(nonsense) / sizeof(nonsense[0]); turn++)
		ck_assert_msg(played() == 0, "nonsense %u", turn);
}
END_TEST

Suite *launcher_suite(void)
{
	Suite *suite = suite_create("launcher");
	TCase *launcher = tcase_create("launcher");

	tcase_set_timeout(launcher, PATIENCE);
	tcase_add_checked_fixture(launcher, make_place, remove_place);
	tcase_add_test(launcher, a_program_starts_outside);
	tcase_add_test(launcher, descriptors_keep_their_numbers);
	tcase_add_test(launcher, there_may_be_many);
	tcase_add_test(launcher, what_cannot_be_started_is_told);
	tcase_add_test(launcher, it_ends_what_it_started);
	tcase_add_test(launcher, nonsense_does_not_trip_it);
	suite_add_tcase(suite, launcher);
	return suite;
}
