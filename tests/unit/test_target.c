/* test_target.c - request targets become keys of the snapshot, and nothing else. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/target.h"

static const struct {
	const char *text;
	int result;
	const char *path; /* NULL with 0: asterisk-form or authority-form */
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
	{ "https://a", -EINVAL, NULL, NULL },
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
	{ "a", -EINVAL, NULL, NULL },
	{ "ftp://a/b", -EINVAL, NULL, NULL },
	{ "http://", -EINVAL, NULL, NULL },
	{ "http:///b", -EINVAL, NULL, NULL },
	{ "", -EINVAL, NULL, NULL },
	/* forms, RFC 9112 3.2 */
	{ "*", 0, NULL, NULL },
	{ "**", -EINVAL, NULL, NULL },
	{ "*/", -EINVAL, NULL, NULL },
	{ "*?x", -EINVAL, NULL, NULL },
	{ "/*", 0, "/*", "" },
	{ "a:80", 0, NULL, NULL },
	{ "a.b.example:443", 0, NULL, NULL },
	{ "127.0.0.1:8080", 0, NULL, NULL },
	{ "[::1]:80", 0, NULL, NULL },
	{ "a:", -EINVAL, NULL, NULL },
	{ ":80", -EINVAL, NULL, NULL },
	{ ":", -EINVAL, NULL, NULL },
	{ "a:b", -EINVAL, NULL, NULL },
	{ "a:80:81", -EINVAL, NULL, NULL },
	{ "a:80/", -EINVAL, NULL, NULL },
	{ "a:80?x", -EINVAL, NULL, NULL },
	{ "u@a:80", -EINVAL, NULL, NULL },
	{ "[::1]", -EINVAL, NULL, NULL }, /* without a port */
	{ "[::1]:", -EINVAL, NULL, NULL },
	{ "a", -EINVAL, NULL, NULL },
	{ "[::1", -EINVAL, NULL, NULL },
	{ "[::1:80", -EINVAL, NULL, NULL },
	{ "index.html", -EINVAL, NULL, NULL },
	{ "?x", -EINVAL, NULL, NULL },
	/* the authority of absolute-form, RFC 9110 4.2.1 and 4.2.4, RFC 3986 3.2 */
	{ "http://a.b-c_d~e/x", 0, "/x", "" },
	{ "http://a%20b/x", 0, "/x", "" },
	{ "http://[::1]/x", 0, "/x", "" },
	{ "http://[::1]:8080/x", 0, "/x", "" },
	{ "http://[v1.a]/x", 0, "/x", "" },
	{ "http://a:/x", 0, "/x", "" },
	{ "http://a:0/x", 0, "/x", "" },
	{ "hTtPs://a/x", -EINVAL, NULL, NULL },
	{ "http://a/", 0, "/", "" },
	{ "http://a/../b", -EINVAL, NULL, NULL },
	{ "http://a/b/../c?d", 0, "/c", "?d" },
	{ "http://a?x/../y", 0, "/", "?x/../y" },
	{ "http://a/%2f", -ENOENT, NULL, NULL },
	{ "http://user@a/x", -EINVAL, NULL, NULL },
	{ "http://user:pass@a/x", -EINVAL, NULL, NULL },
	{ "http://@a/x", -EINVAL, NULL, NULL },
	{ "http://:80/x", -EINVAL, NULL, NULL },
	{ "http://?x", -EINVAL, NULL, NULL },
	{ "http://a:b/x", -EINVAL, NULL, NULL },
	{ "http://a:-1/x", -EINVAL, NULL, NULL },
	{ "http://a:80:80/x", -EINVAL, NULL, NULL },
	{ "http://[::1/x", -EINVAL, NULL, NULL },
	{ "http://[::1]x/x", -EINVAL, NULL, NULL },
	{ "http://::1/x", -EINVAL, NULL, NULL },
	{ "http://a b/x", -EINVAL, NULL, NULL },
	{ "http://a\\b/x", -EINVAL, NULL, NULL },
	{ "http://a#b/x", -EINVAL, NULL, NULL },
	{ "http://a\x80/x", -EINVAL, NULL, NULL },
	{ "http:/a/b", -EINVAL, NULL, NULL },
	{ "http:a/b", -EINVAL, NULL, NULL },
	{ "httpx://a/b", -EINVAL, NULL, NULL },
	{ "http//a/b", -EINVAL, NULL, NULL },
	{ "//a", 0, "/a", "" }, /* origin-form all the same */
	/* bytes that stand there as they are */
	{ "/[]^|{}`", 0, "/[]^|{}`", "" },
	{ "/!$&'()*+,;=:@-._~", 0, "/!$&'()*+,;=:@-._~", "" },
	{ "/?[]^|{}`\\/?:@", 0, "/", "?[]^|{}`\\/?:@" },
	{ "/a?b%zz%", 0, "/a", "?b%zz%" }, /* a query chooses nothing: it is not decoded */
	{ "/a?%00", 0, "/a", "?%00" },
	{ "/a\\b", -EINVAL, NULL, NULL },
	{ "/\"", -EINVAL, NULL, NULL },
	{ "/#", -EINVAL, NULL, NULL },
	{ "/a#b", -EINVAL, NULL, NULL },
	{ "/<", -EINVAL, NULL, NULL },
	{ "/>", -EINVAL, NULL, NULL },
	{ "/a b", -EINVAL, NULL, NULL },
	{ "/\t", -EINVAL, NULL, NULL },
	{ "/\x7f", -EINVAL, NULL, NULL },
	{ "/caf\xc3\xa9", -EINVAL, NULL, NULL },
	{ "/\xff", -EINVAL, NULL, NULL },
	{ "/?\"", -EINVAL, NULL, NULL },
	{ "/?<", -EINVAL, NULL, NULL },
	{ "/?>", -EINVAL, NULL, NULL },
	{ "/?a#b", -EINVAL, NULL, NULL },
	{ "/?a b", -EINVAL, NULL, NULL },
	{ "/?\xc3\xa9", -EINVAL, NULL, NULL },
	{ "/?\x01", -EINVAL, NULL, NULL },
	/* what is encoded is bytes of a name, whatever they are elsewhere */
	{ "/%22%23%3C%3E%5C", 0, "/\"#<>\\", "" },
	{ "/a%5C..%5Cb", 0, "/a\\..\\b", "" },
	{ "/%C0%AE%C0%AE/x", 0, "/\xc0\xae\xc0\xae/x", "" },
	{ "/%80%ff", 0, "/\x80\xff", "" },
	{ "/%252e%252e/x", 0, "/%2e%2e/x", "" },
	{ "/%2e", 0, "/", "" },
	{ "/a/.%2e/b", 0, "/b", "" },
	{ "/%2e./x", -EINVAL, NULL, NULL },
	{ "/%1f", -EINVAL, NULL, NULL },
	{ "/%", -EINVAL, NULL, NULL },
	{ "/%%41", -EINVAL, NULL, NULL },
	{ "/%u0041", -EINVAL, NULL, NULL },
	{ "/a%2Fb?%", -ENOENT, NULL, NULL },
	{ "/%2f/../%00", -ENOENT, NULL, NULL }, /* the first one counts */
	{ "/%00/%2f", -EINVAL, NULL, NULL },
	/* dots */
	{ "/.", 0, "/", "" },
	{ "/./", 0, "/", "" },
	{ "/./.", 0, "/", "" },
	{ "//", 0, "/", "" },
	{ "///", 0, "/", "" },
	{ "/a/b/..", 0, "/a/", "" },
	{ "/a/b/../", 0, "/a/", "" },
	{ "/a//..", 0, "/", "" },
	{ "/a//../b", 0, "/b", "" },
	{ "/a/.//b", 0, "/a/b", "" },
	{ "/a./b", 0, "/a./b", "" },
	{ "/a../b", 0, "/a../b", "" },
	{ "/.a", 0, "/.a", "" },
	{ "/..a", 0, "/..a", "" },
	{ "//..", -EINVAL, NULL, NULL },
	{ "/./..", -EINVAL, NULL, NULL },
	{ "/a/../..", -EINVAL, NULL, NULL },
	{ "/../a", -EINVAL, NULL, NULL },
	{ "/a/../../a/b", -EINVAL, NULL, NULL },
};

