/*
 * file_read.c - reads parts of files that are not in the page cache, on threads of its own that may wait for a disk.
 *
 * The event loops never take a lock: what they submit and what they give back goes onto stacks with one atomic
 * exchange, and semaphores count it. The threads take a whole stack at a time, under a lock that only they know, and
 * turn it round. A semaphore is posted after the push, so who has passed it finds something.
 *
 * Bytes are handed over as they were read, in one of a few buffers, and not left to be found in the page cache: under
 * memory pressure they might be gone by then. A loop gives the buffer back in the turn in which it gets it, whatever
 * the socket has taken, so that no slow client holds one.
 */
#include "file_read.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define READER_THREADS 4
#define READER_BUFFERS 8

/* Bytes of a part: what a thread reads at once, and a turn of the loop then sends. */
#define READER_PART (128 * 1024)

/* How far beyond a part the disk is asked to go on, so that it is busy while the part is being sent. */
#define READ_AHEAD (256 * 1024)

/*
 * What one system call asks of the disk, and what one copies. A call is not interrupted for a thread that has been woken, so
 * each is what an event loop on this processor may have to wait for: up to 0.4 ms when all is asked for at once. What the
 * disk sees should not be small, as there are some that count.
 */
#define ASK_STEP  (128 * 1024)
#define COPY_STEP (32 * 1024)

struct file_buffer {
	struct file_buffer *next;
};

static struct {
	_Atomic(struct io_file_send *) asked; /* pushed by loops, last one first */
	_Atomic(struct file_buffer *) freed;  /* likewise */
	sem_t jobs;                           /* how many were asked and not taken */
	sem_t buffers;                        /* how many are free */

	pthread_mutex_t lock; /* of the threads, for what follows */
	struct file_queue queue;
	struct file_buffer *free;

	struct file_buffer buffer[READER_BUFFERS];
	uint8_t *memory; /* of the buffers, READER_PART each */
	pthread_t thread[READER_THREADS];
	unsigned threads;
	_Atomic(bool) ending;
	void (*on_thread)(void);
} readers = { .lock = PTHREAD_MUTEX_INITIALIZER };

static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;

static uint8_t *buffer_bytes(const struct file_buffer *buffer)
{
	return readers.memory + (size_t)(buffer - readers.buffer) * READER_PART;
}

static void reader_wait(sem_t *semaphore)
{
	while (sem_wait(semaphore) && errno == EINTR)
		;
}

/* The first job, with a buffer for it; or NULL when it is time to end. */
static struct io_file_send *reader_take(struct file_buffer **buffer)
{
	struct io_file_send *asked, *turned = NULL, *send;

	reader_wait(&readers.jobs);
	if (atomic_load(&readers.ending))
		return NULL;
	reader_wait(&readers.buffers);
	pthread_mutex_lock(&readers.lock);
	asked = atomic_exchange_explicit(&readers.asked, NULL, memory_order_acquire);
	while (asked) {
		send = asked;
		asked = asked->next;
		send->next = turned;
		turned = send;
	}
	while (turned) {
		send = turned;
		turned = turned->next;
		file_queue_push(&readers.queue, send);
	}
	if (!readers.free)
		readers.free = atomic_exchange_explicit(&readers.freed, NULL, memory_order_acquire);
	*buffer = readers.free;
	readers.free = (*buffer)->next;
	send = file_queue_shift(&readers.queue);
	pthread_mutex_unlock(&readers.lock);
	return send;
}

static int reader_read(const struct io_file_send *send, void *bytes)
{
	size_t len = file_cold(send, READER_PART), done = 0;
	ssize_t res = 0;

	for (size_t at = 0; at < len + READ_AHEAD; at += ASK_STEP) {
		if (__atomic_load_n(&send->cancelled, __ATOMIC_RELAXED))
			return -ECANCELED;
		posix_fadvise(send->file->fd, (off_t)(send->offset + at), ASK_STEP, POSIX_FADV_WILLNEED);
	}
	while (done < len) {
		size_t step = len - done < COPY_STEP ? len - done : COPY_STEP;

		if (__atomic_load_n(&send->cancelled, __ATOMIC_RELAXED))
			return -ECANCELED;
		res = pread(send->file->fd, (uint8_t *)bytes + done, step, (off_t)(send->offset + done));
		if (res < 0 && errno == EINTR)
			continue;
		if (res <= 0)
			break; /* an error that comes after bytes is met again */
		done += (size_t)res;
	}
	return done > 0 || res == 0 ? (int)done : -errno;
}

