/*
 * memory.c - see memory.h. One number; relaxed, since it guards nothing: whoever asks before allocating is the builder's
 * thread, and those that allocate meanwhile (variants) are counted when their work is collected.
 */
#include "loom/memory.h"

#include <assert.h>
#include <stdatomic.h>

static _Atomic uint64_t held;

void memory_take(uint64_t bytes)
{
	atomic_fetch_add_explicit(&held, bytes, memory_order_relaxed);
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
