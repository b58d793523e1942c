/*
 * build_plan.c - what is held in memory and what is streamed, decided before anything is read. The builder's thread.
 *
 * Two things have limits. All that snapshots hold together may be --max-memory: what is new must fit beside whatever
 * else is there now. And what the new snapshot holds by itself:
 *
 *   - all of --max-memory, when it fits in there as a whole. It may still change as a whole: those of its bodies that do
 *     not fit beside the old ones are streamed until these are gone ("squeezed"), and a further build takes them in;
 *   - half of it, when some of it must be streamed anyhow, so that the next one, which holds as much, finds room beside
 *     it. A quarter of the half is left for variants, where they are made.
 *
 * The largest bodies are streamed first, since they gain least from memory, and the fewest descriptors hold the most
 * bytes; and last of all pages, index files and the pages of errors. What was settled once is changed only for a
 * reason: a streamed body comes into memory if there is a little more room than it takes, so that a file at the edge
 * does not go in and out.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "loom/memory.h"
#include "loom/variants.h"

/* More than a file's head takes, beside its key; cheap, and near enough where memory is plenty. */
#define HEAD_MAX (sizeof(struct asset) + 512)

/* A redirect, with its body. */
#define REDIRECT_MAX 1024

/* What a snapshot may hold must exceed what it takes by this part of it before streamed bodies come into memory. */
#define EDGE 16

static bool may_stream(const struct builder *builder)
{
	return builder->request->options->stream_above < UINT64_MAX;
}

static bool is_too_large(const struct builder *builder, uint64_t size)
{
	return size > 0 && size > builder->request->options->stream_above;
}

bool build_make_room(struct builder *builder)
{
	const struct build_request *request = builder->request;

	if (request->make_room && request->make_room(request->context))
		return true;
	return request->variants &&
	       (variants_shed(request->variants, false) > 0 || variants_shed(request->variants, true) > 0);
}

uint32_t build_stamp(void)
{
	static uint32_t stamp;

	if (++stamp == 0)
		stamp = 1;
	return stamp;
}

static uint64_t count_asset(struct asset *asset, uint32_t stamp)
{
	uint64_t memory = 0;

	if (asset->stamp != stamp) {
		asset->stamp = stamp;
		memory += asset->memory;
	}
	if (asset->body->stamp != stamp) {
		asset->body->stamp = stamp;
		memory += asset->body->memory;
	}
	return memory;
}

uint64_t build_holds(struct builder *builder)
{
	const struct build_owner *owner = builder->owner;
	uint32_t stamp = build_stamp();
	uint64_t memory = build_overhead(builder, builder->keys);

	for (size_t i = 0; i < owner->count; i++) {
		memory += count_asset(owner->entries[i].asset, stamp);
		for (unsigned coding = 0; coding < CODINGS; coding++)
			if (owner->entries[i].coded[coding])
				memory += count_asset(owner->entries[i].coded[coding], stamp);
	}
	for (size_t i = 0; i < SNAPSHOT_ERRORS; i++)
		memory += count_asset(owner->errors[i], stamp);
	return memory;
}

/* A job's asset, and the redirect that may come with an index file. A bound; exactly: a close one. */
static uint64_t head_memory(const struct builder *builder, const struct build_job *job, bool exactly)
{
	uint64_t redirect = job->old ? 0 : REDIRECT_MAX + 3 * (uint64_t)job->key_len; /* percent-encoded */
	struct asset_fields fields;
	size_t len;

	if (!exactly)
		return HEAD_MAX + job->key_len + redirect;
	fields = build_fields(builder, job->key, job->key_len, job->type, job->size, job->stream, 1);
	fields.varies = true;
	return asset_file_memory(job->key_len, &fields, job->size) +
	       (build_is_index(builder, job->key, job->key_len, &len) && len > 1 ? redirect : 0);
}

static uint64_t job_body(const struct build_job *job)
{
	return job->stream ? body_file_memory() : body_memory(job->size);
}

/* Whether it may turn out to be what it was: reading that takes no memory. */
static bool is_comparable(const struct build_job *job)
{
	return job->old && job->old->body->bytes && job->old->body->len == job->size;
}

