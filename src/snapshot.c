/*
 * snapshot.c - the index of a snapshot, and the shares by which threads hold one.
 *
 * Look-ups, adopt, pin and unpin run on the event loops; publish, retract and unused on the publisher's thread. This
 * file owns no memory: snapshots are made and freed by build.h, inboxes belong to the server.
 *
 * Two pairs of atomic operations carry everything, one for each direction:
 *   the publisher's exchange (release) into an inbox -> the worker's exchange (acquire) out of it: what the builder
 *   wrote is seen by the worker that adopts it;
 *   a worker's decrement (release) of the shares -> the publisher's load (acquire) that finds none left: what a worker
 *   did with the snapshot is over before it is freed.
 * tests/stress weakens each of the four in turn and lets ThreadSanitizer see that none can be spared.
 */
#include "loom/snapshot.h"

#include <assert.h>
#include <string.h>

#define XXH_INLINE_ALL /* keys are short: the call would cost as much as the hash */
#include <xxhash.h>

static_assert(sizeof(struct snapshot_slot) == 32, "two slots to a cache line");
static_assert(sizeof(struct snapshot_share) == CACHE_LINE, "workers' pins must not share a cache line");
static_assert(sizeof(struct snapshot_inbox) == CACHE_LINE, "inboxes must not share a cache line");
static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "the event loop must not take a lock");

uint64_t snapshot_hash(const char *key, size_t len)
{
	uint64_t hash = XXH3_64bits(key, len);

	return hash ? hash : 1; /* 0 marks an empty slot */
}

const struct snapshot_slot *snapshot_find(const struct snapshot *snapshot, const char *key, size_t len)
{
	uint64_t hash = snapshot_hash(key, len);
	uint64_t i = hash & snapshot->mask;

	/* Ends: at least half of the slots are empty. */
	for (;; i = (i + 1) & snapshot->mask) {
		const struct snapshot_slot *slot = &snapshot->slots[i];

		if (slot->hash == 0)
			return NULL;
		if (slot->hash == hash && slot->key_len == len && memcmp(slot->key, key, len) == 0)
			return slot;
	}
}

struct snapshot *snapshot_adopt(struct snapshot_inbox *inbox, unsigned worker)
{
	/*
	 * Acquire: pairs with the publisher's release, so that the snapshot is seen as it was built. Nothing is
	 * released: the worker has written nothing that the publisher would read.
	 */
	struct snapshot *snapshot = atomic_exchange_explicit(&inbox->next, NULL, memory_order_acquire);

	if (!snapshot)
		return NULL;
	assert(snapshot->share[worker].pins == 0); /* the share can be picked up once only */
	snapshot->share[worker].pins = 1;
	return snapshot;
}

void snapshot_unpin(struct snapshot *snapshot, unsigned worker)
{
	struct snapshot_share *share = &snapshot->share[worker];
	unsigned left;

	assert(share->pins > 0);
	if (--share->pins > 0)
		return;

	/*
	 * Release: every read that this worker made through the snapshot, and its pins, come before the publisher's
	 * finding that no share is left. The decrements of several workers form one release sequence, so the publisher
	 * synchronises with all of them by reading the last. This is the last touch: the memory may be gone after it.
	 */
	left = atomic_fetch_sub_explicit(&snapshot->shares, 1, memory_order_release);
	assert(left > 0);
}

void snapshot_publish(struct snapshot *snapshot, struct snapshot_inbox inbox[], unsigned workers)
{
	assert(workers > 0);
	/* Relaxed: no other thread knows the snapshot yet. */
	assert(atomic_load_explicit(&snapshot->shares, memory_order_relaxed) == workers);

	for (unsigned i = 0; i < workers; i++) {
		/*
		 * Release: pairs with the acquire of snapshot_adopt(). What comes back is either nothing or a snapshot
		 * that this same thread put there, so there is nothing to acquire.
		 */
		struct snapshot *old = atomic_exchange_explicit(&inbox[i].next, snapshot, memory_order_release);

		/*
		 * Never picked up: its share comes back here. Relaxed: this thread itself frees the snapshot later, and
		 * a read-modify-write does not break the release sequence of the workers' decrements.
		 */
		if (old) {
			unsigned left = atomic_fetch_sub_explicit(&old->shares, 1, memory_order_relaxed);

			assert(left > 0);
		}
	}
}

void snapshot_retract(struct snapshot_inbox *inbox)
{
	/*
	 * Acquire and release, because this may run on another thread than the publisher's: it must see the shares as
	 * they were set, and be done with them before they are found gone. Not a hot path.
	 */
	struct snapshot *old = atomic_exchange_explicit(&inbox->next, NULL, memory_order_acquire);

	if (old) {
		unsigned left = atomic_fetch_sub_explicit(&old->shares, 1, memory_order_release);

		assert(left > 0);
	}
}

bool snapshot_unused(const struct snapshot *snapshot)
{
	/* Acquire: pairs with the release of the last unpin of every worker; the caller frees next. */
	return atomic_load_explicit(&snapshot->shares, memory_order_acquire) == 0;
}
