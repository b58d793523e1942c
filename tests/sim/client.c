/*
 * client.c - see client.h.
 */
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/conn.h"

/* How late the simulated kernel and a busy loop may make things seem, besides the wheel's coarseness. Milliseconds. */
#define SLACK_MS 1500
#define QUICK_MS 300 /* where no timer is part of it */

/*
 * Bits of client->possible, for each version: the answer itself; the same, closing the connection since the server is
 * draining; 408, since the world has kept the request from being whole in time, without content when it was seen to
 * be for HEAD; and 503, which is no answer but comes in place of the first.
 */
#define GROUP         8 /* more than there are versions */
#define AS_ASKED      (0 * GROUP)
#define CLOSING       (1 * GROUP)
#define TOO_LATE      (2 * GROUP)
#define TOO_LATE_HEAD (3 * GROUP)
#define REFUSED       (4 * GROUP)

static_assert(VERSIONS_MAX < GROUP, "a bit for each version");

/* Judging one answer needs its candidates only for a moment, and they are large. */
static struct site_answer candidate;

#define require(client, condition, ...) sim_require((client)->world->sim, condition, __VA_ARGS__)

void client_init(struct client *client, struct client_world *world, uint64_t script_seed, uint64_t play_seed,
                 enum script_tail tail, uint64_t connect_at)
{
	uint64_t dice = script_seed;

	*client = (struct client){ .world = world, .dice = play_seed, .connect_at = connect_at };
	script_make(&client->script, &dice, &world->options->limits, tail, sim_chance(&dice, 150));
	client->depth = sim_chance(&client->dice, 500) ? 1 : 1 + (unsigned)sim_below(&client->dice, 64);
	client->write_most = 1 + sim_below(&client->dice, sim_chance(&client->dice, 300) ? 10 : 4000);
	client->write_gap = sim_chance(&client->dice, 300) ? (unsigned)sim_below(&client->dice, 40) : 0;
	if (client->script.len / client->write_most * client->write_gap > 400)
		client->write_gap = 0; /* slow, but not so slow that the server tires of it */
	client->read_most = 64 + sim_below(&client->dice, 5000);
	client->read_gap = sim_chance(&client->dice, 300) ? 1 + (unsigned)sim_below(&client->dice, 50) : 0;
	client->deaf = sim_chance(&client->dice, 100);
	if (sim_chance(&client->dice, 300))
		client->buffer = 16 + sim_below(&client->dice, 1000);
	if (client->script.tail == TAIL_RESET || client->script.tail == TAIL_VANISH)
		client->end_at = connect_at + 1 + sim_below(&client->dice, sim_chance(&client->dice, 500) ? 20 : 1000);
	if (client->script.tail == TAIL_STUCK)
		client->stuck_after = sim_below(&client->dice, 100000);
}

void client_fini(struct client *client)
{
	script_free(&client->script);
	free(client->record);
}

/* Never finished by the client: 408. */
static bool is_half(const struct exchange *exchange)
{
	return exchange->question.is_error && exchange->question.which == ERROR_408;
}

static struct exchange *client_waits_for(struct client *client)
{
	return client->answered < client->script.n ? &client->script.exchange[client->answered] : NULL;
}

static void client_done(struct client *client)
{
	client->phase = CLIENT_DONE;
	client->stream = NULL;
}

/* Notes which requests have begun or are whole with the bytes up to client->written. */
static void client_note_written(struct client *client, uint64_t now)
{
	for (unsigned i = client->answered; i < client->script.n; i++) {
		struct exchange *exchange = &client->script.exchange[i];

		if (client->written <= exchange->start + exchange->blank)
			return;
		if (!exchange->begun) {
			exchange->begun = now;
			exchange->oldest = client->world->newest;
		}
		if (client->written >= exchange->end && !exchange->done) {
			exchange->done = now;
			if (!exchange->early)
				exchange->oldest = client->world->newest;
		}
	}
}

