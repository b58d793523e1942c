/*
 * client.c - the load of a soak, and its judge: one thread with epoll, which asks at a bounded rate and compares every
 * byte of every answer with the version that its ETag stands for (judge.h, site.h). soak.py starts one a server.
 *
 *     soak_client DIRECTORY HOST PORT RATE SEED
 *
 * Who is there: PIPE, kept connections with 16 to 32 requests at a time, which make up the rate; FRESH, a new
 * connection for a few requests, which may be half-closed behind them; LARGE, large files and parts of them; SLOW, who
 * takes a large answer a little at a time, or sends a request byte by byte; ABORT, who leaves in the middle, with a
 * reset or a FIN.
 *
 * A line of JSON a second on standard output says how many were what; the first answer that is wrong is told on
 * standard error and ends it. SIGTERM ends it: what has been asked is still answered and checked. Exit status 0, 1
 * (something is wrong), or 2 (it cannot work).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"

#define MS             UINT64_C(1000000)
#define SECOND         UINT64_C(1000000000)
#define TICK           (5 * MS)
#define DEPTH_MIN      16
#define DEPTH_MAX      32
#define OUT_MAX        (DEPTH_MAX * ASK_MAX)
#define IN_MAX         (64 * 1024)
#define STALL          (60 * SECOND) /* an answer that makes no progress for so long is wrong */
#define FRESH_A_SECOND 100
#define ABORT_A_SECOND 15
#define LARGE_EVERY    (300 * MS)
#define SLOW_RCVBUF    4096

enum role {
	PIPE,
	FRESH,
	LARGE,
	SLOW,
	ABORT,
	ROLES,
};

static const unsigned role_count[ROLES] = { 48, 12, 2, 10, 4 };
#define CONNECTIONS 76

struct connection {
	int fd; /* -1: closed */
	enum role role;
	uint64_t next;     /* when something is due */
	uint64_t progress; /* when bytes came last, or were asked for */
	uint64_t life;     /* SLOW and ABORT: when it leaves; 0: when all is answered */
	bool half_closed, closing, drop_by_reset, byte_by_byte;
	uint32_t interest; /* of epoll; 0: it is not there */
	uint64_t pause;    /* SLOW: between two reads, or two bytes */
	size_t chunk;      /* SLOW: what it reads at a time */
	struct ask asks[DEPTH_MAX];
	unsigned ask_at, ask_count;
	size_t out_at, out_len, in_len;
	struct judge judge;
	char out[OUT_MAX], in[IN_MAX];
};

struct counts {
	uint64_t connects, ended, unanswered, aborted, slow, halves;
};

static struct site site;
static struct tally tally;
static struct counts counts;
static struct connection connections[CONNECTIONS];
static struct sockaddr_in address;
static uint64_t now;
static double wanted_rate; /* of PIPE, requests a second */
static int epoll;
static volatile sig_atomic_t stopping;

static void stop(int number)
{
	(void)number;
	stopping = 1;
}

