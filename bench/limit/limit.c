/*
 * limit.c - the part of the limit servers that knows no event interface: options, listening, counting requests,
 * making answers. One thread. It owns nothing that is ever freed: the process ends by a signal.
 */
#include "limit.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define BATCH_BYTES (64 * 1024) /* of repeated answers; a batch that is longer takes more than one send */
#define CONNS_MAX   (1024 * 1024)

static const char body_line[] = "0123456789abcde\n"; /* bench/compare fills its files with the same line */

void limit_die(const char *what, int error)
{
	fprintf(stderr, "limit: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static _Noreturn void usage(const char *name)
{
	fprintf(stderr, "usage: %s [--port N] [--body-size N]   (default: --port 8080 --body-size 1024)\n", name);
	exit(2);
}

static unsigned long number(const char *text, unsigned long max, const char *name)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value > max)
		usage(name);
	return value;
}

/* The head has the lines, and so the length, that a server of files typically sends. */
static void make_answer(struct limit_answer *answer, size_t body, const char *connection)
{
	char head[512];
	size_t copies, i;
	int len;

	len = snprintf(head, sizeof(head),
	               "HTTP/1.1 200 OK\r\n"
	               "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
	               "Content-Type: text/html; charset=utf-8\r\n"
	               "Content-Length: %zu\r\n"
	               "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
	               "ETag: \"3kG7vWq0bX1tJr5sZyPpAw\"\r\n"
	               "Connection: %s\r\n"
	               "\r\n",
	               body, connection);
	assert(len > 0 && (size_t)len < sizeof(head));

	answer->size = (size_t)len + body;
	copies = answer->size < BATCH_BYTES ? BATCH_BYTES / answer->size : 1;
	answer->length = copies * answer->size;
	answer->bytes = malloc(answer->length);
	if (!answer->bytes)
		limit_die("cannot make the answer", errno);
	memcpy(answer->bytes, head, (size_t)len);
	for (i = 0; i < body; i++)
		answer->bytes[(size_t)len + i] = body_line[i % (sizeof(body_line) - 1)];
	for (i = 1; i < copies; i++)
		memcpy(answer->bytes + i * answer->size, answer->bytes, answer->size);
}

int limit_listen(uint16_t port, bool nonblocking)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);

	if (fd < 0)
		limit_die("socket", errno);
	/* TCP_NODELAY is inherited by what is accepted. */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		limit_die("setsockopt", errno);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		limit_die("bind", errno);
	if (listen(fd, 4096))
		limit_die("listen", errno);
	return fd;
}

void limit_setup(struct limit *limit, int argc, char *argv[], bool nonblocking)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "body-size", required_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long port = 8080, body = 1024;
	struct rlimit files;
	int option;

	while ((option = getopt_long(argc, argv, "p:b:", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			port = number(optarg, UINT16_MAX, argv[0]);
			break;
		case 'b':
			body = number(optarg, 64 * 1024 * 1024, argv[0]);
			break;
		default:
			usage(argv[0]);
		}
	}
	if (optind != argc)
		usage(argv[0]);

	if (getrlimit(RLIMIT_NOFILE, &files))
		limit_die("getrlimit", errno);
	limit->conns = files.rlim_cur < CONNS_MAX ? (unsigned)files.rlim_cur : CONNS_MAX;
	make_answer(&limit->keep, body, "keep-alive");
	make_answer(&limit->last, body, "close");
	limit->listener = limit_listen((uint16_t)port, nonblocking);
}

/* The first bytes of a blank line that ends elsewhere; the slow path of a request in pieces. */
static uint8_t match(uint8_t matched, char byte)
{
	if (byte == '\n')
		return matched == 1 || matched == 3 ? matched + 1 : 0;
	if (byte == '\r')
		return matched == 2 ? 3 : 1;
	return 0;
}

void limit_receive(const struct limit *limit, struct limit_conn *conn, const char *bytes, size_t len)
{
	const char *end = bytes + len;
	unsigned requests = 0;
	const char *at;

	/* Looked for once a connection, so that it costs nothing a request. */
	if (!conn->begun) {
		conn->begun = true;
		conn->closing = memmem(bytes, len, "\r\nConnection: close\r\n", 21) != NULL;
	}
	while (conn->matched && bytes < end) {
		conn->matched = match(conn->matched, *bytes++);
		if (conn->matched == 4) {
			conn->matched = 0;
			requests++;
		}
	}
	while (bytes < end && (at = memmem(bytes, (size_t)(end - bytes), "\r\n\r\n", 4))) {
		requests++;
		bytes = at + 4;
	}
	if (bytes < end) {
		const char *tail = end - bytes > 3 ? end - 3 : bytes;

		while (tail < end)
			conn->matched = match(conn->matched, *tail++);
		assert(conn->matched < 4);
	}

	if (!conn->closing) {
		conn->left += requests * limit->keep.size;
	} else if (requests && !conn->done) {
		conn->left = limit->last.size;
		conn->done = true;
	}
}
