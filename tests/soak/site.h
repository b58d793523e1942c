/*
 * site.h - what the soak's client knows of the site: each version of each file as it was written, which of them may be
 * served at the moment, and which ETag stands for which bytes. One thread; owns all of it until the process ends.
 *
 * A file's versions are numbered through without an end, and come round: number N has the content N modulo `versions`.
 * soak.py writes two numbers a file into shared memory: `floor`, the oldest that may still be served to who asks from
 * now on, and `ceiling`, the newest that has begun to be written. So an answer may be any number from the floor when
 * its request was sent to the ceiling when it came.
 */
#ifndef LOOM_SOAK_SITE_H
#define LOOM_SOAK_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SITE_FILES    256
#define SITE_VERSIONS 16
#define SITE_TAG_MAX  64

enum site_kind {
	SITE_SMALL,    /* held in memory, up to some KiB */
	SITE_PAGE,     /* and has variants */
	SITE_LARGE,    /* held in memory */
	SITE_STREAMED, /* sent from the file system */
	SITE_GONE,     /* comes and goes: 404 is right as well, and so is any version that ever was */
	SITE_ABSENT,   /* never was: 404 */
	SITE_KINDS,
};

enum site_coding {
	SITE_IDENTITY,
	SITE_GZIP,
	SITE_BR,
	SITE_ZSTD,
	SITE_CODINGS,
};

/* An ETag, with quotes, and what it was found to stand for. */
struct site_tag {
	char text[SITE_TAG_MAX];
	char modified[40]; /* Last-Modified that came with it first; "": none */
	unsigned file, version;
	enum site_coding coding;
	const char *bytes;
	size_t len;
	struct site_tag *next;
};

struct site_file {
	char target[64];
	enum site_kind kind;
	unsigned versions;
	const char *bytes[SITE_VERSIONS];
	size_t len[SITE_VERSIONS];
	struct site_tag *tags[SITE_VERSIONS][SITE_CODINGS]; /* NULL: not seen yet */
	struct site_tag *newest;                            /* identity, seen last; NULL: none */
};

/* What soak.py says: see soak.py, Table. */
struct site_table {
	uint32_t draining; /* 1: an upgrade is under way, and connections may end between two answers */
	uint32_t unused;
	struct {
		uint32_t floor, ceiling;
	} files[SITE_FILES];
};

struct site {
	struct site_file files[SITE_FILES];
	unsigned count;
	unsigned of_kind[SITE_KINDS][SITE_FILES], kind_count[SITE_KINDS];
	const volatile struct site_table *table;
	uint64_t learned; /* ETags */
};

/* Reads DIRECTORY/manifest, maps DIRECTORY/versions/FILE.VERSION and DIRECTORY/table. An error ends the process. */
void site_load(struct site *site, const char *directory);

/* Whether this version may be served to who asked when the floor was this. */
bool site_allows(const struct site *site, unsigned file, unsigned version, uint32_t floor);

/* NULL: nobody has seen it. */
struct site_tag *site_find_tag(const struct site *site, const char *text);

/*
 * What an ETag that is new stands for, by the body that came with it. NULL, and *why: it is no version of this file, or
 * another ETag stands for the same bytes. The body is copied if it is coded.
 */
struct site_tag *site_learn(struct site *site, const char *text, unsigned file, enum site_coding coding,
                            const char *modified, const char *body, size_t len, const char **why);

/* "gzip" and its likes; SITE_CODINGS: none of ours. */
enum site_coding site_coding_of(const char *name);

#endif
