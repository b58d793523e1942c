/*
 * server.c - see server.h. The main thread: it sets everything up, then sleeps until a signal or a notice comes.
 *
 * Threads: this one (signals, log lines), the reloader, the admin socket's, and one a worker. All signals are blocked in all threads and
 * read here from a signalfd, so that no code ever runs at a moment that it did not choose.
 */
#include "loom/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "loom/admin.h"
#include "loom/io.h"
#include "loom/listen.h"
#include "loom/log.h"
#include "loom/reload.h"
#include "loom/worker.h"
#include "server_metrics.h"

#define WHY_SIZE 512

enum thread_state {
	THREAD_STARTING,
	THREAD_READY,  /* created; waits for the word */
	THREAD_FAILED, /* not created; err and why say so */
	THREAD_ENDED,  /* has run, and has given everything back */
};

struct server;

struct worker_thread {
	struct server *server;
	pthread_t thread;
	struct worker_config config;
	int fds[OPTIONS_LISTEN_MAX];
	struct worker *worker; /* valid while READY */
	enum thread_state state;
	int err;
	char why[WHY_SIZE];
	char features[WHY_SIZE];
	struct conn_stats stats; /* at its end */
	unsigned logged_failures, logged_full, logged_stale, logged_unreadable;
};

struct server {
	const struct options *options;
	struct listen_address address[OPTIONS_LISTEN_MAX];
	int fds[OPTIONS_LISTEN_MAX][1024];
	unsigned bound;
	struct reload *reload;
	struct admin *admin; /* NULL without --admin */
	struct server_metrics metrics;
	const char *listeners[OPTIONS_LISTEN_MAX];
	struct snapshot_inbox *inboxes;
	struct worker_thread *workers;
	const struct io_ops *ops;
	char backend[3 * WHY_SIZE];   /* which, and why */
	char described[8 * WHY_SIZE]; /* the same with what it uses */
	int signals;                  /* signalfd */
	int events;                   /* eventfd: a worker has something to say, or has ended */

	pthread_mutex_t lock; /* states of the threads, and go */
	pthread_cond_t changed;
	enum { GO_WAIT, GO_SERVE, GO_QUIT } go;
};

static void on_notice(void *context)
{
	struct worker_thread *thread = context;
	uint64_t one = 1;
	ssize_t n = write(thread->server->events, &one, sizeof(one));

	(void)n; /* the counter cannot overflow, and a full one wakes the reader as well */
}

static void set_state(struct worker_thread *thread, enum thread_state state)
{
	pthread_mutex_lock(&thread->server->lock);
	thread->state = state;
	pthread_cond_broadcast(&thread->server->changed);
	pthread_mutex_unlock(&thread->server->lock);
}

static bool wait_for_word(struct worker_thread *thread)
{
	struct server *server = thread->server;
	bool serve;

	pthread_mutex_lock(&server->lock);
	while (server->go == GO_WAIT)
		pthread_cond_wait(&server->changed, &server->lock);
	serve = server->go == GO_SERVE;
	pthread_mutex_unlock(&server->lock);
	return serve;
}

static void *worker_main(void *argument)
{
	struct worker_thread *thread = argument;
	struct worker *worker;

	thread->err = worker_create(&worker, &thread->config, thread->why, sizeof(thread->why));
	if (thread->err < 0) {
		set_state(thread, THREAD_FAILED);
		return NULL;
	}
	thread->worker = worker;
	worker_describe(worker, thread->features, sizeof(thread->features));
	set_state(thread, THREAD_READY);

	if (wait_for_word(thread)) {
		thread->err = worker_run(worker);
		if (thread->err < 0) {
			/* Connections are open in a backend that no longer answers: there is no orderly way on. */
			log_error("worker %u: the event backend failed: %s", thread->config.index,
			          strerror(-thread->err));
			_exit(1);
		}
	}
	worker_stats(worker, &thread->stats);
	/* Nobody may command a worker that is going, nor look at it: others see the state under the lock. */
	set_state(thread, THREAD_ENDED);
	worker_destroy(worker);
	on_notice(thread);
	return NULL;
}

static void join_workers(struct server *server, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_join(server->workers[i].thread, NULL);
}

static void say_word(struct server *server, int word)
{
	pthread_mutex_lock(&server->lock);
	server->go = word;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* Waits until no thread is starting any more. 0, or the error of the first that failed, with its why. */
static int await_workers(struct server *server, char *why, size_t size)
{
	int err = 0;

	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->options->workers; i++) {
		struct worker_thread *thread = &server->workers[i];

		while (thread->state == THREAD_STARTING)
			pthread_cond_wait(&server->changed, &server->lock);
		if (thread->state == THREAD_FAILED && err == 0) {
			err = thread->err;
			snprintf(why, size, "%s", thread->why);
		}
	}
	pthread_mutex_unlock(&server->lock);
	return err;
}

