/*
 * admin.c - see admin.h: the thread of the admin socket, and its clients.
 *
 * It sleeps in poll(2) on the listening socket, on an eventfd (an answer of the reloader's, the end), and on its
 * clients, which are few and bounded in all that they can take: a line, an answer, and time. When all places are
 * taken, the client that has been silent longest gives its place to the next. It owns the socket, its file and the
 * clients.
 */
#include "loom/admin.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin_commands.h"
#include "loom/inherit.h"
#include "loom/listen.h"
#include "loom/log.h"
#include "loom/sandbox.h"

#define CLIENTS_MAX  16
#define LINE_MAX_LEN 1024
#define IDLE_MS      60000 /* without a byte in either direction, unless a reload is waited for */
#define ROUNDS       8     /* commands, or pieces of one, of one client before others have their turn */
#define LINGER_MS    1000  /* for a client's end, after ours */
#define PAUSE_MS     100   /* when accepting has failed */
#define KEEP_ROOM    ADMIN_PIECE

struct client {
	int fd; /* -1: free */
	char line[LINE_MAX_LEN];
	size_t len;
	struct admin_output output;
	size_t sent;
	struct admin_task task;
	uint64_t active; /* milliseconds: the last byte */
	bool ended;      /* it sends no more */
	bool closing;    /* once all is sent; what still comes is thrown away */
	uint64_t
		linger; /* milliseconds, while its end is waited for, so that no reset overtakes the answer; 0: it is not */
};

struct admin {
	struct listen_address address;
	int fd;
	int event;
	bool started;
	bool inherited;      /* the socket is a predecessor's too, until the thread starts */
	atomic_bool yielded; /* the socket is a successor's */
	pthread_t thread;
	struct admin_config config;
	struct admin_view view;
	atomic_bool stopping;
	uint64_t accept_at; /* not before */
	struct client clients[CLIENTS_MAX];
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* For others, who take the time that they take. */
static bool is_waiting(const struct client *client)
{
	return client->task.kind == TASK_RELOAD || client->task.kind == TASK_UPGRADE;
}

static void close_client(struct admin *admin, struct client *client)
{
	if (client->task.kind != TASK_NONE)
		admin_abandon(&admin->view, &client->task);
	admin_output_free(&client->output);
	close(client->fd);
	client->fd = -1;
}

/* Sends what the socket takes. False: the client is gone. */
static bool flush(struct client *client, uint64_t now)
{
	while (client->sent < client->output.len) {
		ssize_t n = send(client->fd, client->output.bytes + client->sent, client->output.len - client->sent,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		client->sent += (size_t)n;
		client->active = now;
	}
	client->sent = client->output.len = 0;
	if (client->output.room > KEEP_ROOM)
		admin_output_free(&client->output);
	return true;
}

/* Takes the next line from what has come, and carries it out. False: there is no whole line. */
static bool next_line(struct admin *admin, struct client *client)
{
	char line[LINE_MAX_LEN], *end = memchr(client->line, '\n', client->len);
	size_t len;

	if (!end) {
		if (client->len < sizeof(client->line))
			return false;
		admin_error(&client->output, "a line has at most %d bytes", LINE_MAX_LEN - 1);
		client->len = 0;
		client->closing = true;
		return true;
	}
	len = (size_t)(end - client->line);
	memcpy(line, client->line, len);
	client->len -= len + 1;
	memmove(client->line, end + 1, client->len);
	if (len > 0 && line[len - 1] == '\r')
		len--;
	line[len] = '\0';
	if (memchr(line, '\0', len))
		admin_error(&client->output, "a command is a line of printable ASCII (help lists them)");
	else
		admin_begin(&admin->view, &client->task, line, &client->output);
	return true;
}

/* All is sent, and it is the last. */
static void finish(struct admin *admin, struct client *client, uint64_t now)
{
	if (client->ended || (client->linger && now >= client->linger)) {
		close_client(admin, client);
	} else if (!client->linger) {
		shutdown(client->fd, SHUT_WR);
		client->linger = now + LINGER_MS;
	}
}

/* Does what can be done for a client now. True: there is more that need not wait for anything. */
static bool serve(struct admin *admin, struct client *client, uint64_t now)
{
	for (int round = 0; round < ROUNDS; round++) {
		if (!flush(client, now)) {
			close_client(admin, client);
			return false;
		}
		if (client->output.len > 0)
			return false; /* it must read first */
		if (client->closing) {
			finish(admin, client, now);
			return false;
		}
		if (client->task.kind != TASK_NONE) {
			admin_resume(&admin->view, &client->task, &client->output);
			if (is_waiting(client))
				return false;
		} else if (!next_line(admin, client)) {
			if (!client->ended)
				return false;
			client->closing = true;
		}
	}
	return true;
}

static void receive(struct client *client, uint64_t now)
{
	ssize_t n = recv(client->fd, client->line + client->len, sizeof(client->line) - client->len, MSG_DONTWAIT);

	if (n > 0) {
		client->len += client->closing ? 0 : (size_t)n;
		client->active = now;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		client->ended = true;
	}
}

/* A place for a new client: a free one, or that of the client that has been silent longest. */
static struct client *find_place(struct admin *admin)
{
	struct client *oldest = &admin->clients[0];

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &admin->clients[i];

		if (client->fd < 0)
			return client;
		if (client->active < oldest->active)
			oldest = client;
	}
	close_client(admin, oldest);
	return oldest;
}

static void accept_client(struct admin *admin, uint64_t now)
{
	int fd = accept4(admin->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client;

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			admin->accept_at = now + PAUSE_MS; /* no descriptors, or no memory, at the moment */
		return;
	}
	client = find_place(admin);
	*client = (struct client){ .fd = fd, .active = now };
}

static int time_left(const struct admin *admin, uint64_t now)
{
	uint64_t next = now + IDLE_MS;
	bool any = false;

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		const struct client *client = &admin->clients[i];

		if (client->fd < 0 || is_waiting(client))
			continue;
		any = true;
		if (client->active + IDLE_MS < next)
			next = client->active + IDLE_MS;
		if (client->linger && client->linger < next)
			next = client->linger;
	}
	if (now < admin->accept_at) {
		any = true;
		if (admin->accept_at < next)
			next = admin->accept_at;
	}
	if (!any)
		return -1;
	return next <= now ? 0 : (int)(next - now);
}

