/*
 * test_variants.c - contents are compressed once, the smallest first, by threads that get out of everybody's way; what
 * a cache directory has is taken when it is right; references come out even; and the end may come at any time.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libdeflate.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "loom/cache.h"
#include "loom/compress.h"
#include "loom/memory.h"
#include "loom/variants.h"

#define KIB      1024
#define MIB      (1024 * 1024)
#define DAY      (24 * 60 * 60)
#define PATIENCE 60 /* seconds */

static struct variants *variants;
static uint64_t limit; /* of memory, for what is created next; 0: none */
static char root[32];
static sem_t news;
static sem_t gate; /* what news waits for, when it is to wait */
static atomic_bool gated;
static atomic_uint wrong; /* what is wrong with the threads */

/*
 * The test program's own: it comes before the C library's. On a machine that is busy with other tests, a thread of the
 * lowest priority would come to its turn after minutes; so it gets it only where it is looked at.
 */
static atomic_bool idle_is_idle;

__attribute__((used)) int sched_setscheduler(pid_t pid, int policy, const struct sched_param *param)
{
	return atomic_load(&idle_is_idle) ? (int)syscall(SYS_sched_setscheduler, pid, policy, param) : 0;
}

/* What is not to be seen is waited for as long as a busy machine may take. */
static uint32_t patience = PATIENCE * 1000;

/* Where a thread is held up, when it is to be: at the end of a write to the cache. */
static atomic_bool stuck;
static sem_t inside, outside;

__attribute__((used)) int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	if (atomic_load(&stuck)) {
		sem_post(&inside);
		sem_wait(&outside);
	}
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	return remove(path);
}

