/*
 * test_listen_options.c - what stands behind an address, and sockets that were opened by somebody else.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loom/listen.h"

static struct listen_address address;
static char why[512];
static char directory[] = "/tmp/loom-listen-XXXXXX";
static char path[sizeof(directory) + 8];

static void make_directory(void)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/socket", directory);
}

static void remove_directory(void)
{
	unlink(path);
	rmdir(directory);
}

static void parse(const char *text)
{
	ck_assert_msg(listen_parse_value(text, &address, why, sizeof(why)) == 0, "%s: %s", text, why);
}

START_TEST(options_are_read)
{
	parse("127.0.0.1:80");
	ck_assert_uint_eq(address.options.given, 0);
	ck_assert(address.options.no_delay && !address.options.proxy && address.options.backlog == 0);
	ck_assert_int_eq(address.source, LISTEN_OWN);
	parse("[::1]:80,backlog=1024,nodelay=off,defer-accept=90s,fast-open=256,congestion=cubic,proxy=on");
	ck_assert_uint_eq(address.options.given, 1 << LISTEN_BACKLOG | 1 << LISTEN_NO_DELAY | 1 << LISTEN_DEFER_ACCEPT |
	                                                 1 << LISTEN_FAST_OPEN | 1 << LISTEN_CONGESTION |
	                                                 1 << LISTEN_PROXY);
	ck_assert_int_eq(address.options.backlog, 1024);
	ck_assert(!address.options.no_delay && address.options.proxy);
	ck_assert_int_eq(address.options.defer_accept, 90);
	ck_assert_int_eq(address.options.fast_open, 256);
	ck_assert_str_eq(address.options.congestion, "cubic");
	ck_assert_str_eq(address.text, "http://[::1]:80/");
	parse("unix:/run/a.sock,mode=0640,proxy=off,backlog=5");
	ck_assert_uint_eq(address.options.mode, 0640);
	ck_assert(!address.options.proxy);
	ck_assert_str_eq(address.text, "unix:/run/a.sock");
	parse("fd:3,proxy=on,defer-accept=1s");
	ck_assert_int_eq(address.source, LISTEN_DESCRIPTOR);
	ck_assert_int_eq(address.descriptor, 3);
	parse("systemd:web.socket");
	ck_assert_int_eq(address.source, LISTEN_SYSTEMD);
	ck_assert_str_eq(address.name, "web.socket");
}
END_TEST

static const char *const bad[][2] = {
	{ "127.0.0.1:80,", "'' is no option of a listener (backlog, nodelay," },
	{ "127.0.0.1:80,proxy", "proxy lacks its value (proxy=...)" },
	{ "127.0.0.1:80,proxy=", "proxy lacks its value" },
	{ "127.0.0.1:80,proxy=yes", "proxy=yes: it is on or off" },
	{ "127.0.0.1:80,proxy=on,proxy=on", "proxy is given twice" },
	{ "127.0.0.1:80,proxy=on,backlog=0", "backlog=0: it is a number from 1 to 1048576" },
	{ "127.0.0.1:80,backlog=1048577", "from 1 to 1048576" },
	{ "127.0.0.1:80,backlog=-1", "from 1 to 1048576" },
	{ "127.0.0.1:80,backlog=1k", "from 1 to 1048576" },
	{ "127.0.0.1:80,backlog=18446744073709551617", "from 1 to 1048576" },
	{ "127.0.0.1:80,nodelay=1", "it is on or off" },
	{ "127.0.0.1:80,defer-accept=500ms", "it is whole seconds" },
	{ "127.0.0.1:80,defer-accept=1500ms", "it is whole seconds" },
	{ "127.0.0.1:80,defer-accept=0", "from 1s to 1h" },
	{ "127.0.0.1:80,defer-accept=2h", "from 1s to 1h" },
	{ "127.0.0.1:80,defer-accept=on", "it is whole seconds" },
	{ "127.0.0.1:80,fast-open=65537", "from 1 to 65536" },
	{ "127.0.0.1:80,fast-open=on", "from 1 to 65536" },
	{ "127.0.0.1:80,congestion=abcdefghijklmnop", "at most 15 bytes" },
	{ "127.0.0.1:80,mode=0660", "mode is for the file of a Unix socket" },
	{ "127.0.0.1:80,Proxy=on", "'Proxy' is no option" },
	{ "127.0.0.1:80, proxy=on", "' proxy' is no option" },
	{ "127.0.0.1:80,tls=on", "'tls' is no option" },
	{ "127.0.0.1,proxy=on", "lacks a port" },
	{ "proxy=on", "lacks a port" },
	{ "unix:/a,mode=0888", "it is octal, as in 0660" },
	{ "unix:/a,mode=1777", "it is octal" },
	{ "unix:/a,mode=00660", "it is octal" },
	{ "unix:/a,mode=rw", "it is octal" },
	{ "unix:/a,mode=", "lacks its value" },
	{ "unix:/a,nodelay=on", "nodelay is for TCP, and this is a Unix socket" },
	{ "unix:/a,defer-accept=1s", "defer-accept is for TCP" },
	{ "unix:/a,fast-open=1", "fast-open is for TCP" },
	{ "unix:/a,congestion=cubic", "congestion is for TCP" },
	{ "unix:/a,b", "'b' is no option of a listener" },
	{ "unix:,mode=0660", "lacks the path" },
	{ "fd:2", "a descriptor from 3 up" },
	{ "fd:", "a descriptor from 3 up" },
	{ "fd:x", "a descriptor from 3 up" },
	{ "fd:4294967299", "a descriptor from 3 up" },
	{ "fd:3,mode=0660", "SocketMode= in a socket unit" },
	{ "systemd:", "lacks the name" },
	{ "systemd:a:b", "lacks the name" },
	{ "systemd:a,mode=0660", "SocketMode=" },
};

START_TEST(mistakes_in_options_are_explained)
{
	ck_assert_int_eq(listen_parse_value(bad[_i][0], &address, why, sizeof(why)), -EINVAL);
	ck_assert_msg(strstr(why, bad[_i][1]), "'%s' explained as: %s", bad[_i][0], why);
}
END_TEST

START_TEST(an_option_is_told_from_an_address)
{
	ck_assert(listen_is_option("backlog=5") && listen_is_option("defer-accept=") && listen_is_option("tls=on"));
	ck_assert(!listen_is_option("127.0.0.1:80") && !listen_is_option("unix:/a=b") && !listen_is_option("8080") &&
	          !listen_is_option("[::1]:80") && !listen_is_option("fd:3") && !listen_is_option(""));
}
END_TEST

START_TEST(the_file_of_a_unix_socket_has_its_mode)
{
	static const mode_t modes[] = { 0600, 0660, 0666, 0777, 0 };
	mode_t before = umask(027);
	struct stat st;
	char text[128];
	int fd;

	snprintf(text, sizeof(text), "unix:%s,mode=%o", path, modes[_i]);
	parse(text);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, modes[_i]);
	ck_assert_uint_eq(umask(before), 027);
	listen_cleanup(&address);
	ck_assert_int_lt(stat(path, &st), 0);
}
END_TEST

START_TEST(a_file_that_another_has_replaced_is_noticed)
{
	struct listen_address other;
	struct stat st;
	char text[128];
	int fd, late;

	snprintf(text, sizeof(text), "unix:%s", path);
	parse(text);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	/* Bound, and deaf so far: to the other it is as good as dead. */
	ck_assert_int_eq(listen_parse_value(text, &other, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&other, &late, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&other, &late, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, &fd, 1, why, sizeof(why)), -EADDRINUSE);
	listen_cleanup(&address);
	ck_assert_int_eq(stat(path, &st), 0);
	listen_cleanup(&other);
	ck_assert_int_lt(stat(path, &st), 0);
}
END_TEST

