/*
 * build_coded.c - the coded variants of a snapshot's files: those that lie beside them (app.js.br beside app.js), and
 * those that were made of them (variants.h). The builder's thread.
 *
 * A sidecar is the deployer's choice and wins over our own, if it decodes to the very bytes of its file; the answer
 * shares its body with the sidecar's own. A variant that is not there yet comes with a later snapshot. What does not
 * fit into the memory that is allowed is left out: identity is always there. A file that is streamed has none, nor is
 * one: they would have to be read for that.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "loom/compress.h"
#include "loom/log.h"
#include "loom/memory.h"
#include "loom/variants.h"

/*
 * Whether the sidecar decodes to the content of the file; decoded once for each pair of contents. 1, 0 or -ENOMEM. gzip is
 * decoded in one go (compress.c): without room for that the question stays open, and the answer is 0.
 */
static int judge_sidecar(const struct builder *builder, const struct asset *asset, struct asset *sidecar,
                         enum content_coding coding)
{
	uint64_t room = coding == CODING_GZIP ? asset->body->len : 0;
	int matches;

	if (sidecar->judged && memcmp(sidecar->judged_hash, asset->body->hash, BODY_HASH_LEN) == 0)
		return sidecar->matches;
	if (!memory_take_within(room, builder->request->options->max_memory)) {
		log_debug("%s is not sent in place of %s: there is no room to look what it holds", sidecar->key,
		          asset->key);
		return 0;
	}
	matches = compress_matches(coding, sidecar->body->bytes, sidecar->body->len, asset->body->bytes,
	                           asset->body->len);
	memory_give(room);
	if (matches < 0)
		return matches;
	sidecar->judged = true;
	sidecar->matches = matches;
	memcpy(sidecar->judged_hash, asset->body->hash, BODY_HASH_LEN);
	if (!matches)
		log_warn("%s is not sent in place of %s: decoded as %s it does not give the same bytes", sidecar->key,
		         asset->key, coding_name(coding));
	return matches;
}

/* So many entries behind a file's are looked through for its sidecars, before the index is asked. */
#define NEIGHBOURS 8

/* A key that follows this entry's, and begins with it. Sidecars are mostly the next ones. */
static const struct build_entry *find_behind(const struct build_owner *owner, const struct build_entry *entry,
                                             const char *key, size_t len)
{
	const struct build_entry *end = owner->entries + owner->count, *next = entry + 1;

	for (unsigned i = 0; next < end && i < NEIGHBOURS; i++, next++) {
		if (next->key_len < entry->key_len || memcmp(next->key, key, entry->key_len) != 0)
			return NULL;
		if (next->key_len == len && memcmp(next->key, key, len) == 0)
			return next;
	}
	return next < end ? build_find(owner, key, len) : NULL;
}

/* The body of a file beside this one, in *body; NULL when there is none that serves. */
static int find_sidecar(const struct builder *builder, const struct build_entry *of, enum content_coding coding,
                        struct body **body)
{
	const struct asset *asset = of->asset;
	const char *suffix = coding_suffix(coding);
	size_t suffix_len = strlen(suffix);
	char key[PATH_MAX + 8];
	const struct build_entry *entry;
	int matches;

	*body = NULL;
	if (asset->key_len + suffix_len >= sizeof(key))
		return 0;
	memcpy(key, asset->key, asset->key_len);
	memcpy(key + asset->key_len, suffix, suffix_len);
	entry = find_behind(builder->owner, of, key, asset->key_len + suffix_len);
	if (!entry || entry->asset->kind != ASSET_FILE || entry->asset->body->len >= asset->body->len)
		return 0;
	if (!entry->asset->body->bytes) {
		log_debug("%s is not sent in place of %s: it is streamed", entry->key, asset->key);
		return 0;
	}
	matches = judge_sidecar(builder, asset, entry->asset, coding);
	if (matches > 0)
		*body = entry->asset->body;
	return matches < 0 ? matches : 0;
}

static struct asset_fields coded_fields(const struct builder *builder, const struct asset *asset,
                                        enum content_coding coding, uint64_t size)
{
	struct asset_fields fields = build_fields(builder, asset->key, asset->key_len, asset->type, size, false,
	                                          asset->representation.last_modified);

	fields.varies = true;
	fields.coding = coding;
	return fields;
}

