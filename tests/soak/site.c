/*
 * site.c - see site.h.
 */
#include "site.h"

#include <brotli/decode.h>
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#define BUCKETS 4096

static struct site_tag *buckets[BUCKETS];

static void die(const char *what, const char *which)
{
	fprintf(stderr, "soak: %s %s: %s\n", what, which, strerror(errno));
	exit(2);
}

static const void *map(const char *path, size_t *len)
{
	struct stat status;
	void *memory;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status))
		die("cannot read", path);
	*len = (size_t)status.st_size;
	memory = mmap(NULL, *len, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		die("cannot map", path);
	close(fd);
	return memory;
}

void site_load(struct site *site, const char *directory)
{
	static const char *const kinds[] = { "small", "page", "large", "streamed", "gone", "absent" };
	char path[4096], kind[16];
	struct site_file *file;
	size_t len;
	FILE *manifest;

	snprintf(path, sizeof(path), "%s/manifest", directory);
	manifest = fopen(path, "re");
	if (!manifest)
		die("cannot read", path);
	while (file = &site->files[site->count],
	       site->count < SITE_FILES && fscanf(manifest, "%63s %15s %u", file->target, kind, &file->versions) == 3) {
		while (file->kind < SITE_KINDS && strcmp(kind, kinds[file->kind]) != 0)
			file->kind++;
		if (file->kind == SITE_KINDS || file->versions > SITE_VERSIONS) {
			errno = EINVAL;
			die("not a manifest:", path);
		}
		for (unsigned i = 0; i < file->versions; i++) {
			char version[4200];

			snprintf(version, sizeof(version), "%s/versions/%u.%u", directory, site->count, i);
			file->bytes[i] = map(version, &file->len[i]);
		}
		site->of_kind[file->kind][site->kind_count[file->kind]++] = site->count;
		site->count++;
	}
	fclose(manifest);
	snprintf(path, sizeof(path), "%s/table", directory);
	site->table = map(path, &len);
}

bool site_allows(const struct site *site, unsigned file, unsigned version, uint32_t floor)
{
	uint32_t ceiling = site->table->files[file].ceiling;

	for (uint32_t number = floor; number <= ceiling && number < floor + SITE_VERSIONS; number++) {
		if (number % site->files[file].versions == version)
			return true;
	}
	return false;
}

static unsigned bucket_of(const char *text)
{
	unsigned hash = 2166136261;

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 16777619;
	return hash % BUCKETS;
}

struct site_tag *site_find_tag(const struct site *site, const char *text)
{
	struct site_tag *tag = buckets[bucket_of(text)];

	(void)site;
	while (tag && strcmp(tag->text, text) != 0)
		tag = tag->next;
	return tag;
}

enum site_coding site_coding_of(const char *name)
{
	static const char *const names[] = { "identity", "gzip", "br", "zstd" };
	unsigned coding = 0;

	while (coding < SITE_CODINGS && strcmp(name, names[coding]) != 0)
		coding++;
	return (enum site_coding)coding;
}

/* Whether the body, decoded, is these bytes, all of them. */
static bool decodes_to(enum site_coding coding, const char *body, size_t len, const char *bytes, size_t wanted)
{
	char *out = malloc(wanted + 1);
	size_t got = wanted + 1; /* room for one byte too many */
	bool same = false;

	if (!out)
		die("malloc", "");
	if (coding == SITE_GZIP) {
		struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();

		same = decompressor &&
		       libdeflate_gzip_decompress(decompressor, body, len, out, got, &got) == LIBDEFLATE_SUCCESS;
		libdeflate_free_decompressor(decompressor);
	} else if (coding == SITE_BR) {
		same = BrotliDecoderDecompress(len, (const uint8_t *)body, &got, (uint8_t *)out) ==
		       BROTLI_DECODER_RESULT_SUCCESS;
	} else {
		got = ZSTD_decompress(out, got, body, len);
		same = !ZSTD_isError(got);
	}
	same = same && got == wanted && memcmp(out, bytes, wanted) == 0;
	free(out);
	return same;
}

struct site_tag *site_learn(struct site *site, const char *text, unsigned file, enum site_coding coding,
                            const char *modified, const char *body, size_t len, const char **why)
{
	struct site_file *of = &site->files[file];
	struct site_tag *tag, **bucket = &buckets[bucket_of(text)];
	unsigned version = 0;

	if (coding == SITE_IDENTITY) {
		while (version < of->versions &&
		       (of->len[version] != len || memcmp(of->bytes[version], body, len) != 0))
			version++;
	} else {
		while (version < of->versions && !decodes_to(coding, body, len, of->bytes[version], of->len[version]))
			version++;
	}
	if (version == of->versions) {
		*why = "the body is no version of this file";
		return NULL;
	}
	tag = of->tags[version][coding];
	if (tag && strcmp(tag->text, text) == 0) { /* it has come twice at the same time */
		if (tag->len == len && memcmp(tag->bytes, body, len) == 0)
			return tag;
		*why = "it came with other bytes before";
		return NULL;
	}
	if (tag) {
		*why = "another ETag stood for this version";
		return NULL;
	}
	tag = calloc(1, sizeof(*tag));
	if (!tag)
		die("calloc", "");
	snprintf(tag->text, sizeof(tag->text), "%s", text);
	snprintf(tag->modified, sizeof(tag->modified), "%s", modified);
	tag->file = file;
	tag->version = version;
	tag->coding = coding;
	tag->bytes = of->bytes[version];
	tag->len = len;
	if (coding != SITE_IDENTITY) {
		char *copy = malloc(len);

		if (!copy)
			die("malloc", "");
		tag->bytes = memcpy(copy, body, len);
	}
	tag->next = *bucket;
	*bucket = tag;
	of->tags[version][coding] = tag;
	site->learned++;
	return tag;
}
