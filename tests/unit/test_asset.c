/* test_asset.c - prebuilt answers are what RFC 9110 asks for, byte by byte, and lie where snapshot.h says. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/asset.h"

#define BIRTHDAY 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110 */

static struct body *make_body(const char *content, size_t len)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, len), 0);
	memcpy(body->bytes, content, len);
	body_seal(body);
	return body;
}

/* A file whose body is its own. */
static struct asset *make_asset(const struct asset_fields *fields, const char *content, size_t len)
{
	struct body *body = make_body(content, len);
	struct asset *asset;

	ck_assert_int_eq(asset_file(&asset, "/k", 2, fields, body), 0);
	body_release(body);
	return asset;
}

static struct asset *make_file(const char *type, const char *content, size_t len, time_t mtime)
{
	const struct asset_fields fields = { .type = type, .last_modified = mtime, .nosniff = true };

	return make_asset(&fields, content, len);
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
	const char *h = text(r->head, r->head_len);
	char line[32];

	ck_assert_mem_eq(r->head + r->head_len - 2, "\r\n", 2);
	snprintf(line, sizeof(line), "HTTP/1.1 %u ", (unsigned)r->status);
	ck_assert_mem_eq(r->head, line, strlen(line));
	ck_assert_ptr_null(strstr(h, "\r\n\r\n"));
	ck_assert_ptr_null(strstr(h, "Connection"));
	ck_assert_uint_eq((uintptr_t)r->body % CACHE_LINE, 0);

	/* Status line | Date, ETag, Vary, Cache-Control | others | Content-Type | Content-Length */
	ck_assert_ptr_eq(strstr(h, "\r\n") + 2, h + r->validators_at);
	ck_assert_mem_eq(h + r->validators_at, "Date: ", 6);
	ck_assert_uint_eq(r->date_at, r->validators_at + 6u);
	ck_assert_mem_eq(h + r->date_at + 29, "\r\n", 2);
	ck_assert_uint_le(r->date_at + 31u, r->metadata_at);
	ck_assert_uint_le(r->metadata_at, r->type_at);
	ck_assert_uint_le(r->type_at, r->length_at);
	ck_assert_uint_lt(r->length_at, r->head_len);
	ck_assert_mem_eq(h + r->metadata_at - 2, "\r\n", 2);
	if (r->type_at < r->length_at)
		ck_assert_mem_eq(h + r->type_at, "Content-Type: ", 14);
	ck_assert_mem_eq(h + r->length_at - 2, "\r\n", 2);
	ck_assert_int_eq(r->modified_at != 0, strstr(h, "\r\nLast-Modified: ") != NULL);
	if (r->modified_at) {
		ck_assert_mem_eq(h + r->modified_at - 15, "Last-Modified: ", 15);
		ck_assert_mem_eq(h + r->modified_at + 29, "\r\n", 2);
	}
	snprintf(line, sizeof(line), "Content-Length: %zu\r\n", r->body_len);
	ck_assert_str_eq(h + r->length_at, line);
	for (const char *at = h + r->date_at + 31; at < h + r->metadata_at; at = strstr(at, "\r\n") + 2)
		ck_assert_msg(strncmp(at, "ETag: ", 6) == 0 || strncmp(at, "Vary: ", 6) == 0 ||
		                      strncmp(at, "Cache-Control: ", 15) == 0,
		              "%s", h);
	for (const char *at = h + r->metadata_at; at < h + r->type_at; at = strstr(at, "\r\n") + 2)
		ck_assert_msg(strncmp(at, "Content-Type: ", 14) != 0 && strncmp(at, "ETag: ", 6) != 0 &&
		                      strncmp(at, "Vary: ", 6) != 0 && strncmp(at, "Cache-Control: ", 15) != 0,
		              "%s", h);
}

