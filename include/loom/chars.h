/*
 * chars.h - classes of characters, and the few ways to walk over text that the grammars of RFC 9110 and RFC 9112 share.
 * Pure; inline, since requests are read with them.
 */
#ifndef LOOM_CHARS_H
#define LOOM_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum chars_class {
	CHARS_TOKEN = 1 << 0, /* tchar (RFC 9110 5.6.2) */
	CHARS_NAME = 1 << 1,  /* of a reg-name: unreserved, sub-delims and '%' (RFC 3986 3.2.2) */
	CHARS_QUERY = 1 << 2, /* that a query may have: what RFC 3986 allows, and what browsers send all the same */
	CHARS_PATH = 1 << 3,  /* the same of a path */
	CHARS_VALUE = 1 << 4, /* field-vchar, SP and HTAB (RFC 9110 5.5) */
	CHARS_PLAIN = 1 << 6, /* of a path, but '%' and '/': nothing to look into */
	CHARS_HOST = 1 << 7,  /* of a reg-name, but '%' */
	CHARS_ETAG = 1 << 5,  /* etagc (RFC 9110 8.8.3) */
};

extern const uint8_t chars_classes[256];

static inline bool chars_in(enum chars_class class, char c)
{
	return chars_classes[(unsigned char)c] & class;
}

static inline bool chars_is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Over optional white space (OWS, RFC 9110 5.6.3). */
static inline const char *chars_skip_space(const char *at, const char *end)
{
	while (at < end && chars_is_space(*at))
		at++;
	return at;
}

/* The value of a hexadecimal digit, in either case, or -1. */
static inline int chars_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* Whether the bytes are name, which is in lower case, without regard to case. For letters, digits and '-' only. */
static inline bool chars_equal(const char *bytes, const char *name, size_t len)
{
	if (__builtin_constant_p(len) && len == 4) { /* Host, in every request */
		uint32_t four, lower;

		memcpy(&four, bytes, 4);
		memcpy(&lower, name, 4);
		return (four | UINT32_C(0x20202020)) == lower;
	}
	for (size_t i = 0; i < len; i++)
		if ((bytes[i] | 0x20) != name[i])
			return false;
	return true;
}

#endif
