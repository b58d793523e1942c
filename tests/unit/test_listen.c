/*
 * test_listen.c - addresses are read as written, sockets are bound as promised, and no port is shared with a stranger.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
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

static void parse_unix_path(void)
{
	char text[128];

	snprintf(text, sizeof(text), "unix:%s", path);
	ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), 0);
}

static const struct {
	const char *text;
	int family;
	const char *host;
	unsigned port;
	bool dual_stack;
	const char *shown;
} good[] = {
	{ "[::]:8080", AF_INET6, "::", 8080, true, "http://localhost:8080/ (all interfaces)" },
	{ ":8080", AF_INET6, "::", 8080, true, "http://localhost:8080/ (all interfaces)" },
	{ "8080", AF_INET6, "::", 8080, true, "http://localhost:8080/ (all interfaces)" },
	{ "[::1]:80", AF_INET6, "::1", 80, false, "http://[::1]:80/" },
	{ "[fe80::1%lo]:80", AF_INET6, "fe80::1", 80, false, "http://[fe80::1%lo]:80/" },
	{ "127.0.0.1:0", AF_INET, "127.0.0.1", 0, false, "http://127.0.0.1:0/" },
	{ "0.0.0.0:65535", AF_INET, "0.0.0.0", 65535, false, "http://localhost:65535/ (all interfaces)" },
};

START_TEST(addresses_are_read_as_written)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address.addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address.addr;
	char host[INET6_ADDRSTRLEN];

	ck_assert_int_eq(listen_parse(good[_i].text, &address, why, sizeof(why)), 0);
	ck_assert_int_eq(address.addr.ss_family, good[_i].family);
	if (good[_i].family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		ck_assert_uint_eq(ntohs(in6->sin6_port), good[_i].port);
		ck_assert_uint_eq(address.len, sizeof(*in6));
	} else {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		ck_assert_uint_eq(ntohs(in->sin_port), good[_i].port);
		ck_assert_uint_eq(address.len, sizeof(*in));
	}
	ck_assert_str_eq(host, good[_i].host);
	ck_assert_int_eq(address.dual_stack, good[_i].dual_stack);
	ck_assert_str_eq(address.text, good[_i].shown);
}
END_TEST

/* And the word that the complaint must hold. */
static const char *const bad[][2] = {
	{ "", "lacks a port" },
	{ ":", "no port" },
	{ "127.0.0.1", "lacks a port" },
	{ "localhost:80", "no numeric address" },
	{ "localhost", "lacks a port" },
	{ "[::1]", "lacks a port" },
	{ "::1:80", "in brackets" },
	{ "[::1:80", "in brackets" },
	{ "[::g]:80", "no IPv6 address" },
	{ "[]:80", "no IPv6 address" },
	{ "[fe80::1%nowhere]:80", "no such interface" },
	{ "127.0.0.1:65536", "at most 65535" },
	{ "127.0.0.1:99999999999999999999", "at most 65535" },
	{ "127.0.0.1:-1", "no port" },
	{ "127.0.0.1:80x", "no port" },
	{ "127.0.0.1: 80", "no port" },
	{ "127.1:80", "no numeric address" },
	{ "http://127.0.0.1:80", "in brackets" },
	{ "unix:", "lacks the path" },
};

START_TEST(bad_addresses_are_explained)
{
	ck_assert_int_eq(listen_parse(bad[_i][0], &address, why, sizeof(why)), -EINVAL);
	ck_assert_msg(strstr(why, bad[_i][1]), "'%s' explained as: %s", bad[_i][0], why);
}
END_TEST

