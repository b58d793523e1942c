/*
 * server_upgrade.c - a server that is replaced by its successor: asked for, begun, given up or carried out. Main thread, but
 * for the two functions that the admin's thread calls. Owns duplicates of the listening sockets once there is a
 * successor, for the case that it dies while this process still drains.
 */
#include "serving.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/log.h"

#define KEEP_MS 10000 /* after a successor has our place, at most: then it has shown that it lives */

/* Why there can be no upgrade now; NULL: there can. */
static const char *reason_against(struct server *server)
{
	if (server->command != WORKER_RUN)
		return "loom is ending";
	if (!server->has_place)
		return "this loom has not taken the place of its predecessor yet";
	if (getpid() == 1)
		return "this is process 1, with whose end all others end: replace the container";
	if (generations_pinned(reload_generations(server->reload), NULL))
		return "a generation is pinned, and a successor would serve the tree (unpin it first)";
	return NULL;
}

static void answer_upgrade(struct server *server, pid_t successor, const char *why)
{
	pthread_mutex_lock(&server->lock);
	server->request.answered = server->request.asked;
	server->request.successor = successor;
	snprintf(server->request.why, sizeof(server->request.why), "%s", why);
	pthread_mutex_unlock(&server->lock);
	admin_wake(server->admin);
}

/* A successor did not come to be. */
void upgrade_go_on(struct server *server, const char *why)
{
	log_error("no upgrade, this loom (pid %d) goes on: %s", (int)getpid(), why);
	answer_upgrade(server, 0, why);
}

static void begin_upgrade(struct server *server)
{
	struct upgrade_sockets sockets[HANDED_MAX];
	const char *against = reason_against(server);
	uint32_t patience = live_options(&server->live)->upgrade_timeout;
	char why[WHY_SIZE];
	int admin, metrics;
	unsigned n;

	if (against) {
		upgrade_go_on(server, against);
		return;
	}
	n = server_hand_over(server, sockets, &admin, &metrics);
	server->asked = reload_asked(server->reload);
	server->reopened = false;
	if (upgrade_begin(&server->upgrade, sockets, n, life_now() + patience, why, sizeof(why)) < 0)
		upgrade_go_on(server, why);
	else
		log_info("upgrading: pid %d is started, and has %u ms to be ready", (int)server->upgrade.pid, patience);
}

/* Whether somebody has asked for what has not been begun. The request is under way from the moment it is asked for. */
static void begin_if_asked(struct server *server)
{
	bool asked;

	pthread_mutex_lock(&server->lock);
	asked = server->request.asked != server->request.answered;
	pthread_mutex_unlock(&server->lock);
	if (asked && (server->upgrade.state == UPGRADE_NONE || server->upgrade.state == UPGRADE_GONE))
		begin_upgrade(server);
}

uint64_t life_ask_upgrade(void *context, char *why, size_t size)
{
	struct server *server = context;
	uint64_t ticket = 0;

	pthread_mutex_lock(&server->lock);
	if (server->request.asked == server->request.answered)
		ticket = ++server->request.asked;
	pthread_mutex_unlock(&server->lock);
	if (ticket)
		life_wake(server);
	else
		snprintf(why, size, "an upgrade is under way already");
	return ticket;
}

int life_upgraded(void *context, uint64_t ticket, int *pid, char *why, size_t size)
{
	struct server *server = context;
	const struct upgrade_request *request = &server->request;
	int result = 0;

	pthread_mutex_lock(&server->lock);
	if (request->answered >= ticket) {
		result = request->successor ? 1 : -1;
		*pid = (int)request->successor;
		snprintf(why, size, "%s", request->why);
	}
	pthread_mutex_unlock(&server->lock);
	return result;
}

/* The sockets, apart from the workers', which close theirs. */
static void keep_sockets(struct server *server)
{
	struct upgrade_sockets sockets[HANDED_MAX];
	int admin, metrics;
	unsigned n;

	n = server_hand_over(server, sockets, &admin, &metrics);
	for (unsigned i = 0; i < n; i++) {
		struct upgrade_sockets *kept = &server->kept[server->keeps];
		int *fds = server->upgrade.taken[i] ? calloc(sockets[i].n, sizeof(*fds)) : NULL;

		if (!fds)
			continue;
		*kept = sockets[i];
		kept->fds = fds;
		kept->n = 0;
		for (unsigned j = 0; j < sockets[i].n; j++) {
			fds[kept->n] = fcntl(sockets[i].fds[j], F_DUPFD_CLOEXEC, 0);
			if (fds[kept->n] >= 0)
				kept->n++;
		}
		server->keeps++;
	}
}

