/*
 * build_same.c - whether two snapshots differ, as far as clients can see. The builder's thread.
 */
#include <string.h>

#include "loom/build.h"

/*
 * Whether two representations, or the lack of them, are the same to clients. The builder shares a file's asset with
 * the previous snapshot when its answer is the same, dates included: another asset is another answer. Errors are made
 * anew each time.
 */
static bool same_representation(const struct representation *a, const struct representation *b)
{
	if (a == b)
		return true;
	if (!a || !b)
		return false;
	return a->etag_len == 0 && b->etag_len == 0 && a->head_len == b->head_len && a->body_len == b->body_len &&
	       memcmp(a->head, b->head, a->head_len) == 0 &&
	       (a->body_len == 0 || memcmp(a->body, b->body, a->body_len) == 0);
}

static bool same_variants(const struct snapshot *a, const struct snapshot_slot *of_a, const struct snapshot *b,
                          const struct snapshot_slot *of_b)
{
	if (of_a->variants == 0 || of_b->variants == 0)
		return of_a->variants == of_b->variants;
	for (unsigned coding = 0; coding < CODINGS; coding++)
		if (a->variants[of_a->variants].coded[coding] != b->variants[of_b->variants].coded[coding])
			return false;
	return true;
}

bool build_same(const struct snapshot *a, const struct snapshot *b)
{
	if (a->mask != b->mask || a->files != b->files || a->kept != b->kept || strcmp(a->id, b->id) != 0)
		return false;
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++)
		if (!same_representation(a->errors[i], b->errors[i]))
			return false;
	/* Equal ids are equal sets of keys in the tree, and of those that are gone there are as many: one direction is enough. */
	for (uint64_t i = 0; i <= a->mask; i++) {
		const struct snapshot_slot *slot = &a->slots[i], *other;

		if (slot->hash == 0)
			continue;
		other = snapshot_find(b, slot->key, slot->key_len);
		if (!other || other->gone != slot->gone ||
		    !same_representation(slot->representation, other->representation) ||
		    !same_variants(a, slot, b, other))
			return false;
	}
	return true;
}
