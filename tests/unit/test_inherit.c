/*
 * test_inherit.c - listening sockets that come from a predecessor: found by what options say, completed where there are too
 * few, all taken where there are too many; and the two lines that are said.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loom/inherit.h"

static char why[512];

/* n sockets that listen on one port of 127.0.0.1, picked when it is 0. */
static void open_sockets(int fds[], unsigned n, in_port_t *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		                       .sin_port = *port,
		                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int on = 1;

	for (unsigned i = 0; i < n; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert_int_ge(fds[i], 0);
		setsockopt(fds[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (n > 1)
			setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
		ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
		ck_assert_int_eq(listen(fds[i], 10), 0);
		ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&address, &len), 0);
	}
	*port = address.sin_port;
}

/* What a predecessor of one address, given as text, would have handed over. Its end of the channel. */
static int hand_over(const int fds[], unsigned n, const char *text)
{
	char variable[256];
	int ends[2], len;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	len = snprintf(variable, sizeof(variable), "%d\nl 0 0 ", ends[1]);
	for (unsigned i = 0; i < n; i++)
		len += snprintf(variable + len, sizeof(variable) - (size_t)len, "%s%d", i ? "," : "", fds[i]);
	snprintf(variable + len, sizeof(variable) - (size_t)len, " %s\n", text);
	setenv(INHERIT_VARIABLE, variable, 1);
	return ends[0];
}

static const char *said(int channel)
{
	static char line[256];
	ssize_t n = recv(channel, line, sizeof(line) - 1, MSG_DONTWAIT);

	line[n > 0 ? n : 0] = '\0';
	return line;
}

static unsigned cookies(const int fds[], unsigned n)
{
	uint64_t seen[16];
	unsigned different = 0;

	for (unsigned i = 0; i < n; i++) {
		socklen_t len = sizeof(seen[0]);
		unsigned j = 0;

		ck_assert_int_eq(getsockopt(fds[i], SOL_SOCKET, SO_COOKIE, &seen[different], &len), 0);
		while (seen[j] != seen[different])
			j++;
		different += j == different;
	}
	return different;
}

static const struct {
	unsigned had, wanted, taken;
} numbers[] = { { 1, 1, 1 }, { 3, 3, 3 }, { 1, 4, 4 }, { 2, 3, 3 }, { 4, 1, 4 } };

START_TEST(all_are_taken_and_more_are_opened)
{
	struct inherited *inherited;
	struct listen_address address;
	unsigned n;
	in_port_t port = 0;
	int fds[4], *taken, channel;
	char text[32];

	open_sockets(fds, numbers[_i].had, &port);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(port));
	channel = hand_over(fds, numbers[_i].had, text);
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), 0);
	ck_assert_ptr_null(getenv(INHERIT_VARIABLE));
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);

	ck_assert_int_eq(listen_parse(text, &address, why, sizeof(why)), 0);
	ck_assert_int_eq(inherit_take(inherited, INHERIT_LISTEN, text, numbers[_i].wanted, &address, &taken, &n, why,
	                              sizeof(why)),
	                 1);
	ck_assert_uint_eq(n, numbers[_i].taken);
	for (unsigned i = 0; i < numbers[_i].had; i++)
		ck_assert_int_eq(taken[i], fds[i]);
	ck_assert_uint_eq(cookies(taken, n), n); /* each has its own queue */
	ck_assert_int_eq(listen_start(&address, taken, n, why, sizeof(why)), 0);
	free(taken);
	/* Once. */
	ck_assert_int_eq(inherit_take(inherited, INHERIT_LISTEN, text, 1, &address, &taken, &n, why, sizeof(why)), 0);

	ck_assert_str_eq(said(channel), "");
	inherit_ready(inherited);
	ck_assert_str_eq(said(channel), "ready 0\n");
	ck_assert(!inherit_is_ours(inherited));
	ck_assert_int_eq(send(channel, "yours\n", 6, 0), 6);
	ck_assert(inherit_is_ours(inherited));
	ck_assert_int_eq(inherit_fd(inherited), -1);
	inherit_close(inherited, "");
	close(channel);
}
END_TEST

static int number_of(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, option, &value, &len), 0);
	return value;
}

static const char *congestion_of(int fd)
{
	static char name[16];
	socklen_t len = sizeof(name);

	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	return name;
}

/* What a predecessor's options have set and ours do not say is as on a socket that is new; a manager's stays. */
START_TEST(options_that_are_gone_are_undone)
{
	const bool managed = _i == 1;
	struct inherited *inherited;
	struct listen_address address;
	in_port_t port = 0;
	int fd, *taken, channel, value = 10, fresh;
	char text[32], usual[16];
	unsigned n;

	open_sockets(&fd, 1, &port);
	fresh = socket(AF_INET, SOCK_STREAM, 0);
	snprintf(usual, sizeof(usual), "%s", congestion_of(fresh));
	close(fresh);
	ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &value, sizeof(value)), 0);
	ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &value, sizeof(value)), 0);
	/* reno is in every kernel, and where it is the usual one nothing can be seen of this. */
	ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
	snprintf(text, sizeof(text), managed ? "fd:%u" : "127.0.0.1:%u", managed ? 9 : ntohs(port));
	channel = hand_over(&fd, 1, text);
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_parse_value(text, &address, why, sizeof(why)), 0);
	ck_assert_int_eq(inherit_take(inherited, INHERIT_LISTEN, text, 1, &address, &taken, &n, why, sizeof(why)), 1);
	ck_assert_int_eq(taken[0], fd);
	ck_assert_int_eq(number_of(fd, TCP_DEFER_ACCEPT) > 0, managed);
	ck_assert_int_eq(number_of(fd, TCP_FASTOPEN) > 0, managed);
	ck_assert_str_eq(congestion_of(fd), managed ? "reno" : usual);
	free(taken);
	close(fd);
	inherit_close(inherited, "");
	close(channel);
}
END_TEST

