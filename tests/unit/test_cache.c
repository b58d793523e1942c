/*
 * test_cache.c - what is kept is found again, whole; what cannot be right is not found; what is old goes, and nothing
 * else does; and no fault of the disk, nor anybody else who writes there, does more than to make it useless.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loom/cache.h"
#include "loom/compress.h"

#define DAY    (24 * 60 * 60)
#define NOBODY 65534

static char root[32];
static struct cache *cache;
static atomic_bool never;

/* A content of 1000 bytes: its hash begins with 0xab. */
#define LEN 1000
static const uint8_t hash[BODY_HASH_LEN] = { 0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xff };
#define PLACE     "ab/abcd0102030405060708090a0b0c0dff-1000"
#define BIG_PLACE "ab/abcd0102030405060708090a0b0c0dff-10000000"

static struct cache *opened(const char *path)
{
	struct cache *made = NULL;
	char why[256] = "";

	ck_assert_msg(cache_open(&made, path, why, sizeof(why)) == 0, "%s", why);
	ck_assert_str_eq(why, "");
	return made;
}

static void setup(void)
{
	strcpy(root, "/tmp/loom-cache-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	cache = opened(root);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	return remove(path);
}

static void teardown(void)
{
	cache_close(cache);
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Good for a few more calls. */
static const char *path_of(const char *name)
{
	static char paths[4][256];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
	return path;
}

static struct body *body_of(const char *bytes, size_t len)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, len), 0);
	memcpy(body->bytes, bytes, len);
	body_seal(body);
	return body;
}

static void keep(enum content_coding coding, const char *bytes)
{
	struct body *body = body_of(bytes, strlen(bytes));

	ck_assert_int_eq(cache_write(cache, hash, LEN, coding, body), 0);
	ck_assert_uint_eq(body->references, 1);
	body_release(body);
}

static int ask(enum content_coding coding)
{
	struct body *body = NULL;
	int err = cache_read(cache, hash, LEN, coding, &body);

	ck_assert((err == 0) == (body != NULL));
	body_release(body);
	return err;
}

static void has(enum content_coding coding, const char *bytes)
{
	struct body *body = NULL, *same = body_of(bytes, strlen(bytes));

	ck_assert_int_eq(cache_read(cache, hash, LEN, coding, &body), 0);
	ck_assert_uint_eq(body->references, 1);
	ck_assert_uint_eq(body->len, same->len);
	ck_assert_mem_eq(body->bytes, same->bytes, same->len);
	ck_assert_mem_eq(body->hash, same->hash, BODY_HASH_LEN);
	body_release(body);
	body_release(same);
}

/* A file from elsewhere, and the directory that it lies in. */
static void put(const char *name, const char *bytes)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s", path_of(name));
	if (strchr(name, '/')) {
		char *slash = strrchr(path, '/');

		*slash = '\0';
		ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	fputs(bytes, file);
	ck_assert_int_eq(fclose(file), 0);
}

static bool exists(const char *name)
{
	struct stat st;

	return lstat(path_of(name), &st) == 0;
}

static void age(const char *name, time_t seconds)
{
	struct timespec then = { .tv_sec = time(NULL) - seconds }, times[2] = { then, then };

	ck_assert_int_eq(utimensat(AT_FDCWD, path_of(name), times, AT_SYMLINK_NOFOLLOW), 0);
}

static time_t modified(const char *name)
{
	struct stat st;

	ck_assert_int_eq(lstat(path_of(name), &st), 0);
	return st.st_mtim.tv_sec;
}

/* Names in the directory of PLACE. */
static unsigned files(void)
{
	DIR *dir = opendir(path_of("ab"));
	unsigned count = 0;

	if (!dir)
		return 0;
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return count;
}

START_TEST(what_is_kept_is_found)
{
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);
	keep(CODING_GZIP, "gzip");
	keep(CODING_BR, "brotli");
	ck_assert_int_eq(ask(CODING_ZSTD), -ENOENT);
	has(CODING_GZIP, "gzip");
	has(CODING_BR, "brotli");
	keep(CODING_GZIP, "another");
	has(CODING_GZIP, "another");

	/* By another process, too. */
	cache_close(cache);
	cache = opened(root);
	has(CODING_GZIP, "another");
	ck_assert(exists(PLACE ".gz"));
	ck_assert(exists(PLACE ".br"));
	ck_assert_uint_eq(files(), 2);
}
END_TEST

