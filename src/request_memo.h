/*
 * request_memo.h - what request.c remembers of requests that it has read, so that it need not read the same again. Private
 * to it. Pure but for the memory that it keeps; one thread.
 *
 * A client repeats its field lines: with a browser they are some 500 bytes, of which what it wants next changes only the
 * target. What they say depends on nothing but themselves. So the last blocks of field lines are kept, from the first
 * byte after the request line to the empty line, with what was made of them, and the same bytes get the same answer. All
 * bytes are compared: a hash only tells where to look.
 */
#ifndef LOOM_REQUEST_MEMO_H
#define LOOM_REQUEST_MEMO_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/request.h"

/* The longest block that is kept. */
#define REQUEST_MEMO_BLOCK 1024

/* Places by hash: half of them for blocks that ask for something on a condition, or for a part; those seldom come again. */
#define REQUEST_MEMO_PLACES 64

struct request_memo_block {
	uint32_t hash;
	uint32_t len; /* 0: empty */
	struct request said;
	char bytes[REQUEST_MEMO_BLOCK];
};

struct request_memo {
	struct request_memo_block *recent; /* the one that was found last; NULL: none was */
	struct request_memo_block place[REQUEST_MEMO_PLACES];
};

/*
 * The block that bytes[0..len) begin with, or NULL. When more follows it (a pipeline), only the one that was found last is
 * looked for.
 */
const struct request_memo_block *request_memo_find(struct request_memo *memo, const char *bytes, size_t len);

/* Keeps the field lines of a request whose head, at base, was read to its end and found to be sound and without a body. */
void request_memo_keep(struct request_memo *memo, const char *base, const struct request *request);

/* What the block says, of a request whose field lines begin at. Neither its target nor the length of a path is set. */
void request_memo_apply(const struct request_memo_block *block, uint16_t at, struct request *request);

#endif
