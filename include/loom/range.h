/*
 * range.h - byte ranges (RFC 9110 14): which parts of a representation a Range field asks for. Pure.
 */
#ifndef LOOM_RANGE_H
#define LOOM_RANGE_H

#include <stddef.h>
#include <stdint.h>

/* More ranges than this in one field are not worth reading: the whole representation is the answer. */
#define RANGE_SPECS_MAX 64

/* The most parts of one answer. */
#define RANGES_MAX 16

/* Ranges closer to each other than this are sent as one: a part of its own would cost more. Bytes. */
#define RANGE_GAP 80

struct range {
	uint64_t first;
	uint64_t last; /* inclusive, as in Content-Range */
};

enum range_result {
	RANGE_WHOLE,         /* passed over: not bytes, malformed, or too many */
	RANGE_PARTS,         /* *count of 1 to RANGES_MAX */
	RANGE_UNSATISFIABLE, /* 416 */
};

/*
 * Reads the value of Range for a representation of length bytes. Ranges that overlap or nearly touch are joined, the rest
 * stay in the order in which they were asked for (15.3.7.2).
 */
enum range_result range_parse(const char *text, size_t len, uint64_t length, struct range ranges[RANGES_MAX],
                              unsigned *count);

#endif
