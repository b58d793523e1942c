/*
 * stats.c - see stats.h. Any thread; owns nothing.
 */
#include "loom/stats.h"

#include <stddef.h>

const uint64_t histogram_bounds[HISTOGRAM_BOUNDS] = {
	1000,    2500,    5000,     10000,    25000,    50000,     100000,    250000,    500000,     1000000,
	2500000, 5000000, 10000000, 25000000, 50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000,
};

/* In the canonical form of OpenMetrics, so that a bucket has one name whatever wrote it. */
const char *const histogram_bounds_text[HISTOGRAM_BOUNDS] = {
	"1e-06",  "2.5e-06", "5e-06", "1e-05", "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005", "0.001",
	"0.0025", "0.005",   "0.01",  "0.025", "0.05",    "0.1",   "0.25",   "0.5",     "1.0",    "2.5",
};

void conn_stats_add(struct conn_stats *total, const struct conn_stats *stats)
{
	const uint64_t *from = (const uint64_t *)stats;
	uint64_t *to = (uint64_t *)total;

	for (size_t i = 0; i < sizeof(*stats) / sizeof(*from); i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
