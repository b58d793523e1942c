/*
 * server_life.c - what happens to a server while it serves: signals, the configuration read again, and what a service
 * manager is told. Main thread. Upgrades are in server_upgrade.c.
 */
#include "serving.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/sandbox.h"

#define WATCHDOG_LOOKS 4 /* in the time in which the watchdog wants to be fed once */

uint64_t life_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void life_wake(struct server *server)
{
	uint64_t one = 1;
	ssize_t n = write(server->events, &one, sizeof(one));

	(void)n; /* the counter cannot overflow, and a full one wakes the reader as well */
}

/* The reloader's thread. */
static void on_answer(void *context)
{
	struct server *server = context;

	admin_wake(server->admin);
	life_wake(server);
}

static int open_signals(struct server *server)
{
	static const int wanted[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a log that has grown to its limit (setrlimit(2)): EFBIG is enough */
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	pthread_sigmask(SIG_BLOCK, &set, &server->mask);
	server->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	server->events = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (server->signals < 0 || server->events < 0) {
		log_error("cannot set up signals: %s", strerror(errno));
		return -errno;
	}
	log_wake(server->events);
	return 0;
}

int life_begin(struct server *server)
{
	const struct server_start *start = server->start;
	int err = open_signals(server);

	if (err < 0)
		return err;
	live_init(&server->live, start->argc, start->argv, server->options);
	upgrade_init(&server->upgrade, start->argv, &server->mask);
	if (sandbox_needs_launcher(server->options)) {
		char why[WHY_SIZE];

		err = upgrade_launch(&server->upgrade, why, sizeof(why));
		if (err < 0) {
			log_error("%s", why);
			return err;
		}
	}
	notify_open(&server->notify);
	server->managed = server->notify.fd >= 0;
	server->has_place = inherit_fd(start->inherited) < 0;
	server->watchdog_at = server->drain_at = NEVER;
	server->watchdog.workers = server->options->workers;
	server->watchdog.seen = calloc(server->options->workers, sizeof(*server->watchdog.seen));
	if (!server->watchdog.seen) {
		log_error("out of memory");
		return -ENOMEM;
	}
	return 0;
}

void life_end(struct server *server)
{
	while (server->published) {
		struct published *one = server->published;

		server->published = one->next;
		free(one);
	}
	upgrade_free(&server->upgrade);
	live_free(&server->live);
	notify_close(&server->notify);
	free(server->watchdog.seen);
	if (server->signals >= 0)
		close(server->signals);
	log_wake(-1);
	if (server->events >= 0)
		close(server->events);
}

/* The state for people, in systemctl status: what is served, and whether the last reload has come to something. */
static void tell_status(struct server *server)
{
	struct reload_status status;

	reload_status(server->reload, &status);
	if (status.last.at == server->told.at && status.last.result == server->told.result &&
	    strcmp(status.last.id, server->told.id) == 0)
		return;
	server->told = status.last;
	switch (status.last.result) {
	case RELOAD_LIVE:
	case RELOAD_SAME:
		notify_send(&server->notify, "STATUS=Serving snapshot %s: %" PRIu64 " files, %" PRIu64 " bytes",
		            status.last.id, status.last.files, status.last.bytes);
		return;
	case RELOAD_REFUSED:
	case RELOAD_FAILED:
		notify_send(&server->notify, "STATUS=Serving what was served before: %s", status.last.why);
		return;
	case RELOAD_PINNED:
		notify_send(&server->notify, "STATUS=Serving a pinned generation");
		return;
	}
}

/* What a service manager waits for, and what it shows. */
static void tell_manager(struct server *server)
{
	struct reload_outcome outcome;

	if (!server->has_place || server->command != WORKER_RUN)
		return;
	if (server->reloading && reload_answer(server->reload, server->reload_ticket, &outcome)) {
		server->reloading = false;
		notify_send(&server->notify, "READY=1");
	}
	tell_status(server);
}

/* The place is ours: from the start, or from now on. */
static void take_place(struct server *server)
{
	server->has_place = true;
	notify_send(&server->notify, "READY=1\nMAINPID=%d", (int)getpid());
	tell_manager(server);
	if (server->notify.watchdog_ms > 0)
		server->watchdog_at = life_now();
}

/* Feeds the watchdog, if every worker has turned since the last time. */
static void look_at_workers(struct server *server, uint64_t now)
{
	unsigned n = server->options->workers, hung;
	uint64_t turns[1024];

	assert(n <= sizeof(turns) / sizeof(turns[0]));
	if (now < server->watchdog_at)
		return;
	server->watchdog_at = now + server->notify.watchdog_ms / WATCHDOG_LOOKS + 1;
	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < n; i++)
		turns[i] = server->workers[i].state == THREAD_READY ? worker_turns(server->workers[i].worker)
		                                                    : WATCHDOG_ENDED;
	pthread_mutex_unlock(&server->lock);
	if (watchdog_look(&server->watchdog, turns, &hung) == WATCHDOG_HOLD) {
		if (!server->hung)
			log_error("worker %u does not turn: the watchdog is not fed", hung);
		server->hung = true;
		return;
	}
	if (server->hung)
		log_info("all workers turn again");
	server->hung = false;
	notify_send(&server->notify, "WATCHDOG=1");
	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < n; i++)
		if (server->workers[i].state == THREAD_READY)
			worker_command(server->workers[i].worker, WORKER_RUN);
	pthread_mutex_unlock(&server->lock);
}