/* Up to where the script may be written, as long as so few answers are there. */
static size_t client_may_write(const struct client *client)
{
	unsigned last = client->answered + client->depth;

	if (client->ending)
		return client->script.tail == TAIL_CLOSES && client->write_gap == 0 ? client->script.len : 0;
	if (last >= client->script.n)
		return client->script.len;
	return client->script.exchange[last].start;
}

static uint64_t client_write(struct client *client, uint64_t now)
{
	const struct script *script = &client->script;
	size_t until = client_may_write(client), len;
	ssize_t taken;

	while (client->written < until && !client->finished) {
		if (now < client->write_at)
			return client->write_at;
		len = until - client->written;
		if (len > client->write_most)
			len = 1 + sim_below(&client->dice, client->write_most);
		taken = sim_write(client->stream, script->bytes + client->written, len);
		if (taken == 0)
			return SIM_NEVER; /* until the server has read */
		if (taken < 0)
			return SIM_NEVER; /* reading tells why */
		client->written += (size_t)taken;
		client->wrote_at = now;
		client_note_written(client, now);
		if (client->write_gap > 0)
			client->write_at = now + sim_below(&client->dice, client->write_gap + 1);
	}
	if ((script->tail == TAIL_FINISH || script->tail == TAIL_HALF_FINISH) && client->written == script->len &&
	    !client->finished) {
		sim_finish(client->stream);
		client->finished = true;
	}
	return SIM_NEVER;
}

static void client_ask(const struct client *client, const struct exchange *exchange, unsigned bit,
                       struct site_answer *answer)
{
	struct site_question question;

	if (bit >= TOO_LATE)
		question = (struct site_question){
			.is_error = true,
			.which = bit >= REFUSED ? ERROR_503 : ERROR_408,
			.head = bit >= TOO_LATE_HEAD && bit < REFUSED,
		};
	else
		question = exchange->question;
	if (bit >= CLOSING)
		question.connection = "close";
	question.identify = client->world->options->snapshot_header;
	site_answer(client->world->reference[bit % GROUP], &question, answer);
}

/* Whether bytes are those of the body from there on. */
static bool is_body(const struct site_answer *answer, uint64_t from, const char *bytes, size_t len)
{
	for (unsigned i = 0; len > 0; i++) {
		const struct site_piece *piece = &answer->piece[i];
		size_t n;

		if (from >= piece->len) {
			from -= piece->len;
			continue;
		}
		n = len < piece->len - from ? len : piece->len - from;
		if (piece->bytes && memcmp(bytes, piece->bytes + from, n) != 0)
			return false;
		for (size_t j = 0; !piece->bytes && j < n; j++)
			if (bytes[j] != 0)
				return false;
		bytes += n;
		len -= n;
		from = 0;
	}
	return true;
}

/* Whether bytes may be what comes next of the answer; dates are any. */
static size_t client_matches(const struct client *client, const struct site_answer *answer, const char *bytes,
                             size_t len)
{
	size_t whole = answer->head_len + answer->body_len, n = len < whole - client->at ? len : whole - client->at;

	for (size_t i = 0; i < n;) {
		size_t at = client->at + i, run;

		if (at >= answer->head_len) {
			run = n - i;
			if (!is_body(answer, at - answer->head_len, bytes + i, run))
				return 0;
		} else if (at >= answer->date_at && at < answer->date_at + HTTP_DATE_LEN) {
			run = answer->date_at + HTTP_DATE_LEN - at;
		} else {
			run = (at < answer->date_at ? answer->date_at : answer->head_len) - at;
			if (run > n - i)
				run = n - i;
			if (memcmp(bytes + i, answer->head + at, run) != 0)
				return 0;
		}
		i += run < n - i ? run : n - i;
	}
	return n;
}

