/*
 * shelf.c - see shelf.h. The reloader's part, in memory; nothing here is looked at by the event loop but what a snapshot
 * refers to.
 */
#include "shelf.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loom/asset.h"

#define SLOTS    64
#define CONTENTS (MODEL_VERSIONS + 1)

static const enum snapshot_error errors[WORDS] = {
	ERROR_400, ERROR_404, ERROR_405, ERROR_406, ERROR_408, ERROR_412, ERROR_413,      ERROR_414,
	ERROR_416, ERROR_417, ERROR_431, ERROR_501, ERROR_503, ERROR_505, ANSWER_HEALTHY, ANSWER_DRAINING,
};
static const enum content_coding codings[MODEL_CODINGS] = { CODING_IDENTITY, CODING_GZIP, CODING_BR, CODING_ZSTD };

/* What snapshot->owner points to. */
struct shelf {
	unsigned version;
	struct snapshot_slot slots[SLOTS];
	struct snapshot_variants variants[PAGES + 1];
	uint32_t hits[SLOTS];
	struct asset *pages[PAGES][MODEL_CODINGS];
	struct asset *moved;
	struct asset *words[WORDS];
	struct asset *options, *failed;
};

static int files[PAGES]
		[CONTENTS]; /* open files of streamed contents, of which each asset has a duplicate; 0: not yet */

static void must(bool done, const char *what)
{
	if (done)
		return;
	perror(what);
	abort();
}

static int file_of(enum page page, unsigned content)
{
	int *fd = &files[page][content];
	uint64_t len = model_len(page, content, PLAIN), end = page == AT_HUGE ? MODEL_TAIL : len;
	char *bytes;

	if (*fd)
		return *fd;
	bytes = malloc(end);
	assert(bytes);
	model_copy(page, content, PLAIN, len - end, bytes, end);
	*fd = memfd_create("page", MFD_CLOEXEC);
	must(*fd > 0 && ftruncate(*fd, (off_t)len) == 0 && pwrite(*fd, bytes, end, (off_t)(len - end)) == (ssize_t)end,
	     "sim: a file for a page");
	free(bytes);
	return *fd;
}

static struct body *body_of(enum page page, unsigned content, enum coding coding)
{
	uint64_t len = model_len(page, content, coding);
	struct body *body = NULL;
	int err;

	if (model_pages[page].streamed) {
		uint8_t hash[BODY_HASH_LEN] = { 's', 'i', 'm', (uint8_t)page, (uint8_t)content };
		int fd = fcntl(file_of(page, content), F_DUPFD_CLOEXEC, 0);
		struct stat stat;

		must(fd >= 0 && fstat(fd, &stat) == 0, "sim: a file for a page");
		err = body_create_file(&body, fd, len, &stat.st_mtim, &stat.st_ctim, hash);
		assert(err == 0);
		return body;
	}
	err = body_create(&body, len);
	assert(err == 0);
	model_copy(page, content, coding, 0, body->bytes, len);
	body_seal(body);
	return body;
}

static struct asset *page_asset(enum page page, unsigned content, enum coding coding)
{
	const struct page_facts *facts = &model_pages[page];
	const struct asset_fields fields = {
		.type = facts->type,
		.coding = codings[coding],
		.last_modified = model_modified(page, content),
		.cache_control = facts->cache,
		.varies = facts->coded,
		.nosniff = true,
	};
	struct body *body = body_of(page, content, coding);
	struct asset *asset = NULL;
	int err = asset_file(&asset, facts->path, strlen(facts->path), &fields, body);

	assert(err == 0);
	body_release(body);
	model_learn_tag(page, content, coding, asset->representation.etag);
	return asset;
}

static struct asset *word_asset(enum word word, unsigned version)
{
	struct asset *asset = NULL;
	struct body *body = NULL;
	char text[512];
	size_t len = model_words(word, version, text, sizeof(text));
	int err = body_create(&body, len);

	assert(err == 0);
	memcpy(body->bytes, text, len);
	body_seal(body);
	err = asset_error(&asset, errors[word], "text/html; charset=utf-8", body, true);
	assert(err == 0);
	body_release(body);
	return asset;
}

/* The last reference overwrites: nothing may be looked at any more. */
static void drop(struct asset *asset)
{
	if (!asset)
		return;
	if (asset->references == 1) {
		/* A sealed one nobody can overwrite. */
		if (asset->body->references == 1 && asset->body->bytes && !asset->body->sealed)
			memset(asset->body->bytes, 0xde, asset->body->len);
		if (asset->body->references == 1 && asset->body->file)
			asset->body->file->size = 0;
		if (asset->body->references == 1 && asset->body->sealed)
			*asset->body->sealed = (struct file){ 0 };
		memset((char *)(uintptr_t)asset->representation.head, 0xde, asset->representation.head_len);
		asset->representation.body_len = 0xdededede;
		asset->representation.head_len = 0xdede;
	}
	__asm__ volatile("" : : "r"(asset) : "memory"); /* not to be left out, though it is freed next */
	asset_release(asset);
}

static void add_key(struct snapshot *snapshot, struct shelf *shelf, const char *key, const struct asset *asset,
                    uint32_t variants)
{
	uint64_t hash = snapshot_hash(key, strlen(key)), at = hash & snapshot->mask;

	while (shelf->slots[at].hash)
		at = (at + 1) & snapshot->mask;
	shelf->slots[at] = (struct snapshot_slot){
		.hash = hash,
		.key = key,
		.key_len = (uint16_t)strlen(key),
		.variants = variants,
		.representation = &asset->representation,
	};
}