/* Every field that a file's head can have, in all combinations: each is there or not, and in its place. */
START_TEST(a_file_has_all_fields)
{
	static const char *const codings[CODINGS] = {
		"Accept-Ranges: bytes",
		"Content-Encoding: gzip",
		"Content-Encoding: br",
		"Content-Encoding: zstd",
	};

	for (unsigned i = 0; i < 16 * CODINGS; i++) {
		const struct asset_fields fields = {
			.type = "text/html; charset=utf-8",
			.coding = i / 16,
			.last_modified = i & 1 ? BIRTHDAY : 0,
			.cache_control = i & 2 ? "max-age=31536000, immutable" : NULL,
			.varies = i & 4,
			.nosniff = i & 8,
		};
		struct asset *asset = make_asset(&fields, "hello\n", 6);
		const struct representation *r = &asset->representation;
		char expected[512];

		check_layout(r);
		snprintf(expected, sizeof(expected),
		         "HTTP/1.1 200 OK\r\n"
		         "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
		         "ETag: %.*s\r\n"
		         "%s%s%s%s%s\r\n"
		         "Content-Type: text/html; charset=utf-8\r\n"
		         "Content-Length: 6\r\n",
		         ETAG_LEN, r->etag, fields.varies ? "Vary: Accept-Encoding\r\n" : "",
		         fields.cache_control ? "Cache-Control: max-age=31536000, immutable\r\n" : "",
		         fields.nosniff ? "X-Content-Type-Options: nosniff\r\n" : "",
		         fields.last_modified ? "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n" : "",
		         codings[fields.coding]);
		ck_assert_str_eq(text(r->head, r->head_len), expected);
		ck_assert_mem_eq(r->body, "hello\n", 6);
		ck_assert_int_eq(r->last_modified, fields.last_modified);
		ck_assert_uint_eq(r->location_end, 0);
		ck_assert_int_eq(asset->kind, ASSET_FILE);
		ck_assert_int_eq(asset->coding, fields.coding);
		ck_assert_int_eq(r->varies, fields.varies);
		ck_assert_ptr_eq(asset->type, fields.type);
		asset_release(asset);
	}
}
END_TEST

START_TEST(a_304_has_date_validator_and_policy)
{
	const struct asset_fields fields = {
		.type = "text/css; charset=utf-8",
		.last_modified = BIRTHDAY,
		.cache_control = "max-age=60",
		.varies = true,
		.nosniff = true,
	};
	struct asset *asset = make_asset(&fields, "hello\n", 6);
	const struct representation *r = &asset->representation;
	char expected[256];

	snprintf(expected, sizeof(expected),
	         "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
	         "ETag: %.*s\r\n"
	         "Vary: Accept-Encoding\r\n"
	         "Cache-Control: max-age=60\r\n",
	         ETAG_LEN, r->etag);
	ck_assert_str_eq(text(r->head + r->validators_at, (size_t)r->metadata_at - r->validators_at), expected);
	asset_release(asset);
}
END_TEST

/* What the web is made of, in every coding, immutable or not: a head is small. */
START_TEST(heads_of_small_files_are_small)
{
	static const char *const types[] = {
		"text/html; charset=utf-8",     "text/css; charset=utf-8",   "text/javascript; charset=utf-8",
		"image/svg+xml; charset=utf-8", "text/plain; charset=utf-8", "application/json; charset=utf-8",
	};

	for (unsigned coding = 0; coding < CODINGS; coding++) {
		for (int immutable = 0; immutable < 2; immutable++) {
			static const char content[4096] = "x";
			const char *type = types[_i];
			const struct asset_fields fields = {
				.type = type,
				.coding = coding,
				.last_modified = immutable ? 0 : BIRTHDAY, /* as the builder does it */
				.cache_control = immutable               ? "max-age=31536000, immutable"
				                 : strstr(type, "/html") ? "no-cache"
				                                         : NULL,
				.varies = true,
				.nosniff = true,
			};
			struct asset *asset = make_asset(&fields, content, sizeof(content));

			ck_assert_msg(asset->representation.head_len <= 300, "%u: %.*s", asset->representation.head_len,
			              asset->representation.head_len, asset->representation.head);
			asset_release(asset);
		}
	}
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
	static const uint8_t ones[BODY_HASH_LEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint8_t count[BODY_HASH_LEN] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xfb };
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
	struct asset *asset = make_file("text/css; charset=utf-8", "x", 1, 0);
	const struct representation *r = &asset->representation;

	check_layout(r);
	ck_assert_ptr_null(strstr(text(r->head, r->head_len), "Last-Modified"));
	ck_assert_int_eq(r->last_modified, 0);
	asset_release(asset);
}
END_TEST

START_TEST(bodies_of_every_length_lie_right)
{
	static const char content[300] = "x";
	const struct asset_fields fields = { .type = "image/png", .last_modified = BIRTHDAY };

	for (size_t len = 0; len < sizeof(content); len++) {
		struct asset *asset = make_asset(&fields, content, len);

		check_layout(&asset->representation);
		ck_assert_uint_ge(asset->memory, sizeof(*asset) + asset->representation.head_len);
		ck_assert_uint_eq(asset->memory, asset_file_memory(2, &fields, len));
		ck_assert_mem_eq(asset->key, "/k", 2);
		asset_release(asset);
	}
}
END_TEST

