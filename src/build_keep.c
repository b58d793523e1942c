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
	uint64_t memory = entry->asset->memory + entry->asset->body->memory;

	for (unsigned coding = 0; coding < CODINGS; coding++)
		if (entry->coded[coding])
			memory += entry->coded[coding]->memory + entry->coded[coding]->body->memory;
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
	owner->kept++;
	owner->kept_bytes += entry->asset->body->len;
	if (owner->kept_until == 0 || until < owner->kept_until)
		owner->kept_until = until;
	return 0;
}

/* What is kept, or may be: of one snapshot, and how much older it is by now. */
struct gone {
	const struct build_entry *entry;
	uint32_t age; /* generations */
	uint64_t since;
};

static int newest_first(const void *a, const void *b)
{
	const struct gone *left = a, *right = b;

	if (left->age != right->age)
		return left->age < right->age ? -1 : 1;
	return build_by_key(left->entry, right->entry);
}

/* Whether the first ones, sorted by key as their snapshot was, have this key. */
static bool has_key(const struct gone *gone, size_t count, const struct build_entry *entry)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = build_by_key(entry, gone[middle].entry);

		if (order == 0)
			return true;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* Adds those of a snapshot that are not there any more and may be kept. sorted: so many are from the one before. */
static size_t gather(const struct builder *builder, const struct snapshot *from, const char *id, struct gone *gone,
                     size_t sorted)
{
	const struct build_owner *owner = from->owner;
	const struct build_request *request = builder->request;
	uint32_t generation = strcmp(id, from->id) != 0;
	size_t count = sorted;

	for (size_t i = 0; i < owner->count; i++) {
		const struct build_entry *entry = &owner->entries[i];
		uint64_t since = entry->gone > 0 ? entry->gone_since : request->now;
		uint32_t age = entry->gone + generation;

		if (!may_be_kept(builder, entry) || build_find(builder->owner, entry->key, entry->key_len) ||
		    has_key(gone, sorted, entry))
			continue;
		if (age <= request->options->keep_generations && request->now < since + request->options->keep_for)
			gone[count++] = (struct gone){ .entry = entry, .age = age, .since = since };
	}
	return count;
}

static size_t entry_count(const struct snapshot *snapshot)
{
	return snapshot ? ((const struct build_owner *)snapshot->owner)->count : 0;
}

int build_keep(struct builder *builder, const char *id)
{
	const struct build_request *request = builder->request;
	const struct snapshot *previous = request->previous, *from = request->keep_from;
	uint64_t room = request->options->max_memory / KEPT_SHARE;
	size_t count = 0, present = builder->owner->count;
	struct gone *gone;
	int err = 0;

	/* What is in the tree comes first. */
	if (!from || builder->squeezed || request->options->keep_generations == 0 || request->options->keep_for == 0)
		return 0;
	gone = malloc((entry_count(previous) + entry_count(from) + 1) * sizeof(*gone));
	if (!gone)
		return -ENOMEM;
	if (previous && previous != from)
		count = gather(builder, previous, id, gone, 0);
	count = gather(builder, from, id, gone, count);
	qsort(gone, count, sizeof(*gone), newest_first);
	for (size_t i = 0; i < count && !err; i++) {
		const struct build_entry *entry = gone[i].entry;
		uint64_t memory = entry_memory(entry);

		if (memory > room)
			break; /* rather those that went last than many small ones */
		room -= memory;
		err = keep_entry(builder, entry, gone[i].age, gone[i].since,
		                 gone[i].since + request->options->keep_for);
	}
	free(gone);
	if (builder->owner->count > present)
		qsort(builder->owner->entries, builder->owner->count, sizeof(*builder->owner->entries), build_by_key);
	return err;
}
