/*
 * launcher.c - see launcher.h. The upper half runs in the helper process, which has one thread and no other business; the
 * lower half on the main thread. The socket pair between them has a packet for each message.
 */
#include "loom/launcher.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

/* Descriptors of a packet (SCM_MAX_FD is 253), of a start; and bytes of a value. */
#define PACKET_FDS 128
#define FDS_MAX    65536
#define PIECE      4096
#define VALUE_MAX  (4 * 1024 * 1024)

enum kind {
	TAKE_FDS,
	TAKE_VALUE, /* a piece of it */
	FORGET,     /* both */
	START,
	KILL,
};

struct packet {
	uint32_t kind;
	uint32_t len; /* of numbers, or of bytes; START: whether it is this binary; KILL: the signal */
	union {
		int32_t numbers[PACKET_FDS];
		char bytes[PIECE];
	};
};

struct answer {
	int32_t err; /* 0 or -errno */
	int32_t pid;
};

/* What has been told of the next start, and the last one. */
struct order {
	const struct launcher_config *config;
	int socket;
	int *fds, *numbers;
	unsigned n;
	char *value; /* "NAME=value" */
	size_t len;
	int pidfd; /* of what was started last; -1 */
	bool own;
};

static void forget(struct order *order)
{
	for (unsigned i = 0; i < order->n; i++)
		close(order->fds[i]);
	free(order->fds);
	free(order->numbers);
	free(order->value);
	order->fds = order->numbers = NULL;
	order->value = NULL;
	order->n = 0;
	order->len = 0;
}

static bool is_named(const char *entry, const char *name)
{
	size_t len = strlen(name);

	return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static char **make_environment(const struct order *order)
{
	size_t n = 0, kept = 0;
	char **made;

	while (environ[n])
		n++;
	made = calloc(n + 2, sizeof(*made));
	for (size_t i = 0; made && i < n; i++) {
		bool keep = !is_named(environ[i], order->config->variable);

		for (const char *const *name = order->config->dropped; name && *name; name++)
			keep &= !is_named(environ[i], *name);
		if (keep)
			made[kept++] = environ[i];
	}
	if (made && order->value)
		made[kept++] = order->value;
	return made;
}

/* In the new process: brings the descriptors to their numbers, and becomes the program. Returns an errno. */
static int become(const struct order *order, char **environment, int *pipe)
{
	const struct launcher_config *config = order->config;
	struct sigaction usual = { .sa_handler = SIG_DFL };
	int most = 2;

	for (unsigned i = 0; i < order->n; i++)
		if (order->numbers[i] > most)
			most = order->numbers[i];
	/* Out of each other's way first. All else closes by itself. */
	*pipe = fcntl(*pipe, F_DUPFD_CLOEXEC, most + 1);
	for (unsigned i = 0; i < order->n; i++) {
		order->fds[i] = fcntl(order->fds[i], F_DUPFD_CLOEXEC, most + 1);
		if (order->fds[i] < 0)
			return errno;
	}
	for (unsigned i = 0; i < order->n; i++)
		if (dup2(order->fds[i], order->numbers[i]) < 0)
			return errno;
	sigaction(SIGPIPE, &usual, NULL);
	sigprocmask(SIG_SETMASK, config->mask, NULL);
	execve(!order->own && config->binary && access(config->binary, X_OK) == 0 ? config->binary : SELF, config->argv,
	       environment);
	return errno;
}

/* A child of our parent. What goes wrong on the way to its program comes through a pipe that the exec closes. */
static struct answer start(struct order *order)
{
	char **environment = make_environment(order);
	struct answer answer = { .err = -ENOMEM };
	int ends[2] = { -1, -1 }, pidfd = -1, err = 0;
	long pid;

	if (!environment)
		return answer;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		answer.err = -errno;
		goto out;
	}
	/* With the exit signal of this process, SIGCHLD. The stack is a copy, as after fork(2). */
	pid = syscall(SYS_clone, CLONE_PARENT | CLONE_PIDFD, NULL, &pidfd, NULL, NULL);
	if (pid == 0) {
		err = become(order, environment, &ends[1]);
		_exit(write(ends[1], &err, sizeof(err)) == sizeof(err) ? 127 : 126);
	}
	if (pid < 0) {
		answer.err = -errno;
		goto out;
	}
	close(ends[1]);
	ends[1] = -1;
	answer.err = read(ends[0], &err, sizeof(err)) == sizeof(err) ? -err : 0;
	answer.pid = (int32_t)pid;
	if (order->pidfd >= 0)
		close(order->pidfd);
	order->pidfd = pidfd;
out:
	free(environment);
	if (ends[0] >= 0)
		close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	return answer;
}

