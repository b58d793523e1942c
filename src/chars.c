/*
 * chars.c - see chars.h. The table, row by row what each byte may be part of.
 */
#include "loom/chars.h"

#define TOKEN CHARS_TOKEN
#define NAME  CHARS_NAME
#define HOST  CHARS_HOST
#define PLAIN CHARS_PLAIN
#define QUERY CHARS_QUERY
#define PATH  CHARS_PATH
#define VALUE CHARS_VALUE
#define ETAG  CHARS_ETAG

const uint8_t chars_classes[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['!'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['"'] = VALUE,
	['#'] = TOKEN | VALUE | ETAG,
	['$'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['%'] = TOKEN | NAME | QUERY | PATH | VALUE | ETAG,
	['&' ... '\''] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['(' ... ')'] = NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['*' ... '+'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	[','] = NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['-' ... '.'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['/'] = QUERY | PATH | VALUE | ETAG,
	['0' ... '9'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	[':'] = QUERY | PATH | PLAIN | VALUE | ETAG,
	[';'] = NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['<'] = VALUE | ETAG,
	['='] = NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['>'] = VALUE | ETAG,
	['?'] = QUERY | VALUE | ETAG,
	['@'] = QUERY | PATH | PLAIN | VALUE | ETAG,
	['A' ... 'Z'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['['] = QUERY | PATH | PLAIN | VALUE | ETAG,
	['\\'] = QUERY | VALUE | ETAG,
	[']'] = QUERY | PATH | PLAIN | VALUE | ETAG,
	['^'] = TOKEN | QUERY | PATH | PLAIN | VALUE | ETAG,
	['_'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['`'] = TOKEN | QUERY | PATH | PLAIN | VALUE | ETAG,
	['a' ... 'z'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	['{'] = QUERY | PATH | PLAIN | VALUE | ETAG,
	['|'] = TOKEN | QUERY | PATH | PLAIN | VALUE | ETAG,
	['}'] = QUERY | PATH | PLAIN | VALUE | ETAG,
	['~'] = TOKEN | NAME | HOST | QUERY | PATH | PLAIN | VALUE | ETAG,
	[0x80 ... 0xff] = VALUE | ETAG,
};
