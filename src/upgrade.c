/*
 * upgrade.c - see upgrade.h: the predecessor's side of an upgrade. Main thread. Owns the channel to the successor, and
 * is its parent.
 */
#include "loom/upgrade.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loom/inherit.h"
#include "loom/launcher.h"
#include "loom/log.h"

#define SELF "/proc/self/exe"

/* What a shell would find. NULL: nothing, or no memory. */
static char *search(const char *name)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path ? path : ""), *rest = copy, *dir, *found = NULL;

	while (copy && !found && (dir = strsep(&rest, ":"))) {
		if (asprintf(&found, "%s/%s", *dir ? dir : ".", name) < 0)
			found = NULL;
		else if (access(found, X_OK) < 0)
			free(found), found = NULL;
	}
	free(copy);
	return found;
}

static char *find_binary(const char *name)
{
	char *found = strchr(name, '/') ? strdup(name) : search(name), *cwd, *absolute = NULL;

	if (!found || found[0] == '/')
		return found;
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&absolute, "%s/%s", cwd, found) < 0)
		absolute = NULL;
	free(cwd);
	free(found);
	return absolute;
}

void upgrade_init(struct upgrade *upgrade, char *argv[], sigset_t *mask)
{
	*upgrade = (struct upgrade){ .argv = argv, .mask = mask, .channel = -1, .binary = find_binary(argv[0]) };
}

/* Variables that a successor does not get: ours, and the process that the watchdog is for, as it is the successor now. */
static const char *const dropped[] = { INHERIT_VARIABLE, "WATCHDOG_PID", NULL };

int upgrade_launch(struct upgrade *upgrade, char *why, size_t size)
{
	const struct launcher_config config = {
		.binary = upgrade->binary,
		.argv = upgrade->argv,
		.mask = upgrade->mask,
		.variable = INHERIT_VARIABLE,
		.dropped = dropped,
	};

	return launcher_create(&upgrade->launcher, &config, why, size);
}

static void close_channel(struct upgrade *upgrade)
{
	if (upgrade->channel >= 0)
		close(upgrade->channel);
	upgrade->channel = -1;
}

void upgrade_free(struct upgrade *upgrade)
{
	upgrade_abort(upgrade);
	close_channel(upgrade);
	launcher_destroy(upgrade->launcher);
	free(upgrade->binary);
	free(upgrade->taken);
	*upgrade = (struct upgrade){ .channel = -1 };
}

/* Duplicates of one socket (a Unix one's) go once: they are one queue. */
static bool is_duplicate(const int fds[], unsigned i)
{
	uint64_t cookie, other;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fds[i], SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return false;
	for (unsigned j = 0; j < i; j++) {
		len = sizeof(other);
		if (getsockopt(fds[j], SOL_SOCKET, SO_COOKIE, &other, &len) == 0 && cookie == other)
			return true;
	}
	return false;
}

/* What goes along: descriptors, and the text that tells of them. */
struct luggage {
	int *fds;
	unsigned n;
	char *variable; /* "NAME=value" */
};

static void luggage_free(struct luggage *luggage)
{
	free(luggage->fds);
	free(luggage->variable);
}

/* 0 or -ENOMEM. */
static int pack(struct luggage *luggage, const struct upgrade_sockets sockets[], unsigned n, int channel)
{
	size_t size, most = 1;
	FILE *out;
	int err;

	for (unsigned i = 0; i < n; i++)
		most += sockets[i].n;
	*luggage = (struct luggage){ .fds = calloc(most, sizeof(int)) };
	out = luggage->fds ? open_memstream(&luggage->variable, &size) : NULL;
	if (!out)
		return -ENOMEM;
	fprintf(out, "%s=%d\n", INHERIT_VARIABLE, channel);
	luggage->fds[luggage->n++] = channel;
	for (unsigned i = 0; i < n; i++) {
		const char *comma = "";

		fprintf(out, "%c %ju %ju ", sockets[i].kind, (uintmax_t)sockets[i].device, (uintmax_t)sockets[i].inode);
		for (unsigned j = 0; j < sockets[i].n; j++) {
			int fd = sockets[i].fds[j];

			if (is_duplicate(sockets[i].fds, j))
				continue;
			fprintf(out, "%s%d", comma, fd);
			luggage->fds[luggage->n++] = fd;
			comma = ",";
		}
		fprintf(out, " %s\n", sockets[i].text);
	}
	err = ferror(out) | fclose(out);
	return err ? -ENOMEM : 0;
}

/* Ours, with the variable. */
static char **make_environment(char *variable)
{
	size_t n = 0, kept = 0;
	char **made;

	while (environ[n])
		n++;
	made = calloc(n + 2, sizeof(*made));
	if (!made)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		bool keep = true;

		for (const char *const *name = dropped; *name; name++)
			keep &= strncmp(environ[i], *name, strlen(*name)) != 0 || environ[i][strlen(*name)] != '=';
		if (keep)
			made[kept++] = environ[i];
	}
	made[kept] = variable;
	return made;
}

