/*
 * build.c - from a directory to a snapshot: reads what is new, shares what is not, resolves every URL, and counts the
 * memory. Runs on the reloader's thread (at start on the main thread), owns a snapshot's memory, and never touches one
 * that has been handed out except to share its assets, whose counts are the builder's alone.
 */
#include "loom/build.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "loom/asset.h"
#include "loom/content.h"
#include "loom/mime.h"
#include "loom/walk.h"

/* Files that are still counted, without being read, once it is known that not all fit: to say how much is needed. */
#define MEASURED_MAX 100000

/* A key and its answer. Holds a reference to the asset. */
struct build_entry {
	const char *key; /* lies in an asset of the same snapshot: a directory's key begins its index file's */
	uint32_t key_len;
	struct asset *asset;
};

/* What a snapshot keeps for the builder: all that it is made of. */
struct build_owner {
	struct build_entry *entries; /* sorted by key */
	size_t count;
	struct snapshot_slot *slots;
	struct asset *errors[SNAPSHOT_ERRORS];
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
	bool full;       /* not all fit: the rest is counted, not read */
	bool unmeasured; /* not even counted */
	unsigned measured;
	uint8_t *scratch; /* CONTENT_SCRATCH bytes, taken when first needed */
};

static int compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_key(const void *a, const void *b)
{
	const struct build_entry *left = a, *right = b;

	return compare_keys(left->key, left->key_len, right->key, right->key_len);
}

/* The asset of a key among sorted entries, or NULL. */
static struct asset *find_asset(const struct build_owner *owner, const char *key, size_t len)
{
	size_t low = 0, high = owner ? owner->count : 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct build_entry *entry = &owner->entries[middle];
		int order = compare_keys(key, len, entry->key, entry->key_len);

		if (order == 0)
			return entry->asset;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static void free_owner(struct build_owner *owner)
{
	if (!owner)
		return;
	for (size_t i = 0; i < owner->count; i++)
		asset_release(owner->entries[i].asset);
	for (size_t i = 0; i < SNAPSHOT_ERRORS; i++)
		asset_release(owner->errors[i]);
	free(owner->entries);
	free(owner->slots);
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

static size_t snapshot_size(unsigned workers)
{
	return sizeof(struct snapshot) + workers * sizeof(struct snapshot_share);
}

/* Bytes of the new snapshot beside its assets. */
static uint64_t overhead(const struct builder *builder)
{
	return builder->keys * sizeof(struct build_entry) + slot_count(builder->keys) * sizeof(struct snapshot_slot) +
	       sizeof(struct build_owner) + snapshot_size(builder->request->workers);
}

/* What has to be held once the new snapshot is there and the previous one is not gone yet: shared assets once. */
static uint64_t memory_needed(const struct builder *builder)
{
	const struct snapshot *previous = builder->request->previous;

	return builder->fresh + overhead(builder) + builder->directories + (previous ? previous->memory : 0);
}

/* Whether all that was counted so far is allowed. */
static bool fits(struct builder *builder)
{
	if (memory_needed(builder) > builder->request->options->max_memory)
		builder->full = true;
	return !builder->full;
}

static void size_text(uint64_t bytes, char *text, size_t size)
{
	if (bytes < 1024 * 1024)
		snprintf(text, size, "%.1f KiB", (double)bytes / 1024);
	else
		snprintf(text, size, "%.1f MiB", (double)bytes / (1024 * 1024));
}

static int fail_full(const struct builder *builder, char *why, size_t size)
{
	const struct options *options = builder->request->options;
	const struct snapshot *previous = builder->request->previous;
	uint64_t held = previous ? previous->memory : 0;
	char needed[32], holding[32], allowed[32], beside[128] = "";

	size_text(memory_needed(builder) - held, needed, sizeof(needed));
	size_text(options->max_memory, allowed, sizeof(allowed));
	if (held) {
		size_text(held, holding, sizeof(holding));
		snprintf(beside, sizeof(beside), ", beside the %s of the snapshot that is being served", holding);
	}
	snprintf(why, size,
	         "%s needs %s%s of memory%s, and %s are allowed (raise --max-memory, or serve a smaller directory)",
	         options->root, builder->unmeasured ? "more than " : "", needed, beside, allowed);
	return -ENOSPC;
}

/* Takes over a reference, also when it fails. */
static int add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset)
{
	struct build_owner *owner = builder->owner;

	if (owner->count == builder->entries_size) {
		size_t size = builder->entries_size ? builder->entries_size * 2 : 256;
		struct build_entry *entries = realloc(owner->entries, size * sizeof(*entries));

		if (!entries) {
			asset_release(asset);
			return -ENOMEM;
		}
		owner->entries = entries;
		builder->entries_size = size;
	}
	owner->entries[owner->count++] = (struct build_entry){ key, (uint32_t)key_len, asset };
	return 0;
}

/* "/dir" answers with a redirect to "/dir/". */
static int add_redirect(struct builder *builder, struct walk *walk, const char *key, size_t key_len)
{
	struct asset *asset = find_asset(builder->previous, key, key_len);
	int err;

	if (asset && asset->kind == ASSET_REDIRECT) {
		asset_reference(asset);
		builder->shared += asset->memory;
	} else {
		err = asset_redirect(&asset, key, key_len);
		if (err == -ENAMETOOLONG) {
			char path[PATH_MAX];

			snprintf(path, sizeof(path), "%.*s", (int)key_len - 1, key + 1);
			walk_warn(walk, path, "served with a slash at its end only: too long for a redirect");
			return 0;
		}
		if (err)
			return err;
		builder->fresh += asset->memory;
	}
	builder->keys++;
	return add_entry(builder, asset->key, asset->key_len, asset);
}

/* Whether a key's last segment is the name of index files; if so, len is what comes before it, "/" included. */
static bool is_index(const struct builder *builder, const char *key, size_t key_len, size_t *len)
{
	const char *base = (const char *)memrchr(key, '/', key_len) + 1;
	size_t base_len = key_len - (size_t)(base - key);

	*len = key_len - base_len;
	return base_len == builder->index_len && memcmp(base, builder->request->options->index, base_len) == 0;
}

/* All URLs of a file. Takes over a reference. */
static int add_file(struct builder *builder, struct walk *walk, struct asset *asset)
{
	size_t len;
	int err;

	builder->files++;
	builder->bytes += asset->representation.body_len;
	builder->keys++;
	err = add_entry(builder, asset->key, asset->key_len, asset);
	if (err || !is_index(builder, asset->key, asset->key_len, &len))
		return err;

	asset_reference(asset);
	builder->keys++;
	err = add_entry(builder, asset->key, len, asset);
	if (!err && len > 1)
		err = add_redirect(builder, walk, asset->key, len - 1);
	return err;
}

/*
 * The asset of an open file, with a reference: the previous one, when reading shows that its answer would be the same,
 * or a new one. Comparing takes no memory, so that files of all the memory there is can be touched. *asset is NULL when
 * a new one does not fit.
 */
static int read_file(struct builder *builder, int fd, const char *key, size_t key_len, const char *type,
                     struct asset *old, struct asset **asset)
{
	struct content content;
	uint64_t memory;
	int err = content_begin(&content, fd);