START_TEST(a_unix_path_has_a_longest_length)
{
	char text[128];

	memset(text, 'x', sizeof(text));
	memcpy(text, "unix:/", 6);
	text[5 + 107] = '\0';
	ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), 0);
	ck_assert_str_eq(address.text, text);
	text[5 + 107] = 'x';
	text[5 + 108] = '\0';
	ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "107 bytes"));
}
END_TEST

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static unsigned port_of(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	if (addr.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
	return ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

static int dial(int family, unsigned port)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(family, SOCK_STREAM, 0);
	int error;

	in6.sin6_addr = in6addr_loopback;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	error = family == AF_INET6 ? connect(fd, (struct sockaddr *)&in6, sizeof(in6))
	                           : connect(fd, (struct sockaddr *)&in, sizeof(in));
	if (error < 0) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

START_TEST(port_0_is_one_port_for_all_sockets)
{
	int fds[3];
	unsigned port;
	char shown[64];

	ck_assert_int_eq(listen_parse("127.0.0.1:0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, fds, 3, why, sizeof(why)), 0);
	port = port_of(fds[0]);
	ck_assert_uint_ne(port, 0);
	snprintf(shown, sizeof(shown), "http://127.0.0.1:%u/", port);
	ck_assert_str_eq(address.text, shown);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(port_of(fds[i]), port);
		ck_assert_int_eq(option_of(fds[i], IPPROTO_TCP, TCP_NODELAY), 1);
		ck_assert(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		ck_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
	}
	ck_assert_int_eq(dial(AF_INET, port), -ECONNREFUSED); /* bound, but not listening yet */
	ck_assert_int_eq(listen_start(&address, fds, 3, why, sizeof(why)), 0);
	ck_assert_int_ge(dial(AF_INET, port), 0);
}
END_TEST

START_TEST(every_socket_of_a_group_gets_connections)
{
	struct pollfd polls[3];
	int fds[3], got[3] = { 0 };

	ck_assert_int_eq(listen_parse("127.0.0.1:0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, fds, 3, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, fds, 3, why, sizeof(why)), 0);
	for (int i = 0; i < 3; i++)
		polls[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	for (int i = 0; i < 120; i++) {
		int fd = dial(AF_INET, port_of(fds[0]));

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(poll(polls, 3, 60000), 1);
		for (int j = 0; j < 3; j++) {
			if (polls[j].revents) {
				int accepted = accept(fds[j], NULL, NULL);

				got[j]++;
				ck_assert_int_eq(option_of(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
				close(accepted);
			}
		}
		close(fd);
	}
	/* One chance in 10^20 each to be false. */
	ck_assert_int_gt(got[0], 0);
	ck_assert_int_gt(got[1], 0);
	ck_assert_int_gt(got[2], 0);
}
END_TEST

START_TEST(dual_stack_takes_both)
{
	int fd;

	ck_assert_int_eq(listen_parse(":0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_ge(dial(AF_INET, port_of(fd)), 0);
	if (address.addr.ss_family == AF_INET6)
		ck_assert_int_ge(dial(AF_INET6, port_of(fd)), 0);
	ck_assert_ptr_nonnull(strstr(address.text, "http://localhost:"));
}
END_TEST

/* A server that is really there, its socket made with the given option. Returns its port. */
static unsigned stranger(int option, int *fd)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	const int on = 1;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (option)
		ck_assert_int_eq(setsockopt(*fd, SOL_SOCKET, option, &on, sizeof(on)), 0);
	ck_assert_int_eq(bind(*fd, (struct sockaddr *)&in, sizeof(in)), 0);
	ck_assert_int_eq(listen(*fd, 8), 0);
	return port_of(*fd);
}

START_TEST(a_port_with_a_listener_is_busy)
{
	static const int options[] = { 0, SO_REUSEADDR, SO_REUSEPORT };
	static const char *const hosts[] = { "127.0.0.1", "", "0.0.0.0" };
	int fds[2], other, err;
	char text[64];

	snprintf(text, sizeof(text), "%s:%u", hosts[_i / 3], stranger(options[_i % 3], &other));
	for (unsigned n = 1; n <= 2; n++) {
		ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), 0);
		ck_assert_int_eq(listen_bind(&address, fds, n, why, sizeof(why)), -EADDRINUSE);
		ck_assert_ptr_nonnull(strstr(why, "cannot listen on"));
		ck_assert_ptr_nonnull(strstr(why, "Address already in use"));
	}
	close(other);
	/* A client of a test beside this one may have been given the port for a moment. */
	for (unsigned tries = 0; (err = listen_bind(&address, fds, 2, why, sizeof(why))) == -EADDRINUSE && tries < 100;
	     tries++)
		usleep(100000);
	ck_assert_int_eq(err, 0);
}
END_TEST

/* What a start would meet, without a trace: the port is still free afterwards, and what is in use stays so. */
START_TEST(a_try_says_what_a_bind_would)
{
	unsigned port;
	int fd, other;
	char text[64];

	port = stranger(SO_REUSEADDR, &other);
	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why, "Address already in use"));
	ck_assert_int_ge(dial(AF_INET, port), 0);
	close(other);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), 0);
	ck_assert_int_eq(dial(AF_INET, port), -ECONNREFUSED);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_parse("192.0.2.1:80", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), -EADDRNOTAVAIL);
}
END_TEST

START_TEST(overlapping_addresses_are_known)
{
	static const struct {
		const char *one, *other;
		bool conflict;
	} pairs[] = {
		{ "127.0.0.1:80", "127.0.0.1:80", true },
		{ "127.0.0.1:80", "127.0.0.1:81", false },
		{ "127.0.0.1:80", "127.0.0.2:80", false },
		{ "127.0.0.1:80", "0.0.0.0:80", true },
		{ "127.0.0.1:0", "127.0.0.1:0", false },
		{ ":80", "127.0.0.1:80", true },
		{ ":80", "[::1]:80", true },
		{ "[::1]:80", "[::1]:80", true },
		{ "[::1]:80", "127.0.0.1:80", false },
		{ "unix:/a", "unix:/a", true },
		{ "unix:/a", "unix:/b", false },
		{ "unix:/a", ":80", false },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct listen_address other;

		ck_assert_int_eq(listen_parse(pairs[i].one, &address, why, sizeof(why)), 0);
		ck_assert_int_eq(listen_parse(pairs[i].other, &other, why, sizeof(why)), 0);
		ck_assert_msg(listen_conflict(&address, &other) == pairs[i].conflict, "%s and %s", pairs[i].one,
		              pairs[i].other);
		ck_assert(listen_conflict(&other, &address) == pairs[i].conflict);
	}
}
END_TEST

START_TEST(two_groups_that_raced_to_one_port_do_not_share_it)
{
	struct listen_address second;
	int fds[2], late[2];

	ck_assert_int_eq(listen_parse("127.0.0.1:0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, fds, 2, why, sizeof(why)), 0);
	second = address;
	ck_assert_int_eq(listen_bind(&second, late, 2, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, fds, 2, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&second, late, 2, why, sizeof(why)), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why, "cannot listen on 127.0.0.1:"));
}
END_TEST

START_TEST(a_port_that_becomes_free_soon_is_waited_for)
{
	struct timespec before, after;
	int fd, other;
	char text[64];
	pid_t pid;

	snprintf(text, sizeof(text), "127.0.0.1:%u", stranger(SO_REUSEADDR, &other));
	clock_gettime(CLOCK_MONOTONIC, &before); /* it is held for at least so long from here */
	pid = fork();
	if (pid == 0) {
		usleep(100 * 1000);
		_exit(0);
	}
	close(other); /* the child holds it */
	ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	ck_assert_int_ge((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000, 20);
	waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(a_restart_binds_over_old_connections)
{
	int fd, client, accepted;

	ck_assert_int_eq(listen_parse("127.0.0.1:0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, &fd, 1, why, sizeof(why)), 0);
	client = dial(AF_INET, port_of(fd));
	accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	close(accepted); /* the server closes first: the port's side goes to TIME_WAIT */
	close(client);
	close(fd);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, &fd, 1, why, sizeof(why)), 0);
}
END_TEST

START_TEST(an_address_of_nobody_is_explained)
{
	int fd;

	ck_assert_int_eq(listen_parse("192.0.2.1:0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), -EADDRNOTAVAIL);
	ck_assert_ptr_nonnull(strstr(why, "no interface"));
}
END_TEST

START_TEST(a_failure_leaves_nothing_open)
{
	struct rlimit limit;
	int probe = dup(STDOUT_FILENO), fds[8], again;

	close(probe);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)probe + 2; /* the third of the eight cannot be had */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(listen_parse("127.0.0.1:0", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_bind(&address, fds, 8, why, sizeof(why)), -EMFILE);
	again = dup(STDOUT_FILENO);
	ck_assert_int_eq(again, probe);
}
END_TEST

START_TEST(a_unix_socket_is_opened_once_and_shared)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct stat st;
	int fds[2], client;

	parse_unix_path();
	ck_assert_int_eq(listen_bind(&address, fds, 2, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, fds, 2, why, sizeof(why)), 0);
	ck_assert(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	ck_assert(fcntl(fds[1], F_GETFD) & FD_CLOEXEC);
	strcpy(un.sun_path, path);
	client = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&un, sizeof(un)), 0);
	ck_assert_int_ge(accept(fds[1], NULL, NULL), 0);
	listen_cleanup(&address);
	ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(a_live_unix_socket_is_busy_and_a_dead_one_is_replaced)
{
	struct listen_address first;
	struct stat st;
	int fd, next;

	parse_unix_path();
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, &fd, 1, why, sizeof(why)), 0);
	first = address;
	parse_unix_path();
	ck_assert_int_eq(listen_bind(&address, &next, 1, why, sizeof(why)), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why, "answers there"));
	shutdown(fd, SHUT_RDWR); /* deaf, but its file is held: the successor's is another */
	parse_unix_path();
	ck_assert_int_eq(listen_bind(&address, &next, 1, why, sizeof(why)), 0);
	listen_cleanup(&first);
	ck_assert_int_eq(stat(path, &st), 0);
	listen_cleanup(&address);
	ck_assert_int_eq(stat(path, &st), -1);
}
END_TEST

START_TEST(a_try_leaves_unix_sockets_alone)
{
	struct stat before, after;
	int fd;

	parse_unix_path();
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), 0);
	ck_assert_int_lt(lstat(path, &before), 0);
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_start(&address, &fd, 1, why, sizeof(why)), 0);
	ck_assert_int_eq(lstat(path, &before), 0);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), -EADDRINUSE);
	close(fd);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), 0); /* dead: a start would replace it */
	ck_assert_int_eq(lstat(path, &after), 0);
	ck_assert_uint_eq(after.st_ino, before.st_ino);
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), -ENOTSOCK);
	ck_assert_int_eq(listen_parse("unix:/nonexistent/socket", &address, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_try(&address, why, sizeof(why)), -ENOENT);
}
END_TEST

