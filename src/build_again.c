/*
 * build_again.c - the snapshot object, and what several of them share: the index and the assets are the owner's,
 * which goes with the last of its snapshots. Objects are made on any thread and freed on the builder's, since freeing
 * the owner counts references of assets.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "loom/memory.h"

/* Bytes of one worker's hits: whole cache lines, so that no two workers write to the same one. */
static size_t hits_stride(uint64_t slots)
{
	return (slots * sizeof(uint32_t) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

size_t build_hits_size(uint64_t slots, unsigned workers)
{
	return workers * hits_stride(slots) + CACHE_LINE;
}

/*
 * Large ones are zero pages that take no memory, nor time, before they are written to. Counting is not worth a
 * failure.
 */
static void add_hits(struct snapshot *snapshot)
{
	uint64_t slots = snapshot->mask + 1;
	uintptr_t start;

	if (snapshot->workers == 0)
		return;
	snapshot->hits = calloc(1, build_hits_size(slots, snapshot->workers));
	if (!snapshot->hits)
		return;
	memory_take(build_hits_size(slots, snapshot->workers));
	start = ((uintptr_t)snapshot->hits + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	for (unsigned i = 0; i < snapshot->workers; i++)
		snapshot->share[i].hits = (uint32_t *)(start + i * hits_stride(slots));
}

struct snapshot *build_object(struct build_owner *owner, uint64_t slots, unsigned workers)
{
	size_t size = (build_object_size(workers) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, size);

	if (!snapshot)
		return NULL;
	memset(snapshot, 0, size);
	memory_take(build_object_size(workers));
	snapshot->slots = owner->slots;
	snapshot->mask = slots - 1;
	snapshot->variants = owner->variants;
	snapshot->owner = owner;
	snapshot->workers = workers;
	add_hits(snapshot);
	atomic_init(&snapshot->shares, workers);
	/* Relaxed: who calls has a snapshot of the same owner, or is its builder. */
	atomic_fetch_add_explicit(&owner->references, 1, memory_order_relaxed);
	return snapshot;
}

struct snapshot *build_again(const struct snapshot *snapshot, unsigned workers)
{
	struct snapshot *again = build_object(snapshot->owner, snapshot->mask + 1, workers);
	void *hits;

	if (!again)
		return NULL;
	hits = again->hits;
	/* All that is said of the contents; what comes behind is an object's own. */
	memcpy(again, snapshot, offsetof(struct snapshot, shares));
	again->hits = hits;
	again->workers = workers;
	again->returned = false;
	again->next = NULL;
	return again;
}

void build_free(struct snapshot *snapshot)
{
	struct build_owner *owner;

	if (!snapshot)
		return;
	owner = snapshot->owner;
	memory_give(build_object_size(snapshot->workers));
	if (snapshot->hits)
		memory_give(build_hits_size(snapshot->mask + 1, snapshot->workers));
	free(snapshot->hits);
	free(snapshot);
	/*
	 * Acquire and release: what other threads have read through their snapshots is over before the last one
	 * frees.
	 */
	if (atomic_fetch_sub_explicit(&owner->references, 1, memory_order_acq_rel) == 1)
		build_free_owner(owner);
}
