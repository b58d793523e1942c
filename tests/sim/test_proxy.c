/*
 * test_proxy.c - connections that begin with a PROXY header, over the simulated backend: src/conn.c, conn_proxy.c and
 * worker.c as they are. The kernel's word on who has connected is made up here.
 *
 * What is proved for every seed, which decides how bytes are split and how late everything comes: a header is read to
 * its last byte and the request behind it answered, whoever is named is the client, and the kernel is asked no more
 * often than it must; what is malformed, half, or not trusted ends without a byte of an answer, in time; nothing is
 * left behind.
 *
 * test_proxy [--trace] [FIRST LAST]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "loom/worker.h"
#include "sim.h"
#include "shelf.h"

#define SEEDS     400
#define REQUEST   "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BLOCK        \
	"\xc0\0\2\1" \
	"\xc0\0\2\2" \
	"\xdc\4"     \
	"\0\x50"
#define HEADER_MS 3000

enum outcome {
	ANSWERED,  /* and the client is the one that is named */
	MALFORMED, /* closed at once */
	HALF,      /* closed when the time is up */
	CUT,       /* the client's end comes before the header's: closed */
};

static const struct row {
	const char *bytes;
	size_t len;
	enum outcome outcome;
	const char *client; /* "kernel": as the kernel says */
} rows[] = {
#define ROW(bytes, ...)                               \
	{                                             \
		bytes, sizeof(bytes) - 1, __VA_ARGS__ \
	}
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", ANSWERED, "192.0.2.1"),
	ROW("PROXY TCP6 2001:db8::1 2001:db8::2 56324 80\r\n", ANSWERED, "2001:db8::1"),
	ROW("PROXY UNKNOWN\r\n", ANSWERED, "kernel"),
	ROW(SIGNATURE "\x21\x11\0\14" BLOCK, ANSWERED, "192.0.2.1"),
	ROW(SIGNATURE "\x21\x11\0\26" BLOCK "\4\0\7abcdefg", ANSWERED, "192.0.2.1"),
	ROW(SIGNATURE "\x20\0\0\0", ANSWERED, "kernel"),
	ROW("", MALFORMED, NULL),
	ROW("PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\n", MALFORMED, NULL),
	ROW("PROXY TCP5 192.0.2.1 192.0.2.2 56324 80\r\n", MALFORMED, NULL),
	ROW(SIGNATURE "\x31\x11\0\14" BLOCK, MALFORMED, NULL),
	ROW("PROXY TCP4 192", HALF, NULL),
	ROW(SIGNATURE "\x21\x11\0\14"
	              "\xc0\0\2",
	    HALF, NULL),
	ROW("PROXY TCP4 192", CUT, NULL),
	ROW(SIGNATURE "\x21\x11", CUT, NULL),
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static struct {
	struct sim *sim;
	struct worker *worker;
	uint64_t dice;
	const struct row *row;
	bool trusted;
	unsigned asked; /* times that the kernel was asked who has connected */
	struct sim_stream *stream;
	char bytes[512]; /* what the client sends */
	size_t len, written;
	size_t received;
	char begins[16];
	bool looked; /* at the client's address */
	bool closed;
	uint64_t closed_at;
} world;

static unsigned seed_now;

int close(int fd)
{
	if (world.sim && sim_close(world.sim, fd))
		return 0;
	return (int)syscall(SYS_close, fd);
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(4711) };

	if (fd < SIM_FD_BASE) {
		errno = ENOTSOCK;
		return -1;
	}
	world.asked++;
	inet_pton(AF_INET, world.trusted ? "10.1.2.3" : "203.0.113.9", &in.sin_addr);
	memcpy(addr, &in, *len < sizeof(in) ? *len : sizeof(in));
	*len = sizeof(in);
	return 0;
}

static void died(int number)
{
	(void)number;
	fprintf(stderr, "test_proxy: seed %u failed; replay: test_proxy --trace %u %u\n", seed_now, seed_now, seed_now);
	_exit(1);
}

static void world_clock(void *context, uint64_t *monotonic_ms, time_t *real)
{
	(void)context;
	*monotonic_ms = sim_now(world.sim);
	*real = 1763979000;
}

#define require(condition, ...) sim_require(world.sim, condition, __VA_ARGS__)

