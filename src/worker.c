/*
 * worker.c - see worker.h. The loop itself, and what concerns no single connection: snapshots, the clock, draining. Who
 * is let in is for worker_accept.c.
 */
#include "worker_parts.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/alloc_guard.h"

static void system_clock(void *context, uint64_t *monotonic_ms, time_t *real)
{
	struct timespec now;

	(void)context;
	/* Coarse clocks are read without a system call or a clock source: some milliseconds are exact enough here. */
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	*monotonic_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	*real = now.tv_sec;
}

static uint64_t precise_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void read_clock(struct worker *worker)
{
	time_t real;

	worker->config.clock(worker->config.context, &worker->context.now, &real);
	worker->context.turn = 0;
	if (worker->config.measure) {
		worker->begun = precise_clock();
		worker->context.turn = worker->begun / 1000;
	}
	if (real != worker->context.real) {
		worker->context.real = real;
		http_date_format(real, worker->context.date);
	}
}

bool worker_give_notice(struct worker *worker)
{
	if (worker->noticed != 0 && worker->context.now < worker->noticed + WORKER_NOTICE_MS)
		return false;
	worker->noticed = worker->context.now | 1; /* never 0 */
	if (worker->config.notify)
		worker->config.notify(worker->config.context);
	return true;
}

/* Answers that ended unfinished, not for the client's sake, and connections closed unheard, since the last time. */
static void notice_ends(struct worker *worker)
{
	const struct conn_stats *stats = &worker->context.stats;
	uint64_t ends = stats->stale + stats->unreadable + stats->untrusted + stats->unproxied;

	if (ends == worker->told)
		return;
	atomic_store_explicit(&worker->notices.stale, (unsigned)stats->stale, memory_order_relaxed);
	atomic_store_explicit(&worker->notices.unreadable, (unsigned)stats->unreadable, memory_order_relaxed);
	atomic_store_explicit(&worker->notices.untrusted, (unsigned)stats->untrusted, memory_order_relaxed);
	atomic_store_explicit(&worker->notices.unproxied, (unsigned)stats->unproxied, memory_order_relaxed);
	if (worker_give_notice(worker))
		worker->told = ends;
}

static void handle(struct worker *worker, const struct io_event *event)
{
	switch (event->op) {
	case IO_ACCEPT:
		worker_accepted(worker, (const struct listener *)event->listener, event->res);
		return;
	case IO_UNLISTENED:
		worker_unlistened(worker, (struct listener *)event->listener);
		return;
	case IO_CLOSED:
		if (worker->config.peers)
			worker_forget_peer(worker, (const struct conn *)event->conn);
		conn_event(&worker->context, event);
		worker_room_again(worker);
		return;
	case IO_RECV:
	case IO_SENT:
		conn_event(&worker->context, event);
		return;
	case IO_RELEASED:
		conn_released(&worker->context, event);
		return;
	}
}

static void expire(struct worker *worker)
{
	struct wheel_node *node;

	while ((node = wheel_expire(&worker->context.wheel, worker->context.now))) {
		if (node == &worker->accept_pause)
			worker_steer(worker);
		else if (node == &worker->drain_end)
			worker_command(worker, WORKER_ABORT);
		else
			conn_timeout(&worker->context, node);
	}
}

static void obey(struct worker *worker)
{
	enum worker_command command = (enum worker_command)atomic_load_explicit(&worker->command, memory_order_relaxed);
	uint64_t drain_end;
	bool patient;

	if (command == worker->obeyed)
		return;
	/* Who has been told to send clients elsewhere may have one more on its way, as has whoever knows of a successor. */
	patient = command == WORKER_YIELD || worker->obeyed == WORKER_LAME_DUCK;
	worker->obeyed = command;
	worker->context.unhealthy = command != WORKER_YIELD;
	if (command == WORKER_LAME_DUCK)
		return;
	worker->context.draining = true;
	worker_steer(worker);
	if (command == WORKER_ABORT) {
		worker_close_accepted(worker);
		conn_close_all(&worker->context);
		return;
	}
	drain_end = worker->context.now + worker->context.timeouts->grace;
	/* Who drains already, and is told to once more, gets no more time for it. */
	if (!worker->drain_end.next || drain_end < worker->drain_end.deadline)
		wheel_set(&worker->context.wheel, &worker->drain_end, drain_end);
	conn_drain(&worker->context, patient);
}

