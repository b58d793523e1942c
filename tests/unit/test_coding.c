/* test_coding.c - what Accept-Encoding asks for, and which of the variants that there are it gets. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/coding.h"

#define UNSAID CODING_Q_UNSAID

/* Reads field lines, with a '\n' between them, each from memory of exactly its length. */
static struct coding_wishes wishes_of(const char *lines)
{
	struct coding_wishes wishes;
	struct coding_list list;

	coding_list_begin(&list, &wishes);
	for (;;) {
		size_t len = strcspn(lines, "\n");
		char *line = malloc(len ? len : 1);

		memcpy(line, lines, len);
		coding_list_line(&list, line, len);
		free(line);
		if (lines[len] == '\0')
			break;
		lines += len + 1;
	}
	coding_list_end(&list);
	return wishes;
}

static const struct {
	const char *lines;
	int16_t q[CODINGS]; /* identity, gzip, br, zstd */
} cases[] = {
	{ "", { UNSAID, 0, 0, 0 } },
	{ "gzip", { UNSAID, 1000, 0, 0 } },
	{ "x-gzip", { UNSAID, 1000, 0, 0 } },
	{ "GZip, BR, Zstd", { UNSAID, 1000, 1000, 1000 } },
	{ "identity", { 1000, 0, 0, 0 } },
	{ "gzip, deflate, br, zstd", { UNSAID, 1000, 1000, 1000 } },
	{ "gzip,br,zstd", { UNSAID, 1000, 1000, 1000 } },
	{ " \tgzip \t,\t br ", { UNSAID, 1000, 1000, 0 } },
	{ ",, ,gzip,,", { UNSAID, 1000, 0, 0 } },
	{ ",", { UNSAID, 0, 0, 0 } },
	/* weights, 12.4.2 */
	{ "gzip;q=1", { UNSAID, 1000, 0, 0 } },
	{ "gzip;q=1.", { UNSAID, 1000, 0, 0 } },
	{ "gzip;q=1.0", { UNSAID, 1000, 0, 0 } },
	{ "gzip;q=1.000", { UNSAID, 1000, 0, 0 } },
	{ "gzip;q=0", { UNSAID, 0, 0, 0 } },
	{ "gzip;q=0.", { UNSAID, 0, 0, 0 } },
	{ "gzip;q=0.5", { UNSAID, 500, 0, 0 } },
	{ "gzip;q=0.25", { UNSAID, 250, 0, 0 } },
	{ "gzip;q=0.001", { UNSAID, 1, 0, 0 } },
	{ "gzip;q=0.999", { UNSAID, 999, 0, 0 } },
	{ "gzip;q=0.000, br;q=0.010", { UNSAID, 0, 10, 0 } },
	{ "gzip \t;\t q=0.5", { UNSAID, 500, 0, 0 } },
	{ "gzip;Q=0.5", { UNSAID, 500, 0, 0 } },
	{ "gzip;q=0.5 , br", { UNSAID, 500, 1000, 0 } },
	/* what is malformed is passed over, and what follows is not */
	{ "gzip;q=, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip; , br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=2, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=1.001, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=0.0001, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=.5, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=00, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=-1, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=0,5, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=0.5x, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q = 0.5, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=\"1\", br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;level=9, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;q=1;x=y, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip;;q=1, br", { UNSAID, 0, 1000, 0 } },
	{ "gzip br, zstd", { UNSAID, 0, 0, 1000 } },
	{ "gzip/br, zstd", { UNSAID, 0, 0, 1000 } },
	{ ";q=1, br", { UNSAID, 0, 1000, 0 } },
	{ "\"gzip\", br", { UNSAID, 0, 1000, 0 } },
	{ "gzip\x80, br", { UNSAID, 0, 1000, 0 } },
	{ "=, br", { UNSAID, 0, 1000, 0 } },
	/* what is unknown, too */
	{ "deflate, compress;q=0.5, exi, pack200-gzip, gzipped, bro, b, zst, dcb, dcz", { UNSAID, 0, 0, 0 } },
	{ "x-zstd, y-gzip, x_gzip", { UNSAID, 0, 0, 0 } },
	/* everything else */
	{ "*", { 1000, 1000, 1000, 1000 } },
	{ "*;q=0.3", { 300, 300, 300, 300 } },
	{ "*;q=0", { 0, 0, 0, 0 } },
	{ "*, gzip;q=0", { 1000, 0, 1000, 1000 } },
	{ "gzip;q=0, *", { 1000, 0, 1000, 1000 } },
	{ "gzip, *;q=0", { 0, 1000, 0, 0 } },
	{ "identity;q=0.5, *;q=0", { 500, 0, 0, 0 } },
	{ "identity;q=0", { 0, 0, 0, 0 } },
	{ "identity;q=0, *;q=0.2", { 0, 200, 200, 200 } },
	{ "*;q=x, gzip", { UNSAID, 1000, 0, 0 } },
	{ "**, gzip", { UNSAID, 1000, 0, 0 } },
	{ "*gzip", { UNSAID, 0, 0, 0 } },
	/* several lines */
	{ "gzip\nbr", { UNSAID, 1000, 1000, 0 } },
	{ "gzip;q=0.1\n\n*;q=0.2\nidentity;q=0", { 0, 100, 200, 200 } },
	{ "gzip;q=\n0.5, br", { UNSAID, 0, 1000, 0 } }, /* a member ends with its line */
};

