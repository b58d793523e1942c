/*
 * epoll.h - what epoll.c (connections, waiting) and epoll_listen.c (accepting) share. Private to the epoll backend.
 */
#ifndef LOOM_BACKENDS_EPOLL_H
#define LOOM_BACKENDS_EPOLL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "backends.h"
#include "loom/io.h"

/* Events taken by one epoll_wait. */
#define EPOLL_BATCH 256

/* Connections accepted between two waits, by all listeners together. */
#define EPOLL_ACCEPTS 32

struct io_epoll {
	struct io io;
	int fd;
	int wake_fd;
	unsigned turns;   /* left until the next wait */
	unsigned accepts; /* likewise */
	unsigned queued;  /* connections in the FIFO */
	struct io_conn *head, *tail;
	struct io_listener *listener_head, *listener_tail;
	struct io_config config;
	unsigned conns, listeners; /* in use */
	struct epoll_event events[EPOLL_BATCH];
	char scratch[IO_RECV_MAX] __attribute__((aligned(64)));
};

/*
 * epoll_event.data: the object's address, bit 0 telling a listener from a connection, and above bit 48 the generation.
 * Every batch is read to its end before anything is pulled, and close(2) takes a socket out of the set, so an event
 * for an earlier life of an io_conn is possible only when somebody else holds a duplicate of its descriptor.
 */
#define TAG_LISTENER     UINT64_C(1)
#define TAG_ADDRESS_BITS 48

static inline uint64_t tag_make(const void *object, uint64_t kind, uint16_t generation)
{
	uint64_t address = (uintptr_t)object;

	assert((address & TAG_LISTENER) == 0 && address >> TAG_ADDRESS_BITS == 0);
	return address | kind | (uint64_t)generation << TAG_ADDRESS_BITS;
}

static inline void *tag_object(uint64_t tag)
{
	return (void *)(uintptr_t)(tag & ((UINT64_C(1) << TAG_ADDRESS_BITS) - 1) & ~TAG_LISTENER);
}

static inline struct io_epoll *ep_of(struct io *io)
{
	assert(io->ops == &io_epoll_ops);
	return (struct io_epoll *)io;
}

/* The kernel says that a listener's backlog is not empty. */
void ep_listener_told(struct io_epoll *ep, struct io_listener *listener);

/* Pulls one event of the listeners that have something to say, within what is left of accepts. */
bool ep_listener_next(struct io_epoll *ep, struct io_event *event);

void ep_listen(struct io *io, struct io_listener *listener, bool on);

#endif
