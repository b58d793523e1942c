/*
 * client.c - see site.h: one connection's bytes to answers, and these to the socket. Any thread; each has its own exchange.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "site.h"

/* Answers that the socket had no room for. The bytes of small ones and of heads are copied, the bodies are the snapshot's. */
struct pending {
	unsigned niov;
	struct iovec iov[2 * BATCH];
	char bytes[];
};

static void add(struct exchange *exchange, const void *base, size_t len)
{
	struct iovec *last = exchange->niov ? &exchange->iov[exchange->niov - 1] : NULL;

	if (last && (char *)last->iov_base + last->iov_len == base)
		last->iov_len += len;
	else
		/* The cast: struct iovec has no const; a send only reads. */
		exchange->iov[exchange->niov++] = (struct iovec){ (void *)(uintptr_t)base, len };
}

/* Plans the answer to a request that has been read, and adds its bytes. */
static void answer(const struct site *site, struct exchange *exchange, const struct request *request, const char *head,
                   bool readable)
{
	const struct response_context context = {
		.snapshot = site->snapshot,
		.now = exchange->now,
		.may_keep_alive = true,
		.scratch = exchange->scratch,
	};
	char *out = exchange->bytes + exchange->used;
	struct response response;
	const struct representation *found;
	uint64_t first = 0, len;

	if (readable)
		response_plan(&response, request, head, &context);
	else
		response_error(&response, request->status, true, site->snapshot);
	if (response.parts > 1) { /* a server may answer with the whole (RFC 9110 14.2) */
		response.form = RESPONSE_WHOLE;
		response.parts = 0;
	}
	found = response.representation;
	if (response.parts)
		first = response.part[0].first;
	len = response_length(&response);

	exchange->used += response_head(&response, exchange->date, out);
	if (len && len <= COPY_MAX) {
		memcpy(exchange->bytes + exchange->used, found->body + first, len);
		exchange->used += len;
		len = 0;
	}
	add(exchange, out, (size_t)(exchange->bytes + exchange->used - out));
	if (len)
		add(exchange, found->body + first, len);
	exchange->last = response.close;
	exchange->requests++;
}

/* Answers the whole requests at the beginning of the bytes, as many as fit; returns how many bytes these were. */
static size_t answer_all(const struct site *site, struct exchange *exchange, const char *bytes, size_t len)
{
	struct request_parser *parser = &exchange->parser;
	time_t now = time(NULL);
	size_t at = 0;

	if (now != exchange->now) {
		exchange->now = now;
		http_date_format(now, exchange->date);
	}
	exchange->niov = 0;
	exchange->used = 0;
	exchange->last = false;
	while (at < len && !exchange->last && exchange->niov < 2 * BATCH - 1 &&
	       exchange->used + RESPONSE_HEAD_MAX + COPY_MAX <= sizeof(exchange->bytes)) {
		enum request_progress progress;
		size_t used;

		request_next(parser, &site->limits, bytes + at);
		progress = request_read(parser, bytes + at, len - at, &used);
		if (progress == REQUEST_MORE) {
			/* It is read anew when more has come; one that does not fit the buffer never will. */
			if (at > 0 || len < HEAD_BYTES)
				break;
			parser->request.status = parser->request.in_body ? 413 : 431;
			progress = REQUEST_FAILED;
		}
		answer(site, exchange, &parser->request, bytes + at, progress == REQUEST_COMPLETE);
		at += used;
		if (progress == REQUEST_FAILED)
			exchange->last = true;
	}
	return at;
}

