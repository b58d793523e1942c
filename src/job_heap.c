/*
 * job_heap.c - see job_heap.h.
 */
#include "job_heap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static bool before(const struct job *a, const struct job *b)
{
	if (a->identity->len != b->identity->len)
		return a->identity->len < b->identity->len;
	return a->number < b->number;
}

int job_heap_push(struct job_heap *heap, struct job *job)
{
	size_t i;

	if (heap->count == heap->room) {
		size_t room = heap->room ? heap->room * 2 : 64;
		struct job **jobs = reallocarray(heap->jobs, room, sizeof(struct job *));

		if (!jobs)
			return -ENOMEM;
		heap->jobs = jobs;
		heap->room = room;
	}
	for (i = heap->count++; i > 0; i = (i - 1) / 2) {
		struct job *parent = heap->jobs[(i - 1) / 2];

		if (before(parent, job))
			break;
		heap->jobs[i] = parent;
	}
	heap->jobs[i] = job;
	return 0;
}

struct job *job_heap_pop(struct job_heap *heap)
{
	struct job *top, *last;
	size_t i = 0, child;

	if (heap->count == 0)
		return NULL;
	top = heap->jobs[0];
	last = heap->jobs[--heap->count];
	while ((child = 2 * i + 1) < heap->count) {
		if (child + 1 < heap->count && before(heap->jobs[child + 1], heap->jobs[child]))
			child++;
		if (before(last, heap->jobs[child]))
			break;
		heap->jobs[i] = heap->jobs[child];
		i = child;
	}
	heap->jobs[i] = last;
	return top;
}