START_TEST(memory_is_known_before_the_content_is)
{
	const struct asset_fields fields = { .type = "text/html",
		                             .coding = CODING_ZSTD,
		                             .last_modified = BIRTHDAY,
		                             .cache_control = "no-cache",
		                             .varies = true };
	struct body *body = make_body("shared", 6);
	struct asset *asset;

	for (size_t len = 1; len < 300; len++) {
		char key[300] = "/";

		memset(key + 1, 'k', len - 1);
		ck_assert_int_eq(asset_file(&asset, key, len, &fields, body), 0);
		ck_assert_uint_eq(asset->memory, asset_file_memory(len, &fields, 6));
		ck_assert_str_eq(asset->key, key);
		ck_assert_uint_eq(asset->key_len, len);
		asset_release(asset);
	}
	body_release(body);
}
END_TEST

static const struct {
	const char *key;
	const char *location;
} redirects[] = {
	{ "/dir", "/dir/" },
	{ "/a/b.c-d_e~f", "/a/b.c-d_e~f/" },
	{ "/a!$&'()*+,;=:@", "/a!$&'()*+,;=:@/" },
	{ "/AMZamz059", "/AMZamz059/" },
	{ "/@[`{/:", "/@%5B%60%7B/:/" },
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

	ck_assert_int_eq(asset_redirect(&asset, key, strlen(key), true), 0);
	r = &asset->representation;
	check_layout(r);
	ck_assert_uint_eq(r->status, 301);
	snprintf(expected, sizeof(expected), "\r\nLocation: %s\r\n", redirects[_i].location);
	location = strstr(text(r->head, r->head_len), expected);
	ck_assert_msg(location != NULL, "%.*s", r->head_len, r->head);
	ck_assert_mem_eq(r->head + r->location_end, "\r\n", 2);
	ck_assert_int_eq(r->head[r->location_end - 1], '/');
	ck_assert_uint_eq(r->etag_len, 0);
	ck_assert_ptr_nonnull(strstr(text(r->head, r->head_len), "\r\nX-Content-Type-Options: nosniff\r\n"));
	ck_assert_uint_gt(r->body_len, 0);
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
	for (len = 3800; len < sizeof(key) && asset_redirect(&asset, key, len, true) == 0; len++) {
		check_layout(&asset->representation);
		asset_release(asset);
	}
	ck_assert_uint_gt(len, 3801);
	ck_assert_int_eq(asset_redirect(&asset, key, len, true), -ENAMETOOLONG);
	ck_assert_int_eq(asset_redirect(&asset, key, sizeof(key), true), -ENAMETOOLONG);
}
END_TEST

START_TEST(errors_have_their_status)
{
	static const unsigned statuses[SNAPSHOT_ERRORS] = {
		[ERROR_400] = 400,      [ERROR_404] = 404,       [ERROR_405] = 405, [ERROR_406] = 406,
		[ERROR_408] = 408,      [ERROR_412] = 412,       [ERROR_413] = 413, [ERROR_414] = 414,
		[ERROR_416] = 416,      [ERROR_417] = 417,       [ERROR_431] = 431, [ERROR_500] = 500,
		[ERROR_501] = 501,      [ERROR_503] = 503,       [ERROR_505] = 505, [ANSWER_OPTIONS] = 200,
		[ANSWER_HEALTHY] = 200, [ANSWER_DRAINING] = 503,
	};
	enum snapshot_error error = (enum snapshot_error)_i;
	struct asset *asset;
	const char *head;

	ck_assert_int_eq(asset_error(&asset, error, NULL, NULL, true), 0);
	check_layout(&asset->representation);
	head = text(asset->representation.head, asset->representation.head_len);
	ck_assert_uint_eq(asset->representation.status, statuses[_i]);
	ck_assert_uint_eq(asset_error_status(error), statuses[_i]);
	ck_assert_uint_eq(asset->representation.etag_len, 0);
	ck_assert_int_eq(strstr(head, "\r\nAllow: GET, HEAD, OPTIONS\r\n") != NULL,
	                 error == ERROR_405 || error == ANSWER_OPTIONS);
	/* The answer to OPTIONS is nothing but fields. */
	ck_assert_int_eq(asset->representation.body_len == 0, error == ANSWER_OPTIONS);
	ck_assert_int_eq(strstr(head, "\r\nContent-Type: text/plain; charset=utf-8\r\n") == NULL,
	                 error == ANSWER_OPTIONS);
	ck_assert_int_eq(strstr(head, "nosniff") == NULL, error == ANSWER_OPTIONS);
	ck_assert_int_eq(strstr(head, "\r\nCache-Control: no-store\r\n") != NULL,
	                 error == ANSWER_HEALTHY || error == ANSWER_DRAINING);
	if (error < ANSWER_HEALTHY)
		ck_assert_uint_eq(asset->representation.metadata_at,
		                  asset->representation.date_at + 31u); /* no policy and no validator */
	asset_release(asset);

	ck_assert_int_eq(asset_error(&asset, error, NULL, NULL, false), 0);
	ck_assert_ptr_null(strstr(text(asset->representation.head, asset->representation.head_len), "nosniff"));
	asset_release(asset);
}
END_TEST

