/*
 * rules.h - what the deployer's rules say of a name: how it may be cached. Pure, but for fnmatch(3) on the builder's thread.
 */
#ifndef LOOM_RULES_H
#define LOOM_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/options.h"

/*
 * Whether the last segment of a name carries a fingerprint of its content: before the last dot, after a '.', '-' or '_',
 * eight or more lower-case hex digits with both a letter and a figure among them ("app.0123abcd.js",
 * "app-0123abcd.min.js"). Dates and version numbers are none.
 */
bool rules_is_fingerprinted(const char *name, size_t len);

/* What is to be said of one file. */
struct rules_caching {
	bool immutable;            /* its content never changes under this name */
	const char *cache_control; /* the field's value; NULL: no such field */
};

/* key: NUL-terminated, of len bytes, from "/"; type: its media type. */
struct rules_caching rules_caching(const struct options *options, const char *key, size_t len, const char *type);

/*
 * Whether a page that was loaded earlier may still ask for this file: what never changes under its name, and whatever the
 * type, styles, scripts, fonts, images, sound and moving images. Never HTML; and not any file, since whoever deletes a
 * document by all rights wants it gone.
 */
bool rules_is_kept(const struct options *options, const char *key, size_t len, const char *type);

/* Whether contents of this media type are worth compressing. */
bool rules_is_compressible(const char *type);

#endif
