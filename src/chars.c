/*
 * chars.c - see chars.h. The table, row by row what each byte may be part of.
 */
#include "loom/chars.h"

#define TOKEN CHARS_TOKEN
#define NAME  CHARS_NAME
#define QUERY CHARS_QUERY
#define PATH  CHARS_PATH
#define VALUE CHARS_VALUE
#define ETAG  CHARS_ETAG

const uint8_t chars_classes[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['!'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['"'] = VALUE,
	['#'] = TOKEN | VALUE | ETAG,
	['$' ... '\''] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['(' ... ')'] = NAME | QUERY | PATH | VALUE | ETAG,
	['*' ... '+'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	[','] = NAME | QUERY | PATH | VALUE | ETAG,
	['-'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['.'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['/'] = QUERY | PATH | VALUE | ETAG,
	['0' ... '9'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	[':'] = QUERY | PATH | VALUE | ETAG,
	[';'] = NAME | QUERY | PATH | VALUE | ETAG,
	['<'] = VALUE | ETAG,
	['='] = NAME | QUERY | PATH | VALUE | ETAG,
	['>'] = VALUE | ETAG,
	['?'] = QUERY | VALUE | ETAG,
	['@'] = QUERY | PATH | VALUE | ETAG,
	['A' ... 'Z'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['['] = QUERY | PATH | VALUE | ETAG,
	['\\'] = QUERY | VALUE | ETAG,
	[']'] = QUERY | PATH | VALUE | ETAG,
	['^'] = TOKEN | QUERY | PATH | VALUE | ETAG,
	['_'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['`'] = TOKEN | QUERY | PATH | VALUE | ETAG,
	['a' ... 'z'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['{'] = QUERY | PATH | VALUE | ETAG,
	['|'] = TOKEN | QUERY | PATH | VALUE | ETAG,
	['}'] = QUERY | PATH | VALUE | ETAG,
	['~'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	[0x80 ... 0xff] = VALUE | ETAG,
};
