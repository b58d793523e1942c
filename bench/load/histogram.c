/*
 * histogram.c - see histogram.h.
 */
#include "histogram.h"

#include <string.h>

#define STEPS (1u << LATENCY_STEP_BITS)
#define MAX   ((UINT64_C(1) << LATENCY_MAX_BITS) - 1)

/* How many low bits of a value its bucket does not tell apart: 0 up to 2 * STEPS. */
static unsigned shift_of(uint64_t ns)
{
	unsigned bits = ns ? 64 - (unsigned)__builtin_clzll(ns) : 0;

	return bits > LATENCY_STEP_BITS + 1 ? bits - LATENCY_STEP_BITS - 1 : 0;
}

void latencies_clear(struct latencies *latencies)
{
	memset(latencies, 0, sizeof(*latencies));
}

void latencies_add(struct latencies *latencies, uint64_t ns)
{
	uint64_t counted = ns < MAX ? ns : MAX;
	unsigned shift = shift_of(counted);

	latencies->bucket[(shift << LATENCY_STEP_BITS) + (counted >> shift)]++;
	latencies->count++;
	latencies->sum += ns;
	if (ns > latencies->max)
		latencies->max = ns;
}

uint64_t latencies_at(const struct latencies *latencies, double fraction)
{
	double exact = fraction * (double)latencies->count;
	uint64_t wanted = (uint64_t)exact, seen = 0;

	if ((double)wanted < exact || wanted == 0)
		wanted++;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		seen += latencies->bucket[i];
		if (seen >= wanted) {
			unsigned shift = i < 2 * STEPS ? 0 : (i >> LATENCY_STEP_BITS) - 1;
			uint64_t first = (uint64_t)(i - (shift << LATENCY_STEP_BITS)) << shift;
			uint64_t last = first + (UINT64_C(1) << shift) - 1;

			/* The longest bucket also holds what is longer. */
			return last < latencies->max && last < MAX ? last : latencies->max;
		}
	}
	return latencies->max;
}
