/*
 * test_build_oom.c - out of memory at every single allocation of a build: a clear error, nothing leaked, and the
 * snapshot before it untouched. The test program brings its own allocator in front of glibc's; under a sanitizer,
 * which brings one as well, there is nothing to test. What fails and what is counted is the builder's thread alone.
 */
#include <sched.h>

#include "loom/compress.h"
#include "loom/memory.h"
#include "tree.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef SANITIZED

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static _Thread_local bool counting;
static long until_failure = -1; /* allocations that succeed; negative: all */
static long failed;
static long live; /* allocated while counting, and not freed */

static bool fails(void)
{
	if (!counting || until_failure < 0)
		return false;
	if (until_failure-- > 0)
		return false;
	until_failure = -1; /* one only: what follows must cope, not run into the next */
	failed++;
	errno = ENOMEM;
	return true;
}

static void *count(void *memory)
{
	live += counting && memory;
	return memory;
}

__attribute__((used)) void *malloc(size_t size)
{
	return fails() ? NULL : count(__libc_malloc(size));
}

__attribute__((used)) void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : count(__libc_calloc(n, size));
}

__attribute__((used)) void *realloc(void *old, size_t size)
{
	void *memory = fails() ? NULL : __libc_realloc(old, size);

	return old ? memory : count(memory);
}

__attribute__((used)) void *aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : count(__libc_memalign(alignment, size));
}

__attribute__((used)) void free(void *memory)
{
	live -= counting && memory;
	__libc_free(memory);
}

/* One processor: the builder's thread reads alone, so that all that is allocated and freed is its own. */
__attribute__((used)) int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	CPU_ZERO_S(size, set);
	CPU_SET_S(0, size, set);
	return 0;
}

/* Contents that get smaller, each another one. */
static const char *text_of(int number)
{
	static char text[1001];

	for (size_t n = 0; n < 1000;)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%d: a text that says little, at %zu\n", number, n);
	return text;
}

static void put_sidecar(const char *path, enum content_coding coding, const char *content)
{
	static const atomic_bool never;
	struct body *coded;

	ck_assert_int_eq(compress_encode(&coded, coding, (const uint8_t *)content, strlen(content), &never), 0);
	tree_write(path, (const char *)coded->bytes, coded->len);
	body_release(coded);
}

static void make_tree(void)
{
	char name[32];

	tree_put("404.html", "nothing");
	for (int i = 0; i < 150; i++) { /* past what the first arrays hold */
		snprintf(name, sizeof(name), "%d/index.html", i);
		tree_put(name, name);
	}
	tree_link("1", "link");
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "variants/%d.css", i);
		tree_put(name, text_of(i));
	}
	tree_put("variants/index.html", text_of(100));
	tree_put("small.txt",
	         "a text so small that it has no variant of our own, and yet a sidecar: aaaaaaaaaaaaaaaaaaaaaa");
	put_sidecar("small.txt.gz", CODING_GZIP,
	            "a text so small that it has no variant of our own, and yet a sidecar: aaaaaaaaaaaaaaaaaaaaaa");
	put_sidecar("variants/1.css.br", CODING_BR, text_of(1));
	put_sidecar("variants/2.css.zst", CODING_ZSTD, text_of(2));
	put_sidecar("variants/3.css.gz", CODING_GZIP, text_of(4)); /* of another content */
}

/*
 * Fails the first allocation, the second ... until none is left to fail. Returns how many there were. All contents have
 * been asked for before, as the store keeps what it allocates.
 */
static long sweep(const struct snapshot *previous, bool as_before, const struct snapshot *expected)
{
	ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr)); /* the same warning, hundreds of times */
	for (long n = 0;; n++) {
		struct build_request request = {
			.options = &tree.options,
			.workers = 1,
			.previous = previous,
			.variants = tree.variants,
			.as_before = as_before,
		};
		struct snapshot *snapshot = NULL;
		uint64_t held = memory_held();
		long failures = failed;
		int err;

		/* Nothing of Check's in between: it allocates as well. */
		live = 0;
		until_failure = n;
		counting = true;
		err = build_snapshot(&request, &snapshot, tree.why, sizeof(tree.why));
		until_failure = -1; /* what was not reached */
		if (err) {
			counting = false;
			ck_assert_int_eq(err, -ENOMEM);
			ck_assert_ptr_null(snapshot);
			ck_assert_ptr_nonnull(strstr(tree.why, ": out of memory"));
		} else {
			/* Also when one has failed that could be done without: a snapshot is whole. */
			bool whole = strcmp(snapshot->id, expected->id) == 0 && snapshot->coded == expected->coded &&
			             snapshot->coded_bytes == expected->coded_bytes;

			build_free(snapshot);
			counting = false;
			ck_assert(whole);
		}
		ck_assert_uint_eq(memory_held(), held);
		ck_assert_msg(live == 0, "%ld left after the failure of %ld", live, n);
		if (failed == failures)
			return n;
	}
}

