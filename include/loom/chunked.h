/*
 * chunked.h - reads past a body in the chunked transfer coding (RFC 9112 7.1), to the letter: no bare CR or LF, no sign or
 * space in a size, nothing unprintable in an extension, trailers that are field lines. What a front end and a server read
 * differently is how requests are smuggled. Pure; a byte at a time or all at once, with the same result.
 */
#ifndef LOOM_CHUNKED_H
#define LOOM_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

struct chunked {
	uint8_t state;
	uint64_t left; /* the size so far, or what is still to come of a chunk's data */
};

enum chunked_progress {
	CHUNKED_MORE,      /* all bytes were used, and there must be more */
	CHUNKED_END,       /* the body is over, trailer section included */
	CHUNKED_BAD,       /* this is no chunked body */
	CHUNKED_TOO_LARGE, /* a chunk is larger than the limit */
};

void chunked_begin(struct chunked *chunked);

/*
 * Reads on at bytes[0..len). size_max: the most that one chunk may hold; below 2^60. *used: bytes that belong to the body,
 * set for CHUNKED_MORE and CHUNKED_END.
 */
enum chunked_progress chunked_read(struct chunked *chunked, const char *bytes, size_t len, uint64_t size_max,
                                   size_t *used);

#endif