START_TEST(test_targets)
{
	size_t len = strlen(cases[_i].text);
	char *text = malloc(len ? len : 1), *scratch = malloc(len ? len : 1);
	struct target target;

	memcpy(text, cases[_i].text, len);
	ck_assert_msg(target_parse(text, len, scratch, &target) == cases[_i].result, "%s", cases[_i].text);
	if (cases[_i].result == 0)
		ck_assert_int_eq(target.form, cases[_i].path           ? TARGET_PATH
		                              : *cases[_i].text == '*' ? TARGET_ASTERISK
		                                                       : TARGET_AUTHORITY);
	if (cases[_i].path) {
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

/* Each byte, as it is: in a path, in a query, in an authority, and encoded. */
START_TEST(test_every_byte)
{
	static const char unreserved[] = "-._~", sub_delims[] = "!$&'()*+,;=", of_browsers[] = "[]^|{}`";

	for (int c = 0; c < 256; c++) {
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		bool name = letter || (c && (strchr(unreserved, c) || strchr(sub_delims, c)));
		bool path = name || (c && (strchr(of_browsers, c) || strchr(":@/", c)));
		bool query = path || c == '?' || c == '%' || c == '\\';
		char text[32], scratch[32];
		struct target target;
		int len, result;

		len = snprintf(text, sizeof(text), "/x%cy", c);
		if (c != '?' && c != '%')
			ck_assert_msg((target_parse(text, (size_t)len, scratch, &target) == 0) == path, "path, %02x",
			              c);
		len = snprintf(text, sizeof(text), "/x?%c", c);
		ck_assert_msg((target_parse(text, (size_t)len, scratch, &target) == 0) == query, "query, %02x", c);
		len = snprintf(text, sizeof(text), "http://a%cb/x", c);
		if (!strchr("/?%:", c) || c == 0)
			ck_assert_msg((target_parse(text, (size_t)len, scratch, &target) == 0) == name, "host, %02x",
			              c);
		len = snprintf(text, sizeof(text), c % 2 ? "/x%%%02xy" : "/x%%%02Xy", c);
		result = target_parse(text, (size_t)len, scratch, &target);
		ck_assert_msg(result == (c == '/' ? -ENOENT : c < 0x20 || c == 0x7f ? -EINVAL : 0), "encoded, %02x", c);
		if (result == 0) {
			ck_assert_uint_eq(target.path_len, 4);
			ck_assert_int_eq((unsigned char)target.path[2], c);
		}
	}
}
END_TEST

START_TEST(test_what_is_normal_is_not_copied)
{
	static const char text[] = "/a/b.c/d?e";
	char scratch[sizeof(text)];
	struct target target;

	ck_assert_int_eq(target_parse(text, strlen(text), scratch, &target), 0);
	ck_assert_ptr_eq(target.path, text);
	ck_assert_ptr_eq(target.query, text + 8);
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
	tcase_add_test(tcase, test_every_byte);
	tcase_add_test(tcase, test_what_is_normal_is_not_copied);
	tcase_add_test(tcase, test_every_result_is_normal);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
