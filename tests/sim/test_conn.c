/*
 * test_conn.c - the connection state machine and the worker's loop, run over the simulated backend: many clients at
 * once, in every kind of weather, seed after seed. It runs src/conn.c and src/worker.c as they are; only the kernel, the
 * clock and the clients are made up.
 *
 * What is proved for every seed: each answer comes whole and in order, of one version of the site, no older than what was
 * published before it was asked for; connections end when and only when they may; the access log has each answer once, and
 * says how much of it left; the backend's contract is kept
 * (sim.h); what a file that changes has begun is never ended; and when all is over no connection, buffer, timer, pin,
 * snapshot or descriptor is left.
 *
 * And for every tenth, that answers do not depend on how bytes were split: the same script gives the same bytes in
 * calm weather and in storms.
 *
 * test_conn [--seed N | --seeds FROM:TO] [--trace]. A seed that fails is printed, and replays.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "loom/worker.h"

#define CLIENTS_MAX 100
#define LOG_SIZE    (128 * 1024) /* of the ring; small, so that it is full at times */
#define SEEDS       3000

/* Simulated time after which a run must have come to its end, and real seconds. */
#define RUN_MS_MAX  (60 * 60 * 1000) /* a hundred clients that get stuck, one after another */
#define RUN_SECONDS 60

struct run {
	struct sim *sim;
	struct worker *worker;
	struct options options;
	struct snapshot_inbox inbox;
	struct client_world world;
	struct client clients[CLIENTS_MAX];
	unsigned n;
	uint64_t dice;
	uint64_t start;
	struct snapshot *published[VERSIONS_MAX + 1];
	uint64_t publish_at[VERSIONS_MAX + 1];
	uint64_t command_at; /* 0: when all clients have left */
	uint64_t duck_at;    /* before it: WORKER_LAME_DUCK; 0: never, or it was */
	enum worker_command command;
	uint64_t hits;           /* of versions that are freed */
	struct conn_stats stats; /* at the end */
	struct access_bell bell;
	struct access_ring ring;
	struct logged {
		uint64_t answers[6];  /* as in conn_stats */
		uint64_t least, most; /* bytes that have left, heads included */
	} logged;
	unsigned turns;
	uint64_t quiet_since; /* the last client has left, the last version is published */
	char *record;         /* of the first client, taken over at the end */
	size_t record_len;
};

static unsigned long long seed_now;
static struct sim *sim_now_running;
static struct snapshot *references[VERSIONS_MAX + 1];
static unsigned refused, too_slow; /* clients of all runs that were told 503; requests that were ended by their rate */

/* The worker closes listening and surplus descriptors itself: those of the simulation come here. */
int close(int fd)
{
	if (sim_now_running && sim_close(sim_now_running, fd))
		return 0;
	return (int)syscall(SYS_close, fd);
}

static void died(int signal_number)
{
	char line[160];
	int len = snprintf(line, sizeof(line),
	                   "test_conn: seed %llu failed (%s); replay: test_conn --seed %llu --trace\n", seed_now,
	                   signal_number == SIGALRM ? "it does not end" : strsignal(signal_number), seed_now);

	if (write(STDERR_FILENO, line, (size_t)len) < 0)
		_exit(2);
	_exit(1);
}

/* AddressSanitizer, where there is one, reports bad accesses itself, and calls __asan_on_error(). */
void __asan_init(void) __attribute__((weak));
void __asan_on_error(void);
void __asan_on_error(void)
{
	fprintf(stderr, "test_conn: seed %llu failed; replay: test_conn --seed %llu --trace\n", seed_now, seed_now);
}

static void run_clock(void *context, uint64_t *monotonic_ms, time_t *real)
{
	const struct run *run = context;

	*monotonic_ms = sim_now(run->sim);
	*real = run->world.epoch + (time_t)(*monotonic_ms / 1000);
}

/* The reloader's part. */
static uint64_t run_publish(struct run *run, uint64_t now)
{
	uint64_t next = SIM_NEVER;

	for (unsigned version = 1; version <= VERSIONS_MAX; version++) {
		if (run->published[version] && snapshot_unused(run->published[version])) {
			run->hits += site_hits(run->published[version]);
			site_free(run->published[version]);
			run->published[version] = NULL;
		}
		if (run->publish_at[version] == 0)
			continue;
		if (run->publish_at[version] > now) {
			next = next < run->publish_at[version] ? next : run->publish_at[version];
			continue;
		}
		run->publish_at[version] = 0;
		run->published[version] = site_build(version);
		sim_trace(run->sim, "version %u is published", version);
		snapshot_publish(run->published[version], &run->inbox, 1);
		run->world.newest = version;
	}
	return next;
}