static bool same_head(const struct asset *a, const struct asset *b)
{
	return a == b || (a->type == b->type && a->representation.last_modified == b->representation.last_modified);
}

struct choices {
	struct build_choice *list;
	size_t count, size;
};

static int add_choice(struct choices *choices, const struct build_choice *choice)
{
	if (choices->count == choices->size) {
		size_t size = choices->size ? choices->size * 2 : 64;
		struct build_choice *list = reallocarray(choices->list, size, sizeof(*list));

		if (!list)
			return -ENOMEM;
		choices->list = list;
		choices->size = size;
	}
	choices->list[choices->count++] = *choice;
	return 0;
}

/* The variant of one file in one coding, if there is one. before: its entry in the previous snapshot, or NULL. */
static int find_variant(struct builder *builder, struct choices *choices, size_t at, const struct build_entry *before,
                        enum content_coding coding)
{
	struct build_entry *entry = &builder->owner->entries[at];
	struct asset *asset = entry->asset, *old = before ? before->coded[coding] : NULL;
	struct build_choice choice = { .entry = at, .coding = coding, .uses = entry->uses };
	int err = find_sidecar(builder, entry, coding, &choice.body);
	bool own = !choice.body;

	if (err)
		return err;
	if (own && build_is_candidate(builder, asset->type, asset->body->len, false)) {
		if (old && before->asset->body == asset->body && before->own & 1 << coding) {
			choice.body = old->body; /* without asking again */
			choice.memory = old->body->memory;
		} else if (variants_get(builder->request->variants, asset->body, coding, &choice.body,
		                        &choice.memory) == VARIANT_READY) {
			choice.memory = choice.body->memory;
		}
	}
	if (!choice.body && !choice.memory)
		return 0;
	if (choice.body && old && old->body == choice.body && same_head(asset, before->asset)) {
		choice.old = old;
	} else {
		struct asset_fields fields = coded_fields(builder, asset, coding, asset->body->len);

		choice.head = asset_file_memory(asset->key_len, &fields, asset->body->len);
	}
	if (own && choice.body)
		entry->own |= (uint8_t)(1 << coding);
	return add_choice(choices, &choice);
}

/* Requests for a key since the previous snapshot went live, and half of those before. */
static uint64_t uses_of(const struct builder *builder, const struct build_entry *entry)
{
	const struct snapshot *previous = builder->request->previous;
	const struct snapshot_slot *slot;
	uint64_t uses;

	if (!entry->before)
		return 0;
	uses = builder->previous->entries[entry->before - 1].uses / 2;
	if (!previous->share[0].hits)
		return uses;
	slot = snapshot_find(previous, entry->key, entry->key_len);
	for (unsigned i = 0; slot && i < previous->workers; i++)
		/* Plain stores of the worker's. */
		uses += __atomic_load_n(&previous->share[i].hits[slot - previous->slots], __ATOMIC_RELAXED);
	return uses;
}

static void add_uses(struct build_entry *entry, uint64_t uses)
{
	entry->uses = uses < UINT32_MAX - entry->uses ? entry->uses + (uint32_t)uses : UINT32_MAX;
}

/* A directory is used as its index file is. */
static void count_uses(const struct builder *builder)
{
	struct build_owner *owner = builder->owner;

	for (size_t i = 0; i < owner->count; i++) {
		struct build_entry *entry = &owner->entries[i], *file = entry;

		if (!entry->before || entry->asset->kind != ASSET_FILE)
			continue;
		if (!build_is_file(entry))
			file = build_find(owner, entry->asset->key, entry->asset->key_len);
		add_uses(file, uses_of(builder, entry));
	}
}

static int find_variants(struct builder *builder, struct choices *choices)
{
	const struct build_owner *owner = builder->owner;
	int err = 0;

	for (size_t i = 0; !err && i < owner->count; i++) {
		const struct build_entry *entry = &owner->entries[i];
		const struct build_entry *before = entry->before ? &builder->previous->entries[entry->before - 1]
		                                                 : NULL;

		if (!build_is_file(entry) || !entry->asset->body->bytes || entry->gone > 0)
			continue;
		if (before && !build_is_file(before))
			before = NULL;
		for (unsigned coding = CODING_IDENTITY + 1; !err && coding < CODINGS; coding++)
			if (builder->request->options->encodings & 1 << coding)
				err = find_variant(builder, choices, i, before, coding);
	}
	return err;
}

