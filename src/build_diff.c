/*
 * build_diff.c - what has changed from one snapshot to another, as far as people care: files, by name, content and
 * media type. Reads only what never changes once a snapshot is published, so that any thread may.
 */
#include <string.h>

#include "builder.h"

/*
 * The next file from a position on, or NULL. A directory is its index file under a shorter key, and no file of its
 * own.
 */
static const struct build_entry *next_file(const struct build_owner *owner, size_t *at)
{
	for (; *at < owner->count; ++*at) {
		const struct build_entry *entry = &owner->entries[*at];

		if (entry->gone == 0 && entry->asset->kind == ASSET_FILE && entry->key_len == entry->asset->key_len)
			return entry;
	}
	return NULL;
}

static bool same(const struct asset *a, const struct asset *b)
{
	return a == b ||
	       (memcmp(a->body->hash, b->body->hash, sizeof(a->body->hash)) == 0 && strcmp(a->type, b->type) == 0);
}

static int compare(const struct build_entry *a, const struct build_entry *b)
{
	size_t len = a->key_len < b->key_len ? a->key_len : b->key_len;
	int order = memcmp(a->key, b->key, len);

	return order ? order : (a->key_len > b->key_len) - (a->key_len < b->key_len);
}

bool build_diff(const struct snapshot *old, const struct snapshot *new, struct build_position *position, size_t keys,
                build_change_fn *fn, void *context)
{
	const struct build_owner *from = old->owner, *to = new->owner;
	const size_t last_old = position->old + keys, last_new = position->new + keys;

	while (position->old < last_old && position->new < last_new) {
		const struct build_entry *was = next_file(from, &position->old), *is = next_file(to, &position->new);
		const struct build_entry *entry = is ? is : was;
		enum build_change change = BUILD_CHANGED;
		int order;

		if (!entry)
			return true;
		order = !was ? 1 : !is ? -1 : compare(was, is);
		if (order < 0) {
			entry = was;
			change = BUILD_REMOVED;
		} else if (order > 0) {
			change = BUILD_ADDED;
		}
		position->old += order <= 0;
		position->new += order >= 0;
		if (order == 0 && same(was->asset, is->asset))
			continue;
		if (!fn(context, change, entry->key, entry->key_len))
			return false;
	}
	return false;
}
