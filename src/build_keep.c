/*
 * build_keep.c - what is gone from the tree and still served, for pages that were loaded when it was there ("skew
 * protection"). The builder's thread.
 *
 * Kept are files that such a page may ask for (rules_is_kept()), for --keep-generations snapshots of other content and
 * --keep-for at most, under their own names alone, with the variants that they had. They are no part of the snapshot's id,
 * of its figures, or of what the gate looks at; a file that comes back takes its name again. Streamed files are not kept: a
 * deleted file of gigabytes that is still open is room that df(1) misses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "loom/rules.h"

/* What is kept may take so much of what is allowed: the site itself comes first. */
#define KEPT_SHARE 4

static bool may_be_kept(const struct builder *builder, const struct build_entry *entry)
{
	const struct asset *asset = entry->asset;

	return asset->kind == ASSET_FILE && entry->key_len == asset->key_len && asset->body->bytes &&
	       rules_is_kept(builder->request->options, asset->key, asset->key_len, asset->type);
}

/* Bytes of an entry that is in memory already, and stays for its sake. */
static uint64_t entry_memory(const struct build_entry *entry)
{
	uint64_t memory = entry->asset->memory;

	for (unsigned coding = 0; coding < CODINGS; coding++)
		memory += entry->coded[coding] ? entry->coded[coding]->memory : 0;
	return memory;
}

static int keep_entry(struct builder *builder, const struct build_entry *entry, uint32_t gone, uint64_t since,
                      uint64_t until)
{
	struct build_owner *owner = builder->owner;
	struct build_entry *kept;

	asset_reference(entry->asset);
	kept = build_add_entry(builder, entry->key, entry->key_len, entry->asset);
	if (!kept)
		return -ENOMEM;
	kept->gone = gone;
	kept->gone_since = since;
	for (unsigned coding = 0; coding < CODINGS; coding++) {
		kept->coded[coding] = entry->coded[coding];
		if (kept->coded[coding])
			asset_reference(kept->coded[coding]);
	}
	builder->keys++;
	builder->shared += entry_memory(kept);
	owner->kept++;
	owner->kept_bytes += entry->asset->body->len;
	if (owner->kept_until == 0 || until < owner->kept_until)
		owner->kept_until = until;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct build_entry *left = *(const struct build_entry *const *)a,
				 *right = *(const struct build_entry *const *)b;

	if (left->gone != right->gone)
		return left->gone < right->gone ? -1 : 1;
	return build_by_key(left, right);
}

int build_keep(struct builder *builder, const char *id)
{
	const struct build_request *request = builder->request;
	const struct options *options = request->options;
	const struct build_owner *from = request->keep_from ? request->keep_from->owner : NULL;
	uint64_t room = options->max_memory / KEPT_SHARE;
	const struct build_entry **gone;
	uint32_t generation;
	size_t count = 0, present = builder->owner->count;
	int err = 0;

	if (!from || from->count == 0 || options->keep_generations == 0 || options->keep_for == 0)
		return 0;
	gone = malloc(from->count * sizeof(const struct build_entry *));
	if (!gone)
		return -ENOMEM;
	for (size_t i = 0; i < from->count; i++) {
		const struct build_entry *entry = &from->entries[i];

		if (may_be_kept(builder, entry) && !build_find(builder->owner, entry->key, entry->key_len))
			gone[count++] = entry;
	}
	qsort(gone, count, sizeof(const struct build_entry *), newest_first);

	generation = strcmp(id, request->keep_from->id) != 0;
	for (size_t i = 0; i < count && !err; i++) {
		const struct build_entry *entry = gone[i];
		uint32_t age = entry->gone + generation;
		uint64_t since = entry->gone > 0 ? entry->gone_since : request->now;
		uint64_t memory = entry_memory(entry);

		if (age > options->keep_generations || request->now >= since + options->keep_for)
			continue;
		if (memory > room)
			break; /* rather those that went last than many small ones */
		room -= memory;
		err = keep_entry(builder, entry, age, since, since + options->keep_for);
	}
	free(gone);
	if (builder->owner->count > present)
		qsort(builder->owner->entries, builder->owner->count, sizeof(*builder->owner->entries), build_by_key);
	return err;
}