/* To the workers and to the reloader: what the options are now. 0 or -ENOMEM. */
static int publish_settings(struct server *server, const struct options *options)
{
	const struct reload_settings reload = {
		.settle = options->settle,
		.settle_max = options->settle_max,
		.keep_for = options->keep_for,
		.gate = options->gate,
	};
	struct published *published = calloc(1, sizeof(*published));

	if (!published)
		return -ENOMEM;
	published->settings = (struct worker_settings){
		.limits = options->limits,
		.timeouts = options->timeouts,
		.say_snapshot = options->snapshot_header,
	};
	published->next = server->published;
	server->published = published;
	reload_set(server->reload, &reload);
	log_set_level((enum log_level)options->log_level);
	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->options->workers; i++)
		if (server->workers[i].state == THREAD_READY)
			worker_set(server->workers[i].worker, &published->settings);
	pthread_mutex_unlock(&server->lock);
	return 0;
}

static void read_configuration(struct server *server)
{
	struct live_changes changes;
	char why[WHY_SIZE];
	int err = live_read(&server->live, &changes, why, sizeof(why));

	if (err == -ENOENT && options_file(server->options))
		log_warn("the configuration is not read again: %s", why);
	if (err == -ENOENT)
		return;
	if (err < 0) {
		log_error("%s; all settings stay as they were", why);
		return;
	}
	if (*changes.adopted && publish_settings(server, live_options(&server->live)) < 0)
		log_error("the configuration is not adopted: %s", strerror(ENOMEM));
	else if (*changes.adopted)
		log_info("%s is read again; in effect now: %s", options_file(server->options), changes.adopted);
	else if (!*changes.waiting)
		log_info("%s is read again: nothing has changed", options_file(server->options));
	if (*changes.waiting)
		log_warn("%s: what has changed and needs an upgrade (loomctl upgrade, SIGUSR2) or a restart: %s",
		         options_file(server->options), changes.waiting);
}

static void reread(struct server *server)
{
	if (server->command != WORKER_RUN)
		return;
	if (server->has_place)
		notify_reloading(&server->notify);
	read_configuration(server);
	log_info("rebuilding on SIGHUP");
	server->reload_ticket = reload_ask(server->reload);
	server->reloading = true;
}

void life_drain(struct server *server, enum worker_command command)
{
	uint32_t grace = live_options(&server->live)->timeouts.grace;

	server->drain_at = NEVER;
	/* First of all: by the time that anybody can see us end, who waits for our word has it. */
	if (!server->has_place)
		inherit_decline(server->start->inherited);
	server_metrics_drain(&server->metrics);
	if (server->admin)
		admin_drain(server->admin);
	if (command == WORKER_ABORT)
		log_info("ending at once");
	else
		log_info("draining: finishing what is under way, for at most %u ms", grace);
	server_unlink(server);
	server->command = command;
	server_command(server, command);
	reload_drain(server->reload);
}

