/*
 * access_ring.h - records of the access log on their way from one worker to the thread that writes them: one producer, one
 * consumer, all memory taken at start.
 *
 * The producer never waits: what there is no room for is dropped and counted. What it puts in is seen by the consumer after
 * access_ring_publish(), which a worker calls once a turn, so that a record costs a copy, and the turn one release store and
 * one look at the clock: all answers that have left in a turn have left at its end.
 */
#ifndef LOOM_ACCESS_RING_H
#define LOOM_ACCESS_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/access_record.h"

#define ACCESS_RING_SIZE (4u << 20) /* bytes, of each worker; a power of two */
#define ACCESS_RING_LINE 64

/* How the consumer sleeps and is woken; one for all rings that it reads. */
struct access_bell {
	alignas(ACCESS_RING_LINE) atomic_int sleeping; /* 1: the next record of any ring must wake it */
	int fd;                                        /* eventfd(2), non-blocking */
};

struct access_ring {
	/* The producer's. */
	alignas(ACCESS_RING_LINE) char *bytes;
	uint64_t size; /* a power of two */
	uint64_t head; /* bytes that were ever put in; in bytes[] modulo size */
	uint64_t shown;
	char *moment; /* in bytes[]: when the records left that follow it, which is not known yet; NULL: there are none */
	uint64_t published; /* shown, and the consumer was woken if it slept */
	uint64_t tail;      /* as it was when it was last looked at */
	struct access_bell *bell;
	atomic_uint_fast64_t dropped; /* records; written by the producer, read by anybody */

	/* Between the two. */
	alignas(ACCESS_RING_LINE) atomic_uint_fast64_t shared_head;
	alignas(ACCESS_RING_LINE) atomic_uint_fast64_t shared_tail;

	/* The consumer's. */
	alignas(ACCESS_RING_LINE) uint64_t read; /* bytes that were taken */
	uint64_t seen;                           /* of shared_head */
	uint64_t left;                           /* when the records left that are being read */
};

/* size: a power of two, at least 4096. 0 or -ENOMEM. Before the threads. */
int access_ring_create(struct access_ring *ring, size_t size, struct access_bell *bell);
void access_ring_destroy(struct access_ring *ring);

/*
 * The producer: puts in len bytes, which are so many whole records of answers that have just left, or drops them all. len is
 * at most a quarter of size.
 */
void access_ring_put(struct access_ring *ring, const void *records, size_t len, unsigned count);

/* The producer: whether so much was put in that the consumer should begin, although the turn is not over. */
static inline bool access_ring_is_long(const struct access_ring *ring)
{
	return ring->head - ring->shown >= ring->size / 8;
}

/* The producer: shows the consumer what was put in; left: now, in microseconds of the clock of access_record.began. */
void access_ring_show(struct access_ring *ring, uint64_t left);

/* The same, and wakes the consumer when it sleeps (the one system call, once an idle time). */
void access_ring_publish(struct access_ring *ring, uint64_t left);

/*
 * The consumer: the next record, with its duration, which stays where it is until access_ring_release(); NULL: there is
 * none now.
 */
const struct access_record *access_ring_next(struct access_ring *ring);

/* The consumer: gives back the room of all records so far. */
void access_ring_release(struct access_ring *ring);

/* The consumer: bytes that it has not taken yet, of those published. After bell->sleeping was set: whether to sleep. */
uint64_t access_ring_filled(const struct access_ring *ring);

#endif