/* Creates every worker on its own thread; all or none. They wait for the word. */
static int start_workers(struct server *server, const struct io_ops *ops, char *why, size_t size)
{
	const struct options *options = server->options;
	unsigned n = options->workers, started;
	int err = 0;

	server->go = GO_WAIT;
	for (started = 0; started < n; started++) {
		struct worker_thread *thread = &server->workers[started];
		char name[16];

		thread->server = server;
		thread->state = THREAD_STARTING;
		for (unsigned i = 0; i < server->bound; i++)
			thread->fds[i] = server->fds[i][started];
		thread->config = (struct worker_config){
			.ops = ops,
			.options = options,
			.inbox = &server->inboxes[started],
			.index = started,
			/* Shared out evenly, rounded up. */
			.conns = (options->max_connections + n - 1) / n,
			.listen_fds = thread->fds,
			.listens = server->bound,
			.measure = options->metrics || options->admin,
			.notify = on_notice,
			.context = thread,
		};
		err = -pthread_create(&thread->thread, NULL, worker_main, thread);
		if (err < 0) {
			snprintf(why, size, "cannot start worker thread %u: %s", started, strerror(-err));
			break;
		}
		snprintf(name, sizeof(name), "loom-worker-%u", started % 1000);
		pthread_setname_np(thread->thread, name);
	}
	if (err == 0)
		err = await_workers(server, why, size);
	if (err < 0) {
		say_word(server, GO_QUIT);
		join_workers(server, started);
	}
	return err;
}

static int select_backend(struct server *server)
{
	int err = io_select(server->options->backend, &server->ops, server->backend, sizeof(server->backend));

	if (err < 0)
		log_error("%s", server->backend);
	return err;
}

/*
 * A backend whose probe succeeded may still be refused to every worker at once: memory that may be locked is counted
 * for all rings of a user. With auto the next backend is tried, as it is when a probe fails.
 */
static int start_on_some_backend(struct server *server)
{
	char first[WHY_SIZE], why[WHY_SIZE];
	int err = start_workers(server, server->ops, first, sizeof(first));

	if (err < 0 && strcmp(server->options->backend, "auto") == 0) {
		for (unsigned i = 0; err < 0 && io_backends[i]; i++) {
			if (io_backends[i] == server->ops || io_backends[i]->probe(why, sizeof(why)) < 0)
				continue;
			err = start_workers(server, io_backends[i], why, sizeof(why));
			if (err == 0)
				snprintf(server->backend, sizeof(server->backend), "%s; not %s: %s",
				         io_backends[i]->name, server->ops->name, first);
		}
	}
	if (err < 0)
		log_error("%s", first);
	if (err < 0)
		return err;
	snprintf(server->described, sizeof(server->described), "%s (%s)", server->backend, server->workers[0].features);
	log_info("backend %s", server->described);
	return 0;
}

static void close_listeners(struct server *server)
{
	for (unsigned i = 0; i < server->bound; i++) {
		listen_cleanup(&server->address[i]);
		for (unsigned w = 0; w < server->options->workers; w++)
			close(server->fds[i][w]);
	}
}

static int bind_all(struct server *server)
{
	char why[WHY_SIZE];

	for (unsigned i = 0; i < server->options->listens; i++) {
		int err = listen_parse(server->options->listen[i], &server->address[i], why, sizeof(why));

		if (err == 0)
			err = listen_bind(&server->address[i], server->fds[i], server->options->workers, why,
			                  sizeof(why));
		if (err < 0) {
			log_error("%s", why);
			return err;
		}
		server->bound++;
	}
	return 0;
}

static int listen_all(struct server *server)
{
	char why[WHY_SIZE];

	for (unsigned i = 0; i < server->bound; i++) {
		int err = listen_start(&server->address[i], server->fds[i], server->options->workers, why, sizeof(why));

		if (err < 0) {
			log_error("%s", why);
			return err;
		}
	}
	return 0;
}