/* Others have settings for us that are not in effect yet. Deadlines that are set already stay. */
static void adopt_settings(struct worker *worker)
{
	const struct worker_settings *settings;
	const struct timeouts *before;
	uint32_t window;

	if (atomic_load_explicit(&worker->settings, memory_order_relaxed) == worker->adopted)
		return;
	settings = atomic_load_explicit(&worker->settings, memory_order_acquire);
	before = worker->context.timeouts;
	window = before->send > before->recv_window ? before->send : before->recv_window;
	if (worker->context.windows_until < worker->context.now + window)
		worker->context.windows_until = worker->context.now + window;
	worker->context.limits = &settings->limits;
	worker->context.timeouts = &settings->timeouts;
	worker->context.say_snapshot = settings->say_snapshot;
	worker->adopted = settings;
}

/* Of a worker that was told to end. */
static bool is_over(const struct worker *worker)
{
	if (worker->context.conns.used > 0 || worker->accepted_count > 0)
		return false;
	for (unsigned i = 0; i < worker->listeners; i++)
		if (worker->listener[i].state != LISTENER_CLOSED)
			return false;
	/* What is lent is with the kernel until clients have it; who ends at once does not wait for them. */
	return worker->context.lent == 0 || worker->obeyed == WORKER_ABORT;
}

/* What is not done when it is created, so that a worker that never runs has taken nothing from anybody. */
static void begin(struct worker *worker)
{
	worker->serving = true;
	conn_adopt(&worker->context);
	assert(worker->context.snapshot);
	worker_steer(worker);
}

/*
 * One reading of the clock for all that was answered in this turn, and all that has left. A request has waited for it from
 * the beginning of the turn, which is when the kernel handed its bytes over, to the end: with io_uring that is when all
 * answers are submitted.
 */
static void measure(struct worker *worker, uint64_t requests)
{
	struct conn_stats *stats = &worker->context.stats;
	uint64_t now = precise_clock();

	if (worker->context.access)
		access_ring_publish(worker->context.access, now / 1000);
	if (worker->config.measure) {
		histogram_add(&stats->turns, now - worker->begun, 1);
		if (requests > 0)
			histogram_add(&stats->latency, now - worker->begun, requests);
	}
}

bool worker_turn(struct worker *worker)
{
	struct conn_context *context = &worker->context;
	uint64_t before = context->stats.requests;
	struct io_event event;

	if (!worker->serving)
		begin(worker);
	worker->err = io_wait(context->io, wheel_timeout(&context->wheel, context->now));
	if (worker->err < 0)
		return false;
	read_clock(worker);
	conn_count(&worker->turns, 1);
	adopt_settings(worker);
	obey(worker);
	conn_adopt(context);
	while (io_next(context->io, &event))
		handle(worker, &event);
	expire(worker);
	notice_ends(worker);
	if (context->access || worker->config.measure)
		measure(worker, context->stats.requests - before);
	return worker_is_open(worker) || !is_over(worker);
}

int worker_run(struct worker *worker)
{
	alloc_guard(true);
	while (worker_turn(worker))
		;
	alloc_guard(false);
	return worker->err;
}

