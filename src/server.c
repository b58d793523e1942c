/*
 * server.c - see server.h. The main thread: it sets everything up and takes it down; in between is server_life.c.
 *
 * Threads: this one (signals, log lines), the reloader, the admin socket's, and one a worker. All signals are blocked in all threads and
 * read here from a signalfd, so that no code ever runs at a moment that it did not choose.
 */
#include "serving.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/peer_count.h"
#include "loom/pid_file.h"
#include "loom/sandbox.h"

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

/* A thread that a backend has started. */
static void on_disk_thread(void)
{
	sandbox_thread(SANDBOX_DISK);
}

static void *worker_main(void *argument)
{
	struct worker_thread *thread = argument;
	struct worker *worker;
	char name[16];

	/* By itself: the name of another thread is written to /proc, which the sandbox does not allow. */
	snprintf(name, sizeof(name), "loom-worker-%u", thread->config.index % 1000);
	pthread_setname_np(pthread_self(), name);
	thread->err = worker_create(&worker, &thread->config, thread->why, sizeof(thread->why));
	if (thread->err < 0) {
		set_state(thread, THREAD_FAILED);
		return NULL;
	}
	thread->worker = worker;
	worker_describe(worker, thread->features, sizeof(thread->features));
	thread->limits = worker_limits(worker);
	set_state(thread, THREAD_READY);

	if (wait_for_word(thread)) {
		/* From here on the thread waits for no other one, not even to the end: sandbox_filter.c. */
		sandbox_thread(SANDBOX_WORKER);
		thread->err = worker_run(worker);
		if (thread->err < 0) {
			/* Connections are open in a backend that no longer answers: there is no orderly way on. */
			log_error("worker %u: the event backend failed: %s", thread->config.index,
			          strerror(-thread->err));
			_exit(1);
		}
	}
	worker_stats(worker, &thread->stats);
	thread->lent = worker_lent(worker);
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
	unsigned n = options->workers, started, sockets;
	int err = 0;

	server->go = GO_WAIT;
	for (started = 0; started < n; started++) {
		struct worker_thread *thread = &server->workers[started];

		thread->server = server;
		thread->state = THREAD_STARTING;
		err = server_deal(server, thread, started, &sockets);
		if (err < 0) {
			snprintf(why, size, "%s", strerror(ENOMEM));
			break;
		}
		thread->config = (struct worker_config){
			.ops = ops,
			.options = options,
			.inbox = &server->inboxes[started],
			.index = started,
			/* Shared out evenly, rounded up. */
			.conns = (options->max_connections + n - 1) / n,
			.listen_fds = thread->fds,
			.listen_flags = thread->listen_flags,
			.listens = sockets,
			.access = server->access ? access_log_ring(server->access, started) : NULL,
			.measure = options->metrics || options->admin,
			.peers = server->peers,
			.notify = on_notice,
			.context = thread,
			.contain = sandbox_wants_rings(),
			.on_thread = on_disk_thread,
		};
		err = -pthread_create(&thread->thread, NULL, worker_main, thread);
		if (err < 0) {
			snprintf(why, size, "cannot start worker thread %u: %s", started, strerror(-err));
			break;
		}
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
	int err = io_select(server->options->backend, &server->options->features, &server->ops, server->backend,
	                    sizeof(server->backend));

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

	if (err < 0 && err != -IO_EFEATURE && strcmp(server->options->backend, "auto") == 0) {
		for (unsigned i = 0; err < 0 && io_backends[i]; i++) {
			if (io_backends[i] == server->ops ||
			    io_backends[i]->probe(&server->options->features, why, sizeof(why)) < 0)
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

/* What is in force, once it is: a ring can only be limited when it is made. */
static int tell_sandbox(struct server *server)
{
	bool limited = false, unlimitable = false;
	char text[8 * WHY_SIZE];
	int err;

	for (unsigned i = 0; i < server->options->workers; i++) {
		limited |= server->workers[i].limits == IO_LIMITED;
		unlimitable |= server->workers[i].limits == IO_UNLIMITABLE;
	}
	err = sandbox_rings(limited && !unlimitable, unlimitable ? "ring restrictions (Linux 5.10)" : NULL);
	sandbox_describe(text, sizeof(text));
	if (err)
		log_error("--sandbox=on cannot be had: %s (--sandbox=auto serves without)", text);
	else
		log_info("sandbox: %s", text);
	return err;
}

static int enter_sandbox(const struct options *options)
{
	char why[WHY_SIZE];
	int err = sandbox_enter(options, why, sizeof(why));

	if (err)
		log_error("%s", why);
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

void server_log_notices(struct server *server)
{
	pthread_mutex_lock(&server->lock);
	for (unsigned i = 0; i < server->options->workers; i++) {
		struct worker_thread *thread = &server->workers[i];

		if (thread->state == THREAD_READY)
			notices_log(&thread->config, worker_notices(thread->worker), &thread->told);
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

/* Of the access log, for metrics. */
static uint64_t count_dropped(void *context)
{
	const struct server *server = context;
	struct access_log_stats stats = { 0 };

	if (server->access)
		access_log_stats(server->access, &stats);
	return stats.dropped;
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
		.upgrade = life_ask_upgrade,
		.upgraded = life_upgraded,
		.context = server,
	};
	char why[WHY_SIZE];
	int err;

	if (!server->admin)
		return 0;
	for (unsigned i = 0; i < server->bound; i++)
		server->listeners[i] = server->listening[i].address.text;
	err = admin_start(server->admin, &config, why, sizeof(why));
	if (err < 0)
		log_error("--admin: %s", why);
	return err;
}

unsigned server_command(struct server *server, enum worker_command command)
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

int server_take_place(struct server *server)
{
	const char *path = server->options->pid_file;
	char why[WHY_SIZE];
	int err = server_metrics_start(&server->metrics);

	if (err == 0 || server->start->inherited) /* who serves already goes on without */
		err = start_admin(server);
	if (err == 0 && path) {
		err = pid_file_write(path, why, sizeof(why));
		if (err < 0)
			log_error("--pid-file: %s", why);
	}
	return err;
}

static void serve(struct server *server)
{
	struct conn_stats total = { 0 };

	server_log_listening(server);
	log_info("%u worker%s, at most %u connections; ready", server->options->workers,
	         server->options->workers == 1 ? "" : "s", server->options->max_connections);
	log_started();
	say_word(server, GO_SERVE);
	life_supervise(server);
	join_workers(server, server->options->workers);
	logs_end(server->access);
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

static int start_access(struct server *server)
{
	int err = server->access ? access_log_start(server->access) : 0;

	if (err < 0)
		log_error("cannot start the access log's thread: %s", strerror(-err));
	return err;
}

/* Everything but the first snapshot and the sockets is there: now they listen, and clients may come. */
static int start_threads(struct server *server)
{
	int err = start_on_some_backend(server);

	if (err < 0)
		return err;
	server_metrics_set(&server->metrics, server->reload, server->workers[0].config.ops, count_worker, server);
	server->metrics.source.log_dropped = count_dropped;
	err = tell_sandbox(server);
	if (err == 0)
		err = start_reload(server);
	if (err == 0)
		err = start_access(server);
	/* Late: a socket that joins those of a predecessor has its share of the clients from here on. */
	if (err == 0)
		err = server_listen(server);
	if (err == 0 && server->has_place)
		err = server_take_place(server);
	if (err < 0) {
		say_word(server, GO_QUIT);
		join_workers(server, server->options->workers);
	}
	return err;
}

static void free_server(struct server *server)
{
	for (unsigned i = 0; server->workers && i < server->options->workers; i++) {
		free(server->workers[i].fds);
		free(server->workers[i].listen_flags);
	}
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	peer_count_destroy(server->peers);
	free(server->inboxes);
	free(server->workers);
	free(server);
}

/* Whether snapshots are still read by the kernel, for the ends of answers that an abort has cut short. */
static bool is_lent(const struct server *server)
{
	unsigned lent = 0;

	for (unsigned i = 0; server->workers && i < server->options->workers; i++)
		lent += server->workers[i].lent;
	return lent > 0;
}

int server_run(const struct options *options, const struct server_start *start)
{
	struct server *server = calloc(1, sizeof(*server));
	bool served = false;

	if (!server) {
		log_error("out of memory");
		return 1;
	}
	server->start = start;
	server->options = options;
	server->signals = server->events = server->upgrade.channel = server->notify.fd = -1;
	server_metrics_init(&server->metrics);
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	server->inboxes = aligned_alloc(CACHE_LINE, options->workers * sizeof(*server->inboxes));
	server->workers = calloc(options->workers, sizeof(*server->workers));
	if (!server->inboxes || !server->workers) {
		log_error("out of memory");
		goto end;
	}
	memset(server->inboxes, 0, options->workers * sizeof(*server->inboxes));
	if (options->max_per_ip &&
	    peer_count_create(&server->peers, options->max_connections, options->max_per_ip) < 0) {
		log_error("out of memory");
		goto end;
	}

	/*
	 * What is cheap to find wrong comes first; and standard output and listeners before anything that takes a number
	 * which one may have.
	 */
	if (logs_open(options, &server->access) < 0 || select_backend(server) < 0 || server_bind(server) < 0 ||
	    life_begin(server) < 0 || server_metrics_bind(&server->metrics, options, start->inherited) < 0 ||
	    server_bind_admin(server) < 0)
		goto end;
	/* Before any other thread, and before ROOT is looked at: what cannot be reached later is missed at the start. */
	if (enter_sandbox(options) < 0 || build_first(server) < 0 || start_threads(server) < 0)
		goto end;
	sandbox_thread(SANDBOX_MAIN);
	serve(server);
	served = true;
end:
	/* A successor's may come any moment, and must not be taken for ours. */
	if (options->pid_file && server->upgrade.state != UPGRADE_GONE)
		pid_file_remove(options->pid_file);
	server_close(server, !served); /* or the workers have closed them */
	admin_destroy(server->admin);
	server_metrics_end(&server->metrics);
	life_end(server);
	if (server->reload)
		reload_destroy(server->reload, is_lent(server));
	logs_end(server->access); /* where a start came to nothing */
	access_log_destroy(server->access);
	log_close();
	free_server(server);
	return served ? 0 : 1;
}