/* The admin socket, while there is one thread: see admin_bind(). */
static int bind_admin(struct server *server)
{
	const char *path = server->options->admin;
	char why[WHY_SIZE];
	int err;

	if (!path)
		return 0;
	for (unsigned i = 0; i < server->bound; i++) {
		const char *text = server->address[i].text;

		if (strncmp(text, "unix:", 5) == 0 && strcmp(text + 5, path) == 0) {
			log_error("unix:%s cannot be both --admin and --listen", path);
			return -EADDRINUSE;
		}
	}
	err = admin_bind(&server->admin, path, why, sizeof(why));
	if (err < 0)
		log_error("--admin: %s", why);
	return err;
}

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int build_first(struct server *server)
{
	uint64_t begun = milliseconds();
	char why[WHY_SIZE];
	const struct snapshot *snapshot;
	int err = reload_create(&server->reload, server->options, server->inboxes, why, sizeof(why));

	if (err < 0) {
		log_error("%s", why);
		return err;
	}
	snapshot = reload_snapshot(server->reload);
	log_info("serving %s: snapshot %s, %llu file%s, %llu bytes, built in %llu ms", server->options->root,
	         snapshot->id, (unsigned long long)snapshot->files, snapshot->files == 1 ? "" : "s",
	         (unsigned long long)snapshot->bytes, (unsigned long long)(milliseconds() - begun));
	if (snapshot->health && snapshot_find(snapshot, snapshot->health, snapshot->health_len))
		log_warn("--health %s hides a file of that name", snapshot->health);
	return 0;
}

/* Answers that ended unfinished, other than for the client's sake. */
static void log_unfinished(struct worker_thread *thread, const struct worker_notices *notices)
{
	unsigned stale = atomic_load_explicit(&notices->stale, memory_order_relaxed);
	unsigned unreadable = atomic_load_explicit(&notices->unreadable, memory_order_relaxed);

	if (stale != thread->logged_stale)
		log_warn(
			"worker %u: %u responses ended unfinished: a streamed file was changed in place (replace files by "
			"rename)",
			thread->config.index, stale - thread->logged_stale);
	if (unreadable != thread->logged_unreadable)
		log_warn(
			"worker %u: %u responses ended unfinished: a streamed file could not be read: %s (see the kernel's "
			"log)",
			thread->config.index, unreadable - thread->logged_unreadable, strerror(EIO));
	thread->logged_stale = stale;
	thread->logged_unreadable = unreadable;
}

static void log_notices(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->options->workers; i++) {
		struct worker_thread *thread = &server->workers[i];
		struct worker_notices *notices;
		unsigned failures, full;

		if (thread->state != THREAD_READY)
			continue;
		notices = worker_notices(thread->worker);
		failures = atomic_load_explicit(&notices->accept_failures, memory_order_relaxed);
		full = atomic_load_explicit(&notices->full, memory_order_relaxed);
		if (failures != thread->logged_failures) {
			int err = atomic_load_explicit(&notices->accept_errno, memory_order_relaxed);

			log_warn("worker %u: accepting failed %u times: %s%s", i, failures - thread->logged_failures,
			         strerror(err),
			         err == EMFILE ? " (raise the descriptor limit: ulimit -n, LimitNOFILE=)" : "");
		}
		if (full != thread->logged_full)
			log_warn("worker %u: all %u connections are in use, new ones wait (raise --max-connections)", i,
			         thread->config.conns);
		thread->logged_failures = failures;
		thread->logged_full = full;
		log_unfinished(thread, notices);
	}
	pthread_mutex_unlock(&server->lock);
}

/* A worker that sleeps would hold the old snapshot until its next event: wake it to adopt. Reloader's or admin's thread. */
static void on_publish(void *context)
{
	struct server *server = context;

	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->options->workers; i++)
		if (server->workers[i].state == THREAD_READY)
			worker_command(server->workers[i].worker, WORKER_RUN);
	pthread_mutex_unlock(&server->lock);
}

/* Any thread. The worker goes on counting: each number is one that was true. */
static void count_worker(void *context, unsigned index, struct conn_stats *total)
{
	struct server *server = context;
	const struct worker_thread *thread = &server->workers[index];

	pthread_mutex_lock(&server->lock);
	if (thread->state == THREAD_READY)
		worker_stats(thread->worker, total);
	else
		conn_stats_add(total, &thread->stats);
	pthread_mutex_unlock(&server->lock);
}

static int start_admin(struct server *server)
{
	const struct admin_config config = {
		.options = server->options,
		.reload = server->reload,
		.version = LOOM_VERSION,
		.backend = server->described,
		.listeners = server->listeners,
		.listens = server->bound,
		.metrics = &server->metrics.source,
	};
	char why[WHY_SIZE];
	int err;

	if (!server->admin)
		return 0;
	for (unsigned i = 0; i < server->bound; i++)
		server->listeners[i] = server->address[i].text;
	err = admin_start(server->admin, &config, why, sizeof(why));
	if (err < 0)
		log_error("--admin: %s", why);
	return err;
}

