/*
 * build_collect.c - what the tree has: walks it, opening nothing. A file that the previous snapshot vouches for
 * becomes an entry at once, any other one a job. The builder's thread.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "builder.h"
#include "loom/memory.h"
#include "loom/mime.h"

static int compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

int build_by_key(const void *a, const void *b)
{
	const struct build_entry *left = a, *right = b;

	return compare_keys(left->key, left->key_len, right->key, right->key_len);
}

/* The first of count sorted entries, from low, that does not come before the key. */
static size_t lower_bound(const struct build_entry *entries, size_t low, size_t high, const char *key, size_t len)
{
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_keys(entries[middle].key, entries[middle].key_len, key, len) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct build_entry *entry_at(const struct build_owner *owner, size_t at, const char *key, size_t len)
{
	struct build_entry *entry = &owner->entries[at];

	return at < owner->count && entry->key_len == len && memcmp(entry->key, key, len) == 0 ? entry : NULL;
}

struct build_entry *build_find(const struct build_owner *owner, const char *key, size_t len)
{
	if (!owner)
		return NULL;
	return entry_at(owner, lower_bound(owner->entries, 0, owner->count, key, len), key, len);
}

struct build_entry *build_find_before(struct builder *builder, const char *key, size_t len)
{
	const struct build_owner *owner = builder->previous;
	size_t low, high, step = 1;

	if (!owner || owner->count == 0)
		return NULL;
	low = high = builder->near < owner->count ? builder->near : owner->count - 1;
	/* From where the last one was, in steps that double, to a range that the key must lie in. */
	if (compare_keys(owner->entries[low].key, owner->entries[low].key_len, key, len) < 0) {
		do {
			low = high + 1;
			high = owner->count - high > step ? high + step : owner->count;
			step *= 2;
		} while (high < owner->count &&
		         compare_keys(owner->entries[high].key, owner->entries[high].key_len, key, len) < 0);
	} else {
		while (low > 0 && compare_keys(owner->entries[low].key, owner->entries[low].key_len, key, len) > 0) {
			high = low;
			low = low > step ? low - step : 0;
			step *= 2;
		}
		high = high < owner->count ? high + 1 : high;
	}
	builder->near = lower_bound(owner->entries, low, high, key, len);
	return entry_at(owner, builder->near, key, len);
}

static uint32_t rank(const struct builder *builder, const struct build_entry *entry)
{
	return entry ? (uint32_t)(entry - builder->previous->entries) + 1 : 0;
}

/* Takes over a reference, also when it fails. */
static int add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset, uint32_t before)
{
	struct build_owner *owner = builder->owner;

	if (owner->count == builder->entries_size) {
		/* Most trees are about as large as they were. */
		size_t size = builder->entries_size ? builder->entries_size * 2
		              : builder->previous   ? builder->previous->count + 64
		                                    : 256;
		struct build_entry *entries = realloc(owner->entries, size * sizeof(*entries));

		if (!entries) {
			asset_release(asset);
			return -ENOMEM;
		}
		owner->entries = entries;
		builder->entries_size = size;
	}
	owner->entries[owner->count++] = (struct build_entry){
		.key = key,
		.key_len = (uint32_t)key_len,
		.asset = asset,
		.before = before,
	};
	return 0;
}

struct build_entry *build_add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset)
{
	struct build_owner *owner = builder->owner;

	return add_entry(builder, key, key_len, asset, 0) ? NULL : &owner->entries[owner->count - 1];
}

bool build_is_index(const struct builder *builder, const char *key, size_t key_len, size_t *len)
{
	const char *base = (const char *)memrchr(key, '/', key_len) + 1;
	size_t base_len = key_len - (size_t)(base - key);

	*len = key_len - base_len;
	return base_len == builder->index_len && memcmp(base, builder->request->options->index, base_len) == 0;
}

/* "/dir" answers with a redirect to "/dir/". */
static int add_redirect(struct builder *builder, struct walk *walk, const char *key, size_t key_len)
{
	struct build_entry *before = build_find_before(builder, key, key_len);
	struct asset *asset = before && before->asset->kind == ASSET_REDIRECT ? before->asset : NULL;
	int err;

	if (asset) {
		asset_reference(asset);
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
	}
	return add_entry(builder, asset->key, asset->key_len, asset, rank(builder, before));
}

int build_add_file(struct builder *builder, struct walk *walk, struct asset *asset, uint32_t before)
{
	size_t len;
	int err;

	builder->files++;
	builder->bytes += asset->representation.body_len;
	err = add_entry(builder, asset->key, asset->key_len, asset, before);
	if (err || !build_is_index(builder, asset->key, asset->key_len, &len))
		return err;

	asset_reference(asset);
	err = add_entry(builder, asset->key, len, asset, rank(builder, build_find_before(builder, asset->key, len)));
	if (!err && len > 1)
		err = add_redirect(builder, walk, asset->key, len - 1);
	return err;
}

