/*
 * access_log.c - see access_log.h. A thread of its own, which owns the buffer and, once it runs, the sink.
 *
 * While there is traffic it looks into the rings every few milliseconds, the more often the fuller they were; no worker has
 * to wake it for that. After IDLE_MS without a record it sleeps, and says so in the bell: then the first worker that has a
 * record again writes to an eventfd, once.
 */
#include "loom/access_log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "access_sink.h"
#include "loom/log.h"
#include "loom/sandbox.h"

#define BUFFER_SIZE (256 * 1024)
#define FLUSH_AT    (192 * 1024)

#define IDLE_MS      2000
#define PAUSE_MS_MIN 1
#define PAUSE_MS_MAX 50
#define SLOW_MS      100  /* after a reader took nothing, unless it says before that it does again */
#define RETRY_MS     1000 /* after an error of writing */
#define PATIENCE_MS  2000 /* for a reader, at the end */
#define REPORT_MS    5000 /* between two lines about drops */

static_assert(BUFFER_SIZE - FLUSH_AT > ACCESS_LINE_MAX, "a line fits behind what is not written yet");

struct access_log {
	const char *where;
	struct access_sink sink;
	struct access_formatter formatter;
	struct access_ring *rings;
	unsigned workers;
	pthread_t thread;
	bool running;

	/* The thread's. */
	char *buffer;
	size_t at, len;    /* of buffer: what is to be written */
	size_t line;       /* where the line begins that buffer[at] is in */
	int err;           /* of the last write; 0: it went well */
	bool failing;      /* it has been said that writing fails */
	unsigned pause;    /* ms */
	uint64_t busy;     /* ms: when there was a record */
	uint64_t progress; /* ms: when bytes were written, or there were none to write */
	uint64_t reported; /* drops that have been said */
	uint64_t report_at;

	struct access_bell bell;
	atomic_bool stopping, reopening;
	atomic_uint_fast64_t records, lost, bytes;
};

