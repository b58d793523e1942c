/*
 * access_ring.c - see access_ring.h. Producer: a worker's thread. Consumer: the access log's.
 *
 * A record never wraps: where the end of the ring is too near for what is put in, a size of 0 says that it goes on at the
 * beginning. Before the records of a turn stands the moment at which they left, filled in when they are shown; its size tells
 * it from a record. Head and tail only grow, and both sides keep a copy of the other's, which they look up again when it is not
 * enough; so a cache line changes hands once a turn and not once a record.
 */
#include "loom/access_ring.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct moment {
	uint32_t size; /* sizeof(struct moment), where a record has its own */
	uint64_t left;
};

static_assert(sizeof(struct moment) % ACCESS_RECORD_ALIGN == 0, "records behind it are aligned");
static_assert(sizeof(struct moment) < sizeof(struct access_record), "its size is no record's");

int access_ring_create(struct access_ring *ring, size_t size, struct access_bell *bell)
{
	void *bytes;

	assert(size >= 4096 && (size & (size - 1)) == 0);
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bytes == MAP_FAILED)
		return -ENOMEM;
	memset(ring, 0, sizeof(*ring));
	ring->bytes = bytes;
	ring->size = size;
	ring->bell = bell;
	return 0;
}

void access_ring_destroy(struct access_ring *ring)
{
	if (ring->bytes)
		munmap(ring->bytes, ring->size);
	ring->bytes = NULL;
}

static void drop(struct access_ring *ring, unsigned count)
{
	uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);

	atomic_store_explicit(&ring->dropped, dropped + count, memory_order_relaxed);
}

void access_ring_put(struct access_ring *ring, const void *records, size_t len, unsigned count)
{
	size_t at = ring->head & (ring->size - 1), to_end = ring->size - at;
	size_t whole = len + (ring->moment ? 0 : sizeof(struct moment));
	size_t need = whole <= to_end ? whole : to_end + whole;

	assert(len <= ring->size / 4 && len % ACCESS_RECORD_ALIGN == 0);
	if (ring->size - (ring->head - ring->tail) < need) {
		ring->tail = atomic_load_explicit(&ring->shared_tail, memory_order_acquire);
		if (ring->size - (ring->head - ring->tail) < need) {
			drop(ring, count);
			return;
		}
	}
	if (whole > to_end) {
		memset(ring->bytes + at, 0, sizeof(uint32_t)); /* to_end is a multiple of 8, so it fits */
		ring->head += to_end;
		at = 0;
	}
	if (!ring->moment) {
		ring->moment = ring->bytes + at;
		at += sizeof(struct moment);
	}
	memcpy(ring->bytes + at, records, len);
	ring->head += whole;
}

/* Fills in when what was put in has left. */
static void close_moment(struct access_ring *ring, uint64_t left)
{
	const struct moment moment = { .size = sizeof(moment), .left = left };

	memcpy(ring->moment, &moment, sizeof(moment));
	ring->moment = NULL;
	ring->shown = ring->head;
}

void access_ring_show(struct access_ring *ring, uint64_t left)
{
	if (!ring->moment)
		return;
	close_moment(ring, left);
	atomic_store_explicit(&ring->shared_head, ring->head, memory_order_release);
}

/*
 * Sequentially consistent, as is what the consumer does in the other order: either it, having said that it sleeps, looks
 * once more and sees these records; or it is seen to sleep here.
 */
void access_ring_publish(struct access_ring *ring, uint64_t left)
{
	uint64_t one = 1;
	ssize_t n;

	if (ring->head == ring->published)
		return;
	if (ring->moment)
		close_moment(ring, left);
	ring->published = ring->head;
	atomic_store_explicit(&ring->shared_head, ring->head, memory_order_seq_cst);
	if (atomic_load_explicit(&ring->bell->sleeping, memory_order_seq_cst) == 0)
		return;
	if (atomic_exchange_explicit(&ring->bell->sleeping, 0, memory_order_relaxed) == 0)
		return; /* another worker was first */
	n = write(ring->bell->fd, &one, sizeof(one));
	(void)n; /* an eventfd that cannot take more wakes as well */
}

const struct access_record *access_ring_next(struct access_ring *ring)
{
	struct access_record *record;
	uint32_t size;

	if (ring->read == ring->seen) {
		ring->seen = atomic_load_explicit(&ring->shared_head, memory_order_acquire);
		if (ring->read == ring->seen)
			return NULL;
	}
	/* Behind an end that is too near, and behind a moment, something follows: it was the reason. */
	for (;;) {
		size_t at = ring->read & (ring->size - 1);

		record = (void *)(ring->bytes + at);
		memcpy(&size, record, sizeof(size));
		if (size == 0) {
			ring->read += ring->size - at;
		} else if (size == sizeof(struct moment)) {
			memcpy(&ring->left, ring->bytes + at + offsetof(struct moment, left), sizeof(ring->left));
			ring->read += size;
		} else {
			break;
		}
	}
	record->duration = ring->left > record->began ? ring->left - record->began : 0;
	ring->read += size;
	return record;
}

void access_ring_release(struct access_ring *ring)
{
	atomic_store_explicit(&ring->shared_tail, ring->read, memory_order_release);
}

uint64_t access_ring_filled(const struct access_ring *ring)
{
	return atomic_load_explicit(&ring->shared_head, memory_order_seq_cst) - ring->read;
}
