/*
 * server_listen.c - the server's addresses: bound at the start, or taken from a predecessor; handed to a successor; closed
 * at the end. Main thread.
 *
 * Each socket of an address has a queue of its own. So what was inherited is accepted from, all of it, whatever the
 * number of workers is now: a worker may have several sockets of one address.
 */
#include "serving.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/log.h"

/* Says what is wrong with a value of --listen. Returns err. */
static int complain(const struct options *options, unsigned value, int err, const char *why)
{
	char origin[512] = "";

	/* An address that is in use is told as it always was; of a passed one the option is what can be mended. */
	if (err != -EADDRINUSE && options->store)
		options_origin(options, "listen", value, origin, sizeof(origin));
	log_error("%s%s%s", origin, *origin ? ": " : "", why);
	return err;
}

struct listening *server_next_listening(struct server *server, const struct listen_address *like, const char *text,
                                        char *why, size_t size)
{
	struct listening *listening = &server->listening[server->bound];

	if (server->bound == OPTIONS_LISTEN_MAX) {
		snprintf(why, size, "too many sockets to listen on (at most %d)", OPTIONS_LISTEN_MAX);
		return NULL;
	}
	*listening = (struct listening){ .address = *like, .text = text };
	return listening;
}

/* What a predecessor has for it; "systemd:*" may stand for several. How many it has taken, or -errno. */
static int take_inherited(struct server *server, const struct listen_address *like, const char *text, char *why,
                          size_t size)
{
	int taken = 0, err;

	do {
		struct listening *listening = server_next_listening(server, like, text, why, size);

		if (!listening)
			return taken ? taken : -E2BIG;
		err = inherit_take(server->start->inherited, INHERIT_LISTEN, text, server->options->workers,
		                   &listening->address, &listening->fds, &listening->n, why, size);
		listening->inherited = err > 0;
		server->bound += err > 0;
		taken += err > 0;
	} while (err > 0 && like->source == LISTEN_SYSTEMD);
	return err < 0 ? err : taken;
}

struct listening *server_new_listening(struct server *server, const struct listen_address *like, const char *text,
                                       char *why, size_t size)
{
	struct listening *listening = server_next_listening(server, like, text, why, size);

	if (!listening)
		return NULL;
	listening->n = server->options->workers;
	listening->fds = calloc(listening->n, sizeof(*listening->fds));
	if (listening->fds)
		return listening;
	snprintf(why, size, "%s", strerror(ENOMEM));
	return NULL;
}

int server_keep_listening(struct server *server, struct listening *listening, int err)
{
	if (err) {
		free(listening->fds);
		listening->fds = NULL;
	}
	server->bound += err == 0;
	return err;
}

static int bind_own(struct server *server, const struct listen_address *like, const char *text, char *why, size_t size)
{
	struct listening *listening = server_new_listening(server, like, text, why, size);

	if (!listening)
		return -ENOMEM;
	return server_keep_listening(server, listening,
	                             listen_bind(&listening->address, listening->fds, listening->n, why, size));
}

int server_bind(struct server *server)
{
	const struct options *options = server->options;
	struct listen_passed passed[LISTEN_PASSED_MAX];
	char why[WHY_SIZE];
	int n = 0, err;

	/* By a predecessor they are handed over as all others are, with other numbers. */
	if (!server->start->inherited)
		n = listen_passed(passed, why, sizeof(why));
	if (n < 0) {
		log_error("%s", why);
		return n;
	}
	for (unsigned i = 0; i < options->listens; i++) {
		const char *text = options->listen[i];
		struct listen_address like;

		err = listen_parse_value(text, &like, why, sizeof(why));
		if (err == 0)
			err = take_inherited(server, &like, text, why, sizeof(why));
		if (err == 0)
			err = like.source == LISTEN_OWN
			              ? bind_own(server, &like, text, why, sizeof(why))
			              : server_take_passed(server, &like, text, passed, (unsigned)n, why, sizeof(why));
		if (err < 0)
			return complain(options, i, err, why);
	}
	server_warn_of_passed(server, passed, (unsigned)n);
	return 0;
}

void server_log_listening(const struct server *server)
{
	for (unsigned i = 0; i < server->bound; i++) {
		const struct listen_address *address = &server->listening[i].address;
		char from[300] = "";

		if (address->source == LISTEN_DESCRIPTOR)
			snprintf(from, sizeof(from), ", descriptor %d", address->descriptor);
		else if (address->source == LISTEN_SYSTEMD)
			snprintf(from, sizeof(from), ", from systemd");
		log_info("listening on %s%s%s", address->text, from, address->options.proxy ? ", PROXY protocol" : "");
	}
}