static void add_page(struct snapshot *snapshot, struct shelf *shelf, enum page page, const struct shelf *like)
{
	const struct page_facts *facts = &model_pages[page];
	unsigned content = model_content(page, shelf->version);
	bool same = like && model_content(page, like->version) == content;

	if (!content)
		return;
	for (unsigned coding = PLAIN; coding < (facts->coded ? MODEL_CODINGS : PLAIN + 1); coding++) {
		struct asset **asset = &shelf->pages[page][coding];

		if (same) {
			*asset = like->pages[page][coding];
			asset_reference(*asset);
		} else {
			*asset = page_asset(page, content, coding);
		}
		shelf->variants[page + 1].coded[codings[coding]] = &(*asset)->representation;
	}
	add_key(snapshot, shelf, facts->path, shelf->pages[page][PLAIN], facts->coded ? page + 1 : 0);
}

struct snapshot *shelf_build(unsigned version, const struct snapshot *like, bool returned)
{
	size_t size = sizeof(struct snapshot) + sizeof(struct snapshot_share);
	struct shelf *shelf = calloc(1, sizeof(*shelf));
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, size);
	int err;

	assert(shelf && snapshot);
	memset(snapshot, 0, size);
	shelf->version = version;
	snapshot->owner = shelf;
	snapshot->slots = shelf->slots;
	snapshot->mask = SLOTS - 1;
	snapshot->variants = shelf->variants;
	snapshot->health = "/health";
	snapshot->health_len = 7;
	snapshot->returned = returned;
	snapshot->workers = 1;
	atomic_init(&snapshot->shares, 1);
	model_id(version, snapshot->id);
	snapshot->share[0].hits = shelf->hits;
	for (unsigned page = 0; page < PAGES; page++)
		add_page(snapshot, shelf, page, like ? like->owner : NULL);
	err = asset_redirect(&shelf->moved, "/dir", 4, true);
	assert(err == 0);
	add_key(snapshot, shelf, "/dir", shelf->moved, 0);
	for (unsigned word = 0; word < WORDS; word++) {
		shelf->words[word] = word_asset(word, version);
		snapshot->errors[errors[word]] = &shelf->words[word]->representation;
	}
	err = asset_error(&shelf->options, ANSWER_OPTIONS, NULL, NULL, true);
	err |= asset_error(&shelf->failed, ERROR_500, NULL, NULL, true);
	assert(err == 0);
	snapshot->errors[ANSWER_OPTIONS] = &shelf->options->representation;
	snapshot->errors[ERROR_500] = &shelf->failed->representation;
	return snapshot;
}

void shelf_free(struct snapshot *snapshot)
{
	struct shelf *shelf = snapshot->owner;

	for (unsigned i = 0; i < PAGES * MODEL_CODINGS; i++)
		drop(shelf->pages[i / MODEL_CODINGS][i % MODEL_CODINGS]);
	for (unsigned word = 0; word < WORDS; word++)
		drop(shelf->words[word]);
	drop(shelf->moved);
	drop(shelf->options);
	drop(shelf->failed);
	memset(shelf, 0xde, sizeof(*shelf));
	memset(snapshot, 0xde, sizeof(*snapshot));
	__asm__ volatile("" : : "r"(shelf), "r"(snapshot) : "memory");
	free(shelf);
	free(snapshot);
}

unsigned shelf_version(const struct snapshot *snapshot)
{
	return ((const struct shelf *)snapshot->owner)->version;
}

uint64_t shelf_hits(const struct snapshot *snapshot)
{
	const struct shelf *shelf = snapshot->owner;
	uint64_t hits = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		hits += shelf->hits[i];
	return hits;
}

bool shelf_knows(const struct snapshot *snapshot, const struct file *file, enum page *page, unsigned *content)
{
	const struct shelf *shelf = snapshot->owner;

	for (unsigned i = 0; i < PAGES; i++) {
		if (!shelf->pages[i][PLAIN] || shelf->pages[i][PLAIN]->representation.file != file)
			continue;
		*page = i;
		*content = model_content(i, shelf->version);
		return true;
	}
	return false;
}

static bool is_of(const struct asset *asset, const char *bytes, size_t len)
{
	const char *body = asset ? (const char *)asset->body->bytes : NULL;

	return body && bytes >= body && bytes + len <= body + asset->body->len;
}

bool shelf_holds(const struct snapshot *snapshot, const char *bytes, size_t len)
{
	const struct shelf *shelf = snapshot->owner;

	for (unsigned i = 0; i < PAGES * MODEL_CODINGS; i++)
		if (is_of(shelf->pages[i / MODEL_CODINGS][i % MODEL_CODINGS], bytes, len))
			return true;
	for (unsigned word = 0; word < WORDS; word++)
		if (is_of(shelf->words[word], bytes, len))
			return true;
	return false;
}

bool shelf_holds_file(const struct snapshot *snapshot, const struct file *file)
{
	enum page page;
	unsigned content;

	return shelf_knows(snapshot, file, &page, &content);
}

void shelf_open(void)
{
	for (unsigned page = 0; page < PAGES; page++)
		for (unsigned version = 1; version <= MODEL_VERSIONS; version++)
			for (unsigned coding = 0; coding < (model_pages[page].coded ? MODEL_CODINGS : 1); coding++)
				if (model_content(page, version))
					drop(page_asset(page, model_content(page, version), coding));
}
