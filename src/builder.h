/*
 * builder.h - what the parts of the builder share: build.c, from the tree to entries; build_keep.c,
 * those of earlier snapshots that are still served; build_coded.c, the coded variants of the entries; build_snapshot.c, from entries to a snapshot. Private to them.
 */
#ifndef LOOM_BUILDER_H
#define LOOM_BUILDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/asset.h"
#include "loom/build.h"
#include "loom/coding.h"

/* A key and its answers. Holds a reference to each asset. */
struct build_entry {
	const char *key; /* lies in an asset of the same snapshot: a directory's key begins its index file's */
	uint32_t key_len;
	uint32_t gone;                /* from the tree, for so many generations; 0: it is there */
	uint64_t gone_since;          /* milliseconds of CLOCK_MONOTONIC */
	uint32_t variants;            /* into the owner's variants; 0: identity alone */
	struct asset *asset;          /* identity */
	struct asset *coded[CODINGS]; /* NULL where there is none; that of identity always is */
};

/* What a snapshot keeps for the builder: all that it is made of. */
struct build_owner {
	atomic_uint references;      /* snapshots over it (build_again()) */
	struct build_entry *entries; /* sorted by key */
	size_t count;
	struct snapshot_slot *slots;
	struct snapshot_variants *variants; /* from 1; NULL when nothing has any */
	size_t varying;                     /* their number */
	struct asset *errors[SNAPSHOT_ERRORS];
	uint64_t kept; /* entries that are gone, and their bytes */
	uint64_t kept_bytes;
	uint64_t kept_until;
	uint64_t without; /* variants that there was no room for */
};

struct builder {
	const struct build_request *request;
	const struct build_owner *previous; /* NULL for the first snapshot */
	struct build_owner *owner;          /* the one in the making */
	size_t entries_size;
	size_t index_len;

	uint64_t keys;        /* entries, also those that are only counted */
	uint64_t fresh;       /* bytes of new assets, also of those that are only counted */
	uint64_t shared;      /* bytes of assets shared with the previous snapshot */
	uint64_t directories; /* bytes that the walk holds meanwhile */
	uint64_t files;
	uint64_t bytes;
	uint64_t coded; /* variants, without identity */
	uint64_t coded_bytes;
	bool full;       /* not all fit: the rest is counted, not read */
	bool unmeasured; /* not even counted */
	unsigned measured;
	uint8_t *scratch; /* CONTENT_SCRATCH bytes, taken when first needed */
};

/* An entry of sorted entries, or NULL. owner may be NULL. */
struct build_entry *build_find(const struct build_owner *owner, const char *key, size_t len);

/* What has to be held once the new snapshot is there and the previous one is not gone yet: shared assets once. Bytes. */
uint64_t build_memory(const struct builder *builder);

/* Whether so much more is allowed, beside all that was counted so far. */
bool build_fits(const struct builder *builder, uint64_t more);

/* The fields of a file's head in a coding. */
struct asset_fields build_fields(const struct builder *builder, const char *key, size_t key_len, const char *type,
                                 uint64_t size, time_t last_modified);

/* Whether loom itself makes variants of a content. */
bool build_is_candidate(const struct builder *builder, const char *type, uint64_t size);

/* All assets are there: the index and the snapshot itself. -ENOSPC: with these it does not fit. */
int build_finish(struct builder *builder, struct snapshot **made);

/* By key, of what qsort(3) sorts. */
int build_by_key(const void *a, const void *b);

/* One more entry, unsorted. Takes over a reference, also when it fails. */
struct build_entry *build_add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset);

/*
 * The entries are sorted, and id is theirs: adds those of request->keep_from that are gone and still to be served, as far as
 * there is room, and sorts them in. 0 or -ENOMEM.
 */
int build_keep(struct builder *builder, const char *id);
/* A snapshot over what is in the owner, with its shares and hits, and nothing else filled in. NULL: no memory. */
struct snapshot *build_object(struct build_owner *owner, uint64_t slots, unsigned workers);

/* Bytes of it, without hits. */
static inline size_t build_object_size(unsigned workers)
{
	return sizeof(struct snapshot) + workers * sizeof(struct snapshot_share);
}

void build_free_owner(struct build_owner *owner);

/* Gives every file of the sorted entries the variants that there are. 0 or -ENOMEM. */
int build_coded(struct builder *builder);

#endif