/* The one connection that there is, while it is open. */
static struct conn *the_connection(struct conn_context *context)
{
	for (uint32_t i = 0; i < context->conns.touched; i++) {
		struct conn *conn = pool_at(&context->conns, i);

		if (conn->state != CONN_FREE && conn->state != CONN_CLOSING)
			return conn;
	}
	return NULL;
}

/* The answer has come, so the client is known. */
static void look_at_client(void)
{
	struct conn_context *context = (struct conn_context *)(uintptr_t)worker_context(world.worker);
	struct conn *conn = the_connection(context);
	bool by_kernel = strcmp(world.row->client, "kernel") == 0;
	char text[PEER_TEXT_MAX];
	const struct peer *peer;

	require(conn != NULL, "no connection, and an answer");
	require(world.asked == 1, "the kernel was asked %u times before anybody wanted to know", world.asked);
	for (int i = 0; i < 2; i++) {
		peer = conn_peer(context, conn);
		peer_text(peer, text);
		require(strcmp(text, by_kernel ? "10.1.2.3" : world.row->client) == 0, "the client is %s", text);
		require(peer->port == (by_kernel ? 4711 : 56324), "its port is %u", peer->port);
		require(peer->proxied == !by_kernel, "it is proxied: %d", peer->proxied);
		require(world.asked == (by_kernel ? 2 : 1), "the kernel was asked %u times", world.asked);
	}
	world.looked = true;
}

