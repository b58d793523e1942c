/*
 * site.h - what the baselines share: the command line, a snapshot of a directory, the listening socket, and from bytes to
 * answers. The baselines are the servers that an event loop is measured against: a thread a connection, select(2), poll(2),
 * epoll(7). They speak loom's HTTP from loom's snapshots, with its parser and its heads, so that what differs is how they
 * wait. They have no timeouts, limits, reloads or logs, and so do less than a server that may be left alone.
 */
#ifndef LOOM_BENCH_BASELINES_SITE_H
#define LOOM_BENCH_BASELINES_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "loom/date.h"
#include "loom/request.h"
#include "loom/response.h"
#include "loom/snapshot.h"

#define BATCH      16   /* answers that are sent together, at most */
#define COPY_MAX   4096 /* smaller bodies are copied behind their heads, as in loom */
#define LINE_BYTES 2048 /* of a request */
#define HEAD_BYTES 8192

struct site {
	const struct snapshot *snapshot;
	struct limits limits;
	int listener;
	unsigned conns; /* descriptors are smaller than this */
	size_t buffer;  /* bytes a recv(2) */
	bool flag;      /* the one option that only this baseline has */
};

/* What a thread works with. Parts that a request touches lie together: with a thread a connection each has one. */
struct exchange {
	uint64_t waits, recvs, sends, requests; /* counted, for wake-ups a request */
	struct request_parser parser;
	time_t now; /* of date */
	char date[HTTP_DATE_LEN];
	bool last; /* the answers end with one after which the connection is closed */
	unsigned niov;
	size_t used;
	struct iovec iov[2 * BATCH];
	char scratch[LINE_BYTES];
	char input[HEAD_BYTES];
	char bytes[(BATCH + 1) * (1024 + COPY_MAX)];
};

/* A connection. Zero at first. */
struct client {
	char *input; /* a request that has begun: len of HEAD_BYTES bytes. NULL: none */
	size_t len;
	struct pending *pending; /* answers that the socket had no room for */
	bool last;               /* then it is closed */
};

enum want {
	WANT_READ,
	WANT_WRITE,
	WANT_CLOSE,
};

/*
 * Reads the command line (--port, --buffer, --FLAG, ROOT), builds the snapshot and listens. flag NULL: there is none. Ends
 * the process when it cannot.
 */
void site_open(struct site *site, int argc, char *argv[], bool nonblocking, const char *flag);

/* Says what failed, with errno's text, and ends the process. */
_Noreturn void site_die(const char *what);

/*
 * Sends what is pending, or else receives, answers and sends: once, or, with drain, until the socket has no more. With a
 * socket that blocks and drain it returns when the connection is over.
 */
enum want client_turn(const struct site *site, struct exchange *exchange, struct client *client, int fd, bool drain);

/* Closes it, and frees what it holds. */
void client_close(struct client *client, int fd);

/* Accepts one connection: its descriptor, or -1 when there is none (any more). flags as of accept4(2). */
int site_accept(const struct site *site, int flags);

/* True once SIGTERM or SIGINT has come; they end a wait. */
bool site_stopping(void);

/* Prints the counts of a baseline with one thread: a line of JSON. */
void site_tell(const struct exchange *exchange);

#endif
