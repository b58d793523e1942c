/*
 * build_read.c - does the jobs of a build: opens, reads, hashes and compares files. On the builder's thread, and
 * beside it on a few others that run at the lowest priority, of the processor and of the disk, while a snapshot is
 * being served; at the start, when nobody waits for anything else, at the normal one.
 *
 * A thread of the lowest priority may not run for a long time on a busy machine, and without privileges nobody can
 * raise it again. So nobody waits for one: the builder's thread does jobs as well, and jobs are handed out by an
 * atomic counter, without a lock that such a thread could hold. When none is left, those that the others still have
 * get as long as they should take, and are then abandoned: the builder's thread does them itself, on a copy, and
 * whatever the other comes to in the end is thrown away. What it looks at until then is kept for it, with the
 * builder's references, and let go of by build_sweep().
 */
#include <assert.h>
#include <errno.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "builder.h"
#include "loom/file.h"
#include "loom/memory.h"
#include "loom/sandbox.h"

#define THREADS_MAX  4
#define FILES_MIN    128        /* so many, */
#define BYTES_MIN    (4u << 20) /* or so many bytes, before threads are worth it */
#define PATIENCE_MS  50         /* before a job is recalled, and what its size takes a slow disk: */
#define BYTES_PER_MS (64 * 1024)

/* A job that a thread still has, and nobody else. */
struct orphan {
	struct orphan *next;
	struct build_job *job; /* whose old asset is referenced */
};

struct crew {
	struct walk *walk;
	struct walk *copy;       /* the same for as long as there are others; NULL: there are none */
	struct build_job **jobs; /* the builder's, where what is done in another's place takes that one's */
	/*
	 * The same as they were at first, never written to again: a thread may be stopped between taking a number and
	 * looking here, and come back when the build is over.
	 */
	struct build_job **taken;
	size_t count;
	uint64_t max_memory;
	uint64_t settle; /* milliseconds that a file must have been left alone for */
	bool background;

	atomic_size_t next;     /* the job that nobody has yet */
	atomic_uint members;    /* the builder's thread, and the others; the last one frees */
	sem_t news;             /* one of these has done a job */
	struct orphan *orphans; /* the builder's thread's */
	struct crew *older;     /* among those that have any */
};

/* Crews with orphans, of which the builder's thread stays a member. */
static struct crew *unfinished;

static void leave(struct crew *crew)
{
	if (atomic_fetch_sub(&crew->members, 1) > 1)
		return;
	walk_copy_free(crew->copy);
	sem_destroy(&crew->news);
	free(crew->taken);
	free(crew);
}

static void free_orphans(struct crew *crew)
{
	while (crew->orphans) {
		struct orphan *orphan = crew->orphans;
		struct build_job *job = orphan->job;

		crew->orphans = orphan->next;
		body_release(job->body);
		memory_give(job->reserved);
		asset_release(job->old);
		free(job);
		free(orphan);
	}
}

bool build_sweep(void)
{
	struct crew **at = &unfinished;

	while (*at) {
		struct crew *crew = *at;

		if (atomic_load(&crew->members) > 1) {
			at = &crew->older;
			continue;
		}
		*at = crew->older;
		free_orphans(crew);
		leave(crew);
	}
	return unfinished != NULL;
}

/* A body for a content. It has been reserved, but for files that have grown, or that were taken to be as before. */
static int make_body(const struct crew *crew, struct build_job *job)
{
	uint64_t needed = body_memory(job->content.size);
	int err;

	if (job->content.size > job->size)
		return -EAGAIN; /* since the walk has seen it */
	if (needed > job->reserved) {
		if (!memory_take_within(needed - job->reserved, crew->max_memory))
			return -ENOSPC;
		job->reserved = needed;
	}
	err = body_create(&job->body, job->content.size);
	if (err)
		return err;
	/* The body counts for itself from now on. */
	memory_give(job->reserved);
	job->reserved = 0;
	return 0;
}

/* A body that holds the file open; fd is its own then. */
static int make_file(struct build_job *job, int fd, const uint8_t hash[BODY_HASH_LEN])
{
	const struct asset_source *source = &job->content.source;
	int err = body_create_file(&job->body, fd, job->content.size, &source->mtime, &source->ctime, hash);

	if (err)
		return err;
	job->body->file->nlink = source->nlink;
	memory_give(job->reserved);
	job->reserved = 0;
	return 0;
}

