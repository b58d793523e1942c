/* test_authority.c - what may be a Host, or the authority of a target: RFC 3986 3.2.2 and 3.2.3. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/authority.h"

static size_t host_len;
static bool has_port;

/* Reads from memory of exactly that length, so that a sanitizer sees a byte too far. */
static bool parse(const char *text)
{
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	bool is;

	memcpy(copy, text, len);
	is = authority_parse(copy, len, &host_len, &has_port);
	free(copy);
	return is;
}

static const struct {
	const char *text;
	size_t host_len;
	bool has_port;
} good[] = {
	{ "", 0, false },
	{ "a", 1, false },
	{ "localhost", 9, false },
	{ "www.example.com", 15, false },
	{ "a.", 2, false },
	{ "a:80", 1, true },
	{ "a:0", 1, true },
	{ "a:99999999999999999999", 1, true },
	{ "a:", 1, false },
	{ ":80", 0, true },
	{ ":", 0, false },
	{ "127.0.0.1", 9, false },
	{ "127.0.0.1:8080", 9, true },
	{ "999.999", 7, false }, /* a name like others */
	{ "a-b_c~d.e!$&'()*+,;=f", 21, false },
	{ "a%20b", 5, false },
	{ "%C3%a9", 6, false },
	{ "[::]", 4, false },
	{ "[::1]", 5, false },
	{ "[::1]:", 5, false },
	{ "[::1]:80", 5, true },
	{ "[1::]", 5, false },
	{ "[1:2:3:4:5:6:7:8]", 17, false },
	{ "[1:2:3:4:5:6:7::]", 17, false },
	{ "[::2:3:4:5:6:7:8]", 17, false },
	{ "[1:2::7:8]", 10, false },
	{ "[fe80::0123:4567:89ab:CDEF]", 27, false },
	{ "[::1.2.3.4]", 11, false },
	{ "[::ffff:255.0.10.1]", 19, false },
	{ "[1:2:3:4:5:6:1.2.3.4]", 21, false },
	{ "[v1.a]", 6, false },
	{ "[V1F.a:b!$]:80", 11, true },
};

START_TEST(what_is_an_authority)
{
	ck_assert_msg(parse(good[_i].text), "%s", good[_i].text);
	ck_assert_msg(host_len == good[_i].host_len, "%s: %zu", good[_i].text, host_len);
	ck_assert_msg(has_port == good[_i].has_port, "%s", good[_i].text);
}
END_TEST

static const char *const bad[] = {
	" ",
	" a",
	"a ",
	"a b",
	"a\tb",
	"a:b",
	"a:80x",
	"a:-1",
	"a:+1",
	"a: 80",
	"a:80:80",
	"a::80",
	"::1",
	"a@b",
	"user:pass@a",
	"@",
	"a/b",
	"/",
	"a?b",
	"a#b",
	"a\\b",
	"\"a\"",
	"<a>",
	"a^b",
	"a|b",
	"a`b",
	"{a}",
	"a%",
	"a%2",
	"a%2g",
	"a%%20",
	"caf\xc3\xa9",
	"a\x7f",
	"a\x01",
	"[",
	"]",
	"[]",
	"[]:80",
	"[::1",
	"::1]",
	"[::1]x",
	"[::1]80",
	"[::1]:x",
	"[::1]:80x",
	"[::1]]",
	"[[::1]]",
	"a[::1]",
	"[:]",
	"[:1]",
	"[1:]",
	"[1]",
	"[1:2:3:4:5:6:7]",
	"[1:2:3:4:5:6:7:8:9]",
	"[1:2:3:4:5:6:7:8::]",
	"[::1:2:3:4:5:6:7:8]",
	"[:::]",
	"[1:::2]",
	"[1::2::3]",
	"[12345::]",
	"[g::]",
	"[::1 ]",
	"[::1%25eth0]",
	"[1.2.3.4]",
	"[::1.2.3]",
	"[::1.2.3.4.5]",
	"[::1.2.3.256]",
	"[::1.2.3.04]",
	"[::1.2..4]",
	"[::1.2.3.4:5]",
	"[::1.2.3.a]",
	"[1:2:3:4:5:6:7:1.2.3.4]",
	"[1:2:3:4:5:1.2.3.4]",
	"[v]",
	"[v.]",
	"[v1]",
	"[v1.]",
	"[v.a]",
	"[vg.a]",
	"[v1.a/b]",
	"[v1.%20]",
};

START_TEST(what_is_none)
{
	ck_assert_msg(!parse(bad[_i]), "%s", bad[_i]);
}
END_TEST

START_TEST(a_nul_is_no_end)
{
	ck_assert(!authority_parse("a\0b", 3, &host_len, &has_port));
	ck_assert(!authority_parse("\0", 1, &host_len, &has_port));
	ck_assert(!authority_parse("a:8\0", 4, &host_len, &has_port));
	ck_assert(!authority_parse("[::1\0]", 6, &host_len, &has_port));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("authority");
	TCase *tcase = tcase_create("authority");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tcase, what_is_an_authority, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tcase, what_is_none, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tcase, a_nul_is_no_end);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
