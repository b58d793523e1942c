/* test_links.c - the URLs that a page needs are told, resolved as browsers do it, and nothing else is. */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/links.h"

/* What the scan told: a key a line, "!url" where there is none. */
static char told[65536];
static int answer;

static int found(void *context, const struct links_link *link)
{
	size_t len = strlen(told);

	ck_assert_ptr_eq(context, &answer);
	ck_assert(link->url_len > 0 && link->url_len <= LINKS_URL_MAX);
	if (link->key)
		snprintf(told + len, sizeof(told) - len, "%.*s ", (int)link->key_len, link->key);
	else
		snprintf(told + len, sizeof(told) - len, "!%.*s ", (int)link->url_len, link->url);
	return answer;
}

/* Scans a copy that is exactly so long, so that AddressSanitizer sees what is read beyond it. */
static int scan(const char *key, const char *html, size_t len)
{
	char *copy = malloc(len ? len : 1), *name = strdup(key);
	int err;

	ck_assert(copy && name);
	memcpy(copy, html, len);
	told[0] = '\0';
	err = links_scan(name, strlen(key), copy, len, found, &answer);
	free(copy);
	free(name);
	return err;
}

static const struct {
	const char *html;
	const char *told;
} pages[] = {
	/* what is told */
	{ "<script src=a.js></script><link rel=stylesheet href=b.css><img src=c.png>", "/d/a.js /d/b.css /d/c.png " },
	{ "<SCRIPT SRC=a.js></SCRIPT><LiNK Rel=StyleSheet HREF=b.css>", "/d/a.js /d/b.css " },
	{ "<link rel=modulepreload href=a><link rel=preload href=b><link rel=icon href=c>", "/d/a /d/b /d/c " },
	{ "<link rel='shortcut icon' href=a><link rel=\"alternate\tstylesheet\" href=b>", "/d/a /d/b " },
	{ "<link href=a rel=stylesheet><img alt=x src=b>", "/d/a /d/b " },
	/* what is not */
	{ "<link rel=canonical href=a><link rel=manifest href=b><link href=c><link rel=icons href=d>", "" },
	{ "<a href=a><iframe src=b></iframe><source src=c><scripts src=d><img data-src=e srcset=f><image src=g>", "" },
	{ "<script></script><img><img src><img src=''><link rel=icon><link rel=icon href>", "" },
	{ "<template><img src=a><template></template><img src=b></template><img src=c>", "/d/c " },
	{ "</template><img src=a>", "/d/a " },
	{ "<noscript><img src=a></noscript>", "/d/a " },
	/* elsewhere */
	{ "<img src=http://h/a><img src=HTTPS://h/a><img src=//h/a><img src='data:image/png,x'><img src=blob:x>", "" },
	{ "<img src='\\\\h\\a'><img src='/\\h'><img src=about:blank><img src='java\nscript:x'>", "" },
	{ "<img src='#a'><img src='?a=b'><img src=' '><img src='\n\t'>", "" },
	/* resolved */
	{ "<img src=/a><img src=a/b><img src=./a><img src=../a><img src=../../../a><img src=a/../b>",
	  "/a /d/a/b /d/a /a /a /d/b " },
	{ "<img src=a/.><img src=a/..><img src=.><img src=..><img src=/><img src=%2e%2E/a><img src=.%2e>",
	  "/d/a/ /d/ /d/ / / /a / " },
	{ "<img src='\\a\\b'><img src=a//b><img src=.../a>", "/a/b /d/a/b /d/.../a " },
	{ "<img src=a?x><img src=a#x><img src=a?x#y><img src=a#x?y><img src=a?/../b>", "/d/a /d/a /d/a /d/a /d/a " },
	{ "<img src='a b'><img src=a%20b><img src=caf\xc3\xa9><img src=caf%C3%A9><img src=a%2Bb>",
	  "/d/a b /d/a b /d/caf\xc3\xa9 /d/caf\xc3\xa9 /d/a+b " },
	{ "<img src='  a  '><img src='\na\n'><img src='a\n\tb'>", "/d/a /d/a /d/ab " },
	{ "<img src=1:a><img src=./x:y><img src=/x:y>", "/d/1:a /d/x:y /x:y " },
	/* what no server would find */
	{ "<img src=%zz><img src=a%2Fb><img src=a%00><img src='a\001b'>", "!%zz !a%2Fb !a%00 !a\001b " },
	{ "<img src='{{ image }}'>", "/d/{{ image }} " },
	/* character references */
	{ "<img src='a&amp;b'><img src='a&#38;b'><img src='a&#x26;b'><img src='a&#X26b'>",
	  "/d/a&b /d/a&b /d/a&b /d/a\xc9\xab " },
	{ "<img src='a&copy;b'><img src='a&b'><img src='a&ampb'><img src=a&><img src='a&#'><img src='a&#x'>",
	  "/d/a&copy;b /d/a&b /d/a&ampb /d/a& /d/a& /d/a& " },
	{ "<img src='&#47;a'><img src='&#233;'><img src='&#8364;'><img src='&#x1F600;'>",
	  "/a /d/\xc3\xa9 /d/\xe2\x82\xac /d/\xf0\x9f\x98\x80 " },
	{ "<img src='a&#0;'><img src='a&#xD800;'><img src='a&#x110000;'><img src='a&#99999999999999999999;'>",
	  "/d/a\xef\xbf\xbd /d/a\xef\xbf\xbd /d/a\xef\xbf\xbd /d/a\xef\xbf\xbd " },
	{ "<img src=&quot;a&lt;&gt;&apos;>", "/d/\"a<>' " },
	/* tags */
	{ "<img\nsrc\n=\n'a'\n/><img/src=b><img src=c/><img/ / src=d>", "/d/a /d/b /d/c/ /d/d " },
	{ "<img src=a src=b><img src src=b><img SRC=c src=d>", "/d/a /d/c " },
	{ "<img alt='>' src=a><img alt=\"'\" src=b><img alt=' src=x' src=c>", "/d/a /d/b /d/c " },
	{ "<img alt=\"a\"src=b><img =x src=c><img src==d><img x=y=z src=e>", "/d/b /d/c /d/=d /d/e " },
	{ "< img src=a><1 src=a><><img src=b", "" },
	{ "<img src='a><img src=b>", "" },
	{ "<<img src=a>", "/d/a " },
	/* comments and the like */
	{ "<!-- <img src=a> --><img src=b>", "/d/b " },
	{ "<!--><img src=a>--><img src=b>", "/d/a /d/b " },
	{ "<!---><img src=a>", "/d/a " },
	{ "<!----><img src=a><!-----><img src=b><!----!><img src=c>", "/d/a /d/b /d/c " },
	{ "<!-- -- > - ><img src=a> --!><img src=b>", "/d/b " },
	{ "<!-- <img src=a>", "" },
	{ "<!--", "" },
	{ "<!doctype html><?xml <img src=a?><img src=b></ <img src=c><img src=d>", "/d/b /d/d " },
	{ "</p title='<img src=a>'><img src=b>", "/d/b " },
	/* text that is no markup */
	{ "<script src=a>'<img src=x>'</script><img src=b>", "/d/a /d/b " },
	{ "<script>'</scripts><img src=x>'</SCRIPT ><img src=b>", "/d/b " },
	{ "<style><img src=x></style><title><img src=x></title><textarea><img src=x></textarea><img src=a>", "/d/a " },
	{ "<xmp><img src=x></xmp><noframes><img src=x></noframes><img src=a>", "/d/a " },
	{ "<script><img src=x>", "" },
	{ "<script></script", "" },
	{ "<plaintext><img src=x>", "" },
	/* bases */
	{ "<base href=/e/f><img src=a><base href=/g/><img src=b>", "/e/a /e/b " },
	{ "<base href=e/><img src=a><img src=/b>", "/d/e/a /b " },
	{ "<base href=..><img src=a>", "/a " },
	{ "<base><base target=x><base href=/e/><img src=a>", "/e/a " },
	{ "<base href='?x'><img src=a>", "/d/a " },
	{ "<base href=https://h/x/><img src=a><img src=/b><img src=https://h/c>", "" },
	{ "<base href=//h><img src=a>", "" },
	{ "<template><base href=/e/></template><img src=a>", "/d/a " },
};

