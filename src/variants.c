/*
 * variants.c - see variants.h. Two halves, with one mutex between them.
 *
 * The builder's half is the store: a hash table from contents to their variants, which no other thread looks at. The
 * threads' half is the yard: jobs wait in it, the smallest content on top, and lie in it when they are done. A job is
 * all that a thread sees; whoever has it owns it. It carries a reference to the content, which the builder's thread
 * takes and drops, so that threads never count.
 *
 * Threads run only when nothing else wants the processor. They may hold the mutex while they wait for it, so what is
 * done under it is short, and the event loop never takes it.
 */
#include "loom/variants.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "job_heap.h"
#include "loom/cache.h"
#include "loom/compress.h"
#include "loom/log.h"
#include "loom/sandbox.h"
#include "loom/memory.h"

#define EXPIRY_DAYS    30
#define LOOK_MS        20 /* between two looks whether threads have ended */
#define SNAPSHOTS_PART 16 /* of the memory that is allowed is not for variants */

struct variant {
	enum { UNASKED, PENDING, READY, NONE, SHED } state;
	bool offered;       /* READY: variants_get() has shown it, so that a builder could take it */
	struct body *coded; /* READY: the store's reference */
	uint64_t memory;    /* SHED: of the body that it was */
};

/* A content that was asked for, by hash and length. It stays as long as the store. */
struct entry {
	struct entry *next; /* in the same bucket */
	uint8_t hash[BODY_HASH_LEN];
	uint64_t len;
	struct variant variants[CODINGS];
};

struct yard {
	pthread_mutex_t mutex;
	pthread_mutex_t telling; /* held while news() is called; never together with the other */
	pthread_cond_t wakeup;   /* for one thread: there is a job, or the cache to look through; or all are to end */
	struct job_heap heap;
	struct job *done;
	bool expire;
	atomic_bool stop; /* looked at without the mutex by the encoders */
};

struct variants {
	/* The builder's thread's. */
	struct entry **buckets;
	size_t entries;
	size_t mask; /* of the number of buckets, a power of two */
	unsigned pending;
	uint64_t number;
	uint64_t made, dropped;
	bool expired;
	pthread_t *threads;
	unsigned running;
	_Atomic uint64_t stopped; /* milliseconds of CLOCK_MONOTONIC: when the threads were told to end; 0: not yet */

	struct yard yard;

	/* Never changes while threads run. */
	struct cache *cache; /* NULL: none */
	char *cache_dir;
	uint64_t max_memory;
	uint32_t patience;
	void (*news)(void *context);
	void *context;

	/* What is told once. Any thread. */
	atomic_bool told_memory;
	atomic_bool told_cache;
};

static void tell_memory(struct variants *variants)
{
	if (!atomic_exchange(&variants->told_memory, true))
		log_warn(
			"out of memory for compressing: some files are served as they are, until loom is started again");
}

static void tell_cache(struct variants *variants, int err)
{
	if (!atomic_exchange(&variants->told_cache, true))
		log_warn("cannot write to the cache directory %s: %s; compressing goes on without the cache",
		         variants->cache_dir, strerror(-err));
}

/* What the cache has, if it is right. 0, -ENODATA: there is none; -ENOMEM; or another -errno: nothing. */
static int from_cache(struct variants *variants, const struct job *job, struct body **coded)
{
	const struct body *identity = job->identity;
	struct body *found;
	int err, matches;

	if (!variants->cache)
		return -ENOENT;
	err = cache_read(variants->cache, identity->hash, identity->len, job->coding, &found);
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
	cache_forget(variants->cache, identity->hash, identity->len, job->coding);
	return -ENOENT;
}

static void to_cache(struct variants *variants, const struct job *job, const struct body *coded)
{
	int err;

	if (!variants->cache)
		return;
	err = cache_write(variants->cache, job->identity->hash, job->identity->len, job->coding, coded);
	if (err)
		tell_cache(variants, err);
}

/* What would be too much together with all else that is held is not kept. It may be in the cache. */
static void keep_within(const struct variants *variants, struct job *job)
{
	uint64_t limit = variants->max_memory - variants->max_memory / SNAPSHOTS_PART;

	if (!job->coded || variants->max_memory == 0 || memory_held() <= limit)
		return;
	job->shed = job->coded->memory;
	body_release(job->coded); /* nobody else has it yet */
	job->coded = NULL;
}

