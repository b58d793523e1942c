/*
 * simulate.c - the simulator: loom's own event loop, connection state machine, timer wheel, snapshots and publishing, with
 * a kernel, a clock, a network and clients that are made up, seed after seed (run.h says who does what). ci/test runs it
 * for some seconds, ci/soak-sim for hours, ci/mutants against bugs planted in src/.
 *
 * simulate [--seed N | --from N | --from random] [--seeds N] [--seconds S] [--lives N] [--list FILE]
 *          [--cut CUT] [--trace] [--no-shrink]
 *
 * What runs is seeds from N on, until so many of them, or so many seconds, or so many connections' lives are over; --list:
 * the seeds of a file. A seed that fails is shrunk and printed, and replays with --seed N --trace.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "loom/body.h"
#include "run.h"
#include "shelf.h"
#include "simulate.h"

#define LOG_SIZE (128 * 1024) /* of the ring; small, so that it is full at times */
#define EPOCH    1700000000

/* Bytes; some pages are longer, some are not, and ranges of them are either. */
#define SEALED_ABOVE 5100

/* Simulated time after which a run must have come to its end, what the outside may do until then, and real seconds. */
#define RUN_MS_MAX    (4 * 60 * 60 * 1000)
#define RUN_MOVES_MAX 5000000
#define RUN_SECONDS   60

static struct sim *running;      /* whose descriptors close(2) knows */
static uint64_t seed_now, lived; /* and connections' lives so far */
static char cut_now[4096];
static bool is_to_shrink = true;

/* The worker closes listening and surplus descriptors itself: those of the simulation come here. */
int close(int fd)
{
	if (running && sim_close(running, fd))
		return 0;
	return (int)syscall(SYS_close, fd);
}

/* Each client has one of a few addresses: what --max-connections-per-ip counts by. */
static struct run *run_now;

static bool peer_of(int fd, uint64_t *address)
{
	const struct life *life = sim_owner_of(run_now->sim, fd);

	*address = life ? 1000 + life->plan->address : 1;
	return life != NULL;
}

/* And the kernel knows it. */
int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
	const struct life *life = running ? sim_owner_of(running, fd) : NULL;
	struct sockaddr_in in = { .sin_family = AF_INET };

	if (!life) {
		errno = ENOTSOCK;
		return -1;
	}
	in.sin_addr.s_addr = htonl((life->plan->stranger ? 0xcb007100 : 0x0a010200) + life->plan->address);
	memcpy(addr, &in, *len < sizeof(in) ? *len : sizeof(in));
	*len = sizeof(in);
	return 0;
}

static void run_clock(void *context, uint64_t *monotonic_ms, time_t *real)
{
	const struct run *run = context;

	*monotonic_ms = sim_now(run->sim);
	*real = (time_t)(run->wall + (int64_t)(*monotonic_ms / 1000));
}

static void run_notify(void *context)
{
	struct run *run = context;
	uint64_t now = sim_now(run->sim);

	run_require(run, run->noticed == 0 || now >= run->noticed + WORKER_NOTICE_MS, "a notice %llu ms after the last",
	            (unsigned long long)(now - run->noticed));
	run->noticed = now;
}

static void free_unused(struct run *run)
{
	for (unsigned i = run->oldest; i < run->newest; i++) {
		struct publication *publication = &run->publication[i];

		if (publication->snapshot && snapshot_unused(publication->snapshot)) {
			run->counts.hits -= shelf_hits(publication->snapshot);
			shelf_free(publication->snapshot);
			publication->snapshot = NULL;
		}
		if (i == run->oldest && !publication->snapshot)
			run->oldest++;
	}
}

static void publish(struct run *run, unsigned version)
{
	const struct publication *last = &run->publication[run->newest];
	struct publication *next = last->snapshot ? &run->publication[run->newest + 1] : &run->publication[0];

	sim_trace(run->sim, "version %u is published", version);
	next->version = version;
	next->returned = version < run->best;
	next->snapshot = shelf_build(version, last->snapshot, next->returned);
	if (version > run->best)
		run->best = version;
	run->newest = (unsigned)(next - run->publication);
	snapshot_publish(next->snapshot, &run->inbox, 1);
	free_unused(run);
	if (run->worker)
		io_wake(worker_context(run->worker)->io);
}

static void command(struct run *run, enum worker_command command)
{
	sim_trace(run->sim, "command %d", (int)command);
	if (command > run->commanded)
		run->commanded = command;
	worker_command(run->worker, command);
}