START_TEST(other_contents_are_other_files)
{
	uint8_t other[BODY_HASH_LEN];
	struct body *body;

	keep(CODING_GZIP, "gzip");
	for (int i = 0; i < BODY_HASH_LEN; i++) {
		memcpy(other, hash, sizeof(other));
		other[i] ^= 1;
		ck_assert_int_eq(cache_read(cache, other, LEN, CODING_GZIP, &body), -ENOENT);
	}
	ck_assert_int_eq(cache_read(cache, hash, LEN + 1, CODING_GZIP, &body), -ENOENT);
	ck_assert_int_eq(cache_read(cache, hash, UINT64_MAX, CODING_GZIP, &body), -ENOENT);
}
END_TEST

START_TEST(that_there_is_none_is_kept)
{
	struct body *body = NULL;

	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_BR, NULL), 0);
	ck_assert_int_eq(ask(CODING_BR), -ENODATA);
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);
	keep(CODING_BR, "there is");
	has(CODING_BR, "there is");

	/* Of contents that are shorter than the word for it, too. */
	for (uint64_t len = 1; len < 10; len++) {
		ck_assert_int_eq(cache_write(cache, hash, len, CODING_BR, NULL), 0);
		ck_assert_int_eq(cache_read(cache, hash, len, CODING_BR, &body), -ENODATA);
	}
	ck_assert_ptr_null(body);
}
END_TEST

START_TEST(what_is_forgotten_is_gone)
{
	keep(CODING_GZIP, "gzip");
	keep(CODING_BR, "brotli");
	cache_forget(cache, hash, LEN, CODING_GZIP);
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);
	has(CODING_BR, "brotli");
	cache_forget(cache, hash, LEN, CODING_GZIP);
	ck_assert(!exists(PLACE ".gz"));
}
END_TEST

START_TEST(a_file_that_cannot_be_it_is_not_there)
{
	char large[LEN + 2];
	struct body *body;

	memset(large, 'x', sizeof(large));
	large[LEN] = '\0';
	put(PLACE ".gz", large); /* no smaller than the content */
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);
	large[LEN - 1] = '\0';
	put(PLACE ".gz", large);
	ck_assert_int_eq(ask(CODING_GZIP), 0);
	put(PLACE ".gz", ""); /* as a loss of power may leave it */
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);

	put(PLACE ".half", "half");
	ck_assert_int_eq(mkdir(path_of(PLACE ".br"), 0700), 0);
	ck_assert_int_eq(ask(CODING_BR), -ENOENT);
	ck_assert_int_eq(mkdir(path_of(BIG_PLACE ".br"), 0700), 0);
	ck_assert_int_eq(cache_read(cache, hash, 10000000, CODING_BR, &body), -ENOENT);
	ck_assert_int_eq(mkfifo(path_of(PLACE ".zst"), 0600), 0);
	ck_assert_int_eq(ask(CODING_ZSTD), -ENOENT);

	/* A directory is in the way for good; the rest is replaced. */
	keep(CODING_GZIP, "gzip");
	has(CODING_GZIP, "gzip");
	keep(CODING_ZSTD, "zstd");
	has(CODING_ZSTD, "zstd");
	ck_assert_int_lt(cache_write(cache, hash, LEN, CODING_BR, NULL), 0);
	ck_assert_uint_eq(files(), 5);
}
END_TEST

START_TEST(links_are_not_followed)
{
	put("elsewhere/file", "secret");
	put("ab/file", "secret");
	ck_assert_int_eq(symlink("file", path_of(PLACE ".gz")), 0);
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);
	keep(CODING_GZIP, "gzip");
	has(CODING_GZIP, "gzip");
	ck_assert_int_eq(symlink("file", path_of(PLACE ".br")), 0);
	cache_forget(cache, hash, LEN, CODING_BR);
	ck_assert(!exists(PLACE ".br"));
	ck_assert(exists("ab/file"));
}
END_TEST