START_TEST(wishes_are_read)
{
	struct coding_wishes wishes = wishes_of(cases[_i].lines);

	for (unsigned i = 0; i < CODINGS; i++)
		ck_assert_msg(wishes.q[i] == cases[_i].q[i], "%s: %s is %d instead of %d", cases[_i].lines,
		              coding_name(i), wishes.q[i], cases[_i].q[i]);
}
END_TEST

START_TEST(no_field_at_all_is_identity)
{
	static const size_t sizes[CODINGS] = { 1000, 1, 1, 1 };
	struct coding_wishes wishes;

	coding_wishes_init(&wishes);
	ck_assert_int_eq(coding_choose(&wishes, sizes), CODING_IDENTITY);
}
END_TEST

/* Names and their beginnings and continuations. */
START_TEST(names)
{
	ck_assert_str_eq(coding_name(CODING_IDENTITY), "identity");
	ck_assert_str_eq(coding_name(CODING_GZIP), "gzip");
	ck_assert_str_eq(coding_name(CODING_BR), "br");
	ck_assert_str_eq(coding_name(CODING_ZSTD), "zstd");
	ck_assert_str_eq(coding_suffix(CODING_IDENTITY), "");
	ck_assert_str_eq(coding_suffix(CODING_GZIP), ".gz");
	ck_assert_str_eq(coding_suffix(CODING_BR), ".br");
	ck_assert_str_eq(coding_suffix(CODING_ZSTD), ".zst");
	for (unsigned i = 0; i < CODINGS; i++) {
		char name[16];
		size_t len;

		snprintf(name, sizeof(name), "%s", coding_name(i));
		len = strlen(name);
		ck_assert_int_eq(coding_by_name(name, len), i);
		ck_assert_int_eq(coding_by_name(name, len - 1), CODINGS);
		ck_assert_int_eq(coding_by_name(name + 1, len - 1), CODINGS);
		name[0] = (char)(name[0] - 0x20);
		ck_assert_int_eq(coding_by_name(name, len), i);
		name[len] = 'x';
		ck_assert_int_eq(coding_by_name(name, len + 1), CODINGS);
		name[0]++;
		ck_assert_int_eq(coding_by_name(name, len), CODINGS);
	}
	ck_assert_int_eq(coding_by_name("x-gzip", 6), CODING_GZIP);
	ck_assert_int_eq(coding_by_name("", 0), CODINGS);
	ck_assert_int_eq(coding_by_name("*", 1), CODINGS);
}
END_TEST

/*
 * All combinations of some weights and some sizes, against the rule said once more: nothing with q=0, the greatest q,
 * of these the smallest; identity that nobody spoke of comes last.
 */
START_TEST(the_best_is_chosen)
{
	static const int16_t weights[] = { UNSAID, 0, 1, 500, 1000 };
	static const size_t lengths[] = { SIZE_MAX, 0, 100, 200 };
	unsigned chosen[CODINGS + 1] = { 0 };

	for (unsigned w = 0; w < 5 * 4 * 4 * 4; w++) {
		for (unsigned s = 0; s < 3 * 4 * 4 * 4; s++) {
			struct coding_wishes wishes = { .q = { weights[w % 5], weights[1 + w / 5 % 4],
				                               weights[1 + w / 20 % 4], weights[1 + w / 80] } };
			size_t sizes[CODINGS] = { lengths[1 + s % 3], lengths[s / 3 % 4], lengths[s / 12 % 4],
				                  lengths[s / 48] };
			enum content_coding choice = coding_choose(&wishes, sizes);

			chosen[choice]++;
			for (unsigned i = 0; i < CODINGS; i++) {
				if (sizes[i] == SIZE_MAX || wishes.q[i] == 0)
					ck_assert(choice != i);
				else if (choice == CODINGS)
					ck_abort_msg("there is one");
				else if (wishes.q[i] > wishes.q[choice] ||
				         (wishes.q[i] == wishes.q[choice] && sizes[i] < sizes[choice]))
					ck_abort_msg("%u is better than %u", i, choice);
			}
		}
	}
	for (unsigned i = 0; i <= CODINGS; i++)
		ck_assert_uint_gt(chosen[i], 100);
}
END_TEST

START_TEST(of_equals_identity_comes_first)
{
	static const size_t sizes[CODINGS] = { 10, 10, 10, 10 };
	struct coding_wishes wishes = wishes_of("*");

	ck_assert_int_eq(coding_choose(&wishes, sizes), CODING_IDENTITY);
}
END_TEST

/* What clients of these days send. */
START_TEST(browsers_get_the_smallest)
{
	static const char *const browsers[] = { "gzip, deflate, br, zstd", "gzip, deflate, br",
		                                "gzip;q=1.0,deflate;q=0.6,identity;q=0.3", "gzip" };
	static const enum content_coding expected[] = { CODING_ZSTD, CODING_BR, CODING_GZIP, CODING_GZIP };
	static const size_t sizes[CODINGS] = { 1000, 300, 250, 240 };

	for (size_t i = 0; i < sizeof(browsers) / sizeof(browsers[0]); i++) {
		struct coding_wishes wishes = wishes_of(browsers[i]);

		ck_assert_int_eq(coding_choose(&wishes, sizes), expected[i]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("coding");
	TCase *tcase = tcase_create("coding");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tcase, wishes_are_read, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, no_field_at_all_is_identity);
	tcase_add_test(tcase, names);
	tcase_add_test(tcase, the_best_is_chosen);
	tcase_add_test(tcase, of_equals_identity_comes_first);
	tcase_add_test(tcase, browsers_get_the_smallest);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