/* Sends as much as there is room for, and leaves the rest in iov: 0, -EAGAIN, or another -errno. */
static int send_iov(struct exchange *exchange, int fd, struct iovec *iov, unsigned *niov)
{
	unsigned first = 0;

	while (first < *niov) {
		const struct msghdr message = { .msg_iov = iov + first, .msg_iovlen = *niov - first };
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

		exchange->sends++;
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			memmove(iov, iov + first, (*niov - first) * sizeof(*iov));
			*niov -= first;
			return -errno;
		}
		while (first < *niov && (size_t)sent >= iov[first].iov_len)
			sent -= (ssize_t)iov[first++].iov_len;
		if (first < *niov) {
			iov[first].iov_base = (char *)iov[first].iov_base + sent;
			iov[first].iov_len -= (size_t)sent;
		}
	}
	*niov = 0;
	return 0;
}

static void keep_pending(struct exchange *exchange, struct client *client)
{
	struct pending *pending = malloc(sizeof(*pending) + exchange->used);

	if (!pending)
		site_die("malloc");
	memcpy(pending->bytes, exchange->bytes, exchange->used);
	pending->niov = exchange->niov;
	for (unsigned i = 0; i < pending->niov; i++) {
		char *base = exchange->iov[i].iov_base;

		if (base >= exchange->bytes && base < exchange->bytes + sizeof(exchange->bytes))
			base = pending->bytes + (base - exchange->bytes);
		pending->iov[i] = (struct iovec){ base, exchange->iov[i].iov_len };
	}
	client->pending = pending;
	client->last = exchange->last;
}

/* What is left of the input begins a request, or waits for its turn. It may lie in the client's own buffer. */
static void keep_input(struct client *client, const char *bytes, size_t len)
{
	assert(len <= HEAD_BYTES);
	if (len && !client->input && !(client->input = malloc(HEAD_BYTES)))
		site_die("malloc");
	if (len)
		memmove(client->input, bytes, len);
	client->len = len;
	if (!len && client->input) {
		free(client->input);
		client->input = NULL;
	}
}

static enum want take(const struct site *site, struct exchange *exchange, struct client *client, int fd,
                      const char *bytes, size_t len)
{
	for (;;) {
		size_t used = answer_all(site, exchange, bytes, len);
		int error = send_iov(exchange, fd, exchange->iov, &exchange->niov);

		bytes += used;
		len -= used;
		if (error == -EAGAIN) {
			keep_pending(exchange, client);
			keep_input(client, bytes, len);
			return WANT_WRITE;
		}
		if (error || exchange->last)
			return WANT_CLOSE;
		if (!used || !len)
			break;
	}
	keep_input(client, bytes, len);
	return WANT_READ;
}

static enum want go_on_sending(const struct site *site, struct exchange *exchange, struct client *client, int fd)
{
	int error = send_iov(exchange, fd, client->pending->iov, &client->pending->niov);

	if (error == -EAGAIN)
		return WANT_WRITE;
	free(client->pending);
	client->pending = NULL;
	if (error || client->last)
		return WANT_CLOSE;
	return client->len ? take(site, exchange, client, fd, client->input, client->len) : WANT_READ;
}

enum want client_turn(const struct site *site, struct exchange *exchange, struct client *client, int fd, bool drain)
{
	if (client->pending) {
		enum want want = go_on_sending(site, exchange, client, fd);

		/* With edges, bytes that came meanwhile will not be told of again. */
		if (want != WANT_READ || !drain)
			return want;
	}
	do {
		char *room = client->len ? client->input : exchange->input;
		size_t free_bytes = HEAD_BYTES - client->len;
		ssize_t len = recv(fd, room + client->len, site->buffer < free_bytes ? site->buffer : free_bytes, 0);
		enum want want;

		exchange->recvs++;
		if (len < 0 && errno == EAGAIN)
			return WANT_READ;
		if (len <= 0)
			return WANT_CLOSE;
		want = take(site, exchange, client, fd, room, client->len + (size_t)len);
		if (want != WANT_READ)
			return want;
	} while (drain);
	return WANT_READ;
}

void client_close(struct client *client, int fd)
{
	close(fd);
	free(client->input);
	free(client->pending);
	*client = (struct client){ 0 };
}