START_TEST(a_link_is_no_subdirectory)
{
	static const char *const name = "elsewhere/abcd0102030405060708090a0b0c0dff-1000.gz";

	put(name, "secret");
	ck_assert_int_eq(symlink("elsewhere", path_of("ab")), 0);
	age(name, 100 * DAY);
	ck_assert_int_lt(ask(CODING_GZIP), 0);
	ck_assert_int_lt(cache_write(cache, hash, LEN, CODING_GZIP, NULL), 0);
	cache_forget(cache, hash, LEN, CODING_GZIP);
	cache_expire(cache, 30, &never);
	ck_assert(exists(name));
	ck_assert_uint_eq(files(), 1);
}
END_TEST

/* The cache does not look into files: the gate does. */
START_TEST(damage_is_found_by_the_gate)
{
	struct body *content, *coded, *found;
	int fd;

	ck_assert_int_eq(body_create(&content, LEN), 0);
	for (int i = 0; i < LEN; i++)
		content->bytes[i] = (uint8_t)("abcdefgh"[i % 8] + i / 100);
	body_seal(content);
	for (enum content_coding coding = CODING_GZIP; coding < CODINGS; coding++) {
		char name[2 * BODY_HASH_LEN + 64] = "";

		ck_assert_int_eq(compress_encode(&coded, coding, content->bytes, LEN, &never), 0);
		ck_assert_int_eq(cache_write(cache, content->hash, LEN, coding, coded), 0);
		ck_assert_int_eq(cache_read(cache, content->hash, LEN, coding, &found), 0);
		ck_assert_int_eq(compress_matches(coding, found->bytes, found->len, content->bytes, LEN), 1);
		body_release(found);

		snprintf(name, sizeof(name), "%02x/", content->hash[0]);
		for (int i = 0; i < BODY_HASH_LEN; i++)
			snprintf(name + strlen(name), sizeof(name) - strlen(name), "%02x", content->hash[i]);
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "-%d%s", LEN, coding_suffix(coding));
		fd = open(path_of(name), O_WRONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ftruncate(fd, (off_t)coded->len - 3), 0); /* half-written */
		close(fd);
		ck_assert_int_eq(cache_read(cache, content->hash, LEN, coding, &found), 0);
		ck_assert_int_eq(compress_matches(coding, found->bytes, found->len, content->bytes, LEN), 0);
		body_release(found);
		body_release(coded);
	}
	body_release(content);
}
END_TEST

/* What fails: a limit on the size of files stands for a full disk. */
START_TEST(a_full_disk_changes_nothing)
{
	struct rlimit limit = { .rlim_cur = 100, .rlim_max = RLIM_INFINITY };
	struct body *large;

	keep(CODING_GZIP, "gzip");
	ck_assert_int_eq(body_create(&large, 900), 0);
	memset(large->bytes, 'x', large->len);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_GZIP, large), -EFBIG);
	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_BR, large), -EFBIG);
	limit.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	has(CODING_GZIP, "gzip");
	ck_assert_int_eq(ask(CODING_BR), -ENOENT);
	ck_assert_uint_eq(files(), 1);
	body_release(large);
}
END_TEST

/* Root may write anywhere, so that root is somebody else meanwhile. */
START_TEST(a_directory_that_can_only_be_read_is_read)
{
	bool privileged = geteuid() == 0;
	struct cache *reader;

	keep(CODING_GZIP, "gzip");
	age(PLACE ".gz", 2 * DAY);
	ck_assert_int_eq(chmod(path_of(PLACE ".gz"), 0444), 0);
	ck_assert_int_eq(chmod(path_of("ab"), 0555), 0);
	ck_assert_int_eq(chmod(root, 0555), 0);
	if (privileged)
		ck_assert_int_eq(seteuid(NOBODY), 0);
	reader = opened(root);
	cache_close(cache);
	cache = reader;
	has(CODING_GZIP, "gzip");
	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_GZIP, NULL), -EACCES);
	cache_forget(cache, hash, LEN, CODING_GZIP);
	cache_expire(cache, 1, &never);
	has(CODING_GZIP, "gzip");
	if (privileged)
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(chmod(root, 0755), 0);
	ck_assert_int_eq(chmod(path_of("ab"), 0755), 0);
}
END_TEST

