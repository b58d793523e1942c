/*
 * server_passed.c - sockets that whoever started loom has opened: a shell (--listen fd:N) or a service manager (--listen
 * systemd:NAME). Main thread, at start. All workers share such a socket, each with a descriptor of its own.
 */
#include "serving.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/log.h"

/* Into the next of server->listening. */
static int adopt(struct server *server, const struct listen_address *like, const char *text, int fd, char *why,
                 size_t size)
{
	struct listening *listening;

	for (unsigned i = 0; i < server->bound; i++) {
		if (server->listening[i].fds[0] == fd) {
			snprintf(why, size, "%s: descriptor %d is listened on already", like->text, fd);
			return -EINVAL;
		}
	}
	listening = server_new_listening(server, like, text, why, size);
	if (!listening)
		return -ENOMEM;
	return server_keep_listening(
		server, listening,
		listen_take_over(&listening->address, &fd, 1, listening->fds, listening->n, why, size));
}

/* What systemd has passed, for people. */
static void name_passed(const struct listen_passed passed[], unsigned n, char *text, size_t size)
{
	size_t used = 0;

	*text = '\0';
	for (unsigned i = 0; i < n && used + 1 < size; i++) {
		int len = snprintf(text + used, size - used, "%s%s", i ? ", " : "", passed[i].name);

		used += len > 0 ? (size_t)len : 0;
	}
}

static int adopt_named(struct server *server, const struct listen_address *like, const char *text,
                       struct listen_passed passed[], unsigned n, char *why, size_t size)
{
	unsigned found = 0;
	char names[256];
	int err;

	for (unsigned i = 0; i < n; i++) {
		if (strcmp(like->name, "*") != 0 && strcmp(like->name, passed[i].name) != 0)
			continue;
		err = adopt(server, like, text, passed[i].fd, why, size);
		if (err)
			return err;
		passed[i].taken = true;
		found++;
	}
	if (found)
		return 0;
	name_passed(passed, n, names, sizeof(names));
	if (n == 0)
		snprintf(why, size,
		         "%s: no socket was passed (LISTEN_FDS is not set for this process: start loom by its "
		         "socket unit)",
		         like->text);
	else
		snprintf(why, size, "%s: no socket of that name was passed, but: %s (see FileDescriptorName=)",
		         like->text, names);
	return -ENOENT;
}

int server_take_passed(struct server *server, const struct listen_address *like, const char *text,
                       struct listen_passed passed[], unsigned n, char *why, size_t size)
{
	return like->source == LISTEN_DESCRIPTOR ? adopt(server, like, text, like->descriptor, why, size)
	                                         : adopt_named(server, like, text, passed, n, why, size);
}

/* A socket that nobody takes holds its clients in a backlog that nobody looks at. */
void server_warn_of_passed(const struct server *server, const struct listen_passed passed[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool taken = passed[i].taken;

		for (unsigned j = 0; j < server->bound; j++)
			taken |= server->listening[j].fds[0] == passed[i].fd;
		if (!taken)
			log_warn(
				"the socket '%s' was passed (descriptor %d), and no --listen takes it: its clients wait in "
				"vain (--listen systemd:%s)",
				passed[i].name, passed[i].fd, passed[i].name);
	}
}