/* A body that is to be in memory or not: of a job, or of an entry that is vouched for. */
struct item {
	struct build_job *job; /* NULL: an entry's */
	size_t entry;
	const char *key;
	uint64_t size;
	bool page; /* HTML, or an index file */
	bool hold;
};

struct plan {
	struct builder *builder;
	struct item *items;
	size_t count;
	uint64_t room;   /* has been taken, so that nobody else takes it meanwhile */
	uint64_t spare;  /* of it, not for bodies */
	uint64_t heads;  /* new allocations beside bodies in memory: heads, the index, streamed bodies */
	uint64_t bodies; /* new bodies in memory */
	uint64_t own;    /* all that the snapshot will hold */
	uint64_t limit;
	uint64_t kept_out;
	uint64_t streams; /* files to be opened */
	bool squeezed;
	bool full;
};

static bool is_page(const struct builder *builder, const char *key, size_t key_len, const char *type)
{
	size_t len;

	return strncmp(type, "text/html", strlen("text/html")) == 0 || build_is_index(builder, key, key_len, &len);
}

static int by_worth(const void *a, const void *b)
{
	const struct item *left = a, *right = b;

	if (left->page != right->page)
		return left->page ? -1 : 1;
	if (left->size != right->size)
		return left->size < right->size ? -1 : 1;
	return strcmp(left->key, right->key);
}

static int list_items(struct plan *plan)
{
	const struct builder *builder = plan->builder;
	const struct build_owner *owner = builder->owner;

	plan->items = calloc(builder->job_count + owner->count + 1, sizeof(*plan->items));
	if (!plan->items)
		return -ENOMEM;
	for (size_t i = 0; i < builder->job_count; i++) {
		struct build_job *job = builder->jobs[i];

		if (!job->stream)
			plan->items[plan->count++] = (struct item){
				.job = job,
				.key = job->key,
				.size = job->size,
				.page = is_page(builder, job->key, job->key_len, job->type),
			};
	}
	for (size_t i = 0; i < owner->count; i++) {
		const struct asset *asset = owner->entries[i].asset;

		if (build_is_file(&owner->entries[i]) && asset->body->len > 0 &&
		    !is_too_large(builder, asset->body->len))
			plan->items[plan->count++] = (struct item){
				.entry = i,
				.key = asset->key,
				.size = asset->body->len,
				.page = is_page(builder, asset->key, asset->key_len, asset->type),
			};
	}
	qsort(plan->items, plan->count, sizeof(*plan->items), by_worth);
	return 0;
}

/* One item: what it costs in memory is allowed, or it is streamed. */
static void decide_item(struct plan *plan, struct item *item, uint64_t limit, uint64_t edge, uint32_t stamp)
{
	const struct asset *asset = item->job ? NULL : plan->builder->owner->entries[item->entry].asset;
	struct body *body = asset ? asset->body : NULL;
	uint64_t cost = body && body->bytes ? body->memory : body_memory(item->size);
	uint64_t fresh = body && body->bytes ? 0 : cost;

	if (body && body->bytes) {
		if (body->stamp == stamp)
			cost = 0; /* another name's */
		body->stamp = stamp;
	}
	/* Those that have room alone must not be counted on: then it would be the wrong ones. */
	item->hold = plan->own + cost + (body && fresh ? edge : 0) <= limit &&
	             (fresh == 0 || plan->heads + plan->bodies + fresh + plan->spare <= plan->room);
	if (body && item->hold != (body->bytes != NULL))
		plan->heads += asset->memory + CACHE_LINE; /* it will have another one */
	if (item->hold) {
		plan->own += cost;
		plan->bodies += fresh;
		return;
	}
	plan->kept_out++;
	plan->squeezed |= plan->own + cost <= limit && fresh > 0 && (!body || edge == 0);
	if (!body || body->bytes) {
		plan->own += body_file_memory();
		plan->heads += body_file_memory();
		plan->streams++;
	} else if (body->stamp != stamp) {
		body->stamp = stamp;
		plan->own += body->memory;
	}
}