static void happen(struct run *run, const struct plan_event *event)
{
	switch (event->kind) {
	case EVENT_PUBLISH:
		publish(run, (unsigned)event->value);
		break;
	case EVENT_COMMAND:
		command(run, (enum worker_command)event->value);
		break;
	case EVENT_SETTINGS:
		run->settings[++run->given] = event->settings;
		worker_set(run->worker, &run->settings[run->given]);
		break;
	case EVENT_JUMP:
		sim_jump(run->sim, (uint64_t)event->value);
		break;
	case EVENT_WALL:
		run->wall += event->value;
		break;
	case EVENT_STARVE:
		sim_starve(run->sim, sim_now(run->sim) + (uint64_t)event->value);
		break;
	case EVENT_EXHAUST:
	case EVENT_RECOVER:
		sim_exhaust(run->sim, event->kind == EVENT_EXHAUST);
		break;
	case PLAN_EVENT_KINDS:
		break;
	}
}

/* What is due. Between two events of a turn a snapshot may be published, and nothing else happens. */
static uint64_t operate(struct run *run, bool between)
{
	uint64_t now = sim_now(run->sim);

	for (; run->next_event < run->plan->events; run->next_event++) {
		const struct plan_event *event = &run->plan->event[run->next_event];
		uint64_t at = run->start + event->at;

		if (event->gone)
			continue;
		if (event->between && !between && now < at + 50)
			return at + 50;
		if (now < at)
			return at;
		if (between && !event->between)
			return at;
		happen(run, event);
	}
	return SIM_NEVER;
}

void run_between(struct run *run)
{
	if (run->next_event < run->plan->events && run->plan->event[run->next_event].between)
		operate(run, true);
}

/* Everything outside of the server. */
static uint64_t outside(void *context)
{
	struct run *run = context;
	uint64_t now = sim_now(run->sim), next, at;
	unsigned n, first;

	run_require(run, now < run->start + RUN_MS_MAX && ++run->moves < RUN_MOVES_MAX, "the run does not end");
	next = operate(run, false);
	for (; run->begun < run->lives; run->begun++) {
		const struct plan_client *client = run->life[run->begun].plan;

		if (client->gone)
			run->life[run->begun].play.phase = PLAY_DONE;
		else if (now < run->start + client->connect_at)
			break;
	}
	if (run->begun < run->lives) {
		at = run->start + run->life[run->begun].plan->connect_at;
		next = at < next ? at : next;
	}
	while (run->first < run->begun &&
	       (run->life[run->first].plan->gone || run->life[run->first].state == LIFE_OVER) &&
	       run->life[run->first].play.phase == PLAY_DONE)
		run->first++; /* one who has left may be in the backlog still */
	n = run->begun - run->first;
	first = n > 0 ? (unsigned)sim_below(&run->dice, n) : 0;
	for (unsigned i = 0; i < n; i++) {
		at = player_act(&run->life[run->first + (first + i) % n]);
		next = at < next ? at : next;
	}
	if (!run->quiet && run->begun == run->lives && run->next_event == run->plan->events) {
		run->quiet = true;
		for (unsigned i = run->first; i < run->lives; i++)
			run->quiet &= run->life[i].play.phase == PLAY_DONE;
		run->quiet_since = now;
		if (run->quiet)
			io_wake(worker_context(run->worker)->io); /* the loop may have nothing else to wake up for */
	}
	return next;
}

static void begin(struct run *run, const struct plan *plan, struct life *lives)
{
	struct worker_config config = {
		.ops = &io_sim_ops,
		.options = &run->options,
		.inbox = &run->inbox,
		.conns = plan->conns,
		.listens = 1,
		.access = plan->log ? &run->ring : NULL,
		.clock = run_clock,
		.measure = plan->log,
		.peer = peer_of,
		.notify = run_notify,
		.context = run,
	};
	static const uint8_t proxy = WORKER_LISTEN_PROXY;
	char why[200];
	int err = 0;

	run->plan = plan;
	run->dice = plan->dice;
	run->options.limits = plan->settings.limits;
	run->options.timeouts = plan->settings.timeouts;
	run->options.snapshot_header = plan->settings.say_snapshot;
	run->options.when_full = plan->when_full;
	/* Every other run has its longest pages in sealed memory. */
	run->options.splice_above = plan->sim_seed & 1 ? SEALED_ABOVE : UINT64_MAX;
	body_seal_above(run->options.splice_above);
	run->settings[0] = plan->settings;
	run->sim = running = sim_new(plan->sim_seed, &plan->weather);
	run->start = sim_now(run->sim);
	run->wall = EPOCH;
	run->listening = sim_listening(run->sim);
	config.listen_fds = &run->listening;
	if (plan->proxy) {
		config.listen_flags = &proxy;
		run->options.proxy_from[run->options.proxy_froms++] =
			(struct network){ .family = PEER_IN4, .bits = 8, .address = { 10 } };
	}
	run->handling_op = -2;
	run->life = lives;
	run->lives = plan->clients;
	for (unsigned i = 0; i < run->lives; i++) {
		struct life *life = &lives[i];
		struct talk talk = life->talk; /* its memory is kept from run to run */

		memset(life, 0, offsetof(struct life, unasked));
		life->own_at = life->received = 0;
		life->own_answers = 0;
		life->unasked = (struct exchange){ 0 };
		life->talk = talk;
		life->run = run;
		life->number = i;
		life->plan = &plan->client[i];
		if (!life->plan->gone)
			plan_talk(plan, i, &life->talk);
	}
	atomic_init(&run->inbox.next, NULL);
	publish(run, 1);
	run->bell.fd = -1;
	if (plan->log)
		err = access_ring_create(&run->ring, LOG_SIZE, &run->bell);
	if (err == 0 && plan->per_address)
		err = peer_count_create(&run->peers, plan->conns, plan->per_address);
	config.peers = run->peers;
	if (err == 0)
		err = worker_create(&run->worker, &config, why, sizeof(why));
	assert(err == 0);
	sim_clients(run->sim, outside, run);
	sim_watch(run->sim, &oracle_watch, run);
}