/* Monotonic, but for what the machine was away for: of more than a second since the last time, a second counts. */
static uint64_t clock_ns(void)
{
	static uint64_t last, away;
	struct timespec time;
	uint64_t read;

	clock_gettime(CLOCK_MONOTONIC, &time);
	read = (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
	if (last && read - last > SECOND)
		away += read - last - SECOND;
	last = read;
	return read - away;
}

static void report(bool last)
{
	printf("{\"answers\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"whole\": %" PRIu64 ", \"coded\": %" PRIu64
	       ", \"heads\": %" PRIu64 ", \"not_modified\": %" PRIu64 ", \"partial\": %" PRIu64
	       ", \"multipart\": %" PRIu64 ", \"unsatisfiable\": %" PRIu64 ", \"absent\": %" PRIu64
	       ", \"connects\": %" PRIu64 ", \"ended\": %" PRIu64 ", \"unanswered\": %" PRIu64 ", \"aborted\": %" PRIu64
	       ", \"slow\": %" PRIu64 ", \"halves\": %" PRIu64 ", \"etags\": %" PRIu64 ", \"last\": %s}\n",
	       tally.answers, tally.bytes, tally.whole, tally.coded, tally.heads, tally.not_modified, tally.partial,
	       tally.multipart, tally.unsatisfiable, tally.absent, counts.connects, counts.ended, counts.unanswered,
	       counts.aborted, counts.slow, counts.halves, site.learned, last ? "true" : "false");
	fflush(stdout);
}

/* The first thing that is wrong ends the soak: whatever comes after it tells less. */
static void wrong(const struct connection *connection, const char *why)
{
	static const char *const roles[] = { "pipe", "fresh", "large", "slow", "abort" };
	const struct ask *ask = connection->ask_count ? &connection->asks[connection->ask_at] : NULL;

	fprintf(stderr, "wrong: %s client: %s\n", roles[connection->role], why);
	fprintf(stderr,
	        "  requests outstanding: %u, draining: %u, an answer of %u with %" PRIu64 " of %" PRIu64 " bytes\n",
	        connection->ask_count, site.table->draining, connection->judge.status, connection->judge.at,
	        connection->judge.len);
	if (ask) {
		const struct site_file *file = &site.files[ask->file];

		fprintf(stderr,
		        "  %s %s, kind %u, how %u, codings %u, tag %s of version %u, ranges %u: %" PRIu64 "-%" PRIu64
		        ", floor %u, ceiling %u, of %u versions\n",
		        ask->head ? "HEAD" : "GET", file->target, file->kind, ask->how, ask->coding,
		        ask->tag ? ask->tag->text : "-", ask->tag ? ask->tag->version : 0, ask->ranges, ask->first[0],
		        ask->last[0], ask->floor, site.table->files[ask->file].ceiling, file->versions);
	}
	fprintf(stderr, "  what came last (%zu bytes):\n", connection->in_len);
	for (size_t i = 0; i < connection->in_len && i < 400; i++) {
		unsigned char byte = (unsigned char)connection->in[i];

		fprintf(stderr, byte == '\n' || (byte >= ' ' && byte < 127) ? "%c" : "\\x%02x", byte);
	}
	fprintf(stderr, "\n");
	report(true);
	exit(1);
}

static void ask_for(struct connection *connection, unsigned file, bool close)
{
	struct ask *ask = &connection->asks[(connection->ask_at + connection->ask_count++) % DEPTH_MAX];

	connection->out_len += ask_write(ask, &site, file, close, connection->out + connection->out_len,
	                                 OUT_MAX - connection->out_len);
	connection->progress = now;
}

static void close_connection(struct connection *connection, bool reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (connection->fd < 0)
		return;
	if (reset)
		setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(connection->fd);
	connection->fd = -1;
	connection->interest = 0;
	connection->half_closed = connection->closing = connection->byte_by_byte = false;
	connection->life = 0;
	connection->ask_at = connection->ask_count = 0;
	connection->out_at = connection->out_len = connection->in_len = 0;
	judge_reset(&connection->judge);
}

static void failed(struct connection *connection, const char *what)
{
	char why[128];

	snprintf(why, sizeof(why), "%s: %s", what, strerror(errno));
	wrong(connection, why);
}

/* SLOW takes its time, and is not told of what has come. */
static void set_interest(struct connection *connection)
{
	bool told = connection->role != SLOW || connection->byte_by_byte;
	uint32_t wanted = (told ? EPOLLIN : 0) |
	                  (connection->out_at < connection->out_len && !connection->byte_by_byte ? EPOLLOUT : 0);
	struct epoll_event event = { .events = wanted, .data.ptr = connection };

	if (connection->fd < 0 || wanted == connection->interest)
		return;
	if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event))
		failed(connection, "epoll_ctl");
	connection->interest = wanted;
}

static void open_connection(struct connection *connection)
{
	struct epoll_event event = { .events = 0, .data.ptr = connection };
	int on = 1, rcvbuf = SLOW_RCVBUF;

	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		failed(connection, "socket");
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connection->role == SLOW)
		setsockopt(connection->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	if (connect(connection->fd, (const struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS)
		failed(connection, "connect");
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event))
		failed(connection, "epoll_ctl");
	counts.connects++;
	connection->progress = now;
}

static void flush(struct connection *connection)
{
	while (connection->out_at < connection->out_len) {
		size_t len = connection->byte_by_byte ? 1 : connection->out_len - connection->out_at;
		ssize_t sent = send(connection->fd, connection->out + connection->out_at, len, MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno == EAGAIN || errno == ENOTCONN)
				break;
			/* What the server has sent before it ended is read first; the end tells the rest. */
			if ((errno == EPIPE || errno == ECONNRESET) && site.table->draining) {
				connection->out_at = connection->out_len;
				break;
			}
			failed(connection, "send");
		}
		connection->out_at += (size_t)sent;
		if (connection->byte_by_byte)
			break;
	}
	if (connection->out_at == connection->out_len) {
		connection->out_at = connection->out_len = 0;
		if (connection->half_closed)
			shutdown(connection->fd, SHUT_WR);
	}
	set_interest(connection);
}

/* The server has ended it. */
static void ended(struct connection *connection)
{
	if (connection->in_len || connection->judge.state == JUDGE_BODY)
		wrong(connection, "the connection ended within an answer");
	counts.ended++;
	if (connection->ask_count && !connection->asks[connection->ask_at].draining && !site.table->draining)
		wrong(connection, "the connection ended, and requests were not answered");
	counts.unanswered += connection->ask_count;
	close_connection(connection, false);
}

