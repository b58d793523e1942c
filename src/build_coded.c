/*
 * build_coded.c - the coded variants of a snapshot's files: those that lie beside them (app.js.br beside app.js), and those
 * that were made of them (variants.h). The builder's thread.
 *
 * A sidecar is the deployer's choice and wins over our own, if it decodes to the very bytes of its file; the answer shares
 * its body with the sidecar's own. A variant that is not there yet comes with a later snapshot. What does not fit into
 * the memory that is allowed is left out: identity is always there.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "builder.h"
#include "loom/compress.h"
#include "loom/log.h"
#include "loom/variants.h"

/* Whether the sidecar decodes to the content of the file; decoded once for each pair of contents. 1, 0 or -ENOMEM. */
static int judge_sidecar(const struct asset *asset, struct asset *sidecar, enum content_coding coding)
{
	int matches;

	if (sidecar->judged && memcmp(sidecar->judged_hash, asset->body->hash, BODY_HASH_LEN) == 0)
		return sidecar->matches;
	matches = compress_matches(coding, sidecar->body->bytes, sidecar->body->len, asset->body->bytes,
	                           asset->body->len);
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

/* The body of a file beside this one, in *body; NULL when there is none that serves. */
static int find_sidecar(const struct builder *builder, const struct asset *asset, enum content_coding coding,
                        struct body **body)
{
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
	entry = build_find(builder->owner, key, asset->key_len + suffix_len);
	if (!entry || entry->asset->kind != ASSET_FILE || entry->asset->body->len >= asset->body->len)
		return 0;
	matches = judge_sidecar(asset, entry->asset, coding);
	if (matches > 0)
		*body = entry->asset->body;
	return matches < 0 ? matches : 0;
}

/* A new answer of the file, in the coding, with this body. *made is NULL when it does not fit. */
static int make_asset(struct builder *builder, const struct asset *asset, enum content_coding coding, struct body *body,
                      bool pays, struct asset **made)
{
	struct asset_fields fields = build_fields(builder, asset->key, asset->key_len, asset->type, body->len,
	                                          asset->representation.last_modified);
	uint64_t memory;
	int err;

	fields.varies = true;
	fields.coding = coding;
	memory = asset_file_memory(asset->key_len, &fields, body->len) - (pays ? 0 : body->memory);
	*made = NULL;
	if (!build_fits(builder, memory)) {
		builder->owner->without++;
		return 0;
	}
	err = asset_file(made, asset->key, asset->key_len, &fields, body);
	if (err)
		return err;
	if (pays)
		asset_pays(*made);
	builder->fresh += (*made)->memory;
	return 0;
}

static bool same_head(const struct asset *a, const struct asset *b)
{
	return a == b || (a->type == b->type && a->representation.last_modified == b->representation.last_modified);
}

/* The variant of one file in one coding, if there is one. before: what answered in the previous snapshot, or NULL. */
static int add_coded(struct builder *builder, struct build_entry *entry, const struct build_entry *before,
                     enum content_coding coding)
{
	struct asset *asset = entry->asset, *old = before ? before->coded[coding] : NULL;
	struct body *body;
	bool pays = false;
	int err = find_sidecar(builder, asset, coding, &body);

	if (err)
		return err;
	if (!body && build_is_candidate(builder, asset->type, asset->body->len))
		pays = variants_get(builder->request->variants, asset->body, coding, &body) == VARIANT_READY;
	if (!body || (!pays && body->len >= asset->body->len))
		return 0;
	if (old && old->body == body && same_head(asset, before->asset)) {
		asset_reference(old);
		builder->shared += old->memory;
		entry->coded[coding] = old;
	} else {
		body_reference(body); /* making room may let go of what is only borrowed */
		err = make_asset(builder, asset, coding, body, pays, &entry->coded[coding]);
		body_release(body);
	}
	if (entry->coded[coding]) {
		builder->coded++;
		builder->coded_bytes += body->len;
	}
	return err;
}

/* Identity says Vary when there are, or may come, variants, and does not when there are none. */
static int settle_vary(struct builder *builder, struct build_entry *entry, bool has_variants)
{
	struct asset *asset = entry->asset, *made;
	bool varies = has_variants || build_is_candidate(builder, asset->type, asset->body->len);
	struct asset_fields fields;
	int err;

	if (asset->varies == varies)
		return 0;
	fields = build_fields(builder, asset->key, asset->key_len, asset->type, asset->body->len,
	                      asset->representation.last_modified);
	fields.varies = varies;
	err = asset_file(&made, asset->key, asset->key_len, &fields, asset->body);
	if (err)
		return err;
	/* It takes the place of the other, and of the count of its body. */
	asset_pays(made);
	made->source = asset->source;
	made->modified_after = asset->modified_after;
	made->judged = asset->judged;
	made->matches = asset->matches;
	memcpy(made->judged_hash, asset->judged_hash, sizeof(made->judged_hash));
	entry->asset = made;
	entry->key = made->key;
	asset_release(asset);
	return 0;
}

static bool is_of_its_file(const struct build_entry *entry)
{
	return entry->asset->kind == ASSET_FILE && entry->key_len == entry->asset->key_len;
}

/* All variants of one file. */
static int add_variants(struct builder *builder, struct build_entry *entry)
{
	const struct build_entry *before = build_find(builder->previous, entry->key, entry->key_len);
	bool any = false;

	if (entry->gone > 0) {
		/* It keeps those that it had. */
		for (unsigned coding = CODING_IDENTITY + 1; coding < CODINGS; coding++)
			any |= entry->coded[coding] != NULL;
		if (any)
			entry->variants = (uint32_t)++builder->owner->varying;
		return 0;
	}
	if (before && before->asset->kind != ASSET_FILE)
		before = NULL;
	for (unsigned coding = CODING_IDENTITY + 1; coding < CODINGS; coding++) {
		int err = 0;

		if (builder->request->options->encodings & 1 << coding)
			err = add_coded(builder, entry, before, coding);
		if (err)
			return err;
		any |= entry->coded[coding] != NULL;
	}
	if (any)
		entry->variants = (uint32_t)++builder->owner->varying;
	return settle_vary(builder, entry, any);
}

/* A directory answers as its index file does. */
static void follow_index(struct build_owner *owner, struct build_entry *entry)
{
	const struct build_entry *index = build_find(owner, entry->asset->key, entry->asset->key_len);

	assert(index && is_of_its_file(index));
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

int build_coded(struct builder *builder)
{
	struct build_owner *owner = builder->owner;

	for (size_t i = 0; i < owner->count; i++) {
		int err = is_of_its_file(&owner->entries[i]) ? add_variants(builder, &owner->entries[i]) : 0;

		if (err)
			return err;
	}
	for (size_t i = 0; i < owner->count; i++)
		if (owner->entries[i].asset->kind == ASSET_FILE && !is_of_its_file(&owner->entries[i]))
			follow_index(owner, &owner->entries[i]);
	if (owner->without > 0 && !(builder->previous && builder->previous->without > 0))
		log_warn("compressed variants do not fit into the memory that is allowed, and some are not sent "
		         "(raise --max-memory, or choose fewer --encodings)");
	return 0;
}