static void read_answer(void)
{
	char bytes[4096];
	ssize_t n;

	while ((n = sim_read(world.stream, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < n && world.received + (size_t)i < sizeof(world.begins) - 1; i++)
			world.begins[world.received + (size_t)i] = bytes[i];
		world.received += (size_t)n;
	}
	/* A reset is one more way to end: what was sent has not all been read. */
	if ((n == 0 || n == -ECONNRESET) && !world.closed) {
		world.closed = true;
		world.closed_at = sim_now(world.sim);
	}
}

static uint64_t act(void *context)
{
	uint64_t now = sim_now(world.sim);

	(void)context;
	if (!world.stream)
		return SIM_NEVER;
	read_answer();
	if (world.closed) {
		sim_hang_up(world.stream);
		world.stream = NULL;
		io_wake(worker_context(world.worker)->io); /* nothing else is going to happen */
		return SIM_NEVER;
	}
	if (world.written < world.len) {
		size_t left = world.len - world.written,
		       n = 1 + sim_below(&world.dice, sim_chance(&world.dice, 500) ? 3 : left);
		ssize_t taken = sim_write(world.stream, world.bytes + world.written, n < left ? n : left);

		if (taken > 0)
			world.written += (size_t)taken;
		return now + sim_below(&world.dice, 3);
	}
	if (world.row->outcome == CUT)
		sim_finish(world.stream);
	if (world.received > 100 && !world.looked) {
		look_at_client();
		sim_finish(world.stream);
	}
	return SIM_NEVER;
}

static void check_outcome(uint64_t begun)
{
	const struct conn_context *context = worker_context(world.worker);
	const struct conn_stats *stats = &context->stats;
	uint64_t took = world.closed_at - begun;

	require(context->conns.used == 0 && context->inputs.used == 0 && context->outputs.used == 0 &&
	                context->wheel.nodes == 0,
	        "something is left of the connection");
	if (!world.trusted) {
		require(world.received == 0 && stats->untrusted == 1 && stats->accepted == 0, "a stranger was heard");
		return;
	}
	require(stats->untrusted == 0, "somebody trusted was refused");
	require(world.looked == (world.row->outcome == ANSWERED), "%zu bytes of an answer", world.received);
	require(stats->unproxied == (world.row->outcome == MALFORMED), "malformed: %llu",
	        (unsigned long long)stats->unproxied);
	require(stats->timeouts == (world.row->outcome == HALF), "timeouts: %llu", (unsigned long long)stats->timeouts);
	if (world.row->outcome == ANSWERED) {
		require(memcmp(world.begins, "HTTP/1.1 200", 12) == 0, "the answer is %s", world.begins);
	} else {
		require(world.received == 0, "%zu bytes were answered", world.received);
		require(world.row->outcome != HALF || took >= HEADER_MS, "it was given %llu ms",
		        (unsigned long long)took);
	}
	require(took < HEADER_MS + 2000, "it has taken %llu ms", (unsigned long long)took);
}

/* One connection, from its beginning to its end. */
static void converse(const struct row *row, int listening)
{
	uint64_t begun = sim_now(world.sim);

	world.row = row;
	world.asked = 0;
	world.written = world.received = 0;
	world.looked = world.closed = false;
	world.len = row->len;
	memcpy(world.bytes, row->bytes, row->len);
	if (row->outcome == ANSWERED || row->outcome == MALFORMED) {
		memcpy(world.bytes + world.len, REQUEST, strlen(REQUEST));
		world.len += strlen(REQUEST);
	}
	world.stream = sim_connect(world.sim, listening, 0);
	while (world.stream || worker_context(world.worker)->conns.used > 0) {
		require(sim_now(world.sim) < begun + 20 * HEADER_MS, "it does not end");
		worker_turn(world.worker);
	}
	check_outcome(begun);
}

static void run(unsigned seed, const struct row *row, bool trusted)
{
	static const uint8_t flags[] = { WORKER_LISTEN_PROXY };
	struct options options = {
		.limits = { .request_line = 300, .head = 1000, .fields = 12, .body = 500 },
		.timeouts = { .keepalive = 5000, .header = HEADER_MS, .send = 30000, .grace = 20000 },
		.stream_above = UINT64_MAX,
		.splice_above = UINT64_MAX,
	};
	struct sim_weather weather = sim_fair_weather;
	static struct snapshot_inbox inbox; /* not on AddressSanitizer's stack, which aligns to 32 bytes */
	struct snapshot *site = shelf_build(1, NULL, false);
	char why[200];
	int listening;

	memset(&world, 0, sizeof(world));
	world.dice = seed;
	world.trusted = trusted;
	if (seed % 4) {
		weather.late = (unsigned)sim_below(&world.dice, 300);
		weather.late_ms = 1 + (unsigned)sim_below(&world.dice, 20);
		weather.spurious = (unsigned)sim_below(&world.dice, 200);
		weather.piece = 1 + (unsigned)sim_below(&world.dice, 60);
		weather.window = 1 + (unsigned)sim_below(&world.dice, 300);
	}
	network_parse("10.0.0.0/8", &options.proxy_from[options.proxy_froms++], why, sizeof(why));
	world.sim = sim_new(seed, &weather);
	listening = sim_listening(world.sim);
	sim_clients(world.sim, act, NULL);
	atomic_init(&inbox.next, NULL);
	snapshot_publish(site, &inbox, 1);
	if (worker_create(&world.worker,
	                  &(struct worker_config){ .ops = &io_sim_ops,
	                                           .options = &options,
	                                           .inbox = &inbox,
	                                           .conns = 2,
	                                           .listen_fds = &listening,
	                                           .listen_flags = flags,
	                                           .listens = 1,
	                                           .clock = world_clock },
	                  why, sizeof(why)) < 0)
		sim_fail(world.sim, "%s", why);
	converse(row, listening);
	/* The next one has the place of the last one in the tables, and none of its past. */
	for (size_t i = 0; i < ROWS && row->outcome == ANSWERED && trusted; i++)
		if (rows[i].outcome == ANSWERED)
			converse(&rows[i], listening);
	worker_command(world.worker, WORKER_DRAIN);
	while (worker_turn(world.worker))
		;
	worker_destroy(world.worker);
	require(snapshot_unused(site), "the snapshot is held");
	require(sim_descriptors(world.sim) == 0, "descriptors are lost");
	sim_free(world.sim);
	world.sim = NULL;
	shelf_free(site);
}

int main(int argc, char *argv[])
{
	unsigned first = 1, last = SEEDS;

	if (argc > 1 && strcmp(argv[1], "--trace") == 0) {
		sim_trace_on(true);
		argc--, argv++;
	}
	if (argc == 3) {
		first = (unsigned)atoi(argv[1]);
		last = (unsigned)atoi(argv[2]);
	}
	signal(SIGABRT, died);
	shelf_open();
	signal(SIGALRM, died);
	for (seed_now = first; seed_now <= last; seed_now++) {
		alarm(60);
		for (size_t i = 0; i < ROWS; i++)
			run(seed_now, &rows[i], true);
		run(seed_now, &rows[seed_now % ROWS], false);
	}
	printf("test_proxy: seeds %u to %u: ok\n", first, last);
	return 0;
}
