/*
 * variants_yard.h - the threads that make variants. Jobs wait in the yard, the smallest content on top, and lie in it when they
 * are done. A job is all that a thread sees; whoever has it owns it. It carries a reference to the content, which the
 * builder's thread takes and drops, so that threads never count. Private to variants.c; all on the builder's thread, but
 * yard_stop() and yard_tell_memory().
 *
 * Threads run only when nothing else wants the processor. They may hold the mutex while they wait for it, so what is
 * done under it is short, and the event loop never takes it.
 */
#ifndef LOOM_VARIANTS_YARD_H
#define LOOM_VARIANTS_YARD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job_heap.h"
#include "loom/variants.h"

struct yard {
	pthread_mutex_t mutex;   /* of heap, done and expire */
	pthread_mutex_t telling; /* held while news() is called; never together with the other */
	sem_t errands; /* one for each job, for the cache to look through, and for each thread that is to end */
	struct job_heap heap;
	struct job *done;
	bool expire;
	atomic_bool stop;         /* looked at by the encoders, too */
	_Atomic uint64_t stopped; /* milliseconds of CLOCK_MONOTONIC: when the threads were told to end; 0: not yet */
	pthread_t *threads;
	unsigned running;

	/* Never changes while threads run. */
	struct cache *cache; /* NULL: none */
	char *cache_dir;
	uint64_t max_memory;
	uint32_t patience;
	void (*news)(void *context);
	void *context;

	/* What is told once. */
	atomic_bool told_memory;
	atomic_bool told_cache;
};

/* 0, or -errno with a line in why: then yard_close() is still due. */
int yard_open(struct yard *yard, const struct variants_config *config, char *why, size_t size);

/* Tells the threads to end, and waits for none of them. Any thread, any number of times. */
void yard_stop(struct yard *yard);

/* Waits for them, within patience since they were told. False when one is left behind, and the yard with it. */
bool yard_close(struct yard *yard);

/* 0 or -ENOMEM, and then the job is still the caller's. */
int yard_put(struct yard *yard, struct job *job);

/* What has been done since, linked by next: the caller's. */
struct job *yard_collect(struct yard *yard);

/* The jobs that nobody has begun and whose contents nothing but such jobs refers to, linked by next: the caller's again. */
struct job *yard_take_back(struct yard *yard);

/* Has a thread look for what is old in the cache, when there are no jobs. */
void yard_expire(struct yard *yard);

void yard_free_job(struct job *job);

/* Says once that there is no memory for compressing. */
void yard_tell_memory(struct yard *yard);

#endif
