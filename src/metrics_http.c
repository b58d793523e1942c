/*
 * metrics_http.c - see metrics.h: the listener of --metrics, and its thread.
 *
 * The thread sleeps in poll(2) on the listening socket, on an eventfd (the end), and on its clients. These are few, and
 * each has a bounded time for one request and its answer. When all places are taken, the oldest client gives its place to
 * the next, so that nobody can keep scrapers out by doing nothing. It owns the socket and the clients.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loom/date.h"
#include "loom/inherit.h"
#include "loom/listen.h"
#include "loom/log.h"
#include "loom/metrics.h"
#include "loom/sandbox.h"
#include "metrics_request.h"

#define CLIENTS_MAX 16
#define PATIENCE_MS 10000 /* from accepting to the last byte */
#define LINGER_MS   1000  /* for a client's end, after ours */
#define PAUSE_MS    100   /* when accepting has failed */
#define FIELDS_MAX  512   /* of an answer's head */

struct client {
	int fd; /* -1: free */
	uint64_t deadline;
	size_t len; /* of head */
	char *answer;
	size_t answer_len, sent;
	bool lingering; /* all is sent, and its end is waited for, so that no reset overtakes the answer */
	char head[METRICS_HEAD_MAX];
};

struct metrics_http {
	struct listen_address address;
	int fd, event;
	bool started;
	bool inherited; /* the socket is a predecessor's as well, until it is started */
	atomic_bool stopping;
	pthread_t thread;
	const struct metrics_source *source;
	uint64_t accept_at; /* not before */
	struct client clients[CLIENTS_MAX];
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void close_client(struct client *client)
{
	close(client->fd);
	free(client->answer);
	client->answer = NULL;
	client->fd = -1;
}

static const char *reason(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	}
	assert(!"a status without a reason");
	return "";
}

