/*
 * client.c - see client.h.
 */
#include "client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "schedule.h"

#define EVENTS     512
#define BUFFER     (256 * 1024)
#define SKIP_FROM  (32 * 1024) /* from so many bytes of a body on, they are thrown away in the kernel */
#define OPEN_BATCH 50
#define END_NS     UINT64_C(10000000000) /* how long the end of a run waits for what is outstanding */

enum state {
	CLOSED,  /* of an active connection that is opened for each request */
	FREE,    /* nothing outstanding */
	WAITING, /* for answers */
	ENDING,  /* answered, and the server is about to close */
};

struct connection {
	int fd;
	enum state state;
	unsigned outstanding; /* requests */
	unsigned sent;  /* bytes of the batch; less than its length: the socket had no room, or is not connected yet */
	uint64_t since; /* when the batch was due, or sent */
	struct answer answer;
};

/* A request, depth times. */
struct batch {
	char *bytes;
	size_t len;
};

struct client {
	struct client_options options;
	int epoll;
	struct batch active, idle;      /* what these connections send */
	struct connection *connections; /* the active ones first */
	unsigned *free;                 /* a ring of the active connections that are free */
	unsigned free_at, free_count;
	bool flat_out;
	uint64_t end; /* of the run */
	struct schedule schedule;
	unsigned busy; /* connections with something outstanding */
	struct client_result *result;
	char *buffer;
};

void client_die(const char *what, int error)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		client_die("calloc", errno);
	return memory;
}

static unsigned index_of(const struct client *client, const struct connection *connection)
{
	return (unsigned)(connection - client->connections);
}

static bool is_active(const struct client *client, const struct connection *connection)
{
	return index_of(client, connection) < client->options.active;
}

static void set_free(struct client *client, struct connection *connection, enum state state)
{
	connection->state = state;
	if (is_active(client, connection))
		client->free[(client->free_at + client->free_count++) % client->options.active] = index_of(client,
		                                                                                           connection);
}

/* 0 or an errno; connecting goes on behind it. */
static int open_connection(struct client *client, struct connection *connection)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	event.data.u32 = index_of(client, connection);
	if ((connect(fd, (const struct sockaddr *)&client->options.address, sizeof(client->options.address)) &&
	     errno != EINPROGRESS) ||
	    epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event)) {
		int error = errno;

		close(fd);
		return error;
	}
	connection->fd = fd;
	answer_reset(&connection->answer);
	return 0;
}

static void close_connection(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->state = CLOSED;
}

/* Nothing is outstanding any more, and there is no connection: one is opened when it is needed. */
static void end_busy(struct client *client, struct connection *connection)
{
	close_connection(connection);
	client->busy--;
	set_free(client, connection, CLOSED);
}

/* The connection has ended, or was never made. */
static void fail(struct client *client, struct connection *connection)
{
	switch (connection->state) {
	case WAITING:
		client->result->broken++;
		end_busy(client, connection);
		break;
	case ENDING: /* as it should */
		end_busy(client, connection);
		break;
	case FREE: /* if it is active, it stays in the ring, to be opened anew when its turn comes */
		if (is_active(client, connection))
			client->result->broken++;
		else
			client->result->idle_lost++;
		close_connection(connection);
		break;
	case CLOSED:
		break;
	}
}

/* Whether the connection is still good. */
static bool flush(struct client *client, struct connection *connection)
{
	const struct batch *batch = is_active(client, connection) ? &client->active : &client->idle;

	while (connection->sent < batch->len) {
		ssize_t sent = send(connection->fd, batch->bytes + connection->sent, batch->len - connection->sent,
		                    MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno == EAGAIN || errno == ENOTCONN)
				return true;
			return false;
		}
		connection->sent += (unsigned)sent;
	}
	return true;
}

static void send_batch(struct client *client, struct connection *connection, uint64_t since)
{
	int error = 0;

	connection->since = since;
	connection->sent = 0;
	connection->outstanding = client->options.depth;
	client->busy++;
	if (connection->fd < 0)
		error = open_connection(client, connection);
	connection->state = WAITING;
	if (error || !flush(client, connection))
		fail(client, connection);
}