/* Sets job->coded, if there is a variant. */
static void do_job(struct variants *variants, struct job *job)
{
	const struct body *identity = job->identity;
	int err = from_cache(variants, job, &job->coded);

	if (err == 0)
		keep_within(variants, job);
	if (err == 0 || err == -ENODATA)
		return;
	if (err != -ENOMEM)
		err = compress_encode(&job->coded, job->coding, identity->bytes, identity->len, &variants->yard.stop);
	if (err == 0 || err == -ENODATA)
		to_cache(variants, job, job->coded);
	else if (err == -ENOMEM)
		tell_memory(variants);
	keep_within(variants, job);
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

/* Nobody is told once variants_destroy() has returned, not by a thread that it has left behind either. */
static void tell_news(struct variants *variants)
{
	struct yard *yard = &variants->yard;

	pthread_mutex_lock(&yard->telling);
	if (!yard->stop)
		variants->news(variants->context);
	pthread_mutex_unlock(&yard->telling);
}

/* One thing to do, with the mutex held before and after, and not meanwhile. Whether there was one. */
static bool work(struct variants *variants)
{
	struct yard *yard = &variants->yard;
	struct job *job = job_heap_pop(&yard->heap);

	if (job) {
		pthread_mutex_unlock(&yard->mutex);
		do_job(variants, job);
		pthread_mutex_lock(&yard->mutex);
		job->next = yard->done;
		yard->done = job;
		pthread_mutex_unlock(&yard->mutex);
		tell_news(variants);
		pthread_mutex_lock(&yard->mutex);
		return true;
	}
	if (yard->expire) {
		yard->expire = false;
		pthread_mutex_unlock(&yard->mutex);
		cache_expire(variants->cache, EXPIRY_DAYS, &yard->stop);
		pthread_mutex_lock(&yard->mutex);
		return true;
	}
	return false;
}

static void *variants_run(void *argument)
{
	struct variants *variants = argument;
	struct yard *yard = &variants->yard;

	pthread_setname_np(pthread_self(), "loom-variants");
	lower_priority();
	sandbox_thread(SANDBOX_VARIANTS);
	pthread_mutex_lock(&yard->mutex);
	while (!yard->stop)
		if (!work(variants))
			pthread_cond_wait(&yard->wakeup, &yard->mutex);
	pthread_mutex_unlock(&yard->mutex);
	return NULL;
}

static int start_threads(struct variants *variants, unsigned threads)
{
	sigset_t all, old;
	int err = 0;

	variants->threads = calloc(threads, sizeof(*variants->threads));
	if (!variants->threads)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (!err && variants->running < threads) {
		err = pthread_create(&variants->threads[variants->running], NULL, variants_run, variants);
		if (!err)
			variants->running++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

int variants_create(struct variants **out, const struct variants_config *config, char *why, size_t size)
{
	struct variants *variants = calloc(1, sizeof(*variants));
	int err;

	assert(config->threads > 0 && config->news);
	if (!variants) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	pthread_mutex_init(&variants->yard.mutex, NULL);
	pthread_mutex_init(&variants->yard.telling, NULL);
	pthread_cond_init(&variants->yard.wakeup, NULL);
	variants->news = config->news;
	variants->context = config->context;
	variants->max_memory = config->max_memory;
	variants->patience = config->patience;
	variants->mask = 255;
	variants->buckets = calloc(variants->mask + 1, sizeof(struct entry *));
	variants->cache_dir = strdup(config->cache_dir ? config->cache_dir : "");
	if (!variants->buckets || !variants->cache_dir) {
		err = -ENOMEM;
		snprintf(why, size, "%s", strerror(ENOMEM));
		goto fail;
	}
	if (config->cache_dir) {
		err = cache_open(&variants->cache, config->cache_dir, why, size);
		if (err)
			goto fail;
	}
	err = start_threads(variants, config->threads);
	if (err) {
		snprintf(why, size, "cannot start a thread for compressing: %s", strerror(-err));
		goto fail;
	}
	*out = variants;
	return 0;

fail:
	variants_destroy(variants);
	return err;
}

static void free_job(struct job *job)
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

/*
 * All threads are to end. The mutex may be held by one that gets no processor, and is not waited for: who was between its
 * look at stop and its sleep is woken by the next call.
 */
static void tell_to_stop(struct variants *variants)
{
	const struct sched_param param = { 0 };
	struct yard *yard = &variants->yard;
	uint64_t never = 0;
	bool locked;

	atomic_compare_exchange_strong(&variants->stopped, &never, now_ms());
	atomic_store(&yard->stop, true);
	for (unsigned i = 0; i < variants->running; i++)
		pthread_setschedparam(variants->threads[i], SCHED_OTHER, &param);
	locked = pthread_mutex_trylock(&yard->mutex) == 0;
	pthread_cond_broadcast(&yard->wakeup);
	if (locked)
		pthread_mutex_unlock(&yard->mutex);
}

void variants_stop(struct variants *variants)
{
	tell_to_stop(variants);
}

/*
 * Whether all threads have ended. On their way to the next look at stop they need a fifth of a second of a processor,
 * two seconds at worst; where others leave them none, and loom may not raise their priority again, that can be minutes.
 */
static bool stop_threads(struct variants *variants)
{
	uint64_t now;

	do {
		struct timespec look;

		tell_to_stop(variants);
		now = now_ms();
		/* The clock of pthread_timedjoin_np(), which is what ThreadSanitizer knows. */
		clock_gettime(CLOCK_REALTIME, &look);
		look.tv_nsec += LOOK_MS * 1000000;
		look.tv_sec += look.tv_nsec / 1000000000;
		look.tv_nsec %= 1000000000;
		while (variants->running > 0 &&
		       pthread_timedjoin_np(variants->threads[variants->running - 1], NULL, &look) == 0)
			variants->running--;
	} while (variants->running > 0 && now < variants->stopped + variants->patience);
	if (variants->running == 0)
		return true;

	pthread_mutex_lock(&variants->yard.telling); /* whoever was just telling has done so */
	pthread_mutex_unlock(&variants->yard.telling);
	for (unsigned i = 0; i < variants->running; i++)
		pthread_detach(variants->threads[i]);
	log_debug("%u threads that compress are left behind: no processor is free for them to end", variants->running);
	return false;
}

static void free_entries(struct variants *variants)
{
	for (size_t i = 0; variants->buckets && i <= variants->mask; i++) {
		struct entry *entry = variants->buckets[i], *next;

		for (; entry; entry = next) {
			next = entry->next;
			for (unsigned coding = 0; coding < CODINGS; coding++)
				body_release(entry->variants[coding].coded);
			free(entry);
		}
	}
	free(variants->buckets);
}

void variants_destroy(struct variants *variants)
{
	struct yard *yard;

	if (!variants)
		return;
	if (!stop_threads(variants))
		return; /* they still look at all of it */
	free(variants->threads);
	yard = &variants->yard;
	for (size_t i = 0; i < yard->heap.count; i++)
		free_job(yard->heap.jobs[i]);
	while (yard->done) {
		struct job *job = yard->done;

		yard->done = job->next;
		free_job(job);
	}
	free(yard->heap.jobs);
	pthread_cond_destroy(&yard->wakeup);
	pthread_mutex_destroy(&yard->mutex);
	pthread_mutex_destroy(&yard->telling);
	free_entries(variants);
	cache_close(variants->cache);
	free(variants->cache_dir);
	free(variants);
}

static struct entry **bucket_of(const struct variants *variants, const uint8_t hash[BODY_HASH_LEN])
{
	uint64_t bits;

	memcpy(&bits, hash, sizeof(bits)); /* a hash is as good as random */
	return &variants->buckets[bits & variants->mask];
}

/* Twice as many buckets, if there is memory: it works with long chains as well. */
static void grow(struct variants *variants)
{
	struct entry **old = variants->buckets, **new;
	size_t buckets = variants->mask + 1;

	new = calloc(2 * buckets, sizeof(struct entry *));
	if (!new)
		return;
	variants->buckets = new;
	variants->mask = 2 * buckets - 1;
	for (size_t i = 0; i < buckets; i++) {
		struct entry *entry = old[i], *next;

		for (; entry; entry = next) {
			struct entry **bucket = bucket_of(variants, entry->hash);

			next = entry->next;
			entry->next = *bucket;
			*bucket = entry;
		}
	}
	free(old);
}

/* The content's entry, made if it is not there; NULL without memory. */
static struct entry *find_entry(struct variants *variants, const struct body *identity)
{
	struct entry **bucket = bucket_of(variants, identity->hash), *entry;

	for (entry = *bucket; entry; entry = entry->next)
		if (entry->len == identity->len && memcmp(entry->hash, identity->hash, BODY_HASH_LEN) == 0)
			return entry;

	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	memcpy(entry->hash, identity->hash, BODY_HASH_LEN);
	entry->len = identity->len;
	if (variants->entries++ > variants->mask) {
		grow(variants);
		bucket = bucket_of(variants, identity->hash);
	}
	entry->next = *bucket;
	*bucket = entry;
	return entry;
}

static int ask(struct variants *variants, struct variant *variant, struct body *identity, enum content_coding coding)
{
	struct yard *yard = &variants->yard;
	struct job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return -ENOMEM;
	job->variant = variant;
	job->coding = coding;
	job->number = variants->number++;
	job->identity = body_reference(identity);
	pthread_mutex_lock(&yard->mutex);
	err = job_heap_push(&yard->heap, job);
	if (!err)
		pthread_cond_signal(&yard->wakeup);
	pthread_mutex_unlock(&yard->mutex);
	if (err) {
		free_job(job);
		return err;
	}
	variants->pending++;
	return 0;
}

enum variant_state variants_get(struct variants *variants, struct body *identity, enum content_coding coding,
                                struct body **coded, uint64_t *memory)
{
	struct entry *entry = find_entry(variants, identity);
	struct variant *variant;

	*coded = NULL;
	*memory = 0;
	assert(identity->len > 0 && identity->len <= COMPRESS_MAX);
	assert(coding > CODING_IDENTITY && coding < CODINGS);

	if (!entry) {
		tell_memory(variants);
		return VARIANT_NONE;
	}
	variant = &entry->variants[coding];
	switch (variant->state) {
	case READY:
		variant->offered = true;
		*coded = variant->coded;
		return VARIANT_READY;
	case NONE:
		return VARIANT_NONE;
	case PENDING:
		return VARIANT_PENDING;
	case SHED:
		*memory = variant->memory;
		return VARIANT_SHED;
	case UNASKED:
		break;
	}
	if (ask(variants, variant, identity, coding) < 0) {
		tell_memory(variants);
		variant->state = NONE;
		return VARIANT_NONE;
	}
	variant->state = PENDING;
	return VARIANT_PENDING;
}

void variants_again(struct variants *variants, struct body *identity, enum content_coding coding)
{
	struct entry *entry = find_entry(variants, identity);

	if (!entry || entry->variants[coding].state != SHED ||
	    ask(variants, &entry->variants[coding], identity, coding) < 0)
		return;
	entry->variants[coding] = (struct variant){ .state = PENDING };
}

/* The first time that nothing is left to do. */
static void expire_once(struct variants *variants)
{
	struct yard *yard = &variants->yard;

	if (!variants->cache || variants->expired || variants->pending > 0 || variants->number == 0)
		return;
	variants->expired = true;
	pthread_mutex_lock(&yard->mutex);
	yard->expire = true;
	pthread_cond_signal(&yard->wakeup);
	pthread_mutex_unlock(&yard->mutex);
}

unsigned variants_collect(struct variants *variants)
{
	struct yard *yard = &variants->yard;
	struct job *done;
	unsigned ready = 0;

	pthread_mutex_lock(&yard->mutex);
	done = yard->done;
	yard->done = NULL;
	pthread_mutex_unlock(&yard->mutex);

	while (done) {
		struct job *job = done;

		done = job->next;
		assert(job->variant->state == PENDING);
		job->variant->state = job->coded ? READY : job->shed ? SHED : NONE;
		job->variant->coded = job->coded;
		job->variant->memory = job->shed;
		ready += job->coded != NULL;
		variants->dropped += job->shed > 0;
		job->coded = NULL; /* the store has the reference now */
		free_job(job);
		variants->pending--;
	}
	variants->made += ready;
	expire_once(variants);
	return ready;
}

unsigned variants_pending(const struct variants *variants)
{
	return variants->pending;
}

void variants_count(const struct variants *variants, struct variants_counts *counts)
{
	*counts = (struct variants_counts){
		.pending = variants->pending,
		.made = variants->made,
		.dropped = variants->dropped,
	};
}

static bool is_spare(const struct variant *variant, bool unseen)
{
	return variant->state == READY && (variant->offered || unseen) && variant->coded->references == 1;
}

/*
 * Forgets the jobs that nobody has begun and whose contents nothing but such jobs refers to. Bytes. Up to a job for each
 * coding refers to a body: it is free when none is left without all of them.
 */
static uint64_t forget_gone(struct variants *variants)
{
	struct yard *yard = &variants->yard;
	struct job_heap *heap = &yard->heap;
	uint64_t forgotten = 0;
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
	while (gone) {
		struct job *job = gone;

		gone = job->next;
		if (job->identity->references == 1)
			forgotten += job->identity->memory;
		job->variant->state = UNASKED;
		free_job(job);
		variants->pending--;
	}
	return forgotten;
}

uint64_t variants_shed(struct variants *variants, bool unseen)
{
	uint64_t shed = forget_gone(variants);

	for (size_t i = 0; i <= variants->mask; i++) {
		for (struct entry *entry = variants->buckets[i]; entry; entry = entry->next) {
			for (unsigned coding = 0; coding < CODINGS; coding++) {
				struct variant *variant = &entry->variants[coding];
				uint64_t memory;

				if (!is_spare(variant, unseen))
					continue;
				memory = variant->coded->memory;
				shed += memory;
				variants->dropped++;
				body_release(variant->coded);
				*variant = (struct variant){ .state = SHED, .memory = memory };
			}
		}
	}
	return shed;
}