/* Head and content in one piece; content is only what a GET gets. False: no memory. */
static bool set_answer(struct client *client, const struct metrics_request *request, const char *content, size_t len)
{
	static const char *const types[] = {
		[METRICS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
		[METRICS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	};
	char date[HTTP_DATE_LEN];
	int n;

	http_date_format(time(NULL), date);
	client->answer = malloc(FIELDS_MAX + len);
	if (!client->answer)
		return false;
	n = snprintf(client->answer, FIELDS_MAX,
	             "HTTP/1.1 %u %s\r\nDate: %.*s\r\nCache-Control: no-store\r\n%sContent-Type: %s\r\n"
	             "Content-Length: %zu\r\nConnection: close\r\n\r\n",
	             request->status, reason(request->status), HTTP_DATE_LEN, date,
	             request->status == 405 ? "Allow: GET, HEAD\r\n" : "",
	             request->status == 200 ? types[request->format] : "text/plain; charset=utf-8", len);
	assert(n > 0 && n < FIELDS_MAX);
	client->answer_len = (size_t)n;
	if (!request->head) {
		memcpy(client->answer + n, content, len);
		client->answer_len += len;
	}
	return true;
}

/* False: there is no memory even to say so. */
static bool answer(struct metrics_http *http, struct client *client, struct metrics_request *request)
{
	char error[128], *text = NULL;
	size_t len;
	bool done;

	if (request->status == 200 && metrics_write(http->source, request->format, &text, &len) < 0)
		request->status = 500;
	if (request->status != 200)
		len = (size_t)snprintf(error, sizeof(error), "%u %s: metrics are at /metrics, for GET.\n",
		                       request->status, reason(request->status));
	done = set_answer(client, request, text ? text : error, len);
	free(text);
	return done;
}

/* False: the client is to be closed. */
static bool receive(struct metrics_http *http, struct client *client)
{
	struct metrics_request request;
	char rest[1024];
	ssize_t n;

	if (client->answer) {
		n = recv(client->fd, rest, sizeof(rest), MSG_DONTWAIT);
		return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
	}
	n = recv(client->fd, client->head + client->len, sizeof(client->head) - client->len, MSG_DONTWAIT);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	client->len += (size_t)n;
	return !metrics_request_read(client->head, client->len, &request) || answer(http, client, &request);
}

/* Sends what the socket takes. False: the client is to be closed. */
static bool flush(struct client *client, uint64_t now)
{
	while (client->sent < client->answer_len) {
		ssize_t n = send(client->fd, client->answer + client->sent, client->answer_len - client->sent,
		                 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		client->sent += (size_t)n;
	}
	if (!client->lingering) {
		shutdown(client->fd, SHUT_WR);
		client->lingering = true;
		client->deadline = now + LINGER_MS;
	}
	return true;
}

static void serve(struct metrics_http *http, struct client *client, short events, uint64_t now)
{
	bool goes_on = now < client->deadline;

	/* What is sent is more urgent than what is thrown away; a reset is seen by either. */
	if (goes_on && client->answer && !client->lingering && events)
		goes_on = flush(client, now);
	else if (goes_on && events)
		goes_on = receive(http, client) && (!client->answer || flush(client, now));
	if (!goes_on)
		close_client(client);
}

static struct client *find_place(struct metrics_http *http)
{
	struct client *oldest = &http->clients[0];

	for (unsigned i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &http->clients[i];

		if (client->fd < 0)
			return client;
		if (client->deadline < oldest->deadline)
			oldest = client;
	}
	close_client(oldest);
	return oldest;
}

static void accept_client(struct metrics_http *http, uint64_t now)
{
	int fd = accept4(http->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client;

	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			http->accept_at = now + PAUSE_MS; /* no descriptors, or no memory, at the moment */
		return;
	}
	client = find_place(http);
	client->fd = fd;
	client->deadline = now + PATIENCE_MS;
	client->len = client->answer_len = client->sent = 0;
	client->lingering = false;
}

static int time_left(const struct metrics_http *http, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (http->clients[i].fd >= 0 && http->clients[i].deadline < next)
			next = http->clients[i].deadline;
	if (now < http->accept_at && http->accept_at < next)
		next = http->accept_at;
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)(next - now);
}

static void *metrics_run(void *argument)
{
	struct metrics_http *http = argument;

	pthread_setname_np(pthread_self(), "loom-metrics");
	sandbox_thread(SANDBOX_METRICS);
	while (!atomic_load(&http->stopping)) {
		struct pollfd fds[2 + CLIENTS_MAX];
		unsigned place[CLIENTS_MAX], n = 2;
		uint64_t now = now_ms();

		fds[0] = (struct pollfd){ .fd = http->event, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = now >= http->accept_at ? http->fd : -1, .events = POLLIN };
		for (unsigned i = 0; i < CLIENTS_MAX; i++) {
			const struct client *client = &http->clients[i];
			bool sending = client->answer && !client->lingering;

			place[i] = n;
			if (client->fd >= 0)
				fds[n++] = (struct pollfd){ .fd = client->fd, .events = sending ? POLLOUT : POLLIN };
		}
		/* No more than there are: poll(2) takes no more than there may be (RLIMIT_NOFILE). */
		if (poll(fds, n, time_left(http, now)) < 0)
			continue; /* EINTR of a debugger */
		now = now_ms();
		for (unsigned i = 0; i < CLIENTS_MAX; i++)
			if (http->clients[i].fd >= 0)
				serve(http, &http->clients[i], fds[place[i]].revents, now);
		/* Last: a new client in the place of an old one has no events yet. */
		if (fds[1].revents)
			accept_client(http, now);
	}
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		if (http->clients[i].fd >= 0)
			close_client(&http->clients[i]);
	return NULL;
}

int metrics_http_bind(struct metrics_http **out, const char *address, struct inherited *inherited, char *why,
                      size_t size)
{
	struct metrics_http *http = calloc(1, sizeof(*http));
	int err;

	if (!http) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	for (unsigned i = 0; i < CLIENTS_MAX; i++)
		http->clients[i].fd = -1;
	http->fd = -1;
	http->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = http->event < 0 ? -errno : 0;
	if (err)
		snprintf(why, size, "cannot create an eventfd: %s", strerror(-err));
	if (!err)
		err = listen_parse(address, &http->address, why, size);
	if (!err)
		err = inherit_take_one(inherited, INHERIT_METRICS, address, &http->address, &http->fd, why, size);
	http->inherited = err > 0;
	if (!err) {
		err = listen_bind(&http->address, &http->fd, 1, why, size);
		if (err)
			http->fd = -1;
	}
	if (err < 0) {
		metrics_http_destroy(http);
		return err;
	}
	*out = http;
	return 0;
}

int metrics_http_start(struct metrics_http *http, const struct metrics_source *source, char *why, size_t size)
{
	int err = listen_start(&http->address, &http->fd, 1, why, size);

	if (err)
		return err;
	http->source = source;
	err = -pthread_create(&http->thread, NULL, metrics_run, http);
	if (err) {
		snprintf(why, size, "cannot start the metrics thread: %s", strerror(-err));
		return err;
	}
	http->started = true;
	return 0;
}

int metrics_http_socket(const struct metrics_http *http, const struct listen_address **address)
{
	if (!http)
		return -1;
	*address = &http->address;
	return http->fd;
}

void metrics_http_leave(struct metrics_http *http)
{
	http->address.inode = 0;
}

const char *metrics_http_address(const struct metrics_http *http)
{
	return http->address.text;
}

void metrics_http_destroy(struct metrics_http *http)
{
	uint64_t one = 1;

	if (!http)
		return;
	if (http->started) {
		ssize_t n;

		atomic_store(&http->stopping, true);
		n = write(http->event, &one, sizeof(one));
		(void)n; /* a full counter wakes the reader as well */
		pthread_join(http->thread, NULL);
	}
	if (http->fd >= 0) {
		if (http->started || !http->inherited)
			listen_cleanup(&http->address);
		close(http->fd);
	}
	if (http->event >= 0)
		close(http->event);
	free(http);
}
