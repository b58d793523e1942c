/*
 * build.c - from a directory to the entries of a snapshot: reads what is new, shares what is not, resolves every URL, and
 * counts the memory. Runs on the reloader's thread (at start on the main thread), owns a snapshot's memory, and never touches one
 * that has been handed out except to share its assets, whose counts are the builder's alone.
 */
#include "loom/build.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "builder.h"
#include "loom/compress.h"
#include "loom/content.h"
#include "loom/mime.h"
#include "loom/rules.h"
#include "loom/walk.h"

/* Files that are still counted, without being read, once it is known that not all fit: to say how much is needed. */
#define MEASURED_MAX 100000

/* Smaller contents are not worth a second answer. Bytes. */
#define VARIANT_MIN 256

/* The asset of a key in the previous snapshot, if it is of that kind. */
static struct asset *find_asset(const struct builder *builder, const char *key, size_t len, enum asset_kind kind)
{
	const struct build_entry *entry = build_find(builder->previous, key, len);

	return entry && entry->asset->kind == kind ? entry->asset : NULL;
}

/* Whether all that was counted so far is allowed. */
static bool fits(struct builder *builder)
{
	if (!build_fits(builder, 0))
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

	size_text(build_memory(builder) - held, needed, sizeof(needed));
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

struct build_entry *build_add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset)
{
	struct build_owner *owner = builder->owner;

	if (owner->count == builder->entries_size) {
		size_t size = builder->entries_size ? builder->entries_size * 2 : 256;
		struct build_entry *entries = realloc(owner->entries, size * sizeof(*entries));

		if (!entries) {
			asset_release(asset);
			return NULL;
		}
		owner->entries = entries;
		builder->entries_size = size;
	}
	owner->entries[owner->count] = (struct build_entry){
		.key = key,
		.key_len = (uint32_t)key_len,
		.asset = asset,
	};
	return &owner->entries[owner->count++];
}

static int add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset)
{
	return build_add_entry(builder, key, key_len, asset) ? 0 : -ENOMEM;
}