static int spawn(struct upgrade *upgrade, const char *binary, const struct luggage *luggage)
{
	char **environment = make_environment(luggage->variable);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t ignored;
	int err = environment ? posix_spawnattr_init(&attributes) : ENOMEM;

	if (err) {
		free(environment);
		return -err;
	}
	err = posix_spawn_file_actions_init(&actions);
	if (!err) {
		for (unsigned i = 0; i < luggage->n && !err; i++)
			err = posix_spawn_file_actions_adddup2(&actions, luggage->fds[i], luggage->fds[i]);
		sigemptyset(&ignored);
		sigaddset(&ignored, SIGPIPE);
		posix_spawnattr_setsigmask(&attributes, upgrade->mask);
		posix_spawnattr_setsigdefault(&attributes, &ignored);
		posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
		if (!err)
			err = posix_spawn(&upgrade->pid, binary, &actions, &attributes, upgrade->argv, environment);
		posix_spawn_file_actions_destroy(&actions);
	}
	posix_spawnattr_destroy(&attributes);
	free(environment);
	return -err;
}

void upgrade_tell(const struct upgrade *upgrade, int signal)
{
	if (upgrade->launcher)
		launcher_kill(upgrade->launcher, signal);
	else
		kill(upgrade->pid, signal);
}

static const char *choose_binary(const struct upgrade *upgrade)
{
	if (upgrade->running)
		return SELF;
	if (upgrade->binary && access(upgrade->binary, X_OK) == 0)
		return upgrade->binary;
	log_warn("%s cannot be started (%s): starting the binary that runs", upgrade->binary ? upgrade->binary : "loom",
	         strerror(upgrade->binary ? errno : ENOENT));
	return SELF;
}

int upgrade_begin(struct upgrade *upgrade, const struct upgrade_sockets sockets[], unsigned n, uint64_t until,
                  char *why, size_t size)
{
	const char *binary = choose_binary(upgrade);
	struct luggage luggage;
	int ends[2], err;

	assert(upgrade->state == UPGRADE_NONE && upgrade->channel < 0);
	free(upgrade->taken);
	upgrade->taken = calloc(n + 1, sizeof(*upgrade->taken));
	upgrade->sockets = n;
	upgrade->len = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		err = -errno;
		snprintf(why, size, "cannot create a socket pair: %s", strerror(-err));
		return err;
	}
	err = pack(&luggage, sockets, n, ends[1]);
	if (!err && !upgrade->taken)
		err = -ENOMEM;
	if (!err && upgrade->launcher)
		err = launcher_start(upgrade->launcher, strcmp(binary, SELF) == 0, luggage.fds, luggage.n,
		                     luggage.variable + sizeof(INHERIT_VARIABLE), &upgrade->pid);
	else if (!err)
		err = spawn(upgrade, binary, &luggage);
	luggage_free(&luggage);
	close(ends[1]);
	if (err) {
		close(ends[0]);
		snprintf(why, size, "cannot start %s: %s", binary, strerror(-err));
		return err;
	}
	upgrade->channel = ends[0];
	upgrade->until = until;
	upgrade->state = UPGRADE_STARTING;
	return 0;
}

int upgrade_fd(const struct upgrade *upgrade)
{
	return upgrade->state == UPGRADE_STARTING || upgrade->state == UPGRADE_PROBATION ? upgrade->channel : -1;
}

uint64_t upgrade_time(const struct upgrade *upgrade)
{
	return upgrade->state == UPGRADE_STARTING || upgrade->state == UPGRADE_PROBATION ? upgrade->until : UINT64_MAX;
}

/* What the successor has said, up to its line's end. True: the line is whole, and ends where a string does. */
static bool listen_to(struct upgrade *upgrade, bool *ended)
{
	ssize_t n;
	char *end;

	*ended = false;
	if (upgrade->channel < 0)
		return false;
	do {
		n = recv(upgrade->channel, upgrade->said + upgrade->len, sizeof(upgrade->said) - 1 - upgrade->len,
		         MSG_DONTWAIT);
		if (n > 0)
			upgrade->len += (size_t)n;
	} while ((n < 0 && errno == EINTR) || (n > 0 && upgrade->len < sizeof(upgrade->said) - 1));
	*ended = n == 0 || (n < 0 && errno != EAGAIN);
	upgrade->said[upgrade->len] = '\0';
	end = strchr(upgrade->said, '\n');
	if (!end)
		return false;
	*end = '\0';
	return true;
}

