/*
 * variants_yard.c - see variants_yard.h. Its threads do what is counted by a semaphore: who posts it never waits for a thread of
 * the lowest priority, as the signals of a condition variable may, and a post is not lost, whoever comes first.
 */
#include "variants_yard.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loom/cache.h"
#include "loom/compress.h"
#include "loom/log.h"
#include "loom/memory.h"
#include "loom/sandbox.h"

#define EXPIRY_DAYS    30
#define LOOK_MS        20 /* that threads are waited for at least, to end */
#define SNAPSHOTS_PART 16 /* of the memory that is allowed is not for variants */

void yard_tell_memory(struct yard *yard)
{
	if (!atomic_exchange(&yard->told_memory, true))
		log_warn(
			"out of memory for compressing: some files are served as they are, until loom is started again");
}

static void tell_cache(struct yard *yard, int err)
{
	if (!atomic_exchange(&yard->told_cache, true))
		log_warn("cannot write to the cache directory %s: %s; compressing goes on without the cache",
		         yard->cache_dir, strerror(-err));
}

/* What the cache has, if it is right. 0, -ENODATA: there is none; -ENOMEM; or another -errno: nothing. */
static int from_cache(struct yard *yard, const struct job *job, struct body **coded)
{
	const struct body *identity = job->identity;
	struct body *found;
	int err, matches;

	if (!yard->cache)
		return -ENOENT;
	err = cache_read(yard->cache, identity->hash, identity->len, job->coding, &found);
	if (err)
		return err;
	matches = compress_matches(job->coding, found->bytes, found->len, identity->bytes, identity->len);
	if (matches > 0) {
		*coded = found;
		return 0;
	}
	body_release(found); /* nobody else has it yet */
	if (matches < 0)
		return matches;
	log_debug("a file in the cache (%s, of %llu bytes) is damaged and is made anew", coding_name(job->coding),
	          (unsigned long long)identity->len);
	cache_forget(yard->cache, identity->hash, identity->len, job->coding);
	return -ENOENT;
}

static void to_cache(struct yard *yard, const struct job *job, const struct body *coded)
{
	int err;

	if (!yard->cache)
		return;
	err = cache_write(yard->cache, job->identity->hash, job->identity->len, job->coding, coded);
	if (err)
		tell_cache(yard, err);
}

/* What would be too much together with all else that is held is not kept. It may be in the cache. */
static void keep_within(const struct yard *yard, struct job *job)
{
	uint64_t limit = yard->max_memory - yard->max_memory / SNAPSHOTS_PART;

	if (!job->coded || yard->max_memory == 0 || memory_held() <= limit)
		return;
	job->shed = job->coded->memory;
	body_release(job->coded); /* nobody else has it yet */
	job->coded = NULL;
}

/* Sets job->coded, if there is a variant. */
static void do_job(struct yard *yard, struct job *job)
{
	const struct body *identity = job->identity;
	int err = from_cache(yard, job, &job->coded);

	if (err == 0)
		keep_within(yard, job);
	if (err == 0 || err == -ENODATA)
		return;
	if (err != -ENOMEM)
		err = compress_encode(&job->coded, job->coding, identity->bytes, identity->len, &yard->stop);
	if (err == 0 || err == -ENODATA)
		to_cache(yard, job, job->coded);
	else if (err == -ENOMEM)
		yard_tell_memory(yard);
	keep_within(yard, job);
}

static void lower_priority(void)
{
	const struct sched_param param = { 0 };

	/* Both are a thread's own on Linux. */
	if (sched_setscheduler(0, SCHED_IDLE, &param) == 0)
		return;
	errno = 0;
	if (nice(19) < 0 && errno)
		log_debug("cannot lower the priority of compressing: %s", strerror(errno));
}

/* Nobody is told once yard_close() has returned, not by a thread that it has left behind either. */
static void tell_news(struct yard *yard)
{
	pthread_mutex_lock(&yard->telling);
	if (!yard->stop)
		yard->news(yard->context);
	pthread_mutex_unlock(&yard->telling);
}

/* One thing to do, if there still is one: jobs may have been taken back meanwhile. */
static void work(struct yard *yard)
{
	struct job *job;
	bool expire;

	pthread_mutex_lock(&yard->mutex);
	job = job_heap_pop(&yard->heap);
	expire = !job && yard->expire;
	if (expire)
		yard->expire = false;
	pthread_mutex_unlock(&yard->mutex);

	if (expire)
		cache_expire(yard->cache, EXPIRY_DAYS, &yard->stop);
	if (!job)
		return;
	do_job(yard, job);
	pthread_mutex_lock(&yard->mutex);
	job->next = yard->done;
	yard->done = job;
	pthread_mutex_unlock(&yard->mutex);
	tell_news(yard);
}

static void *yard_run(void *argument)
{
	struct yard *yard = argument;

	pthread_setname_np(pthread_self(), "loom-variants");
	lower_priority();
	sandbox_thread(SANDBOX_VARIANTS);
	for (;;) {
		if (sem_trywait(&yard->errands)) {
			body_rest();
			while (sem_wait(&yard->errands) && errno == EINTR)
				;
		}
		if (yard->stop)
			return NULL;
		work(yard);
	}
}