static void take_answers(struct connection *connection)
{
	size_t at = 0;
	char why[256];

	while (at < connection->in_len) {
		enum judge_progress progress;
		size_t used;

		if (!connection->ask_count)
			wrong(connection, "bytes that nobody has asked for");
		progress = judge_read(&connection->judge, &site, &connection->asks[connection->ask_at],
		                      connection->in + at, connection->in_len - at, &used, &tally, why);
		if (progress == JUDGE_WRONG) {
			memmove(connection->in, connection->in + at, connection->in_len - at);
			connection->in_len -= at;
			wrong(connection, why);
		}
		at += used;
		if (progress == JUDGE_MORE)
			break;
		connection->closing |= connection->judge.close || connection->asks[connection->ask_at].close;
		connection->ask_at = (connection->ask_at + 1) % DEPTH_MAX;
		connection->ask_count--;
	}
	connection->in_len -= at;
	memmove(connection->in, connection->in + at, connection->in_len);
}

static void receive(struct connection *connection)
{
	size_t limit = connection->role == SLOW && !connection->byte_by_byte ? connection->chunk : IN_MAX;

	for (;;) {
		size_t room = IN_MAX - connection->in_len;
		ssize_t len;

		room = room < limit ? room : limit;
		len = recv(connection->fd, connection->in + connection->in_len, room, 0);
		if (len < 0) {
			if (errno != EAGAIN)
				failed(connection, "recv");
			return;
		}
		if (len == 0) {
			ended(connection);
			return;
		}
		connection->progress = now;
		connection->in_len += (size_t)len;
		take_answers(connection);
		if ((size_t)len < room || limit < IN_MAX)
			return;
	}
}

/* What each does when its time has come. */

static void begin_pipe(struct connection *connection, unsigned depth)
{
	if (connection->fd < 0)
		open_connection(connection);
	while (depth--)
		ask_for(connection, ask_any_small(&site), false);
	flush(connection);
}

static void begin_fresh(struct connection *connection)
{
	unsigned depth = 1 + (unsigned)ask_chance(4);
	bool close = ask_chance(2);

	open_connection(connection);
	connection->half_closed = !close && ask_chance(4) == 0;
	counts.halves += connection->half_closed;
	for (unsigned i = 0; i < depth; i++)
		ask_for(connection, ask_any_small(&site), close && i == depth - 1);
	flush(connection);
}

static void begin_large(struct connection *connection)
{
	if (connection->fd < 0)
		open_connection(connection);
	for (unsigned depth = 1 + (unsigned)ask_chance(2); depth--;)
		ask_for(connection, ask_any_large(&site), false);
	flush(connection);
}

static void begin_slow(struct connection *connection)
{
	connection->byte_by_byte = ask_chance(4) == 0;
	open_connection(connection);
	counts.slow++;
	connection->pause = connection->byte_by_byte ? 20 * MS : (20 + ask_chance(80)) * MS;
	connection->chunk = 1024 + ask_chance(15 * 1024);
	if (connection->byte_by_byte) {
		ask_for(connection, ask_any_small(&site), false);
	} else {
		connection->life = now + (5 + ask_chance(15)) * SECOND;
		connection->drop_by_reset = ask_chance(2);
		ask_for(connection, ask_any_large(&site), false);
		flush(connection);
	}
	connection->next = now + connection->pause;
}

static void begin_abort(struct connection *connection)
{
	open_connection(connection);
	connection->life = now + ask_chance(60) * MS;
	connection->drop_by_reset = ask_chance(4) > 0;
	for (unsigned depth = 1 + (unsigned)ask_chance(3); depth--;)
		ask_for(connection, ask_chance(2) ? ask_any_small(&site) : ask_any_large(&site), false);
	if (ask_chance(4) == 0)
		connection->out_len -= 1 + ask_chance(connection->out_len - 1); /* a part of a request */
	flush(connection);
}

/* Of a connection that has something to do at certain times. */
static void wake(struct connection *connection)
{
	if (connection->fd >= 0 && connection->life && now >= connection->life) {
		counts.aborted++;
		close_connection(connection, connection->drop_by_reset);
		return;
	}
	if (connection->role == SLOW && connection->fd >= 0 && now >= connection->next) {
		connection->next = now + connection->pause;
		if (connection->out_at < connection->out_len)
			flush(connection);
		if (!connection->byte_by_byte)
			receive(connection);
	}
	if (connection->fd >= 0 && connection->ask_count && connection->role != ABORT &&
	    now - connection->progress > STALL)
		wrong(connection, "no answer for a minute");
	/* All is answered. Who said close, or was told so, waits for the end; others of these leave. */
	if (connection->fd >= 0 && !connection->ask_count && connection->out_at == connection->out_len &&
	    !connection->closing && !connection->half_closed &&
	    (connection->role == FRESH || connection->role == SLOW || connection->role == ABORT))
		close_connection(connection, false);
	if (connection->fd >= 0 && !connection->ask_count && (connection->closing || connection->half_closed)) {
		if (connection->role == SLOW)
			receive(connection);
		if (connection->fd >= 0 && now - connection->progress > STALL)
			wrong(connection, "all is answered, and the connection is not closed");
	}
}

