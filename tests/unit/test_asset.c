/* test_asset.c - prebuilt answers are what RFC 9110 asks for, byte by byte, and lie where snapshot.h says. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/asset.h"

#define BIRTHDAY 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110 */

static struct asset *make_file(const char *type, const char *content, size_t len, time_t mtime)
{
	struct asset *asset;

	ck_assert_int_eq(asset_file(&asset, "/k", 2, type, len, mtime), 0);
	memcpy(asset->body, content, len);
	asset_seal(asset);
	return asset;
}

/* A head as a string, for comparing. */
static const char *text(const char *head, size_t len)
{
	static char out[REPRESENTATION_HEAD_MAX + 1];

	ck_assert_uint_le(len, REPRESENTATION_HEAD_MAX);
	memcpy(out, head, len);
	out[len] = '\0';
	return out;
}

/* What snapshot.h promises of every representation. */
static void check_layout(const struct representation *r)
{
	char line[32];

	ck_assert_ptr_eq(r->body, (const uint8_t *)r->head + r->head_len + 2);
	ck_assert_mem_eq(r->head + r->head_len - 2, "\r\n\r\n", 4);
	ck_assert_mem_eq(r->head + r->date_at - 6, "Date: ", 6);
	ck_assert_mem_eq(r->head + r->date_at + 29, "\r\n", 2);
	snprintf(line, sizeof(line), "HTTP/1.1 %u ", (unsigned)r->status);
	ck_assert_mem_eq(r->head, line, strlen(line));
	snprintf(line, sizeof(line), "\r\nContent-Length: %zu\r\n", r->body_len);
	ck_assert_ptr_nonnull(strstr(text(r->head, r->head_len), line));
	ck_assert_ptr_null(strstr(text(r->head, r->head_len), "\r\n\r\n"));
	ck_assert_ptr_null(strstr(text(r->head, r->head_len), "Connection"));
	ck_assert_uint_eq((uintptr_t)r->body % CACHE_LINE, 0);
	if (r->not_modified) {
		ck_assert_mem_eq(r->not_modified + r->not_modified_len - 2, "\r\n\r\n", 4);
		ck_assert_mem_eq(r->not_modified + r->not_modified_date_at - 6, "Date: ", 6);
		ck_assert_mem_eq(r->not_modified + r->not_modified_date_at + 29, "\r\n", 2);
	}
}

START_TEST(a_file_has_all_fields)
{
	struct asset *asset = make_file("text/html; charset=utf-8", "hello\n", 6, BIRTHDAY);
	const struct representation *r = &asset->representation;
	char expected[512];

	check_layout(r);
	snprintf(expected, sizeof(expected),
	         "HTTP/1.1 200 OK\r\n"
	         "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
	         "Content-Type: text/html; charset=utf-8\r\n"
	         "Content-Length: 6\r\n"
	         "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
	         "ETag: %.*s\r\n",
	         ETAG_LEN, r->etag);
	ck_assert_str_eq(text(r->head, r->head_len), expected);
	ck_assert_uint_le(r->head_len, 250);
	ck_assert_mem_eq(r->body, "hello\n", 6);
	ck_assert_int_eq(r->last_modified, BIRTHDAY);
	ck_assert_uint_eq(r->location_end, 0);
	asset_release(asset);
}
END_TEST

START_TEST(a_304_has_date_and_validator)
{
	struct asset *asset = make_file("text/html; charset=utf-8", "hello\n", 6, BIRTHDAY);
	const struct representation *r = &asset->representation;
	char expected[256];

	snprintf(expected, sizeof(expected),
	         "HTTP/1.1 304 Not Modified\r\n"
	         "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
	         "ETag: %.*s\r\n",
	         ETAG_LEN, r->etag);
	ck_assert_str_eq(text(r->not_modified, r->not_modified_len), expected);
	asset_release(asset);
}
END_TEST

START_TEST(the_etag_is_strong_and_of_the_content_alone)
{
	struct asset *a = make_file("text/html", "same", 4, BIRTHDAY);
	struct asset *b = make_file("image/png", "same", 4, BIRTHDAY + 1);
	struct asset *c = make_file("text/html", "Same", 4, BIRTHDAY);
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const struct representation *r = &a->representation;

	ck_assert_uint_eq(r->etag_len, ETAG_LEN);
	ck_assert(r->etag[0] == '"' && r->etag[ETAG_LEN - 1] == '"');
	for (int i = 1; i < ETAG_LEN - 1; i++)
		ck_assert_ptr_nonnull(strchr(digits, r->etag[i]));
	ck_assert_mem_eq(a->representation.etag, b->representation.etag, ETAG_LEN);
	ck_assert_mem_ne(a->representation.etag, c->representation.etag, ETAG_LEN);
	asset_release(a);
	asset_release(b);
	asset_release(c);
}
END_TEST