static void *reader_run(void *number)
{
	struct file_buffer *buffer;
	struct io_file_send *send;
	char name[16];

	snprintf(name, sizeof(name), "loom-disk-%u", (unsigned)(uintptr_t)number);
	pthread_setname_np(pthread_self(), name);
	/* They work in bulk: nobody is interrupted when one of them wakes up. */
	pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){ 0 });
	if (readers.on_thread)
		readers.on_thread();
	while ((send = reader_take(&buffer))) {
		struct file_reader *reader = send->reader;
		struct io_file_send *before = atomic_load_explicit(&reader->done, memory_order_relaxed);

		send->bytes = buffer_bytes(buffer);
		send->result = reader_read(send, send->bytes);
		do
			send->next = before;
		while (!atomic_compare_exchange_weak_explicit(&reader->done, &before, send, memory_order_release,
		                                              memory_order_relaxed));
		/* The send may be gone from here on; its reader stays until it is let go. */
		if (!before) {
			ssize_t ignored = write(reader->fd, &(uint64_t){ 1 }, sizeof(uint64_t));

			(void)ignored;
		}
		atomic_fetch_sub_explicit(&reader->busy, 1, memory_order_release);
	}
	return NULL;
}

static void readers_end(void)
{
	atomic_store(&readers.ending, true);
	for (unsigned i = 0; i < readers.threads; i++)
		sem_post(&readers.jobs);
	for (unsigned i = 0; i < readers.threads; i++)
		pthread_join(readers.thread[i], NULL);
	assert(!atomic_load(&readers.asked) && !readers.queue.first);
	readers.threads = 0;
	munmap(readers.memory, (size_t)READER_BUFFERS * READER_PART);
	sem_destroy(&readers.jobs);
	sem_destroy(&readers.buffers);
}

static int readers_begin(void (*on_thread)(void))
{
	sigset_t all, before;
	int err = 0;

	readers.memory = mmap(NULL, (size_t)READER_BUFFERS * READER_PART, PROT_READ | PROT_WRITE,
	                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (readers.memory == MAP_FAILED)
		return -errno;
	readers.on_thread = on_thread;
	sem_init(&readers.jobs, 0, 0);
	sem_init(&readers.buffers, 0, READER_BUFFERS);
	atomic_store(&readers.ending, false);
	atomic_store(&readers.freed, NULL);
	readers.free = NULL;
	for (unsigned i = 0; i < READER_BUFFERS; i++) {
		readers.buffer[i].next = readers.free;
		readers.free = &readers.buffer[i];
	}

	/* Signals are the other threads' business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < READER_THREADS && !err; i++) {
		err = pthread_create(&readers.thread[i], NULL, reader_run, (void *)(uintptr_t)i);
		readers.threads += !err;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		readers_end();
	return -err;
}

int file_readers_start(void (*on_thread)(void))
{
	int err = 0;

	pthread_mutex_lock(&users_lock);
	if (!users)
		err = readers_begin(on_thread);
	users += !err;
	pthread_mutex_unlock(&users_lock);
	return err;
}

void file_readers_stop(struct file_reader *reader)
{
	assert(!atomic_load(&reader->done));
	/* A thread may be about to write to the eventfd. */
	while (atomic_load_explicit(&reader->busy, memory_order_acquire))
		sched_yield();
	pthread_mutex_lock(&users_lock);
	assert(users);
	if (--users == 0)
		readers_end();
	pthread_mutex_unlock(&users_lock);
}

void file_read(struct file_reader *reader, struct io_file_send *send)
{
	send->reader = reader;
	send->cancelled = 0;
	atomic_fetch_add_explicit(&reader->busy, 1, memory_order_relaxed);
	send->next = atomic_load_explicit(&readers.asked, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&readers.asked, &send->next, send, memory_order_release,
	                                              memory_order_relaxed))
		;
	sem_post(&readers.jobs);
}

void file_read_cancel(struct io_file_send *send)
{
	__atomic_store_n(&send->cancelled, 1, __ATOMIC_RELAXED);
}

struct io_file_send *file_read_done(struct file_reader *reader)
{
	struct io_file_send *turned = NULL, *done;

	if (!atomic_load_explicit(&reader->done, memory_order_relaxed))
		return NULL;
	done = atomic_exchange_explicit(&reader->done, NULL, memory_order_acquire);
	while (done) {
		struct io_file_send *send = done;

		done = done->next;
		send->next = turned;
		turned = send;
	}
	return turned;
}

void file_read_free(struct io_file_send *send)
{
	struct file_buffer *buffer = &readers.buffer[((uint8_t *)send->bytes - readers.memory) / READER_PART];

	buffer->next = atomic_load_explicit(&readers.freed, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&readers.freed, &buffer->next, buffer, memory_order_release,
	                                              memory_order_relaxed))
		;
	sem_post(&readers.buffers);
}