static bool is_unchanged(const struct asset *old, const struct content *content)
{
	const struct asset_source *a = &old->source, *b = &content->source;

	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec && a->ctime.tv_sec == b->ctime.tv_sec &&
	       a->ctime.tv_nsec == b->ctime.tv_nsec;
}

/* *kept: the descriptor is the body's. */
static int stream_file(struct build_job *job, int fd, struct content_scratch *scratch, bool *kept)
{
	uint8_t hash[BODY_HASH_LEN];
	int err = 0;

	if (job->vouched && is_unchanged(job->old, &job->content))
		memcpy(hash, job->old->body->hash, sizeof(hash));
	else
		err = content_hash(&job->content, hash, scratch, &job->abandoned);
	if (!err)
		err = make_file(job, fd, hash);
	*kept = !err;
	return err;
}

static int read_file(const struct crew *crew, struct build_job *job, int fd, struct content_scratch *scratch,
                     bool *kept)
{
	const struct body *old = job->old ? job->old->body : NULL;
	int err = content_begin(&job->content, fd);

	if (err)
		return err;
	if (content_is_young(&job->content, crew->settle))
		return -EAGAIN;
	if (!job->vouched && old && old->bytes && old->len == job->content.size) {
		err = content_compare(&job->content, old, scratch, &job->abandoned);
		job->same = err > 0;
		if (err)
			return err < 0 ? err : 0;
	}
	if (job->stream && job->content.size > 0)
		err = stream_file(job, fd, scratch, kept);
	else if ((err = make_body(crew, job)) == 0)
		err = content_read(&job->content, job->body, scratch, &job->abandoned);
	if (!err)
		job->same = old && old->len == job->body->len &&
		            memcmp(old->hash, job->body->hash, BODY_HASH_LEN) == 0 && (job->vouched || !old->bytes);
	return err;
}

/* Sets what came of the job; -ECANCELED: it is as it was, and has been recalled. */
static int do_job(const struct crew *crew, struct build_job *job, struct content_scratch *scratch)
{
	bool kept = false;
	int fd = walk_open(crew->walk, job->key + 1), err = fd;

	job->failed = "cannot open";
	if (fd >= 0) {
		job->failed = "cannot read";
		err = read_file(crew, job, fd, scratch, &kept);
		if (!kept)
			close(fd);
	}
	if (err) {
		uint64_t memory = job->body ? job->body->memory : 0;

		/* It may be tried again. */
		memory_take(memory);
		body_release(job->body);
		job->body = NULL;
		job->reserved += memory;
	}
	job->err = err;
	return err;
}

static struct build_job *take_job(struct crew *crew)
{
	size_t at = atomic_fetch_add_explicit(&crew->next, 1, memory_order_relaxed);

	return at < crew->count ? crew->taken[at] : NULL;
}