static uint64_t run_operate(struct run *run, uint64_t now)
{
	if (run->duck_at > 0 && now < run->duck_at)
		return run->duck_at;
	if (run->duck_at > 0) {
		sim_trace(run->sim, "lame duck");
		run->duck_at = 0;
		run->world.yielding = true;
		worker_command(run->worker, WORKER_LAME_DUCK);
	}
	if (run->command_at == 0)
		return SIM_NEVER;
	if (now < run->command_at)
		return run->command_at;
	sim_trace(run->sim, run->command == WORKER_DRAIN ? "drain" : run->command == WORKER_YIELD ? "yield" : "abort");
	run->world.drained = now;
	run->world.yielding |= run->command == WORKER_YIELD;
	if (run->command == WORKER_ABORT)
		run->world.aborted = now;
	run->command_at = 0;
	worker_command(run->worker, run->command);
	return SIM_NEVER;
}

/* Everything outside of the server. */
static uint64_t run_outside(void *context)
{
	struct run *run = context;
	uint64_t now = sim_now(run->sim), next, at;
	unsigned first = (unsigned)sim_below(&run->dice, run->n), left = 0;

	sim_require(run->sim, now < run->start + RUN_MS_MAX, "the run does not end");
	if (sim_chance(&run->dice, 5))
		io_wake(worker_context(run->worker)->io);
	next = run_publish(run, now);
	at = run_operate(run, now);
	next = at < next ? at : next;
	for (unsigned i = 0; i < run->n; i++) {
		struct client *client = &run->clients[(first + i) % run->n];

		at = client_act(client);
		next = at < next ? at : next;
		left += client->phase != CLIENT_DONE;
	}
	for (unsigned version = 1; version <= VERSIONS_MAX; version++)
		left += run->publish_at[version] != 0;
	if (left == 0 && !run->quiet_since) {
		run->quiet_since = now;
		io_wake(worker_context(run->worker)->io); /* the loop may have nothing else to wake up for */
	}
	return next;
}

/* From one to most; small ones as likely as large ones. */
static unsigned some(struct run *run, unsigned most)
{
	unsigned bits = 31 - (unsigned)__builtin_clz(most);
	unsigned up_to = 2U << sim_below(&run->dice, bits + 1);

	return 1 + (unsigned)sim_below(&run->dice, up_to < most ? up_to : most);
}

static struct sim_weather some_weather(struct run *run)
{
	struct sim_weather weather = sim_fair_weather;

	if (sim_chance(&run->dice, 100))
		return weather;
	weather.steady = sim_chance(&run->dice, 200);
	weather.late = sim_chance(&run->dice, 700) ? some(run, 400) : 0;
	weather.late_ms = some(run, 20);
	weather.spurious = some(run, 200);
	weather.sluggish = sim_chance(&run->dice, 500) ? some(run, 200) : 0;
	weather.accept_fails = sim_chance(&run->dice, 200) ? some(run, 500) : 0;
	weather.file_fails = sim_chance(&run->dice, 200) ? some(run, 400) : 0;
	weather.batch = some(run, 64);
	weather.piece = some(run, IO_RECV_MAX);
	weather.step = some(run, 100000);
	weather.window = 16 * some(run, 4096);
	weather.buffer = 64 * some(run, 1024);
	return weather;
}

static void run_world(struct run *run, uint64_t seed, const struct sim_weather *weather, unsigned conns)
{
	struct worker_config config = {
		.ops = &io_sim_ops,
		.options = &run->options,
		.inbox = &run->inbox,
		.conns = conns,
		.listens = 1,
		.access = &run->ring,
		.clock = run_clock,
		.context = run,
	};
	char why[200];
	int err;

	run->sim = sim_now_running = sim_new(seed, weather);
	run->start = sim_now(run->sim);
	run->world.sim = run->sim;
	run->world.options = &run->options;
	run->world.epoch = 1700000000;
	run->world.listening = sim_listening(run->sim);
	memcpy(run->world.reference, references, sizeof(references));

	atomic_init(&run->inbox.next, NULL);
	run->publish_at[1] = run->start;
	run_publish(run, run->start);
	config.listen_fds = &run->world.listening;
	run->bell.fd = -1;
	err = access_ring_create(&run->ring, LOG_SIZE, &run->bell);
	assert(err == 0);
	err = worker_create(&run->worker, &config, why, sizeof(why));
	assert(err == 0);
	sim_clients(run->sim, run_outside, run);
}