/* Load balancers take this loom out while it still serves whomever they send. */
static void announce_end(struct server *server, uint32_t delay)
{
	log_info("ending: serving on for %u ms, in which --health answers 503; then draining", delay);
	server->drain_at = life_now() + delay;
	server_metrics_drain(&server->metrics);
	if (server->admin)
		admin_drain(server->admin);
	server->command = WORKER_LAME_DUCK;
	server_command(server, WORKER_LAME_DUCK);
}

static void end(struct server *server)
{
	uint32_t delay = live_options(&server->live)->drain_delay;
	bool upgrading = upgrade_time(&server->upgrade) != NEVER;

	upgrade_abort(&server->upgrade);
	if (server->command == WORKER_RUN && server->has_place)
		notify_send(&server->notify, "STOPPING=1\nSTATUS=Draining");
	/* A successor that is not needed shares its sockets with who goes on, and has nobody to tell. */
	if (delay > 0 && server->command == WORKER_RUN && server->has_place)
		announce_end(server, delay);
	else
		life_drain(server, server->command < WORKER_DRAIN ? WORKER_DRAIN : WORKER_ABORT);
	if (upgrading)
		upgrade_go_on(server, "loom is ending");
}

static void obey_signals(struct server *server)
{
	struct signalfd_siginfo signal;
	char why[WHY_SIZE];

	while (read(server->signals, &signal, sizeof(signal)) == sizeof(signal)) {
		switch (signal.ssi_signo) {
		case SIGCHLD:
			break; /* look_at_upgrade() is next */
		case SIGHUP:
			reread(server);
			break;
		case SIGUSR1:
			server->reopened = true;
			logs_reopen(server->access);
			break;
		case SIGUSR2:
			if (life_ask_upgrade(server, why, sizeof(why)) == 0)
				log_warn("SIGUSR2: %s", why);
			break;
		default:
			end(server);
		}
	}
}

static int time_left(const struct server *server, uint64_t now)
{
	uint64_t next = upgrade_time(&server->upgrade);
	int repeats = log_repeats();

	if (server->watchdog_at < next)
		next = server->watchdog_at;
	if (server->drain_at < next)
		next = server->drain_at;
	if (server->keeps > 0 && server->keep_until < next && server->upgrade.state == UPGRADE_GONE)
		next = server->keep_until;
	if (repeats >= 0 && now + (uint64_t)repeats < next)
		next = now + (uint64_t)repeats;
	if (next == NEVER)
		return -1;
	return next <= now ? 0 : next - now > 60 * 60 * 1000 ? 60 * 60 * 1000 : (int)(next - now);
}

/* The predecessor may have left. */
static void look_at_predecessor(struct server *server)
{
	if (server->has_place || server->command != WORKER_RUN || !inherit_is_ours(server->start->inherited))
		return;
	log_info("this loom (pid %d) has taken the place of its predecessor", (int)getpid());
	if (server_take_place(server) < 0)
		log_error("serving without it");
	take_place(server);
}

void life_supervise(struct server *server)
{
	reload_on_answer(server->reload, on_answer, server);
	if (server->has_place)
		take_place(server);
	obey_signals(server); /* who is to end is not ready any more */
	if (server->command == WORKER_RUN)
		inherit_ready(server->start->inherited);
	while (server_command(server, WORKER_RUN) > 0) {
		struct pollfd fds[] = {
			{ .fd = server->signals, .events = POLLIN },
			{ .fd = server->events, .events = POLLIN },
			{ .fd = upgrade_fd(&server->upgrade), .events = POLLIN },
			{ .fd = server->has_place || server->command != WORKER_RUN
			                ? -1
			                : inherit_fd(server->start->inherited),
			  .events = POLLIN },
		};
		uint64_t count;

		if (poll(fds, sizeof(fds) / sizeof(fds[0]), time_left(server, life_now())) < 0)
			continue; /* EINTR of a debugger */
		if (read(server->events, &count, sizeof(count)) == sizeof(count)) {
			server_log_notices(server);
			tell_manager(server);
		}
		if (fds[3].revents)
			look_at_predecessor(server);
		obey_signals(server);
		if (life_now() >= server->drain_at)
			life_drain(server, WORKER_DRAIN);
		upgrade_supervise(server, life_now());
		look_at_workers(server, life_now());
	}
	upgrade_end(server);
	reload_on_answer(server->reload, NULL, NULL);
}