/* All clients have left and no connection is: then nothing that they used is in use any more, and the server may end. */
static void end_when_quiet(struct run *run)
{
	if (!run->quiet || run->commanded != WORKER_RUN || worker_context(run->worker)->conns.used > 0 ||
	    run->pause.linked || atomic_load(&run->inbox.next))
		return;
	command(run, WORKER_DRAIN);
}

static void end(struct run *run)
{
	/* Clients may have something left to read, or to find out. */
	while (!run->quiet) {
		uint64_t next = outside(run);

		run_require(run, next != SIM_NEVER || run->quiet, "a client waits for what cannot come");
		if (next != SIM_NEVER)
			sim_sleep(run->sim, next);
	}
	inside_check_end(run);
	snapshot_retract(&run->inbox); /* for what was published after the last turn */
	worker_destroy(run->worker);
	if (run->plan->log)
		access_ring_destroy(&run->ring);
	peer_count_destroy(run->peers);
	run_require(run, sim_descriptors(run->sim) == 0, "%u descriptors are lost", sim_descriptors(run->sim));
	for (unsigned i = run->oldest; i <= run->newest; i++) {
		struct snapshot *snapshot = run->publication[i].snapshot;

		if (!snapshot)
			continue;
		run_require(run, snapshot_unused(snapshot), "version %u is held for ever", run->publication[i].version);
		run->counts.hits -= shelf_hits(snapshot);
		shelf_free(snapshot);
	}
	run_require(run, run->counts.hits == 0, "hits are counted wrongly, by %lld", (long long)run->counts.hits);
	sim_free(run->sim);
	running = NULL;
}

unsigned simulate(const struct plan *plan)
{
	static struct life lives[PLAN_CLIENTS];
	static struct run run;
	unsigned count = 0, turns = 0;

	memset(&run, 0, sizeof(run));
	run_now = &run;
	begin(&run, plan, lives);
	while (worker_turn(run.worker)) {
		if (plan->log && ++turns % 32 == 0)
			inside_take_records(&run);
		free_unused(&run);
		end_when_quiet(&run);
	}
	run_require(&run, run.obeyed != WORKER_RUN, "the loop ends, and nobody has told it to");
	oracle_watch.turn_ends(&run, -2); /* no other turn says that this one is over */
	end(&run);
	for (unsigned i = 0; i < run.lives; i++)
		count += run.life[i].state == LIFE_OVER;
	return count;
}

static void failed(void)
{
	char seed[32];

	fflush(stdout);
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)seed_now);
	dprintf(STDERR_FILENO, "simulate: seed %s%s%s fails; replay: simulate --seed %s%s%s --trace\n", seed,
	        *cut_now ? " --cut " : "", cut_now, seed, *cut_now ? " --cut " : "", cut_now);
	dprintf(STDERR_FILENO, "simulate: %llu connections' lives were right until then\n", (unsigned long long)lived);
	if (is_to_shrink)
		shrink(seed_now, cut_now, 20);
}

static void died(int signal_number)
{
	if (signal_number != SIGABRT)
		dprintf(STDERR_FILENO, "sim: %s\n",
		        signal_number == SIGPROF ? "the run does not end" : strsignal(signal_number));
	signal(SIGABRT, SIG_DFL);
	failed();
	_exit(1);
}

/* AddressSanitizer, where there is one, reports bad accesses itself, and calls __asan_on_error(). */
void __asan_init(void) __attribute__((weak));
void __asan_on_error(void);
void __asan_on_error(void)
{
	failed();
}

