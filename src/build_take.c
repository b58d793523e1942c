/*
 * build_take.c - from what was read to entries: waits until what is streamed is at rest, keeps equal contents once,
 * makes the assets, and says what could not be read. The builder's thread.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "builder.h"
#include "loom/file.h"
#include "loom/log.h"

#define NS 1000000000

/* For how many ns more nobody can tell whether what was read is what the file holds. */
static uint64_t unrest(const struct build_job *job)
{
	return !job->err && job->body && job->body->file ? content_unrest(&job->content) : 0;
}

/*
 * A streamed file must show when it is written to, as long as it is sent: it has to be older than any clock ticks are
 * long. Those that are younger are waited for, once for all of them, and looked at again.
 */
static void await_rest(struct builder *builder)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < builder->job_count; i++) {
		uint64_t one = unrest(builder->jobs[i]);

		longest = one > longest ? one : longest;
	}
	if (longest > 0) {
		struct timespec left = { .tv_sec = (time_t)(longest / NS), .tv_nsec = (long)(longest % NS) };

		while (nanosleep(&left, &left) < 0 && errno == EINTR)
			;
	}
	for (size_t i = 0; i < builder->job_count; i++) {
		struct build_job *job = builder->jobs[i];

		if (job->err || !job->body || !job->body->file || job->content.source.settled)
			continue;
		job->err = content_check(&job->content, job->body->file->fd);
		job->content.source.settled = true;
	}
}

/* A body of the new snapshot or of the previous one, and the file that it was read from. */
struct known {
	struct body *body;
	const struct asset_source *source;
};

/* The contents of the jobs, by hash; and what else has the same ones. */
struct contents {
	struct known *table;
	size_t mask;
};

static bool is_equal(const struct known *a, const struct known *b)
{
	if (a->body->len != b->body->len || memcmp(a->body->hash, b->body->hash, BODY_HASH_LEN) != 0)
		return false;
	/* The hash is not made for contents that somebody has thought up. */
	if (a->body->bytes && b->body->bytes)
		return memcmp(a->body->bytes, b->body->bytes, a->body->len) == 0;
	return a->body->file && b->body->file && a->source->dev == b->source->dev && a->source->ino == b->source->ino &&
	       memcmp(&a->body->file->mtime, &b->body->file->mtime, sizeof(a->body->file->mtime)) == 0 &&
	       memcmp(&a->body->file->ctime, &b->body->file->ctime, sizeof(a->body->file->ctime)) == 0;
}

/* Where an equal one is, or could be. */
static struct known *find(const struct contents *contents, const struct known *known)
{
	uint64_t at;

	memcpy(&at, known->body->hash, sizeof(at)); /* a hash is as good as random */
	for (at &= contents->mask; contents->table[at].body; at = (at + 1) & contents->mask)
		if (is_equal(&contents->table[at], known))
			break;
	return &contents->table[at];
}

static struct known known_of(const struct asset *asset)
{
	return (struct known){ asset->body, &asset->source };
}

/* A body that has been there longer takes the place of an equal one of a job. */
static void prefer(const struct contents *contents, const struct build_owner *owner)
{
	for (size_t i = 0; owner && i < owner->count; i++) {
		struct known old, *found;

		if (!build_is_file(&owner->entries[i]))
			continue;
		old = known_of(owner->entries[i].asset);
		found = find(contents, &old);
		if (found->body)
			*found = old;
	}
}

/* Equal contents are kept once. */
static int share(struct builder *builder)
{
	struct contents contents = { .mask = 4 };
	size_t fresh = 0;

	for (size_t i = 0; i < builder->job_count; i++)
		fresh += !builder->jobs[i]->err && builder->jobs[i]->body != NULL;
	if (fresh == 0)
		return 0;
	while (contents.mask < 2 * fresh)
		contents.mask *= 2;
	contents.table = calloc(contents.mask--, sizeof(*contents.table));
	if (!contents.table)
		return -ENOMEM;
	for (size_t i = 0; i < builder->job_count; i++) {
		const struct build_job *job = builder->jobs[i];
		struct known known = { job->body, &job->content.source }, *found;

		if (job->err || !job->body)
			continue;
		found = find(&contents, &known);
		if (!found->body)
			*found = known;
	}
	/* What is being taken out of memory, or into it, is in the previous snapshot's as it was. */
	prefer(&contents, builder->previous);
	for (size_t i = 0; i < builder->job_count; i++) {
		struct build_job *job = builder->jobs[i];
		struct known known = { job->body, &job->content.source };
		struct body *body;

		if (job->err || !job->body)
			continue;
		body = find(&contents, &known)->body;
		if (body == job->body)
			continue;
		job->body = body_reference(body);
		body_release(known.body); /* the table has not got it */
	}
	free(contents.table);
	return 0;
}

/* The time of a file, if later than those that its earlier contents were sent with, or the next one; 0: none yet. */
static time_t modified(const struct content *content, time_t after)
{
	if (content->mtime > after)
		return content->mtime;
	return after > 0 && after < content->now.tv_sec ? after + 1 : 0;
}

/* What the Last-Modified of content that follows old's must be later than. */
static time_t modified_after(const struct asset *old)
{
	if (!old)
		return 0;
	return old->representation.last_modified > old->modified_after ? old->representation.last_modified
	                                                               : old->modified_after;
}