/* What options say now, what they said then, and whether that is the same. %u: the port. */
static const struct {
	const char *now, *then;
	bool same;
} texts[] = {
	{ "127.0.0.1:%u", "127.0.0.1:0", true }, /* by its address */
	{ "127.0.0.1:0", "127.0.0.1:0", true },  /* by its text: the port that was picked stays */
	{ "127.0.0.1:0", "127.0.0.1:%u", false }, { "127.0.0.2:%u", "127.0.0.1:%u", false },
	{ "[::1]:%u", "127.0.0.1:%u", false },    { "unix:/127.0.0.1", "127.0.0.1:%u", false },
};

static void print_port(char *out, size_t size, const char *text, unsigned port)
{
	const char *at = strstr(text, "%u");

	if (at)
		snprintf(out, size, "%.*s%u", (int)(at - text), text, port);
	else
		snprintf(out, size, "%s", text);
}

START_TEST(an_address_is_known_again)
{
	struct inherited *inherited;
	struct listen_address address;
	unsigned n;
	in_port_t port = 0;
	int fd, *taken, channel;
	char now[64], then[64];

	open_sockets(&fd, 1, &port);
	print_port(now, sizeof(now), texts[_i].now, ntohs(port));
	print_port(then, sizeof(then), texts[_i].then, ntohs(port));
	channel = hand_over(&fd, 1, then);
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), 0);
	ck_assert_int_eq(listen_parse(now, &address, why, sizeof(why)), 0);
	ck_assert_int_eq(inherit_take(inherited, INHERIT_ADMIN, now, 1, &address, &taken, &n, why, sizeof(why)), 0);
	ck_assert_int_eq(inherit_take(inherited, INHERIT_LISTEN, now, 1, &address, &taken, &n, why, sizeof(why)),
	                 texts[_i].same);
	if (texts[_i].same) {
		ck_assert_int_eq(((struct sockaddr_in *)&address.addr)->sin_port, port);
		free(taken);
	}
	inherit_ready(inherited);
	ck_assert_str_eq(said(channel), texts[_i].same ? "ready 0\n" : "ready\n");
	/* What is not taken is closed: the predecessor's is the last. */
	ck_assert_int_eq(fcntl(fd, F_GETFD) >= 0, texts[_i].same);
	close(channel);
	ck_assert(inherit_is_ours(inherited)); /* its end */
	inherit_close(inherited, "");
}
END_TEST

/* One that is to end before the place is its own closes the channel. */
START_TEST(the_place_is_declined)
{
	struct inherited *inherited;
	in_port_t port = 0;
	int fd, channel;

	open_sockets(&fd, 1, &port);
	channel = hand_over(&fd, 1, "x");
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), 0);
	inherit_ready(inherited);
	ck_assert_str_eq(said(channel), "ready\n");
	ck_assert_int_eq(recv(channel, why, 1, MSG_DONTWAIT), -1);
	inherit_decline(inherited);
	ck_assert_int_eq(recv(channel, why, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(inherit_fd(inherited), -1);
	inherit_decline(inherited);
	inherit_close(inherited, "");
	inherit_decline(NULL);
	close(channel);
}
END_TEST

START_TEST(a_failure_is_told)
{
	struct inherited *inherited;
	in_port_t port = 0;
	int fd, channel;

	open_sockets(&fd, 1, &port);
	channel = hand_over(&fd, 1, "x");
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), 0);
	inherit_close(inherited, "no such directory");
	ck_assert_str_eq(said(channel), "failed no such directory\n");
	close(channel);
}
END_TEST

static const char *const broken[] = { "",
	                              "x",
	                              "-1",
	                              "99999",
	                              "0 ",
	                              "0\nx",
	                              "0\nl",
	                              "0\nl 0",
	                              "0\nl 0 0",
	                              "0\nl 0 0 5",
	                              "0\nl a 0 5 x",
	                              "0\nl 0 0 a x",
	                              "0\nl 0 0 , x",
	                              "0\nl 0 0 999 x",
	                              "0\nq 0 0 0 x",
	                              "0\nl 0 0 0 x" /* no listening socket */ };

START_TEST(what_nobody_has_handed_over_is_refused)
{
	struct inherited *inherited;

	setenv(INHERIT_VARIABLE, broken[_i], 1);
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), -EINVAL);
	ck_assert_ptr_null(inherited);
	ck_assert_ptr_nonnull(strstr(why, INHERIT_VARIABLE));
}
END_TEST

START_TEST(mostly_there_is_nothing)
{
	struct inherited *inherited;

	unsetenv(INHERIT_VARIABLE);
	ck_assert_int_eq(inherit_open(&inherited, why, sizeof(why)), 0);
	ck_assert_ptr_null(inherited);
	ck_assert_int_eq(inherit_take(NULL, INHERIT_LISTEN, "x", 1, NULL, NULL, NULL, why, sizeof(why)), 0);
	inherit_ready(NULL);
	ck_assert_int_eq(inherit_fd(NULL), -1);
	inherit_close(NULL, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inherit");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, all_are_taken_and_more_are_opened, 0, sizeof(numbers) / sizeof(numbers[0]));
	tcase_add_loop_test(tests, an_address_is_known_again, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_loop_test(tests, options_that_are_gone_are_undone, 0, 2);
	tcase_add_test(tests, the_place_is_declined);
	tcase_add_test(tests, a_failure_is_told);
	tcase_add_loop_test(tests, what_nobody_has_handed_over_is_refused, 0, sizeof(broken) / sizeof(broken[0]));
	tcase_add_test(tests, mostly_there_is_nothing);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
