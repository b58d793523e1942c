/*
 * job_heap.h - the variants that are to be made, the smallest content on top: a binary heap. No lock of its own; private to
 * variants_yard.c and job_heap.c.
 */
#ifndef LOOM_JOB_HEAP_H
#define LOOM_JOB_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "loom/body.h"
#include "loom/coding.h"

struct variant;

/* One variant to make. Whoever has it owns it. */
struct job {
	struct job *next; /* among those done */
	struct variant *variant;
	struct body *identity;
	enum content_coding coding;
	uint64_t number; /* of equal lengths, the first asked for comes first */
	struct body *coded;
	uint64_t shed; /* without coded: bytes of the one that was made, and that there was no room for */
};

/* Zeroed, it is empty; jobs is malloc()ed. */
struct job_heap {
	struct job **jobs;
	size_t count;
	size_t room;
};

/* 0 or -ENOMEM, and then the job is still the caller's. */
int job_heap_push(struct job_heap *heap, struct job *job);

/* The job with the smallest content, the first asked for among equals; NULL when there is none. */
struct job *job_heap_pop(struct job_heap *heap);

#endif