/* Adds what a packet brings. False: it asks for too much, or there is no memory. */
static bool take(struct order *order, const struct packet *packet, const int fds[], unsigned n)
{
	if (packet->kind == TAKE_FDS) {
		int *more;

		/* None would be a realloc(3) to nothing, which frees. */
		if (n == 0 || packet->len != n || order->n + n > FDS_MAX)
			return false;
		more = realloc(order->fds, (order->n + n) * sizeof(*more));
		if (!more)
			return false;
		order->fds = more;
		more = realloc(order->numbers, (order->n + n) * sizeof(*more));
		if (!more)
			return false;
		order->numbers = more;
		for (unsigned i = 0; i < n; i++) {
			if (packet->numbers[i] < 3 || packet->numbers[i] >= FDS_MAX)
				return false;
			order->fds[order->n] = fds[i];
			order->numbers[order->n++] = packet->numbers[i];
		}
		return true;
	}
	if (packet->len > PIECE || memchr(packet->bytes, '\0', packet->len) || order->len > VALUE_MAX)
		return false;
	if (!order->value) {
		order->len = strlen(order->config->variable) + 1;
		order->value = malloc(order->len + 1);
		if (!order->value)
			return false;
		sprintf(order->value, "%s=", order->config->variable);
	}
	{
		char *longer = realloc(order->value, order->len + packet->len + 1);

		if (!longer)
			return false;
		memcpy(longer + order->len, packet->bytes, packet->len);
		order->len += packet->len;
		longer[order->len] = '\0';
		order->value = longer;
	}
	return true;
}

/* One packet, with its descriptors. False: the other end is closed, or talks nonsense. */
static bool receive(int socket, struct packet *packet, int fds[PACKET_FDS], unsigned *n)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(PACKET_FDS * sizeof(int))];
	} control;
	struct iovec iov = { packet, sizeof(*packet) };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *header;
	ssize_t len;

	do
		len = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	*n = 0;
	header = len > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
		*n = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(header), *n * sizeof(int));
	}
	/* What it says of its length is one thing, and what it has of it another. */
	if (len >= 0)
		memset((char *)packet + len, 0, sizeof(*packet) - (size_t)len);
	return len >= (ssize_t)offsetof(struct packet, bytes) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
}

/* The signals of upgrade_tell(). */
static bool may_send(uint32_t signal)
{
	return signal == SIGKILL || signal == SIGTERM || signal == SIGHUP || signal == SIGUSR1;
}

/* All of its life. */
static void serve(struct order *order)
{
	int fds[PACKET_FDS];
	struct packet packet;
	unsigned n;

	while (receive(order->socket, &packet, fds, &n)) {
		struct answer answer = { 0 };

		if (n > 0 && packet.kind != TAKE_FDS)
			return;
		switch (packet.kind) {
		case TAKE_FDS:
		case TAKE_VALUE:
			if (!take(order, &packet, fds, n))
				return;
			continue;
		case FORGET:
			forget(order);
			continue;
		case START:
			order->own = packet.len;
			answer = start(order);
			forget(order);
			break;
		case KILL:
			if (!may_send(packet.len))
				return;
			if (order->pidfd < 0 || syscall(SYS_pidfd_send_signal, order->pidfd, packet.len, NULL, 0) < 0)
				answer.err = order->pidfd < 0 ? -ESRCH : -errno;
			break;
		default:
			return;
		}
		if (send(order->socket, &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer))
			return;
	}
}

/* What the launcher has no business with: listeners above all, whose port would stay bound by it. */
static void close_others(int kept)
{
	long most = sysconf(_SC_OPEN_MAX);

	if (syscall(SYS_close_range, 3, kept - 1, 0) == 0 && syscall(SYS_close_range, kept + 1, ~0U, 0) == 0)
		return;
	for (int fd = 3; fd < (most > 0 && most < FDS_MAX ? most : FDS_MAX); fd++)
		if (fd != kept)
			close(fd);
}