START_TEST(a_hash_is_the_same_on_every_machine)
{
	/* XXH3, 128 bits, of nothing: 99aa06d3014798d86001c324468d497f, in RFC 4648's url alphabet. */
	struct asset *asset = make_file("text/html", "", 0, BIRTHDAY);

	ck_assert_mem_eq(asset->representation.etag, "\"maoG0wFHmNhgAcMkRo1Jfw\"", ETAG_LEN);
	asset_release(asset);
}
END_TEST

START_TEST(hash_text_is_base64url)
{
	static const uint8_t ones[ASSET_HASH_LEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t count[ASSET_HASH_LEN] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xfb };
	char out[ETAG_LEN - 1];

	asset_hash_text(ones, out);
	ck_assert_str_eq(out, "_____________________w");
	asset_hash_text(count, out);
	ck_assert_str_eq(out, "AAECAwQFBgcICQoLDA0O-w");
}
END_TEST

START_TEST(an_empty_file_is_a_file)
{
	struct asset *asset = make_file("text/css; charset=utf-8", "", 0, BIRTHDAY);

	check_layout(&asset->representation);
	ck_assert_uint_eq(asset->representation.body_len, 0);
	asset_release(asset);
}
END_TEST

START_TEST(the_epoch_is_no_modification_date)
{
	static const time_t times[] = { 0, -1, -1000000000 };

	for (size_t i = 0; i < 3; i++) {
		struct asset *asset = make_file("text/css; charset=utf-8", "x", 1, times[i]);
		const struct representation *r = &asset->representation;

		check_layout(r);
		ck_assert_ptr_null(strstr(text(r->head, r->head_len), "Last-Modified"));
		ck_assert_int_eq(r->last_modified, 0);
		asset_release(asset);
	}
}
END_TEST

START_TEST(bodies_of_every_length_lie_right)
{
	static const char content[300] = "x";

	for (size_t len = 0; len < sizeof(content); len++) {
		struct asset *asset = make_file("image/png", content, len, BIRTHDAY);

		check_layout(&asset->representation);
		ck_assert_uint_ge(asset->memory, sizeof(*asset) + len);
		ck_assert_uint_le(asset->memory, asset_file_memory(2, "image/png", len));
		ck_assert_mem_eq(asset->key, "/k", 2);
		asset_release(asset);
	}
}
END_TEST

START_TEST(a_body_beyond_all_memory_is_enomem)
{
	struct asset *asset;

	ck_assert_int_eq(asset_file(&asset, "/k", 2, "image/png", UINT64_MAX - 1000, 1), -ENOMEM);
	ck_assert_int_eq(asset_file(&asset, "/k", 2, "image/png", (uint64_t)PTRDIFF_MAX, 1), -ENOMEM);
}
END_TEST

static const struct {
	const char *key;
	const char *location;
} redirects[] = {
	{ "/dir", "/dir/" },
	{ "/a/b.c-d_e~f", "/a/b.c-d_e~f/" },
	{ "/a!$&'()*+,;=:@", "/a!$&'()*+,;=:@/" },
	{ "/a b", "/a%20b/" },
	{ "/100%", "/100%25/" },
	{ "/a?b#c", "/a%3Fb%23c/" },
	{ "/caf\xc3\xa9\xff", "/caf%C3%A9%FF/" },
	{ "/<\"\\^`{|}>[]", "/%3C%22%5C%5E%60%7B%7C%7D%3E%5B%5D/" },
};

START_TEST(a_redirect_is_encoded)
{
	const char *key = redirects[_i].key;
	struct asset *asset;
	const struct representation *r;
	const char *location;
	char expected[128];

	ck_assert_int_eq(asset_redirect(&asset, key, strlen(key)), 0);
	r = &asset->representation;
	check_layout(r);
	ck_assert_uint_eq(r->status, 301);
	snprintf(expected, sizeof(expected), "\r\nLocation: %s\r\n", redirects[_i].location);
	location = strstr(text(r->head, r->head_len), expected);
	ck_assert_msg(location != NULL, "%.*s", r->head_len, r->head);
	ck_assert_mem_eq(r->head + r->location_end, "\r\n", 2);
	ck_assert_int_eq(r->head[r->location_end - 1], '/');
	ck_assert_ptr_null(r->not_modified);
	ck_assert_uint_eq(r->etag_len, 0);
	asset_release(asset);
}
END_TEST

