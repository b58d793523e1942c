/*
 * body.c - see body.h. One allocation: the struct on a cache line of its own, then the bytes, or the open file.
 */
#include "loom/body.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "loom/file.h"
#include "loom/memory.h"

#define ALIGNMENT 64 /* a cache line */

static_assert(sizeof(struct body) <= ALIGNMENT, "a body's struct is one cache line");
static_assert(sizeof(XXH128_canonical_t) == BODY_HASH_LEN, "a content hash has 128 bits");

/* A file, and what is remembered of its parts. */
#define FILE_ROOM (sizeof(struct file) + FILE_WARM_PARTS * sizeof(uint32_t))

static atomic_uint files;

uint64_t body_memory(uint64_t len)
{
	return ALIGNMENT + (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

uint64_t body_file_memory(void)
{
	return body_memory(FILE_ROOM);
}

/* With room for so many bytes behind the struct. */
static struct body *make(uint64_t room, uint64_t len)
{
	struct body *body = aligned_alloc(ALIGNMENT, body_memory(room));

	if (!body)
		return NULL;
	*body = (struct body){ .references = 1, .len = len, .memory = body_memory(room) };
	memory_take(body->memory);
	return body;
}

int body_create(struct body **made, uint64_t len)
{
	struct body *body = len > PTRDIFF_MAX / 2 ? NULL : make(len, len);

	if (!body)
		return -ENOMEM;
	body->bytes = (uint8_t *)body + ALIGNMENT;
	*made = body;
	return 0;
}

int body_create_file(struct body **made, int fd, uint64_t size, const struct timespec *mtime,
                     const struct timespec *ctime, const uint8_t hash[BODY_HASH_LEN])
{
	struct body *body;

	assert(fd >= 0 && size > 0);

	body = make(FILE_ROOM, size);
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
	memory_give(body->memory);
	free(body);
}