static short wanted(const struct client *client)
{
	short events = 0;

	if (!client->ended && client->len < sizeof(client->line))
		events |= POLLIN;
	if (client->output.len > 0)
		events |= POLLOUT;
	return events;
}

static void end_clients(struct admin *admin, uint64_t now)
{
	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &admin->clients[i];

		if (client->fd < 0)
			continue;
		if (is_waiting(client))
			admin_error(&client->output, "loom is ending");
		flush(client, now);
		close_client(admin, client);
	}
}

static void *admin_run(void *argument)
{
	struct admin *admin = argument;
	bool more = false;

	pthread_setname_np(pthread_self(), "loom-admin");
	sandbox_thread(SANDBOX_ADMIN);
	while (!atomic_load(&admin->stopping)) {
		struct pollfd fds[2 + CLIENTS_MAX];
		unsigned place[CLIENTS_MAX], n = 2;
		uint64_t now = now_ms(), count;

		if (admin->fd >= 0 && atomic_load(&admin->yielded)) {
			close(admin->fd);
			admin->fd = -1;
		}
		fds[0] = (struct pollfd){ .fd = admin->event, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = now >= admin->accept_at ? admin->fd : -1, .events = POLLIN };
		/* No more than there are: poll(2) takes no more than there may be (RLIMIT_NOFILE). */
		for (unsigned i = 0; i < CLIENTS_MAX; i++) {
			place[i] = n;
			if (admin->clients[i].fd >= 0)
				fds[n++] = (struct pollfd){ .fd = admin->clients[i].fd,
					                    .events = wanted(&admin->clients[i]) };
		}
		if (poll(fds, n, more ? 0 : time_left(admin, now)) < 0)
			continue; /* EINTR of a debugger */
		now = now_ms();
		if (fds[0].revents && read(admin->event, &count, sizeof(count)) < 0)
			continue;
		more = false;
		for (unsigned i = 0; i < CLIENTS_MAX; i++) {
			struct client *client = &admin->clients[i];
			short events;

			if (client->fd < 0)
				continue;
			events = fds[place[i]].revents;
			if (events & POLLIN)
				receive(client, now);
			more |= serve(admin, client, now);
			if (client->fd < 0)
				continue;
			/* Who is gone for good reads no answer; who has only stopped sending does. */
			if ((events & (POLLHUP | POLLERR) && !(events & POLLIN)) ||
			    (!is_waiting(client) && now - client->active >= IDLE_MS))
				close_client(admin, client);
		}
		/* Last: a new client in the place of an old one has no events yet. */
		if (fds[1].revents)
			accept_client(admin, now);
	}
	end_clients(admin, now_ms());
	return NULL;
}