struct launcher {
	pid_t pid;
	int socket;
};

/* The next answer: what it says, or -EPIPE when the launcher is gone. */
static int hear(const struct launcher *launcher, struct answer *answer)
{
	ssize_t len;

	do
		len = recv(launcher->socket, answer, sizeof(*answer), 0);
	while (len < 0 && errno == EINTR);
	return len == sizeof(*answer) ? answer->err : -EPIPE;
}

int launcher_create(struct launcher **out, const struct launcher_config *config, char *why, size_t size)
{
	struct launcher *launcher = malloc(sizeof(*launcher));
	struct answer answer;
	sigset_t all, before;
	int ends[2], err;

	if (!launcher || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		err = launcher ? -errno : -ENOMEM;
		free(launcher);
		snprintf(why, size, "cannot create a launcher: %s", strerror(-err));
		return err;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	launcher->pid = fork();
	if (launcher->pid == 0) {
		struct order order = { .config = config, .socket = ends[1], .pidfd = -1 };

		close_others(ends[1]);
		prctl(PR_SET_NAME, "loom-launcher");
		if (send(ends[1], &(const struct answer){ 0 }, sizeof(struct answer), MSG_NOSIGNAL) > 0)
			serve(&order);
		_exit(0);
	}
	err = launcher->pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(ends[1]);
	launcher->socket = ends[0];
	if (err) {
		close(ends[0]);
		free(launcher);
		snprintf(why, size, "cannot fork a launcher: %s", strerror(-err));
		return err;
	}
	/* Not before it is rid of the listeners: who kills this process could not start another one in its place. */
	err = hear(launcher, &answer);
	if (err) {
		launcher_destroy(launcher);
		snprintf(why, size, "cannot start a launcher: %s", strerror(-err));
		return err;
	}
	*out = launcher;
	return 0;
}

static int send_packet(const struct launcher *launcher, const struct packet *packet, const int fds[], unsigned n)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(PACKET_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)packet, sizeof(*packet) };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t len;

	if (n > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	do
		len = sendmsg(launcher->socket, &message, MSG_NOSIGNAL);
	while (len < 0 && errno == EINTR);
	return len < 0 ? -errno : 0;
}

static int ask(const struct launcher *launcher, enum kind kind, uint32_t what, struct answer *answer)
{
	const struct packet packet = { .kind = kind, .len = what };
	int err = send_packet(launcher, &packet, NULL, 0);

	return err ? err : hear(launcher, answer);
}

int launcher_start(struct launcher *launcher, bool own, const int fds[], unsigned n, const char *value, pid_t *pid)
{
	size_t len = strlen(value), at = 0;
	struct answer answer = { 0 };
	struct packet packet;
	int err = 0, status;

	for (unsigned i = 0; i < n && !err; i += packet.len) {
		packet = (struct packet){ .kind = TAKE_FDS, .len = n - i < PACKET_FDS ? n - i : PACKET_FDS };
		memcpy(packet.numbers, fds + i, packet.len * sizeof(int));
		err = send_packet(launcher, &packet, fds + i, packet.len);
	}
	do {
		packet = (struct packet){ .kind = TAKE_VALUE, .len = len - at < PIECE ? (uint32_t)(len - at) : PIECE };
		memcpy(packet.bytes, value + at, packet.len);
		at += packet.len;
		err = err ? err : send_packet(launcher, &packet, NULL, 0);
	} while (!err && at < len);
	if (err) {
		send_packet(launcher, &(const struct packet){ .kind = FORGET }, NULL, 0);
		return err;
	}
	err = ask(launcher, START, own, &answer);
	if (err && answer.pid > 0)
		waitpid(answer.pid, &status, 0); /* it has not become anything */
	else if (!err)
		*pid = answer.pid;
	return err;
}

int launcher_kill(struct launcher *launcher, int signal)
{
	struct answer answer;

	return ask(launcher, KILL, (uint32_t)signal, &answer);
}

void launcher_destroy(struct launcher *launcher)
{
	if (!launcher)
		return;
	close(launcher->socket);
	while (waitpid(launcher->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(launcher);
}