static int integer_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

START_TEST(options_reach_every_socket)
{
	int fds[2];

	parse("127.0.0.1:0,nodelay=off,defer-accept=3s");
	ck_assert_int_eq(listen_bind(&address, fds, 2, why, sizeof(why)), 0);
	ck_assert(!address.shared);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(integer_option(fds[i], IPPROTO_TCP, TCP_NODELAY), 0);
		ck_assert_int_gt(integer_option(fds[i], IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	}
}
END_TEST

START_TEST(an_option_that_the_kernel_refuses_leaves_nothing)
{
	int fds[2], before = dup(STDOUT_FILENO), after;

	close(before);
	parse("127.0.0.1:0,congestion=nonesuch");
	ck_assert_int_eq(listen_bind(&address, fds, 2, why, sizeof(why)), -ENOENT);
	ck_assert_msg(strstr(why, "congestion=nonesuch: this kernel has not got it (it has: "), "%s", why);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), -ENOENT);
	after = dup(STDOUT_FILENO);
	ck_assert_int_eq(after, before);
}
END_TEST

static int local_listener(bool listens)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	if (listens)
		ck_assert_int_eq(listen(fd, 5), 0);
	return fd;
}

START_TEST(a_passed_socket_is_taken_over)
{
	struct listen_address seen = { 0 };
	int given = local_listener(_i), fds[3];

	parse("fd:3,nodelay=on");
	ck_assert_int_eq(listen_take_over(&address, &given, 1, fds, 3, why, sizeof(why)), 0);
	ck_assert_int_eq(fds[0], given);
	ck_assert(address.shared);
	ck_assert_int_eq(strncmp(address.text, "http://127.0.0.1:", 17), 0);
	ck_assert_int_eq(listen_start(&address, fds, 3, why, sizeof(why)), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		ck_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		ck_assert_int_eq(integer_option(fds[i], SOL_SOCKET, SO_ACCEPTCONN), 1);
		ck_assert_int_eq(listen_examine(fds[i], &seen, why, sizeof(why)), 0);
		ck_assert(listen_same(&seen, &address));
	}
	ck_assert_int_eq(integer_option(given, IPPROTO_TCP, TCP_NODELAY), 1);
}
END_TEST

