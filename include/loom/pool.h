/*
 * pool.h - a fixed number of objects of one size, taken from the system at start and never again.
 *
 * The address space is reserved whole; the system gives pages as objects are first used, and the object freed last is
 * the one taken next, so that resident memory is that of the most objects that were ever in use together. One thread.
 */
#ifndef LOOM_POOL_H
#define LOOM_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool {
	char *base;
	size_t size;      /* from one object to the next, a multiple of 64 */
	uint32_t count;   /* objects in all */
	uint32_t touched; /* objects [0, touched) have been taken at least once; the others are all zero bytes */
	uint32_t used;    /* objects that are taken now; relaxed stores, so that others may look */
	uint32_t *free;   /* a stack of the touched - used objects that have been given back */
	unsigned shift;   /* size is odd << shift, */
	uint64_t inverse; /* and odd * inverse is 1 in 64 bits: what pool_index() divides by */
};

/* size: of an object, a multiple of 64. 0 or -ENOMEM. Objects begin as zero bytes, and on a cache line. */
int pool_create(struct pool *pool, size_t size, uint32_t count);
void pool_destroy(struct pool *pool);

/* An object, as it was left when it was given back; NULL when all are taken. */
void *pool_take(struct pool *pool);
void pool_give(struct pool *pool, void *object);

/* Of an object, at its first byte. A division that leaves no remainder can be a multiplication. */
static inline uint32_t pool_index(const struct pool *pool, const void *object)
{
	return (uint32_t)(((uint64_t)((const char *)object - pool->base) >> pool->shift) * pool->inverse);
}

static inline void *pool_at(const struct pool *pool, uint32_t index)
{
	return pool->base + (size_t)index * pool->size;
}

#endif