START_TEST(an_error_takes_a_page)
{
	struct body *page = make_body("<p>no", 5), *nothing = make_body("", 0);
	struct asset *asset;

	ck_assert_int_eq(asset_error(&asset, ERROR_404, "text/html; charset=utf-8", page, true), 0);
	check_layout(&asset->representation);
	ck_assert_uint_eq(asset->representation.status, 404);
	ck_assert_ptr_eq(asset->representation.body, page->bytes); /* shared, not copied, nor paid for */
	ck_assert_uint_eq(page->references, 2);
	ck_assert_uint_lt(asset->memory, sizeof(*asset) + REPRESENTATION_HEAD_MAX / 8);
	ck_assert_mem_eq(asset->representation.body, "<p>no", 5);
	ck_assert_ptr_nonnull(strstr(text(asset->representation.head, asset->representation.head_len),
	                             "\r\nContent-Type: text/html; charset=utf-8\r\n"));
	asset_release(asset);
	ck_assert_uint_eq(page->references, 1);
	ck_assert_int_eq(asset_error(&asset, ERROR_404, "text/html; charset=utf-8", nothing, true), 0);
	check_layout(&asset->representation);
	asset_release(asset);
	body_release(page);
	body_release(nothing);
}
END_TEST

START_TEST(a_body_outlives_its_assets_and_they_outlive_each_other)
{
	const struct asset_fields plain = { .type = "text/css" }, coded = { .type = "text/css", .coding = CODING_BR };
	struct body *body = make_body("shared", 6);
	struct asset *a, *b;

	ck_assert_int_eq(asset_file(&a, "/a", 2, &plain, body), 0);
	ck_assert_int_eq(asset_file(&b, "/b", 2, &coded, body), 0);
	ck_assert_uint_eq(body->references, 3);
	ck_assert_ptr_eq(a->representation.body, b->representation.body);
	asset_release(a);
	ck_assert_uint_eq(body->references, 2);
	body_release(body);
	ck_assert_mem_eq(b->representation.body, "shared", 6);
	asset_release(b);
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
	tcase_add_test(tcase, a_304_has_date_validator_and_policy);
	tcase_add_loop_test(tcase, heads_of_small_files_are_small, 0, 6);
	tcase_add_test(tcase, the_etag_is_strong_and_of_the_content_alone);
	tcase_add_test(tcase, a_hash_is_the_same_on_every_machine);
	tcase_add_test(tcase, hash_text_is_base64url);
	tcase_add_test(tcase, an_empty_file_is_a_file);
	tcase_add_test(tcase, the_epoch_is_no_modification_date);
	tcase_add_test(tcase, bodies_of_every_length_lie_right);
	tcase_add_test(tcase, memory_is_known_before_the_content_is);
	tcase_add_loop_test(tcase, a_redirect_is_encoded, 0, sizeof(redirects) / sizeof(redirects[0]));
	tcase_add_test(tcase, a_redirect_is_not_longer_than_a_head);
	tcase_add_loop_test(tcase, errors_have_their_status, 0, SNAPSHOT_ERRORS);
	tcase_add_test(tcase, an_error_takes_a_page);
	tcase_add_test(tcase, a_body_outlives_its_assets_and_they_outlive_each_other);
	tcase_add_test(tcase, references_are_counted);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
