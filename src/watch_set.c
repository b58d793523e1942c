/*
 * watch_set.c - the sets of the watch: the inodes that inotify watches, the names that matter in some of them, and the
 * directories that this pass knows. See watcher.h.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "watcher.h"

/* Where wd is, or would have to be. */
static size_t watched_at(const struct watch *watch, int wd)
{
	size_t low = 0, high = watch->count;

	if (high > 0 && watch->watched[high - 1].wd < wd)
		return high;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (watch->watched[middle].wd < wd)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct watched *watched_find(const struct watch *watch, int wd)
{
	size_t at = watched_at(watch, wd);

	return at < watch->count && watch->watched[at].wd == wd ? &watch->watched[at] : NULL;
}

struct watched *watched_add(struct watch *watch, int wd)
{
	size_t at = watched_at(watch, wd);

	if (at < watch->count && watch->watched[at].wd == wd)
		return &watch->watched[at];
	if (watch->count == watch->room) {
		size_t room = watch->room ? watch->room * 2 : 64;
		struct watched *more = reallocarray(watch->watched, room, sizeof(*more));

		if (!more)
			return NULL;
		watch->watched = more;
		watch->room = room;
	}
	memmove(&watch->watched[at + 1], &watch->watched[at], (watch->count - at) * sizeof(watch->watched[0]));
	watch->watched[at] = (struct watched){ .wd = wd };
	watch->count++;
	return &watch->watched[at];
}

void watched_forget(struct watch *watch)
{
	size_t kept = 0;

	for (size_t i = 0; i < watch->count; i++) {
		struct watched watched = watch->watched[i];

		if (watched.tree != watch->pass)
			watched.tree = 0;
		if (watched.hop != watch->pass)
			watched.hop = 0;
		if (watched.tree || watched.hop)
			watch->watched[kept++] = watched;
		else
			inotify_rm_watch(watch->fd, watched.wd); /* may be gone already: EINVAL */
	}
	watch->count = kept;
}

static uint64_t hash(const char *text)
{
	uint64_t value = XXH3_64bits(text, strlen(text));

	return value ? value : 1;
}

/* The slot of a name, or the free one where it would have to be. The table is never full. */
static size_t hop_slot(const struct hop *hops, size_t room, int wd, uint64_t name)
{
	size_t at = (name + (uint64_t)(unsigned)wd * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (room - 1);

	while (hops[at].wd && (hops[at].wd != wd || hops[at].name != name))
		at = (at + 1) & (room - 1);
	return at;
}

bool hops_have(const struct watch *watch, int wd, const char *name)
{
	return watch->hop_count && watch->hops[hop_slot(watch->hops, watch->hop_room, wd, hash(name))].wd != 0;
}

/* A new table, with the hops since a pass. */
static int hops_move(struct watch *watch, size_t room, unsigned since)
{
	struct hop *hops = calloc(room, sizeof(*hops));
	size_t count = 0;

	if (!hops)
		return -ENOMEM;
	for (size_t i = 0; i < watch->hop_room; i++) {
		const struct hop *hop = &watch->hops[i];

		if (!hop->wd || hop->pass < since)
			continue;
		hops[hop_slot(hops, room, hop->wd, hop->name)] = *hop;
		count++;
	}
	free(watch->hops);
	watch->hops = hops;
	watch->hop_room = room;
	watch->hop_count = count;
	return 0;
}

int hops_add(struct watch *watch, int wd, const char *name, size_t most)
{
	uint64_t named = hash(name);
	struct hop *hop;

	assert(wd > 0);
	if (watch->hop_count * 4 >= watch->hop_room * 3) {
		int err = hops_move(watch, watch->hop_room ? watch->hop_room * 2 : 128, 0);

		if (err)
			return err;
	}
	hop = &watch->hops[hop_slot(watch->hops, watch->hop_room, wd, named)];
	if (!hop->wd) {
		if (watch->hop_count >= most)
			return -ENOSPC;
		watch->hop_count++;
	}
	*hop = (struct hop){ .name = named, .wd = wd, .pass = watch->pass };
	return 0;
}

void hops_forget(struct watch *watch)
{
	size_t room = 128, current = 0;

	for (size_t i = 0; i < watch->hop_room; i++)
		current += watch->hops[i].wd && watch->hops[i].pass == watch->pass;
	if (current == watch->hop_count)
		return;
	while (current * 4 >= room * 2)
		room *= 2;
	/* Without memory they stay: a rebuild too many, and another try after the next pass. */
	hops_move(watch, room, watch->pass);
}

void known_clear(struct watch *watch)
{
	free(watch->known);
	watch->known = NULL;
	watch->known_count = watch->known_room = 0;
}

static size_t known_slot(const struct known *known, size_t room, uint64_t path)
{
	size_t at = path & (room - 1);

	while (known[at].path && known[at].path != path)
		at = (at + 1) & (room - 1);
	return at;
}

struct known *known_at(struct watch *watch, const char *path)
{
	uint64_t hashed = hash(path);
	struct known *known;

	if (watch->known_count * 4 >= watch->known_room * 3) {
		size_t room = watch->known_room ? watch->known_room * 2 : 128;
		struct known *more = calloc(room, sizeof(*more));

		if (!more)
			return NULL;
		for (size_t i = 0; i < watch->known_room; i++)
			if (watch->known[i].path)
				more[known_slot(more, room, watch->known[i].path)] = watch->known[i];
		free(watch->known);
		watch->known = more;
		watch->known_room = room;
	}
	known = &watch->known[known_slot(watch->known, watch->known_room, hashed)];
	if (!known->path) {
		known->path = hashed;
		watch->known_count++;
	}
	return known;
}