static void lower_priority(void)
{
	const struct sched_param param = { 0 };

	/* A thread's own on Linux, all of them. Where they are refused it runs as it is. */
	sched_setscheduler(0, SCHED_IDLE, &param);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

/* A thread that helps. */
static void *help(void *argument)
{
	struct crew *crew = argument;
	struct content_scratch *scratch = content_scratch_create();
	struct build_job *job;

	pthread_setname_np(pthread_self(), "loom-read");
	if (crew->background)
		lower_priority();
	sandbox_thread(SANDBOX_READER);
	while (scratch && (job = take_job(crew))) {
		do_job(crew, job, scratch);
		atomic_store(&job->done, true);
		sem_post(&crew->news);
	}
	content_scratch_free(scratch);
	leave(crew);
	return NULL;
}

/* As many threads as there are processors for, where it is worth it. If one cannot be had it goes without. */
static void start_threads(struct crew *crew)
{
	uint64_t bytes = 0;
	pthread_attr_t attributes;
	sigset_t all, old;
	cpu_set_t cpus;
	int threads = 1;

	for (size_t i = 0; i < crew->count; i++)
		bytes += crew->jobs[i]->size;
	if (crew->count < 2 || (crew->count < FILES_MIN && bytes < BYTES_MIN))
		return;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		threads = CPU_COUNT(&cpus) < THREADS_MAX ? CPU_COUNT(&cpus) : THREADS_MAX;
	if (threads == 1 || pthread_attr_init(&attributes) != 0)
		return;
	crew->copy = walk_copy(crew->walk);
	if (!crew->copy)
		threads = 1;
	else
		crew->walk = crew->copy;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (int i = 1; i < threads; i++) {
		pthread_t thread;

		atomic_fetch_add(&crew->members, 1);
		if (pthread_create(&thread, &attributes, help, crew) != 0) {
			atomic_fetch_sub(&crew->members, 1);
			break;
		}
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether a job is done, after as long as that should take. */
static bool await(struct crew *crew, struct build_job *job)
{
	uint64_t patience = now_ms() + PATIENCE_MS + job->size / BYTES_PER_MS;

	while (!atomic_load(&job->done)) {
		uint64_t now = now_ms();
		struct timespec until = { .tv_sec = (time_t)(patience / 1000),
			                  .tv_nsec = (long)(patience % 1000 * 1000000) };

		if (now >= patience)
			return false;
		sem_clockwait(&crew->news, CLOCK_MONOTONIC, &until); /* or it is time, or EINTR */
	}
	return true;
}

/* Another job in the place of one that a thread does not come back from. NULL: no memory. */
static struct build_job *abandon(struct crew *crew, size_t at)
{
	struct build_job *job = crew->jobs[at];
	size_t size = sizeof(*job) + job->key_len + 1;
	struct orphan *orphan = malloc(sizeof(*orphan));
	struct build_job *again = orphan ? calloc(1, size) : NULL;

	if (!again) {
		free(orphan);
		return NULL;
	}
	atomic_store(&job->abandoned, true);
	again->old = job->old;
	again->type = job->type;
	again->size = job->size;
	again->before = job->before;
	again->replaces = job->replaces;
	again->vouched = job->vouched;
	again->stream = job->stream;
	again->key_len = job->key_len;
	memcpy(again->key, job->key, job->key_len);
	/* The other one's may have been given back, or not. */
	again->reserved = job->stream ? body_file_memory() : body_memory(job->size);
	memory_take(again->reserved);
	if (job->old)
		asset_reference(job->old);
	*orphan = (struct orphan){ .next = crew->orphans, .job = job };
	crew->orphans = orphan;
	crew->jobs[at] = again;
	return again;
}

/* The jobs that the others have taken are done, by them or here. */
static void finish(struct crew *crew, struct content_scratch *scratch)
{
	for (size_t i = 0; i < crew->count; i++) {
		struct build_job *job = crew->jobs[i];

		struct build_job *again = NULL;

		/* Without memory for another job there is nothing but to go on waiting. */
		while (!await(crew, job) && !(again = abandon(crew, i)))
			;
		if (again)
			do_job(crew, again, scratch);
	}
}

int build_read(struct builder *builder, struct walk *walk)
{
	struct content_scratch *scratch = NULL;
	struct crew *crew;
	struct build_job *job;

	build_sweep();
	if (builder->job_count == 0)
		return 0;
	crew = calloc(1, sizeof(*crew));
	if (crew)
		crew->taken = malloc(builder->job_count * sizeof(struct build_job *));
	if (crew && crew->taken)
		scratch = content_scratch_create();
	if (!scratch || sem_init(&crew->news, 0, 0) < 0) {
		content_scratch_free(scratch);
		if (crew)
			free(crew->taken);
		free(crew);
		return -ENOMEM;
	}
	crew->jobs = builder->jobs;
	memcpy(crew->taken, builder->jobs, builder->job_count * sizeof(struct build_job *));
	crew->count = builder->job_count;
	crew->max_memory = builder->request->options->max_memory;
	crew->settle = builder->request->settle;
	crew->background = builder->previous != NULL;
	atomic_init(&crew->members, 1);
	crew->walk = walk;
	start_threads(crew);
	while ((job = take_job(crew))) {
		do_job(crew, job, scratch);
		atomic_store(&job->done, true);
	}
	finish(crew, scratch);
	content_scratch_free(scratch);
	if (crew->orphans) {
		crew->older = unfinished;
		unfinished = crew;
	} else {
		leave(crew);
	}
	return 0;
}