static void setup(void)
{
	strcpy(root, "/tmp/loom-variants-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	ck_assert_int_eq(sem_init(&news, 0, 0), 0);
	ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
}

static void teardown(void)
{
	variants_destroy(variants);
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_news(void *context)
{
	ck_assert_ptr_eq(context, &news);
	sem_post(&news);
	if (atomic_load(&gated))
		sem_wait(&gate);
}

static void create(unsigned threads, const char *cache_dir)
{
	const struct variants_config config = {
		.threads = threads,
		.cache_dir = cache_dir,
		.max_memory = limit,
		.patience = patience,
		.news = on_news,
		.context = &news,
	};
	char why[256] = "";

	ck_assert_msg(variants_create(&variants, &config, why, sizeof(why)) == 0, "%s", why);
	ck_assert_str_eq(why, "");
}

static void destroy(void)
{
	variants_destroy(variants);
	variants = NULL;
	while (sem_trywait(&news) == 0)
		continue;
}

static void await_news(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE;
	while (sem_timedwait(&news, &until) < 0)
		ck_assert_int_eq(errno, EINTR);
}

/* Until all that was asked for is there. The number that became ready. */
static unsigned await_all(void)
{
	unsigned ready = variants_collect(variants);

	while (variants_pending(variants) > 0) {
		await_news();
		ready += variants_collect(variants);
	}
	return ready;
}

/* Words, another text for every seed. */
static struct body *text(uint64_t seed, size_t len)
{
	struct body *body;
	uint64_t state = seed * 2 + 1;

	ck_assert_int_eq(body_create(&body, len), 0);
	for (size_t i = 0; i < len;) {
		uint32_t word;

		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		word = (uint32_t)(state >> 40) % 2000;
		for (unsigned letters = 2 + word % 7; letters > 0 && i < len; letters--, word /= 3)
			body->bytes[i++] = (uint8_t)('a' + word % 26);
		if (i < len)
			body->bytes[i++] = ' ';
	}
	body_seal(body);
	return body;
}

static struct body *noise(size_t len)
{
	struct body *body;
	uint64_t state = 1;

	ck_assert_int_eq(body_create(&body, len), 0);
	for (size_t i = 0; i < len; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		body->bytes[i] = (uint8_t)(state >> 40);
	}
	body_seal(body);
	return body;
}

static enum variant_state ask(struct body *identity, enum content_coding coding)
{
	struct body *coded = NULL;
	uint64_t memory = 1;
	enum variant_state state = variants_get(variants, identity, coding, &coded, &memory);

	ck_assert((state == VARIANT_READY) == (coded != NULL));
	ck_assert((state == VARIANT_SHED) == (memory > 0));
	return state;
}

/* The variant, which is there, and right. */
static struct body *ready(struct body *identity, enum content_coding coding)
{
	struct body *coded = NULL;
	uint64_t memory;

	ck_assert_int_eq(variants_get(variants, identity, coding, &coded, &memory), VARIANT_READY);
	ck_assert_uint_lt(coded->len, identity->len);
	ck_assert_int_eq(compress_matches(coding, coded->bytes, coded->len, identity->bytes, identity->len), 1);
	return coded;
}

/* What is logged from here on, and its end. */
static int log_file, log_saved;

static void log_begin(void)
{
	log_saved = dup(STDERR_FILENO);
	log_file = memfd_create("log", MFD_CLOEXEC);
	ck_assert(log_saved >= 0 && log_file >= 0);
	dup2(log_file, STDERR_FILENO);
}

static const char *log_end(void)
{
	static char text[4096];
	ssize_t n = pread(log_file, text, sizeof(text) - 1, 0);

	dup2(log_saved, STDERR_FILENO);
	close(log_saved);
	close(log_file);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(pending_and_then_ready)
{
	struct body *identity = text(1, 3000), *coded;

	create(1, NULL);
	ck_assert_uint_eq(variants_pending(variants), 0);
	ck_assert_uint_eq(variants_collect(variants), 0);
	ck_assert_int_eq(ask(identity, _i), VARIANT_PENDING);
	ck_assert_uint_eq(identity->references, 2);
	ck_assert_int_eq(ask(identity, _i), VARIANT_PENDING);
	ck_assert_uint_eq(variants_pending(variants), 1);
	await_news();
	ck_assert_int_eq(ask(identity, _i), VARIANT_PENDING); /* until it is collected */
	ck_assert_uint_eq(variants_pending(variants), 1);
	ck_assert_uint_eq(variants_collect(variants), 1);
	ck_assert_uint_eq(variants_pending(variants), 0);
	ck_assert_uint_eq(identity->references, 1);
	coded = ready(identity, _i);
	ck_assert_uint_eq(coded->references, 1);
	ck_assert_ptr_eq(ready(identity, _i), coded);
	ck_assert_uint_eq(variants_collect(variants), 0);
	body_release(identity);
}
END_TEST

START_TEST(pending_and_then_none)
{
	struct body *identity = noise(1000), *byte = text(1, 1);

	create(1, NULL);
	ck_assert_int_eq(ask(identity, _i), VARIANT_PENDING);
	ck_assert_int_eq(ask(byte, _i), VARIANT_PENDING);
	ck_assert_uint_eq(await_all(), 0);
	ck_assert_int_eq(ask(identity, _i), VARIANT_NONE);
	ck_assert_int_eq(ask(byte, _i), VARIANT_NONE);
	ck_assert_uint_eq(variants_pending(variants), 0);
	ck_assert_uint_eq(identity->references, 1);
	body_release(identity);
	body_release(byte);
}
END_TEST

START_TEST(the_same_content_is_the_same_variant)
{
	struct body *a = text(1, 3000), *b = text(1, 3000), *c = text(2, 3000), *coded;

	create(2, NULL);
	ck_assert_int_eq(ask(a, CODING_BR), VARIANT_PENDING);
	ck_assert_int_eq(ask(b, CODING_BR), VARIANT_PENDING);
	ck_assert_int_eq(ask(c, CODING_BR), VARIANT_PENDING);
	ck_assert_uint_eq(variants_pending(variants), 2);
	ck_assert_uint_eq(b->references, 1);
	ck_assert_uint_eq(await_all(), 2);

	/* The content goes, and comes back. */
	coded = ready(a, CODING_BR);
	body_release(a);
	ck_assert_ptr_eq(ready(b, CODING_BR), coded);
	ck_assert_ptr_ne(ready(c, CODING_BR), coded);
	body_release(b);
	b = text(1, 3000);
	ck_assert_ptr_eq(ready(b, CODING_BR), coded);
	ck_assert_uint_eq(variants_pending(variants), 0);
	body_release(b);
	body_release(c);
}
END_TEST

START_TEST(codings_are_asked_for_one_by_one)
{
	struct body *identity = text(1, 3000);

	create(1, NULL);
	ck_assert_int_eq(ask(identity, CODING_GZIP), VARIANT_PENDING);
	await_all();
	ready(identity, CODING_GZIP);
	ck_assert_int_eq(ask(identity, CODING_ZSTD), VARIANT_PENDING);
	ck_assert_uint_eq(variants_pending(variants), 1);
	ck_assert_uint_eq(await_all(), 1);
	ck_assert_ptr_ne(ready(identity, CODING_ZSTD), ready(identity, CODING_GZIP));
	body_release(identity);
}
END_TEST

/* The one thread is held where it tells its news, until the next may begin. */
START_TEST(the_smallest_comes_first)
{
	static const size_t sizes[] = { 5000, 2000, 9000, 1000, 2000, 7000, 3000, 8000, 600, 2500 };
	enum { N = sizeof(sizes) / sizeof(sizes[0]) };
	struct body *first = text(100, 4000), *identities[N];
	bool seen[N] = { false };

	atomic_store(&gated, true);
	create(1, NULL);
	ck_assert_int_eq(ask(first, CODING_GZIP), VARIANT_PENDING);
	await_news();
	for (int i = 0; i < N; i++) {
		identities[i] = text((uint64_t)i, sizes[i]);
		ck_assert_int_eq(ask(identities[i], CODING_GZIP), VARIANT_PENDING);
	}
	ck_assert_uint_eq(variants_collect(variants), 1);
	for (int turn = 0; turn < N; turn++) {
		int least = -1;

		sem_post(&gate);
		await_news();
		ck_assert_uint_eq(variants_collect(variants), 1);
		for (int i = 0; i < N; i++)
			if (!seen[i] && (least < 0 || sizes[i] < sizes[least]))
				least = i;
		ready(identities[least], CODING_GZIP);
		seen[least] = true;
	}
	ck_assert_uint_eq(variants_pending(variants), 0);
	sem_post(&gate);
	body_release(first);
	for (int i = 0; i < N; i++)
		body_release(identities[i]);
}
END_TEST

static void look_at_thread(void *context)
{
	struct sched_param param;
	sigset_t blocked;
	char name[32] = "";

	pthread_getname_np(pthread_self(), name, sizeof(name));
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (strcmp(name, "loom-variants") != 0)
		atomic_fetch_or(&wrong, 1);
	if (sched_getscheduler(0) != SCHED_IDLE || sched_getparam(0, &param) < 0)
		atomic_fetch_or(&wrong, 2);
	if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGHUP) || !sigismember(&blocked, SIGXFSZ))
		atomic_fetch_or(&wrong, 4);
	sem_post(&news);
}

START_TEST(threads_are_out_of_the_way)
{
	const struct variants_config config = { .threads = 1, .patience = patience, .news = look_at_thread };
	struct body *identity = text(1, 3000);
	sigset_t blocked;
	char why[256];

	atomic_store(&idle_is_idle, true);
	ck_assert_int_eq(variants_create(&variants, &config, why, sizeof(why)), 0);
	ask(identity, CODING_GZIP);
	await_all();
	ck_assert_uint_eq(atomic_load(&wrong), 0);
	ck_assert_int_ne(sched_getscheduler(0), SCHED_IDLE);
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	ck_assert(!sigismember(&blocked, SIGTERM));
	body_release(identity);
}
END_TEST

START_TEST(the_cache_outlives_us)
{
	struct body *identity = text(1, 20 * KIB), *random = noise(1000), *other, *coded = NULL;
	static uint8_t room[20 * KIB];
	struct libdeflate_compressor *deflate = libdeflate_alloc_compressor(1);
	struct cache *cache = NULL;
	char why[256];
	size_t made;

	create(2, root);
	ask(identity, CODING_GZIP);
	ask(random, CODING_GZIP);
	await_all();
	coded = body_reference(ready(identity, CODING_GZIP));
	destroy();

	/* What is there now could be made by nobody else: so it is seen that it is taken from there. */
	ck_assert_int_eq(cache_open(&cache, root, why, sizeof(why)), 0);
	ck_assert_int_eq(cache_read(cache, identity->hash, identity->len, CODING_GZIP, &other), 0);
	ck_assert_uint_eq(other->len, coded->len);
	ck_assert_mem_eq(other->bytes, coded->bytes, coded->len);
	body_release(other);
	ck_assert_int_eq(cache_read(cache, random->hash, random->len, CODING_GZIP, &other), -ENODATA);
	made = libdeflate_gzip_compress(deflate, identity->bytes, identity->len, room, sizeof(room));
	ck_assert_uint_ne(made, coded->len);
	ck_assert_int_eq(body_create(&other, made), 0);
	memcpy(other->bytes, room, made);
	ck_assert_int_eq(cache_write(cache, identity->hash, identity->len, CODING_GZIP, other), 0);
	ck_assert_int_eq(cache_write(cache, identity->hash, identity->len, CODING_BR, NULL), 0);

	create(2, root);
	ask(identity, CODING_GZIP);
	ask(identity, CODING_BR);
	ask(random, CODING_GZIP);
	ck_assert_uint_eq(await_all(), 1);
	ck_assert_uint_eq(ready(identity, CODING_GZIP)->len, made);
	ck_assert_mem_eq(ready(identity, CODING_GZIP)->bytes, room, made);
	ck_assert_int_eq(ask(identity, CODING_BR), VARIANT_NONE);
	ck_assert_int_eq(ask(random, CODING_GZIP), VARIANT_NONE);

	cache_close(cache);
	libdeflate_free_compressor(deflate);
	body_release(other);
	body_release(coded);
	body_release(random);
	body_release(identity);
}
END_TEST

/* A whole file, and right for another content. */
START_TEST(a_wrong_cache_is_made_right)
{
	struct body *identity = text(1, 20 * KIB), *lie = text(2, 20 * KIB), *wrong_one = NULL, *found;
	atomic_bool never = false;
	struct cache *cache = NULL;
	char why[256];

	ck_assert_int_eq(cache_open(&cache, root, why, sizeof(why)), 0);
	ck_assert_int_eq(compress_encode(&wrong_one, _i, lie->bytes, lie->len, &never), 0);
	ck_assert_int_eq(cache_write(cache, identity->hash, identity->len, _i, wrong_one), 0);

	create(1, root);
	ask(identity, _i);
	ck_assert_uint_eq(await_all(), 1);
	ready(identity, _i);
	ck_assert_int_eq(cache_read(cache, identity->hash, identity->len, _i, &found), 0);
	ck_assert_uint_eq(found->len, ready(identity, _i)->len);
	ck_assert_mem_eq(found->bytes, ready(identity, _i)->bytes, found->len);

	cache_close(cache);
	body_release(found);
	body_release(wrong_one);
	body_release(lie);
	body_release(identity);
}
END_TEST

START_TEST(without_the_cache_it_goes_on)
{
	struct body *a = text(1, 3000), *b = text(2, 3000);
	const char *log;

	create(1, root);
	ck_assert_int_eq(rmdir(root), 0);
	log_begin();
	ask(a, CODING_GZIP);
	ask(b, CODING_GZIP);
	await_all();
	ready(a, CODING_GZIP);
	ready(b, CODING_GZIP);
	destroy();
	log = log_end();
	ck_assert_msg(strstr(log, root) && strstr(log, strerror(ENOENT)), "%s", log);
	ck_assert_str_eq(strchr(log, '\n'), "\n"); /* once */
	body_release(a);
	body_release(b);
}
END_TEST

START_TEST(no_cache_directory_is_an_error)
{
	struct variants_config config = { .threads = 1, .cache_dir = "/dev/null", .news = on_news };
	char why[256] = "";

	ck_assert_int_eq(variants_create(&variants, &config, why, sizeof(why)), -ENOTDIR);
	ck_assert_ptr_nonnull(strstr(why, "/dev/null"));
	config.cache_dir = "/nowhere/at/all";
	ck_assert_int_eq(variants_create(&variants, &config, why, sizeof(why)), -ENOENT);
	ck_assert_ptr_null(variants);
	variants_destroy(NULL);
}
END_TEST

/* Where the cache keeps a variant. */
static void place(char path[256], const struct body *identity, enum content_coding coding)
{
	int n = snprintf(path, 256, "%s/%02x/", root, identity->hash[0]);

	for (int i = 0; i < BODY_HASH_LEN; i++)
		n += snprintf(path + n, 256 - (size_t)n, "%02x", identity->hash[i]);
	snprintf(path + n, 256 - (size_t)n, "-%u%s", (unsigned)identity->len, coding_suffix(coding));
}

static void age(const char *path)
{
	struct timespec then = { .tv_sec = time(NULL) - 40 * DAY }, times[2] = { then, then };

	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

START_TEST(the_cache_expires_but_for_what_is_in_use)
{
	struct body *used = text(1, 3000), *unused = text(2, 3000);
	char used_path[256], unused_path[256];
	const struct timespec pause = { .tv_nsec = 1000000 };

	create(1, root);
	ask(used, CODING_GZIP);
	ask(unused, CODING_GZIP);
	await_all();
	destroy();
	place(used_path, used, CODING_GZIP);
	place(unused_path, unused, CODING_GZIP);
	age(used_path);
	age(unused_path);

	create(1, root);
	variants_collect(variants); /* nothing has been asked for yet: not the time to look */
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(access(unused_path, F_OK), 0);
		nanosleep(&pause, NULL);
	}
	ask(used, CODING_GZIP);
	await_all();
	for (int i = 0; access(unused_path, F_OK) == 0; i++) {
		ck_assert_int_lt(i, PATIENCE * 1000);
		nanosleep(&pause, NULL);
	}
	ck_assert_int_eq(access(used_path, F_OK), 0);
	ready(used, CODING_GZIP);
	body_release(used);
	body_release(unused);
}
END_TEST

/* A content that goes before anybody has come to compress it. */
START_TEST(what_waits_for_a_content_that_is_gone_is_forgotten)
{
	struct body *busy = text(1, 100), *gone = text(2, 3000), *there = text(3, 4000), *again;
	uint64_t before, was = gone->memory;

	atomic_store(&gated, true);
	create(1, NULL);
	ask(busy, CODING_GZIP);
	await_news(); /* the only thread is held up there */
	ask(gone, CODING_GZIP);
	ask(there, CODING_GZIP);
	ask(gone, CODING_BR);
	ask(there, CODING_BR);
	ck_assert_uint_eq(variants_shed(variants, false), 0);
	body_release(gone);
	before = memory_held();
	ck_assert_uint_eq(variants_shed(variants, false), was);
	ck_assert_uint_eq(memory_held(), before - was);
	ck_assert_uint_eq(variants_shed(variants, false), 0);
	atomic_store(&gated, false);
	sem_post(&gate);
	sem_post(&news);
	ck_assert_uint_eq(await_all(), 3);
	ck_assert_uint_eq(there->references, 1);
	ready(there, CODING_BR);

	/* And when it comes back it is asked for as if for the first time. */
	again = text(2, 3000);
	ask(again, CODING_GZIP);
	ck_assert_uint_eq(await_all(), 1);
	body_release(again);
	body_release(busy);
	body_release(there);
}
END_TEST

static void check_counts(uint64_t made, uint64_t dropped)
{
	struct variants_counts counts;

	variants_count(variants, &counts);
	ck_assert_uint_eq(counts.pending, 0);
	ck_assert_uint_eq(counts.made, made);
	ck_assert_uint_eq(counts.dropped, dropped);
}

START_TEST(what_nobody_refers_to_is_spare)
{
	struct body *a = text(1, 3000), *b = text(2, 3000), *random = noise(1000), *held, *coded;
	uint64_t spare, before, was, memory;

	create(1, NULL);
	ask(a, CODING_GZIP);
	ask(a, CODING_BR);
	ask(b, CODING_GZIP);
	ask(random, CODING_GZIP);
	ck_assert_uint_eq(variants_shed(variants, false), 0);
	ck_assert_uint_eq(await_all(), 3);

	/* Nobody can have referred to what nobody has seen: it waits for who asked for it, unless the need is great. */
	ck_assert_uint_eq(variants_shed(variants, false), 0);
	held = body_reference(ready(a, CODING_BR));
	was = ready(b, CODING_GZIP)->memory;
	spare = ready(a, CODING_GZIP)->memory + was;

	before = memory_held();
	ck_assert_uint_eq(variants_shed(variants, false), spare);
	ck_assert_uint_eq(memory_held(), before - spare);
	ck_assert_uint_eq(variants_shed(variants, false), 0);
	ck_assert_int_eq(ask(a, CODING_GZIP), VARIANT_SHED);
	ck_assert_int_eq(variants_get(variants, b, CODING_GZIP, &coded, &memory), VARIANT_SHED);
	ck_assert_uint_eq(memory, was);
	ck_assert_int_eq(ask(random, CODING_GZIP), VARIANT_NONE);
	ck_assert_uint_eq(variants_pending(variants), 0);
	ck_assert_ptr_eq(ready(a, CODING_BR), held);
	body_release(held);
	was = held->memory;
	ck_assert_uint_eq(variants_shed(variants, false), was);

	/* What was let go of is made again for who asks for that; what is pending is not spare. */
	variants_again(variants, b, CODING_GZIP);
	ask(b, CODING_BR);
	ck_assert_uint_eq(variants_shed(variants, false), 0);
	ck_assert_int_eq(ask(b, CODING_GZIP), VARIANT_PENDING);
	ck_assert_int_eq(ask(b, CODING_BR), VARIANT_PENDING);
	ck_assert_uint_eq(await_all(), 2);
	ready(b, CODING_BR);
	variants_again(variants, b, CODING_BR); /* it is there */
	was = ready(b, CODING_BR)->memory;
	ck_assert_uint_eq(variants_shed(variants, false), was);
	ck_assert_uint_gt(variants_shed(variants, true), 0);
	ck_assert_int_eq(ask(b, CODING_GZIP), VARIANT_SHED);
	check_counts(5, 5); /* two twice: made, dropped, made and dropped again */
	body_release(a);
	body_release(b);
	body_release(random);
}
END_TEST

static void sweep(unsigned times)
{
	while (times--)
		variants_sweep(variants);
}

/* Contents that are gone are remembered for a while, and then their variants and whatever else is known of them go. */
START_TEST(what_has_gone_is_forgotten)
{
	struct body *a = text(1, 3000), *random = noise(1000), *held;
	uint64_t before = memory_held(), memory;

	create(1, NULL);
	ask(a, CODING_GZIP);
	ask(random, CODING_GZIP);
	sweep(2 * VARIANTS_SWEEPS); /* what is pending stays */
	ck_assert_uint_eq(await_all(), 1);
	held = body_reference(ready(a, CODING_GZIP));
	memory = held->memory;
	ck_assert_int_eq(ask(random, CODING_GZIP), VARIANT_NONE);

	/* As long as somebody refers to it; and as long again from when that, or being asked for, has ended. */
	sweep(2 * VARIANTS_SWEEPS);
	ck_assert_uint_eq(memory_held(), before + memory);
	ck_assert_int_eq(ask(random, CODING_GZIP), VARIANT_PENDING); /* nothing was known of it any more */
	await_all();
	body_release(held);
	sweep(VARIANTS_SWEEPS);
	ck_assert_ptr_eq(ready(a, CODING_GZIP), held);
	ck_assert_int_eq(ask(random, CODING_GZIP), VARIANT_NONE);
	sweep(VARIANTS_SWEEPS);
	ck_assert_uint_eq(memory_held(), before + memory);
	sweep(1);
	ck_assert_uint_eq(memory_held(), before);
	ck_assert_int_eq(ask(a, CODING_GZIP), VARIANT_PENDING);
	ck_assert_uint_eq(await_all(), 1);
	body_release(a);
	body_release(random);
}
END_TEST

/* What is made while there is no room for it is not kept, and its size is. */
START_TEST(what_there_is_no_room_for_is_let_go_of)
{
	struct body *a = text(1, 3000);
	uint64_t before = memory_held();

	limit = before + 16;
	create(1, NULL);
	limit = 0;
	ask(a, CODING_GZIP);
	ck_assert_uint_eq(await_all(), 0);
	ck_assert_int_eq(ask(a, CODING_GZIP), VARIANT_SHED);
	ck_assert_uint_eq(memory_held(), before);
	check_counts(0, 1);
	body_release(a);
}
END_TEST

/* A variant that is in use outlives the store. */
START_TEST(who_holds_a_variant_keeps_it)
{
	struct body *identity = text(1, 3000), *held;

	create(1, NULL);
	ask(identity, CODING_ZSTD);
	await_all();
	held = body_reference(ready(identity, CODING_ZSTD));
	destroy();
	ck_assert_uint_eq(held->references, 1);
	ck_assert_int_eq(compress_matches(CODING_ZSTD, held->bytes, held->len, identity->bytes, identity->len), 1);
	body_release(held);
	body_release(identity);
}
END_TEST

START_TEST(the_end_may_come_before_the_beginning)
{
	struct body *identity = text(1, 3000);

	create(4, root);
	destroy();
	create(4, NULL);
	ask(identity, CODING_GZIP);
	destroy();
	ck_assert_uint_eq(identity->references, 1);
	create(1, NULL);
	ask(identity, CODING_GZIP);
	await_news();
	destroy(); /* done, and not collected */
	ck_assert_uint_eq(identity->references, 1);
	body_release(identity);
}
END_TEST

/* The rest would take minutes, and this test has less. */
START_TEST(the_end_may_come_in_the_middle)
{
	struct body *small = text(1, 3000), *huge[4];

	atomic_store(&gated, true);
	create(2, root);
	ask(small, CODING_BR);
	await_news();
	for (unsigned i = 0; i < 4; i++) {
		huge[i] = text(i + 2, 24 * MIB + i);
		ask(huge[i], CODING_BR);
		ask(huge[i], CODING_ZSTD);
	}
	atomic_store(&gated, false);
	sem_post(&gate);
	destroy();
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(huge[i]->references, 1);
		body_release(huge[i]);
	}
	ck_assert_uint_eq(small->references, 1);
	body_release(small);
}
END_TEST