START_TEST(a_file_in_the_way_is_not_touched)
{
	struct stat st;
	int fd;

	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	parse_unix_path();
	ck_assert_int_eq(listen_bind(&address, &fd, 1, why, sizeof(why)), -ENOTSOCK);
	ck_assert_ptr_nonnull(strstr(why, "no socket"));
	ck_assert_int_eq(stat(path, &st), 0);
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof((array)[0]))

int main(void)
{
	Suite *suite = suite_create("listen");
	TCase *parse = tcase_create("parse"), *sockets = tcase_create("sockets"), *local = tcase_create("unix");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(parse, addresses_are_read_as_written, 0, COUNT(good));
	tcase_add_loop_test(parse, bad_addresses_are_explained, 0, COUNT(bad));
	tcase_add_test(parse, a_unix_path_has_a_longest_length);
	suite_add_tcase(suite, parse);

	tcase_set_timeout(sockets, 20);
	tcase_add_test(sockets, port_0_is_one_port_for_all_sockets);
	tcase_add_test(sockets, every_socket_of_a_group_gets_connections);
	tcase_add_test(sockets, dual_stack_takes_both);
	tcase_add_loop_test(sockets, a_port_with_a_listener_is_busy, 0, 9);
	tcase_add_test(sockets, a_try_says_what_a_bind_would);
	tcase_add_test(sockets, overlapping_addresses_are_known);
	tcase_add_test(sockets, two_groups_that_raced_to_one_port_do_not_share_it);
	tcase_add_test(sockets, a_port_that_becomes_free_soon_is_waited_for);
	tcase_add_test(sockets, a_restart_binds_over_old_connections);
	tcase_add_test(sockets, an_address_of_nobody_is_explained);
	tcase_add_test(sockets, a_failure_leaves_nothing_open);
	suite_add_tcase(suite, sockets);

	tcase_add_checked_fixture(local, make_directory, remove_directory);
	tcase_add_test(local, a_unix_socket_is_opened_once_and_shared);
	tcase_add_test(local, a_live_unix_socket_is_busy_and_a_dead_one_is_replaced);
	tcase_add_test(local, a_try_leaves_unix_sockets_alone);
	tcase_add_test(local, a_file_in_the_way_is_not_touched);
	suite_add_tcase(suite, local);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
