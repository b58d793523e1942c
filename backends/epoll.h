/*
 * epoll.h - what epoll.c (connections, waiting), epoll_setup.c (creation), epoll_listen.c (accepting), epoll_level.c
 * (trigger=level) and epoll_file.c (files) share. Private to the epoll backend.
 */
#ifndef LOOM_BACKENDS_EPOLL_H
#define LOOM_BACKENDS_EPOLL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "backends.h"
#include "file_read.h"
#include "file_send.h"
#include "loom/io.h"

/* Events taken by one epoll_wait. */
#define EPOLL_BATCH 256

/* Connections accepted between two waits, by all listeners together. */
#define EPOLL_ACCEPTS 32

struct io_epoll {
	struct io io;
	int fd;
	int wake_fd;
	unsigned turns;          /* left until the next wait */
	unsigned accepts;        /* likewise */
	size_t bulk_budget;      /* bytes, likewise */
	struct conn_queue ready; /* have something to say */
	struct conn_queue bulk;  /* only go on with a send */
	struct io_listener *listener_head, *listener_tail;
	struct file_sender sender; /* with config.files; its turns are those of sends whose socket may have room */
	struct file_reader reader; /* likewise */
	struct io_config config;
	unsigned conns, listeners; /* in use */

	/* What is in effect, as far as the way of a request has to know it. All of it is in io.features. */
	bool level;       /* trigger=level */
	int full_read;    /* a read of fewer bytes says that there are no more; 0: none does, read=drain */
	bool waits_first; /* write=wait */
	struct epoll_event events[EPOLL_BATCH];
	char scratch[IO_RECV_MAX] __attribute__((aligned(64)));
};

/* io.figures */
enum epoll_figure {
	EPOLL_WAITS,
	EPOLL_EVENTS,
	EPOLL_SPLICED,
};

/* io_conn.flags */
enum conn_flag {
	CONN_QUEUED = 1 << 0,   /* in one of the FIFOs */
	CONN_CREDIT = 1 << 1,   /* an IO_RECV is owed to the caller */
	CONN_READABLE = 1 << 2, /* a receive may find something */
	CONN_TO_EOF = 1 << 3,   /* the end or urgent data was seen: a short read does not mean drained */
	CONN_ENDED = 1 << 4,    /* an IO_RECV with res <= 0 was given: no credit may follow */
	CONN_SENDING = 1 << 5,  /* iov has bytes left */
	CONN_FULL = 1 << 6,     /* the socket takes no more: wait for the edge */
	CONN_SENT = 1 << 7,     /* result waits to be pulled as IO_SENT */
	CONN_SHUT = 1 << 8,     /* a FIN was sent: no send may follow */
	CONN_CLOSED = 1 << 9,   /* IO_CLOSED waits to be pulled */
	CONN_OPEN = 1 << 10,    /* between io_open() and IO_CLOSED */
	CONN_FILE =
		1 << 11, /* the send in flight is of io_send_file(): files, not iov, and the queue is the sender's */
	CONN_WAITS = 1 << 12,   /* it is in that queue */
	CONN_READING = 1 << 13, /* a thread reads for it, and may not be taken by surprise */
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

/* epoll_setup.c: of struct io_ops. */
int ep_probe(const struct features *features, char *why, size_t size);
int ep_create(struct io **io, const struct io_config *config, char *why, size_t size);
void ep_destroy(struct io *io);

/* Puts the connection at the end of its FIFO, unless it is in one. */
void ep_push(struct io_epoll *ep, struct io_conn *conn);

/*
 * The kernel has no memory for another registration: the connection would never be heard of again. It is ended, and finds out,
 * without waiting for anything.
 */
void ep_give_up(struct io_conn *conn);

/* The socket has no room: its edge will come; with trigger=level it has to be asked for. */
void ep_await_room(struct io_epoll *ep, struct io_conn *conn);

/* write=wait: to be told when there is room, though nothing says that there is none. */
void ep_ask_for_room(struct io_epoll *ep, struct io_conn *conn);

/* epoll_level.c: with trigger=level, what a connection is told of. */
#define LEVEL_IN (EPOLLIN | EPOLLRDHUP | EPOLLPRI)
void ep_level_want(struct io_epoll *ep, struct io_conn *conn, uint32_t events);
void ep_level_told(struct io_epoll *ep, struct io_conn *conn, uint32_t events);

/* The kernel says that a listener's backlog is not empty. */
void ep_listener_told(struct io_epoll *ep, struct io_listener *listener);

/* Pulls one event of the listeners that have something to say, within what is left of accepts. */
bool ep_listener_next(struct io_epoll *ep, struct io_event *event);

void ep_listen(struct io *io, struct io_listener *listener, bool on);

/*
 * epoll_file.c. What it needs, with config.files: 0, or -errno with *what that failed. Destroys what was not created,
 * too.
 */
int ep_files_create(struct io_epoll *ep, const char **what);
void ep_files_destroy(struct io_epoll *ep);

void ep_send_file(struct io *io, struct io_conn *conn, struct io_file_send *send);

/* The socket may have room again. */
void ep_file_ready(struct io_epoll *ep, struct io_conn *conn);

/* Takes what the threads have read. With every wait. */
void ep_files_done(struct io_epoll *ep);

/* One turn of the send that waits longest, if the budget allows one. False when it does not, or none waits. */
bool ep_file_turn(struct io_epoll *ep);

#endif
