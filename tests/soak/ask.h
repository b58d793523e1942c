/*
 * ask.h - what the soak's client asks for: chance decides, by a seed. Pure but for the state of the generator.
 */
#ifndef LOOM_SOAK_ASK_H
#define LOOM_SOAK_ASK_H

#include "judge.h"

#define ASK_MAX 320 /* bytes that a request takes at most */

void ask_seed(uint64_t from);

/* From 0 on, less than `below`, which is not 0. */
uint64_t ask_chance(uint64_t below);

/* Files; of small ones also those that come and go, and that never were. */
unsigned ask_any_small(const struct site *site);
unsigned ask_any_large(const struct site *site);

/*
 * Fills the ask, for this file, in one of all ways, and writes its request to `out`, which has room for ASK_MAX bytes
 * at least. How many bytes that are. close: with Connection: close.
 */
size_t ask_write(struct ask *ask, const struct site *site, unsigned file_at, bool close, char *out, size_t room);

#endif
