/*
 * plan.c - see plan.h.
 */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From one to most; small ones as likely as large ones. */
static unsigned some(uint64_t *dice, unsigned most)
{
	unsigned bits = 31 - (unsigned)__builtin_clz(most);
	unsigned up_to = 2U << sim_below(dice, bits + 1);

	return 1 + (unsigned)sim_below(dice, up_to < most ? up_to : most);
}

static void make_weather(struct plan *plan, uint64_t *dice)
{
	struct sim_weather *weather = &plan->weather;

	*weather = sim_fair_weather;
	if (sim_chance(dice, 100))
		return;
	weather->steady = sim_chance(dice, 200);
	weather->late = sim_chance(dice, 700) ? some(dice, 400) : 0;
	weather->late_ms = some(dice, 20);
	weather->spurious = some(dice, 100);
	weather->sluggish = sim_chance(dice, 300) ? some(dice, 100) : 0;
	weather->accept_fails = sim_chance(dice, 150) ? some(dice, 300) : 0;
	weather->breaks = sim_chance(dice, 150) ? some(dice, 50) : 0;
	weather->hasty = sim_chance(dice, 500) ? some(dice, 900) : 0;
	weather->file_fails = sim_chance(dice, 150) ? some(dice, 400) : 0;
	weather->batch = some(dice, 64);
	weather->piece = some(dice, IO_RECV_MAX);
	weather->step = 16 * some(dice, 8000);
	weather->window = 64 * some(dice, 1024);
	weather->buffer = 256 * some(dice, 256);
}

static void make_timeouts(struct timeouts *timeouts, struct limits *limits, uint64_t *dice)
{
	*timeouts = (struct timeouts){
		.keepalive = 200 + 50 * some(dice, 200),
		.header = 200 + 50 * some(dice, 200),
		.send = 1000 + 100 * some(dice, 200),
		.grace = 100 * some(dice, 100),
	};
	limits->send_rate = sim_chance(dice, 800) ? 100 : 0;
	limits->recv_rate = 0;
	if (sim_chance(dice, 250)) {
		limits->recv_rate = some(dice, 2000);
		timeouts->recv_window = 100 * some(dice, 50);
	}
	limits->requests = sim_chance(dice, 300) ? some(dice, 8) : 0;
}

static void make_client(struct plan_client *client, uint64_t *dice, const struct plan *plan, uint64_t spread)
{
	bool many = sim_chance(dice, 40);
	uint64_t own;

	*client = (struct plan_client){
		.connect_at = sim_below(dice, spread),
		.talk_seed = sim_random(dice),
		.play_seed = sim_random(dice),
		.end = sim_chance(dice, 450)   ? END_OPEN
		       : sim_chance(dice, 700) ? END_CLOSE
		                               : END_HALF,
		.requests = 1 + (unsigned)sim_below(dice, many ? TALK_MAX - 1 : 5),
		.large = sim_chance(dice, 100),
		.tail = (enum plan_tail)sim_below(dice, PLAN_TAILS),
		.address = (unsigned)sim_below(dice, PLAN_ADDRESSES),
		.header = (unsigned)sim_below(dice, TALK_HEADERS),
		.stranger = sim_chance(dice, 50),
		.depth = sim_chance(dice, 500) ? 1 : 1 + (unsigned)sim_below(dice, 40),
		.write_most = 1 + (unsigned)sim_below(dice, sim_chance(dice, 250) ? 40 : 4000),
		.write_gap = sim_chance(dice, 300) ? (unsigned)sim_below(dice, 40) : 0,
		.read_most = 64 + (unsigned)sim_below(dice, 8000),
		.read_gap = sim_chance(dice, 300) ? 1 + (unsigned)sim_below(dice, 50) : 0,
		.buffer = sim_chance(dice, 250) ? 64 + (unsigned)sim_below(dice, 2000) : 0,
		.leave_after = 1 + (unsigned)sim_below(dice, sim_chance(dice, 500) ? 20 : 1000),
		.stuck_after = (unsigned)sim_below(dice, sim_chance(dice, 500) ? 1000 : 50000),
		.stuck_for = sim_chance(dice, 500) ? 1000000 : 100 * some(dice, 200),
		.deaf_for = sim_chance(dice, 100) ? some(dice, 8000) : 0,
	};
	own = client->play_seed;
	if (client->tail == TAIL_WAIT && sim_chance(dice, 200))
		client->requests = 0; /* connects, and has nothing to say at all */
	if (client->tail == TAIL_STUCK)
		client->large = true;
	if (sim_chance(dice, 40)) { /* one who would hold the server up for ever */
		client->write_most = 1 + (unsigned)sim_below(dice, 8);
		client->write_gap = some(dice, 2 * plan->settings.timeouts.header / 10);
		client->requests = 1 + (unsigned)sim_below(dice, 2);
		client->large = false;
	}
	/* And one who takes some bytes a second; by dice of its own, so that old seeds stay as they were in all else. */
	if (sim_chance(&own, 15)) {
		client->read_most = 1 + (unsigned)sim_below(&own, 60);
		client->read_gap = 500 + (unsigned)sim_below(&own, 1500);
		client->slow_until = 500 +
		                     (unsigned)sim_below(&own, 3000); /* or a large file would take it for hours */
		client->buffer = 64 + (unsigned)sim_below(&own, 1000);
		client->requests = 1 + (unsigned)sim_below(&own, 4);
	}
}