START_TEST(pages_are_read_as_browsers_read_them)
{
	ck_assert_int_eq(scan("/d/page.html", pages[_i].html, strlen(pages[_i].html)), 0);
	ck_assert_str_eq(told, pages[_i].told);
}
END_TEST

START_TEST(the_page_is_what_its_links_are_relative_to)
{
	static const char *const keys[][2] = {
		{ "/index.html", "/a " },    { "/", "/a " },
		{ "/d/", "/d/a " },          { "/a b/\xc3\xa9/x", "/a b/\xc3\xa9/a " },
		{ "/50%25/x", "/50%25/a " }, { "/q?/#/x", "/q?/#/a " },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		ck_assert_int_eq(scan(keys[i][0], "<img src=a>", strlen("<img src=a>")), 0);
		ck_assert_str_eq(told, keys[i][1]);
	}
}
END_TEST

START_TEST(the_caller_can_end_it)
{
	answer = 7;
	ck_assert_int_eq(scan("/x", "<img src=a><img src=b>", strlen("<img src=a><img src=b>")), 7);
	ck_assert_str_eq(told, "/a ");
	answer = 0;
}
END_TEST

/* Every beginning of every page is a page. */
START_TEST(pages_may_end_anywhere)
{
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		for (size_t len = 0; len < strlen(pages[i].html); len++)
			ck_assert_int_eq(scan("/d/page.html", pages[i].html, len), 0);
}
END_TEST