/* One for each worker of the predecessor, two workers more here. */
START_TEST(several_sockets_of_one_address_are_taken_over)
{
	struct listen_address first;
	int given[2], fds[4];
	dev_t device = 0;
	ino_t inode[4];

	parse("127.0.0.1:0");
	first = address;
	ck_assert_int_eq(listen_bind(&first, given, 2, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&first, given, 2, why, sizeof(why)), 0);
	address.source = LISTEN_DESCRIPTOR;
	ck_assert_int_eq(listen_take_over(&address, given, 2, fds, 2, why, sizeof(why)), 0);
	ck_assert(!address.shared);
	ck_assert(listen_same(&first, &address));
	ck_assert_int_eq(listen_take_over(&address, given, 2, fds, 4, why, sizeof(why)), 0);
	ck_assert(address.shared);
	for (int i = 0; i < 4; i++) {
		struct stat st;

		ck_assert_int_eq(fstat(fds[i], &st), 0);
		device = st.st_dev;
		inode[i] = st.st_ino;
	}
	ck_assert_uint_ne(device, 0);
	ck_assert_uint_ne(inode[0], inode[1]);
	ck_assert_uint_eq(inode[0], inode[2]);
	ck_assert_uint_eq(inode[1], inode[3]);
}
END_TEST

START_TEST(a_failed_take_over_leaves_the_given_ones_open)
{
	struct rlimit limit;
	int given = local_listener(true), fds[8], probe = dup(given), again;

	close(probe);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)probe + 2;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	parse("fd:3");
	ck_assert_int_eq(listen_take_over(&address, &given, 1, fds, 8, why, sizeof(why)), -EMFILE);
	again = dup(given);
	ck_assert_int_eq(again, probe);
}
END_TEST