/* Takes bytes that are right: keeps the date apart, and what the test wants to compare. */
static void client_take(struct client *client, const struct site_answer *answer, const char *bytes, size_t len)
{
	if (client->record) {
		client->record = realloc(client->record, client->received + len);
		assert(client->record);
		memcpy(client->record + client->received, bytes, len);
	}
	for (size_t i = 0; i < len && client->at + i < answer->date_at + HTTP_DATE_LEN; i++) {
		if (client->at + i < answer->date_at)
			continue;
		client->date[client->at + i - answer->date_at] = bytes[i];
		if (client->record)
			client->record[client->received + i] = '_';
	}
	client->at += len;
	client->received += len;
}

/* When a request that is not whole may get 408, at the earliest, and must have got it at the latest. */
static uint64_t earliest_408(const struct client_world *world)
{
	const struct timeouts *timeouts = &world->options->timeouts;

	return world->options->limits.recv_rate && timeouts->recv_window < timeouts->header ? timeouts->recv_window
	                                                                                    : timeouts->header;
}

static uint64_t latest_408(const struct client_world *world)
{
	const struct timeouts *timeouts = &world->options->timeouts;
	uint64_t rate = world->options->limits.recv_rate;

	/* What has come is enough for the first window, perhaps, and nothing for the next. */
	if (rate * timeouts->recv_window >= 1000 && 2 * timeouts->recv_window < timeouts->header)
		return 2 * timeouts->recv_window;
	return timeouts->header;
}

/* The first byte of an answer is here: what it may be. exchange NULL: nothing more was asked. */
static void client_answer_begins(struct client *client, const struct exchange *exchange, uint64_t now)
{
	const struct client_world *world = client->world;
	unsigned oldest = exchange && exchange->oldest > client->seen ? exchange->oldest : client->seen;
	bool asked = exchange && exchange->begun;
	bool late = asked && now >= exchange->begun + earliest_408(world);
	bool half = asked && is_half(exchange);
	bool told_to_close = asked && world->drained && exchange->begun > world->drained && !exchange->closes;
	bool refused = client->answered == 0 && world->refuses;

	require(client, asked || refused, "client: an answer to request %u, which is not sent yet", client->answered);
	client->began_at = now;
	client->possible = 0;
	for (unsigned version = client->seen; refused && version <= world->newest; version++)
		client->possible |= UINT64_C(1) << (REFUSED + version);
	if (!asked)
		return;
	for (unsigned version = oldest; version <= world->newest; version++) {
		if (half ? late : (exchange->done || exchange->early) && !told_to_close)
			client->possible |= UINT64_C(1) << (AS_ASKED + version);
		if (world->drained && !exchange->closes)
			client->possible |= UINT64_C(1) << (CLOSING + version);
		if (late && !half)
			client->possible |= UINT64_C(1) << (TOO_LATE + version);
		if (late && !half && exchange->question.head)
			client->possible |= UINT64_C(1) << (TOO_LATE_HEAD + version);
	}
}

static void client_answer_ends(struct client *client, struct exchange *exchange, unsigned bit, uint64_t now)
{
	const struct client_world *world = client->world;
	uint64_t asked_at = bit >= REFUSED ? client->connect_at : exchange->begun;
	time_t date = 0;
	bool is_date = http_date_parse(client->date, HTTP_DATE_LEN, world->epoch, &date);

	sim_trace(world->sim, "an answer is whole: request %u, version %u%s", client->answered, bit % GROUP,
	          bit >= REFUSED    ? ", refused"
	          : bit >= TOO_LATE ? ", too late"
	          : bit >= CLOSING  ? ", closing"
	                            : "");
	require(client,
	        is_date && date >= world->epoch + (time_t)(asked_at / 1000) &&
	                date <= world->epoch + (time_t)(now / 1000),
	        "Date is %.*s", HTTP_DATE_LEN, client->date);
	client->at = 0;
	client->answered_at = now;
	client->seen = bit % GROUP;
	if (bit >= REFUSED) {
		client->ending = true;
		client->refused = true;
		return;
	}
	client->too_slow |= (is_half(exchange) || bit >= TOO_LATE) &&
	                    now < exchange->begun + world->options->timeouts.header;
	if (is_half(exchange)) {
		uint64_t latest = latest_408(world);
		uint64_t since = exchange->begun > client->answered_at ? exchange->begun : client->answered_at;

		require(client, !world->prompt || now <= since + latest + SLACK_MS, "408 too late, by %llu ms",
		        (unsigned long long)(now - since - latest - SLACK_MS));
	}
	client->hits += bit < TOO_LATE && !exchange->question.is_error;
	client->ending = exchange->closes || bit >= CLOSING;
	client->answered++;
}

