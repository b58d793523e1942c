/*
 * variants.h - the coded variants of contents: asked for by the builder, made by threads of the lowest priority, and
 * remembered by content hash, so that no content is compressed twice while loom runs, nor, with a cache directory,
 * after it was started again.
 *
 * All functions are for the builder's thread, which alone counts references of bodies.
 */
#ifndef LOOM_VARIANTS_H
#define LOOM_VARIANTS_H

#include <stddef.h>
#include <stdint.h>

#include "loom/body.h"
#include "loom/coding.h"

struct variants;

enum variant_state {
	VARIANT_READY,   /* *coded is set */
	VARIANT_NONE,    /* there is none: it would not be smaller, or has been given up */
	VARIANT_PENDING, /* it is being made, or waits for that, or for variants_collect() */
};

struct variants_config {
	unsigned threads;      /* 1 or more */
	const char *cache_dir; /* NULL: none */
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
 * Stops the threads, in the middle of their work, and drops what is held. NULL is allowed. A thread that does not end
 * within seconds, on a machine that leaves it no processor, is left behind with all of the store, for the end of the
 * process to clear away: it does no harm, and tells no news.
 */
void variants_destroy(struct variants *variants);

/*
 * The variant of a sealed content of 1 to COMPRESS_MAX bytes. READY: *coded is borrowed from the store and is smaller
 * than the content; who keeps it takes a reference. What was never asked for before is queued, the smallest content
 * first, and holds a reference to identity until it has been collected. States change in variants_collect() and
 * variants_shed() alone.
 */
enum variant_state variants_get(struct variants *variants, struct body *identity, enum content_coding coding,
                                struct body **coded);

/*
 * Takes over what the threads have done since the last call. The number of variants that became READY by that. When
 * nothing is left to do for the first time, the threads look through the cache directory for what has expired: what is
 * in use has been read by then, and counts as used.
 */
unsigned variants_collect(struct variants *variants);

/* Variants that are queued or being made, as of the last variants_collect(). */
unsigned variants_pending(const struct variants *variants);

/* Memory of all variants that are READY, whoever else refers to them: a bound on variants_spare(), and cheap. Bytes. */
uint64_t variants_held(const struct variants *variants);

/*
 * Bytes of memory of variants that variants_get() has shown and that nobody but the store refers to: they are kept in
 * case that their content comes back. Walks all.
 */
uint64_t variants_spare(const struct variants *variants);

/* Drops these, for want of memory. They are NONE from then on. */
void variants_shed(struct variants *variants);

#endif