static void release_sockets(struct server *server)
{
	for (unsigned i = 0; i < server->keeps; i++) {
		const struct upgrade_sockets *kept = &server->kept[i];

		for (unsigned j = 0; j < kept->n; j++)
			close(kept->fds[j]);
		free((int *)(uintptr_t)kept->fds);
	}
	server->keeps = 0;
}

/*
 * The successor has died in our place, and we, who could not serve any more, are still there: clients wait in the
 * queues of the sockets. The binary that has served before, which is ours, is started on them; when it is ready is its
 * own affair, since with our end the place is its own.
 */
static void rescue(struct server *server)
{
	char why[WHY_SIZE];

	if (server->keeps == 0 || server->managed) {
		release_sockets(server);
		return;
	}
	log_error("starting the binary that served before, in its place");
	upgrade_reset(&server->upgrade);
	if (upgrade_begin(&server->upgrade, server->kept, server->keeps, UINT64_MAX, why, sizeof(why)) < 0) {
		log_error("%s: nobody serves", why);
		release_sockets(server);
	}
}

void upgrade_end(struct server *server)
{
	if (server->keeps > 0 &&
	    (server->upgrade.state == UPGRADE_STARTING || server->upgrade.state == UPGRADE_PROBATION))
		upgrade_forget(&server->upgrade);
	release_sockets(server);
}

/* The successor serves: this process goes. */
static void leave(struct server *server)
{
	pid_t pid = server->upgrade.pid;
	unsigned next = server->bound; /* as server_hand_over() has them */

	log_info("pid %d has taken over", (int)pid);
	/* The manager takes notices from the process that it knows: it must know the new one before that speaks. */
	notify_send(&server->notify, "MAINPID=%d\nSTATUS=Taken over by pid %d", (int)pid, (int)pid);
	notify_close(&server->notify);
	server->watchdog_at = NEVER;
	server->has_place = false;
	keep_sockets(server);
	server->keep_until = life_now() + KEEP_MS;
	if (server->admin && server->upgrade.taken[next++])
		admin_yield(server->admin);
	server_metrics_yield(&server->metrics, server->metrics.http && server->upgrade.taken[next]);
	/* What it has read, and the files that it has opened, may be older than what we were told meanwhile. */
	if (reload_asked(server->reload) != server->asked)
		upgrade_tell(&server->upgrade, SIGHUP);
	if (server->reopened)
		upgrade_tell(&server->upgrade, SIGUSR1);
	upgrade_leave(&server->upgrade);
	life_drain(server, WORKER_YIELD);
	answer_upgrade(server, pid, "");
}

void upgrade_supervise(struct server *server, uint64_t now)
{
	bool leaving = server->keeps > 0;
	char why[WHY_SIZE];

	begin_if_asked(server);
	switch (upgrade_look(&server->upgrade, now, why, sizeof(why))) {
	case UPGRADE_FAILED:
		if (!leaving) {
			upgrade_go_on(server, why);
			return;
		}
		log_error("%s: nobody serves", why);
		release_sockets(server); /* clients are refused, and who starts loom by hand finds the port free */
		return;
	case UPGRADE_READY:
		if (!leaving) {
			leave(server);
			return;
		}
		log_info("pid %d serves", (int)server->upgrade.pid);
		upgrade_leave(&server->upgrade);
		return;
	case UPGRADE_LOST:
		rescue(server);
		return;
	case UPGRADE_NONE:
	case UPGRADE_STARTING:
	case UPGRADE_PROBATION:
		return;
	case UPGRADE_GONE:
		/* One that ends as it should gives its port up, and so must we. */
		if (server->keeps > 0 && (server->upgrade.pid == 0 || now >= server->keep_until))
			release_sockets(server);
		return;
	}
}