static int start_threads(struct yard *yard, unsigned threads)
{
	sigset_t all, old;
	int err = 0;

	yard->threads = calloc(threads, sizeof(*yard->threads));
	if (!yard->threads)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!err && yard->running < threads) {
		err = pthread_create(&yard->threads[yard->running], NULL, yard_run, yard);
		if (!err)
			yard->running++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

int yard_open(struct yard *yard, const struct variants_config *config, char *why, size_t size)
{
	int err;

	assert(config->threads > 0 && config->news);
	*yard = (struct yard){
		.max_memory = config->max_memory,
		.patience = config->patience,
		.news = config->news,
		.context = config->context,
	};
	pthread_mutex_init(&yard->mutex, NULL);
	pthread_mutex_init(&yard->telling, NULL);
	sem_init(&yard->errands, 0, 0);
	yard->cache_dir = strdup(config->cache_dir ? config->cache_dir : "");
	if (!yard->cache_dir) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	if (config->cache_dir) {
		err = cache_open(&yard->cache, config->cache_dir, why, size);
		if (err)
			return err;
	}
	err = start_threads(yard, config->threads);
	if (err)
		snprintf(why, size, "cannot start a thread for compressing: %s", strerror(-err));
	return err;
}

void yard_free_job(struct job *job)
{
	body_release(job->identity);
	body_release(job->coded);
	free(job);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void yard_stop(struct yard *yard)
{
	const struct sched_param param = { 0 };
	uint64_t never = 0;

	atomic_compare_exchange_strong(&yard->stopped, &never, now_ms());
	atomic_store(&yard->stop, true);
	for (unsigned i = 0; i < yard->running; i++) {
		pthread_setschedparam(yard->threads[i], SCHED_OTHER, &param);
		sem_post(&yard->errands);
	}
}

/*
 * Whether all threads have ended. On their way to the next look at stop they need a fifth of a second of a processor,
 * two seconds at worst; where others leave them none, and loom may not raise their priority again, that can be minutes.
 */
static bool end_threads(struct yard *yard)
{
	struct timespec until;
	uint64_t now, left;

	yard_stop(yard);
	now = now_ms();
	left = now + LOOK_MS < yard->stopped + yard->patience ? yard->stopped + yard->patience - now : LOOK_MS;
	/* The clock of pthread_timedjoin_np(), which is what ThreadSanitizer knows. */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(left / 1000);
	until.tv_nsec += (long)(left % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (yard->running > 0 && pthread_timedjoin_np(yard->threads[yard->running - 1], NULL, &until) == 0)
		yard->running--;
	if (yard->running == 0)
		return true;

	pthread_mutex_lock(&yard->telling); /* whoever was just telling has done so */
	pthread_mutex_unlock(&yard->telling);
	for (unsigned i = 0; i < yard->running; i++)
		pthread_detach(yard->threads[i]);
	log_debug("%u threads that compress are left behind: no processor is free for them to end", yard->running);
	return false;
}

bool yard_close(struct yard *yard)
{
	if (!end_threads(yard))
		return false; /* they still look at all of it */
	free(yard->threads);
	for (size_t i = 0; i < yard->heap.count; i++)
		yard_free_job(yard->heap.jobs[i]);
	while (yard->done) {
		struct job *job = yard->done;

		yard->done = job->next;
		yard_free_job(job);
	}
	free(yard->heap.jobs);
	sem_destroy(&yard->errands);
	pthread_mutex_destroy(&yard->mutex);
	pthread_mutex_destroy(&yard->telling);
	cache_close(yard->cache);
	free(yard->cache_dir);
	return true;
}

int yard_put(struct yard *yard, struct job *job)
{
	int err;

	pthread_mutex_lock(&yard->mutex);
	err = job_heap_push(&yard->heap, job);
	pthread_mutex_unlock(&yard->mutex);
	if (!err)
		sem_post(&yard->errands);
	return err;
}

struct job *yard_collect(struct yard *yard)
{
	struct job *done;

	pthread_mutex_lock(&yard->mutex);
	done = yard->done;
	yard->done = NULL;
	pthread_mutex_unlock(&yard->mutex);
	return done;
}

void yard_expire(struct yard *yard)
{
	pthread_mutex_lock(&yard->mutex);
	yard->expire = true;
	pthread_mutex_unlock(&yard->mutex);
	sem_post(&yard->errands);
}

/* Up to a job for each coding refers to a body: it is free when none is left without all of them. */
struct job *yard_take_back(struct yard *yard)
{
	struct job_heap *heap = &yard->heap;
	struct job *gone = NULL;
	size_t count;

	pthread_mutex_lock(&yard->mutex);
	count = heap->count;
	for (size_t i = 0; i < count; i++)
		heap->jobs[i]->identity->references--;
	heap->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct job *job = heap->jobs[i];

		if (job->identity->references == 0) {
			job->next = gone;
			gone = job;
		} else {
			job_heap_push(heap, job); /* never fails: it has the room, and is behind us */
		}
	}
	for (size_t i = 0; i < heap->count; i++)
		body_reference(heap->jobs[i]->identity);
	pthread_mutex_unlock(&yard->mutex);

	for (struct job *job = gone; job; job = job->next)
		body_reference(job->identity);
	return gone;
}
