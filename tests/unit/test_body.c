/* test_body.c - the bytes of answers: where they lie, what they cost, how they are shared, and what their hash is. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loom/body.h"

static struct body *make(const char *content, size_t len)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, len), 0);
	memcpy(body->bytes, content, len);
	body_seal(body);
	return body;
}

START_TEST(bodies_of_every_length_lie_right)
{
	static const char content[300] = "x";

	for (size_t len = 0; len < sizeof(content); len++) {
		struct body *body = make(content, len);

		ck_assert_uint_eq((uintptr_t)body->bytes % 64, 0);
		ck_assert_uint_eq(body->len, len);
		ck_assert_uint_eq(body->references, 1);
		ck_assert_uint_eq(body->memory, body_memory(len));
		ck_assert_uint_ge(body->memory, sizeof(*body) + len);
		ck_assert_uint_lt(body->memory, sizeof(*body) + len + 2 * 64);
		body_release(body);
	}
}
END_TEST

START_TEST(a_body_beyond_all_memory_is_enomem)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, UINT64_MAX), -ENOMEM);
	ck_assert_int_eq(body_create(&body, UINT64_MAX - 1000), -ENOMEM);
	ck_assert_int_eq(body_create(&body, (uint64_t)PTRDIFF_MAX), -ENOMEM);
}
END_TEST

START_TEST(a_hash_is_of_the_bytes_and_the_same_on_every_machine)
{
	/* XXH3, 128 bits, of nothing: 99aa06d3014798d86001c324468d497f. */
	static const uint8_t nothing[BODY_HASH_LEN] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
		                                        0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
	struct body *empty = make("", 0), *a = make("same", 4), *b = make("same", 4), *c = make("Same", 4),
		    *d = make("same\0", 5);

	ck_assert_mem_eq(empty->hash, nothing, BODY_HASH_LEN);
	ck_assert_mem_eq(a->hash, b->hash, BODY_HASH_LEN);
	ck_assert_mem_ne(a->hash, c->hash, BODY_HASH_LEN);
	ck_assert_mem_ne(a->hash, d->hash, BODY_HASH_LEN);
	body_release(empty);
	body_release(a);
	body_release(b);
	body_release(c);
	body_release(d);
}
END_TEST

START_TEST(references_are_counted)
{
	struct body *body = make("x", 1);

	ck_assert_ptr_eq(body_reference(body), body);
	body_release(body);
	ck_assert_mem_eq(body->bytes, "x", 1);
	body_release(body);
	body_release(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("body");
	TCase *tcase = tcase_create("bodies");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, bodies_of_every_length_lie_right);
	tcase_add_test(tcase, a_body_beyond_all_memory_is_enomem);
	tcase_add_test(tcase, a_hash_is_of_the_bytes_and_the_same_on_every_machine);
	tcase_add_test(tcase, references_are_counted);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