static void count_keys(struct builder *builder, const char *key, size_t key_len)
{
	size_t len;

	builder->keys++;
	if (build_is_index(builder, key, key_len, &len))
		builder->keys += len > 1 ? 2 : 1;
}

/* Links can make more files and directories than there are: what is collected has a limit, so that the walk ends. */
static int collected(struct builder *builder, uint64_t bytes)
{
	builder->transient += bytes;
	if (builder->transient + build_overhead(builder, builder->keys) <= builder->request->options->max_memory)
		return 0;
	builder->needed = builder->transient + build_overhead(builder, builder->keys);
	builder->unmeasured = true;
	return -ENOSPC;
}

int build_add_job(struct builder *builder, struct build_job **made, const char *key, size_t key_len)
{
	struct build_job *job;

	if (builder->job_count == builder->jobs_size) {
		size_t size = builder->jobs_size ? builder->jobs_size * 2 : 64;
		/* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers */
		struct build_job **jobs = reallocarray(builder->jobs, size, sizeof(*jobs));

		if (!jobs)
			return -ENOMEM;
		builder->jobs = jobs;
		builder->jobs_size = size;
	}
	job = calloc(1, sizeof(*job) + key_len + 1);
	if (!job)
		return -ENOMEM;
	job->key_len = (uint32_t)key_len;
	memcpy(job->key, key, key_len);
	builder->jobs[builder->job_count++] = job;
	*made = job;
	return 0;
}

void build_free_jobs(struct builder *builder)
{
	for (size_t i = 0; i < builder->job_count; i++) {
		struct build_job *job = builder->jobs[i];

		body_release(job->body);
		memory_give(job->reserved);
		free(job);
	}
	free(builder->jobs);
	builder->jobs = NULL;
	builder->job_count = builder->jobs_size = 0;
}

static int collect_file(void *context, struct walk *walk, const char *path, const struct stat *st)
{
	struct builder *builder = context;
	char key[PATH_MAX + 1];
	size_t key_len = strlen(path) + 1;
	struct build_entry *before;
	struct build_job *job;
	int err;

	key[0] = '/';
	memcpy(key + 1, path, key_len);
	count_keys(builder, key, key_len);
	before = build_find_before(builder, key, key_len);
	if (before && before->asset->kind != ASSET_FILE)
		before = NULL; /* there was a directory of that name */

	if (before && !builder->request->remounted && content_vouched(before->asset, st)) {
		asset_reference(before->asset);
		err = build_add_file(builder, walk, before->asset, rank(builder, before));
		return err ? err : collected(builder, 0);
	}
	err = build_add_job(builder, &job, key, key_len);
	if (err)
		return err;
	job->type = mime_type(path, key_len - 1);
	job->size = (uint64_t)st->st_size;
	job->old = before ? before->asset : NULL;
	job->before = rank(builder, before);
	assert(!job->old || strcmp(job->old->type, job->type) == 0);
	return collected(builder, sizeof(*job) + key_len);
}

static int collect_directory(void *context, const char *path, int fd)
{
	struct builder *builder = context;
	int err = collected(builder, strlen(path) + 64);

	if (!err && builder->request->directory)
		builder->request->directory(builder->request->context, path, fd);
	return err;
}

static void collect_link(void *context, const char *path)
{
	const struct builder *builder = context;

	if (builder->request->link)
		builder->request->link(builder->request->context, path);
}

/* Looks for a file of the previous snapshot that the walk has not come to. */
static int collect_unseen(struct builder *builder, struct walk *walk, const struct build_entry *entry)
{
	char path[PATH_MAX];
	struct stat st;

	if (entry->gone > 0 || entry->asset->kind != ASSET_FILE || entry->key_len > sizeof(path) ||
	    entry->key[entry->key_len - 1] == '/')
		return 0;
	memcpy(path, entry->key + 1, entry->key_len - 1);
	path[entry->key_len - 1] = '\0';
	/* As a rule it is gone. */
	return walk_stat(walk, path, &st) == 0 && S_ISREG(st.st_mode) ? collect_file(builder, walk, path, &st) : 0;
}

/*
 * A directory that is being written to may leave out a name that has been replaced since it was opened (Btrfs does). Where the
 * tree never rests nobody looks again soon, and so each file that was there is looked for by its name.
 */
