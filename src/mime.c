/*
 * mime.c - the media type of a file, by the last extension of its name. Pure. The table is made when loom is built
 * (mime_table.py), sorted, and looked up by halves; the reloader asks once a file.
 */
#include "loom/mime.h"

#include <string.h>

struct mime_entry {
	const char *extension; /* lower case */
	const char *type;
};

#include "mime_table.h"

#define UNKNOWN "application/octet-stream"

/* ASCII only, whatever the locale says. */
static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

const char *mime_type(const char *name, size_t len)
{
	char extension[MIME_EXTENSION_MAX + 1];
	size_t low = 0, high = sizeof(mime_table) / sizeof(mime_table[0]);
	const char *slash = memrchr(name, '/', len);
	const char *base = slash ? slash + 1 : name;
	size_t base_len = len - (size_t)(base - name);
	const char *dot = memrchr(base, '.', base_len);
	size_t n;

	/* The dot that hides a file begins no extension. */
	if (!dot || dot == base)
		return UNKNOWN;
	n = base_len - (size_t)(dot + 1 - base);
	if (n == 0 || n > MIME_EXTENSION_MAX || memchr(dot, '\0', n + 1))
		return UNKNOWN;
	for (size_t i = 0; i < n; i++)
		extension[i] = lower(dot[1 + i]);
	extension[n] = '\0';

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(extension, mime_table[middle].extension);

		if (order == 0)
			return mime_table[middle].type;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return UNKNOWN;
}
