/*
 * asset.h - one answer of a snapshot with the memory that it lies in: a file, a redirect or an error. Made and freed on
 * the builder's thread (build.h); what others see of it, by way of a snapshot, is its representation.
 *
 * An asset is one allocation: this struct, the key, the 304, the head, the body. A file is made in two steps, so that
 * its bytes can be read into their final place: asset_file(), the caller fills body, asset_seal().
 */
#ifndef LOOM_ASSET_H
#define LOOM_ASSET_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "loom/snapshot.h"

#define ASSET_HASH_LEN 16

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
	bool settled; /* was old enough when it was read that a later write must show in mtime or ctime */
};

struct asset {
	alignas(CACHE_LINE) struct representation representation;

	/* The builder's; workers never look here, so these may change while the asset is being served. */
	uint32_t references;
	uint32_t key_len;
	const char *key;  /* its URL path; of an error, empty */
	const char *type; /* its media type, as mime_type() gave it: not owned */
	uint8_t *body;    /* the same as representation.body, for filling */
	uint16_t etag_at; /* where the validator goes, in both heads */
	uint16_t not_modified_etag_at;
	enum asset_kind kind;
	uint64_t memory; /* of the whole allocation */
	struct asset_source source;
	uint8_t hash[ASSET_HASH_LEN]; /* of the content; the same on every machine */
};

/* What asset_file() would take, in bytes. A bound, the same for every date. */
uint64_t asset_file_memory(size_t key_len, const char *type, uint64_t size);

/*
 * A file's 200 and 304, but for body and validator. mtime: not after the present; 0 or less: no Last-Modified.
 * All three return 0 with one reference to *asset, or -ENOMEM.
 */
int asset_file(struct asset **asset, const char *key, size_t key_len, const char *type, uint64_t size, time_t mtime);

/* The body is there: hashes it and writes the ETag. Once. */
void asset_seal(struct asset *asset);

/*
 * The 301 from key to key + "/" (path-only, RFC 9110 10.2.2). -ENAMETOOLONG: percent-encoded, it would make a head of
 * more than REPRESENTATION_HEAD_MAX bytes.
 */
int asset_redirect(struct asset **asset, const char *key, size_t key_len);

/* An error answer. type NULL: the built-in text; otherwise a body of that type, which is copied. */
int asset_error(struct asset **asset, enum snapshot_error error, const char *type, const void *body, size_t body_len);

void asset_reference(struct asset *asset);

/* Drops a reference; the last one frees. NULL is allowed. */
void asset_release(struct asset *asset);

/* 22 base64url digits and a NUL for a 128-bit hash (RFC 4648 section 5, without padding). */
void asset_hash_text(const uint8_t hash[ASSET_HASH_LEN], char text[ETAG_LEN - 1]);

#endif