static unsigned threads_now(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned count = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* A thread still has what it works with, and is silent. When it has ended at last, what is left is no leak (ci/sanitize asan). */
START_TEST(the_end_does_not_wait_for_ever)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct body *identity = text(1, 3000);
	unsigned threads;

	patience = 100;
	create(2, root);
	threads = threads_now();
	ck_assert_int_eq(sem_init(&inside, 0, 0), 0);
	ck_assert_int_eq(sem_init(&outside, 0, 0), 0);
	atomic_store(&stuck, true);
	ask(identity, CODING_GZIP);
	ck_assert_int_eq(sem_wait(&inside), 0);
	variants_destroy(variants);
	variants = NULL;
	ck_assert_uint_eq(identity->references, 2);
	for (int i = 0; threads_now() > threads - 1; i++) { /* the one that is not stuck may take its time */
		ck_assert_int_lt(i, PATIENCE * 1000);
		nanosleep(&pause, NULL);
	}
	ck_assert_uint_eq(threads_now(), threads - 1);

	atomic_store(&stuck, false);
	sem_post(&outside);
	for (int i = 0; threads_now() > threads - 2; i++) {
		ck_assert_int_lt(i, PATIENCE * 1000);
		nanosleep(&pause, NULL);
	}
	ck_assert_int_lt(sem_trywait(&news), 0);
}
END_TEST

