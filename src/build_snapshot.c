/*
 * build_snapshot.c - from entries to a snapshot: what it takes of memory, its errors, its id, its index. The builder's
 * thread.
 */
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "builder.h"
#include "loom/variants.h"

static int compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

int build_by_key(const void *a, const void *b)
{
	const struct build_entry *left = a, *right = b;

	return compare_keys(left->key, left->key_len, right->key, right->key_len);
}

struct build_entry *build_find(const struct build_owner *owner, const char *key, size_t len)
{
	size_t low = 0, high = owner ? owner->count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct build_entry *entry = &owner->entries[middle];
		int order = compare_keys(key, len, entry->key, entry->key_len);

		if (order == 0)
			return entry;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

void build_free_owner(struct build_owner *owner)
{
	if (!owner)
		return;
	for (size_t i = 0; i < owner->count; i++) {
		asset_release(owner->entries[i].asset);
		for (unsigned coding = 0; coding < CODINGS; coding++)
			asset_release(owner->entries[i].coded[coding]);
	}
	for (size_t i = 0; i < SNAPSHOT_ERRORS; i++)
		asset_release(owner->errors[i]);
	free(owner->entries);
	free(owner->slots);
	free(owner->variants);
	free(owner);
#ifdef __GLIBC__
	/* A site may be most of the process's memory, and the next reload hours away: give the pages back now. */
	malloc_trim(0);
#endif
}

/* Slots of the index: at least half of them empty, so that every look-up ends, and soon. */
static uint64_t slot_count(uint64_t keys)
{
	uint64_t n = 4;

	while (n < 2 * keys)
		n *= 2;
	return n;
}

/* Bytes of the new snapshot beside its assets. */
static uint64_t overhead(const struct builder *builder)
{
	return builder->keys * sizeof(struct build_entry) + slot_count(builder->keys) * sizeof(struct snapshot_slot) +
	       builder->owner->varying * sizeof(struct snapshot_variants) + sizeof(struct build_owner) +
	       build_object_size(builder->request->workers);
}

/* What has to be held once the new snapshot is there and the previous one is not gone yet: shared assets once. */
uint64_t build_memory(const struct builder *builder)
{
	const struct snapshot *previous = builder->request->previous;

	return builder->fresh + overhead(builder) + builder->directories + (previous ? previous->memory : 0);
}

bool build_fits(const struct builder *builder, uint64_t more)
{
	const struct build_request *request = builder->request;
	uint64_t needed = build_memory(builder) + more, allowed = request->options->max_memory;

	/* Variants of what is gone are kept only as long as nothing else wants the room. */
	if (needed <= allowed && request->variants && needed + variants_held(request->variants) > allowed &&
	    needed + variants_spare(request->variants) > allowed)
		variants_shed(request->variants);
	return needed <= allowed;
}

/* /NNN.html, where there is one, takes the place of our own words. */
static int build_errors(struct builder *builder)
{
	const struct options *options = builder->request->options;

	for (int error = 0; error < SNAPSHOT_ERRORS; error++) {
		struct asset **asset = &builder->owner->errors[error];
		const struct build_entry *entry;
		char page[32];
		int err, len;

		len = snprintf(page, sizeof(page), "/%u.html", asset_error_status(error));
		entry = error == ANSWER_OPTIONS ? NULL : build_find(builder->owner, page, (size_t)len);
		if (entry && entry->asset->kind == ASSET_FILE)
			err = asset_error(asset, error, entry->asset->type, entry->asset->body, options->nosniff);
		else
			err = asset_error(asset, error, NULL, NULL, options->nosniff);
		if (err)
			return err;
		builder->fresh += (*asset)->memory;
	}
	return 0;
}

/* Equal for equal keys, contents, media types and redirects: on every machine, whatever the times. */
static int build_id(const struct build_owner *owner, char id[ETAG_LEN - 1])
{
	XXH3_state_t *state = XXH3_createState();
	XXH128_canonical_t canonical;

	if (!state)
		return -ENOMEM;
	XXH3_128bits_reset(state);
	for (size_t i = 0; i < owner->count; i++) {
		const struct build_entry *entry = &owner->entries[i];
		const struct asset *asset = entry->asset;
		uint8_t numbers[6] = {
			(uint8_t)entry->key_len,
			(uint8_t)(entry->key_len >> 8),
			(uint8_t)(entry->key_len >> 16),
			(uint8_t)(entry->key_len >> 24),
			(uint8_t)asset->representation.status,
			(uint8_t)(asset->representation.status >> 8),
		};

		XXH3_128bits_update(state, numbers, sizeof(numbers));
		XXH3_128bits_update(state, entry->key, entry->key_len);
		XXH3_128bits_update(state, asset->type, strlen(asset->type) + 1);
		XXH3_128bits_update(state, asset->body->hash, sizeof(asset->body->hash));
	}
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
	XXH3_freeState(state);
	asset_hash_text(canonical.digest, id);
	return 0;
}

/* The table of variants, for those entries that have any; build_coded() has numbered them. */
static int build_variants(struct build_owner *owner)
{
	if (owner->varying == 0)
		return 0;
	owner->variants = calloc(owner->varying + 1, sizeof(*owner->variants));
	if (!owner->variants)
		return -ENOMEM;
	for (size_t i = 0; i < owner->count; i++) {
		const struct build_entry *entry = &owner->entries[i];
		const struct representation **coded = owner->variants[entry->variants].coded;

		if (entry->variants == 0)
			continue;
		for (unsigned coding = 0; coding < CODINGS; coding++)
			coded[coding] = entry->coded[coding] ? &entry->coded[coding]->representation : NULL;
		coded[CODING_IDENTITY] = &entry->asset->representation;
	}
	return 0;
}

static int build_slots(struct build_owner *owner, uint64_t count)
{
	struct snapshot_slot *slots = aligned_alloc(CACHE_LINE, count * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	memset(slots, 0, count * sizeof(*slots));
	owner->slots = slots;
	for (size_t i = 0; i < owner->count; i++) {
		const struct build_entry *entry = &owner->entries[i];
		uint64_t hash = snapshot_hash(entry->key, entry->key_len);
		uint64_t at = hash & (count - 1);

		assert(hash != 0);
		assert(i == 0 || build_by_key(entry - 1, entry) < 0);
		while (slots[at].hash)
			at = (at + 1) & (count - 1);
		slots[at] = (struct snapshot_slot){
			.hash = hash,
			.key = entry->key,
			.key_len = (uint16_t)entry->key_len,
			.gone = entry->gone > 0,
			.variants = entry->variants,
			.representation = &entry->asset->representation,
		};
	}
	return 0;
}

/* All assets are there: the index and the snapshot itself. -ENOSPC: with these it does not fit. */
int build_finish(struct builder *builder, struct snapshot **made)
{
	const struct build_request *request = builder->request;
	struct build_owner *owner = builder->owner;
	uint64_t slots;
	struct snapshot *snapshot;
	char id[ETAG_LEN - 1];
	int err;

	assert(builder->keys == owner->count);
	if (owner->count) {
		struct build_entry *entries = realloc(owner->entries, owner->count * sizeof(*entries));

		if (entries) {
			owner->entries = entries;
			builder->entries_size = owner->count;
		}
		qsort(owner->entries, owner->count, sizeof(*entries), build_by_key);
	}
	builder->directories = 0;
	err = build_id(owner, id);
	if (!err)
		err = build_errors(builder);
	if (!err)
		err = build_keep(builder, id);
	if (err)
		return err;
	slots = slot_count(owner->count);
	if (!build_fits(builder, 0)) {
		builder->full = true;
		return -ENOSPC;
	}
	err = build_coded(builder);
	if (!err)
		err = build_variants(owner);
	if (!err)
		err = build_slots(owner, slots);
	if (err)
		return err;

	snapshot = build_object(owner, slots, request->workers);
	if (!snapshot)
		return -ENOMEM;
	memcpy(snapshot->id, id, sizeof(id));
	for (int error = 0; error < SNAPSHOT_ERRORS; error++)
		snapshot->errors[error] = &owner->errors[error]->representation;
	snapshot->files = builder->files;
	snapshot->bytes = builder->bytes;
	snapshot->coded = builder->coded;
	snapshot->coded_bytes = builder->coded_bytes;
	snapshot->kept = owner->kept;
	snapshot->kept_bytes = owner->kept_bytes;
	snapshot->kept_until = owner->kept_until;
	snapshot->memory = builder->fresh + builder->shared + overhead(builder);
	*made = snapshot;
	return 0;
}
