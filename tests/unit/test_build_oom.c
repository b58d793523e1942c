/*
 * test_build_oom.c - out of memory at every single allocation of a build: a clear error, nothing leaked, and the
 * snapshot before it untouched. The test program brings its own allocator in front of glibc's; under a sanitizer,
 * which brings one as well, there is nothing to test.
 */
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

static bool counting;
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

static void make_tree(void)
{
	char name[32];

	tree_put("404.html", "nothing");
	for (int i = 0; i < 150; i++) { /* past what the first arrays hold */
		snprintf(name, sizeof(name), "%d/index.html", i);
		tree_put(name, name);
	}
	tree_link("1", "link");
}

/* Fails the first allocation, the second ... until none is left to fail. Returns how many there were. */
static long sweep(const struct snapshot *previous, const char *id)
{
	for (long n = 0;; n++) {
		struct build_request request = { .options = &tree.options, .workers = 1, .previous = previous };
		struct snapshot *snapshot = NULL;
		long failures = failed;
		int err;

		/* Nothing of Check's in between: it allocates as well. */
		live = 0;
		until_failure = n;
		counting = true;
		err = build_snapshot(&request, &snapshot, tree.why, sizeof(tree.why));
		until_failure = -1;
		if (err) {
			counting = false;
			ck_assert_int_eq(err, -ENOMEM);
			ck_assert_ptr_null(snapshot);
			ck_assert_ptr_nonnull(strstr(tree.why, ": out of memory"));
		} else {
			/* Also when one has failed that could be done without: a snapshot is whole. */
			bool whole = strcmp(snapshot->id, id) == 0;

			build_free(snapshot);
			counting = false;
			ck_assert(whole);
		}
		ck_assert_msg(live == 0, "%ld left after the failure of %ld", live, n);
		if (failed == failures)
			return n;
	}
}

START_TEST(every_allocation_may_fail)
{
	struct snapshot *snapshot;

	make_tree();
	snapshot = tree_snapshot(NULL);
	ck_assert_int_gt(sweep(NULL, snapshot->id), 450);
	build_free(snapshot);
}
END_TEST

START_TEST(the_one_before_is_left_as_it_was)
{
	struct snapshot *previous, *next;
	uint64_t memory;

	make_tree();
	previous = tree_snapshot(NULL);
	memory = previous->memory;
	tree_put("1/index.html", "changed");
	tree_put("new/index.html", "new");
	next = tree_snapshot(previous);
	ck_assert_int_gt(sweep(previous, next->id), 100);
	build_free(next);
	tree_serves(previous, "/1/", "1/index.html");
	ck_assert_uint_eq(previous->memory, memory);
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
	tcase_add_test(tcase, the_one_before_is_left_as_it_was);
#endif
	return tree_run(suite);
}
