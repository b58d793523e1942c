/*
 * target.c - see target.h. Most targets are normal already: one pass over their bytes finds that out, and the path is
 * the target itself. Only the others are rewritten, in the scratch.
 */
#include "loom/target.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "loom/authority.h"
#include "loom/chars.h"

/* Decodes each percent-encoding once. The length, or -EINVAL, or -ENOENT for an encoded slash. */
static long decode(const char *text, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '%') {
			int high, low;

			if (len - i < 3 || (high = chars_hex_digit(text[i + 1])) < 0 ||
			    (low = chars_hex_digit(text[i + 2])) < 0)
				return -EINVAL;
			c = (unsigned char)(high << 4 | low);
			i += 2;
			if (c == '/')
				return -ENOENT;
		}
		if (c < 0x20 || c == 0x7f)
			return -EINVAL;
		out[n++] = (char)c;
	}
	return (long)n;
}

/*
 * Removes empty and dot segments of an absolute path, in place (RFC 3986 5.2.4). "/a/." and "/a/b/.." are "/a/".
 * The length, or -EINVAL when it climbs above the root.
 */
static long remove_dots(char *path, size_t len)
{
	size_t in = 0, out = 0;

	while (in < len) {
		size_t end;

		assert(path[in] == '/');
		while (in < len && path[in] == '/')
			in++;
		for (end = in; end < len && path[end] != '/'; end++)
			;
		if (end - in == 1 && path[in] == '.') {
			in = end;
			if (in == len)
				path[out++] = '/';
			continue;
		}
		if (end - in == 2 && path[in] == '.' && path[in + 1] == '.') {
			if (out == 0)
				return -EINVAL;
			while (path[--out] != '/')
				;
			in = end;
			if (in == len)
				path[out++] = '/';
			continue;
		}
		path[out++] = '/';
		memmove(path + out, path + in, end - in);
		out += end - in;
		in = end;
	}
	return (long)out;
}

/*
 * Passes over "http://authority" (RFC 9112 3.2.2). NULL when it is not that, or when the authority is empty, invalid or has
 * userinfo in it (RFC 9110 4.2.1, 4.2.4). https is for who has a certificate to show (7.4).
 */
static const char *skip_authority(const char *text, size_t len)
{
	size_t scheme = len >= 7 && strncasecmp(text, "http://", 7) == 0 ? 7 : 0;
	const char *authority = text + scheme, *at = authority, *end = text + len;
	size_t host_len;
	bool has_port;

	if (scheme == 0)
		return NULL;
	while (at < end && *at != '/' && *at != '?')
		at++;
	if (!authority_parse(authority, (size_t)(at - authority), &host_len, &has_port) || host_len == 0)
		return NULL;
	return at;
}

/* Host, colon and port (RFC 9112 3.2.3). */
static bool is_authority(const char *text, size_t len)
{
	size_t host_len;
	bool has_port;

	return authority_parse(text, len, &host_len, &has_port) && host_len > 0 && has_port;
}

int target_parse(const char *text, size_t len, char *scratch, struct target *target)
{
	const char *end = text + len, *path_end;
	bool normal;
	long n;

	*target = (struct target){ 0 };
	if (len == 0)
		return -EINVAL;
	if (text[0] != '/') {
		const char *path = skip_authority(text, len);

		if (!path && len == 1 && text[0] == '*')
			target->form = TARGET_ASTERISK;
		else if (!path && is_authority(text, len))
			target->form = TARGET_AUTHORITY;
		else if (!path)
			return -EINVAL;
		if (!path)
			return 0;
		text = path;
	}

	path_end = target_path_end(text, end, &normal);
	if (path_end < end) {
		if (*path_end != '?')
			return -EINVAL;
		target->query = path_end;
		target->query_len = (size_t)(end - path_end);
		for (const char *at = path_end; at < end; at++)
			if (!chars_in(CHARS_QUERY, *at))
				return -EINVAL;
	}
	if (path_end == text) { /* absolute-form without a path */
		target->path = "/";
		target->path_len = 1;
		return 0;
	}
	target->path = text;
	target->path_len = (size_t)(path_end - text);
	if (normal)
		return 0;

	n = decode(text, target->path_len, scratch);
	if (n >= 0)
		n = remove_dots(scratch, (size_t)n);
	if (n < 0)
		return (int)n;
	target->path = scratch;
	target->path_len = (size_t)n;
	return 0;
}