/* The tree's snapshot, without what has been logged of it. */
static struct snapshot *snapshot_of(const struct snapshot *previous)
{
	struct snapshot *snapshot = tree_snapshot(previous);

	if (tree.variants)
		tree_collect();
	return snapshot;
}

START_TEST(every_allocation_may_fail)
{
	struct snapshot *snapshot;

	make_tree();
	snapshot = snapshot_of(NULL);
	ck_assert_uint_eq(snapshot->coded, 3); /* the sidecars */
	ck_assert_int_gt(sweep(NULL, false, snapshot), 450);
	build_free(snapshot);
}
END_TEST

START_TEST(every_allocation_may_fail_with_variants)
{
	struct snapshot *snapshot;

	make_tree();
	tree_compress();
	build_free(snapshot_of(NULL));
	snapshot = snapshot_of(NULL);
	ck_assert_uint_eq(snapshot->coded, 6 * 3 + 1);
	ck_assert_int_gt(sweep(NULL, false, snapshot), 480);
	build_free(snapshot);
}
END_TEST

START_TEST(the_one_before_is_left_as_it_was)
{
	struct snapshot *previous, *next;
	uint64_t memory;

	make_tree();
	previous = snapshot_of(NULL);
	memory = previous->memory;
	tree_put("1/index.html", "changed");
	tree_put("new/index.html", "new");
	next = snapshot_of(previous);
	ck_assert_int_gt(sweep(previous, false, next), 100);
	build_free(next);
	tree_serves(previous, "/1/", "1/index.html");
	ck_assert_uint_eq(previous->memory, memory);
	build_free(previous);
}
END_TEST

/* Variants come with a follow-up snapshot; and then, after a change, with the next one. */
START_TEST(the_one_before_is_left_as_it_was_with_variants)
{
	struct snapshot *previous, *next;
	uint64_t memory;

	make_tree();
	tree_compress();
	previous = snapshot_of(NULL);
	memory = previous->memory;
	next = tree_as_before(previous);
	ck_assert_uint_eq(next->coded, 6 * 3 + 1);
	ck_assert_int_gt(sweep(previous, true, next), 18);
	build_free(next);
	ck_assert_uint_eq(previous->coded, 3);
	ck_assert_uint_eq(previous->memory, memory);
	build_free(previous);

	previous = snapshot_of(NULL);
	tree_put("variants/0.css", text_of(50));
	tree_put("variants/5.css", text_of(51));
	unlink(tree_path("small.txt.gz"));
	build_free(snapshot_of(previous)); /* asks for the new ones */
	next = snapshot_of(previous);
	ck_assert_uint_eq(next->coded, 7 * 3);
	ck_assert_int_gt(sweep(previous, false, next), 30);
	build_free(next);
	ck_assert_int_eq(compress_matches(CODING_BR, tree_coded(previous, "/variants/0.css", CODING_BR)->body,
	                                  tree_coded(previous, "/variants/0.css", CODING_BR)->body_len,
	                                  (const uint8_t *)text_of(0), 1000),
	                 1);
	build_free(previous);
}
END_TEST

#endif

int main(void)
{
	Suite *suite = suite_create("build_oom");
	TCase *tcase = tcase_create("oom");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, tree_setup, tree_teardown);
#ifndef SANITIZED
	tcase_add_test(tcase, every_allocation_may_fail);
	tcase_add_test(tcase, every_allocation_may_fail_with_variants);
	tcase_add_test(tcase, the_one_before_is_left_as_it_was);
	tcase_add_test(tcase, the_one_before_is_left_as_it_was_with_variants);
#endif
	return tree_run(suite);
}