void build_inherit(struct asset *made, const struct asset *asset)
{
	made->source = asset->source;
	made->modified_after = asset->modified_after;
	made->judged = asset->judged;
	made->matches = asset->matches;
	memcpy(made->judged_hash, asset->judged_hash, sizeof(made->judged_hash));
}

/* The content is old's: old itself, or an asset with a later Last-Modified or with another body. */
static int renew_asset(const struct builder *builder, const struct build_job *job, struct asset **asset)
{
	const struct content *content = &job->content;
	struct asset *old = job->old;
	struct body *body = job->body ? job->body : old->body;
	struct asset_fields fields = build_fields(builder, old->key, old->key_len, old->type, body->len,
	                                          body->file != NULL, modified(content, old->modified_after));
	int err;

	/* A time in the future is cut off at the present one, which is later with every build. */
	if (fields.last_modified <= old->representation.last_modified ||
	    (old->representation.last_modified && content->source.mtime.tv_sec == old->source.mtime.tv_sec)) {
		if (body == old->body) {
			asset_reference(old);
			old->source = content->source;
			*asset = old;
			return 0;
		}
		fields.last_modified = old->representation.last_modified;
	}
	err = asset_file(asset, old->key, old->key_len, &fields, body);
	if (err)
		return err;
	build_inherit(*asset, old);
	(*asset)->source = content->source;
	return 0;
}

static int make_asset(const struct builder *builder, const struct build_job *job, struct asset **asset)
{
	time_t after = modified_after(job->old);
	struct asset_fields fields;
	int err;

	if (job->same)
		return renew_asset(builder, job, asset);
	assert(job->body);
	fields = build_fields(builder, job->key, job->key_len, job->type, job->body->len, job->body->file != NULL,
	                      modified(&job->content, after));
	err = asset_file(asset, job->key, job->key_len, &fields, job->body);
	if (err)
		return err;
	(*asset)->source = job->content.source;
	(*asset)->modified_after = after;
	return 0;
}

/* An asset with another body takes the place of the one that an entry has, and its directory's, which follows it. */
static void replace(struct build_owner *owner, size_t at, struct asset *asset)
{
	struct asset *old = owner->entries[at].asset;

	for (size_t i = at; i < owner->count && owner->entries[i].asset == old; i++) {
		if (i > at)
			asset_reference(asset);
		owner->entries[i].asset = asset;
		owner->entries[i].key = asset->key;
		asset_release(old);
	}
}

/* What changes too often to be read whole stays as it was, if it was there. */
static int take_restless(struct builder *builder, struct walk *walk, struct build_job *job)
{
	if (!job->old) {
		walk_warn(walk, job->key + 1, "left out for now: it changes too often to be read whole");
		return 0;
	}
	walk_warn(walk, job->key + 1, "served as it was before: it changes too often to be read whole");
	asset_reference(job->old);
	return build_add_file(builder, walk, job->old, job->before);
}

/* What it means that a file cannot be opened or read: 0 when the snapshot goes without it, or with what it was. */
static int take_failure(struct builder *builder, struct walk *walk, struct build_job *job)
{
	const char *path = job->key + 1;
	bool opening = strcmp(job->failed, "cannot open") == 0;

	if (opening && (job->err == -ENOENT || job->err == -ENOTDIR))
		return 0; /* gone since it was seen */
	if (opening && (job->err == -EACCES || job->err == -EPERM)) {
		walk_warn(walk, path, "%s", walk_denied(walk, path));
		return 0;
	}
	if (opening && (job->err == -ELOOP || job->err == -EXDEV || job->err == -ENXIO))
		job->err = -EAGAIN; /* a link, or the link's way, has changed; or a socket has taken its place */
	if (!opening && job->err == -ENODATA) {
		walk_warn(walk, path, "left out: it has another size than it says (is it a file of /proc or /sys?)");
		return 0;
	}
	if (job->err == -EAGAIN && builder->request->restless)
		return take_restless(builder, walk, job);
	if (!opening && job->err == -ENOSPC)
		return -ENOSPC; /* of memory */
	/* Want of descriptors or memory, a failing disk: better no new snapshot than one with a hole. */
	return walk_fail(walk, job->err, job->failed, path);
}

static int take_job(struct builder *builder, struct walk *walk, struct build_job *job)
{
	struct asset *asset;
	int err;

	if (job->err && job->replaces) {
		/* It has been vouched for as it was, and so it stays in memory, or out of it, until the next build. */
		log_debug("%s: %s: %s", job->key, job->failed, strerror(-job->err));
		return 0;
	}
	if (job->err)
		return take_failure(builder, walk, job);
	err = make_asset(builder, job, &asset);
	if (err)
		return err;
	if (!job->replaces)
		return build_add_file(builder, walk, asset, job->before);
	replace(builder->owner, job->replaces - 1, asset);
	return 0;
}

int build_take(struct builder *builder, struct walk *walk)
{
	uint64_t untaken = 0;
	int err;

	await_rest(builder);
	err = share(builder);
	builder->needed = builder->reserved;
	for (size_t i = 0; i < builder->job_count; i++) {
		const struct build_job *job = builder->jobs[i];

		builder->needed += job->body ? job->body->memory : 0;
		if (job->err == -ENOSPC && strcmp(job->failed, "cannot read") == 0)
			untaken += body_memory(job->content.size);
	}
	builder->needed += untaken;
	if (untaken > 0)
		return -ENOSPC;
	for (size_t i = 0; !err && i < builder->job_count; i++)
		err = take_job(builder, walk, builder->jobs[i]);
	return err;
}