/* All clients have left and no connection is: nothing that they used is in use any more. */
static bool run_is_quiet(struct run *run)
{
	const struct conn_context *context = worker_context(run->worker);
	struct sim *sim = run->sim;

	if (!run->quiet_since || context->conns.used > 0)
		return false;
	sim_require(sim, context->inputs.used == 0, "%u inputs are lost", context->inputs.used);
	sim_require(sim, context->outputs.used == 0, "%u outputs are lost", context->outputs.used);
	sim_require(sim, context->notes.used == 0, "%u notes are lost", context->notes.used);
	if (run->world.drained)
		return false; /* the loop ends by itself */
	if (atomic_load(&run->inbox.next))
		return false;
	for (unsigned version = 1; version <= VERSIONS_MAX; version++) {
		const struct snapshot *snapshot = run->published[version];
		bool newest = version == run->world.newest;

		sim_require(sim, !snapshot || newest || snapshot_unused(snapshot), "version %u is held by somebody",
		            version);
		sim_require(sim, !newest || (snapshot && snapshot->share[0].pins == 1), "version %u has lost pins",
		            version);
	}
	if (context->wheel.nodes == 0)
		return true;
	sim_require(sim, sim_now(sim) < run->quiet_since + 10000, "%u timers are lost", context->wheel.nodes);
	return false;
}

/* The access log's thread. */
static void take_records(struct run *run)
{
	const struct access_record *record;

	while ((record = access_ring_next(&run->ring))) {
		uint64_t whole = record->head + record->bytes;
		bool complete = record->flags & ACCESS_COMPLETE;

		sim_require(run->sim,
		            record->size <= ACCESS_RECORD_MAX + ACCESS_RECORD_ALIGN && record->status >= 200 &&
		                    record->status < 600 && record->head > 0,
		            "a record of %u bytes, status %u", record->size, record->status);
		run->logged.answers[record->status / 100]++;
		run->logged.most += whole;
		run->logged.least += complete || record->bytes > 0 ? whole : 0;
	}
	access_ring_release(&run->ring);
}

/* What the worker counted is what the log tells, unless it had to leave something out. */
static void check_records(struct run *run)
{
	const struct conn_stats *stats = &run->stats;
	const struct logged *logged = &run->logged;
	uint64_t records = 0, dropped = run->ring.dropped;

	take_records(run);
	for (unsigned i = 0; i < STATS_CLASSES; i++) {
		uint64_t answers = 0;

		for (unsigned method = 0; method < STATS_METHODS; method++)
			answers += stats->answers[method][i];
		records += logged->answers[i];
		sim_require(run->sim, dropped || logged->answers[i] == answers,
		            "%llu records of %llu answers with %uxx", (unsigned long long)logged->answers[i],
		            (unsigned long long)answers, i);
	}
	sim_require(run->sim, records + dropped == stats->requests, "%llu records and %llu dropped of %llu answers",
	            (unsigned long long)records, (unsigned long long)dropped, (unsigned long long)stats->requests);
	sim_require(run->sim, dropped || (logged->least <= stats->bytes && stats->bytes <= logged->most),
	            "%llu bytes have left, and records say %llu to %llu", (unsigned long long)stats->bytes,
	            (unsigned long long)logged->least, (unsigned long long)logged->most);
}

static void check_stats(struct run *run)
{
	struct conn_stats *stats = &run->stats;
	uint64_t answers = 0;

	worker_stats(run->worker, stats);
	for (unsigned i = 0; i < STATS_METHODS * STATS_CLASSES; i++)
		answers += stats->answers[i / STATS_CLASSES][i % STATS_CLASSES];
	sim_require(run->sim, conn_stats_open(stats) == 0, "%llu connections count as open, and there is none",
	            (unsigned long long)conn_stats_open(stats));
	sim_require(run->sim, answers == stats->requests, "%llu answers of %llu", (unsigned long long)answers,
	            (unsigned long long)stats->requests);
	sim_require(run->sim, stats->stale + stats->unreadable == sim_file_failures(run->sim),
	            "%llu + %llu failures of files were counted, of %u", (unsigned long long)stats->stale,
	            (unsigned long long)stats->unreadable, sim_file_failures(run->sim));
	check_records(run);
}

