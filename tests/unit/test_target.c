/* test_target.c - request targets become keys of the snapshot, and nothing else. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loom/target.h"

static const struct {
	const char *text;
	int result;
	const char *path;
	const char *query;
} cases[] = {
	{ "/", 0, "/", "" },
	{ "/a/b.html", 0, "/a/b.html", "" },
	{ "/a?x=1?y", 0, "/a", "?x=1?y" },
	{ "/?", 0, "/", "?" },
	{ "/a//b", 0, "/a/b", "" },
	{ "//host/x", 0, "/host/x", "" },
	{ "/a/", 0, "/a/", "" },
	{ "/a//", 0, "/a/", "" },
	{ "/a/./b", 0, "/a/b", "" },
	{ "/a/.", 0, "/a/", "" },
	{ "/a/..", 0, "/", "" },
	{ "/a/../b", 0, "/b", "" },
	{ "/a/b/../../c", 0, "/c", "" },
	{ "/a/...", 0, "/a/...", "" },
	{ "/a/..b", 0, "/a/..b", "" },
	{ "/.hidden", 0, "/.hidden", "" },
	{ "/%41%2e", 0, "/A.", "" },
	{ "/a/%2e%2E/b", 0, "/b", "" },
	{ "/a%20b?%20", 0, "/a b", "?%20" },
	{ "/%25%32%65", 0, "/%2e", "" }, /* decoded once */
	{ "/caf%C3%A9", 0, "/caf\xc3\xa9", "" },
	{ "/%3Fx", 0, "/?x", "" },
	{ "http://a/b", 0, "/b", "" },
	{ "HTTP://a:80/b?c", 0, "/b", "?c" },
	{ "https://a", 0, "/", "" },
	{ "http://a?x", 0, "/", "?x" },
	{ "http://a//b", 0, "/b", "" },
	{ "/..", -EINVAL, NULL, NULL },
	{ "/../etc/passwd", -EINVAL, NULL, NULL },
	{ "/a/../../b", -EINVAL, NULL, NULL },
	{ "/%2e%2e/etc/passwd", -EINVAL, NULL, NULL },
	{ "/%", -EINVAL, NULL, NULL },
	{ "/%4", -EINVAL, NULL, NULL },
	{ "/%4g", -EINVAL, NULL, NULL },
	{ "/%00", -EINVAL, NULL, NULL },
	{ "/a%0d%0aX:y", -EINVAL, NULL, NULL },
	{ "/%7f", -EINVAL, NULL, NULL },
	{ "/a%2fb", -ENOENT, NULL, NULL },
	{ "/..%2f..%2fetc/passwd", -ENOENT, NULL, NULL },
	{ "*", -EINVAL, NULL, NULL },
	{ "a", -EINVAL, NULL, NULL },
	{ "a:80", -EINVAL, NULL, NULL },
	{ "ftp://a/b", -EINVAL, NULL, NULL },
	{ "http://", -EINVAL, NULL, NULL },
	{ "http:///b", -EINVAL, NULL, NULL },
	{ "", -EINVAL, NULL, NULL },
};

START_TEST(test_targets)
{
	size_t len = strlen(cases[_i].text);
	char *text = malloc(len + 1), *scratch = malloc(len + 1);
	struct target target;

	memcpy(text, cases[_i].text, len);
	ck_assert_msg(target_parse(text, len, scratch, &target) == cases[_i].result, "%s", cases[_i].text);
	if (cases[_i].result == 0) {
		ck_assert_msg(target.path_len == strlen(cases[_i].path) &&
		                      !memcmp(target.path, cases[_i].path, target.path_len),
		              "%s: %.*s", cases[_i].text, (int)target.path_len, target.path);
		ck_assert_uint_eq(target.query_len, strlen(cases[_i].query));
		ck_assert(target.query_len == 0 || !memcmp(target.query, cases[_i].query, target.query_len));
	}
	free(text);
	free(scratch);
}
END_TEST

/* Whatever the bytes, the result is a clean path: from the root, with no empty and no dot segment. */
START_TEST(test_every_result_is_normal)
{
	static const char alphabet[] = "/./%2eEf05a?";
	unsigned seed = 1;

	for (int round = 0; round < 200000; round++) {
		char text[16], scratch[16];
		struct target target;
		size_t len = 0;

		text[len++] = '/';
		while (len < 2 + seed % 13)
			text[len++] = alphabet[(seed = seed * 1103515245 + 12345) / 65536 % (sizeof(alphabet) - 1)];
		seed = seed * 1103515245 + 12345;
		if (target_parse(text, len, scratch, &target) < 0)
			continue;
		for (size_t i = 0; i < target.path_len; i++) {
			const char *at = target.path + i;
			size_t left = target.path_len - i;

			if (*at != '/')
				continue;
			if ((left >= 2 && at[1] == '/') || (left == 2 && at[1] == '.') ||
			    (left >= 3 && !memcmp(at, "/./", 3)) || (left == 3 && !memcmp(at, "/..", 3)) ||
			    (left >= 4 && !memcmp(at, "/../", 4)))
				ck_abort_msg("%.*s", (int)target.path_len, target.path);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("target");
	TCase *tcase = tcase_create("target");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tcase, test_targets, 0, sizeof(cases) / sizeof(*cases));
	tcase_add_test(tcase, test_every_result_is_normal);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