	if (err)
		return err;
	if (old && content_may_equal(&content, old)) {
		if (!builder->scratch)
			builder->scratch = malloc(CONTENT_SCRATCH);
		if (!builder->scratch)
			return -ENOMEM;
		err = content_compare(&content, old, builder->scratch);
		if (err < 0)
			return err;
		if (err > 0) {
			asset_reference(old);
			builder->shared += old->memory;
			*asset = old;
			return 0;
		}
	}

	*asset = NULL;
	memory = asset_file_memory(key_len, type, content.size);
	builder->fresh += memory;
	if (!fits(builder))
		return 0;
	err = asset_file(asset, key, key_len, type, content.size, content.mtime);
	if (err)
		return err;
	builder->fresh -= memory - (*asset)->memory;
	err = content_read(&content, *asset);
	if (err) {
		builder->fresh -= (*asset)->memory;
		asset_release(*asset);
	}
	return err;
}

/* What it means that a file cannot be opened: 0 when the snapshot goes without it. */
static int unopened(struct walk *walk, const char *path, int err)
{
	switch (err) {
	case -ENOENT:
	case -ENOTDIR:
		return 0; /* gone since it was seen */
	case -EACCES:
	case -EPERM:
		walk_warn(walk, path, "left out: not permitted to read it");
		return 0;
	case -ELOOP:
	case -EXDEV: /* a link, or the link's way, has changed */
	case -ENXIO: /* a socket has taken its place */
		return walk_fail(walk, -EAGAIN, "cannot open", path);
	default:
		/* Want of descriptors or memory, a failing disk: better no new snapshot than one with a hole. */
		return walk_fail(walk, err, "cannot open", path);
	}
}

/* Counts a file that does not fit, or comes after one that did not. */
static int measure_file(struct builder *builder)
{
	builder->keys++;
	if (++builder->measured < MEASURED_MAX)
		return 0;
	builder->unmeasured = true;
	return -ENOSPC;
}

static int build_file(void *context, struct walk *walk, const char *path, const struct stat *st)
{
	struct builder *builder = context;
	char key[PATH_MAX + 1];
	size_t key_len = strlen(path) + 1;
	const char *type = mime_type(path, key_len - 1);
	struct asset *old, *asset;
	int fd, err;

	key[0] = '/';
	memcpy(key + 1, path, key_len);
	old = find_asset(builder->previous, key, key_len);
	if (old && old->kind != ASSET_FILE)
		old = NULL; /* there was a directory of that name */
	assert(!old || (old->key_len == key_len && strcmp(old->type, type) == 0));

	if (old && content_vouched(old, st)) {
		asset_reference(old);
		builder->shared += old->memory;
		return add_file(builder, walk, old);
	}
	if (builder->full) {
		builder->fresh += asset_file_memory(key_len, type, (uint64_t)st->st_size);
		return measure_file(builder);
	}

	fd = walk_open(walk, path);
	if (fd < 0)
		return unopened(walk, path, fd);
	err = read_file(builder, fd, key, key_len, type, old, &asset);
	close(fd);
	if (err == -ENODATA) {
		walk_warn(walk, path, "left out: it has another size than it says (is it a file of /proc or /sys?)");
		return 0;
	}
	if (err)
		return walk_fail(walk, err, "cannot read", path);
	return asset ? add_file(builder, walk, asset) : measure_file(builder);
}

static int build_directory(void *context, const char *path, int fd)
{
	struct builder *builder = context;

	/* Links can make more directories than there are: these count too, so that the walk ends. */
	builder->directories += strlen(path) + 64;
	if (!fits(builder) && builder->directories > builder->request->options->max_memory) {
		builder->unmeasured = true;
		return -ENOSPC;
	}
	if (builder->request->directory)
		builder->request->directory(builder->request->context, path, fd);
	return 0;
}

static int build_errors(struct builder *builder)
{
	static const char page[] = "/404.html";
	const struct asset *file = find_asset(builder->owner, page, sizeof(page) - 1);

	for (int error = 0; error < SNAPSHOT_ERRORS; error++) {
		struct asset **asset = &builder->owner->errors[error];
		int err;

		if (error == ERROR_404 && file && file->kind == ASSET_FILE)
			err = asset_error(asset, error, file->type, file->body, file->representation.body_len);
		else
			err = asset_error(asset, error, NULL, NULL, 0);
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
		XXH3_128bits_update(state, asset->hash, sizeof(asset->hash));
	}
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
	XXH3_freeState(state);
	asset_hash_text(canonical.digest, id);
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
		assert(i == 0 || by_key(entry - 1, entry) < 0);
		while (slots[at].hash)
			at = (at + 1) & (count - 1);
		slots[at] = (struct snapshot_slot){
			.hash = hash,
			.key = entry->key,
			.key_len = entry->key_len,
			.representation = &entry->asset->representation,
		};
	}
	return 0;
}