static void run_to_its_end(struct run *run)
{
	while (worker_turn(run->worker)) {
		if (++run->turns % 32 == 0)
			take_records(run);
		if (run_is_quiet(run) && run->command_at == 0) {
			run->world.drained = sim_now(run->sim);
			worker_command(run->worker, WORKER_DRAIN);
		}
	}

	sim_require(run->sim, run->world.drained, "the loop ends, and nobody has told it to");
	sim_require(run->sim,
	            run->world.aborted || sim_now(run->sim) < run->world.drained + run->options.timeouts.grace + 500,
	            "draining has taken %llu ms", (unsigned long long)(sim_now(run->sim) - run->world.drained));
	/* Clients may have something left to read, or to find out. */
	while (!run->quiet_since) {
		uint64_t next = run_outside(run);

		sim_require(run->sim, next != SIM_NEVER || run->quiet_since, "a client waits for what cannot come");
		if (next != SIM_NEVER)
			sim_sleep(run->sim, next);
	}

	check_stats(run);
	for (unsigned i = 0; i < run->n; i++) {
		refused += run->clients[i].refused;
		too_slow += run->clients[i].too_slow;
	}
	snapshot_retract(&run->inbox); /* for what was published after the last turn */
	worker_destroy(run->worker);
	access_ring_destroy(&run->ring);
	sim_require(run->sim, sim_descriptors(run->sim) == 0, "%u descriptors are lost", sim_descriptors(run->sim));
	for (unsigned version = 1; version <= VERSIONS_MAX; version++) {
		if (!run->published[version])
			continue;
		sim_require(run->sim, snapshot_unused(run->published[version]), "version %u is held for ever", version);
		run->hits += site_hits(run->published[version]);
		site_free(run->published[version]);
	}
	run->record = run->clients[0].record;
	run->record_len = run->clients[0].received;
	run->clients[0].record = NULL;
	for (unsigned i = 0; i < run->n; i++)
		client_fini(&run->clients[i]);
	sim_free(run->sim);
	sim_now_running = NULL;
}

static void run_init(struct run *run, uint64_t dice)
{
	memset(run, 0, sizeof(*run));
	run->dice = dice;
	run->options.limits = (struct limits){
		.request_line = 200 + (uint32_t)sim_below(&run->dice, 1000),
		.head = 1500 + (uint32_t)sim_below(&run->dice, 3000),
		.fields = 64,
		.body = 200 + sim_below(&run->dice, 8000),
		.send_rate = 100,
	};
	run->options.stream_above = 0;
	run->options.snapshot_header = sim_chance(&run->dice, 300);
}

/* Everything at random, all at once. */
static void test_seed(uint64_t seed)
{
	static struct run run;
	struct sim_weather weather;
	unsigned conns, spread;

	run_init(&run, seed);
	weather = some_weather(&run);
	run.options.timeouts = (struct timeouts){
		.keepalive = 200 * some(&run, 50),
		.header = 200 * some(&run, 50),
		.send = 1000 * some(&run, 30),
		.grace = 100 * some(&run, 100),
	};
	if (sim_chance(&run.dice, 200)) {
		run.options.limits.recv_rate = some(&run, 2000);
		run.options.timeouts.recv_window = 100 * some(&run, 50);
	}
	run.options.when_full = (enum when_full)sim_below(&run.dice, 3);
	run.n = sim_chance(&run.dice, 20) ? CLIENTS_MAX : some(&run, 12);
	conns = sim_chance(&run.dice, 700) ? run.n : some(&run, run.n);
	spread = some(&run, 5000);
	run_world(&run, seed, &weather, conns);
	/* A crowd in bad weather waits for its turn, and nothing says how long. */
	run.world.prompt = conns == run.n && weather.accept_fails == 0 &&
	                   (run.n < CLIENTS_MAX || (weather.late == 0 && weather.sluggish == 0));
	run.world.crowded = run.n > conns + (run.options.when_full == WHEN_FULL_CLOSE ? 0 : 60);
	run.world.refuses = run.n > conns && run.options.when_full == WHEN_FULL_503;
	for (unsigned i = 0; i < run.n; i++)
		client_init(&run.clients[i], &run.world, sim_random(&run.dice), sim_random(&run.dice),
		            (enum script_tail)sim_below(&run.dice, SCRIPT_TAILS),
		            run.start + sim_below(&run.dice, spread));
	for (unsigned version = 2; version <= VERSIONS_MAX && sim_chance(&run.dice, 600); version++)
		run.publish_at[version] = (version > 2 ? run.publish_at[version - 1] : run.start) + some(&run, spread);
	if (sim_chance(&run.dice, 300)) {
		run.command = sim_chance(&run.dice, 300)   ? WORKER_ABORT
		              : sim_chance(&run.dice, 500) ? WORKER_YIELD
		                                           : WORKER_DRAIN;
		run.command_at = run.start + 1 + sim_below(&run.dice, spread * 2 + 2000);
		if (run.command != WORKER_YIELD && sim_chance(&run.dice, 500))
			run.duck_at = run.start + 1 + sim_below(&run.dice, run.command_at - run.start);
	}
	run_to_its_end(&run);
}