static double seconds_since(const struct timespec *begun, clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)(now.tv_sec - begun->tv_sec) + (double)(now.tv_nsec - begun->tv_nsec) / 1e9;
}

struct job {
	uint64_t from, seeds, lives, done;
	double seconds;
	struct timespec begun, cpu;
};

static void run_seed(struct job *job, uint64_t seed, const char *cut)
{
	static const struct itimerval limit = { .it_value = { .tv_sec = RUN_SECONDS } };
	static struct plan plan;

	seed_now = seed;
	snprintf(cut_now, sizeof(cut_now), "%s", cut);
	plan_make(&plan, seed);
	if (!plan_cut(&plan, cut)) {
		fprintf(stderr, "simulate: seed %llu has no such cut: %s\n", (unsigned long long)seed, cut);
		exit(2);
	}
	setitimer(ITIMER_PROF, &limit, NULL); /* of CPU: a busy machine is no failure */
	lived += simulate(&plan);
	job->done++;
}

static void run_list(struct job *job, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[4200], cut[4096];
	unsigned long long seed;

	if (!file) {
		perror(path);
		exit(2);
	}
	while (fgets(line, sizeof(line), file)) {
		cut[0] = '\0';
		if (sscanf(line, "%llu %4095[^# \n]", &seed, cut) >= 1)
			run_seed(job, seed, cut);
	}
	fclose(file);
}

static bool is_over(const struct job *job)
{
	return (job->seeds && job->done >= job->seeds) || (job->lives && lived >= job->lives) ||
	       (job->seconds > 0 && seconds_since(&job->begun, CLOCK_MONOTONIC) >= job->seconds);
}

static void usage(void)
{
	fprintf(stderr, "usage: simulate [--seed N | --from N | --from random] [--seeds N] [--seconds S] [--lives N]\n"
	                "                [--list FILE] [--cut CUT] [--trace] [--no-shrink]\n");
	exit(2);
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },  { "from", required_argument, NULL, 'f' },
		{ "seeds", required_argument, NULL, 'n' }, { "seconds", required_argument, NULL, 't' },
		{ "lives", required_argument, NULL, 'l' }, { "list", required_argument, NULL, 'L' },
		{ "cut", required_argument, NULL, 'c' },   { "trace", no_argument, NULL, 'T' },
		{ "no-shrink", no_argument, NULL, 'S' },   { 0 },
	};
	struct job job = { .from = 1 };
	const char *cut = "", *list = NULL;
	double cpu;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			job.seeds = 1;
			job.from = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			if (strcmp(optarg, "random") != 0)
				job.from = strtoull(optarg, NULL, 10);
			else if (getrandom(&job.from, 4, 0) == 4)
				job.from = (job.from & 0xffffffff) * 1000;
			break;
		case 'n':
			job.seeds = strtoull(optarg, NULL, 10);
			break;
		case 't':
			job.seconds = strtod(optarg, NULL);
			break;
		case 'l':
			job.lives = strtoull(optarg, NULL, 10);
			break;
		case 'L':
			list = optarg;
			break;
		case 'c':
			cut = optarg;
			break;
		case 'T':
			sim_trace_on(true);
			is_to_shrink = false;
			break;
		case 'S':
			is_to_shrink = false;
			break;
		default:
			usage();
		}
	}
	if (optind < argc || (*cut && job.seeds != 1))
		usage();
	if (!list && !job.seeds && job.seconds <= 0 && !job.lives)
		job.seeds = 1000;
	mallopt(M_MMAP_THRESHOLD, 8 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	signal(SIGABRT, died);
	signal(SIGPROF, died);
	if (!&__asan_init) {
		signal(SIGSEGV, died);
		signal(SIGBUS, died);
	}
	shelf_open();
	clock_gettime(CLOCK_MONOTONIC, &job.begun);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &job.cpu);
	if (list)
		run_list(&job, list);
	else
		printf("simulate: seeds from %llu on\n", (unsigned long long)job.from);
	fflush(stdout);
	for (uint64_t seed = job.from; (job.seeds || job.seconds > 0 || job.lives) && !is_over(&job); seed++)
		run_seed(&job, seed, cut);
	cpu = seconds_since(&job.cpu, CLOCK_PROCESS_CPUTIME_ID);
	printf("simulate: %llu seeds, %llu connections' lives, no violation; %.1f s, %.1f s of CPU, %.0f lives a second "
	       "of CPU\n",
	       (unsigned long long)job.done, (unsigned long long)lived, seconds_since(&job.begun, CLOCK_MONOTONIC), cpu,
	       cpu > 0 ? (double)lived / cpu : 0);
	return 0;
}
