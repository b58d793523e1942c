/*
 * simulate.h - what simulate.c and shrink.c know of each other.
 */
#ifndef LOOM_SIM_SIMULATE_H
#define LOOM_SIM_SIMULATE_H

#include <stdint.h>

#include "plan.h"

/* Runs a plan to its end; ends the program where something is wrong. Clients that had a connection. */
unsigned simulate(const struct plan *plan);

/*
 * The seed fails: finds a cut of its plan that is short and fails the same way, and prints what is left of it, and the
 * command that replays it. In processes of its own, for at most so many seconds.
 */
void shrink(uint64_t seed, const char *cut, unsigned seconds);

#endif