_Noreturn static void client_wrong(struct client *client, const struct exchange *exchange, const char *bytes,
                                   size_t len)
{
	if (exchange)
		fprintf(stderr, "request %u: %.*s\n", client->answered, (int)(exchange->end - exchange->start),
		        client->script.bytes + exchange->start);
	if (client->possible) {
		client_ask(client, exchange, (unsigned)__builtin_ctzll(client->possible), &candidate);
		fprintf(stderr, "answer, from byte %zu of %zu + %zu; a right one begins: %.*s\n", client->at,
		        candidate.head_len, (size_t)candidate.body_len, (int)candidate.head_len, candidate.head);
	}
	fprintf(stderr, "came: %.*s\n", (int)(len < 1000 ? len : 1000), bytes);
	sim_fail(client->world->sim, "client: a wrong answer");
}

/* Bytes have come: they must be the next of some right answer. */
static void client_judge(struct client *client, const char *bytes, size_t len, uint64_t now)
{
	while (len > 0) {
		struct exchange *exchange = client_waits_for(client);
		uint64_t left = 0;
		size_t used;
		unsigned first;

		require(client, (exchange || client->world->refuses) && !client->ending,
		        "client: %zu bytes that nobody has asked for", len);
		if (client->at == 0)
			client_answer_begins(client, exchange, now);
		for (uint64_t bits = client->possible; bits; bits &= bits - 1) {
			size_t matching;

			client_ask(client, exchange, (unsigned)__builtin_ctzll(bits), &candidate);
			matching = client_matches(client, &candidate, bytes, len);
			if (matching > 0)
				left |= bits & -bits;
		}
		if (!left)
			client_wrong(client, exchange, bytes, len);

		/* Those that are left agree until here; answers that differ do so in their heads, or in having no content. */
		first = (unsigned)__builtin_ctzll(left);
		client_ask(client, exchange, first, &candidate);
		used = client_matches(client, &candidate, bytes, len);
		client->possible = left;
		client_take(client, &candidate, bytes, used);
		bytes += used;
		len -= used;
		if (client->at == candidate.head_len + candidate.body_len)
			client_answer_ends(client, exchange, first, now);
	}
}

/* A 408 without content ends with its head; that it has none shows only now. */
static void client_ends_with_a_head(struct client *client, uint64_t now)
{
	uint64_t bits = client->possible >> TOO_LATE_HEAD << TOO_LATE_HEAD & ~(UINT64_MAX << REFUSED);
	unsigned bit;

	if (client->at == 0 || !bits)
		return;
	bit = (unsigned)__builtin_ctzll(bits);
	client_ask(client, client_waits_for(client), bit, &candidate);
	if (client->at == candidate.head_len)
		client_answer_ends(client, client_waits_for(client), bit, now);
}

/* Whether it has not taken an answer at the least rate, or nearly: in bad weather it may come in drops. */
static bool client_is_too_slow(const struct client *client, uint64_t now)
{
	uint64_t time = now - client->began_at;

	return time + QUICK_MS >= client->world->options->timeouts.send &&
	       client->at * 1000 < time * 2 * client->world->options->limits.send_rate;
}

