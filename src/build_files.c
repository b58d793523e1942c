/*
 * build_files.c - the files of a snapshot, one after another, for whoever looks at all of them. The builder's thread.
 */
#include "builder.h"

int build_files(const struct snapshot *snapshot, build_file_fn *fn, void *context)
{
	const struct build_owner *owner = snapshot->owner;
	int err = 0;

	for (size_t i = 0; !err && i < owner->count; i++) {
		const struct build_entry *entry = &owner->entries[i];
		const struct asset *asset = entry->asset;
		struct build_file file = {
			.key = asset->key,
			.key_len = asset->key_len,
			.type = asset->type,
			.bytes = asset->body->bytes,
			.len = asset->body->len,
			.memory = asset->memory,
			.hash = asset->body->hash,
		};

		/* What is gone is no file any more. A directory is the same asset as its index file, under a shorter key. */
		if (entry->gone > 0 || asset->kind != ASSET_FILE || entry->key_len != asset->key_len)
			continue;
		for (unsigned coding = CODING_IDENTITY + 1; coding < CODINGS; coding++)
			if (entry->coded[coding])
				file.coded[coding] = entry->coded[coding]->body->len;
		err = fn(context, &file);
	}
	return err;
}
