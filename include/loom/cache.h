/*
 * cache.h - a directory in which compressed contents outlive the process (--cache-dir). A file a variant, called after
 * the hash of the content, its length and the coding; a file that says "none" is for content that the coding does not
 * make smaller. Files appear whole, by rename. Nothing in it is trusted: who reads checks what it got
 * (compress_matches()). Several processes may use one directory. Any thread but the event loop's.
 */
#ifndef LOOM_CACHE_H
#define LOOM_CACHE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/body.h"
#include "loom/coding.h"

struct cache;

/*
 * Makes the directory (0700) when it is not there; its parent must be. One that can only be read is good for reading.
 * 0, or -errno with one line in why.
 */
int cache_open(struct cache **cache, const char *path, char *why, size_t size);

/* NULL is allowed. */
void cache_close(struct cache *cache);

/*
 * What the directory has for content of this hash and length. 0 with a sealed *coded (one reference) that is smaller
 * than the content, and has not been checked; -ENODATA: it is known that there is none; -ENOENT: nothing is known, or
 * what stands there cannot be it; or another -errno.
 */
int cache_read(struct cache *cache, const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding,
               struct body **coded);

/* Keeps it; coded NULL: there is none. 0, or -errno: then the directory holds what it held. */
int cache_write(struct cache *cache, const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding,
                const struct body *coded);

/* Deletes what was found out to be wrong. */
void cache_forget(struct cache *cache, const uint8_t hash[BODY_HASH_LEN], uint64_t len, enum content_coding coding);

/*
 * Deletes what nobody has read or written for so many days, and what a process that died left half-written. Files with
 * other names are left alone. Ends early once *stop is true.
 */
void cache_expire(struct cache *cache, unsigned days, const atomic_bool *stop);

#endif