static struct connection *take_free(struct client *client)
{
	struct connection *connection = &client->connections[client->free[client->free_at]];

	client->free_at = (client->free_at + 1) % client->options.active;
	client->free_count--;
	return connection;
}

static void answered(struct client *client, struct connection *connection, uint64_t now)
{
	struct client_result *result = client->result;

	if (connection->answer.status != 200 && connection->answer.status != 304)
		result->bad++;
	latencies_add(&result->latency, now - connection->since);
	if (now < client->end)
		result->answered++;
	else
		result->late++;
	if (--connection->outstanding)
		return;
	if (client->options.close && is_active(client, connection)) {
		connection->state = ENDING;
	} else {
		client->busy--;
		set_free(client, connection, FREE);
	}
}

/* Takes what has come. Whether the connection is still good. */
static bool receive(struct client *client, struct connection *connection, uint32_t events)
{
	struct answer *answer = &connection->answer;

	for (;;) {
		bool skip = answer->in_body && answer->left >= SKIP_FROM;
		size_t room = skip && answer->left < (1 << 30) ? (size_t)answer->left : skip ? 1 << 30 : BUFFER, at = 0;
		ssize_t len = recv(connection->fd, client->buffer, room, skip ? MSG_TRUNC : 0);
		uint64_t now;

		if (len < 0)
			return errno == EAGAIN;
		if (len == 0)
			return false;
		client->result->bytes += (uint64_t)len;
		now = now_ns();
		if (skip && answer_skip(answer, (uint64_t)len))
			answered(client, connection, now);
		while (!skip && at < (size_t)len) {
			size_t used;
			enum answer_progress progress = connection->outstanding
			                                        ? answer_read(answer, client->buffer + at,
			                                                      (size_t)len - at, &used)
			                                        : ANSWER_BAD; /* nobody has asked */

			if (progress == ANSWER_BAD) {
				client->result->bad++;
				return false;
			}
			at += used;
			if (progress == ANSWER_DONE)
				answered(client, connection, now);
		}
		/* A short read has drained the socket, but for an end, which makes no second edge. */
		if ((size_t)len < room && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
			return true;
	}
}

/* Sleeps for so many ns at most, and deals with what has happened. */
static void turn(struct client *client, uint64_t ns)
{
	struct timespec timeout = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
	struct epoll_event events[EVENTS];
	int n = epoll_pwait2(client->epoll, events, EVENTS, &timeout, NULL);

	if (n < 0 && errno != EINTR)
		client_die("epoll_pwait2", errno);
	for (int i = 0; i < n; i++) {
		struct connection *connection = &client->connections[events[i].data.u32];

		if (connection->fd < 0)
			continue;
		if ((connection->state == WAITING && !flush(client, connection)) ||
		    (events[i].events & ~(uint32_t)EPOLLOUT && !receive(client, connection, events[i].events)))
			fail(client, connection);
	}
}

/* Sends what is due, or all that can be sent; returns how long nothing will be due. */
static uint64_t dispatch(struct client *client, uint64_t now)
{
	uint64_t due, last = client->end + END_NS;

	if (client->flat_out) {
		while (now < client->end && client->free_count)
			send_batch(client, take_free(client), now);
		return now < client->end ? client->end - now : last - now;
	}
	while (client->free_count && schedule_take(&client->schedule, now, &due)) {
		latencies_add(&client->result->delay, now - due);
		send_batch(client, take_free(client), due);
	}
	if (client->free_count && client->schedule.due < last)
		last = client->schedule.due;
	return last > now ? last - now : 0;
}

/* What is still outstanding has waited so long at least, and is not left out. */
static void count_unanswered(struct client *client)
{
	struct client_result *result = client->result;
	uint64_t now = now_ns(), due;

	for (unsigned i = 0; i < client->options.active; i++) {
		struct connection *connection = &client->connections[i];

		if (connection->state == WAITING) {
			for (unsigned left = connection->outstanding; left; left--) {
				latencies_add(&result->latency, now - connection->since);
				result->unanswered++;
			}
		}
		if (connection->state == WAITING || connection->state == ENDING)
			end_busy(client, connection);
	}
	while (!client->flat_out && schedule_take(&client->schedule, now, &due)) {
		for (unsigned left = client->options.depth; left; left--) {
			latencies_add(&result->latency, now - due);
			result->unanswered++;
		}
	}
}

void client_run(struct client *client, double seconds, double rate, struct client_result *result)
{
	uint64_t start, now, cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	memset(result, 0, sizeof(*result));
	client->result = result;
	client->flat_out = rate <= 0;
	start = now_ns();
	result->ns = (uint64_t)(seconds * 1e9);
	client->end = start + result->ns;
	if (!client->flat_out)
		schedule_begin(&client->schedule, start, result->ns, rate / client->options.depth,
		               client->options.seed);
	for (;;) {
		uint64_t wait;

		now = now_ns();
		wait = dispatch(client, now);
		if (now >= client->end + END_NS)
			break;
		if (now >= client->end && !client->busy && (client->flat_out || client->schedule.due == UINT64_MAX))
			break;
		turn(client, client->options.spin ? 0 : wait);
	}
	count_unanswered(client);
	result->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
}

static void make_batch(struct batch *batch, const struct client_options *options, bool close)
{
	uint32_t address = ntohl(options->address.sin_addr.s_addr);
	char request[REQUEST_MAX];
	int len = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %u.%u.%u.%u:%u\r\n%s%s\r\n",
	                   options->path, address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255,
	                   ntohs(options->address.sin_port), options->fields, close ? "Connection: close\r\n" : "");

	if (len < 0 || (size_t)len >= sizeof(request))
		client_die("the request", E2BIG);
	batch->len = (size_t)len * options->depth;
	batch->bytes = allocate(options->depth, (size_t)len);
	for (unsigned i = 0; i < options->depth; i++)
		memcpy(batch->bytes + i * (size_t)len, request, (size_t)len);
}

