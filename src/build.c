/*
 * build.c - from a directory to a snapshot: see builder.h for the parts that do it, one after another. Runs on the
 * reloader's thread (at start on the main thread), owns a snapshot's memory, and never touches one that has been
 * handed out except to share its assets, whose counts are the builder's alone.
 */
#include "loom/build.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "loom/compress.h"
#include "loom/memory.h"
#include "loom/rules.h"

/* Smaller contents are not worth a second answer. Bytes. */
#define VARIANT_MIN 256

bool build_is_candidate(const struct builder *builder, const char *type, uint64_t size, bool stream)
{
	return builder->request->variants && !stream && size >= VARIANT_MIN && size <= COMPRESS_MAX &&
	       rules_is_compressible(type);
}

struct asset_fields build_fields(const struct builder *builder, const char *key, size_t key_len, const char *type,
                                 uint64_t size, bool stream, time_t last_modified)
{
	const struct options *options = builder->request->options;
	struct rules_caching caching = rules_caching(options, key, key_len, type);

	return (struct asset_fields){
		.type = type,
		/* What never changes needs no second validator. */
		.last_modified = caching.immutable ? 0 : last_modified,
		.cache_control = caching.cache_control,
		.varies = build_is_candidate(builder, type, size, stream),
		.nosniff = options->nosniff,
	};
}

static void size_text(uint64_t bytes, char *text, size_t size)
{
	if (bytes < 1024 * 1024)
		snprintf(text, size, "%.1f KiB", (double)bytes / 1024);
	else
		snprintf(text, size, "%.1f MiB", (double)bytes / (1024 * 1024));
}

static void tell_full(const struct builder *builder, char *why, size_t size)
{
	const struct options *options = builder->request->options;
	uint64_t held = memory_held();
	char needed[32], holding[32], allowed[32], beside[128] = "";

	size_text(builder->needed, needed, sizeof(needed));
	size_text(options->max_memory, allowed, sizeof(allowed));
	if (builder->request->previous) {
		size_text(held, holding, sizeof(holding));
		snprintf(beside, sizeof(beside), ", beside the %s of what is being served", holding);
	}
	snprintf(why, size,
	         "%s needs %s%s of memory%s, and %s are allowed (raise --max-memory, or serve a smaller directory)",
	         options->root, builder->unmeasured ? "more than " : "", needed, beside, allowed);
}

static void tell_streams(const struct builder *builder, char *why, size_t size)
{
	const struct options *options = builder->request->options;
	char open[64] = "";

	if (body_files() > 0)
		snprintf(open, sizeof(open), " beside the %u that are open", body_files());
	snprintf(why, size,
	         "%s has %" PRIu64 " files that are to be sent from where they lie%s, and %u may be open at a time "
	         "(raise ulimit -n or LimitNOFILE=, or hold more in memory by --max-memory or --stream-above)",
	         options->root, builder->streams, open, options->max_streams);
}

/* All files have been seen: the new ones are read. */
static int read_tree(void *context, struct walk *walk)
{
	struct builder *builder = context;
	int err = build_plan(builder);

	if (!err)
		err = build_read(builder, walk);
	if (!err)
		err = build_take(builder, walk);
	return err;
}

static int make(struct builder *builder, struct snapshot **snapshot, char *why, size_t size)
{
	const struct build_request *request = builder->request;
	char id[ETAG_LEN - 1];
	int err = build_errors(builder);

	if (!err && !request->as_before)
		err = build_collect(builder, read_tree, why, size);
	if (!err && request->as_before)
		err = build_collect_previous(builder);
	if (!err && request->as_before)
		err = build_plan_previous(builder);
	build_free_jobs(builder);
	if (!err)
		err = build_sort(builder);
	if (!err)
		err = build_id(builder->owner, id);
	if (!err)
		err = build_keep(builder, id);
	if (!err)
		err = build_finish(builder, id, snapshot);
	memory_give(builder->reserved);
	return err;
}

int build_snapshot(const struct build_request *request, struct snapshot **snapshot, char *why, size_t size)
{
	struct builder builder = {
		.request = request,
		.previous = request->previous ? request->previous->owner : NULL,
	};
	int err;

	assert(request->options && request->options->root && request->options->index && request->workers > 0);
	assert(!request->as_before || request->previous);

	body_seal_above(request->options->splice_above);
	builder.index_len = strlen(request->options->index);
	builder.owner = calloc(1, sizeof(*builder.owner));
	err = builder.owner ? make(&builder, snapshot, why, size) : -ENOMEM;
	if (err == -ENOSPC)
		tell_full(&builder, why, size);
	else if (err == -ENFILE && builder.crowded)
		tell_streams(&builder, why, size);
	else if (err == -ENOMEM)
		snprintf(why, size, "cannot read %s: out of memory", request->options->root);
	if (err)
		build_free_owner(builder.owner);
	body_rest();
	return err;
}
