/*
 * body.h - the bytes of answers, apart from their heads: a file's content as it is or in a content coding, or a text
 * of our own. One body may serve several answers and snapshots. It is filled once and never changes afterwards. Its
 * bytes are in memory, or left in the file, which it then holds open ("streamed").
 *
 * References are counted by the builder's thread alone. Other threads read bytes, len and hash of a body that somebody
 * holds a reference for.
 */
#ifndef LOOM_BODY_H
#define LOOM_BODY_H

#include <stdint.h>
#include <time.h>

#define BODY_HASH_LEN 16

struct body {
	uint32_t references;
	uint32_t stamp; /* the builder's, by which it counts each body once */
	uint64_t len;
	uint64_t memory;             /* of the whole allocation, which memory.h counts */
	uint8_t hash[BODY_HASH_LEN]; /* of the bytes (XXH3, 128 bits); the same on every machine */
	uint8_t *bytes;              /* from a cache line's start; NULL: streamed */
	struct file *file;           /* streamed: closed with the body; otherwise NULL */
};

/* What a body of so many bytes takes. */
uint64_t body_memory(uint64_t len);

/* One reference, bytes yet to be filled. 0 or -ENOMEM. Any thread. */
int body_create(struct body **body, uint64_t len);

/*
 * One reference to a body whose bytes stay in the file, with the hash that they have. fd is open for reading and, on
 * success, the body's to close; mtime and ctime are those that the content was hashed at (file.h). size > 0. 0 or
 * -ENOMEM. Any thread.
 */
int body_create_file(struct body **body, int fd, uint64_t size, const struct timespec *mtime,
                     const struct timespec *ctime, const uint8_t hash[BODY_HASH_LEN]);

/* What such a body takes. */
uint64_t body_file_memory(void);

/* Bodies of this process that hold a file open. Any thread. */
unsigned body_files(void);

/* The bytes are there: hashes them. Any thread that nobody shares the body with yet. */
void body_seal(struct body *body);

static inline struct body *body_reference(struct body *body)
{
	body->references++;
	return body;
}

/* Drops a reference; the last one frees. NULL is allowed. */
void body_release(struct body *body);

#endif
