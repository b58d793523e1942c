/*
 * histogram.h - latencies, counted so that any percentile can be told to within 1/128 of its value: buckets double in
 * width from one power of two to the next, as in Gil Tene's HdrHistogram. Pure; one thread.
 */
#ifndef LOOM_BENCH_LOAD_HISTOGRAM_H
#define LOOM_BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

#define LATENCY_STEP_BITS 7  /* 128 buckets from one power of two to the next */
#define LATENCY_MAX_BITS  40 /* longest: 2^40 - 1 ns, 18 minutes; what is longer counts as that */
#define LATENCY_BUCKETS   ((LATENCY_MAX_BITS - LATENCY_STEP_BITS + 1) << LATENCY_STEP_BITS)

struct latencies {
	uint64_t count;
	uint64_t sum; /* ns */
	uint64_t max; /* ns, exact */
	uint64_t bucket[LATENCY_BUCKETS];
};

void latencies_clear(struct latencies *latencies);

void latencies_add(struct latencies *latencies, uint64_t ns);

/*
 * The value in ns that `fraction` (0 to 1) of all are not longer than: the upper end of its bucket, never more than the
 * longest. 0 when there are none.
 */
uint64_t latencies_at(const struct latencies *latencies, double fraction);

#endif