/* In its probation: whether the successor was told to end, and so does not take the place any more (inherit_decline()). */
static bool has_declined(const struct upgrade *upgrade)
{
	ssize_t n;
	char byte;

	if (upgrade->channel < 0)
		return false;
	n = recv(upgrade->channel, &byte, 1, MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* True: the successor has ended; status. */
static bool reap(struct upgrade *upgrade, bool wait, int *status)
{
	pid_t pid;

	do
		pid = waitpid(upgrade->pid, status, wait ? 0 : WNOHANG);
	while (pid < 0 && errno == EINTR);
	return pid != 0;
}

/* It has ended, or is ended here. The state is FAILED for this once. */
static enum upgrade_state fail(struct upgrade *upgrade, bool has_ended, int status, const char *because, char *why,
                               size_t size)
{
	const char *said = strncmp(upgrade->said, "failed ", 7) == 0 ? upgrade->said + 7 : "";
	char how[64];

	if (!has_ended) {
		upgrade_tell(upgrade, SIGKILL);
		reap(upgrade, true, &status);
	}
	if (because)
		snprintf(how, sizeof(how), "%s", because);
	else if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "was ended by signal %d (%s)", WTERMSIG(status),
		         strsignal(WTERMSIG(status)));
	else
		snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(status));
	snprintf(why, size, "the successor (pid %d) %s%s%s", (int)upgrade->pid, how, *said ? ": " : "", said);
	close_channel(upgrade);
	upgrade->pid = 0;
	upgrade->state = UPGRADE_NONE;
	return UPGRADE_FAILED;
}

static void read_taken(struct upgrade *upgrade)
{
	char *rest = upgrade->said, *word;

	strsep(&rest, " ");
	while (rest && (word = strsep(&rest, " "))) {
		unsigned long at = strtoul(word, NULL, 10);

		if (at < upgrade->sockets)
			upgrade->taken[at] = true;
	}
}

enum upgrade_state upgrade_look(struct upgrade *upgrade, uint64_t now, char *why, size_t size)
{
	bool ended = false, whole;
	int status = 0;

	if (upgrade->state == UPGRADE_GONE && upgrade->pid && reap(upgrade, false, &status)) {
		pid_t pid = upgrade->pid;

		upgrade->pid = 0;
		if (status != 0) { /* otherwise it was told to end, or has a successor of its own */
			log_error("the successor (pid %d) has died", (int)pid);
			return UPGRADE_LOST;
		}
	}
	if (upgrade->state != UPGRADE_STARTING && upgrade->state != UPGRADE_PROBATION)
		return upgrade->state;

	whole = upgrade->state == UPGRADE_STARTING && listen_to(upgrade, &ended);
	if (reap(upgrade, false, &status))
		return fail(upgrade, true, status, NULL, why, size);
	if (upgrade->state == UPGRADE_STARTING && !whole && ended)
		close_channel(upgrade); /* it has closed what was for us, and is about to end, or hangs */
	if (upgrade->state == UPGRADE_PROBATION && has_declined(upgrade)) {
		close_channel(upgrade);
		upgrade->until = UINT64_MAX - 1; /* its clients have as long as they need: it will end */
	}
	if (whole && strncmp(upgrade->said, "ready", 5) == 0) {
		read_taken(upgrade);
		upgrade->state = UPGRADE_PROBATION;
		upgrade->until = now + UPGRADE_PROBATION_MS;
	} else if (whole && strncmp(upgrade->said, "failed ", 7) != 0) {
		return fail(upgrade, false, 0, "says what is not understood", why, size);
	}
	if (now < upgrade->until)
		return upgrade->state;
	if (upgrade->state == UPGRADE_STARTING)
		return fail(upgrade, false, 0, "was not ready in time, and was ended (see --upgrade-timeout)", why,
		            size);
	upgrade->state = UPGRADE_READY;
	return UPGRADE_READY;
}

void upgrade_reset(struct upgrade *upgrade)
{
	assert(upgrade->state == UPGRADE_GONE && !upgrade->pid);
	upgrade->state = UPGRADE_NONE;
	upgrade->running = true;
}

void upgrade_leave(struct upgrade *upgrade)
{
	ssize_t n;

	assert(upgrade->state == UPGRADE_READY);
	n = send(upgrade->channel, "yours\n", 6, MSG_NOSIGNAL);
	(void)n; /* our end tells it as well */
	close_channel(upgrade);
	upgrade->state = UPGRADE_GONE;
}

void upgrade_forget(struct upgrade *upgrade)
{
	close_channel(upgrade);
	upgrade->state = UPGRADE_GONE;
}

void upgrade_abort(struct upgrade *upgrade)
{
	char why[128];

	if (upgrade->state == UPGRADE_STARTING)
		fail(upgrade, false, 0, "is not needed any more", why, sizeof(why));
	if (upgrade->state == UPGRADE_PROBATION) {
		if (upgrade->channel >= 0) /* otherwise it ends already, and a second signal would be the last */
			upgrade_tell(upgrade, SIGTERM); /* it has clients */
		upgrade->state = UPGRADE_NONE;
	}
}
