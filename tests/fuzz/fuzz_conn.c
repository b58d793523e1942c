/*
 * fuzz_conn.c - the whole way of a client's bytes: src/worker.c and src/conn.c as they are, over the simulated backend
 * (tests/sim) and a small site (site.h). The input is FUZZ_PIECES bytes that choose how the client's bytes are split,
 * one that chooses how it ends its part (see ending_of()), and the client's bytes. Limits are so low that short inputs
 * reach them.
 *
 * What must hold: the bytes that come back, and whether the server ends the connection, are the same when the client's
 * bytes come at once, one at a time, and in the pieces that were chosen, with a client that reads slowly; they are
 * well-formed answers to the requests (answers.h); the server needs no time for any of this, timeouts aside; the
 * backend's contract is kept (sim.h); and nothing is left of the connection: no buffer, no timer, no pin, no
 * descriptor.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../sim/world.h"
#include "answers.h"
#include "loom/worker.h"
#include "site.h"

#define HEADER    (FUZZ_PIECES + 1)
#define SIZE_MOST 8192
#define READ_MOST 16384

#define NOW  1763979000
#define DATE "Mon, 24 Nov 2025 10:10:00 GMT"

static const struct options options = {
	.stream_above = 0,
	.splice_above = UINT64_MAX,
	.limits = { .request_line = 300, .head = 1000, .fields = 12, .body = 500, .requests = 24 },
	.timeouts = { .keepalive = 5000, .header = 10000, .send = 30000, .grace = 20000 },
};

enum ending {
	FINISHES, /* when the server waits for more, the client sends its FIN */
	IS_CUT,   /* the FIN stands right behind the last byte */
	WAITS,    /* until the server gets tired of it */
	SEES_END, /* the same, and the server is told to drain */
};

/* One worker serves input after input; it is made anew after it was drained. */
static struct {
	struct sim *sim;
	struct worker *worker;
	int listening;
	struct snapshot_inbox inbox;
} world;

/* All that has come back. Kept from input to input, so that it need not be taken anew. */
struct record {
	uint8_t *bytes;
	size_t len, size;
};

/* One client. */
struct talk {
	const uint8_t *bytes;
	size_t len;
	size_t written;
	struct fuzz_pieces pieces;
	enum ending ending;
	size_t buffer; /* of the client: bytes that it has not read yet */
	struct sim_stream *stream;
	bool ended;  /* the client has done its ending */
	bool closed; /* the server has, before that */
	struct record *answers;
};

/* 'd' for the rare one, which takes long; 'w', and every eighth byte, for WAITS; the others for the two common ones. */
static enum ending ending_of(uint8_t byte)
{
	if (byte == 'd')
		return SEES_END;
	return byte % 8 == 'w' % 8 ? WAITS : byte % 2 ? IS_CUT : FINISHES;
}

/* The worker closes listening descriptors itself: those of the simulation come here. */
int close(int fd)
{
	if (world.sim && sim_close(world.sim, fd))
		return 0;
	return (int)syscall(SYS_close, fd);
}

static void world_clock(void *context, uint64_t *monotonic_ms, time_t *real)
{
	(void)context;
	*monotonic_ms = sim_now(world.sim);
	*real = NOW;
}

static void world_begin(void)
{
	struct sim_weather weather = sim_fair_weather;
	struct worker_config config = {
		.ops = &io_sim_ops,
		.options = &options,
		.inbox = &world.inbox,
		.conns = 4,
		.listens = 1,
		.listen_fds = &world.listening,
		.clock = world_clock,
	};
	char why[200];

	weather.steady = true;
	weather.window = IO_RECV_MAX;
	weather.buffer = 32 * 1024;
	world.sim = sim_new(1, &weather);
	world.listening = sim_listening(world.sim);
	atomic_init(&world.inbox.next, NULL);
	snapshot_publish(site_snapshot(), &world.inbox, 1);
	if (worker_create(&world.worker, &config, why, sizeof(why)))
		fuzz_fail("worker_create(): %s", why);
}

static void world_end(void)
{
	worker_destroy(world.worker);
	world.worker = NULL;
	fuzz_require(snapshot_unused(site_snapshot()), "the snapshot is held by somebody");
	site_renew();
	fuzz_require(sim_descriptors(world.sim) == 0, "%u descriptors are lost", sim_descriptors(world.sim));
	sim_free(world.sim);
	world.sim = NULL;
}

static void read_answers(struct talk *talk)
{
	struct record *answers = talk->answers;

	for (;;) {
		ssize_t n;

		if (answers->size - answers->len < READ_MOST) {
			answers->size = 2 * (answers->size + READ_MOST);
			answers->bytes = realloc(answers->bytes, answers->size);
			if (!answers->bytes)
				abort();
		}
		n = sim_read(talk->stream, answers->bytes + answers->len, READ_MOST);
		if (n == 0 && !talk->ended)
			talk->closed = true;
		if (n <= 0) {
			fuzz_require(n != -ECONNRESET, "the server resets the connection");
			return;
		}
		answers->len += (size_t)n;
	}
}

/* A client writes only when the server reads: so nothing of it is ever unread when the connection is closed. */
static bool server_reads(const struct sim_stream *stream)
{
	return stream->side == SIDE_OPEN && stream->credit && stream->up.len == 0 && !stream->sending;
}

