/*
 * site.c - see site.h: what is done once. Main thread.
 */
#include "site.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "loom/build.h"

#define CONNS_MAX (1024 * 1024)

static volatile sig_atomic_t stopping;

static void stop(int signal)
{
	(void)signal;
	stopping = 1;
}

bool site_stopping(void)
{
	return stopping;
}

void site_die(const char *what)
{
	fprintf(stderr, "baseline: %s: %s\n", what, strerror(errno));
	exit(1);
}

static _Noreturn void usage(const char *name, const char *flag)
{
	fprintf(stderr, "usage: %s [--port N] [--buffer BYTES]%s%s%s ROOT   (default: --port 8080 --buffer %d)\n", name,
	        flag ? " [--" : "", flag ? flag : "", flag ? "]" : "", HEAD_BYTES);
	exit(2);
}

static struct snapshot *build(char *root)
{
	char name[] = "loom", stream[] = "--stream-above=off", plain[] = "--no-compress", why[512];
	char *argv[] = { name, stream, plain, root, NULL };
	static struct options options; /* the snapshot borrows from it */
	const struct build_request request = { .options = &options, .workers = 1 };
	const struct timespec pause = { .tv_nsec = 100000000 };
	struct snapshot *snapshot;
	int error;

	if (options_parse(&options, 4, argv, why, sizeof(why)) != OPTIONS_RUN) {
		fprintf(stderr, "baseline: %s\n", why);
		exit(1);
	}
	while ((error = build_snapshot(&request, &snapshot, why, sizeof(why))) == -EAGAIN)
		nanosleep(&pause, NULL);
	if (error) {
		fprintf(stderr, "baseline: %s\n", why);
		exit(1);
	}
	return snapshot;
}

static int listen_on(uint16_t port, bool nonblocking)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	/* TCP_NODELAY is inherited by what is accepted. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		site_die("socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		site_die("bind");
	if (listen(fd, 4096))
		site_die("listen");
	return fd;
}

static unsigned long number(const char *text, unsigned long max, const char *name, const char *flag)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value == 0 || value > max)
		usage(name, flag);
	return value;
}

void site_open(struct site *site, int argc, char *argv[], bool nonblocking, const char *flag)
{
	const struct option rows[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "buffer", required_argument, NULL, 'b' },
		{ flag ? flag : NULL, no_argument, NULL, 'f' },
		{ NULL, 0, NULL, 0 },
	};
	const struct sigaction action = { .sa_handler = stop };
	unsigned long port = 8080;
	struct rlimit files;
	int option;

	*site = (struct site){
		.buffer = HEAD_BYTES,
		.limits = { .request_line = LINE_BYTES, .head = HEAD_BYTES, .fields = 100, .body = HEAD_BYTES }
	};
	while ((option = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		switch (option) {
		case 'p':
			port = number(optarg, UINT16_MAX, argv[0], flag);
			break;
		case 'b':
			site->buffer = number(optarg, HEAD_BYTES, argv[0], flag);
			break;
		case 'f':
			site->flag = true;
			break;
		default:
			usage(argv[0], flag);
		}
	}
	if (optind != argc - 1)
		usage(argv[0], flag);

	site->snapshot = build(argv[optind]);
	if (getrlimit(RLIMIT_NOFILE, &files))
		site_die("getrlimit");
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	site->conns = files.rlim_cur < CONNS_MAX ? (unsigned)files.rlim_cur : CONNS_MAX;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	site->listener = listen_on((uint16_t)port, nonblocking);
}

int site_accept(const struct site *site, int flags)
{
	for (;;) {
		int fd = accept4(site->listener, NULL, NULL, flags | SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		if (errno == EAGAIN || stopping)
			return -1;
		if (errno != ECONNABORTED && errno != EINTR)
			site_die("accept");
	}
}

void site_tell(const struct exchange *exchange)
{
	printf("{\"waits\": %" PRIu64 ", \"recvs\": %" PRIu64 ", \"sends\": %" PRIu64 ", \"requests\": %" PRIu64 "}\n",
	       exchange->waits, exchange->recvs, exchange->sends, exchange->requests);
}