int worker_create(struct worker **out, const struct worker_config *config, char *why, size_t size)
{
	const uint32_t spare = config->options->when_full == WHEN_FULL_503 ? OPTIONS_REFUSALS : 0;
	/* Zero copy, which somebody has asked for, is for the same bodies. */
	const uint64_t splice_above = config->options->features.uring.zc ? UINT64_MAX : config->options->splice_above;
	struct io_config io_config = {
		.conns = config->conns + spare,
		.listeners = config->listens,
		.files = config->options->stream_above != UINT64_MAX,
		.sealed = splice_above != UINT64_MAX,
		.contain = config->contain,
		.on_thread = config->on_thread,
		.features = &config->options->features,
	};
	struct worker *worker;
	int err;

	assert(config->conns > 0 && config->listens > 0);

	worker = aligned_alloc(CACHE_LINE, (sizeof(*worker) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
	if (!worker) {
		err = -ENOMEM;
		goto fail;
	}
	memset(worker, 0, sizeof(*worker));
	worker->config = *config;
	err = -pthread_getcpuclockid(pthread_self(), &worker->cpu_clock);
	if (err < 0)
		goto fail;
	if (!worker->config.clock)
		worker->config.clock = system_clock;
	if (!worker->config.peer)
		worker->config.peer = peer_address;
	worker->context.inbox = config->inbox;
	worker->context.access = config->access;
	worker->most_conns = config->conns;
	worker->spare_conns = spare;
	worker->context.limits = &config->options->limits;
	worker->context.timeouts = &config->options->timeouts;
	worker->context.worker = config->index;
	worker->context.splice_above = splice_above;
	worker->context.say_snapshot = config->options->snapshot_header;
	worker->context.proxy_from = config->options->proxy_from;
	worker->context.proxy_froms = config->options->proxy_froms;
	worker->context.lends_outputs = config->options->features.uring.zc == ZC_FIXED;

	worker->listener = calloc(config->listens, sizeof(*worker->listener));
	if (config->peers)
		worker->peer_slot = calloc(config->conns + spare, sizeof(*worker->peer_slot));
	if (worker->listener && (worker->peer_slot || !config->peers))
		err = conn_context_init(&worker->context, config->conns + spare);
	else
		err = -ENOMEM;
	if (err < 0)
		goto fail;
	io_config.registered = conn_outputs(&worker->context);
	err = io_create(config->ops, &worker->context.io, &io_config, why, size);
	if (err < 0) {
		conn_context_fini(&worker->context);
		size = 0; /* why is there */
		goto fail;
	}

	worker->listeners = config->listens;
	for (unsigned i = 0; i < config->listens; i++) {
		unsigned flags = config->listen_flags ? config->listen_flags[i] : 0;

		worker->listener[i].io.fd = config->listen_fds[i];
		worker->listener[i].io.shared = flags & WORKER_LISTEN_SHARED;
		worker->listener[i].proxy = flags & WORKER_LISTEN_PROXY;
	}
	worker->context.real = -1;
	read_clock(worker);
	wheel_init(&worker->context.wheel, worker->context.now);
	*out = worker;
	return 0;
fail:
	if (size > 0)
		snprintf(why, size, "cannot take the memory for %u connections a worker: %s (lower --max-connections)",
		         config->conns, strerror(-err));
	if (worker) {
		free(worker->listener);
		free(worker->peer_slot);
	}
	free(worker);
	return err;
}

void worker_destroy(struct worker *worker)
{
	assert(!worker->serving || (worker->obeyed != WORKER_RUN && is_over(worker)));

	wheel_cancel(&worker->context.wheel, &worker->accept_pause);
	wheel_cancel(&worker->context.wheel, &worker->drain_end);
	io_destroy(worker->context.io);
	if (worker->context.snapshot)
		snapshot_unpin(worker->context.snapshot, worker->config.index);
	conn_context_fini(&worker->context);
	free(worker->listener);
	free(worker->peer_slot);
	free(worker);
}

void worker_command(struct worker *worker, enum worker_command command)
{
	int now = atomic_load_explicit(&worker->command, memory_order_relaxed);

	while (now < (int)command && !atomic_compare_exchange_weak_explicit(&worker->command, &now, (int)command,
	                                                                    memory_order_relaxed, memory_order_relaxed))
		;
	io_wake(worker->context.io);
}

void worker_set(struct worker *worker, const struct worker_settings *settings)
{
	atomic_store_explicit(&worker->settings, settings, memory_order_release);
	io_wake(worker->context.io);
}

uint64_t worker_turns(const struct worker *worker)
{
	return __atomic_load_n(&worker->turns, __ATOMIC_RELAXED);
}

struct worker_notices *worker_notices(struct worker *worker)
{
	return &worker->notices;
}

void worker_stats(const struct worker *worker, struct conn_stats *total)
{
	const struct io *io = worker->context.io;

	struct timespec cpu = { 0 };

	conn_stats_add(total, &worker->context.stats);
	clock_gettime(worker->cpu_clock, &cpu);
	total->cpu += (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec;
	for (unsigned i = 0; i < FIGURES_MAX; i++)
		total->io[i] += __atomic_load_n(&io->figures[i], __ATOMIC_RELAXED);
}

const struct conn_context *worker_context(const struct worker *worker)
{
	return &worker->context;
}

void worker_describe(struct worker *worker, char *text, size_t size)
{
	io_describe(worker->context.io, text, size);
}

unsigned worker_lent(const struct worker *worker)
{
	return worker->context.lent;
}

enum io_limits worker_limits(const struct worker *worker)
{
	return worker->context.io->limits;
}