static void write_piece(struct talk *talk)
{
	size_t n = fuzz_next_piece(&talk->pieces, talk->len - talk->written);

	if (n > IO_RECV_MAX)
		n = IO_RECV_MAX;
	talk->stream->piece = n;
	fuzz_require(sim_write(talk->stream, talk->bytes + talk->written, n) == (ssize_t)n, "sim_write()");
	talk->written += n;
	if (talk->written == talk->len && talk->ending == IS_CUT)
		sim_finish(talk->stream);
}

static void end_talk(struct talk *talk)
{
	talk->ended = true;
	switch (talk->ending) {
	case FINISHES:
		sim_finish(talk->stream);
		break;
	case SEES_END:
		worker_command(world.worker, WORKER_DRAIN);
		break;
	case IS_CUT:
	case WAITS:
		break;
	}
}

/* What there is to do for the client now: called whenever something may have changed. */
static uint64_t act(void *context)
{
	struct talk *talk = context;

	if (!talk->stream)
		return SIM_NEVER;
	read_answers(talk);
	if (sim_is_over(talk->stream)) {
		sim_hang_up(talk->stream);
		talk->stream = NULL;
		io_wake(worker_context(world.worker)->io);
	} else if (server_reads(talk->stream)) {
		if (talk->written < talk->len)
			write_piece(talk);
		else if (!talk->ended)
			end_talk(talk);
	}
	return SIM_NEVER;
}

static void check_world(void)
{
	const struct conn_context *context = worker_context(world.worker);
	const struct snapshot *snapshot = site_snapshot();

	fuzz_require(context->conns.used == 0, "%u connections are left", context->conns.used);
	fuzz_require(context->inputs.used == 0, "%u inputs are left", context->inputs.used);
	fuzz_require(context->outputs.used == 0, "%u outputs are left", context->outputs.used);
	fuzz_require(context->wheel.nodes == 0, "%u timers are left", context->wheel.nodes);
	fuzz_require(snapshot->share[0].pins == 1, "the snapshot has %u pins", snapshot->share[0].pins);
	fuzz_require(sim_descriptors(world.sim) == 1, "%u descriptors are left", sim_descriptors(world.sim) - 1);
}

/* The whole life of the connection. requests: answers that the worker has counted. */
static void run(struct talk *talk, uint64_t *requests)
{
	uint64_t begun, before;

	if (!world.worker)
		world_begin();
	world.sim->dice = 1;
	begun = sim_now(world.sim);
	before = worker_context(world.worker)->stats.requests;
	sim_clients(world.sim, act, talk);
	talk->stream = sim_connect(world.sim, world.listening, talk->buffer);
	while (talk->stream)
		worker_turn(world.worker);
	*requests = worker_context(world.worker)->stats.requests - before;
	if (talk->ending == SEES_END && talk->ended) {
		while (worker_turn(world.worker))
			;
		world_end();
		return;
	}
	check_world();
	if (talk->ending == FINISHES || talk->ending == IS_CUT)
		fuzz_require(sim_now(world.sim) == begun, "the server has let %llu ms pass",
		             (unsigned long long)(sim_now(world.sim) - begun));
}

static struct talk talk_of(const uint8_t *data, size_t size, struct fuzz_pieces pieces, size_t buffer,
                           struct record *answers)
{
	answers->len = 0;
	return (struct talk){ .bytes = data + HEADER,
		              .len = size - HEADER,
		              .pieces = pieces,
		              .ending = ending_of(data[FUZZ_PIECES]),
		              .buffer = buffer,
		              .answers = answers };
}

static void check(const struct talk *talk, uint64_t requests)
{
	struct answers answers = answers_check(talk->answers->bytes, talk->answers->len, talk->bytes, talk->len,
	                                       &options.limits, DATE);

	fuzz_require(answers.n == requests, "%u answers of %llu", answers.n, (unsigned long long)requests);
	if (talk->ending == FINISHES) {
		fuzz_require(talk->closed == answers.closes, "the server %s, and said otherwise",
		             talk->closed ? "closes" : "does not close");
		fuzz_require(answers.timeout == 0, "a timeout at once");
	}
}

static void compare(struct talk *talk, const struct talk *whole, const char *what)
{
	const struct record *a = talk->answers, *b = whole->answers;
	uint64_t requests;

	run(talk, &requests);
	if (a->len != b->len || memcmp(a->bytes, b->bytes, b->len) != 0) {
		size_t at = 0;

		while (at < a->len && at < b->len && a->bytes[at] == b->bytes[at])
			at++;
		fuzz_fail("%s, answers differ from byte %zu on: %s instead of %s", what, at,
		          fuzz_text(a->bytes + at, a->len - at), fuzz_text(b->bytes + at, b->len - at));
	}
	/* Whose end comes first says nothing when the client's is there all the time. */
	fuzz_require(talk->ending == IS_CUT || talk->closed == whole->closed,
	             "%s, the connection is %sclosed by the server", what, talk->closed ? "" : "not ");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct record at_once, in_pieces;
	struct fuzz_pieces pieces;
	struct talk whole, talk;
	uint64_t requests;

	if (size <= HEADER || size > SIZE_MOST)
		return 0;
	pieces = fuzz_pieces(data);
	whole = talk_of(data, size, FUZZ_WHOLE, 0, &at_once);
	run(&whole, &requests);
	check(&whole, requests);
	talk = talk_of(data, size, FUZZ_BYTEWISE, 0, &in_pieces);
	compare(&talk, &whole, "with a byte at a time");
	talk = talk_of(data, size, pieces, 512 + 16 * pieces.size[0], &in_pieces);
	compare(&talk, &whole, "in pieces");
	return 0;
}