static void make_event(struct plan_event *event, uint64_t *dice, const struct plan *plan, uint64_t spread)
{
	unsigned kind = (unsigned)sim_below(dice, 100);

	*event = (struct plan_event){ .at = sim_below(dice, spread + 500), .kind = EVENT_PUBLISH };
	if (kind < 55) {
		event->value = 1 + (int64_t)sim_below(dice, MODEL_VERSIONS);
		event->between = sim_chance(dice, 500);
	} else if (kind < 63) {
		event->kind = EVENT_COMMAND;
		event->value = sim_chance(dice, 250)   ? WORKER_ABORT
		               : sim_chance(dice, 500) ? WORKER_YIELD
		                                       : WORKER_DRAIN;
	} else if (kind < 71) {
		event->kind = EVENT_SETTINGS;
		event->settings = plan->settings;
		make_timeouts(&event->settings.timeouts, &event->settings.limits, dice);
		event->settings.say_snapshot = sim_chance(dice, 500);
	} else if (kind < 79) {
		event->kind = EVENT_JUMP;
		event->value = some(dice, 40000);
	} else if (kind < 87) {
		event->kind = EVENT_WALL;
		event->value = sim_chance(dice, 300) ? -(int64_t)300000000 : (int64_t)sim_below(dice, 20000) - 10000;
	} else if (kind < 95) {
		event->kind = EVENT_STARVE;
		event->value = some(dice, 3000);
	} else {
		event->kind = EVENT_EXHAUST;
		event->value = some(dice, 2000);
	}
}

static int earlier_client(const void *a, const void *b)
{
	const struct plan_client *one = a, *other = b;

	return one->connect_at < other->connect_at ? -1 : one->connect_at > other->connect_at;
}

static int earlier_event(const void *a, const void *b)
{
	const struct plan_event *one = a, *other = b;

	return one->at < other->at ? -1 : one->at > other->at;
}

/*
 * Every so often, a crowd that asks in long pipelines for what is new, old, and too large to be copied, while versions that
 * have the one and do not have the other take turns in the middle of the loop's turns.
 */
static void make_skewed(struct plan *plan)
{
	uint64_t dice = plan->dice, spread = 20 + some(&dice, 100);

	plan->proxy = false;
	plan->per_address = 0;
	plan->clients = PLAN_CLIENTS;
	plan->conns = PLAN_CLIENTS;
	for (unsigned i = 0; i < plan->clients; i++) {
		make_client(&plan->client[i], &dice, plan, spread);
		plan->client[i].skewed = true;
		plan->client[i].requests = 3 + (unsigned)sim_below(&dice, 12);
		plan->client[i].depth = TALK_MAX;
		plan->client[i].write_most = 1 << 20;
		plan->client[i].write_gap = 0;
	}
	qsort(plan->client, plan->clients, sizeof(plan->client[0]), earlier_client);
	plan->events = PLAN_EVENTS;
	for (unsigned i = 0; i < plan->events; i++)
		plan->event[i] = (struct plan_event){ .at = spread * (i + 1) / (PLAN_EVENTS + 1),
			                              .kind = EVENT_PUBLISH,
			                              .between = true,
			                              .value = i % 2 ? 1 + (int64_t)sim_below(&dice, 2)
			                                             : 3 + (int64_t)sim_below(&dice, 4) };
}