static void set_passed(pid_t pid, const char *fds, const char *names)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", (int)pid);
	setenv("LISTEN_PID", text, 1);
	setenv("LISTEN_FDS", fds, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

/*
 * The number of the first of these that does not hold; 0: all do. In a process whose descriptors 3 to 5 are free to
 * use.
 */
static int look_at_passed(void)
{
	struct listen_passed passed[LISTEN_PASSED_MAX];

	if (dup2(STDOUT_FILENO, 3) != 3 || dup2(STDOUT_FILENO, 4) != 4)
		return 1;
	close(5);
	set_passed(getpid(), "2", "web:local");
	if (listen_passed_count() != 2 || listen_passed(passed, why, sizeof(why)) != 2)
		return 2;
	if (passed[0].fd != 3 || strcmp(passed[0].name, "web") != 0 || strcmp(passed[1].name, "local") != 0)
		return 3;
	if (!(fcntl(3, F_GETFD) & FD_CLOEXEC) || !(fcntl(4, F_GETFD) & FD_CLOEXEC))
		return 4;
	set_passed(getpid(), "2", NULL);
	if (listen_passed(passed, why, sizeof(why)) != 2 || strcmp(passed[1].name, "unknown") != 0)
		return 5;
	set_passed(getpid(), "2", "web");
	if (listen_passed(passed, why, sizeof(why)) != 2 || strcmp(passed[0].name, "web") != 0 ||
	    strcmp(passed[1].name, "unknown") != 0)
		return 6;
	set_passed(getpid(), "3", "a:b:c");
	if (listen_passed(passed, why, sizeof(why)) != -EBADF || !strstr(why, "descriptor 5 is not open"))
		return 7;
	set_passed(getpid(), "65", NULL);
	if (listen_passed(passed, why, sizeof(why)) != -EINVAL || !strstr(why, "at most 64"))
		return 8;
	return 0;
}

START_TEST(passed_sockets_are_named)
{
	struct listen_passed passed[LISTEN_PASSED_MAX];
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(look_at_passed());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	set_passed(getppid(), "2", NULL);
	ck_assert_int_eq(listen_passed(passed, why, sizeof(why)), 0);
	set_passed(getpid(), "0", NULL);
	ck_assert_int_eq(listen_passed(passed, why, sizeof(why)), 0);
	set_passed(getpid(), "x", NULL);
	ck_assert_int_eq(listen_passed(passed, why, sizeof(why)), 0);
	unsetenv("LISTEN_PID");
	ck_assert_int_eq(listen_passed(passed, why, sizeof(why)), 0);
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

int main(void)
{
	Suite *suite = suite_create("listen_options");
	TCase *parsing = tcase_create("parse"), *sockets = tcase_create("sockets"), *local = tcase_create("unix");
	SRunner *runner;
	int failed;

	tcase_add_test(parsing, options_are_read);
	tcase_add_loop_test(parsing, mistakes_in_options_are_explained, 0, COUNT(bad));
	tcase_add_test(parsing, an_option_is_told_from_an_address);
	suite_add_tcase(suite, parsing);
	tcase_add_test(sockets, options_reach_every_socket);
	tcase_add_test(sockets, an_option_that_the_kernel_refuses_leaves_nothing);
	tcase_add_loop_test(sockets, a_passed_socket_is_taken_over, 0, 2);
	tcase_add_test(sockets, several_sockets_of_one_address_are_taken_over);
	tcase_add_test(sockets, a_failed_take_over_leaves_the_given_ones_open);
	tcase_add_test(sockets, passed_sockets_are_named);
	suite_add_tcase(suite, sockets);
	tcase_add_checked_fixture(local, make_directory, remove_directory);
	tcase_add_loop_test(local, the_file_of_a_unix_socket_has_its_mode, 0, 5);
	tcase_add_test(local, a_file_that_another_has_replaced_is_noticed);
	suite_add_tcase(suite, local);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
