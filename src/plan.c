/*
 * plan.c - see plan.h. Main thread, which is the builder's here. The figures are those of a snapshot that is really
 * built, and so they are the ones that the server will have; only what it would compress first is known no better
 * than by what lies beside the files and in the cache directory.
 */
#include "loom/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/body.h"
#include "loom/build.h"
#include "loom/cache.h"
#include "loom/check.h"
#include "loom/coding.h"
#include "loom/log.h"
#include "loom/rules.h"

struct content {
	uint8_t hash[BODY_HASH_LEN];
	uint64_t len;
};

struct count {
	uint64_t files;
	uint64_t bytes;
};

#define NAMES 5 /* of the largest streamed files */

/* A streamed file; borrowed from the snapshot. */
struct streamed {
	const char *key;
	uint64_t len;
};

struct plan {
	const struct options *options;
	struct cache *cache; /* NULL: none */
	struct content *contents;
	size_t files;
	struct count coded[CODINGS];
	struct count equal; /* files whose content another one has too, that one not counted */
	struct count streamed;
	struct streamed largest[NAMES];
	uint64_t cached_memory; /* of variants that are in the cache directory */
};

/* A variant that needs not be made. */
static void count_cached(struct plan *plan, const struct build_file *file, enum content_coding coding)
{
	struct body *body;

	if (cache_read(plan->cache, file->hash, file->len, coding, &body) < 0)
		return;
	plan->coded[coding].files++;
	plan->coded[coding].bytes += body->len;
	/* A variant has a head of its own, about as long as the file's. */
	plan->cached_memory += body->memory + file->memory;
	body_release(body);
}

static void count_streamed(struct plan *plan, const struct build_file *file)
{
	struct streamed found = { .key = file->key, .len = file->len };

	plan->streamed.files++;
	plan->streamed.bytes += file->len;
	for (unsigned i = 0; i < NAMES; i++) {
		struct streamed smaller = plan->largest[i];

		if (smaller.len >= found.len)
			continue;
		plan->largest[i] = found;
		found = smaller;
	}
}

static int count_file(void *context, const struct build_file *file)
{
	struct plan *plan = context;
	struct content *content = &plan->contents[plan->files];

	if (!file->bytes) {
		count_streamed(plan, file);
		return 0;
	}
	plan->files++;
	memcpy(content->hash, file->hash, sizeof(content->hash));
	content->len = file->len;
	for (enum content_coding coding = CODING_IDENTITY + 1; coding < CODINGS; coding++) {
		if (file->coded[coding]) {
			plan->coded[coding].files++;
			plan->coded[coding].bytes += file->coded[coding];
		} else if (plan->cache && plan->options->encodings & 1 << coding && rules_is_compressible(file->type)) {
			count_cached(plan, file, coding);
		}
	}
	return 0;
}

static int by_content(const void *a, const void *b)
{
	return memcmp(((const struct content *)a)->hash, ((const struct content *)b)->hash, BODY_HASH_LEN);
}

static void count_equal(struct plan *plan)
{
	qsort(plan->contents, plan->files, sizeof(*plan->contents), by_content);
	for (size_t i = 1; i < plan->files; i++) {
		if (by_content(&plan->contents[i - 1], &plan->contents[i]) != 0)
			continue;
		plan->equal.files++;
		plan->equal.bytes += plan->contents[i].len;
	}
}

static void print_row(const char *name, const struct count *count, const char *note)
{
	printf("%-24s %10" PRIu64 " %16" PRIu64 "%s%s\n", name, count->files, count->bytes, *note ? "  " : "", note);
}

static void print_memory(const char *name, uint64_t bytes, const char *note)
{
	const char *unit = bytes < 1024 * 1024 ? "KiB" : "MiB";
	double size = (double)bytes / (bytes < 1024 * 1024 ? 1024 : 1024 * 1024);

	printf("%-24s %10s %16" PRIu64 "  %.1f %s%s%s\n", name, "", bytes, size, unit, *note ? ", " : "", note);
}

/* What is sent from the file system. */
static void print_streamed(const struct plan *plan)
{
	print_row("streamed", &plan->streamed, "");
	for (unsigned i = 0; i < NAMES && plan->largest[i].len; i++)
		printf("  %-22s %10s %16" PRIu64 "\n", plan->largest[i].key, "", plan->largest[i].len);
	if (plan->streamed.files > NAMES)
		printf("  and %" PRIu64 " smaller ones\n", plan->streamed.files - NAMES);
}

/* The exit status. */
static int print_plan(const struct plan *plan, const struct snapshot *snapshot)
{
	const struct options *options = plan->options;
	const struct count identity = { snapshot->files, snapshot->bytes };
	uint64_t memory = snapshot->memory + plan->cached_memory;
	/* A new snapshot goes live without the variants that have to be made first. */
	uint64_t peak = memory + snapshot->memory;
	bool fits = peak <= options->max_memory, may_stream = options->stream_above < UINT64_MAX;

	printf("%-24s %10s %16s\n", "", "files", "bytes");
	print_row("identity", &identity, "");
	for (enum content_coding coding = CODING_IDENTITY + 1; coding < CODINGS; coding++)
		if (options->encodings & 1 << coding)
			print_row(coding_name(coding), &plan->coded[coding], "");
	print_row("equal to another file", &plan->equal, "held once");
	print_streamed(plan);
	print_memory("memory", memory, "");
	print_memory("memory during a switch", peak, "when everything changes");
	print_memory("--max-memory", options->max_memory, fits ? "fits" : may_stream ? "fits once" : "DOES NOT FIT");
	if (options->compress && options->encodings)
		printf("Variants are counted that lie beside the files%s; none were compressed for this plan.\n",
		       plan->cache ? " or in the cache directory" : "");
	if (fits)
		return 0;
	peak = peak / (1024 * 1024) + 1;
	if (may_stream) {
		printf("When everything changes, new files are streamed until the old ones are gone: --max-memory=%" PRIu64
		       "M would hold both.\n",
		       peak);
		return 0;
	}
	printf("It can be served, but not changed as a whole: raise --max-memory to %" PRIu64 "M.\n", peak);
	return 1;
}

/* The cache directory, if it is there: a plan makes none. */
static int open_cache(struct plan *plan, char *why, size_t size)
{
	const char *dir = plan->options->cache_dir;

	if (!dir || !plan->options->compress || access(dir, F_OK) < 0)
		return 0;
	return cache_open(&plan->cache, dir, why, size);
}

int plan_run(const struct options *options)
{
	struct plan plan = { .options = options };
	struct snapshot *snapshot = NULL;
	int status = 1, err;
	char why[512];

	err = open_cache(&plan, why, sizeof(why));
	if (!err)
		err = check_build(options, &snapshot, why, sizeof(why));
	if (!err) {
		plan.contents = calloc(snapshot->files + 1, sizeof(*plan.contents));
		if (!plan.contents) {
			err = -ENOMEM;
			snprintf(why, sizeof(why), "%s", strerror(ENOMEM));
		}
	}
	if (err) {
		log_error("%s", why);
	} else {
		build_files(snapshot, count_file, &plan);
		count_equal(&plan);
		status = print_plan(&plan, snapshot);
	}
	free(plan.contents);
	build_free(snapshot);
	cache_close(plan.cache);
	return status;
}