START_TEST(a_redirect_is_not_longer_than_a_head)
{
	static char key[REPRESENTATION_HEAD_MAX];
	struct asset *asset;
	size_t len;

	memset(key, 'a', sizeof(key));
	key[0] = '/';
	for (len = 3800; len < sizeof(key) && asset_redirect(&asset, key, len) == 0; len++) {
		check_layout(&asset->representation);
		asset_release(asset);
	}
	ck_assert_uint_gt(len, 3801);
	ck_assert_int_eq(asset_redirect(&asset, key, len), -ENAMETOOLONG);
	ck_assert_int_eq(asset_redirect(&asset, key, sizeof(key)), -ENAMETOOLONG);
}
END_TEST

START_TEST(errors_have_their_status)
{
	static const unsigned statuses[SNAPSHOT_ERRORS] = {
		[ERROR_400] = 400, [ERROR_404] = 404, [ERROR_405] = 405, [ERROR_408] = 408,
		[ERROR_413] = 413, [ERROR_414] = 414, [ERROR_417] = 417, [ERROR_431] = 431,
		[ERROR_500] = 500, [ERROR_501] = 501, [ERROR_503] = 503, [ERROR_505] = 505,
	};
	struct asset *asset;

	ck_assert_int_eq(asset_error(&asset, (enum snapshot_error)_i, NULL, NULL, 0), 0);
	check_layout(&asset->representation);
	ck_assert_uint_eq(asset->representation.status, statuses[_i]);
	ck_assert_uint_gt(asset->representation.body_len, 0);
	ck_assert_ptr_null(asset->representation.not_modified);
	ck_assert_uint_eq(asset->representation.etag_len, 0);
	ck_assert_int_eq(strstr(text(asset->representation.head, asset->representation.head_len),
	                        "\r\nAllow: GET, HEAD\r\n") != NULL,
	                 _i == ERROR_405);
	asset_release(asset);
}
END_TEST

START_TEST(an_error_takes_a_page)
{
	struct asset *asset;

	ck_assert_int_eq(asset_error(&asset, ERROR_404, "text/html; charset=utf-8", "<p>no", 5), 0);
	check_layout(&asset->representation);
	ck_assert_uint_eq(asset->representation.status, 404);
	ck_assert_mem_eq(asset->representation.body, "<p>no", 5);
	ck_assert_ptr_nonnull(strstr(text(asset->representation.head, asset->representation.head_len), "text/html"));
	asset_release(asset);
	ck_assert_int_eq(asset_error(&asset, ERROR_404, "text/html; charset=utf-8", NULL, 0), 0);
	check_layout(&asset->representation);
	asset_release(asset);
}
END_TEST

START_TEST(references_are_counted)
{
	struct asset *asset = make_file("text/css", "x", 1, BIRTHDAY);

	asset_reference(asset);
	asset_release(asset);
	ck_assert_mem_eq(asset->representation.body, "x", 1);
	asset_release(asset);
	asset_release(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("asset");
	TCase *tcase = tcase_create("assets");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, a_file_has_all_fields);
	tcase_add_test(tcase, a_304_has_date_and_validator);
	tcase_add_test(tcase, the_etag_is_strong_and_of_the_content_alone);
	tcase_add_test(tcase, a_hash_is_the_same_on_every_machine);
	tcase_add_test(tcase, hash_text_is_base64url);
	tcase_add_test(tcase, an_empty_file_is_a_file);
	tcase_add_test(tcase, the_epoch_is_no_modification_date);
	tcase_add_test(tcase, bodies_of_every_length_lie_right);
	tcase_add_test(tcase, a_body_beyond_all_memory_is_enomem);
	tcase_add_loop_test(tcase, a_redirect_is_encoded, 0, sizeof(redirects) / sizeof(redirects[0]));
	tcase_add_test(tcase, a_redirect_is_not_longer_than_a_head);
	tcase_add_loop_test(tcase, errors_have_their_status, 0, SNAPSHOT_ERRORS);
	tcase_add_test(tcase, an_error_takes_a_page);
	tcase_add_test(tcase, references_are_counted);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