static void decide(struct plan *plan)
{
	struct builder *builder = plan->builder;
	struct build_owner *owner = builder->owner;
	const uint64_t max = builder->request->options->max_memory;
	uint64_t bodies = 0, limit;
	uint32_t stamp = build_stamp();

	plan->heads = build_overhead(builder, builder->keys);
	plan->streams = plan->bodies = plan->kept_out = 0;
	plan->squeezed = false;
	for (size_t i = 0; i < builder->job_count; i++) {
		const struct build_job *job = builder->jobs[i];

		plan->heads += head_memory(builder, job, true);
		if (job->stream) {
			plan->heads += body_file_memory();
			plan->streams++;
		}
	}
	/* All that is neither an item's body nor counted above. */
	plan->own = plan->heads;
	for (size_t i = 0; i < owner->count; i++) {
		struct asset *asset = owner->entries[i].asset;

		plan->own += asset->stamp == stamp ? 0 : asset->memory;
		asset->stamp = stamp;
		if (asset->kind != ASSET_FILE || asset->body->len == 0 || is_too_large(builder, asset->body->len)) {
			plan->own += asset->body->stamp == stamp ? 0 : asset->body->memory;
			asset->body->stamp = stamp;
		}
	}
	for (size_t i = 0; i < SNAPSHOT_ERRORS; i++)
		plan->own += owner->errors[i]->memory + owner->errors[i]->body->memory;
	for (size_t i = 0; i < plan->count; i++) {
		struct body *body = plan->items[i].job ? NULL : owner->entries[plan->items[i].entry].asset->body;

		bodies += !body || !body->bytes  ? body_memory(plan->items[i].size)
		          : body->stamp == stamp ? 0
		                                 : body->memory;
		if (body && body->bytes)
			body->stamp = stamp;
	}
	plan->limit = plan->own + bodies <= max ? max : max / 2;
	limit = plan->limit == max || !builder->request->variants ? plan->limit : plan->limit / 4 * 3;
	stamp = build_stamp();
	for (size_t i = 0; i < plan->count; i++)
		decide_item(plan, &plan->items[i], limit, plan->limit == max ? 0 : limit / EDGE, stamp);
	plan->full = plan->heads + plan->bodies > plan->room;
}

/*
 * Bodies are given room as long as there is some, and each that gets none takes a little after all: its file, its new head.
 * When that little is too much, it is kept free for the next try.
 */
static void decide_within_room(struct plan *plan)
{
	plan->spare = 0;
	decide(plan);
	while (plan->full && plan->bodies > 0) {
		plan->spare += plan->heads + plan->bodies - plan->room;
		decide(plan);
	}
}

/* An entry's file is to be taken out of memory, or into it. */
static int add_change(struct builder *builder, size_t entry, bool stream)
{
	struct asset *asset = builder->owner->entries[entry].asset;
	struct build_job *job;
	int err = build_add_job(builder, &job, asset->key, asset->key_len);

	if (err)
		return err;
	job->type = asset->type;
	job->size = asset->body->len;
	job->old = asset;
	job->replaces = (uint32_t)entry + 1;
	job->vouched = true;
	job->stream = stream;
	return 0;
}

/* What has been taken is for these; how much that is. */
static uint64_t assign(struct builder *builder, uint64_t heads)
{
	uint64_t all = heads;

	builder->reserved = heads;
	for (size_t i = 0; i < builder->job_count; i++) {
		builder->jobs[i]->reserved = job_body(builder->jobs[i]);
		all += builder->jobs[i]->reserved;
	}
	return all;
}

/* All is held that is to be. */
static bool reserve(struct builder *builder, uint64_t heads)
{
	uint64_t bodies = 0;

	for (size_t i = 0; i < builder->job_count; i++)
		bodies += job_body(builder->jobs[i]);
	if (!memory_take_within(heads + bodies, builder->request->options->max_memory))
		return false;
	assign(builder, heads);
	return true;
}

/* Takes all memory that is left. */
static uint64_t take_room(uint64_t max)
{
	for (;;) {
		uint64_t held = memory_held();

		if (held >= max)
			return 0;
		if (memory_take_within(max - held, max))
			return max - held;
	}
}