void admin_wake(struct admin *admin)
{
	uint64_t one = 1;
	ssize_t n;

	if (!admin)
		return;
	n = write(admin->event, &one, sizeof(one));
	(void)n; /* a full counter wakes the reader as well */
}

void admin_yield(struct admin *admin)
{
	if (!admin)
		return;
	atomic_store(&admin->yielded, true);
	admin_wake(admin);
}

int admin_socket(const struct admin *admin, const struct listen_address **address)
{
	if (!admin)
		return -1;
	*address = &admin->address;
	return admin->fd;
}

int admin_bind(struct admin **out, const char *path, struct inherited *inherited, char *why, size_t size)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	char text[sizeof(admin->address.text)];
	mode_t before;
	int err;

	if (!admin) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		admin->clients[i].fd = -1;
	admin->fd = -1;
	admin->view.config = &admin->config;
	admin->view.began = now_ms() / 1000;
	admin->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = admin->event < 0 ? -errno : 0;
	if (err)
		snprintf(why, size, "cannot create an eventfd: %s", strerror(-err));
	snprintf(text, sizeof(text), "unix:%s", path);
	if (!err)
		err = listen_parse(text, &admin->address, why, size);
	if (!err)
		err = inherit_take_one(inherited, INHERIT_ADMIN, text, &admin->address, &admin->fd, why, size);
	admin->inherited = err > 0;
	if (!err) {
		before = umask(S_IXUSR | S_IRWXG | S_IRWXO);
		err = listen_bind(&admin->address, &admin->fd, 1, why, size);
		umask(before);
	}
	if (err < 0) {
		admin->fd = -1;
		admin_destroy(admin);
		return err;
	}
	*out = admin;
	return 0;
}

int admin_start(struct admin *admin, const struct admin_config *config, char *why, size_t size)
{
	int err;

	admin->config = *config;
	err = listen_start(&admin->address, &admin->fd, 1, why, size);
	if (err)
		return err;
	err = -pthread_create(&admin->thread, NULL, admin_run, admin);
	if (err) {
		snprintf(why, size, "cannot start the admin thread: %s", strerror(-err));
		return err;
	}
	admin->started = true;
	return 0;
}

void admin_drain(struct admin *admin)
{
	atomic_store(&admin->view.draining, true);
}

void admin_destroy(struct admin *admin)
{
	if (!admin)
		return;
	if (admin->started) {
		atomic_store(&admin->stopping, true);
		admin_wake(admin);
		pthread_join(admin->thread, NULL);
	}
	if (admin->fd >= 0) {
		if (!atomic_load(&admin->yielded) && (admin->started || !admin->inherited))
			listen_cleanup(&admin->address);
		close(admin->fd);
	}
	if (admin->event >= 0)
		close(admin->event);
	free(admin);
}
