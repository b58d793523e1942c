/*
 * schedule.h - when requests are due at a fixed rate, whatever becomes of those before them. Latency is counted from then
 * and not from when there was a connection to send on, so a server that stalls cannot hide the requests that it kept
 * from being sent (Gil Tene's "coordinated omission"). Pure: the time comes in. One thread.
 */
#ifndef LOOM_BENCH_LOAD_SCHEDULE_H
#define LOOM_BENCH_LOAD_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct schedule {
	uint64_t start;  /* ns */
	uint64_t end;    /* ns: nothing is due from then on */
	uint64_t due;    /* ns: the next; UINT64_MAX when there is none any more */
	double gap;      /* ns, on average */
	double elapsed;  /* ns from start to the next, with its fraction: errors do not add up */
	uint64_t random; /* state of the generator; 0: evenly spaced */
};

/*
 * rate: events a second, > 0. seed 0: evenly spaced, the first one at once; otherwise gaps are exponentially
 * distributed, as of many clients that know nothing of each other, and the same for the same seed.
 */
void schedule_begin(struct schedule *schedule, uint64_t start, uint64_t length, double rate, uint64_t seed);

/* Whether the next is due; *due is when it was, and the one after it becomes the next. */
bool schedule_take(struct schedule *schedule, uint64_t now, uint64_t *due);

#endif
