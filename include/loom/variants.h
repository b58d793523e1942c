/*
 * variants.h - the coded variants of contents: asked for by the builder, made by threads of the lowest priority, and
 * remembered by content hash, so that no content is compressed twice as long as it is there, or comes back soon
 * (variants_sweep()); nor, with a cache directory, after loom was started again.
 *
 * All functions are for the builder's thread, which alone counts references of bodies.
 */
#ifndef LOOM_VARIANTS_H
#define LOOM_VARIANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/body.h"
#include "loom/coding.h"

struct variants;

enum variant_state {
	VARIANT_READY,   /* *coded is set */
	VARIANT_NONE,    /* there is none: it would not be smaller, or has been given up */
	VARIANT_PENDING, /* it is being made, or waits for that, or for variants_collect() */
	VARIANT_SHED,    /* there was no room for it; *memory is what it would take; see variants_again() */
};

struct variants_config {
	unsigned threads;      /* 1 or more */
	const char *cache_dir; /* NULL: none */
	/*
	 * What is made is not kept when memory.h counts more than this by then, less a part that is left for the
	 * snapshots which are to have it. 0: all is kept.
	 */
	uint64_t max_memory;
	uint32_t patience; /* milliseconds that a thread has to end, from when it is told */
	/*
	 * Called on a thread of variants.c when there is something for variants_collect(), for each variant. Must not
	 * block. Not called any more once variants_destroy() has returned.
	 */
	void (*news)(void *context);
	void *context;
};

/* Starts the threads (SCHED_IDLE, all signals blocked). 0, or -errno with one line in why. */
int variants_create(struct variants **variants, const struct variants_config *config, char *why, size_t size);

/*
 * No more is made: the threads are told to end, in the middle of their work, and nobody waits for them. For a process
 * that has nobody left to make variants for, so that its end is not held up by them. Any thread; once is enough.
 */
void variants_stop(struct variants *variants);

/*
 * Stops the threads, in the middle of their work, and drops what is held. NULL is allowed. A thread that has not ended in
 * time, on a machine that leaves it no processor, is left behind with all of the store, for the end of the process to
 * clear away: it does no harm, and tells no news.
 */
void variants_destroy(struct variants *variants);

/*
 * The variant of a sealed content of 1 to COMPRESS_MAX bytes. READY: *coded is borrowed from the store and is smaller
 * than the content; who keeps it takes a reference. What was never asked for before is queued, the smallest content
 * first, and holds a reference to identity until it has been collected. States change in variants_collect(),
 * variants_shed() and variants_again() alone. *coded and *memory are 0 where they are not set.
 */
enum variant_state variants_get(struct variants *variants, struct body *identity, enum content_coding coding,
                                struct body **coded, uint64_t *memory);

/* A variant that is SHED is made again; without memory for that it stays what it is. */
void variants_again(struct variants *variants, struct body *identity, enum content_coding coding);

/*
 * Takes over what the threads have done since the last call. The number of variants that became READY by that. When
 * nothing is left to do for the first time, the threads look through the cache directory for what has expired: what is
 * in use has been read by then, and counts as used.
 */
unsigned variants_collect(struct variants *variants);

/* Variants that are queued or being made, as of the last variants_collect(). */
unsigned variants_pending(const struct variants *variants);

struct variants_counts {
	uint64_t pending; /* variants_pending() */
	uint64_t made;    /* that became READY so far, from the cache directory or not */
	uint64_t dropped; /* that were SHED so far, some of them perhaps several times */
};

void variants_count(const struct variants *variants, struct variants_counts *counts);

/*
 * Drops, for want of memory, the variants that variants_get() has shown and that nobody but the store refers to: they
 * are kept in case that their content comes back. unseen: those as well that it has not shown yet, since they were
 * made, so that nobody can have referred to them. They are SHED from then on. So are forgotten the variants that wait to
 * be made of contents that nobody refers to any more. Bytes. Walks all.
 */
uint64_t variants_shed(struct variants *variants, bool unseen);

/* Sweeps that a content is remembered for which is gone. */
#define VARIANTS_SWEEPS 16

/*
 * To be called once for each deploy, when its build has asked for all that it wants. What nobody has asked for since
 * VARIANTS_SWEEPS calls, and nobody but the store refers to, is forgotten: otherwise the store would grow with every
 * content that ever was. Walks all.
 */
void variants_sweep(struct variants *variants);

#endif
