/*
 * memory.c - see memory.h. One number; relaxed, since it guards nothing else than itself: a builder takes what it is
 * going to allocate before it does, so that the threads of variants.c, which ask too, see it.
 */
#include "loom/memory.h"

#include <assert.h>
#include <stdatomic.h>

static _Atomic uint64_t held;

void memory_take(uint64_t bytes)
{
	atomic_fetch_add_explicit(&held, bytes, memory_order_relaxed);
}

bool memory_take_within(uint64_t bytes, uint64_t limit)
{
	uint64_t now = atomic_load_explicit(&held, memory_order_relaxed);

	do {
		if (bytes > limit || now > limit - bytes)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&held, &now, now + bytes, memory_order_relaxed,
	                                                memory_order_relaxed));
	return true;
}

void memory_give(uint64_t bytes)
{
	uint64_t before = atomic_fetch_sub_explicit(&held, bytes, memory_order_relaxed);

	assert(before >= bytes);
}

uint64_t memory_held(void)
{
	return atomic_load_explicit(&held, memory_order_relaxed);
}
