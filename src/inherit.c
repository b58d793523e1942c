/*
 * inherit.c - see inherit.h: the successor's side of an upgrade. Main thread. Owns the descriptors that were handed over
 * until they are taken.
 */
#include "loom/inherit.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct group {
	char kind;
	bool taken;
	dev_t device;
	ino_t inode;
	int *fds;
	unsigned n;
	const char *text; /* in inherited->text */
};

struct inherited {
	char *text;
	int channel; /* -1: there is nobody at the other end */
	bool ours;
	bool ready;
	unsigned groups;
	struct group *group;
};

static int refuse(char *why, size_t size, const char *what)
{
	snprintf(why, size, "%s: %s (it is set by a loom that starts its successor, and by nobody else: unset it)",
	         INHERIT_VARIABLE, what);
	return -EINVAL;
}

static bool read_number(char **at, char end, uintmax_t most, uintmax_t *number)
{
	char *rest;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*number = strtoumax(*at, &rest, 10);
	if (errno || *rest != end || *number > most)
		return false;
	*at = rest + 1;
	return true;
}

static bool keep_from_children(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0;
}

static bool listens(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static int read_group(struct group *group, char *line, char *why, size_t size)
{
	uintmax_t number;
	char *fds, *fd;
	size_t most = 1;

	if (!line[0] || !strchr((const char[]){ INHERIT_LISTEN, INHERIT_ADMIN, INHERIT_METRICS, '\0' }, line[0]) ||
	    line[1] != ' ')
		return refuse(why, size, "a line of an unknown kind");
	group->kind = line[0];
	line += 2;
	if (!read_number(&line, ' ', UINTMAX_MAX, &number))
		return refuse(why, size, "no device");
	group->device = (dev_t)number;
	if (!read_number(&line, ' ', UINTMAX_MAX, &number))
		return refuse(why, size, "no inode");
	group->inode = (ino_t)number;
	fds = strsep(&line, " ");
	if (!line)
		return refuse(why, size, "no address");
	group->text = line;
	for (const char *c = fds; *c; c++)
		most += *c == ',';
	group->fds = calloc(most, sizeof(*group->fds));
	if (!group->fds)
		return refuse(why, size, strerror(ENOMEM));
	while ((fd = strsep(&fds, ","))) {
		if (!read_number(&fd, '\0', INT_MAX, &number) || !keep_from_children((int)number) ||
		    !listens((int)number))
			return refuse(why, size, "a descriptor that is no listening socket");
		group->fds[group->n++] = (int)number;
	}
	return 0;
}

static int read_lines(struct inherited *inherited, char *why, size_t size)
{
	char *rest = inherited->text, *line = strsep(&rest, "\n");
	uintmax_t number;
	size_t most = 0;

	if (!read_number(&line, '\0', INT_MAX, &number) || !keep_from_children((int)number))
		return refuse(why, size, "no socket to the predecessor");
	inherited->channel = (int)number;
	for (const char *c = rest ? rest : ""; *c; c++)
		most += *c == '\n';
	inherited->group = calloc(most + 1, sizeof(*inherited->group));
	if (!inherited->group)
		return refuse(why, size, strerror(ENOMEM));
	while ((line = strsep(&rest, "\n"))) {
		int err;

		if (*line == '\0')
			continue;
		err = read_group(&inherited->group[inherited->groups++], line, why, size);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Sockets of a service manager stay what they are when they are handed on: sd_listen_fds(3) says by LISTEN_PID whose they
 * are, and options_parse() asks for that. Their numbers are not the manager's any more, which server_bind() knows.
 */
static void take_manager_sockets(const struct inherited *inherited)
{
	char pid[24];

	for (unsigned i = 0; i < inherited->groups; i++) {
		if (strncmp(inherited->group[i].text, "systemd:", 8) != 0)
			continue;
		snprintf(pid, sizeof(pid), "%jd", (intmax_t)getpid());
		setenv("LISTEN_PID", pid, 1);
	}
}

int inherit_open(struct inherited **out, char *why, size_t size)
{
	const char *text = getenv(INHERIT_VARIABLE);
	struct inherited *inherited;
	int err;

	*out = NULL;
	if (!text)
		return 0;
	inherited = calloc(1, sizeof(*inherited));
	if (inherited)
		inherited->text = strdup(text);
	unsetenv(INHERIT_VARIABLE);
	if (!inherited || !inherited->text) {
		free(inherited);
		return refuse(why, size, strerror(ENOMEM));
	}
	inherited->channel = -1;
	err = read_lines(inherited, why, size);
	if (err)
		inherit_close(inherited, why);
	else
		take_manager_sockets(*out = inherited);
	return err;
}

static struct group *find(struct inherited *inherited, char kind, const char *text,
                          const struct listen_address *address)
{
	for (int by_text = 1; by_text >= 0; by_text--) {
		for (unsigned i = 0; i < inherited->groups; i++) {
			struct group *group = &inherited->group[i];

			if (group->taken || group->kind != kind || group->n == 0)
				continue;
			if (by_text ? strcmp(group->text, text) == 0 : listen_is_at(address, group->fds[0]))
				return group;
		}
	}
	return NULL;
}

int inherit_take(struct inherited *inherited, char kind, const char *text, unsigned want,
                 struct listen_address *address, int **fds, unsigned *n, char *why, size_t size)
{
	struct group *group = inherited ? find(inherited, kind, text, address) : NULL;
	unsigned all;
	int err;

	assert(want >= 1);
	if (!group)
		return 0;
	all = group->n > want ? group->n : want;
	*fds = calloc(all, sizeof(**fds));
	if (!*fds) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	memcpy(*fds, group->fds, group->n * sizeof(**fds));
	address->device = group->device;
	address->inode = group->inode;
	err = listen_adopt(address, *fds, group->n, want, why, size);
	if (err) {
		free(*fds);
		*fds = NULL;
		return err;
	}
	group->taken = true;
	*n = all;
	return 1;
}

int inherit_take_one(struct inherited *inherited, char kind, const char *text, struct listen_address *address, int *fd,
                     char *why, size_t size)
{
	unsigned n;
	int *fds = NULL, taken = inherit_take(inherited, kind, text, 1, address, &fds, &n, why, size);

	if (taken > 0) {
		assert(fds);
		*fd = fds[0];
		free(fds);
	}
	return taken;
}

static void close_rest(struct inherited *inherited)
{
	for (unsigned i = 0; i < inherited->groups; i++) {
		struct group *group = &inherited->group[i];

		for (unsigned j = 0; j < group->n && !group->taken; j++)
			close(group->fds[j]);
		free(group->fds);
		group->fds = NULL;
		group->n = 0;
	}
}

static void say(struct inherited *inherited, const char *line, size_t len)
{
	ssize_t n;

	if (inherited->channel < 0)
		return;
	do
		n = send(inherited->channel, line, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	/* A predecessor that has ended is not told; the end of the channel is seen by inherit_is_ours(). */
}

void inherit_ready(struct inherited *inherited)
{
	size_t size, len;
	char *line;

	if (!inherited)
		return;
	/* First: whoever waits in the backlog of an address that is given up is accepted by the predecessor, which closes
	 * it last. */
	close_rest(inherited);
	size = sizeof("ready\n") + inherited->groups * sizeof(" 4294967295");
	line = malloc(size);
	if (!line)
		return; /* the predecessor goes on when its time is up, and ends this process */
	len = (size_t)snprintf(line, size, "ready");
	for (unsigned i = 0; i < inherited->groups; i++)
		if (inherited->group[i].taken)
			len += (size_t)snprintf(line + len, size - len, " %u", i);
	line[len++] = '\n';
	say(inherited, line, len);
	free(line);
	inherited->ready = true;
}

int inherit_fd(const struct inherited *inherited)
{
	return inherited && !inherited->ours ? inherited->channel : -1;
}

bool inherit_is_ours(struct inherited *inherited)
{
	char line[64];
	ssize_t n;

	if (inherited->ours)
		return true;
	n = recv(inherited->channel, line, sizeof(line), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* There is one thing that a predecessor says; and when it has ended there is nobody else to serve. */
	close(inherited->channel);
	inherited->channel = -1;
	inherited->ours = true;
	return true;
}

void inherit_decline(struct inherited *inherited)
{
	if (!inherited || inherited->ours || inherited->channel < 0)
		return;
	close(inherited->channel);
	inherited->channel = -1;
}

void inherit_close(struct inherited *inherited, const char *why)
{
	char line[600];
	int len;

	if (!inherited)
		return;
	if (!inherited->ready) {
		len = snprintf(line, sizeof(line), "failed %s\n", why);
		say(inherited, line, len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);
	}
	close_rest(inherited);
	if (inherited->channel >= 0)
		close(inherited->channel);
	free(inherited->group);
	free(inherited->text);
	free(inherited);
}
