/*
 * target.h - from a request target to a key of the snapshot. Pure. A target is never turned into a file path.
 *
 * The rule (RFC 9112 3.2, RFC 3986 6.2.2; docs/http.md tells it to users): origin-form, or absolute-form of http
 * whose authority has to be valid and is passed over; asterisk-form and authority-form are told apart for the methods that
 * they are for. Bytes that no client sends unencoded are bad. The query is cut off at the first '?'. Percent-encodings are
 * decoded once. Then empty segments ("//") are merged and dot segments are removed; a path that climbs above the root is bad.
 * Encoded NUL, CR, LF and other control bytes are bad, and so is a broken percent-encoding; an encoded slash is no
 * separator and no byte of any key: not found.
 */
#ifndef LOOM_TARGET_H
#define LOOM_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/chars.h"

enum target_form {
	TARGET_PATH,      /* origin-form or absolute-form */
	TARGET_ASTERISK,  /* "*", for OPTIONS alone; no path */
	TARGET_AUTHORITY, /* host and port, for CONNECT alone; no path */
};

struct target {
	enum target_form form;
	const char *path; /* the key: in the target itself where that is normal already, else in the scratch */
	size_t path_len;
	const char *query; /* with its '?', as sent; NULL when there is none */
	size_t query_len;
};

/*
 * Where a path ends that begins at: the first byte that must not stand in one. *normal: it is the key as it is, since nothing
 * in it has to be decoded, merged or removed.
 */
static inline const char *target_path_end(const char *at, const char *end, bool *normal)
{
	*normal = true;
	for (;; at++) {
		while (at < end && chars_in(CHARS_PLAIN, *at))
			at++;
		if (at == end || !chars_in(CHARS_PATH, *at))
			return at;
		/* A dot after a slash may be a dot segment or a hidden name; the slow way finds out. */
		if (*at == '%' || (at + 1 < end && (at[1] == '/' || at[1] == '.')))
			*normal = false;
	}
}

/*
 * 0, -EINVAL (answer 400) or -ENOENT (answer 404). scratch: at least len bytes; path may point into it.
 */
int target_parse(const char *text, size_t len, char *scratch, struct target *target);

#endif
