/* test_rules.c - which names carry a fingerprint, how a file may be cached, and what is worth compressing. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/rules.h"

#define HTML "text/html; charset=utf-8"
#define JS   "text/javascript; charset=utf-8"

static const char *const fingerprinted[] = {
	"app.0123abcd.js",
	"app-0123abcd.js",
	"app_0123abcd.js",
	"/app.0123abcd.js",
	"/assets/app.0123abcd.js",
	"/a.b/app-0123abcd.js",
	"app-0123abcd.min.js",
	"app.0123abcd.chunk.js",
	"main.0123abcd.bundle.css",
	"app.0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d.css",
	"0.0123abcd.js",
	"a.b.c.1234567a.woff2",
	"a1b2c3d4-0123abcd.js",
	"logo@2x-deadbee5.png",
	"caf\xc3\xa9-deadbee5.png",
	"app..0123abcd.js",
	"index-0123abcd.html", /* a fingerprint it is; that HTML is not immutable is said elsewhere */
};

START_TEST(names_with_a_fingerprint)
{
	ck_assert_msg(rules_is_fingerprinted(fingerprinted[_i], strlen(fingerprinted[_i])), "%s", fingerprinted[_i]);
}
END_TEST

static const char *const plain[] = {
	"",
	"/",
	"app.js",
	"report.20240101.pdf", /* no letter */
	"backup-20240101.tar.gz",
	"photo_20240101120000.jpg",
	"jquery-3.6.0.min.js",
	"bootstrap-5.3.0.min.css",
	"deadbeef.js", /* nothing before it */
	"0123abcd.js",
	"/assets/0123abcd.js",
	".0123abcd.js",
	"-0123abcd.js",
	"app.deadbeef.js", /* no figure: a word */
	"fee-deedface.css",
	"app.0123abc.js",  /* seven */
	"app.0123ABCD.js", /* upper case */
	"app.0123abcD.js",
	"app.0123abcg.js",
	"app.x0123abcd.js",
	"app.0123abcdx.js",
	"app0123abcd.js",
	"app~0123abcd.js",
	"app.0123abcd", /* it is the extension */
	"app-0123abcd",
	"/app.0123abcd.js/file.js", /* a directory's name */
	"/app-0123abcd/file",
	"app.0123abcd.js.map", /* not before the last dot */
	"app.0123abcd.js.gz",
	"app.0123abcd.min.min.js",
	"app.0123abcd.test.js",
	"app.0123abcd-min.js",
	"min.js",
	".min.js",
	"app.min.js",
	"4fe2ac9e-8d3b-4b9e-9d9c-0d1c7ab1c2d3", /* a UUID without an extension */
};

START_TEST(names_without)
{
	ck_assert_msg(!rules_is_fingerprinted(plain[_i], strlen(plain[_i])), "%s", plain[_i]);
}
END_TEST

START_TEST(a_name_ends_where_it_ends)
{
	ck_assert(rules_is_fingerprinted("app.0123abcd.js", 15));
	ck_assert(rules_is_fingerprinted("app.0123abcd.jsxx/", 15));
	ck_assert(!rules_is_fingerprinted("app.0123abcd.js", 12));
}
END_TEST

#define IMMUTABLE "max-age=31536000, immutable"

