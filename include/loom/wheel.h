/*
 * wheel.h - one hashed timer wheel a worker. One thread; no system call, no clock of its own.
 *
 * A timer is a deadline in an object. Moving a deadline later is one store: its node stays where it is, and is put in
 * its place when its slot comes round. So keep-alive costs nothing a request.
 */
#ifndef LOOM_WHEEL_H
#define LOOM_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_TICK_MS 64
#define WHEEL_SLOTS   512 /* 32.8 s a turn; later deadlines go round again */

struct wheel_node {
	struct wheel_node *next; /* NULL when not linked */
	struct wheel_node *prev;
	uint64_t deadline; /* milliseconds of the caller's monotonic clock */
	uint64_t tick;     /* that it is linked for; never after the deadline's */
};

struct wheel {
	uint64_t tick;                       /* the next that wheel_expire() will look at */
	uint32_t nodes;                      /* linked */
	uint64_t used[WHEEL_SLOTS / 64];     /* a bit for each slot that may hold a node */
	struct wheel_node slot[WHEEL_SLOTS]; /* heads of circular lists */
};

void wheel_init(struct wheel *wheel, uint64_t now);

/*
 * Sets the deadline. A node that is linked already is moved only when the new deadline comes before the tick that it
 * waits in, so raising is cheap and lowering is right.
 */
void wheel_set(struct wheel *wheel, struct wheel_node *node, uint64_t deadline);

/* Unlinks; nothing when it is not linked. */
void wheel_cancel(struct wheel *wheel, struct wheel_node *node);

/*
 * The next node whose deadline is not after now, unlinked; NULL when there is none left. Nodes whose deadline was
 * raised are put in their new place on the way. Call until NULL. A deadline set in the past expires within a tick.
 */
struct wheel_node *wheel_expire(struct wheel *wheel, uint64_t now);

/* Milliseconds from now until wheel_expire() may have work: 0 or more, or -1 when no node is linked. */
int wheel_timeout(const struct wheel *wheel, uint64_t now);

#endif