/* All assets are there: the index and the snapshot itself. -ENOSPC: with these it does not fit. */
static int finish(struct builder *builder, struct snapshot **made)
{
	const struct build_request *request = builder->request;
	struct build_owner *owner = builder->owner;
	uint64_t slots = slot_count(owner->count);
	size_t size = snapshot_size(request->workers);
	struct snapshot *snapshot;
	int err;

	assert(builder->keys == owner->count);
	if (owner->count) {
		struct build_entry *entries = realloc(owner->entries, owner->count * sizeof(*entries));

		if (entries)
			owner->entries = entries;
		qsort(owner->entries, owner->count, sizeof(*entries), by_key);
	}
	builder->directories = 0;
	err = build_errors(builder);
	if (err)
		return err;
	if (!fits(builder))
		return -ENOSPC;
	err = build_slots(owner, slots);
	if (err)
		return err;

	snapshot = aligned_alloc(CACHE_LINE, size);
	if (!snapshot)
		return -ENOMEM;
	memset(snapshot, 0, size);
	err = build_id(owner, snapshot->id);
	if (err) {
		free(snapshot);
		return err;
	}
	snapshot->slots = owner->slots;
	snapshot->mask = slots - 1;
	for (int error = 0; error < SNAPSHOT_ERRORS; error++)
		snapshot->errors[error] = &owner->errors[error]->representation;
	snapshot->files = builder->files;
	snapshot->bytes = builder->bytes;
	snapshot->memory = builder->fresh + builder->shared + overhead(builder);
	snapshot->owner = owner;
	atomic_init(&snapshot->shares, request->workers);
	*made = snapshot;
	return 0;
}

int build_snapshot(const struct build_request *request, struct snapshot **snapshot, char *why, size_t size)
{
	static const struct walk_handlers handlers = { .directory = build_directory, .file = build_file };
	struct builder builder = {
		.request = request,
		.previous = request->previous ? request->previous->owner : NULL,
	};
	int err;

	assert(request->options && request->options->root && request->options->index && request->workers > 0);

	builder.index_len = strlen(request->options->index);
	builder.owner = calloc(1, sizeof(*builder.owner));
	if (!builder.owner) {
		snprintf(why, size, "cannot read %s: out of memory", request->options->root);
		return -ENOMEM;
	}
	err = walk_tree(request->options, &handlers, &builder, why, size);
	if (!err)
		err = builder.full ? -ENOSPC : finish(&builder, snapshot);
	if (err == -ENOSPC)
		fail_full(&builder, why, size);
	else if (err == -ENOMEM)
		snprintf(why, size, "cannot read %s: out of memory", request->options->root);
	free(builder.scratch);
	if (err)
		free_owner(builder.owner);
	return err;
}

void build_free(struct snapshot *snapshot)
{
	struct build_owner *owner;

	if (!snapshot)
		return;
	owner = snapshot->owner;
	free(snapshot);
	free_owner(owner);
}