static const struct {
	const char *key;
	const char *type;
	const char *cache_control; /* the option */
	const char *patterns[2];
	bool automatic;
	const char *expected; /* NULL: no such field */
} policies[] = {
	/* the defaults */
	{ "/index.html", HTML, NULL, { NULL }, true, "no-cache" },
	{ "/", HTML, NULL, { NULL }, true, "no-cache" },
	{ "/a.xhtml", "application/xhtml+xml; charset=utf-8", NULL, { NULL }, true, "no-cache" },
	{ "/a.htm", "text/html", NULL, { NULL }, true, "no-cache" },
	{ "/style.css", "text/css; charset=utf-8", NULL, { NULL }, true, NULL },
	{ "/img.png", "image/png", NULL, { NULL }, true, NULL },
	{ "/a.htmlx", "text/htmlx", NULL, { NULL }, true, NULL },
	{ "/app.0123abcd.js", JS, NULL, { NULL }, true, IMMUTABLE },
	{ "/x/app-0123abcd.min.js", JS, NULL, { NULL }, true, IMMUTABLE },
	{ "/index-0123abcd.html", HTML, NULL, { NULL }, true, "no-cache" }, /* HTML never */
	{ "/app.0123abcd.js", JS, NULL, { NULL }, false, NULL },
	/* what the deployer says of all files */
	{ "/index.html", HTML, "max-age=60", { NULL }, true, "max-age=60" },
	{ "/style.css", "text/css", "max-age=60", { NULL }, true, "max-age=60" },
	{ "/app.0123abcd.js", JS, "max-age=60", { NULL }, true, IMMUTABLE },
	{ "/app.0123abcd.js", JS, "max-age=60", { NULL }, false, "max-age=60" },
	/* patterns */
	{ "/assets/a.js", JS, NULL, { "/assets/*" }, false, IMMUTABLE },
	{ "/assets/b/c.js", JS, NULL, { "/assets/*" }, false, IMMUTABLE },   /* '*' is slashes, too */
	{ "/assets/x.html", HTML, NULL, { "/assets/*" }, false, IMMUTABLE }, /* said is said */
	{ "/assets", "image/png", NULL, { "/assets/*" }, false, NULL },
	{ "/x/assets/a.js", JS, NULL, { "/assets/*" }, false, NULL },
	{ "/a.js", JS, NULL, { "/assets/*" }, false, NULL },
	{ "/a.js", JS, NULL, { "*.js" }, false, IMMUTABLE },
	{ "/b/a.js", JS, NULL, { "*.js" }, false, IMMUTABLE },
	{ "/a.jsx", JS, NULL, { "*.js" }, false, NULL },
	{ "/a.js", JS, NULL, { "/?.js" }, false, IMMUTABLE },
	{ "/a.js", JS, NULL, { "/[a-c].js" }, false, IMMUTABLE },
	{ "/d.js", JS, NULL, { "/[a-c].js" }, false, NULL },
	{ "/.well-known/a", "text/plain", NULL, { "/*" }, false, IMMUTABLE },
	{ "/b.css", "text/css", NULL, { "*.js", "*.css" }, false, IMMUTABLE },
	{ "/b.css", "text/css", "no-store", { "*.js", "*.css" }, false, IMMUTABLE },
	{ "/c.png", "image/png", "no-store", { "*.js", "*.css" }, false, "no-store" },
	{ "/app.0123abcd.png", "image/png", NULL, { "*.js" }, true, IMMUTABLE },
	{ "/app.0123abcd.png", "image/png", NULL, { "*.js" }, false, NULL },
};

START_TEST(caching_has_an_order)
{
	struct options options = {
		.cache_control = policies[_i].cache_control,
		.immutable_auto = policies[_i].automatic,
	};
	struct rules_caching caching;

	while (options.immutables < 2 && policies[_i].patterns[options.immutables]) {
		options.immutable[options.immutables] = policies[_i].patterns[options.immutables];
		options.immutables++;
	}
	caching = rules_caching(&options, policies[_i].key, strlen(policies[_i].key), policies[_i].type);
	if (policies[_i].expected) {
		ck_assert_ptr_nonnull(caching.cache_control);
		ck_assert_str_eq(caching.cache_control, policies[_i].expected);
	} else {
		ck_assert_ptr_null(caching.cache_control);
	}
	ck_assert_int_eq(caching.immutable, policies[_i].expected && strcmp(policies[_i].expected, IMMUTABLE) == 0);
}
END_TEST

START_TEST(text_is_compressible)
{
	static const char *const types[] = {
		"text/html; charset=utf-8",
		"text/css",
		"text/javascript; charset=utf-8",
		"text/plain",
		"text/markdown; charset=utf-8",
		"application/javascript",
		"application/json; charset=utf-8",
		"application/ld+json; charset=utf-8",
		"application/manifest+json",
		"application/xml",
		"application/atom+xml; charset=utf-8",
		"application/xhtml+xml",
		"image/svg+xml; charset=utf-8",
		"application/wasm",
		"application/vnd.ms-fontobject",
		"font/ttf",
		"font/otf",
		"image/bmp",
		"image/vnd.microsoft.icon",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		ck_assert_msg(rules_is_compressible(types[i]), "%s", types[i]);
}
END_TEST

START_TEST(what_is_compressed_already_is_not)
{
	static const char *const types[] = {
		"image/png",
		"image/jpeg",
		"image/webp",
		"image/avif",
		"font/woff",
		"font/woff2",
		"video/mp4",
		"audio/mpeg",
		"application/gzip",
		"application/zip",
		"application/pdf",
		"application/octet-stream",
		"application/zstd",
		"application/jsonx",
		"application/xml-dtdx",
		"image/svg",
		"+xml/x",
		"application/x; a=b+xml",
		"",
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		ck_assert_msg(!rules_is_compressible(types[i]), "%s", types[i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rules");
	TCase *tcase = tcase_create("rules");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tcase, names_with_a_fingerprint, 0, sizeof(fingerprinted) / sizeof(fingerprinted[0]));
	tcase_add_loop_test(tcase, names_without, 0, sizeof(plain) / sizeof(plain[0]));
	tcase_add_test(tcase, a_name_ends_where_it_ends);
	tcase_add_loop_test(tcase, caching_has_an_order, 0, sizeof(policies) / sizeof(policies[0]));
	tcase_add_test(tcase, text_is_compressible);
	tcase_add_test(tcase, what_is_compressed_already_is_not);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
