/*
 * conn_proxy.c - for whom a connection is: see conn_proxy.h, and conn_peer() in conn.h. The worker's thread.
 *
 * The table of peers stands aside of the connections, 20 bytes each, so that an idle one is two cache lines. Like the
 * pools it is address space until it is used: a worker that nobody asks for addresses never touches it.
 */
#include "conn_proxy.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static_assert(sizeof(struct peer) == 20, "the table of peers is small");
static_assert(sizeof(((struct input *)NULL)->bytes) >= PROXY_V2_MAX, "a header fits an input");

int conn_peers_init(struct conn_context *context, uint32_t conns)
{
	context->peers = calloc(conns, sizeof(*context->peers));
	return context->peers ? 0 : -ENOMEM;
}

void conn_peers_fini(struct conn_context *context)
{
	free(context->peers);
	context->peers = NULL;
}

/* What the kernel knows of the other end. */
static void ask_kernel(int fd, struct peer *peer)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;

	*peer = (struct peer){ .family = PEER_UNKNOWN };
	if (getpeername(fd, (struct sockaddr *)&addr, &len) < 0)
		return;
	switch (addr.ss_family) {
	case AF_INET:
		peer_set(peer, (const uint8_t *)&in->sin_addr, 4, ntohs(in->sin_port));
		break;
	case AF_INET6:
		peer_set(peer, (const uint8_t *)&in6->sin6_addr, 16, ntohs(in6->sin6_port));
		break;
	case AF_UNIX:
		peer->family = PEER_LOCAL;
		break;
	}
}

bool conn_trusts(struct conn_context *context, int fd)
{
	struct peer peer;

	ask_kernel(fd, &peer);
	if (network_has(context->proxy_from, context->proxy_froms, &peer))
		return true;
	/* Who was reset before it was accepted, as health checks are, has no address any more, and wants no answer. */
	if (peer.family != PEER_UNKNOWN)
		conn_count(&context->stats.untrusted, 1);
	return false;
}

const struct peer *conn_peer(struct conn_context *context, struct conn *conn)
{
	static const struct peer unknown = { .family = PEER_UNKNOWN };
	struct peer *peer = &context->peers[pool_index(&context->conns, conn)];

	assert(conn->state != CONN_FREE);
	if (conn->known)
		return peer;
	if (conn->state == CONN_PROXY || conn->state == CONN_CLOSING)
		return &unknown;
	ask_kernel(conn->io.fd, peer);
	conn->known = true;
	return peer;
}

enum proxy_progress conn_read_proxy(struct conn_context *context, struct conn *conn, const char *bytes, size_t len,
                                    size_t *used)
{
	struct input *input = conn->input;
	size_t before = input ? input->len : 0;
	size_t fits = len < PROXY_V2_MAX - before ? len : PROXY_V2_MAX - before;
	enum proxy_progress progress;
	struct peer peer;

	if (input) {
		memcpy(input->bytes + before, bytes, fits);
		bytes = input->bytes;
	}
	progress = proxy_read(bytes, input ? before + fits : len, &peer, used);
	if (progress == PROXY_MORE) {
		assert(before + len < PROXY_V2_MAX);
		if (!input) {
			input = conn->input = pool_take(&context->inputs);
			assert(input); /* there are as many as connections */
			memcpy(input->bytes, bytes, len);
		}
		input->len = (uint32_t)(before + len);
		input->reading = false;
	} else if (progress == PROXY_DONE) {
		assert(*used > before);
		*used -= before;
		if (peer.family != PEER_UNKNOWN) {
			context->peers[pool_index(&context->conns, conn)] = peer;
			conn->known = true;
		}
	}
	return progress;
}