/* Whether the files to be opened are allowed to be. */
static bool has_descriptors(struct builder *builder, uint64_t streams)
{
	builder->streams = streams;
	builder->crowded = streams > 0 && body_files() + streams > builder->request->options->max_streams;
	return !builder->crowded;
}

static int apply(struct plan *plan)
{
	struct builder *builder = plan->builder;
	uint64_t heads = plan->heads, assigned;
	int err = 0;

	for (size_t i = 0; !err && i < plan->count; i++) {
		struct item *item = &plan->items[i];
		const struct body *body = item->job ? NULL : builder->owner->entries[item->entry].asset->body;

		if (item->job)
			item->job->stream = !item->hold;
		else if (item->hold != (body->bytes != NULL))
			err = add_change(builder, item->entry, !item->hold);
	}
	if (err)
		return err;
	for (size_t i = 0; i < builder->job_count; i++)
		heads -= builder->jobs[i]->stream ? body_file_memory() : 0;
	builder->owner->limit = plan->limit;
	builder->owner->kept_out = plan->kept_out;
	builder->squeezed = plan->squeezed;
	assigned = assign(builder, heads);
	assert(assigned == plan->heads + plan->bodies && assigned <= plan->room);
	memory_give(plan->room - assigned);
	plan->room = 0;
	return 0;
}

/* Not all fits, or did not fit when the previous snapshot was built. */
static int plan_closely(struct builder *builder)
{
	struct plan plan = { .builder = builder };
	int err = list_items(&plan);

	if (err)
		return err;
	do {
		memory_give(plan.room);
		plan.room = take_room(builder->request->options->max_memory);
		decide_within_room(&plan);
	} while ((plan.full || plan.squeezed || !has_descriptors(builder, plan.streams)) && build_make_room(builder));
	if (!has_descriptors(builder, plan.streams))
		err = -ENFILE;
	else if (plan.full)
		err = -ENOSPC;
	else
		err = apply(&plan);
	builder->needed = plan.heads + plan.bodies;
	memory_give(plan.room);
	free(plan.items);
	return err;
}

/* Nothing is streamed: all fits, or all is refused; but for what may turn out to be as it was, which is seen later. */
static int plan_unstreamed(struct builder *builder)
{
	uint64_t heads = build_overhead(builder, builder->keys), bodies = 0, all = 0;

	for (size_t i = 0; i < builder->job_count; i++) {
		const struct build_job *job = builder->jobs[i];

		heads += head_memory(builder, job, true);
		all += job_body(job);
		bodies += is_comparable(job) ? 0 : job_body(job);
	}
	do
		if (reserve(builder, heads))
			return 0;
	while (build_make_room(builder));
	builder->needed = heads + all;
	/* As much as is certain. */
	if (!memory_take_within(heads + bodies, builder->request->options->max_memory))
		return -ENOSPC;
	builder->reserved = heads;
	for (size_t i = 0; i < builder->job_count; i++)
		if (!is_comparable(builder->jobs[i]))
			builder->jobs[i]->reserved = job_body(builder->jobs[i]);
	return 0;
}

int build_plan(struct builder *builder)
{
	uint64_t heads = build_overhead(builder, builder->keys), streams = 0;

	for (size_t i = 0; i < builder->job_count; i++) {
		struct build_job *job = builder->jobs[i];

		job->stream = is_too_large(builder, job->size);
		streams += job->stream;
		heads += head_memory(builder, job, false);
	}
	builder->owner->limit = builder->request->options->max_memory;
	if (!(builder->previous && builder->previous->kept_out) && has_descriptors(builder, streams) &&
	    reserve(builder, heads))
		return 0;
	return may_stream(builder) ? plan_closely(builder) : plan_unstreamed(builder);
}

int build_plan_previous(struct builder *builder)
{
	builder->needed = build_overhead(builder, builder->keys);
	do
		if (reserve(builder, builder->needed))
			return 0;
	while (build_make_room(builder));
	return -ENOSPC;
}
