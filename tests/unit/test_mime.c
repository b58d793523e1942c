/* test_mime.c - the types that the web depends on are right, whatever the table of the machine that builds. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "loom/mime.h"

static const char *type(const char *name)
{
	return mime_type(name, strlen(name));
}

static const struct {
	const char *name;
	const char *type;
} cases[] = {
	{ "index.html", "text/html; charset=utf-8" },
	{ "a.htm", "text/html; charset=utf-8" },
	{ "style.css", "text/css; charset=utf-8" },
	{ "a.js", "text/javascript; charset=utf-8" },
	{ "a.mjs", "text/javascript; charset=utf-8" },
	{ "a.js.map", "application/json; charset=utf-8" },
	{ "a.json", "application/json; charset=utf-8" },
	{ "a.jsonld", "application/ld+json; charset=utf-8" },
	{ "site.webmanifest", "application/manifest+json; charset=utf-8" },
	{ "a.wasm", "application/wasm" },
	{ "feed.xml", "application/xml; charset=utf-8" },
	{ "feed.atom", "application/atom+xml; charset=utf-8" },
	{ "feed.rss", "application/rss+xml; charset=utf-8" },
	{ "a.xhtml", "application/xhtml+xml; charset=utf-8" },
	{ "a.svg", "image/svg+xml; charset=utf-8" },
	{ "a.svgz", "application/gzip" },
	{ "a.md", "text/markdown; charset=utf-8" },
	{ "a.txt", "text/plain; charset=utf-8" },
	{ "a.yaml", "application/yaml; charset=utf-8" },
	{ "a.png", "image/png" },
	{ "a.jpg", "image/jpeg" },
	{ "a.webp", "image/webp" },
	{ "a.avif", "image/avif" },
	{ "favicon.ico", "image/vnd.microsoft.icon" },
	{ "a.woff2", "font/woff2" },
	{ "a.mp4", "video/mp4" },
	{ "segment.ts", "video/mp2t" },
	{ "a.pdf", "application/pdf" },
	{ "a.tar.gz", "application/gzip" },
	{ "a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
};

START_TEST(types_of_the_web_are_right)
{
	ck_assert_str_eq(type(cases[_i].name), cases[_i].type);
}
END_TEST

START_TEST(case_does_not_matter)
{
	ck_assert_str_eq(type("INDEX.HTML"), "text/html; charset=utf-8");
	ck_assert_str_eq(type("a.JpEg"), "image/jpeg");
}
END_TEST

START_TEST(only_the_last_extension_of_the_last_segment_counts)
{
	ck_assert_str_eq(type("a.html.png"), "image/png");
	ck_assert_str_eq(type("dir.html/plain"), "application/octet-stream");
	ck_assert_str_eq(type("dir.html/a.css"), "text/css; charset=utf-8");
	ck_assert_str_eq(mime_type("a.css.png", 5), "text/css; charset=utf-8");
}
END_TEST

START_TEST(unknown_is_octet_stream)
{
	static const char *const names[] = {
		"",
		".",
		"/",
		"README",
		"a.",
		"a.nosuchextension",
		".html",
		"dir/.css",
		"a.html ",
		"a.h\xc3\xa4",
		"a.averyveryveryveryveryveryveryveryveryveryverylongextensionthatnobodyknows",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_str_eq(type(names[i]), "application/octet-stream");
	ck_assert_str_eq(mime_type("a.html\0x", 8), "application/octet-stream");
	ck_assert_str_eq(mime_type("a.js\0", 5), "application/octet-stream");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mime");
	TCase *tcase = tcase_create("types");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_loop_test(tcase, types_of_the_web_are_right, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, case_does_not_matter);
	tcase_add_test(tcase, only_the_last_extension_of_the_last_segment_counts);
	tcase_add_test(tcase, unknown_is_octet_stream);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