/* All that was answered has come, to one client: the figures are the client's. */
static void check_figures(const struct run *run)
{
	if (run->stats.bytes == run->clients[0].received && run->hits == run->clients[0].hits &&
	    run->stats.requests == run->clients[0].answered)
		return;
	fprintf(stderr, "sim: counted: %llu bytes, %llu hits, %llu answers; there were %zu, %u, %u\n",
	        (unsigned long long)run->stats.bytes, (unsigned long long)run->hits,
	        (unsigned long long)run->stats.requests, run->clients[0].received, run->clients[0].hits,
	        run->clients[0].answered);
	abort();
}

/* One script, in calm weather and in storms: the same bytes come back, but for their dates. */
static void test_splits(uint64_t seed)
{
	static const enum script_tail tails[] = { TAIL_FINISH, TAIL_CLOSES, TAIL_HALF_FINISH, TAIL_HANG_UP };
	static struct run run;
	char *first = NULL;
	size_t first_len = 0;

	for (unsigned round = 0; round < 4; round++) {
		struct sim_weather weather = sim_fair_weather;
		uint64_t dice = seed;

		run_init(&run, seed);
		run.options.timeouts =
			(struct timeouts){ .keepalive = 600000, .header = 600000, .send = 600000, .grace = 1000 };
		run.n = 1;
		run.dice += round;
		if (round > 0)
			weather = some_weather(&run);
		weather.file_fails = 0;
		run_world(&run, seed + round, &weather, 4);
		client_init(&run.clients[0], &run.world, seed, seed + round, tails[sim_below(&dice, 4)], run.start);
		if (round == 0)
			run.clients[0].depth = 1;
		run.clients[0].record = malloc(1);
		run_to_its_end(&run);
		check_figures(&run);
		if (round == 0) {
			first = run.record;
			first_len = run.record_len;
			continue;
		}
		if (run.record_len != first_len || memcmp(first, run.record, first_len) != 0) {
			fprintf(stderr, "sim: answers depend on how bytes are split: %zu bytes, then %zu\n", first_len,
			        run.record_len);
			abort();
		}
		free(run.record);
	}
	free(first);
}

static bool read_seeds(const char *text, unsigned long long *from, unsigned long long *to)
{
	char *end;

	*from = *to = strtoull(text, &end, 10);
	if (*end == ':')
		*to = strtoull(end + 1, &end, 10);
	return *end == '\0' && end != text && *from <= *to;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seeds", required_argument, NULL, 's' },
		{ "trace", no_argument, NULL, 't' },
		{ 0 },
	};
	unsigned long long from = 1, to = SEEDS;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 't') {
			sim_trace_on(true);
		} else if (option != 's' || !read_seeds(optarg, &from, &to)) {
			fprintf(stderr, "usage: test_conn [--seed N | --seeds FROM:TO] [--trace]\n");
			return 2;
		}
	}
	signal(SIGABRT, died);
	signal(SIGALRM, died);
	if (!&__asan_init) {
		signal(SIGSEGV, died);
		signal(SIGBUS, died);
	}
	for (unsigned version = 1; version <= VERSIONS_MAX; version++)
		references[version] = site_build(version);
	for (seed_now = from; seed_now <= to; seed_now++) {
		alarm(RUN_SECONDS);
		test_seed(seed_now);
		if (seed_now % 10 == 0)
			test_splits(seed_now);
	}
	for (unsigned version = 1; version <= VERSIONS_MAX; version++)
		site_free(references[version]);
	printf("test_conn: seeds %llu to %llu: ok; %u clients refused, %u too slow\n", from, to, refused, too_slow);
	if (to - from >= 900 && (refused == 0 || too_slow == 0)) {
		fprintf(stderr, "test_conn: what is to be tried has not come about\n");
		return 1;
	}
	return 0;
}
