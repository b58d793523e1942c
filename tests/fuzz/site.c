/*
 * site.c - see site.h.
 */
#include "site.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loom/asset.h"

#define SLOTS 64
#define MTIME 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define NONE  SIZE_MAX

static const struct {
	const char *key;
	const char *type;
	size_t sizes[CODINGS]; /* of its variants; NONE where there is none */
	time_t modified;
	const char *cache_control;
	bool streamed;
} files[] = {
	{ "/", "text/html", { 311, NONE, NONE, NONE }, MTIME, "no-cache", false },
	{ "/s", "text/plain", { 17, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/e", "text/plain", { 0, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/c", "text/css", { 4000, 1000, 900, 1100 }, MTIME, NULL, false },
	{ "/l", "text/javascript", { 20000, 5000, 4097, 4096 }, MTIME, NULL, false },
	{ "/g", "text/javascript", { 1000, 200, NONE, NONE }, 0, "max-age=31536000, immutable", false },
	{ "/x", "font/woff2", { 4096, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/y", "font/woff2", { 4097, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/b", "image/png", { 30000, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/d/", "text/html", { 901, NONE, NONE, NONE }, MTIME, "no-cache", false },
	{ "/a b", "text/plain", { 10, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/%", "text/plain", { 5, NONE, NONE, NONE }, MTIME, NULL, false },
	{ "/f", "video/mp4", { 20000, NONE, NONE, NONE }, MTIME, NULL, true },
	{ "/t", "text/plain", { 3, 2, NONE, NONE }, MTIME, NULL, true },
};

static const char *const redirects[] = { "/d", "/d e", "/d/\xc3\xa9?" };

#define FILES     (sizeof(files) / sizeof(files[0]))
#define REDIRECTS (sizeof(redirects) / sizeof(redirects[0]))

static struct {
	struct snapshot *snapshot;
	struct snapshot_slot slots[SLOTS];
	struct snapshot_variants variants[FILES + 1];
	struct asset *assets[FILES][CODINGS];
	struct asset *redirects[REDIRECTS];
	struct asset *errors[SNAPSHOT_ERRORS];
	struct file opened[FILES];
	uint32_t hits[SLOTS];
} site;

/* Bytes of the body that no head and no other body has. */
static struct body *make_body(size_t len, unsigned number)
{
	struct body *body;
	uint32_t x = number * 2654435761U + 12345;

	if (body_create(&body, len))
		abort();
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		body->bytes[i] = (uint8_t)('a' + (x >> 16) % 26);
	}
	body_seal(body);
	return body;
}

/* The same bytes, left in a file. They stay in the asset's body too, for who checks the answers. */
static void stream(struct representation *representation, struct file *file)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct stat stat;

	if (fd < 0 || write(fd, representation->body, representation->body_len) != (ssize_t)representation->body_len ||
	    fstat(fd, &stat) < 0)
		abort();
	*file = (struct file){ .fd = fd,
		               .size = representation->body_len,
		               .mtime = stat.st_mtim,
		               .ctime = stat.st_ctim,
		               .nlink = (uint32_t)stat.st_nlink };
	representation->body = NULL;
	representation->file = file;
}

static void add_slot(const struct asset *asset, uint32_t variants)
{
	uint64_t hash = snapshot_hash(asset->key, asset->key_len), at = hash % SLOTS;

	while (site.slots[at].hash)
		at = (at + 1) % SLOTS;
	site.slots[at] = (struct snapshot_slot){ .hash = hash,
		                                 .key = asset->key,
		                                 .key_len = asset->key_len,
		                                 .variants = variants,
		                                 .representation = &asset->representation };
}

static void add_file(unsigned i)
{
	bool varies = false;

	for (unsigned coding = 1; coding < CODINGS; coding++)
		varies |= files[i].sizes[coding] != NONE;
	for (unsigned coding = 0; coding < CODINGS; coding++) {
		const struct asset_fields fields = { .type = files[i].type,
			                             .coding = coding,
			                             .last_modified = files[i].modified,
			                             .cache_control = files[i].cache_control,
			                             .varies = varies,
			                             .nosniff = true };
		struct body *body;

		if (files[i].sizes[coding] == NONE)
			continue;
		body = make_body(files[i].sizes[coding], i * CODINGS + coding);
		if (asset_file(&site.assets[i][coding], files[i].key, strlen(files[i].key), &fields, body))
			abort();
		body_release(body);
		site.variants[i + 1].coded[coding] = &site.assets[i][coding]->representation;
	}
	if (files[i].streamed)
		stream(&site.assets[i][CODING_IDENTITY]->representation, &site.opened[i]);
	add_slot(site.assets[i][CODING_IDENTITY], varies ? i + 1 : 0);
}

static void make_site(void)
{
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, sizeof(*snapshot) + sizeof(struct snapshot_share));

	if (!snapshot)
		abort();
	memset(snapshot, 0, sizeof(*snapshot) + sizeof(struct snapshot_share));
	site.snapshot = snapshot;
	snapshot->slots = site.slots;
	snapshot->mask = SLOTS - 1;
	snapshot->variants = site.variants;
	snapshot->share[0].hits = site.hits;
	for (unsigned i = 0; i < FILES; i++)
		add_file(i);
	for (unsigned i = 0; i < REDIRECTS; i++) {
		if (asset_redirect(&site.redirects[i], redirects[i], strlen(redirects[i]), true))
			abort();
		add_slot(site.redirects[i], 0);
	}
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++) {
		if (asset_error(&site.errors[i], i, NULL, NULL, true))
			abort();
		snapshot->errors[i] = &site.errors[i]->representation;
	}
	site_renew();
}

void site_renew(void)
{
	atomic_init(&site.snapshot->shares, 1);
	site.snapshot->share[0].pins = 0;
}

const uint8_t *site_content(const struct representation *representation)
{
	/* The representation opens the asset. */
	return ((const struct asset *)representation)->body->bytes;
}

struct snapshot *site_snapshot(void)
{
	if (!site.snapshot)
		make_site();
	return site.snapshot;
}

const struct representation *site_by_etag(const void *etag, size_t len)
{
	for (unsigned i = 0; i < FILES; i++)
		for (unsigned coding = 0; coding < CODINGS; coding++) {
			const struct asset *asset = site.assets[i][coding];

			if (asset && len == ETAG_LEN && memcmp(asset->representation.etag, etag, ETAG_LEN) == 0)
				return &asset->representation;
		}
	return NULL;
}

/* By the Location field's value, whatever follows in it. The longest, as one may begin like another. */
const struct representation *site_redirect(const void *location, size_t len)
{
	const struct representation *found = NULL;
	size_t found_len = 0;

	for (unsigned i = 0; i < REDIRECTS; i++) {
		const struct representation *redirect = &site.redirects[i]->representation;
		const char *name = "Location: ",
			   *value = memmem(redirect->head, redirect->head_len, name, strlen(name));
		size_t value_len;

		assert(value);
		value += strlen(name);
		value_len = (size_t)(redirect->head + redirect->location_end - value);
		if (value_len <= len && memcmp(value, location, value_len) == 0 && value_len > found_len) {
			found = redirect;
			found_len = value_len;
		}
	}
	return found;
}

/* 200: the answer to OPTIONS. */
const struct representation *site_error(unsigned status)
{
	for (unsigned i = 0; i < SNAPSHOT_ERRORS; i++)
		if (site.errors[i]->representation.status == status)
			return &site.errors[i]->representation;
	return NULL;
}
