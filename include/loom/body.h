/*
 * body.h - the bytes of answers, apart from their heads: a file's content as it is or in a content coding, or a text
 * of our own. One body may serve several answers and snapshots. It is filled once and never changes afterwards. Its
 * bytes are in memory, or left in the file, which it then holds open ("streamed").
 *
 * Memory that is longer than a threshold is made of whole pages, which nobody writes to once it has been filled ("sealed").
 * So it can be sent by reference: what the kernel has of it in its queues stays as it is, also when the body is freed. All
 * else reads it like any other memory.
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
	struct file *sealed;         /* what io_send_file() is told of sealed memory; NULL: it is ordinary memory */
};

/*
 * Bodies in memory that are longer than this are to be sealed; UINT64_MAX: none are, which is so before the first call. Counts
 * for bodies that are created afterwards. Any thread.
 */
void body_seal_above(uint64_t above);

/* What a body of so many bytes takes, at most: one that is to be sealed takes whole pages. */
uint64_t body_memory(uint64_t len);

/* One reference, bytes yet to be filled, by this thread and before it creates another. 0 or -ENOMEM. Any thread. */
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

/* The calling thread has filled those that it has created, and creates no more for a while. Any thread. */
void body_rest(void);

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
