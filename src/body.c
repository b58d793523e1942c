/*
 * body.c - see body.h. One allocation: the struct on a cache line of its own, then the bytes.
 */
#include "loom/body.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "loom/file.h"

#define ALIGNMENT 64 /* a cache line */

static_assert(sizeof(struct body) <= ALIGNMENT, "a body's struct is one cache line");
static_assert(sizeof(XXH128_canonical_t) == BODY_HASH_LEN, "a content hash has 128 bits");

uint64_t body_memory(uint64_t len)
{
	return ALIGNMENT + (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int body_create(struct body **made, uint64_t len)
{
	struct body *body;

	if (len > PTRDIFF_MAX / 2)
		return -ENOMEM;
	body = aligned_alloc(ALIGNMENT, body_memory(len));
	if (!body)
		return -ENOMEM;
	*body = (struct body){
		.references = 1,
		.len = len,
		.memory = body_memory(len),
		.bytes = (uint8_t *)body + ALIGNMENT,
	};
	*made = body;
	return 0;
}

void body_seal(struct body *body)
{
	XXH128_canonical_t canonical;

	/* The canonical byte order is the same everywhere. */
	XXH128_canonicalFromHash(&canonical, XXH3_128bits(body->bytes, body->len));
	memcpy(body->hash, canonical.digest, sizeof(body->hash));
}

void body_release(struct body *body)
{
	if (!body)
		return;
	assert(body->references > 0);
	if (--body->references == 0) {
		if (body->file)
			close(body->file->fd);
		free(body);
	}
}