int server_listen(struct server *server)
{
	char why[WHY_SIZE];

	for (unsigned i = 0; i < server->bound; i++) {
		struct listening *listening = &server->listening[i];
		int err;

		/* 0, as the system has it, is what a new one has; here an inherited one gets it, whose predecessor is about to leave. */
		if (server->options->max_unsent || listening->inherited)
			listen_limit_unsent(listening->fds, listening->n, server->options->max_unsent);
		err = listen_start(&listening->address, listening->fds, listening->n, why, sizeof(why));

		if (err < 0) {
			log_error("%s", why);
			return err;
		}
	}
	return 0;
}

/* The admin socket, while there is one thread: see admin_bind(). */
int server_bind_admin(struct server *server)
{
	const char *path = server->options->admin;
	char why[WHY_SIZE];
	int err;

	if (!path)
		return 0;
	for (unsigned i = 0; i < server->bound; i++) {
		const char *text = server->listening[i].address.text;

		if (strncmp(text, "unix:", 5) == 0 && strcmp(text + 5, path) == 0) {
			log_error("unix:%s cannot be both --admin and --listen", path);
			return -EADDRINUSE;
		}
	}
	err = admin_bind(&server->admin, path, server->start->inherited, why, sizeof(why));
	if (err < 0)
		log_error("--admin: %s", why);
	return err;
}

int server_deal(const struct server *server, struct worker_thread *thread, unsigned worker, unsigned *n)
{
	unsigned workers = server->options->workers, most = 0;

	*n = 0;
	for (unsigned i = 0; i < server->bound; i++)
		most += (server->listening[i].n + workers - 1) / workers;
	free(thread->fds);
	free(thread->listen_flags);
	/* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): something is listened on */
	thread->fds = calloc(most, sizeof(*thread->fds));
	/* NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI): likewise */
	thread->listen_flags = calloc(most, sizeof(*thread->listen_flags));
	if (!thread->fds || !thread->listen_flags)
		return -ENOMEM;
	for (unsigned i = 0; i < server->bound; i++) {
		const struct listening *listening = &server->listening[i];
		const struct listen_address *address = &listening->address;

		for (unsigned j = worker; j < listening->n; j += workers) {
			thread->fds[*n] = listening->fds[j];
			thread->listen_flags[(*n)++] = (uint8_t)((address->options.proxy ? WORKER_LISTEN_PROXY : 0) |
			                                         (address->shared ? WORKER_LISTEN_SHARED : 0));
		}
	}
	return 0;
}

unsigned server_hand_over(const struct server *server, struct upgrade_sockets *sockets, int *admin, int *metrics)
{
	const struct listen_address *address;
	unsigned n = 0;

	for (unsigned i = 0; i < server->bound; i++) {
		const struct listening *listening = &server->listening[i];

		sockets[n++] = (struct upgrade_sockets){
			.kind = INHERIT_LISTEN,
			.text = listening->text,
			.device = listening->address.device,
			.inode = listening->address.inode,
			.fds = listening->fds,
			.n = listening->n,
		};
	}
	*admin = admin_socket(server->admin, &address);
	if (*admin >= 0)
		sockets[n++] = (struct upgrade_sockets){
			.kind = INHERIT_ADMIN,
			.text = address->text, /* unix:PATH, which is what admin_bind() looks for */
			.device = address->device,
			.inode = address->inode,
			.fds = admin,
			.n = 1,
		};
	*metrics = metrics_http_socket(server->metrics.http, &address);
	if (*metrics >= 0)
		sockets[n++] = (struct upgrade_sockets){
			.kind = INHERIT_METRICS,
			.text = server->options->metrics,
			.device = address->device,
			.inode = address->inode,
			.fds = metrics,
			.n = 1,
		};
	return n;
}

void server_unlink(struct server *server)
{
	const struct upgrade *upgrade = &server->upgrade;

	for (unsigned i = 0; i < server->bound; i++)
		if (upgrade->state == UPGRADE_GONE ? !upgrade->taken[i]
		                                   : server->has_place || !server->listening[i].inherited)
			listen_cleanup(&server->listening[i].address);
}

void server_close(struct server *server, bool sockets)
{
	if (sockets)
		server_unlink(server);
	for (unsigned i = 0; i < server->bound; i++) {
		struct listening *listening = &server->listening[i];

		for (unsigned j = 0; sockets && j < listening->n; j++)
			close(listening->fds[j]);
		free(listening->fds);
		listening->fds = NULL;
	}
	server->bound = 0;
}
