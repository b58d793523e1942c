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
#include "loom/log.h"
#include "loom/memory.h"

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
	memory_give(owner->memory);
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

/* Of the snapshot object, which counts for itself. */
static uint64_t object_memory(const struct builder *builder, uint64_t keys)
{
	unsigned workers = builder->request->workers;

	return build_object_size(workers) + build_hits_size(slot_count(keys), workers);
}

uint64_t build_overhead(const struct builder *builder, uint64_t keys)
{
	return keys * sizeof(struct build_entry) + slot_count(keys) * sizeof(struct snapshot_slot) +
	       sizeof(struct build_owner) + object_memory(builder, keys);
}

int build_errors(struct builder *builder)
{
	int err = 0;

	for (int error = 0; !err && error < SNAPSHOT_ERRORS; error++)
		err = asset_error(&builder->owner->errors[error], error, NULL, NULL,
		                  builder->request->options->nosniff);
	return err;
}

/* The page of an error, if it is one that can be sent with it. */
static const struct asset *find_page(const struct builder *builder, enum snapshot_error error)
{
	const struct build_entry *entry;
	char key[32];
	int len = snprintf(key, sizeof(key), "/%u.html", asset_error_status(error));

	entry = error >= ANSWER_OPTIONS ? NULL : build_find(builder->owner, key, (size_t)len);
	if (!entry || entry->asset->kind != ASSET_FILE)
		return NULL;
	if (entry->asset->body->bytes)
		return entry->asset;
	/* Said once, and not with every build. */
	if (!entry->before || builder->previous->entries[entry->before - 1].asset != entry->asset)
		log_warn("%s is not sent with errors: it is not held in memory (see --stream-above and --max-memory)",
		         key);
	return NULL;
}

/* /NNN.html, where there is one, takes the place of our own words. */
static int error_pages(struct builder *builder)
{
	for (int error = 0; error < SNAPSHOT_ERRORS; error++) {
		const struct asset *page = find_page(builder, error);
		struct asset *made;
		int err;

		if (!page)
			continue;
		err = asset_error(&made, error, page->type, page->body, builder->request->options->nosniff);
		if (err)
			return err;
		asset_release(builder->owner->errors[error]);
		builder->owner->errors[error] = made;
	}
	return 0;
}

/* Equal for equal keys, contents, media types and redirects: on every machine, whatever the times. */
int build_id(const struct build_owner *owner, char id[ETAG_LEN - 1])
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
	memory_take((owner->varying + 1) * sizeof(*owner->variants));
	owner->memory += (owner->varying + 1) * sizeof(*owner->variants);
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

static void count_streamed(const struct build_owner *owner, struct snapshot *snapshot)
{
	for (size_t i = 0; i < owner->count; i++) {
		const struct asset *asset = owner->entries[i].asset;

		if (asset->body->file && build_is_file(&owner->entries[i])) {
			snapshot->streamed++;
			snapshot->streamed_bytes += asset->body->len;
		}
	}
}

/* The index takes over what the plan has taken for it, and for heads, which count for themselves. */
static void take_memory(struct builder *builder)
{
	struct build_owner *owner = builder->owner;

	builder->keys = owner->count;
	owner->memory = build_overhead(builder, builder->keys) - object_memory(builder, builder->keys);
	memory_take(owner->memory);
	memory_give(builder->reserved);
	/* The snapshot object comes last: what variants leave must do for it. */
	builder->reserved = object_memory(builder, builder->keys);
	memory_take(builder->reserved);
}

int build_finish(struct builder *builder, const char *id, struct snapshot **made)
{
	const struct build_request *request = builder->request;
	struct build_owner *owner = builder->owner;
	uint64_t slots = slot_count(owner->count);
	struct snapshot *snapshot;
	int err;

	take_memory(builder);
	err = error_pages(builder);
	if (!err)
		err = build_coded(builder);
	if (!err)
		err = build_variants(owner);
	if (!err)
		err = build_slots(owner, slots);
	if (err)
		return err;
	memory_give(builder->reserved);
	builder->reserved = 0;
	snapshot = build_object(owner, slots, request->workers);
	if (!snapshot)
		return -ENOMEM;
	memcpy(snapshot->id, id, sizeof(snapshot->id));
	for (int error = 0; error < SNAPSHOT_ERRORS; error++)
		snapshot->errors[error] = &owner->errors[error]->representation;
	snapshot->health = request->options->health;
	snapshot->health_len = snapshot->health ? (uint32_t)strlen(snapshot->health) : 0;
	snapshot->kept = owner->kept;
	snapshot->kept_bytes = owner->kept_bytes;
	snapshot->kept_until = owner->kept_until;
	snapshot->files = builder->files;
	snapshot->bytes = builder->bytes;
	snapshot->coded = builder->coded;
	snapshot->coded_bytes = builder->coded_bytes;
	snapshot->memory = build_holds(builder) + (owner->varying ? owner->varying + 1 : 0) * sizeof(*owner->variants);
	snapshot->squeezed = builder->squeezed;
	count_streamed(owner, snapshot);
	*made = snapshot;
	return 0;
}