/* How many workers have not ended. */
static unsigned command_workers(struct server *server, enum worker_command command)
{
	unsigned left = 0;

	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->options->workers; i++) {
		if (server->workers[i].state != THREAD_READY)
			continue;
		left++;
		if (command != WORKER_RUN)
			worker_command(server->workers[i].worker, command);
	}
	pthread_mutex_unlock(&server->lock);
	return left;
}

/* Sleeps until every worker has ended. */
static void supervise(struct server *server)
{
	struct pollfd fds[] = { { .fd = server->signals, .events = POLLIN },
		                { .fd = server->events, .events = POLLIN } };
	enum worker_command command = WORKER_RUN;
	struct signalfd_siginfo signal;
	uint64_t count;

	while (command_workers(server, WORKER_RUN) > 0) {
		if (poll(fds, 2, -1) < 0)
			continue; /* EINTR of a debugger */
		if (read(server->events, &count, sizeof(count)) == sizeof(count))
			log_notices(server);
		if (read(server->signals, &signal, sizeof(signal)) != sizeof(signal))
			continue;
		if (signal.ssi_signo == SIGHUP) {
			log_info("rebuilding on SIGHUP");
			reload_request(server->reload);
			continue;
		}
		command = command == WORKER_RUN ? WORKER_DRAIN : WORKER_ABORT;
		server_metrics_drain(&server->metrics);
		if (server->admin)
			admin_drain(server->admin);
		log_info(command == WORKER_DRAIN ? "draining: finishing what is under way, for at most %u ms"
		                                 : "ending at once",
		         server->options->timeouts.grace);
		for (unsigned i = 0; i < server->bound; i++)
			listen_cleanup(&server->address[i]);
		command_workers(server, command);
	}
}

static int open_signals(struct server *server)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	server->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	server->events = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (server->signals < 0 || server->events < 0) {
		log_error("cannot set up signals: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

static void serve(struct server *server)
{
	struct conn_stats total = { 0 };

	for (unsigned i = 0; i < server->bound; i++)
		log_info("listening on %s", server->address[i].text);
	log_info("%u worker%s, at most %u connections; ready", server->options->workers,
	         server->options->workers == 1 ? "" : "s", server->options->max_connections);
	say_word(server, GO_SERVE);
	supervise(server);
	join_workers(server, server->options->workers);
	for (unsigned i = 0; i < server->options->workers; i++)
		conn_stats_add(&total, &server->workers[i].stats);
	log_info("stopped: %llu connections, %llu requests, %llu timeouts", (unsigned long long)total.accepted,
	         (unsigned long long)total.requests, (unsigned long long)total.timeouts);
}

static int start_reload(struct server *server)
{
	int err;

	reload_on_publish(server->reload, on_publish, server);
	err = reload_start(server->reload);
	if (err < 0)
		log_error("cannot start the reloader's thread: %s", strerror(-err));
	return err;
}

int server_run(const struct options *options)
{
	struct server *server = calloc(1, sizeof(*server));
	int status = 1;

	if (!server) {
		log_error("out of memory");
		return 1;
	}
	server->options = options;
	server->signals = server->events = -1;
	server_metrics_init(&server->metrics);
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	server->inboxes = aligned_alloc(CACHE_LINE, options->workers * sizeof(*server->inboxes));
	server->workers = calloc(options->workers, sizeof(*server->workers));
	if (!server->inboxes || !server->workers) {
		log_error("out of memory");
		goto fail;
	}
	memset(server->inboxes, 0, options->workers * sizeof(*server->inboxes));

	/* What is cheap to find wrong comes first. */
	if (select_backend(server) < 0 || open_signals(server) < 0 || bind_all(server) < 0 ||
	    server_metrics_bind(&server->metrics, options) < 0 || bind_admin(server) < 0)
		goto fail;
	if (build_first(server) < 0)
		goto fail;
	if (listen_all(server) < 0 || start_on_some_backend(server) < 0)
		goto fail;
	server_metrics_set(&server->metrics, server->reload, server->workers[0].config.ops, count_worker, server);
	if (start_reload(server) < 0 || server_metrics_start(&server->metrics) < 0 || start_admin(server) < 0) {
		say_word(server, GO_QUIT);
		join_workers(server, options->workers);
		goto fail;
	}
	serve(server);
	server->bound = 0; /* the workers have closed the listeners */
	status = 0;
fail:
	close_listeners(server);
	admin_destroy(server->admin);
	server_metrics_end(&server->metrics);
	if (server->reload)
		reload_destroy(server->reload);
	if (server->signals >= 0)
		close(server->signals);
	if (server->events >= 0)
		close(server->events);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server->inboxes);
	free(server->workers);
	free(server);
	return status;
}
