/* test_pool.c - pools: every object once, none twice, the last given back first, and pages only for what is used. */
#include <check.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loom/pool.h"

START_TEST(test_all_are_different_and_bounded)
{
	struct pool pool;
	char *object[100];

	ck_assert_int_eq(pool_create(&pool, 128, 100), 0);
	for (int round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 100; i++) {
			object[i] = pool_take(&pool);
			ck_assert_ptr_nonnull(object[i]);
			ck_assert_uint_eq((uintptr_t)object[i] % 64, 0);
			memset(object[i], (int)i, 128);
		}
		ck_assert_ptr_null(pool_take(&pool));
		for (unsigned i = 0; i < 100; i++) {
			for (unsigned j = 0; j < 128; j++)
				ck_assert_int_eq(object[i][j], (char)i);
			ck_assert_ptr_eq(pool_at(&pool, pool_index(&pool, object[i])), object[i]);
		}
		for (unsigned i = 0; i < 100; i++)
			pool_give(&pool, object[(i * 37 + (unsigned)round) % 100]);
		ck_assert_uint_eq(pool.used, 0);
	}
	pool_destroy(&pool);
}
END_TEST

START_TEST(test_an_object_comes_back_as_it_was_left)
{
	struct pool pool;
	char *object;

	ck_assert_int_eq(pool_create(&pool, 64, 10), 0);
	object = pool_take(&pool);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_int_eq(object[i], 0);
	memset(object, 7, 64);
	pool_give(&pool, object);
	ck_assert_ptr_eq(pool_take(&pool), object);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_int_eq(object[i], 7);
	pool_give(&pool, object);
	pool_destroy(&pool);
}
END_TEST

START_TEST(test_unused_objects_have_no_pages)
{
	struct pool pool;
	unsigned char resident[1024];
	unsigned pages = 0;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	ck_assert_int_eq(pool_create(&pool, page, 1024), 0);
	for (int round = 0; round < 100; round++) {
		char *a = pool_take(&pool), *b = pool_take(&pool);

		a[0] = b[0] = 1;
		pool_give(&pool, a);
		pool_give(&pool, b);
	}
	ck_assert_int_eq(mincore(pool.base, 1024 * page, resident), 0);
	for (unsigned i = 0; i < 1024; i++)
		pages += resident[i] & 1;
	ck_assert_uint_eq(pages, 2);
	pool_destroy(&pool);
}
END_TEST

/* Sizes of whatever odd part, and addresses beyond 32 bits. */
START_TEST(test_index_of_any_size)
{
	for (size_t size = 64; size <= 64 * 300; size += 64) {
		struct pool pool;
		uint32_t count = 0x200000000 / size;

		ck_assert_int_eq(pool_create(&pool, size, count), 0);
		for (uint32_t i = 0; i < count; i = 3 * i + 1)
			ck_assert_uint_eq(pool_index(&pool, pool_at(&pool, i)), i);
		ck_assert_uint_eq(pool_index(&pool, pool_at(&pool, count - 1)), count - 1);
		pool_destroy(&pool);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pool");
	TCase *tcase = tcase_create("pool");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tcase, test_all_are_different_and_bounded);
	tcase_add_test(tcase, test_an_object_comes_back_as_it_was_left);
	tcase_add_test(tcase, test_unused_objects_have_no_pages);
	tcase_add_test(tcase, test_index_of_any_size);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
