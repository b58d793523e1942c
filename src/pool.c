/*
 * pool.c - see pool.h. Memory comes from mmap(2) with MAP_NORESERVE: a server that allows 65,536 connections and has
 * ten pays for ten.
 */
#include "loom/pool.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define LINE 64
#define PAGE 4096

/*
 * Objects of whole pages would have their first bytes, which are used most, in the same few sets of a processor's caches,
 * and push each other out of them. So each begins some lines further into its page than the one before, an odd number of
 * them, as the number of sets is even.
 */
#define STAGGER (3 * LINE)

static void *pool_map(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Of an odd number, modulo 2^64. Newton's method: each step makes twice as many bits right, of three at first. */
static uint64_t inverse_of(uint64_t odd)
{
	uint64_t inverse = odd;

	for (unsigned bits = 3; bits < 64; bits *= 2)
		inverse *= 2 - odd * inverse;
	return inverse;
}

int pool_create(struct pool *pool, size_t size, uint32_t count)
{
	assert(size > 0 && size % LINE == 0 && count > 0);

	if (size % PAGE == 0)
		size += STAGGER;
	*pool = (struct pool){ .size = size, .count = count };
	pool->shift = (unsigned)__builtin_ctzll(size);
	pool->inverse = inverse_of(size >> pool->shift);
	pool->base = pool_map(size * count);
	pool->free = pool_map(sizeof(*pool->free) * count);
	if (!pool->base || !pool->free) {
		pool_destroy(pool);
		return -ENOMEM;
	}
	return 0;
}

void pool_destroy(struct pool *pool)
{
	assert(pool->used == 0);

	if (pool->base)
		munmap(pool->base, pool->size * pool->count);
	if (pool->free)
		munmap(pool->free, sizeof(*pool->free) * pool->count);
	*pool = (struct pool){ 0 };
}

void *pool_take(struct pool *pool)
{
	uint32_t given_back = pool->touched - pool->used;

	if (given_back > 0) {
		__atomic_store_n(&pool->used, pool->used + 1, __ATOMIC_RELAXED);
		return pool_at(pool, pool->free[given_back - 1]);
	}
	if (pool->touched == pool->count)
		return NULL;
	__atomic_store_n(&pool->used, pool->used + 1, __ATOMIC_RELAXED);
	return pool_at(pool, pool->touched++);
}

void pool_give(struct pool *pool, void *object)
{
	uint32_t index = pool_index(pool, object);

	assert(pool->used > 0 && index < pool->touched);
	assert(pool_at(pool, index) == object);

	__atomic_store_n(&pool->used, pool->used - 1, __ATOMIC_RELAXED);
	pool->free[pool->touched - pool->used - 1] = index;
}