START_TEST(a_directory_that_vanishes_is_an_error)
{
	keep(CODING_GZIP, "gzip");
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	ck_assert_int_eq(ask(CODING_GZIP), -ENOENT);
	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_GZIP, NULL), -ENOENT);
	cache_forget(cache, hash, LEN, CODING_GZIP);
	cache_expire(cache, 30, &never);
}
END_TEST

START_TEST(the_directory_is_made)
{
	struct cache *other = opened(path_of("new"));
	struct stat st;

	ck_assert_int_eq(stat(path_of("new"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	cache_close(other);
	cache_close(NULL);
}
END_TEST

static void refused(const char *name, int expected, const char *word)
{
	struct cache *other = NULL;
	char why[256] = "";

	ck_assert_int_eq(cache_open(&other, path_of(name), why, sizeof(why)), expected);
	ck_assert_ptr_null(other);
	ck_assert_msg(strstr(why, name) && strstr(why, word), "%s", why);
}

START_TEST(no_directory_is_an_error_in_words)
{
	put("file", "x");
	ck_assert_int_eq(symlink("nowhere", path_of("link")), 0);
	refused("not/there", -ENOENT, "must be there");
	refused("file", -ENOTDIR, strerror(ENOTDIR));
	refused("file/below", -ENOTDIR, strerror(ENOTDIR));
	refused("link", -ENOENT, strerror(ENOENT));
}
END_TEST

START_TEST(what_nobody_uses_expires)
{
	keep(CODING_GZIP, "old");
	keep(CODING_BR, "new");
	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_ZSTD, NULL), 0);
	age(PLACE ".gz", 31 * DAY);
	age(PLACE ".br", 29 * DAY);
	age(PLACE ".zst", 31 * DAY);
	put("ab/.new-1-1", "half");
	put("ab/.new-1-2", "half");
	age("ab/.new-1-1", DAY + 10);

	cache_expire(cache, 30, &never);
	ck_assert(!exists(PLACE ".gz"));
	ck_assert(exists(PLACE ".br"));
	ck_assert(!exists(PLACE ".zst"));
	ck_assert(!exists("ab/.new-1-1"));
	ck_assert(exists("ab/.new-1-2"));
	has(CODING_BR, "new");
}
END_TEST

START_TEST(what_is_used_does_not_expire)
{
	time_t now = time(NULL), recently;

	keep(CODING_GZIP, "gzip");
	ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_BR, NULL), 0);
	age(PLACE ".gz", 40 * DAY);
	age(PLACE ".br", 40 * DAY);
	has(CODING_GZIP, "gzip");
	ck_assert_int_eq(ask(CODING_BR), -ENODATA);
	ck_assert_int_ge(modified(PLACE ".gz"), now - 2);
	ck_assert_int_ge(modified(PLACE ".br"), now - 2);
	cache_expire(cache, 30, &never);
	has(CODING_GZIP, "gzip");
	ck_assert_int_eq(ask(CODING_BR), -ENODATA);

	/* Once a day is enough. */
	age(PLACE ".gz", DAY / 2);
	recently = modified(PLACE ".gz");
	has(CODING_GZIP, "gzip");
	ck_assert_int_eq(modified(PLACE ".gz"), recently);
}
END_TEST

