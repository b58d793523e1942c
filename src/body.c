/*
 * body.c - see body.h. One allocation: the struct on a cache line of its own, then the bytes, or the open file, or what tells of
 * sealed memory, whose bytes are pages of their own (body_pages.h).
 */
#include "loom/body.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "body_pages.h"
#include "loom/file.h"
#include "loom/memory.h"

#define ALIGNMENT 64 /* a cache line */

static_assert(sizeof(struct body) <= ALIGNMENT, "a body's struct is one cache line");
static_assert(sizeof(XXH128_canonical_t) == BODY_HASH_LEN, "a content hash has 128 bits");

/* A file, and what is remembered of its parts. */
#define FILE_ROOM (sizeof(struct file) + FILE_WARM_PARTS * sizeof(uint32_t))

static atomic_uint files;

static _Atomic uint64_t seal_above = UINT64_MAX;

/* What there is of a body in sealed memory beside its struct. */
struct seal {
	struct file file;
	struct body_pages pages;
};

static uint64_t block_memory(uint64_t len)
{
	return ALIGNMENT + (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool is_to_be_sealed(uint64_t len)
{
	return len > 0 && len > atomic_load_explicit(&seal_above, memory_order_relaxed);
}

static uint64_t sealed_memory(uint64_t len)
{
	return block_memory(sizeof(struct seal)) + body_pages_len(len);
}

void body_seal_above(uint64_t above)
{
	atomic_store_explicit(&seal_above, above, memory_order_relaxed);
}

uint64_t body_memory(uint64_t len)
{
	return is_to_be_sealed(len) ? sealed_memory(len) : block_memory(len);
}

uint64_t body_file_memory(void)
{
	return block_memory(FILE_ROOM);
}

/* With room for so many bytes behind the struct, out of all that it takes. */
static struct body *make(uint64_t room, uint64_t len, uint64_t memory)
{
	struct body *body = aligned_alloc(ALIGNMENT, block_memory(room));

	if (!body)
		return NULL;
	*body = (struct body){ .references = 1, .len = len, .memory = memory };
	memory_take(body->memory);
	return body;
}

/* NULL: there are no such pages, and ordinary memory will do. */
static struct body *make_sealable(uint64_t len)
{
	struct body_pages pages;
	struct body *body;
	struct seal *seal;

	if (body_pages_take(&pages, len))
		return NULL;
	body = make(sizeof(*seal), len, sealed_memory(len));
	if (!body) {
		body_pages_give(&pages);
		return NULL;
	}
	seal = (struct seal *)((uint8_t *)body + ALIGNMENT);
	*seal = (struct seal){ .file = { .fd = -1, .size = len, .bytes = pages.bytes }, .pages = pages };
	body->bytes = pages.bytes;
	body->sealed = &seal->file;
	return body;
}

int body_create(struct body **made, uint64_t len)
{
	struct body *body = NULL;

	if (len > PTRDIFF_MAX / 2)
		return -ENOMEM;
	if (is_to_be_sealed(len))
		body = make_sealable(len);
	if (!body) {
		body = make(len, len, block_memory(len));
		if (!body)
			return -ENOMEM;
		body->bytes = (uint8_t *)body + ALIGNMENT;
	}
	*made = body;
	return 0;
}

void body_rest(void)
{
	body_pages_rest();
}

int body_create_file(struct body **made, int fd, uint64_t size, const struct timespec *mtime,
                     const struct timespec *ctime, const uint8_t hash[BODY_HASH_LEN])
{
	struct body *body;

	assert(fd >= 0 && size > 0);

	body = make(FILE_ROOM, size, body_file_memory());
	if (!body)
		return -ENOMEM;
	body->file = (struct file *)((uint8_t *)body + ALIGNMENT);
	*body->file = (struct file){ .fd = fd, .size = size, .mtime = *mtime, .ctime = *ctime };
	body->file->warm = memset(body->file + 1, 0, FILE_WARM_PARTS * sizeof(uint32_t));
	memcpy(body->hash, hash, sizeof(body->hash));
	atomic_fetch_add_explicit(&files, 1, memory_order_relaxed);
	*made = body;
	return 0;
}

unsigned body_files(void)
{
	return atomic_load_explicit(&files, memory_order_relaxed);
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
	if (--body->references > 0)
		return;
	if (body->file) {
		close(body->file->fd);
		atomic_fetch_sub_explicit(&files, 1, memory_order_relaxed);
	}
	if (body->sealed)
		body_pages_give(&((struct seal *)body->sealed)->pages);
	memory_give(body->memory);
	free(body);
}
