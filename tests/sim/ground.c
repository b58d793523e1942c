/*
 * ground.c - what the simulated world stands on: how it is made, its clock and its chance, its descriptors, and the ways to
 * look at it (sim.h): tracing, watching, and failing.
 */
#include "world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct sim_weather sim_fair_weather = {
	.batch = 64,
	.piece = IO_RECV_MAX,
	.step = 1 << 20,
	.window = 64 * 1024,
	.buffer = 64 * 1024,
	.steady = true,
};

static _Thread_local struct sim *waiting; /* for the next io_create() */
static bool tracing;

void sim_trace_on(bool on)
{
	tracing = on;
}

void sim_trace(const struct sim *sim, const char *format, ...)
{
	va_list args;

	if (!tracing)
		return;
	fprintf(stderr, "%8llu ms  ", (unsigned long long)sim->now);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void sim_fail(const struct sim *sim, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "sim: at %llu ms: ", (unsigned long long)sim->now);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

bool sim_due(struct sim *sim, uint64_t *at)
{
	if (*at == 0) {
		*at = sim->now;
		if (sim->weather.late_ms > 0 && sim_chance(&sim->dice, sim->weather.late))
			*at += 1 + sim_below(&sim->dice, sim->weather.late_ms);
	}
	if (*at <= sim->now)
		return true;
	if (*at < sim->soonest)
		sim->soonest = *at;
	return false;
}

int sim_fd_take(struct sim *sim, struct sim_stream *stream, struct sim_port *port)
{
	for (unsigned i = 0; i < SIM_FDS; i++) {
		if (sim->fds[i].stream || sim->fds[i].port)
			continue;
		sim->fds[i] = (struct sim_descriptor){ .stream = stream, .port = port };
		if (i >= sim->top)
			sim->top = i + 1;
		return SIM_FD_BASE + (int)i;
	}
	return -1;
}

void sim_fd_give(struct sim *sim, int fd)
{
	sim->fds[fd - SIM_FD_BASE] = (struct sim_descriptor){ 0 };
	while (sim->top > 0 && !sim->fds[sim->top - 1].stream && !sim->fds[sim->top - 1].port)
		sim->top--;
}

unsigned sim_file_failures(const struct sim *sim)
{
	return sim->file_failures;
}

unsigned sim_descriptors(const struct sim *sim)
{
	unsigned n = 0;

	for (unsigned i = 0; i < sim->top; i++)
		n += sim->fds[i].stream || sim->fds[i].port;
	return n;
}

struct sim *sim_new(uint64_t seed, const struct sim_weather *weather)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	assert(sim && weather->batch > 0 && weather->step > 0 && weather->window > 0 && weather->buffer > 0);
	assert(weather->piece > 0 && weather->piece <= IO_RECV_MAX);
	sim->weather = *weather;
	sim->dice = seed;
	sim->now = 1000 + sim_below(&sim->dice, 100000);
	waiting = sim;
	return sim;
}

void sim_free_later(struct sim *sim)
{
	sim->own = true;
}

struct sim *sim_of(struct io *io)
{
	assert(io->ops == &io_sim_ops);
	return (struct sim *)io;
}

void sim_clients(struct sim *sim, sim_clients_fn *clients, void *context)
{
	sim->clients = clients;
	sim->clients_context = context;
}

uint64_t sim_now(const struct sim *sim)
{
	return sim->now;
}

void sim_sleep(struct sim *sim, uint64_t until)
{
	if (until > sim->now)
		sim->now = until;
}

void sim_exhaust(struct sim *sim, bool on)
{
	sim->exhausted = on;
}

void sim_watch(struct sim *sim, const struct sim_watch *watch, void *context)
{
	sim->watch = watch;
	sim->watch_context = context;
}

void sim_jump(struct sim *sim, uint64_t ms)
{
	sim_trace(sim, "the machine stands still for %llu ms", (unsigned long long)ms);
	sim->jump += ms;
}

void sim_starve(struct sim *sim, uint64_t until)
{
	sim->starved_to = until;
}

struct sim *sim_take(void)
{
	struct sim *sim = waiting;

	waiting = NULL;
	return sim;
}
