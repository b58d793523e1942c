/*
 * file_send.h - io_send_file() as far as it is the same on every backend: one bounded turn of a send, on the thread
 * of the event loop, without waiting for the socket or for a disk. A backend decides when a turn is due, and brings
 * in what is cold by its own means. Private to this directory.
 */
#ifndef LOOM_BACKENDS_FILE_SEND_H
#define LOOM_BACKENDS_FILE_SEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/io.h"

/*
 * The bytes that turns may take between two waits, of all sends of an event loop together: what a small request may
 * have to wait for. Those that are sent by reference count half. A turn counts as so many at least, since its system calls
 * take time, too.
 */
#define FILE_BUDGET   (512 * 1024)
#define FILE_TURN_MIN (128 * 1024)

/* The most bytes that a turn copies. */
#define FILE_COPY (128 * 1024)

/* sendfile(2) is given so many bytes at least, if there are: a turn may go beyond the budget by that. */
#define FILE_PIECE_MIN (64 * 1024)

/* Pieces end where pages do; of the usual size, which is all that matters. */
#define FILE_GRAIN 4096

/* How a turn ends. */
enum file_turn {
	FILE_MORE, /* another turn is due, when others had theirs */
	FILE_FULL, /* the socket takes no more: wait for room, then another turn */
	FILE_COLD, /* read what file_cold() says, aside, and bring it to file_send_read() */
	FILE_DONE, /* send->result is the result */
};

/* io_file_send.state */
enum {
	FILE_BLIND = 1 << 0,     /* the file system does not know RWF_NOWAIT: everything is read aside */
	FILE_UNCOUNTED = 1 << 1, /* cachestat(2) does not answer: ask in smaller steps */
	FILE_UNSPLICED = 1 << 2, /* sendfile(2) does not take this file: everything is copied */
	FILE_BLOCKING = 1 << 3,  /* the socket was, before */
	FILE_CORKED = 1 << 4,    /* it is, for as long as pages are sent by reference */
	FILE_LIFTED = 1 << 5,    /* more of it may be unsent, and was as many bytes before: file_sealed.c */
	FILE_HALTED = 1 << 6,    /* the socket has been full */
	FILE_WEIGHED = 1 << 7,   /* it has been looked at whether more of it may be unsent */
};

/* Sends that wait for something, first come, first served. */
struct file_queue {
	struct io_file_send *first;
	struct io_file_send *last;
};

static inline void file_queue_push(struct file_queue *queue, struct io_file_send *send)
{
	send->next = NULL;
	if (queue->first)
		queue->last->next = send;
	else
		queue->first = send;
	queue->last = send;
}

static inline struct io_file_send *file_queue_shift(struct file_queue *queue)
{
	struct io_file_send *send = queue->first;

	queue->first = send->next;
	return send;
}

/* What an event loop has for its sends of sealed memory. */
struct file_splicer {
	int from, to;     /* a pipe's ends */
	void *waste;      /* where what a socket did not take is read to */
	size_t room;      /* in the pipe, bytes; 0: there is none, and all is copied */
	unsigned lifts;   /* sends that may have more unsent than others, beyond those that have */
	uint64_t *figure; /* bytes that were sent so */
};

/* What an event loop has for its sends. */
struct file_sender {
	void *scratch;   /* FILE_COPY bytes; NULL: not created */
	uint64_t window; /* the last so many bytes of each send are copied; see file_send.c */
	struct file_queue turns;
	size_t budget; /* left until the next wait */
	bool hurried;  /* see file_hurry() */
	struct file_splicer splicer;
};

/* 0 or -ENOMEM. file_sender_destroy() may be called for a sender that is all zero, too. Not of its splicer. */
int file_sender_create(struct file_sender *sender);
void file_sender_destroy(struct file_sender *sender);

/*
 * To be called by the event loop's thread when it has others read what is cold: from the first time on it asks for short
 * slices of its processor, so that it is run as soon as it is woken beside them, whatever they are at (sched(7)).
 */
void file_hurry(struct file_sender *sender);

/*
 * With io_config.sealed. What cannot be had is done without. figure: where bytes are counted, which grows by relaxed stores.
 * file_splicer_destroy() copes with one that is all zero.
 */
void file_splicer_create(struct file_splicer *splicer, uint64_t *figure);
void file_splicer_destroy(struct file_splicer *splicer);

/*
 * Sealed memory (file_sealed.c): all of a range by reference. What a send of it is, file_send_begin() and file_send_turn() see
 * from send->file.
 */
void file_sealed_begin(struct file_sender *sender, struct io_file_send *send);
enum file_turn file_sealed_turn(struct file_sender *sender, struct io_file_send *send);

/* The connection of a send is closed before its end. Any send. */
void file_sealed_drop(struct file_sender *sender, struct io_file_send *send);

/* What both have in common: the memory in front, of which none is left when it has gone; */
enum file_turn file_send_memory(struct io_file_send *send);

/* the end of a send, with its result; */
enum file_turn file_end(struct io_file_send *send, int result);

/* that so many bytes of the file are sent; */
static inline void file_advance(struct io_file_send *send, size_t n)
{
	send->conn->sent += n;
	send->offset += n;
	send->len -= n;
}

/* that the socket is to be O_NONBLOCK until the end, for sendfile(2) and splice(2), which know no MSG_DONTWAIT: false, if it cannot be; */
bool file_unblock(struct io_file_send *send);

/* and whether room in the socket will be told, after a short count of these, which may have other reasons. */
bool file_is_full(int fd);

/*
 * Begins a send of the connection. No turn is taken. The socket is O_NONBLOCK until FILE_DONE, where sendfile(2)
 * needs it.
 */
void file_send_begin(struct file_sender *sender, struct io_conn *conn, struct io_file_send *send);

/* Whether a turn may be taken before the next wait. */
static inline bool file_has_turn(const struct file_sender *sender)
{
	return sender->turns.first && sender->budget;
}

/* One turn, of a send that was taken from turns. Takes from the budget. */
enum file_turn file_send_turn(struct file_sender *sender, struct io_file_send *send);

/* After FILE_COLD: how many bytes to read, from send->offset. 1 to most. */
static inline size_t file_cold(const struct io_file_send *send, size_t most)
{
	return send->len < most ? send->len : most;
}

/*
 * The turn after FILE_COLD: sends what was read. res is what pread(2) said, or -errno; the bytes are free again when
 * this returns, whatever of them was taken. Never FILE_COLD: so memory that is short, where what was brought in is gone
 * before anybody has looked at it, cannot keep a send from getting on.
 */
enum file_turn file_send_read(struct file_sender *sender, struct io_file_send *send, const void *bytes, ssize_t res);

#endif
