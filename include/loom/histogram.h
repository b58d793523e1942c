/*
 * histogram.h - durations, counted by how long they were. Written by one thread with plain additions and relaxed stores,
 * read by others; nothing but 64-bit numbers, so that several are added up as arrays of these.
 */
#ifndef LOOM_HISTOGRAM_H
#define LOOM_HISTOGRAM_H

#include <stdint.h>

/* Upper bounds of the buckets, in nanoseconds; one more bucket is for what is longer than all. */
#define HISTOGRAM_BOUNDS 20

struct histogram {
	uint64_t bucket[HISTOGRAM_BOUNDS + 1]; /* not cumulative */
	uint64_t sum;                          /* nanoseconds */
};

/* Where the buckets end: ns, and the same in seconds as metrics write it. What a loop does: 1 us to 2.5 s. */
extern const uint64_t histogram_bounds[HISTOGRAM_BOUNDS];
extern const char *const histogram_bounds_text[HISTOGRAM_BOUNDS];

/* Adds n durations of ns each. By the thread that owns it. */
static inline void histogram_add(struct histogram *histogram, uint64_t ns, uint64_t n)
{
	unsigned i = 0;

	while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds[i])
		i++;
	__atomic_store_n(&histogram->bucket[i], histogram->bucket[i] + n, __ATOMIC_RELAXED);
	__atomic_store_n(&histogram->sum, histogram->sum + ns * n, __ATOMIC_RELAXED);
}

#endif
