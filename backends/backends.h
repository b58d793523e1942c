/*
 * backends.h - what the backends share, and select.c's list of them. Private to this directory.
 */
#ifndef LOOM_BACKENDS_H
#define LOOM_BACKENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/io.h"

extern const struct io_ops io_epoll_ops;
extern const struct io_ops io_uring_ops; /* only with HAVE_LIBURING */

/* The liburing that this binary was built with, "2.3"; only with HAVE_LIBURING. */
extern const char io_uring_library[];

/*
 * Connections that wait for something, first come, first served, linked by their next. So a connection is in one of them at
 * a time: the backend's flags say in which. (Sends of files have a queue of their own, file_send.h: the connection of one may be
 * in one of these as well.)
 */
struct conn_queue {
	struct io_conn *first, *last;
	unsigned len;
};

static inline void conn_queue_push(struct conn_queue *queue, struct io_conn *conn)
{
	conn->next = NULL;
	if (queue->first)
		queue->last->next = conn;
	else
		queue->first = conn;
	queue->last = conn;
	queue->len++;
}

/* Of a queue that is not empty. */
static inline struct io_conn *conn_queue_pop(struct conn_queue *queue)
{
	struct io_conn *conn = queue->first;

	queue->first = conn->next;
	queue->len--;
	return conn;
}

/* What was in it, for the caller to go through; it is empty after that, and may be pushed to meanwhile. */
static inline struct conn_queue conn_queue_take(struct conn_queue *queue)
{
	struct conn_queue taken = *queue;

	*queue = (struct conn_queue){ 0 };
	return taken;
}

/*
 * For io_progress(): the bytes that the peer has acknowledged where the kernel counts them (TCP), otherwise taken,
 * the bytes that the kernel has taken (Unix sockets). For one socket it is always the one or always the other, so the
 * figure only grows. One system call.
 */
uint64_t socket_progress(int fd, uint64_t taken);

/* Whether the kernel counts acknowledged bytes of this socket, or of those that this listener accepts. One call. */
bool socket_counts(int fd);

/* Whether -errno of accept4(2) is of the one connection that was to be accepted: then the next one may be. */
bool socket_accept_passes(int err);

#endif