void plan_make(struct plan *plan, uint64_t seed)
{
	uint64_t dice = seed * UINT64_C(0xd1342543de82ef95) + 1, spread;

	memset(plan, 0, sizeof(*plan));
	plan->seed = seed;
	plan->sim_seed = sim_random(&dice);
	plan->dice = sim_random(&dice);
	make_weather(plan, &dice);
	plan->settings.limits = (struct limits){
		.request_line = 200 + (uint32_t)sim_below(&dice, 1000),
		.head = 1500 + (uint32_t)sim_below(&dice, 1500),
		.fields = 32,
		.body = 200 + sim_below(&dice, 3000),
	};
	make_timeouts(&plan->settings.timeouts, &plan->settings.limits, &dice);
	plan->settings.say_snapshot = sim_chance(&dice, 300);
	plan->when_full = (enum when_full)sim_below(&dice, 3);
	plan->log = sim_chance(&dice, 300);
	plan->proxy = sim_chance(&dice, 80);
	plan->clients = sim_chance(&dice, 600) ? 8 + (unsigned)sim_below(&dice, PLAN_CLIENTS - 7)
	                                       : some(&dice, PLAN_CLIENTS);
	plan->conns = sim_chance(&dice, 600) ? plan->clients : some(&dice, plan->clients);
	plan->per_address = sim_chance(&dice, 150) ? some(&dice, 6) : 0;
	spread = 20 + some(&dice, 6000);
	for (unsigned i = 0; i < plan->clients; i++)
		make_client(&plan->client[i], &dice, plan, spread);
	qsort(plan->client, plan->clients, sizeof(plan->client[0]), earlier_client);
	plan->events = sim_chance(&dice, 100) ? 0 : (unsigned)sim_below(&dice, PLAN_EVENTS - 2);
	for (unsigned i = 0, n = plan->events; i < n; i++) {
		make_event(&plan->event[i], &dice, plan, spread);
		if (plan->event[i].kind == EVENT_EXHAUST && plan->events < PLAN_EVENTS) {
			plan->event[plan->events] = plan->event[i];
			plan->event[plan->events].kind = EVENT_RECOVER;
			plan->event[plan->events++].at += (uint64_t)plan->event[i].value;
		} else if (plan->event[i].kind == EVENT_EXHAUST) {
			plan->event[i].gone = true;
		}
	}
	qsort(plan->event, plan->events, sizeof(plan->event[0]), earlier_event);
	if (seed % 32 == 5)
		make_skewed(plan);
}

void plan_talk(const struct plan *plan, unsigned number, struct talk *talk)
{
	const struct limits *limits = &plan->settings.limits;
	const struct talk_limits known = { limits->request_line, limits->head, limits->fields, limits->body };
	const struct plan_client *client = &plan->client[number];
	uint64_t dice = client->talk_seed;

	talk_make(talk, &dice, &known, client->end, client->requests, client->large,
	          plan->proxy ? &talk_headers[client->header] : NULL, plan->dice, client->skewed);
}

static bool calm_down(struct sim_weather *weather, unsigned knob)
{
	const struct sim_weather *fair = &sim_fair_weather;

	switch (knob) {
	case 0:
		weather->late = 0;
		return true;
	case 1:
		weather->spurious = 0;
		return true;
	case 2:
		weather->sluggish = 0;
		return true;
	case 3:
		weather->accept_fails = 0;
		return true;
	case 4:
		weather->breaks = 0;
		return true;
	case 5:
		weather->file_fails = 0;
		return true;
	case 6:
		weather->batch = fair->batch;
		return true;
	case 7:
		weather->piece = fair->piece;
		weather->window = fair->window;
		return true;
	case 8:
		weather->step = fair->step;
		weather->buffer = fair->buffer;
		return true;
	case 9:
		weather->steady = true;
		return true;
	case 10:
		weather->hasty = 0;
		return true;
	}
	return false;
}

static void play_plainly(struct plan_client *client)
{
	client->write_most = 1 << 20;
	client->write_gap = client->read_gap = 0;
	client->buffer = 0;
	client->deaf_for = 0;
}

static bool leave_out(struct plan *plan, char kind, unsigned i)
{
	switch (kind) {
	case 'c':
	case 'p':
		if (i >= plan->clients)
			return false;
		if (kind == 'c')
			plan->client[i].gone = true;
		else
			play_plainly(&plan->client[i]);
		return true;
	case 'e':
		if (i >= plan->events)
			return false;
		plan->event[i].gone = true;
		return true;
	case 'w':
		return calm_down(&plan->weather, i);
	}
	return false;
}

/* One part, or several with following numbers. */
static bool cut_part(struct plan *plan, const char *part)
{
	unsigned first, last;
	char kind;
	int end = 0;

	if (sscanf(part, "r%u:%u%n", &first, &last, &end) == 2 && first < plan->clients) {
		if (last < plan->client[first].requests)
			plan->client[first].requests = last;
		return part[end] == '\0';
	}
	if (sscanf(part, "%c%u-%u%n", &kind, &first, &last, &end) != 3) {
		if (sscanf(part, "%c%u%n", &kind, &first, &end) != 2)
			return false;
		last = first;
	}
	if (part[end] != '\0')
		return false;
	for (; first <= last; first++)
		if (!leave_out(plan, kind, first))
			return false;
	return true;
}

