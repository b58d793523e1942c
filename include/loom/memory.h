/*
 * memory.h - what all snapshots of this process hold, together: bodies, heads, indices and variants of those that are
 * served, retired, kept or in the making, each allocation once. It is what --max-memory bounds. Any thread.
 */
#ifndef LOOM_MEMORY_H
#define LOOM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes that have been allocated, or are about to be. */
void memory_take(uint64_t bytes);

/* The same, unless more than limit would be held then. */
bool memory_take_within(uint64_t bytes, uint64_t limit);

/* Bytes that have been freed. No more than were taken. */
void memory_give(uint64_t bytes);

uint64_t memory_held(void);

#endif