/* For how long an idle connection may still ask when draining has begun. */
static uint64_t client_patience(const struct client_world *world)
{
	return world->yielding && world->prompt ? CONN_DRAIN_NEXT_MS : 0;
}

/* Whether the server may have ended the connection where the answers stand. */
static bool client_may_end(const struct client *client, int err, uint64_t now)
{
	const struct client_world *world = client->world;
	const struct timeouts *timeouts = &world->options->timeouts;
	const struct script *script = &client->script;
	const struct exchange *next = client->answered < script->n ? &script->exchange[client->answered] : NULL;
	uint64_t idle_since, idle = timeouts->keepalive;

	if (world->aborted || (world->drained && now >= world->drained + timeouts->grace))
		return true;
	if (!sim_was_opened(client->stream))
		return world->crowded || (world->drained && (!world->prompt || client->connect_at >= world->drained));
	if (sim_file_failed(
		    client->stream)) /* never where an answer ends, unless a reset has taken away what was left */
		return err || (client->at > 0 && next && site_streams(&next->question));
	if (client->at > 0) /* in the middle of an answer */
		return client->stuck_at || client_is_too_slow(client, now);
	if (client->ending || client->stuck_at)
		return true;

	/* Between two answers, as the client sees it. */
	idle_since = client->answered > 0 ? script->exchange[client->answered - 1].done : client->connect_at;
	if (client->answered == 0)
		idle = timeouts->header;
	if (next && next->begun) {
		if (client->finished && !next->done)
			return true; /* half a request, and no more to come */
		if (client->finished && is_half(next))
			return true;
		if (world->drained &&
		    (next->begun > client->answered_at ? next->begun : client->answered_at) + SLACK_MS >=
		            world->drained)
			return true; /* it was idle when the request set out, or had not come to it yet */
		return next->begun + QUICK_MS >= idle_since + idle;
	}
	if (client->finished || (world->drained && now + QUICK_MS >= world->drained + client_patience(world)))
		return true;
	return now >= idle_since + idle;
}

/* The server's FIN, or its reset. */
static void client_ended(struct client *client, int err, uint64_t now)
{
	const struct timeouts *timeouts = &client->world->options->timeouts;
	uint64_t since = client->wrote_at > client->answered_at ? client->wrote_at : client->answered_at;

	client_ends_with_a_head(client, now);
	require(client, client_may_end(client, err, now),
	        "client: the connection ends (%s) with %u of %u answers and %zu bytes", err ? strerror(-err) : "FIN",
	        client->answered, client->script.n, client->at);
	if (client->script.tail == TAIL_IDLE && !client->world->drained && client->world->prompt &&
	    client->answered == client->script.n) {
		uint64_t most = client->script.n > 0 ? timeouts->keepalive : timeouts->header;

		require(client, now <= since + most + SLACK_MS, "an idle connection was kept for %llu ms too long",
		        (unsigned long long)(now - since - most - SLACK_MS));
	}
	/* Idle since before the drain, as everyone could see: closed at once. */
	if (client->world->drained && client->world->prompt && client->answered > 0 && !client->ending &&
	    !client->finished && client->answered == client->script.n &&
	    client->answered_at + QUICK_MS < client->world->drained)
		require(client, now <= client->world->drained + client_patience(client->world) + QUICK_MS,
		        "draining leaves an idle connection for %llu ms",
		        (unsigned long long)(now - client->world->drained));
	client->phase = CLIENT_LINGERING;
	client->ended_at = now;
	if (!client->deaf) {
		sim_hang_up(client->stream);
		client_done(client);
	}
}