/* A page with one URL of so many bytes. */
static void scan_long(const char *before, size_t len, const char *after)
{
	static char html[3 * LINKS_URL_MAX];
	int n = snprintf(html, sizeof(html), "<img src='%s", before);

	memset(html + n, 'a', len);
	snprintf(html + n + len, sizeof(html) - (size_t)n - len, "%s'>", after);
	ck_assert_int_eq(scan("/d/x", html, strlen(html)), 0);
}

START_TEST(urls_that_are_too_long_lead_nowhere)
{
	scan_long("/", LINKS_URL_MAX - 1, "");
	ck_assert_uint_eq(strlen(told), LINKS_URL_MAX + 1);
	ck_assert_int_eq(told[0], '/');
	scan_long("/", LINKS_URL_MAX, "");
	ck_assert_int_eq(told[0], '!');
	scan_long("", LINKS_URL_MAX - 3, ""); /* with "/d/" */
	ck_assert_int_eq(told[0], '/');
	scan_long("", LINKS_URL_MAX - 2, "");
	ck_assert_int_eq(told[0], '!');
	/* What is cut off anyway may be as long as it likes. */
	scan_long("/a?", 2 * LINKS_URL_MAX, "");
	ck_assert_str_eq(told, "/a ");
	scan_long("data:", 2 * LINKS_URL_MAX, "");
	ck_assert_str_eq(told, "");
	scan_long("//", 2 * LINKS_URL_MAX, "");
	ck_assert_str_eq(told, "");
}
END_TEST

/* Bytes without an end to anything, in a time that grows with their number only. */
START_TEST(the_work_is_bounded)
{
	static const char *const pieces[] = { "<",        "<a", "<a ",     "<!--", "-",
		                              "<script>", "</", "<a b=\"", "&#",   "<template>" };
	size_t len = 4 * 1024 * 1024;
	char *html = malloc(len);

	ck_assert_ptr_nonnull(html);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		for (size_t at = 0; at < len; at++)
			html[at] = pieces[i][at % strlen(pieces[i])];
		memcpy(html, "<!--", i == 4 ? 4 : 0);
		ck_assert_int_eq(scan("/x", html, len), 0);
	}
	free(html);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("links");
	TCase *tcase = tcase_create("links");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, pages_are_read_as_browsers_read_them, 0, sizeof(pages) / sizeof(pages[0]));
	tcase_add_test(tcase, the_page_is_what_its_links_are_relative_to);
	tcase_add_test(tcase, the_caller_can_end_it);
	tcase_add_test(tcase, pages_may_end_anywhere);
	tcase_add_test(tcase, urls_that_are_too_long_lead_nowhere);
	tcase_add_test(tcase, the_work_is_bounded);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