struct client *client_open(const struct client_options *options)
{
	struct client *client = allocate(1, sizeof(*client));
	static struct client_result opening;
	unsigned first = options->close ? options->active : 0;

	client->options = *options;
	client->buffer = allocate(1, BUFFER);
	client->connections = allocate(options->connections, sizeof(*client->connections));
	client->free = allocate(options->active, sizeof(*client->free));
	client->result = &opening;
	client->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (client->epoll < 0)
		client_die("epoll_create1", errno);
	make_batch(&client->active, options, options->close);
	make_batch(&client->idle, options, false);
	for (unsigned i = 0; i < options->connections; i++) {
		client->connections[i].fd = -1;
		if (i < first)
			set_free(client, &client->connections[i], CLOSED);
	}
	for (unsigned i = first; i < options->connections; i++) {
		uint64_t late = now_ns() + END_NS;

		send_batch(client, &client->connections[i], now_ns());
		/* In batches, as if by many clients. */
		while (client->busy && ((i + 1) % OPEN_BATCH == 0 || i + 1 == options->connections)) {
			turn(client, END_NS);
			if (now_ns() > late)
				client_die("opening connections", ETIMEDOUT);
		}
		if (opening.broken || opening.bad) {
			fprintf(stderr, "load: connection %u of %u: %s\n", i + 1, options->connections,
			        opening.bad ? "not the answer that was expected" : "refused or closed");
			exit(1);
		}
	}
	return client;
}

void client_close(struct client *client)
{
	for (unsigned i = 0; i < client->options.connections; i++) {
		close_connection(&client->connections[i]);
		free(client->connections[i].answer.head);
	}
	close(client->epoll);
	free(client->connections);
	free(client->free);
	free(client->active.bytes);
	free(client->idle.bytes);
	free(client->buffer);
	free(client);
}