/* "/dir" answers with a redirect to "/dir/". */
static int add_redirect(struct builder *builder, struct walk *walk, const char *key, size_t key_len)
{
	struct asset *asset = find_asset(builder, key, key_len, ASSET_REDIRECT);
	int err;

	if (asset) {
		asset_reference(asset);
		builder->shared += asset->memory;
	} else {
		err = asset_redirect(&asset, key, key_len, builder->request->options->nosniff);
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

bool build_is_candidate(const struct builder *builder, const char *type, uint64_t size)
{
	return builder->request->variants && size >= VARIANT_MIN && size <= COMPRESS_MAX && rules_is_compressible(type);
}

struct asset_fields build_fields(const struct builder *builder, const char *key, size_t key_len, const char *type,
                                 uint64_t size, time_t last_modified)
{
	const struct options *options = builder->request->options;
	struct rules_caching caching = rules_caching(options, key, key_len, type);

	return (struct asset_fields){
		.type = type,
		/* What never changes needs no second validator. */
		.last_modified = caching.immutable ? 0 : last_modified,
		.cache_control = caching.cache_control,
		.varies = build_is_candidate(builder, type, size),
		.nosniff = options->nosniff,
	};
}

/* The time of a file, if it is later than those that its earlier contents were sent with, or the next one; 0: none yet. */
static time_t modified(const struct content *content, time_t after)
{
	if (content->mtime > after)
		return content->mtime;
	return after > 0 && after < content->now ? after + 1 : 0;
}

/* What the Last-Modified of content that follows old's must be later than. */
static time_t modified_after(const struct asset *old)
{
	if (!old)
		return 0;
	return old->representation.last_modified > old->modified_after ? old->representation.last_modified
	                                                               : old->modified_after;
}

/* Whether an open file still has old's content. */
static int read_again(struct builder *builder, struct content *content, struct asset *old, bool *same)
{
	int err;

	*same = false;
	if (!old || content->size != old->body->len)
		return 0;
	if (!builder->scratch)
		builder->scratch = malloc(CONTENT_SCRATCH);
	if (!builder->scratch)
		return -ENOMEM;
	err = content_compare(content, old->body, builder->scratch);
	*same = err > 0;
	return err < 0 ? err : 0;
}

/* The content is old's, and the file's time is not: old itself, or an asset with a later Last-Modified and the same body. */
static int renew_asset(struct builder *builder, const struct content *content, struct asset *old, struct asset **asset)
{
	struct asset_fields fields = build_fields(builder, old->key, old->key_len, old->type, old->body->len,
	                                          modified(content, old->modified_after));
	int err;

	/* A time in the future is cut off at the present one, which is later with every build. */
	if (fields.last_modified <= old->representation.last_modified ||
	    (old->representation.last_modified && content->source.mtime.tv_sec == old->source.mtime.tv_sec)) {
		asset_reference(old);
		builder->shared += old->memory;
		*asset = old;
		return 0;
	}
	err = asset_file(asset, old->key, old->key_len, &fields, old->body);
	if (err)
		return err;
	asset_pays(*asset);
	(*asset)->modified_after = old->modified_after;
	builder->fresh += (*asset)->memory - old->body->memory;
	builder->shared += old->body->memory;
	return 0;
}

/*
 * The asset of an open file, with a reference: the previous one, when reading shows that its answer would be the same,
 * one with the same body, or a new one. Comparing takes no memory, so that files of all the memory there is can be
 * touched. *asset is NULL when a new one does not fit.
 */
static int read_file(struct builder *builder, int fd, const char *key, size_t key_len, const char *type,
                     struct asset *old, struct asset **asset)
{
	struct asset_fields fields;
	struct content content;
	struct body *body;
	uint64_t memory;
	bool same;
	int err = content_begin(&content, fd);

	if (!err)
		err = read_again(builder, &content, old, &same);
	if (err)
		return err;
	if (same) {
		err = renew_asset(builder, &content, old, asset);
		if (!err)
			(*asset)->source = content.source;
		return err;
	}

	*asset = NULL;
	fields = build_fields(builder, key, key_len, type, content.size, modified(&content, modified_after(old)));
	memory = asset_file_memory(key_len, &fields, content.size);
	builder->fresh += memory;
	if (!fits(builder))
		return 0;
	err = body_create(&body, content.size);
	if (err)
		return err;
	err = content_read(&content, body);
	if (!err)
		err = asset_file(asset, key, key_len, &fields, body);
	body_release(body);
	builder->fresh -= memory;
	if (err)
		return err;
	asset_pays(*asset);
	(*asset)->source = content.source;
	(*asset)->modified_after = modified_after(old);
	builder->fresh += (*asset)->memory;
	return 0;
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
	old = find_asset(builder, key, key_len, ASSET_FILE); /* there may have been a directory of that name */
	assert(!old || (old->key_len == key_len && strcmp(old->type, type) == 0));

	if (old && content_vouched(old, st)) {
		asset_reference(old);
		builder->shared += old->memory;
		return add_file(builder, walk, old);
	}
	if (builder->full) {
		struct asset_fields fields = build_fields(builder, key, key_len, type, (uint64_t)st->st_size, 1);

		builder->fresh += asset_file_memory(key_len, &fields, (uint64_t)st->st_size);
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

static void build_link(void *context, const char *path)
{
	const struct builder *builder = context;

	if (builder->request->link)
		builder->request->link(builder->request->context, path);
}

/* Every file of the previous snapshot, without a look at the tree. */
static int take_all(struct builder *builder)
{
	const struct build_owner *previous = builder->previous;

	for (size_t i = 0; i < previous->count; i++) {
		const struct build_entry *entry = &previous->entries[i];
		struct asset *asset = entry->asset;
		int err;

		if (entry->gone > 0)
			continue;
		asset_reference(asset);
		builder->keys++;
		err = add_entry(builder, entry->key, entry->key_len, asset);
		if (err)
			return err;
		if (entry->key != asset->key || entry->key_len != asset->key_len)
			continue; /* a directory: its index file has been counted, or will be */
		builder->shared += asset->memory;
		builder->files += asset->kind == ASSET_FILE;
		builder->bytes += asset->kind == ASSET_FILE ? asset->body->len : 0;
	}
	return 0;
}

int build_snapshot(const struct build_request *request, struct snapshot **snapshot, char *why, size_t size)
{
	static const struct walk_handlers handlers = { .directory = build_directory,
		                                       .link = build_link,
		                                       .file = build_file };
	struct builder builder = {
		.request = request,
		.previous = request->previous ? request->previous->owner : NULL,
	};
	int err;

	assert(request->options && request->options->root && request->options->index && request->workers > 0);
	assert(!request->as_before || request->previous);

	builder.index_len = strlen(request->options->index);
	builder.owner = calloc(1, sizeof(*builder.owner));
	if (!builder.owner) {
		snprintf(why, size, "cannot read %s: out of memory", request->options->root);
		return -ENOMEM;
	}
	if (request->as_before)
		err = take_all(&builder);
	else
		err = walk_tree(request->options, &handlers, &builder, why, size);
	if (!err)
		err = builder.full ? -ENOSPC : build_finish(&builder, snapshot);
	if (err == -ENOSPC)
		fail_full(&builder, why, size);
	else if (err == -ENOMEM)
		snprintf(why, size, "cannot read %s: out of memory", request->options->root);
	free(builder.scratch);
	if (err)
		build_free_owner(builder.owner);
	return err;
}