bool plan_cut(struct plan *plan, const char *cut)
{
	char part[32];

	while (*cut) {
		size_t len = strcspn(cut, ",");

		if (len == 0 || len >= sizeof(part))
			return false;
		memcpy(part, cut, len);
		part[len] = '\0';
		if (!cut_part(plan, part))
			return false;
		cut += len;
		cut += *cut == ',';
	}
	return true;
}

static void print_client(const struct plan *plan, unsigned i)
{
	static const char *const tails[PLAN_TAILS] = {
		"hangs up after the last answer", "sends its FIN behind the last request",
		"waits for the server's end",     "stops reading",
		"resets the connection",          "goes without a word"
	};
	const struct plan_client *client = &plan->client[i];
	struct talk talk = { 0 };

	plan_talk(plan, i, &talk);
	printf("%6" PRIu64 " ms  client %u connects, %u requests, up to %u unanswered, in pieces of up to %u bytes",
	       client->connect_at, i, talk.n, client->depth, client->write_most);
	if (client->write_gap)
		printf(" up to %u ms apart", client->write_gap);
	if (client->read_gap)
		printf(", reads %u bytes and rests up to %u ms", client->read_most, client->read_gap);
	if (client->slow_until)
		printf(" until it has %u", client->slow_until);
	if (plan->proxy)
		printf("; PROXY header %u%s", client->header, client->stranger ? " of a stranger" : "");
	printf("; %s", tails[client->tail]);
	if (client->tail == TAIL_RESET || client->tail == TAIL_VANISH)
		printf(" after %u ms", client->leave_after);
	if (client->tail == TAIL_STUCK)
		printf(" after %u bytes for %" PRIu64 " ms", client->stuck_after, client->stuck_for);
	printf("\n");
	for (unsigned j = 0; j < talk.n; j++) {
		const char *line = talk.bytes + talk.exchange[j].start + talk.exchange[j].blank;
		size_t len = strcspn(line, "\r\n"), most = talk.exchange[j].end - talk.exchange[j].start;

		len = len < most ? len : most;
		printf("           request %u, %zu bytes: %.*s%s\n", j, most, (int)(len < 80 ? len : 80), line,
		       len > 80 ? " ..." : "");
	}
	talk_free(&talk);
}

static void print_event(const struct plan_event *event)
{
	static const char *const kinds[PLAN_EVENT_KINDS] = {
		"version is published:",         "command (1 yield, 2 drain, 3 abort):", "other settings",
		"the machine stands still, ms:", "the real clock is set, by seconds:",   "no receive buffers, ms:",
		"no descriptors, ms:",           "descriptors again, after ms:"
	};

	printf("%6" PRIu64 " ms  %s %lld%s\n", event->at, kinds[event->kind], (long long)event->value,
	       event->between ? " (in the middle of a turn)" : "");
}

void plan_print(const struct plan *plan)
{
	const struct sim_weather *weather = &plan->weather;
	const struct timeouts *timeouts = &plan->settings.timeouts;
	const struct limits *limits = &plan->settings.limits;

	printf("weather: late %u of 1000 by up to %u ms, spurious %u, sluggish %u, accepting fails %u, is hasty %u, "
	       "the network fails %u, files %u; %u events a turn, pieces of %u, steps of %u, buffers of %u and %u%s\n",
	       weather->late, weather->late_ms, weather->spurious, weather->sluggish, weather->accept_fails,
	       weather->hasty, weather->breaks, weather->file_fails, weather->batch, weather->piece, weather->step,
	       weather->window, weather->buffer, weather->steady ? ", steady" : "");
	printf("server%s: %u connections (when full: %d), %u an address; keepalive %u ms, header %u, send %u, grace %u; "
	       "requests %u, rates %u (window %u ms) and %u\n",
	       plan->proxy ? ", proxy=on" : "", plan->conns, (int)plan->when_full, plan->per_address,
	       timeouts->keepalive, timeouts->header, timeouts->send, timeouts->grace, limits->requests,
	       limits->recv_rate, timeouts->recv_window, limits->send_rate);
	for (unsigned i = 0, j = 0; i < plan->clients || j < plan->events;) {
		if (j == plan->events || (i < plan->clients && plan->client[i].connect_at <= plan->event[j].at)) {
			if (!plan->client[i].gone)
				print_client(plan, i);
			i++;
		} else {
			if (!plan->event[j].gone)
				print_event(&plan->event[j]);
			j++;
		}
	}
}