static bool is_free(const struct connection *connection)
{
	return connection->fd < 0 || (!connection->ask_count && !connection->closing && !connection->half_closed &&
	                              connection->out_at == connection->out_len);
}

/* So much is due since the last turn; what could not be begun in time is made up for, up to a minute's. */
struct pace {
	double rate, due;
};

static void begin_all(double seconds)
{
	static struct pace paces[ROLES] = {
		[FRESH] = { .rate = FRESH_A_SECOND }, [ABORT] = { .rate = ABORT_A_SECOND }
	};
	static unsigned first; /* each in turn, so that none is idle for long */

	paces[PIPE].rate = wanted_rate;
	for (unsigned i = 0; i < ROLES; i++) {
		paces[i].due += paces[i].rate * seconds;
		if (paces[i].due > 60 * paces[i].rate)
			paces[i].due = 60 * paces[i].rate;
	}
	first++;
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &connections[(first + i) % CONNECTIONS];
		unsigned depth = DEPTH_MIN + (unsigned)ask_chance(DEPTH_MAX - DEPTH_MIN + 1);

		if (!is_free(connection))
			continue;
		if (connection->role == PIPE && paces[PIPE].due >= depth) {
			paces[PIPE].due -= depth;
			begin_pipe(connection, depth);
		} else if (connection->role == FRESH && connection->fd < 0 && paces[FRESH].due >= 1) {
			paces[FRESH].due--;
			begin_fresh(connection);
		} else if (connection->role == LARGE && now >= connection->next) {
			connection->next = now + LARGE_EVERY;
			begin_large(connection);
		} else if (connection->role == SLOW && connection->fd < 0) {
			begin_slow(connection);
		} else if (connection->role == ABORT && connection->fd < 0 && paces[ABORT].due >= 1) {
			paces[ABORT].due--;
			begin_abort(connection);
		}
	}
}

/* What is outstanding is waited for; slow ones are let go. */
static bool all_over(void)
{
	bool over = true;

	for (unsigned i = 0; i < CONNECTIONS; i++) {
		struct connection *connection = &connections[i];

		if (connection->role == SLOW || connection->role == ABORT ||
		    (connection->fd >= 0 && is_free(connection)))
			close_connection(connection, false);
		over &= connection->fd < 0;
	}
	return over;
}

static void turn(void)
{
	struct epoll_event events[CONNECTIONS];
	int n = epoll_wait(epoll, events, CONNECTIONS, (int)(TICK / MS));

	now = clock_ns();
	for (int i = 0; i < n; i++) {
		struct connection *connection = events[i].data.ptr;

		if (connection->fd >= 0 && connection->out_at < connection->out_len && !connection->byte_by_byte)
			flush(connection);
		if (connection->fd >= 0 && connection->role == SLOW && !connection->byte_by_byte)
			continue; /* an error or an end: it finds out when it reads */
		if (connection->fd >= 0 && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			receive(connection);
	}
}

int main(int argc, char *argv[])
{
	uint64_t last, said = 0;
	pid_t parent = getppid();

	if (argc != 6) {
		fprintf(stderr, "usage: soak_client DIRECTORY HOST PORT RATE SEED\n");
		return 2;
	}
	site_load(&site, argv[1]);
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t)atoi(argv[3]));
	if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1)
		return 2;
	wanted_rate = atof(argv[4]);
	ask_seed(strtoull(argv[5], NULL, 10));
	for (unsigned i = 0, role = 0, left = role_count[0]; i < CONNECTIONS; i++, left--) {
		while (!left)
			left = role_count[++role];
		connections[i].role = (enum role)role;
		connections[i].fd = -1;
	}
	signal(SIGTERM, stop);
	signal(SIGINT, SIG_IGN); /* a terminal's is soak.py's, which ends us */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	last = now = clock_ns();
	for (;;) {
		turn();
		for (unsigned i = 0; i < CONNECTIONS; i++)
			wake(&connections[i]);
		if (stopping && all_over())
			break;
		if (!stopping)
			begin_all((double)(now - last) / 1e9);
		last = now;
		if (now - said >= SECOND) {
			said = now;
			report(false);
			if (getppid() != parent)
				return 2;
		}
	}
	report(true);
	return 0;
}