static uint64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void add(atomic_uint_fast64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t dropped(const struct access_log *log)
{
	uint64_t sum = atomic_load_explicit(&log->lost, memory_order_relaxed);

	for (unsigned i = 0; i < log->workers; i++)
		sum += atomic_load_explicit(&log->rings[i].dropped, memory_order_relaxed);
	return sum;
}

static bool is_slow(int err)
{
	return err == EAGAIN || err == EWOULDBLOCK;
}

/* It goes well again. */
static void say_recovered(struct access_log *log)
{
	uint64_t now = dropped(log);

	if (log->failing)
		log_warn("the access log %s is written again: %llu record%s dropped meanwhile", log->where,
		         (unsigned long long)(now - log->reported), now - log->reported == 1 ? " was" : "s were");
	log->failing = false;
	log->reported = now;
}

/* Drops with nothing wrong but the speed. */
static void say_dropped(struct access_log *log, uint64_t now)
{
	uint64_t drops = dropped(log);

	if (log->failing || drops == log->reported || (now < log->report_at && !atomic_load(&log->stopping)))
		return;
	log_warn("the access log %s is not written as fast as there are requests: %llu record%s dropped", log->where,
	         (unsigned long long)(drops - log->reported), drops - log->reported == 1 ? " was" : "s were");
	log->reported = drops;
	log->report_at = now + REPORT_MS;
}

/* Writes what is in the buffer, as far as it is taken. */
static void flush(struct access_log *log)
{
	while (log->at < log->len) {
		ssize_t n = access_sink_write(&log->sink, log->buffer + log->at, log->len - log->at);
		const char *end;

		if (n < 0) {
			log->err = (int)-n;
			break;
		}
		log->err = 0;
		end = memrchr(log->buffer + log->at, '\n', (size_t)n);
		log->at += (size_t)n;
		if (end)
			log->line = (size_t)(end - log->buffer) + 1;
		log->progress = milliseconds();
		add(&log->bytes, (uint64_t)n);
	}
	if (log->at == log->len) {
		log->progress = milliseconds();
		log->at = log->len = log->line = 0;
		log->err = 0;
		if (log->failing)
			say_recovered(log);
		return;
	}
	/* What is written goes, but the beginning of a line that is not whole there: another file may get it. */
	memmove(log->buffer, log->buffer + log->line, log->len - log->line);
	log->at -= log->line;
	log->len -= log->line;
	log->line = 0;
	if (!is_slow(log->err) && !log->failing) {
		log_error("cannot write the access log %s: %s (until it can be written again records are kept as "
		          "far as there is room, and then dropped)",
		          log->where, strerror(log->err));
		log->failing = true;
	}
}

/* What the clocks say now, for the lines that are formatted next. */
static void set_clocks(struct access_log *log)
{
	struct timespec real, monotonic;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	log->formatter.clock_offset = (int64_t)(real.tv_sec - monotonic.tv_sec) * 1000000 +
	                              (real.tv_nsec - monotonic.tv_nsec) / 1000;
	log->formatter.utc_offset = localtime_r(&real.tv_sec, &tm) ? (int32_t)tm.tm_gmtoff : 0;
}

/* What one ring holds now, as far as lines can be written; what comes meanwhile has to wait until the others had their turn. */
static void drain_ring(struct access_log *log, struct access_ring *ring, uint64_t filled, uint64_t *records)
{
	const uint64_t end = ring->read + filled;
	const struct access_record *record;

	while (ring->read < end && log->len <= FLUSH_AT && (record = access_ring_next(ring)) != NULL) {
		log->len += access_format(&log->formatter, record, log->buffer + log->len);
		++*records;
		if (log->len > FLUSH_AT) {
			access_ring_release(ring);
			flush(log);
		}
	}
	access_ring_release(ring);
}

/* One look at everything. Whether there were records. */
static bool pass(struct access_log *log)
{
	uint64_t records = 0, most = 0;

	set_clocks(log);
	for (unsigned i = 0; i < log->workers; i++) {
		uint64_t filled = access_ring_filled(&log->rings[i]);

		if (filled > most)
			most = filled;
		drain_ring(log, &log->rings[i], filled, &records);
	}
	flush(log);
	add(&log->records, records);
	if (most > ACCESS_RING_SIZE / 8)
		log->pause = log->pause / 4 > PAUSE_MS_MIN ? log->pause / 4 : PAUSE_MS_MIN;
	else if (most < ACCESS_RING_SIZE / 32)
		log->pause = log->pause * 2 < PAUSE_MS_MAX ? log->pause * 2 : PAUSE_MS_MAX;
	return records > 0;
}

static bool is_empty(const struct access_log *log)
{
	for (unsigned i = 0; i < log->workers; i++)
		if (access_ring_filled(&log->rings[i]) > 0)
			return false;
	return log->at == log->len;
}

static void reopen(struct access_log *log)
{
	char why[512];
	int another;

	flush(log);
	another = access_sink_reopen(&log->sink, why, sizeof(why));
	if (another < 0) {
		log_error("%s (the one that is open goes on being written)", why);
		return;
	}
	if (another)
		log->at = log->line; /* a line that the old file holds half is written whole */
	log->err = 0;
}

/* How long to sleep now, in milliseconds; -1: until woken. */
static int rest_ms(struct access_log *log, uint64_t now)
{
	if (log->err)
		return is_slow(log->err) ? SLOW_MS : RETRY_MS;
	if (now - log->busy < IDLE_MS)
		return (int)log->pause;
	atomic_store_explicit(&log->bell.sleeping, 1, memory_order_seq_cst);
	if (!is_empty(log)) {
		atomic_store_explicit(&log->bell.sleeping, 0, memory_order_relaxed);
		return 0;
	}
	if (dropped(log) != log->reported)
		return now < log->report_at ? (int)(log->report_at - now) : 0;
	return -1;
}

static void rest(struct access_log *log, uint64_t now)
{
	struct pollfd fds[] = { { .fd = log->bell.fd, .events = POLLIN },
		                { .fd = is_slow(log->err) ? log->sink.fd : -1, .events = POLLOUT } };
	uint64_t count;
	ssize_t n;

	poll(fds, 2, rest_ms(log, now));
	atomic_store_explicit(&log->bell.sleeping, 0, memory_order_relaxed);
	n = read(log->bell.fd, &count, sizeof(count));
	(void)n; /* mostly there is nothing to read */
}

/* At the end: whether to go on trying. */
static bool is_hopeful(const struct access_log *log)
{
	if (!log->err)
		return true;
	return is_slow(log->err) && milliseconds() - log->progress < PATIENCE_MS;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
	uint64_t lines = 0;

	for (const char *end = bytes + len; (bytes = memchr(bytes, '\n', (size_t)(end - bytes))) != NULL; bytes++)
		lines++;
	return lines;
}

/* What could not be written before the end. */
static void give_up(struct access_log *log)
{
	uint64_t lines = count_lines(log->buffer + log->at, log->len - log->at), drops;

	for (unsigned i = 0; i < log->workers; i++)
		while (access_ring_next(&log->rings[i]))
			lines++;
	add(&log->lost, lines);
	drops = dropped(log);
	if (drops != log->reported)
		log_error("the access log %s ends without the last %llu record%s: %s", log->where,
		          (unsigned long long)(drops - log->reported), drops - log->reported == 1 ? "" : "s",
		          is_slow(log->err) ? "nobody reads it" : strerror(log->err));
}

static void *run(void *argument)
{
	struct access_log *log = argument;

	pthread_setname_np(pthread_self(), "loom-log");
	sandbox_thread(SANDBOX_LOG);
	log->busy = log->progress = milliseconds();
	for (;;) {
		bool stopping = atomic_load_explicit(&log->stopping, memory_order_acquire);
		uint64_t now;

		if (atomic_exchange_explicit(&log->reopening, false, memory_order_acquire))
			reopen(log);
		if (pass(log))
			log->busy = milliseconds();
		now = milliseconds();
		say_dropped(log, now);
		if (stopping && is_empty(log))
			return NULL;
		if (stopping && !is_hopeful(log)) {
			give_up(log);
			return NULL;
		}
		if (!stopping || log->err)
			rest(log, now);
	}
}

int access_log_create(struct access_log **out, const char *where, enum access_format format, unsigned workers,
                      char *why, size_t size)
{
	struct access_log *log = aligned_alloc(ACCESS_RING_LINE, sizeof(*log));
	int err = -ENOMEM;

	if (!log)
		goto fail;
	memset(log, 0, sizeof(*log));
	log->sink.fd = log->bell.fd = -1;
	log->where = where;
	tzset(); /* its files cannot be opened later (sandbox.h) */
	log->workers = workers;
	log->pause = PAUSE_MS_MIN;
	access_formatter_init(&log->formatter, format);
	log->rings = aligned_alloc(ACCESS_RING_LINE, workers * sizeof(*log->rings));
	log->buffer = malloc(BUFFER_SIZE);
	if (!log->rings || !log->buffer)
		goto fail;
	memset(log->rings, 0, workers * sizeof(*log->rings));
	for (unsigned i = 0; i < workers; i++)
		if (access_ring_create(&log->rings[i], ACCESS_RING_SIZE, &log->bell) < 0)
			goto fail;
	log->bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (log->bell.fd < 0) {
		err = -errno;
		goto fail;
	}
	err = access_sink_open(&log->sink, where, why, size);
	if (err < 0) {
		size = 0; /* why is there */
		goto fail;
	}
	*out = log;
	return 0;
fail:
	if (size > 0)
		snprintf(why, size, "cannot set up the access log for %u workers: %s", workers, strerror(-err));
	access_log_destroy(log);
	return err;
}

struct access_ring *access_log_ring(struct access_log *log, unsigned worker)
{
	return &log->rings[worker];
}

int access_log_start(struct access_log *log)
{
	int err = -pthread_create(&log->thread, NULL, run, log);

	log->running = err == 0;
	return err;
}

static void ring_bell(struct access_log *log)
{
	uint64_t one = 1;
	ssize_t n = write(log->bell.fd, &one, sizeof(one));

	(void)n; /* a full one wakes as well */
}

void access_log_reopen(struct access_log *log)
{
	atomic_store_explicit(&log->reopening, true, memory_order_release);
	ring_bell(log);
}

void access_log_stop(struct access_log *log)
{
	if (!log->running)
		return;
	atomic_store_explicit(&log->stopping, true, memory_order_release);
	ring_bell(log);
	pthread_join(log->thread, NULL);
	log->running = false;
}

void access_log_destroy(struct access_log *log)
{
	if (!log)
		return;
	access_sink_close(&log->sink);
	if (log->bell.fd >= 0)
		close(log->bell.fd);
	for (unsigned i = 0; log->rings && i < log->workers; i++)
		access_ring_destroy(&log->rings[i]);
	free(log->rings);
	free(log->buffer);
	free(log);
}

void access_log_stats(const struct access_log *log, struct access_log_stats *stats)
{
	stats->records = atomic_load_explicit(&log->records, memory_order_relaxed);
	stats->bytes = atomic_load_explicit(&log->bytes, memory_order_relaxed);
	stats->dropped = dropped(log);
}
