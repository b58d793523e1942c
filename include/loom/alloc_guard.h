/*
 * alloc_guard.h - the promise that the event loop never allocates, checked by a machine. In a build with
 * -Dalloc_guard=true (the test build), malloc(3) and its kin abort the program with a message when the calling thread
 * has forbidden them. Elsewhere this is nothing.
 */
#ifndef LOOM_ALLOC_GUARD_H
#define LOOM_ALLOC_GUARD_H

#include <stdbool.h>

#ifdef LOOM_ALLOC_GUARD
/* Forbids, or allows again, allocation to the calling thread. */
void alloc_guard(bool forbid);
#else
static inline void alloc_guard(bool forbid)
{
	(void)forbid;
}
#endif

#endif