/* Stays on the line, and goes on talking, until the server hangs up in earnest. */
static uint64_t client_linger(struct client *client, uint64_t now)
{
	require(client, now <= client->ended_at + CONN_LINGER_MS + SLACK_MS, "lingering takes %llu ms",
	        (unsigned long long)(now - client->ended_at));
	if (sim_is_over(client->stream)) {
		sim_hang_up(client->stream);
		client_done(client);
		return SIM_NEVER;
	}
	if (now >= client->write_at) {
		if (sim_chance(&client->dice, 300))
			sim_write(client->stream, "and another thing\r\n\r\n", 21);
		client->write_at = now + 1 + sim_below(&client->dice, 500);
	}
	return client->write_at;
}

/* Reads no more, until the server has given up. */
static bool client_is_stuck(struct client *client, uint64_t now)
{
	const struct client_world *world = client->world;
	uint64_t most = 2 * world->options->timeouts.send + world->options->timeouts.keepalive + SLACK_MS, since;

	if (client->script.tail != TAIL_STUCK || client->received < client->stuck_after || sim_is_over(client->stream))
		return false;
	if (!client->stuck_at)
		client->stuck_at = now;
	/* Small answers go on finding room for a while, as long as it asks for them. */
	since = client->wrote_at > client->stuck_at ? client->wrote_at : client->stuck_at;
	require(client, !world->prompt || now <= since + most, "a client that does not read was kept for %llu ms",
	        (unsigned long long)(now - since));
	return true;
}

static uint64_t client_read(struct client *client, uint64_t now)
{
	char bytes[4096];
	ssize_t n;

	for (;;) {
		if (client_is_stuck(client, now))
			return SIM_NEVER;
		if (now < client->read_at)
			return client->read_at;
		n = sim_read(client->stream, bytes, 1 + sim_below(&client->dice, sizeof(bytes)));
		if (n == -EAGAIN)
			return SIM_NEVER;
		if (n <= 0) {
			client_ended(client, (int)n, now);
			return SIM_NEVER;
		}
		client_judge(client, bytes, (size_t)n, now);
		client->quantum += (size_t)n;
		if (client->read_gap > 0 && client->quantum >= client->read_most) {
			client->quantum = 0;
			client->read_at = now + 1 + sim_below(&client->dice, client->read_gap);
		}
	}
}

/* Whether the client itself ends it now. */
static bool client_leaves(struct client *client, uint64_t now)
{
	if (client->end_at && now >= client->end_at) {
		if (client->script.tail == TAIL_RESET)
			sim_reset(client->stream);
		else
			sim_hang_up(client->stream);
		client_done(client);
		return true;
	}
	if (client->script.tail == TAIL_HANG_UP && client->answered == client->script.n) {
		sim_hang_up(client->stream);
		client_done(client);
		return true;
	}
	if (client->ending && !client->deaf && client->written >= client_may_write(client) && !client->finished) {
		sim_finish(client->stream); /* what a well-behaved client does when it was told to close */
		client->finished = true;
	}
	return false;
}

uint64_t client_act(struct client *client)
{
	uint64_t now = sim_now(client->world->sim), write_next, read_next, next;

	if (client->phase == CLIENT_DONE)
		return SIM_NEVER;
	if (client->phase == CLIENT_LINGERING)
		return client_linger(client, now);
	if (client->phase == CLIENT_WAITING) {
		if (now < client->connect_at)
			return client->connect_at;
		client->connect_at = client->wrote_at = now;
		client->seen = 1;
		client->stream = sim_connect(client->world->sim, client->world->listening, client->buffer);
		if (!client->stream) {
			require(client, client->world->drained, "a connection was refused");
			client_done(client);
			return SIM_NEVER;
		}
		client->phase = CLIENT_TALKING;
	}

	/* Reading makes room for writing, and writing is what there is to leave after. */
	read_next = client_read(client, now);
	if (client->phase != CLIENT_TALKING)
		return client_act(client);
	write_next = client_write(client, now);
	if (client_leaves(client, now))
		return SIM_NEVER;
	next = read_next < write_next ? read_next : write_next;
	return client->end_at && client->end_at < next ? client->end_at : next;
}
