/*
 * schedule.c - see schedule.h.
 */
#include "schedule.h"

#include <math.h>

/* xorshift64* (Vigna 2016); more than good enough for gaps. In (0, 1]. */
static double next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (double)((*state * UINT64_C(0x2545F4914F6CDD1D) >> 11) + 1) / 9007199254740992.0;
}

static void settle(struct schedule *schedule)
{
	uint64_t due = schedule->start + (uint64_t)schedule->elapsed;

	schedule->due = due < schedule->end ? due : UINT64_MAX;
}

static void advance(struct schedule *schedule)
{
	schedule->elapsed += schedule->random ? -log(next_random(&schedule->random)) * schedule->gap : schedule->gap;
	settle(schedule);
}

void schedule_begin(struct schedule *schedule, uint64_t start, uint64_t length, double rate, uint64_t seed)
{
	*schedule = (struct schedule){ .start = start, .end = start + length, .gap = 1e9 / rate, .random = seed };
	if (seed)
		advance(schedule);
	else
		settle(schedule);
}

bool schedule_take(struct schedule *schedule, uint64_t now, uint64_t *due)
{
	if (schedule->due > now)
		return false;
	*due = schedule->due;
	advance(schedule);
	return true;
}
