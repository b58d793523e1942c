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

static int bind_one(struct server *server, struct listening *listening, const char *text)
{
	unsigned workers = server->options->workers;
	char why[WHY_SIZE];
	int err = listen_parse(text, &listening->address, why, sizeof(why));

	if (err == 0)
		err = inherit_take(server->start->inherited, INHERIT_LISTEN, text, workers, &listening->address,
		                   &listening->fds, &listening->n, why, sizeof(why));
	listening->inherited = err > 0;
	if (err == 0) {
		listening->n = workers;
		listening->fds = calloc(workers, sizeof(*listening->fds));
		if (!listening->fds) {
			log_error("out of memory");
			return -ENOMEM;
		}
		err = listen_bind(&listening->address, listening->fds, workers, why, sizeof(why));
	}
	if (err >= 0)
		return 0;
	log_error("%s", why);
	free(listening->fds);
	listening->fds = NULL;
	return err;
}

int server_bind(struct server *server)
{
	for (unsigned i = 0; i < server->options->listens; i++) {
		int err = bind_one(server, &server->listening[i], server->options->listen[i]);

		if (err < 0)
			return err;
		server->bound++;
	}
	return 0;
}

int server_listen(struct server *server)
{
	char why[WHY_SIZE];

	for (unsigned i = 0; i < server->bound; i++) {
		struct listening *listening = &server->listening[i];
		int err;

		if (server->options->max_unsent)
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

int *server_deal(const struct server *server, unsigned worker, unsigned *n)
{
	unsigned workers = server->options->workers, most = 0;
	int *fds;

	*n = 0;
	for (unsigned i = 0; i < server->bound; i++)
		most += (server->listening[i].n + workers - 1) / workers;
	fds = calloc(most, sizeof(*fds));
	if (!fds)
		return NULL;
	for (unsigned i = 0; i < server->bound; i++)
		for (unsigned j = worker; j < server->listening[i].n; j += workers)
			fds[(*n)++] = server->listening[i].fds[j];
	return fds;
}

unsigned server_hand_over(const struct server *server, struct upgrade_sockets *sockets, int *admin)
{
	const struct listen_address *address;
	unsigned n = 0;

	for (unsigned i = 0; i < server->bound; i++) {
		const struct listening *listening = &server->listening[i];

		sockets[n++] = (struct upgrade_sockets){
			.kind = INHERIT_LISTEN,
			.text = server->options->listen[i],
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
