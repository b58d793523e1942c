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

#include <stddef.h>

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
 * 0, -EINVAL (answer 400) or -ENOENT (answer 404). scratch: at least len bytes; path may point into it.
 */
int target_parse(const char *text, size_t len, char *scratch, struct target *target);

#endif