static int collect_all_unseen(struct builder *builder, struct walk *walk)
{
	const struct build_owner *previous = builder->previous;
	bool *seen = calloc(previous->count + 1, sizeof(*seen));
	int err = 0;

	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < builder->owner->count; i++)
		seen[builder->owner->entries[i].before] = true;
	for (size_t i = 0; i < builder->job_count; i++)
		seen[builder->jobs[i]->before] = true;
	for (size_t i = 0; i < previous->count && !err; i++)
		if (!seen[i + 1])
			err = collect_unseen(builder, walk, &previous->entries[i]);
	free(seen);
	return err;
}

static int collect_end(void *context, struct walk *walk)
{
	struct builder *builder = context;
	int err = 0;

	if (builder->request->restless && builder->previous)
		err = collect_all_unseen(builder, walk);
	return err ? err : builder->read(builder, walk);
}

int build_collect(struct builder *builder, int (*read)(void *builder, struct walk *walk), char *why, size_t size)
{
	const struct walk_handlers handlers = {
		.directory = collect_directory,
		.link = collect_link,
		.file = collect_file,
		.end = collect_end,
		.restless = builder->request->restless,
	};

	builder->read = read;
	return walk_tree(builder->request->options, &handlers, builder, why, size);
}

int build_collect_previous(struct builder *builder)
{
	const struct build_owner *previous = builder->previous;

	builder->owner->limit = previous->limit;
	builder->owner->kept_out = previous->kept_out;
	builder->squeezed = builder->request->previous->squeezed;
	for (size_t i = 0; i < previous->count; i++) {
		const struct build_entry *entry = &previous->entries[i];
		int err;

		if (entry->gone > 0)
			continue;
		asset_reference(entry->asset);
		builder->keys++;
		builder->files += build_is_file(entry);
		builder->bytes += build_is_file(entry) ? entry->asset->body->len : 0;
		err = add_entry(builder, entry->key, entry->key_len, entry->asset, (uint32_t)i + 1);
		if (err)
			return err;
	}
	return 0;
}

/*
 * There is one entry a key. What is a file at one look and a directory at the next may have been collected as both: the tree will
 * have to be read again anyway, and until then either will do.
 */
static void drop_entry(struct builder *builder, const struct build_entry *entry)
{
	const struct asset *asset = entry->asset;

	if (build_is_file(entry) && asset->key_len == entry->key_len) {
		builder->files--;
		builder->bytes -= asset->representation.body_len;
	}
	asset_release(entry->asset);
}

/* Sorts them. How many are left. */
static size_t sort_fresh(struct builder *builder, struct build_entry *entries, size_t n)
{
	size_t kept = n > 0;

	qsort(entries, n, sizeof(*entries), build_by_key);
	for (size_t i = 1; i < n; i++) {
		if (build_by_key(&entries[i], &entries[kept - 1]) == 0)
			drop_entry(builder, &entries[i]);
		else
			entries[kept++] = entries[i];
	}
	return kept;
}

/*
 * Most entries were in the previous snapshot, whose order is known: these are laid out by it, and only the others are
 * sorted, and put in between.
 */
int build_sort(struct builder *builder)
{
	struct build_owner *owner = builder->owner;
	size_t before = builder->previous ? builder->previous->count : 0, fresh = 0, first = owner->count, at, out = 0;
	struct build_entry *sorted = malloc((owner->count + 1) * sizeof(*sorted));
	struct build_entry *others = malloc((owner->count + 1) * sizeof(*others));
	uint32_t *places = calloc(before + 1, sizeof(*places));
	int err = sorted && others && places ? 0 : -ENOMEM;

	if (err)
		goto out;
	for (size_t i = 0; i < owner->count; i++) {
		uint32_t rank = owner->entries[i].before;

		if (!rank)
			others[fresh++] = owner->entries[i];
		else if (places[rank - 1])
			drop_entry(builder, &owner->entries[i]);
		else
			places[rank - 1] = (uint32_t)i + 1;
	}
	fresh = sort_fresh(builder, others, fresh);
	/* The known ones in their order, at the end of the array that they are merged in: never overtaken there. */
	for (size_t i = before; i-- > 0;)
		if (places[i])
			sorted[--first] = owner->entries[places[i] - 1];
	assert(fresh <= first);
	at = first;
	for (size_t i = 0; i < fresh; i++) {
		size_t next = lower_bound(sorted, at, owner->count, others[i].key, others[i].key_len);

		memmove(sorted + out, sorted + at, (next - at) * sizeof(*sorted));
		out += next - at;
		at = next;
		if (at < owner->count && build_by_key(&sorted[at], &others[i]) == 0)
			drop_entry(builder, &others[i]);
		else
			sorted[out++] = others[i];
	}
	memmove(sorted + out, sorted + at, (owner->count - at) * sizeof(*sorted));
	owner->count = out + owner->count - at;
	free(owner->entries);
	owner->entries = sorted;
	sorted = NULL;
	builder->entries_size = owner->count;
out:
	free(sorted);
	free(others);
	free(places);
	return err;
}
