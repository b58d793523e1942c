/*
 * limit_file.c - the least that a server of one large file can do: read a request to its blank line, send a head, and have
 * the kernel send the file, corked, from a thread that sleeps when it must. One connection after the other. What bench/stream
 * sets loom and nginx against, by
 *
 *   sendfile   sendfile(2), 2 MiB a call
 *   splice     splice(2) from the file to a pipe of 1 MiB, and from there to the socket
 *   map        vmsplice(2) of the mapped file to such a pipe, and splice(2): which no server can do that promises how much
 *              memory it takes, as what is mapped is its own
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "limit.h"

#define PIECE     (2 << 20)
#define PIPE_SIZE (1 << 20)

struct file {
	int fd;
	off_t size;
	char *bytes; /* when it is mapped */
	int pipe[2];
};

static bool by_sendfile(const struct file *file, int socket)
{
	for (off_t at = 0; at < file->size;)
		if (sendfile(socket, file->fd, &at, PIECE) <= 0)
			return false;
	return true;
}

/* The next bytes of the file, into an empty pipe. */
static ssize_t fill(const struct file *file, loff_t at)
{
	struct iovec piece = { file->bytes + at, (size_t)(file->size - at) };

	if (!file->bytes)
		return splice(file->fd, &at, file->pipe[1], NULL, PIPE_SIZE, SPLICE_F_NONBLOCK);
	piece.iov_len = piece.iov_len < PIPE_SIZE ? piece.iov_len : PIPE_SIZE;
	return vmsplice(file->pipe[1], &piece, 1, SPLICE_F_NONBLOCK);
}

static void by_pipe(const struct file *file, int socket)
{
	off_t at = 0;

	while (at < file->size) {
		ssize_t held = fill(file, at);

		if (held <= 0)
			limit_die("splice from the file", errno);
		while (held > 0) {
			ssize_t sent = splice(file->pipe[0], NULL, socket, NULL, (size_t)held, 0);

			if (sent <= 0)
				limit_die("splice to the socket", errno); /* the pipe would have to be emptied */
			at += sent;
			held -= sent;
		}
	}
}

static void cork(int socket, int on)
{
	if (setsockopt(socket, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)))
		limit_die("TCP_CORK", errno);
}

/* One request, however it comes in pieces, and its answer. False: the connection has ended. */
static bool answer(const struct file *file, int socket)
{
	char request[8192], head[128];
	size_t len = 0;
	bool sent = true;
	int n;

	while (len < 4 || !memmem(request, len, "\r\n\r\n", 4)) {
		ssize_t got = read(socket, request + len, sizeof(request) - len);

		if (got <= 0)
			return false;
		len += (size_t)got;
	}
	n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", (long long)file->size);
	cork(socket, true);
	if (send(socket, head, (size_t)n, MSG_NOSIGNAL) != n)
		return false;
	if (file->pipe[0] < 0)
		sent = by_sendfile(file, socket);
	else
		by_pipe(file, socket);
	cork(socket, false);
	return sent;
}

static _Noreturn void usage(const char *name)
{
	fprintf(stderr, "usage: %s --port N --by sendfile|splice|map FILE\n", name);
	exit(2);
}

static void open_file(struct file *file, const char *path, const char *by)
{
	struct stat st;

	file->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file->fd < 0 || fstat(file->fd, &st) < 0)
		limit_die(path, errno);
	file->size = st.st_size;
	if (strcmp(by, "sendfile") == 0)
		return;
	if (pipe2(file->pipe, O_CLOEXEC) < 0 || fcntl(file->pipe[1], F_SETPIPE_SZ, PIPE_SIZE) < 0)
		limit_die("a pipe of 1 MiB", errno);
	if (strcmp(by, "map") != 0)
		return;
	file->bytes = mmap(NULL, (size_t)file->size, PROT_READ, MAP_SHARED | MAP_POPULATE, file->fd, 0);
	if (file->bytes == MAP_FAILED)
		limit_die("mmap", errno);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "by", required_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	struct file file = { .fd = -1, .pipe = { -1, -1 } };
	const char *by = "sendfile";
	unsigned long port = 8080;
	int option, listener;

	while ((option = getopt_long(argc, argv, "p:b:", options, NULL)) != -1) {
		if (option == 'p')
			port = strtoul(optarg, NULL, 10);
		else if (option == 'b' && (strcmp(optarg, "sendfile") == 0 || strcmp(optarg, "splice") == 0 ||
		                           strcmp(optarg, "map") == 0))
			by = optarg;
		else
			usage(argv[0]);
	}
	if (argc - optind != 1 || port == 0 || port > UINT16_MAX)
		usage(argv[0]);
	signal(SIGPIPE, SIG_IGN);
	open_file(&file, argv[optind], by);
	listener = limit_listen((uint16_t)port, false);
	for (;;) {
		int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (socket < 0)
			limit_die("accept", errno);
		while (answer(&file, socket))
			;
		close(socket);
	}
}
