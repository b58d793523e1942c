/*
 * peer_count.c - see peer_count.h. Called by the workers' threads; owns one table of 64-bit words for all of them.
 *
 * A word is a tag of 48 bits and a count of 16; 0 is a free entry. Every change is one compare-and-swap of one word. An
 * entry is free again when its count is 0, and since a search looks at its whole window, and never stops at a free
 * entry, nothing has to mark where an entry once was.
 */
#include "loom/peer_count.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <xxhash.h>

#define COUNT_MASK  UINT64_C(0xffff)
#define ENTRIES_MIN 1024

struct peer_count {
	uint64_t key;
	uint64_t limit;
	uint32_t mask; /* of the place where a window begins */
	_Atomic uint64_t entry[];
};

int peer_count_create(struct peer_count **out, uint32_t conns, uint32_t limit)
{
	struct peer_count *peers;
	size_t entries = ENTRIES_MIN;

	assert(limit >= 1 && limit <= PEER_COUNT_MAX);
	while (entries < (size_t)conns * 4)
		entries *= 2;
	peers = calloc(1, sizeof(*peers) + (entries + PEER_WINDOW) * sizeof(peers->entry[0]));
	if (!peers)
		return -ENOMEM;
	peers->limit = limit;
	peers->mask = (uint32_t)entries - 1;
	/* Without entropy the places are no secret, and all else is as it should be. */
	if (getrandom(&peers->key, sizeof(peers->key), GRND_NONBLOCK) != sizeof(peers->key))
		peers->key = (uintptr_t)peers;
	*out = peers;
	return 0;
}

void peer_count_destroy(struct peer_count *peers)
{
	free(peers);
}

/* True when the entry could be counted up; full when it is at its limit. False: it has changed meanwhile. */
static bool count_up(struct peer_count *peers, _Atomic uint64_t *entry, uint64_t seen, bool *full)
{
	*full = (seen & COUNT_MASK) >= peers->limit;
	return *full || atomic_compare_exchange_strong_explicit(entry, &seen, seen + 1, memory_order_relaxed,
	                                                        memory_order_relaxed);
}

bool peer_count_enter(struct peer_count *peers, uint64_t address, uint32_t *slot)
{
	uint64_t hash = XXH3_64bits_withSeed(&address, sizeof(address), peers->key);
	uint64_t tag = hash & ~COUNT_MASK, free_word;
	uint32_t first = (uint32_t)hash & peers->mask, at, free_at;
	bool full;

	if (tag == 0)
		tag = COUNT_MASK + 1;
	/* Again when another thread was faster: that one has got on, so somebody always does. */
	for (;;) {
		free_at = UINT32_MAX;
		for (at = first; at < first + PEER_WINDOW; at++) {
			uint64_t seen = atomic_load_explicit(&peers->entry[at], memory_order_relaxed);

			if ((seen & ~COUNT_MASK) == tag) {
				if (!count_up(peers, &peers->entry[at], seen, &full))
					break;
				*slot = at + 1;
				return !full;
			}
			if (seen == 0 && free_at == UINT32_MAX)
				free_at = at;
		}
		if (at < first + PEER_WINDOW)
			continue;
		if (free_at == UINT32_MAX) {
			*slot = PEER_UNCOUNTED;
			return true;
		}
		free_word = 0;
		if (atomic_compare_exchange_strong_explicit(&peers->entry[free_at], &free_word, tag | 1,
		                                            memory_order_relaxed, memory_order_relaxed)) {
			*slot = free_at + 1;
			return true;
		}
	}
}

void peer_count_leave(struct peer_count *peers, uint32_t slot)
{
	_Atomic uint64_t *entry;
	uint64_t seen, less;

	if (slot == PEER_UNCOUNTED)
		return;
	assert(slot - 1 <= peers->mask + PEER_WINDOW);
	entry = &peers->entry[slot - 1];
	seen = atomic_load_explicit(entry, memory_order_relaxed);
	do {
		assert((seen & COUNT_MASK) > 0);
		less = (seen & COUNT_MASK) > 1 ? seen - 1 : 0;
	} while (
		!atomic_compare_exchange_weak_explicit(entry, &seen, less, memory_order_relaxed, memory_order_relaxed));
}

uint32_t peer_count_entries(const struct peer_count *peers)
{
	uint32_t n = 0;

	for (size_t i = 0; i < (size_t)peers->mask + 1 + PEER_WINDOW; i++)
		n += atomic_load_explicit(&peers->entry[i], memory_order_relaxed) != 0;
	return n;
}

bool peer_address(int fd, uint64_t *address)
{
	struct sockaddr_storage name = { 0 };
	socklen_t len = sizeof(name);
	const struct in6_addr *six = &((struct sockaddr_in6 *)&name)->sin6_addr;
	uint32_t four;

	if (getpeername(fd, (struct sockaddr *)&name, &len) < 0)
		return false; /* it has gone already */
	if (name.ss_family == AF_INET) {
		four = ((struct sockaddr_in *)&name)->sin_addr.s_addr;
	} else if (name.ss_family == AF_INET6) {
		if (!IN6_IS_ADDR_V4MAPPED(six)) {
			memcpy(address, six->s6_addr, sizeof(*address));
			return true;
		}
		memcpy(&four, six->s6_addr + 12, sizeof(four));
	} else {
		return false;
	}
	/* No IPv6 network: with 32 zeros in front it would be a neighbour of ::/64, which nobody has (RFC 4291 2.5). */
	*address = 0;
	memcpy((char *)address + sizeof(four), &four, sizeof(four));
	return true;
}