START_TEST(nothing_else_expires)
{
	static const char *const names[] = {
		"file",
		"abcd0102030405060708090a0b0c0dff-1000.gz", /* not where it would be looked for */
		"cd/abcd0102030405060708090a0b0c0dff-1000.gz",
		"AB/abcd0102030405060708090a0b0c0dff-1000.gz",
		"abc/abcd0102030405060708090a0b0c0dff-1000.gz",
		"ab/file",
		"ab/.newer",
		"ab/abcd0102030405060708090a0b0c0dff-1000",
		"ab/abcd0102030405060708090a0b0c0dff-1000.gz.txt",
		"ab/abcd0102030405060708090a0b0c0dff-.gz",
		"ab/abcd0102030405060708090a0b0c0dff.gz",
		"ab/abcd0102030405060708090a0b0c0df-1000.gz",
		"ab/abcd0102030405060708090a0b0c0dfff-1000.gz",
		"ab/ABCD0102030405060708090a0b0c0dff-1000.gz",
		"ab/abcd0102030405060708090a0b0c0dff-1000.xz",
	};
	const size_t n = sizeof(names) / sizeof(names[0]);

	for (size_t i = 0; i < n; i++) {
		put(names[i], "x");
		age(names[i], 1000 * DAY);
	}
	ck_assert_int_eq(mkdir(path_of(PLACE ".gz"), 0700), 0);
	age(PLACE ".gz", 1000 * DAY);
	ck_assert_int_eq(symlink("file", path_of(PLACE ".br")), 0);
	age(PLACE ".br", 1000 * DAY);
	cache_expire(cache, 30, &never);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(exists(names[i]), "%s", names[i]);
	ck_assert(exists(PLACE ".gz"));
	ck_assert(exists(PLACE ".br"));
}
END_TEST

START_TEST(expiry_can_be_stopped)
{
	atomic_bool stop = true;

	keep(CODING_GZIP, "old");
	age(PLACE ".gz", 31 * DAY);
	cache_expire(cache, 30, &stop);
	ck_assert(exists(PLACE ".gz"));
}
END_TEST

#define ROUNDS 500

/* One of two contents, of one byte many times: a mixture of both would be seen. */
static void *write_many(void *letter)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct body *body;

		ck_assert_int_eq(body_create(&body, 900), 0);
		memset(body->bytes, *(const char *)letter, body->len);
		ck_assert_int_eq(cache_write(cache, hash, LEN, CODING_GZIP, body), 0);
		body_release(body);
	}
	return NULL;
}

START_TEST(files_appear_whole)
{
	static char letters[] = "ab";
	pthread_t threads[2];
	unsigned seen = 0;

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_many, &letters[i]), 0);
	while (seen < ROUNDS) {
		struct body *body;

		if (cache_read(cache, hash, LEN, CODING_GZIP, &body) < 0)
			continue;
		ck_assert_uint_eq(body->len, 900);
		for (uint64_t i = 1; i < body->len; i++)
			ck_assert_uint_eq(body->bytes[i], body->bytes[0]);
		body_release(body);
		seen++;
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(files(), 1);
}
END_TEST

/* Temporary names that others have taken, as a process of the same number in another container may. */
START_TEST(temporary_names_may_be_taken)
{
	char name[64];

	keep(CODING_GZIP, "gzip");
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "ab/.new-%ld-%d", (long)getpid(), i);
		put(name, "theirs");
	}
	keep(CODING_GZIP, "ours");
	has(CODING_GZIP, "ours");
	ck_assert_uint_eq(files(), 6);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cache");
	TCase *tcase = tcase_create("cache");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, what_is_kept_is_found);
	tcase_add_test(tcase, other_contents_are_other_files);
	tcase_add_test(tcase, that_there_is_none_is_kept);
	tcase_add_test(tcase, what_is_forgotten_is_gone);
	tcase_add_test(tcase, a_file_that_cannot_be_it_is_not_there);
	tcase_add_test(tcase, links_are_not_followed);
	tcase_add_test(tcase, a_link_is_no_subdirectory);
	tcase_add_test(tcase, damage_is_found_by_the_gate);
	tcase_add_test(tcase, a_full_disk_changes_nothing);
	tcase_add_test(tcase, a_directory_that_can_only_be_read_is_read);
	tcase_add_test(tcase, a_directory_that_vanishes_is_an_error);
	tcase_add_test(tcase, the_directory_is_made);
	tcase_add_test(tcase, no_directory_is_an_error_in_words);
	tcase_add_test(tcase, what_nobody_uses_expires);
	tcase_add_test(tcase, what_is_used_does_not_expire);
	tcase_add_test(tcase, nothing_else_expires);
	tcase_add_test(tcase, expiry_can_be_stopped);
	tcase_add_test(tcase, files_appear_whole);
	tcase_add_test(tcase, temporary_names_may_be_taken);
	suite_add_tcase(suite, tcase);

	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