/* Nobody waits for that: what is being made is given up, what waits is not begun, and the threads are gone. */
START_TEST(who_is_told_to_stop_does_by_itself)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct body *small = text(1, 3000), *next = text(2, 4000), *huge = text(3, 24 * MIB);
	unsigned threads = threads_now();

	atomic_store(&gated, true);
	create(2, NULL);
	ask(small, CODING_GZIP);
	await_news();
	ask(huge, CODING_BR); /* the other thread's, for minutes */
	ask(next, CODING_GZIP);
	variants_stop(variants);
	atomic_store(&gated, false);
	sem_post(&gate);
	for (int i = 0; threads_now() > threads; i++) {
		ck_assert_int_lt(i, PATIENCE * 1000);
		nanosleep(&pause, NULL);
	}
	ck_assert_int_lt(sem_trywait(&news), 0);
	variants_stop(variants);
	destroy();
	ck_assert_uint_eq(next->references, 1);
	ck_assert_uint_eq(huge->references, 1);
	body_release(small);
	body_release(next);
	body_release(huge);
}
END_TEST

/* In the middle of deploys: contents come and go while their variants are made. */
START_TEST(many_jobs_for_several_threads)
{
	enum { N = 600 };
	struct body *identities[N];
	unsigned made = 0, asked = 0;

	create(4, root);
	for (unsigned i = 0; i < N; i++) {
		identities[i] = text(i, 500 + i * 7 % 1000);
		for (enum content_coding coding = CODING_GZIP; coding < CODINGS; coding++) {
			if (coding != CODING_GZIP && i % 4)
				continue;
			ck_assert_int_eq(ask(identities[i], coding), VARIANT_PENDING);
			asked++;
		}
		if (i % 3 == 0)
			body_release(identities[i]); /* the job alone holds it now */
		if (i % 50 == 0)
			made += variants_collect(variants);
	}
	made += await_all();
	ck_assert_uint_eq(made, asked);
	for (unsigned i = 0; i < N; i++) {
		if (i % 3 == 0)
			identities[i] = text(i, 500 + i * 7 % 1000);
		ck_assert_uint_eq(identities[i]->references, 1);
		ready(identities[i], CODING_GZIP);
		if (i % 4 == 0)
			ready(identities[i], CODING_BR);
		body_release(identities[i]);
	}
	ck_assert_uint_eq(variants_pending(variants), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("variants");
	TCase *tcase = tcase_create("variants");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 100);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(tcase, pending_and_then_ready, CODING_GZIP, CODINGS);
	tcase_add_loop_test(tcase, pending_and_then_none, CODING_GZIP, CODINGS);
	tcase_add_test(tcase, the_same_content_is_the_same_variant);
	tcase_add_test(tcase, codings_are_asked_for_one_by_one);
	tcase_add_test(tcase, the_smallest_comes_first);
	tcase_add_test(tcase, threads_are_out_of_the_way);
	tcase_add_test(tcase, the_cache_outlives_us);
	tcase_add_loop_test(tcase, a_wrong_cache_is_made_right, CODING_GZIP, CODINGS);
	tcase_add_test(tcase, without_the_cache_it_goes_on);
	tcase_add_test(tcase, no_cache_directory_is_an_error);
	tcase_add_test(tcase, the_cache_expires_but_for_what_is_in_use);
	tcase_add_test(tcase, what_waits_for_a_content_that_is_gone_is_forgotten);
	tcase_add_test(tcase, what_nobody_refers_to_is_spare);
	tcase_add_test(tcase, what_has_gone_is_forgotten);
	tcase_add_test(tcase, what_there_is_no_room_for_is_let_go_of);
	tcase_add_test(tcase, who_holds_a_variant_keeps_it);
	tcase_add_test(tcase, the_end_may_come_before_the_beginning);
	tcase_add_test(tcase, the_end_may_come_in_the_middle);
	tcase_add_test(tcase, the_end_does_not_wait_for_ever);
	tcase_add_test(tcase, who_is_told_to_stop_does_by_itself);
	tcase_add_test(tcase, many_jobs_for_several_threads);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