static int take_choice(struct builder *builder, const struct build_choice *choice)
{
	struct build_owner *owner = builder->owner;
	struct build_entry *entry = &owner->entries[choice->entry];
	struct asset **coded = &entry->coded[choice->coding];
	struct asset_fields fields;
	int err = 0;

	if (!choice->taken) {
		owner->without++;
		return 0;
	}
	if (!choice->body) {
		variants_again(builder->request->variants, entry->asset->body, choice->coding);
		return 0;
	}
	if (choice->old) {
		asset_reference(choice->old);
		*coded = choice->old;
	} else {
		fields = coded_fields(builder, entry->asset, choice->coding, choice->body->len);
		err = asset_file(coded, entry->asset->key, entry->asset->key_len, &fields, choice->body);
	}
	if (err)
		return err;
	builder->coded++;
	builder->coded_bytes += choice->body->len;
	if (entry->variants == 0)
		entry->variants = (uint32_t)++owner->varying;
	return 0;
}

/* Identity says Vary when there are, or may come, variants, and does not when there are none. */
static int settle_vary(struct builder *builder, struct build_entry *entry)
{
	struct asset *asset = entry->asset, *made;
	bool varies = entry->variants > 0 ||
	              build_is_candidate(builder, asset->type, asset->body->len, asset->body->file != NULL);
	struct asset_fields fields;
	int err;

	if (asset->representation.varies == varies)
		return 0;
	fields = build_fields(builder, asset->key, asset->key_len, asset->type, asset->body->len,
	                      asset->body->file != NULL, asset->representation.last_modified);
	fields.varies = varies;
	err = asset_file(&made, asset->key, asset->key_len, &fields, asset->body);
	if (err)
		return err;
	build_inherit(made, asset);
	entry->asset = made;
	entry->key = made->key;
	asset_release(asset);
	return 0;
}

/* A directory answers as its index file does. */
static void follow_index(struct build_owner *owner, struct build_entry *entry)
{
	const struct build_entry *index = build_find(owner, entry->asset->key, entry->asset->key_len);

	assert(index && build_is_file(index));
	if (entry->asset != index->asset) {
		asset_reference(index->asset);
		asset_release(entry->asset);
		entry->asset = index->asset;
		entry->key = index->key;
	}
	entry->variants = index->variants;
	for (unsigned coding = 0; coding < CODINGS; coding++) {
		entry->coded[coding] = index->coded[coding];
		if (entry->coded[coding])
			asset_reference(entry->coded[coding]);
	}
}

/* What is gone keeps the variants that it had. */
static void number_kept(struct build_owner *owner, struct build_entry *entry)
{
	bool any = false;

	for (unsigned coding = CODING_IDENTITY + 1; coding < CODINGS; coding++)
		any |= entry->coded[coding] != NULL;
	if (any)
		entry->variants = (uint32_t)++owner->varying;
}

int build_coded(struct builder *builder)
{
	struct build_owner *owner = builder->owner;
	struct choices choices = { 0 };
	int err;

	count_uses(builder);
	err = find_variants(builder, &choices);
	if (!err) {
		build_choose(builder, choices.list, choices.count);
		for (size_t i = 0; !err && i < choices.count; i++)
			err = take_choice(builder, &choices.list[i]);
		build_chosen(builder, choices.list, choices.count);
	}
	free(choices.list);
	for (size_t i = 0; !err && i < owner->count; i++)
		if (owner->entries[i].gone > 0)
			number_kept(owner, &owner->entries[i]);
		else if (build_is_file(&owner->entries[i]))
			err = settle_vary(builder, &owner->entries[i]);
	if (err)
		return err;
	for (size_t i = 0; i < owner->count; i++)
		if (owner->entries[i].asset->kind == ASSET_FILE && !build_is_file(&owner->entries[i]))
			follow_index(owner, &owner->entries[i]);
	if (owner->without > 0 && !(builder->previous && builder->previous->without > 0))
		log_warn("compressed variants do not fit into the memory that is allowed, and some are not sent "
		         "(raise --max-memory, or choose fewer --encodings)");
	return 0;
}
