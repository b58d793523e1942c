/*
 * asset.h - one answer of a snapshot with the memory that it lies in: a file in one content coding, a redirect or an
 * error. Made and freed on the builder's thread (build.h); what others see of it, by way of a snapshot, is its
 * representation.
 *
 * An asset is one allocation (this struct, the key, the head) that refers to a body, which may serve other assets too.
 */
#ifndef LOOM_ASSET_H
#define LOOM_ASSET_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "loom/body.h"
#include "loom/coding.h"
#include "loom/snapshot.h"

enum asset_kind {
	ASSET_FILE,
	ASSET_REDIRECT,
	ASSET_ERROR,
};

/* What stat(2) said of the file that an asset was read from: equal again, it need not be read again. */
struct asset_source {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
	struct timespec ctime;
	uint32_t nlink;
	bool settled; /* was old enough when it was read that a later write must show in mtime or ctime */
};

struct asset {
	alignas(CACHE_LINE) struct representation representation;

	/* The builder's; workers never look here, so these may change while the asset is being served. */
	uint32_t references;
	uint32_t key_len;
	const char *key;  /* its URL path, NUL-terminated; of an error, empty */
	const char *type; /* its media type, as mime_type() gave it: not owned */
	struct body *body;
	enum asset_kind kind;
	enum content_coding coding;
	uint32_t stamp;  /* by which each asset is counted once */
	uint64_t memory; /* of this allocation, which memory.h counts; the body counts for itself */
	struct asset_source source;
	time_t modified_after; /* of a file: the Last-Modified of any content that it had before is not later */

	/* A file that may be the coded content of another ("app.js.gz"): whether it is, of the content with this hash. */
	bool judged, matches;
	uint8_t judged_hash[BODY_HASH_LEN];
};

/* What the head of a file says, besides its validator. */
struct asset_fields {
	const char *type; /* borrowed for good */
	enum content_coding coding;
	time_t last_modified;      /* 0: no such field */
	const char *cache_control; /* NULL: no such field */
	bool varies;               /* Vary: Accept-Encoding */
	bool nosniff;
};

/* Longer media types are none. */
#define ASSET_TYPE_MAX 100

/* What an asset_file() for a content of this size takes, in bytes, without the body. The same for every content. */
uint64_t asset_file_memory(size_t key_len, const struct asset_fields *fields, uint64_t size);

/*
 * A file's answer, of a sealed body in memory or of a streamed one. Takes a reference to the body. All three return 0
 * with one reference to *asset, or -ENOMEM.
 */
int asset_file(struct asset **asset, const char *key, size_t key_len, const struct asset_fields *fields,
               struct body *body);

/*
 * The 301 from key to key + "/" (path-only, RFC 9110 10.2.2). -ENAMETOOLONG: percent-encoded, it would make a head of
 * more than REPRESENTATION_HEAD_MAX bytes.
 */
int asset_redirect(struct asset **asset, const char *key, size_t key_len, bool nosniff);

/* An error answer. body NULL: the built-in text; otherwise a body of that type, in memory, which is shared. */
int asset_error(struct asset **asset, enum snapshot_error error, const char *type, struct body *body, bool nosniff);

/* The status of an error. */
unsigned asset_error_status(enum snapshot_error error);

void asset_reference(struct asset *asset);

/* Drops a reference; the last one frees. NULL is allowed. */
void asset_release(struct asset *asset);

/* 22 base64url digits and a NUL for a 128-bit hash (RFC 4648 section 5, without padding). */
void asset_hash_text(const uint8_t hash[BODY_HASH_LEN], char text[ETAG_LEN - 1]);

#endif
