/*
 * test_build.c - a snapshot is the tree it was built from: its keys, its id, what it shares with the one before, what
 * it may cost, and that a tree that changes meanwhile never gives a torn one.
 */
#include <sys/resource.h>

#include "loom/compress.h"
#include "loom/memory.h"
#include "tree.h"

/* Long enough for what was written just now to count as settled. */
#define LATER 10

START_TEST(every_url_is_a_key)
{
	struct snapshot *snapshot;

	tree_put("index.html", "root");
	tree_put("file.txt", "file");
	tree_put("dir/index.html", "dir");
	tree_put("dir/sub/a.css", "css");
	tree_put("a b/index.html", "space");
	tree_put("empty", "");
	ck_assert_int_eq(mkdir(tree_path("nothing"), 0755), 0);
	snapshot = tree_snapshot(NULL);

	tree_serves(snapshot, "/", "root");
	tree_serves(snapshot, "/index.html", "root");
	tree_serves(snapshot, "/file.txt", "file");
	tree_serves(snapshot, "/dir/", "dir");
	tree_serves(snapshot, "/dir/index.html", "dir");
	tree_serves(snapshot, "/dir/sub/a.css", "css");
	tree_serves(snapshot, "/a b/", "space");
	tree_serves(snapshot, "/empty", "");
	ck_assert_ptr_eq(tree_find(snapshot, "/dir/"), tree_find(snapshot, "/dir/index.html"));
	ck_assert_uint_eq(tree_find(snapshot, "/dir")->status, 301);
	ck_assert_uint_eq(tree_find(snapshot, "/a b")->status, 301);
	ck_assert_uint_eq(tree_keys(snapshot), 11);

	/* A directory without an index has no answer, with the slash or without. */
	tree_lacks(snapshot, "/dir/sub");
	tree_lacks(snapshot, "/dir/sub/");
	tree_lacks(snapshot, "/nothing");
	tree_lacks(snapshot, "/nothing/");
	tree_lacks(snapshot, "");
	tree_lacks(snapshot, "/file.txt/");

	ck_assert_uint_eq(snapshot->files, 6);
	ck_assert_uint_eq(snapshot->bytes, 4 + 4 + 3 + 3 + 5);
	ck_assert_uint_gt(snapshot->memory, snapshot->bytes);
	ck_assert_uint_eq(atomic_load(&snapshot->shares), 2);
	ck_assert_uint_ge(snapshot->mask + 1, 2 * tree_keys(snapshot));
	build_free(snapshot);
}
END_TEST

START_TEST(an_empty_tree_is_a_snapshot)
{
	struct snapshot *snapshot = tree_snapshot(NULL);

	ck_assert_uint_eq(tree_keys(snapshot), 0);
	tree_lacks(snapshot, "/");
	for (int error = 0; error < SNAPSHOT_ERRORS; error++)
		ck_assert_uint_eq(snapshot->errors[error]->status, asset_error_status(error));
	ck_assert_uint_eq(strlen(snapshot->id), 22);
	build_free(snapshot);
	build_free(NULL);
}
END_TEST

START_TEST(the_index_has_the_name_that_was_chosen)
{
	struct snapshot *snapshot;

	tree.options.index = "home.txt";
	tree_put("index.html", "no");
	tree_put("a/home.txt", "yes");
	tree_put("b/xhome.txt", "no");
	snapshot = tree_snapshot(NULL);
	tree_lacks(snapshot, "/");
	tree_lacks(snapshot, "/b/");
	tree_serves(snapshot, "/a/", "yes");
	build_free(snapshot);

	tree.options.index = "";
	snapshot = tree_snapshot(NULL);
	tree_lacks(snapshot, "/");
	build_free(snapshot);
}
END_TEST

START_TEST(an_index_that_is_a_directory_is_none)
{
	struct snapshot *snapshot;

	tree_put("a/index.html/file", "x");
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 1);
	build_free(snapshot);
}
END_TEST

START_TEST(a_404_page_is_the_body_of_404)
{
	struct snapshot *snapshot;
	const struct representation *r;

	tree_put("404.html", "<p>not here");
	tree_put("sub/404.html", "<p>wrong");
	snapshot = tree_snapshot(NULL);
	r = snapshot->errors[ERROR_404];
	ck_assert_uint_eq(r->status, 404);
	ck_assert_uint_eq(r->body_len, strlen("<p>not here"));
	ck_assert_mem_eq(r->body, "<p>not here", r->body_len);
	ck_assert_ptr_nonnull(memmem(r->head, r->head_len, "Content-Type: text/html; charset=utf-8\r\n", 40));
	ck_assert_uint_eq(r->etag_len, 0);
	tree_serves(snapshot, "/404.html", "<p>not here");
	ck_assert_uint_eq(snapshot->errors[ERROR_400]->status, 400);
	build_free(snapshot);
}
END_TEST

START_TEST(a_redirect_that_is_too_long_is_left_out)
{
	struct snapshot *snapshot;
	char path[2000] = "", key[2002];

	for (int depth = 0; depth < 7; depth++) {
		for (int i = 0; i < 100; i++)
			strcat(path, "\xc3\xa9");
		strcat(path, "/");
	}
	snprintf(key, sizeof(key), "/%s", path);
	strcat(path, "index.html");
	tree_put(path, "x");
	snapshot = tree_snapshot(NULL);
	tree_serves(snapshot, key, "x");
	key[strlen(key) - 1] = '\0';
	tree_lacks(snapshot, key);
	ck_assert_ptr_nonnull(strstr(tree.log, "too long for a redirect"));
	build_free(snapshot);
}
END_TEST

START_TEST(no_modification_date_is_in_the_future)
{
	struct timespec future[2] = { { .tv_sec = time(NULL) + 86400 }, { .tv_sec = time(NULL) + 86400 } };
	struct timespec epoch[2] = { { 0 }, { 0 } };
	struct snapshot *snapshot, *next;
	time_t before, modified;

	tree_put("future", "x");
	tree_put("epoch", "x");
	ck_assert_int_eq(utimensat(AT_FDCWD, tree_path("future"), future, 0), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, tree_path("epoch"), epoch, 0), 0);
	before = time(NULL);
	snapshot = tree_snapshot(NULL);
	modified = tree_find(snapshot, "/future")->last_modified;
	ck_assert_int_ge(modified, before);
	ck_assert_int_le(modified, time(NULL));
	ck_assert_int_eq(tree_find(snapshot, "/epoch")->last_modified, 0);

	/* Nor does it change from build to build. */
	tree_clock_ahead = LATER;
	next = tree_snapshot(snapshot);
	ck_assert_ptr_eq(tree_find(next, "/future"), tree_find(snapshot, "/future"));
	build_free(snapshot);
	build_free(next);
}
END_TEST

/* Sets a file's time. */
static void set_time(const char *path, time_t time)
{
	const struct timespec times[2] = { { .tv_sec = time }, { .tv_sec = time } };

	ck_assert_int_eq(utimensat(AT_FDCWD, tree_path(path), times, 0), 0);
}

static void put_at(const char *path, const char *content, time_t time)
{
	tree_put(path, content);
	set_time(path, time);
}

/*
 * No date stands for two contents, whatever the files' times are: contents as they follow one another, with their
 * times; "-" leaves the content alone. The clock stands still, at 0.
 */
static const struct {
	const char *content;
	int time;     /* seconds from now */
	int expected; /* the same; NONE: no Last-Modified */
} histories[][6] = {
#define NONE 1000
	/* an older file takes the place of a newer one, and another still older one */
	{ { "A", -500, -500 }, { "B", -900, -499 }, { "C", -900, -498 }, { "D", -498, -497 }, { "E", -400, -400 } },
	/* the same second */
	{ { "A", -500, -500 }, { "B", -500, -499 } },
	/* unchanged content keeps its date when its file gets an older one, and takes a newer one */
	{ { "A", -500, -500 }, { "-", -900, -500 }, { "-", -500, -500 }, { "-", -300, -300 }, { "B", -400, -299 } },
	/* content that was moved forward does not fall back behind the one before */
	{ { "A", -500, -500 }, { "B", -900, -499 }, { "-", -800, -499 }, { "-", -500, -499 }, { "-", -100, -100 } },
	/* a content that comes back is a change like others */
	{ { "A", -500, -500 }, { "B", -400, -400 }, { "A", -500, -399 } },
	/* no later date that is not in the future: none, and none of those that were given comes back */
	{ { "A", 0, 0 }, { "B", 0, NONE }, { "C", 0, NONE }, { "D", -500, NONE } },
	{ { "A", 100, 0 }, { "B", 200, NONE }, { "-", -5, NONE }, { "-", 0, NONE } },
	{ { "A", 0, 0 }, { "B", -500, NONE }, { "-", 0, NONE }, { "C", 0, NONE } },
};

START_TEST(a_date_stands_for_one_content)
{
	struct snapshot *previous = NULL, *next;
	time_t now = time(NULL);

	tree_clock_at = now;
	for (size_t i = 0; i < 6 && histories[_i][i].content; i++) {
		int expected = histories[_i][i].expected;
		const struct representation *file;

		if (histories[_i][i].content[0] != '-')
			tree_put("file", histories[_i][i].content);
		set_time("file", now + histories[_i][i].time);
		next = tree_snapshot(previous);
		file = tree_find(next, "/file");
		ck_assert_msg(file->last_modified == (expected == NONE ? 0 : now + expected),
		              "step %zu: %ld instead of %d", i,
		              file->last_modified ? (long)(file->last_modified - now) : NONE, expected);
		ck_assert_int_eq(tree_field(file, "Last-Modified") != NULL, expected != NONE);
		build_free(previous);
		previous = next;
	}
	build_free(previous);
}
END_TEST

START_TEST(a_date_that_could_not_be_given_comes_later)
{
	struct snapshot *a, *b, *c;
	time_t now = time(NULL);

	tree_clock_at = now;
	put_at("file", "A", now);
	a = tree_snapshot(NULL);
	put_at("file", "B", now);
	b = tree_snapshot(a);
	ck_assert_int_eq(tree_find(b, "/file")->last_modified, 0);
	tree_clock_at = now + LATER;
	c = tree_snapshot(b);
	ck_assert_int_eq(tree_find(c, "/file")->last_modified, now + 1);
	ck_assert_ptr_eq(tree_find(c, "/file")->body, tree_find(b, "/file")->body);
	build_free(a);
	build_free(b);
	build_free(c);
}
END_TEST

/* What Cache-Control and Vary a key's head has; NULL: none. */
static void check_policy(const struct snapshot *snapshot, const char *key, const char *cache_control, const char *vary)
{
	const char *value = tree_field(tree_find(snapshot, key), "Cache-Control");

	ck_assert_msg(cache_control ? value && strcmp(value, cache_control) == 0 : !value, "%s: %s", key, value);
	value = tree_field(tree_find(snapshot, key), "Vary");
	ck_assert_msg(vary ? value && strcmp(value, vary) == 0 : !value, "%s: %s", key, value);
}

START_TEST(files_are_cached_as_the_options_say)
{
	struct snapshot *snapshot;

	put_at("index.html", "x", 1000);
	put_at("style.css", "x", 1000);
	put_at("app.0123abcd.js", "x", 1000);
	put_at("assets/a.css", "x", 1000);
	tree.options.immutable_auto = true;
	tree.options.immutable[0] = "/assets/*";
	tree.options.immutables = 1;
	snapshot = tree_snapshot(NULL);
	check_policy(snapshot, "/", "no-cache", NULL);
	check_policy(snapshot, "/index.html", "no-cache", NULL);
	check_policy(snapshot, "/style.css", NULL, NULL);
	check_policy(snapshot, "/app.0123abcd.js", "max-age=31536000, immutable", NULL);
	check_policy(snapshot, "/assets/a.css", "max-age=31536000, immutable", NULL);
	/* What never changes needs no second validator. */
	ck_assert_int_eq(tree_find(snapshot, "/app.0123abcd.js")->last_modified, 0);
	ck_assert_int_eq(tree_find(snapshot, "/assets/a.css")->last_modified, 0);
	ck_assert_ptr_null(tree_field(tree_find(snapshot, "/assets/a.css"), "Last-Modified"));
	ck_assert_int_eq(tree_find(snapshot, "/style.css")->last_modified, 1000);
	ck_assert_str_eq(tree_field(tree_find(snapshot, "/style.css"), "X-Content-Type-Options"), "nosniff");
	ck_assert_str_eq(tree_field(tree_find(snapshot, "/assets/a.css"), "Content-Type"), "text/css; charset=utf-8");
	ck_assert_str_eq(tree_field(snapshot->errors[ERROR_404], "X-Content-Type-Options"), "nosniff");
	build_free(snapshot);

	tree.options.nosniff = false;
	tree.options.cache_control = "max-age=60";
	tree_put("dir/index.html", "x");
	snapshot = tree_snapshot(NULL);
	check_policy(snapshot, "/", "max-age=60", NULL);
	check_policy(snapshot, "/style.css", "max-age=60", NULL);
	check_policy(snapshot, "/app.0123abcd.js", "max-age=31536000, immutable", NULL);
	ck_assert_ptr_null(tree_field(tree_find(snapshot, "/style.css"), "X-Content-Type-Options"));
	ck_assert_ptr_null(tree_field(tree_find(snapshot, "/dir"), "X-Content-Type-Options"));
	ck_assert_ptr_null(tree_field(snapshot->errors[ERROR_404], "X-Content-Type-Options"));
	build_free(snapshot);
}
END_TEST

START_TEST(a_page_for_every_error)
{
	static const unsigned statuses[] = {
		400, 404, 405, 406, 408, 412, 413, 414, 416, 417, 431, 500, 501, 503, 505
	};
	struct snapshot *a, *b;
	char path[32];

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		snprintf(path, sizeof(path), "%u.html", statuses[i]);
		tree_put(path, path);
	}
	tree_put("200.html", "for neither OPTIONS nor --health");
	a = tree_snapshot(NULL);
	for (int error = 0; error < SNAPSHOT_ERRORS; error++) {
		const struct representation *r = a->errors[error];

		snprintf(path, sizeof(path), "/%u.html", r->status);
		if (error == ANSWER_OPTIONS) {
			ck_assert_uint_eq(r->body_len, 0);
			continue;
		}
		if (error == ANSWER_HEALTHY || error == ANSWER_DRAINING) {
			ck_assert_str_eq(tree_field(r, "Content-Type"), "text/plain; charset=utf-8");
			continue;
		}
		ck_assert_ptr_eq(r->body, tree_find(a, path)->body); /* shared */
		ck_assert_str_eq(tree_field(r, "Content-Type"), "text/html; charset=utf-8");
		ck_assert_ptr_null(tree_field(r, "ETag"));
		ck_assert_ptr_null(tree_field(r, "Last-Modified"));
		ck_assert_ptr_null(tree_field(r, "Cache-Control"));
		ck_assert_int_eq(tree_field(r, "Allow") != NULL, error == ERROR_405);
	}

	/* Pages come and go; and a directory is none. */
	unlink(tree_path("416.html"));
	tree_put("404.html", "another one");
	unlink(tree_path("400.html"));
	tree_put("400.html/index.html", "a directory");
	b = tree_snapshot(a);
	ck_assert_ptr_nonnull(memmem(b->errors[ERROR_416]->body, b->errors[ERROR_416]->body_len, "416 Range", 9));
	ck_assert_mem_eq(b->errors[ERROR_404]->body, "another one", 11);
	ck_assert_str_eq(tree_field(b->errors[ERROR_400], "Content-Type"), "text/plain; charset=utf-8");
	build_free(a);
	ck_assert_mem_eq(b->errors[ERROR_501]->body, "501.html", 8);
	build_free(b);
}
END_TEST

/* Text that gets smaller in every coding, and is another one for each number. Good for one more call. */
static const char *compressible(unsigned number, size_t len)
{
	static char texts[2][100001];
	static unsigned turn;
	char *text = texts[turn++ % 2];
	size_t n = 0;

	ck_assert_uint_lt(len, sizeof(texts[0]));
	while (n < len)
		n += (size_t)snprintf(text + n, len + 1 - n, "%u: line %zu of a text that says little\n", number, n);
	text[len] = '\0';
	return text;
}

/* The file's content in a coding, under the name with its suffix. */
static void put_sidecar(const char *path, enum content_coding coding, const char *content)
{
	static const atomic_bool never;
	char name[256];
	struct body *coded;

	snprintf(name, sizeof(name), "%s%s", path, coding_suffix(coding));
	ck_assert_int_eq(compress_encode(&coded, coding, (const uint8_t *)content, strlen(content), &never), 0);
	tree_write(name, (const char *)coded->bytes, coded->len);
	body_release(coded);
}

/* A variant that is one of this content. */
static void check_variant(const struct snapshot *snapshot, const char *key, enum content_coding coding,
                          const char *content)
{
	const struct representation *identity = tree_find(snapshot, key), *r = tree_coded(snapshot, key, coding);

	ck_assert_msg(r != NULL, "%s is not there in %s", key, coding_name(coding));
	ck_assert_uint_lt(r->body_len, strlen(content));
	ck_assert_int_eq(compress_matches(coding, r->body, r->body_len, (const uint8_t *)content, strlen(content)), 1);
	ck_assert_str_eq(tree_field(r, "Content-Encoding"), coding_name(coding));
	ck_assert_str_eq(tree_field(r, "Content-Type"), tree_field(identity, "Content-Type"));
	ck_assert_str_eq(tree_field(r, "Vary"), "Accept-Encoding");
	ck_assert_str_eq(tree_field(identity, "Vary"), "Accept-Encoding");
	ck_assert_ptr_null(tree_field(r, "Accept-Ranges"));
	ck_assert_str_eq(tree_field(identity, "Accept-Ranges"), "bytes");
	ck_assert_ptr_null(tree_field(identity, "Content-Encoding"));
	ck_assert_uint_eq(r->etag_len, ETAG_LEN);
	ck_assert_mem_ne(r->etag, identity->etag, ETAG_LEN);
	ck_assert_int_eq(r->last_modified, identity->last_modified);
}

START_TEST(variants_arrive_with_a_build_as_before)
{
	struct snapshot *a, *b, *c, *d;
	unsigned long reads;

	put_at("page.html", compressible(1, 5000), 1000);
	put_at("dir/index.html", compressible(2, 5000), 1000);
	put_at("small.css", compressible(3, 255), 1000);
	put_at("img.png", compressible(4, 5000), 1000);
	tree_compress();
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(a->coded, 0);
	ck_assert_uint_eq(a->coded_bytes, 0);
	for (unsigned coding = 1; coding < CODINGS; coding++)
		ck_assert_ptr_null(tree_coded(a, "/page.html", coding));
	/* Vary is there before the variants are. */
	check_policy(a, "/page.html", "no-cache", "Accept-Encoding");
	check_policy(a, "/dir/", "no-cache", "Accept-Encoding");
	check_policy(a, "/small.css", NULL, NULL);
	check_policy(a, "/img.png", NULL, NULL);

	tree_collect();
	tree_put("page.html", "not looked at");
	tree_put("new.html", "not looked at");
	reads = tree_reads;
	b = tree_as_before(a);
	ck_assert_uint_eq(tree_reads, reads);
	ck_assert_uint_eq(tree.directories, 0);
	tree_lacks(b, "/new.html");
	ck_assert_str_eq(a->id, b->id);
	ck_assert_uint_eq(a->files, b->files);
	ck_assert_uint_eq(a->bytes, b->bytes);
	ck_assert_uint_eq(tree_keys(a), tree_keys(b));
	ck_assert_uint_eq(b->coded, 6);
	ck_assert_uint_gt(b->memory, a->memory);
	for (unsigned coding = 1; coding < CODINGS; coding++) {
		check_variant(b, "/page.html", coding, compressible(1, 5000));
		check_variant(b, "/dir/index.html", coding, compressible(2, 5000));
		ck_assert_ptr_eq(tree_coded(b, "/dir/", coding), tree_coded(b, "/dir/index.html", coding));
		ck_assert_ptr_null(tree_coded(b, "/dir", coding));
		ck_assert_ptr_null(tree_coded(b, "/small.css", coding));
		ck_assert_ptr_null(tree_coded(b, "/img.png", coding));
		ck_assert_ptr_null(tree_coded(a, "/page.html", coding)); /* the old one is what it was */
	}
	ck_assert_ptr_eq(tree_find(a, "/page.html"), tree_find(b, "/page.html"));
	ck_assert_ptr_eq(tree_coded(b, "/page.html", CODING_IDENTITY), tree_find(b, "/page.html"));

	/* From then on they are shared, and cost the same. */
	c = tree_as_before(b);
	ck_assert_uint_eq(c->coded, 6);
	ck_assert_uint_eq(c->coded_bytes, b->coded_bytes);
	ck_assert_uint_eq(c->memory, b->memory);
	for (unsigned coding = 1; coding < CODINGS; coding++)
		ck_assert_ptr_eq(tree_coded(b, "/page.html", coding), tree_coded(c, "/page.html", coding));
	unlink(tree_path("new.html"));
	put_at("page.html", compressible(1, 5000), 1000);
	d = tree_snapshot(c);
	ck_assert_uint_eq(d->coded, 6);
	ck_assert_uint_eq(d->memory, b->memory);
	ck_assert_ptr_eq(tree_coded(b, "/page.html", CODING_BR), tree_coded(d, "/page.html", CODING_BR));
	build_free(a);
	build_free(b);
	build_free(c);
	for (unsigned coding = 1; coding < CODINGS; coding++)
		check_variant(d, "/page.html", coding, compressible(1, 5000));
	build_free(d);
}
END_TEST

START_TEST(variants_go_with_their_content)
{
	struct snapshot *a, *b, *c, *d;
	time_t now = time(NULL);

	tree_clock_at = now;
	put_at("page.html", compressible(1, 5000), now - 100);
	tree_compress();
	a = tree_snapshot(NULL);
	tree_collect();
	b = tree_as_before(a);
	build_free(a);
	check_variant(b, "/page.html", CODING_GZIP, compressible(1, 5000));

	/* Another content: none, until they are made; and never the old ones. */
	put_at("page.html", compressible(2, 5000), now - 50);
	c = tree_snapshot(b);
	build_free(b);
	ck_assert_uint_eq(c->coded, 0);
	ck_assert_ptr_null(tree_coded(c, "/page.html", CODING_GZIP));
	tree_collect();
	d = tree_as_before(c);
	build_free(c);
	check_variant(d, "/page.html", CODING_GZIP, compressible(2, 5000));

	/* The first content again: they are there at once. A new date alone: the same bodies under new heads. */
	put_at("page.html", compressible(1, 5000), now - 40);
	a = tree_snapshot(d);
	build_free(d);
	check_variant(a, "/page.html", CODING_GZIP, compressible(1, 5000));
	set_time("page.html", now - 10);
	b = tree_snapshot(a);
	check_variant(b, "/page.html", CODING_GZIP, compressible(1, 5000));
	ck_assert_int_eq(tree_coded(b, "/page.html", CODING_GZIP)->last_modified, now - 10);
	ck_assert_ptr_eq(tree_coded(a, "/page.html", CODING_GZIP)->body,
	                 tree_coded(b, "/page.html", CODING_GZIP)->body);
	build_free(a);
	check_variant(b, "/page.html", CODING_ZSTD, compressible(1, 5000));
	build_free(b);
}
END_TEST

START_TEST(equal_contents_share_their_variants)
{
	struct snapshot *a, *b;

	put_at("a.css", compressible(1, 5000), 1000);
	put_at("b.css", compressible(1, 5000), 2000);
	put_at("c/index.html", compressible(1, 5000), 3000);
	tree_compress();
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(variants_pending(tree.variants), 3);
	tree_collect();
	b = tree_as_before(a);
	build_free(a);
	ck_assert_uint_eq(b->coded, 9);
	for (unsigned coding = 1; coding < CODINGS; coding++) {
		check_variant(b, "/a.css", coding, compressible(1, 5000));
		check_variant(b, "/c/", coding, compressible(1, 5000));
		ck_assert_ptr_eq(tree_coded(b, "/a.css", coding)->body, tree_coded(b, "/b.css", coding)->body);
		ck_assert_ptr_eq(tree_coded(b, "/a.css", coding)->body, tree_coded(b, "/c/", coding)->body);
	}
	build_free(b);
}
END_TEST

START_TEST(only_the_codings_that_are_offered)
{
	struct snapshot *a, *b;

	tree.options.encodings = 1 << CODING_BR;
	tree_put("page.html", compressible(1, 5000));
	put_sidecar("page.html", CODING_GZIP, compressible(1, 5000));
	tree_compress();
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(variants_pending(tree.variants), 1);
	tree_collect();
	b = tree_as_before(a);
	check_variant(b, "/page.html", CODING_BR, compressible(1, 5000));
	ck_assert_ptr_null(tree_coded(b, "/page.html", CODING_GZIP));
	ck_assert_ptr_null(tree_coded(b, "/page.html", CODING_ZSTD));
	ck_assert_uint_eq(b->coded, 1);
	ck_assert_uint_eq(tree_find(b, "/page.html.gz")->status, 200);
	build_free(a);
	build_free(b);
}
END_TEST

START_TEST(sidecars_are_sent_in_place_of_their_file)
{
	struct snapshot *a, *b;

	tree_put("app.js", compressible(1, 5000));
	tree_put("tiny.txt", compressible(2, 200)); /* loom itself would not */
	tree_put("dir/index.html", compressible(3, 5000));
	tree_put("data.bin", compressible(4, 5000)); /* of whatever type */
	put_sidecar("app.js", CODING_BR, compressible(1, 5000));
	put_sidecar("app.js", CODING_GZIP, compressible(1, 5000));
	put_sidecar("app.js", CODING_ZSTD, compressible(1, 5000));
	put_sidecar("tiny.txt", CODING_GZIP, compressible(2, 200));
	put_sidecar("dir/index.html", CODING_BR, compressible(3, 5000));
	put_sidecar("data.bin", CODING_ZSTD, compressible(4, 5000));
	put_sidecar("lonely.txt", CODING_GZIP, compressible(5, 5000));
	a = tree_snapshot(NULL);
	check_variant(a, "/app.js", CODING_BR, compressible(1, 5000));
	check_variant(a, "/app.js", CODING_GZIP, compressible(1, 5000));
	check_variant(a, "/app.js", CODING_ZSTD, compressible(1, 5000));
	check_variant(a, "/tiny.txt", CODING_GZIP, compressible(2, 200));
	check_variant(a, "/dir/index.html", CODING_BR, compressible(3, 5000));
	check_variant(a, "/dir/", CODING_BR, compressible(3, 5000));
	check_variant(a, "/data.bin", CODING_ZSTD, compressible(4, 5000));
	ck_assert_ptr_null(tree_coded(a, "/data.bin", CODING_GZIP));
	ck_assert_uint_eq(a->coded, 6);
	/* A sidecar is a file like others, too, and its bytes are there once. */
	ck_assert_uint_eq(tree_find(a, "/app.js.br")->status, 200);
	ck_assert_ptr_null(tree_field(tree_find(a, "/app.js.br"), "Content-Encoding"));
	ck_assert_ptr_null(tree_field(tree_find(a, "/app.js.br"), "Vary"));
	ck_assert_ptr_eq(tree_find(a, "/app.js.br")->body, tree_coded(a, "/app.js", CODING_BR)->body);
	ck_assert_uint_eq(tree_find(a, "/lonely.txt.gz")->status, 200);
	tree_lacks(a, "/lonely.txt");
	ck_assert_str_eq(tree.log, "");

	b = tree_snapshot(a);
	ck_assert_uint_eq(b->coded, 6);
	ck_assert_ptr_eq(tree_coded(a, "/app.js", CODING_BR), tree_coded(b, "/app.js", CODING_BR));
	ck_assert_ptr_eq(tree_find(a, "/tiny.txt"), tree_find(b, "/tiny.txt"));
	build_free(a);
	check_variant(b, "/app.js", CODING_BR, compressible(1, 5000));
	check_variant(b, "/dir/", CODING_BR, compressible(3, 5000));
	build_free(b);
}
END_TEST

/* A file that is deployed before its sidecar is, or without it: what was right once is judged again. */
START_TEST(a_sidecar_of_the_content_before_is_not_sent)
{
	struct snapshot *a, *b, *c;

	tree_put("app.js", compressible(1, 5000));
	put_sidecar("app.js", CODING_GZIP, compressible(1, 5000));
	tree_clock_ahead = LATER; /* the sidecar's asset is shared */
	a = tree_snapshot(NULL);
	check_variant(a, "/app.js", CODING_GZIP, compressible(1, 5000));
	tree_put("app.js", compressible(2, 5000));
	b = tree_snapshot(a);
	ck_assert_ptr_eq(tree_find(a, "/app.js.gz"), tree_find(b, "/app.js.gz"));
	ck_assert_ptr_null(tree_coded(b, "/app.js", CODING_GZIP));
	check_policy(b, "/app.js", NULL, NULL);
	ck_assert_ptr_nonnull(strstr(tree.log, "/app.js.gz is not sent in place of /app.js"));
	build_free(a);
	tree_put("app.js", compressible(1, 5000)); /* and back */
	c = tree_snapshot(b);
	check_variant(c, "/app.js", CODING_GZIP, compressible(1, 5000));
	build_free(b);
	build_free(c);
}
END_TEST

START_TEST(a_sidecar_wins_over_our_own)
{
	struct snapshot *a, *b;
	const struct representation *own;

	tree_put("page.html", compressible(1, 5000));
	tree_compress();
	a = tree_snapshot(NULL);
	tree_collect();
	b = tree_as_before(a);
	build_free(a);
	own = tree_coded(b, "/page.html", CODING_GZIP);
	/* The same bytes: whose they are shows by where they lie. */
	tree_write("page.html.gz", (const char *)own->body, own->body_len);
	a = tree_snapshot(b);
	build_free(b);
	ck_assert_ptr_eq(tree_coded(a, "/page.html", CODING_GZIP)->body, tree_find(a, "/page.html.gz")->body);
	check_variant(a, "/page.html", CODING_BR, compressible(1, 5000)); /* our own beside it */
	ck_assert_uint_eq(a->coded, 3);

	/* Without it ours comes back. */
	unlink(tree_path("page.html.gz"));
	b = tree_snapshot(a);
	build_free(a);
	check_variant(b, "/page.html", CODING_GZIP, compressible(1, 5000));
	ck_assert_uint_eq(b->coded, 3);
	build_free(b);
}
END_TEST

/* Files that are called like sidecars. */
START_TEST(what_is_no_sidecar_is_not_sent_as_one)
{
	static const char gzip_member[] = "\x1f\x8b\x08\x00";
	struct snapshot *a, *b;
	char path[64];

	tree_put("other.js", compressible(1, 5000));
	put_sidecar("other.js", CODING_GZIP, compressible(2, 5000)); /* of another content */
	tree_put("old.js", compressible(1, 5000));
	put_sidecar("old.js", CODING_BR, compressible(1, 4999)); /* of an older one */
	tree_put("cut.js", compressible(3, 5000));
	put_sidecar("cut.js", CODING_ZSTD, compressible(3, 5000));
	ck_assert_int_eq(truncate(tree_path("cut.js.zst"), 40), 0);
	tree_put("long.js", compressible(4, 5000));
	put_sidecar("long.js", CODING_GZIP, compressible(4, 5000));
	{
		int fd = open(tree_path("long.js.gz"), O_WRONLY | O_APPEND | O_CLOEXEC);

		ck_assert_int_eq(write(fd, "x", 1), 1); /* something follows */
		close(fd);
	}
	tree_put("wrong.js", compressible(5, 5000));
	put_sidecar("wrong.js", CODING_GZIP, compressible(5, 5000));
	ck_assert_int_eq(rename(tree_path("wrong.js.gz"), tree_path("wrong.js.br")), 0); /* in another coding */
	tree_put("header.js", compressible(6, 5000));
	tree_write("header.js.gz", gzip_member, 4);
	tree_put("empty.js", compressible(7, 5000));
	tree_put("empty.js.gz", "");
	tree_put("none.txt", "");
	tree_put("none.txt.gz", "");
	tree_put("page.js", compressible(8, 5000)); /* a directory */
	tree_put("page.js.gz/index.html", "a directory");
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(a->coded, 0);
	for (unsigned coding = 1; coding < CODINGS; coding++) {
		static const char *const names[] = {
			"other", "old", "cut", "long", "wrong", "header", "empty", "page"
		};

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			snprintf(path, sizeof(path), "/%s.js", names[i]);
			ck_assert_msg(!tree_coded(a, path, coding), "%s, %s", path, coding_name(coding));
			check_policy(a, path, NULL, NULL);
		}
	}
	ck_assert_ptr_nonnull(strstr(tree.log,
	                             "/other.js.gz is not sent in place of /other.js: decoded as gzip it does "
	                             "not give the same bytes"));
	ck_assert_ptr_nonnull(strstr(tree.log, "/old.js.br"));
	ck_assert_ptr_nonnull(strstr(tree.log, "/cut.js.zst"));
	ck_assert_ptr_nonnull(strstr(tree.log, "/long.js.gz"));
	ck_assert_ptr_nonnull(strstr(tree.log, "/wrong.js.br"));
	ck_assert_ptr_nonnull(strstr(tree.log, "/header.js.gz"));

	/* They are judged once, and told once. */
	b = tree_snapshot(a);
	ck_assert_str_eq(tree.log, "");
	build_free(a);
	a = tree_as_before(b);
	ck_assert_str_eq(tree.log, "");
	build_free(b);

	/* Mended, it is sent. */
	put_sidecar("other.js", CODING_GZIP, compressible(1, 5000));
	b = tree_snapshot(a);
	build_free(a);
	check_variant(b, "/other.js", CODING_GZIP, compressible(1, 5000));
	ck_assert_uint_eq(b->coded, 1);
	build_free(b);
}
END_TEST

START_TEST(a_sidecar_that_is_not_smaller_is_not_sent)
{
	/* "hi\n" as a stored gzip member, which is right, and longer. */
	static const char stored[] = "\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x03\0\xfc\xffhi\n\x7a\x7a\x6f\xed\x03\0\0\0";
	struct snapshot *snapshot;

	tree_put("a.txt", "hi\n");
	tree_write("a.txt.gz", stored, sizeof(stored) - 1);
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(snapshot->coded, 0);
	check_policy(snapshot, "/a.txt", NULL, NULL);
	ck_assert_str_eq(tree.log, ""); /* that is no fault */
	build_free(snapshot);
}
END_TEST

START_TEST(vary_comes_and_goes_with_a_sidecar)
{
	struct snapshot *a, *b, *c, *d;

	tree_put("tiny.txt", compressible(1, 200));
	tree_put("dir/index.html", compressible(2, 200));
	tree_clock_ahead = LATER; /* unchanged files are not read again */
	a = tree_snapshot(NULL);
	check_policy(a, "/tiny.txt", NULL, NULL);
	check_policy(a, "/dir/", "no-cache", NULL);
	put_sidecar("tiny.txt", CODING_GZIP, compressible(1, 200));
	put_sidecar("dir/index.html", CODING_GZIP, compressible(2, 200));
	b = tree_snapshot(a);
	check_variant(b, "/tiny.txt", CODING_GZIP, compressible(1, 200));
	check_variant(b, "/dir/", CODING_GZIP, compressible(2, 200));
	check_policy(a, "/tiny.txt", NULL, NULL); /* the old one is what it was */
	ck_assert_ptr_eq(tree_find(b, "/dir/"), tree_find(b, "/dir/index.html"));
	ck_assert_ptr_eq(tree_find(a, "/tiny.txt")->body, tree_find(b, "/tiny.txt")->body);
	c = tree_snapshot(b);
	ck_assert_ptr_eq(tree_find(b, "/tiny.txt"), tree_find(c, "/tiny.txt"));
	ck_assert_ptr_eq(tree_find(b, "/dir/"), tree_find(c, "/dir/"));
	unlink(tree_path("tiny.txt.gz"));
	unlink(tree_path("dir/index.html.gz"));
	d = tree_snapshot(c);
	check_policy(d, "/tiny.txt", NULL, NULL);
	check_policy(d, "/dir/", "no-cache", NULL);
	ck_assert_uint_eq(d->coded, 0);
	build_free(a);
	build_free(c);
	build_free(b);
	tree_serves(d, "/tiny.txt", compressible(1, 200));
	tree_serves(d, "/dir/", compressible(2, 200));
	build_free(d);
}
END_TEST

/*
 * Identity is always there; of the variants, as many as fit: more with more memory, until all do. Nobody but the store
 * has a reference to them before.
 */
START_TEST(variants_that_do_not_fit_are_left_out)
{
	struct snapshot *plain, *some;
	unsigned builds = 0, partly = 0;
	uint64_t before = 0, limit;
	char name[32];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "%u.txt", i);
		tree_put(name, compressible(i, 3000));
	}
	tree_compress();
	plain = tree_snapshot(NULL);
	for (limit = plain->memory; before < 60; limit += 4096) {
		/* What was let go of is asked for anew, of a new store. */
		variants_destroy(tree.variants);
		tree_compress();
		tree.options.max_memory = 1 << 30;
		build_free(tree_as_before(plain));
		tree_collect();

		tree.options.max_memory = limit;
		ck_assert_uint_lt(limit, plain->memory + (1 << 20));
		some = tree_as_before(plain);
		if (!some)
			continue; /* not even the index fits */
		for (unsigned i = 0; i < 20; i++) {
			snprintf(name, sizeof(name), "/%u.txt", i);
			tree_serves(some, name, compressible(i, 3000));
			for (unsigned coding = 1; coding < CODINGS; coding++)
				if (tree_coded(some, name, coding))
					check_variant(some, name, coding, compressible(i, 3000));
		}
		ck_assert_msg(some->coded >= before, "%llu, and %llu with more memory", (unsigned long long)before,
		              (unsigned long long)some->coded);
		ck_assert_msg((strstr(tree.log, "do not fit") != NULL) == (some->coded < 60), "%llu: %s",
		              (unsigned long long)some->coded, tree.log);
		before = some->coded;
		builds++;
		partly += some->coded > 0 && some->coded < 60;
		build_free(some);
	}
	ck_assert_uint_ge(builds, 5);
	ck_assert_uint_ge(partly, 3);
	build_free(plain);
}
END_TEST

/* The id of a tree made by one of two ways that end in the same. */
static void make_tree(bool backwards)
{
	static const char *const names[] = { "index.html", "a/index.html", "a/b", "z", "a.b/c", "A" };
	const size_t n = sizeof(names) / sizeof(names[0]);

	for (size_t i = 0; i < n; i++) {
		const char *name = names[backwards ? n - 1 - i : i];
		struct timespec times[2] = { { .tv_sec = 1000000 + (long)i }, { .tv_sec = 1000000 + (long)i } };

		tree_put(name, name);
		utimensat(AT_FDCWD, tree_path(name), times, 0);
	}
}

START_TEST(equal_trees_have_equal_ids)
{
	char first[64], other[] = "/tmp/loom-tree-XXXXXX";
	struct snapshot *a, *b;

	make_tree(false);
	a = tree_snapshot(NULL);
	strcpy(first, tree.root);
	ck_assert_ptr_nonnull(mkdtemp(other));
	tree_make(other);
	tree.options.workers = 1;
	make_tree(true);
	b = tree_snapshot(NULL);
	tree_remove(first);
	ck_assert_str_eq(a->id, b->id);
	build_free(a);
	build_free(b);
}
END_TEST

START_TEST(different_trees_have_different_ids)
{
	char ids[9][ETAG_LEN];
	struct snapshot *snapshot;
	int n = 0;

	for (int step = 0; step < 8; step++) {
		switch (step) {
		case 0: /* nothing */
			break;
		case 1:
			tree_put("a", "x");
			break;
		case 2:
			tree_put("a", "y");
			break;
		case 3:
			ck_assert_int_eq(rename(tree_path("a"), tree_path("a.html")), 0);
			break; /* another type, too */
		case 4:
			tree_put("index.html", "z");
			break;
		case 5:
			tree_put("b/c", "");
			break;
		case 6:
			tree.options.index = "c";
			break; /* other keys, same files */
		/* Neither content nor order nor type. */
		case 7:
			ck_assert_int_eq(rename(tree_path("a.html"), tree_path("A.html")), 0);
			break;
		}
		snapshot = tree_snapshot(NULL);
		strcpy(ids[n++], snapshot->id);
		build_free(snapshot);
		for (int i = 0; i < n - 1; i++)
			ck_assert_msg(strcmp(ids[i], ids[n - 1]) != 0, "%d and %d", i, n - 1);
	}
}
END_TEST

START_TEST(unchanged_files_are_shared_and_not_opened)
{
	struct snapshot *a, *b;
	unsigned long reads;

	tree_put("dir/index.html", "index");
	tree_put("dir/style.css", "style");
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	tree_put("new", "new");
	reads = tree_reads;
	b = tree_snapshot(a);
	ck_assert_uint_eq(tree_reads - reads, 2); /* the new file and its end */
	ck_assert_ptr_eq(tree_find(a, "/dir/index.html"), tree_find(b, "/dir/index.html"));
	ck_assert_ptr_eq(tree_find(a, "/dir/"), tree_find(b, "/dir/"));
	ck_assert_ptr_eq(tree_find(a, "/dir"), tree_find(b, "/dir"));
	ck_assert_ptr_eq(tree_find(a, "/dir/style.css"), tree_find(b, "/dir/style.css"));
	ck_assert_str_ne(a->id, b->id);
	ck_assert_uint_gt(b->memory, a->memory);

	/* What is shared lives on. */
	build_free(a);
	tree_serves(b, "/dir/", "index");
	tree_serves(b, "/dir/style.css", "style");
	ck_assert_uint_eq(tree_find(b, "/dir")->status, 301);
	build_free(b);
}
END_TEST

START_TEST(memory_is_the_same_read_or_shared)
{
	struct timespec epoch[2] = { { 0 }, { 0 } }; /* without Last-Modified a head is shorter than it might be */
	struct snapshot *a, *b;
	char name[65] = "";

	for (int i = 0; i < 64; i++) {
		name[i] = 'n';
		tree_put(name, "x");
		ck_assert_int_eq(utimensat(AT_FDCWD, tree_path(name), epoch, 0), 0);
	}
	a = tree_snapshot(NULL);
	b = tree_snapshot(a);
	ck_assert_ptr_eq(tree_find(a, "/n"), tree_find(b, "/n"));
	ck_assert_uint_eq(a->memory, b->memory);
	build_free(a);
	build_free(b);
}
END_TEST

START_TEST(a_file_read_just_after_it_was_written_is_read_again)
{
	struct snapshot *a, *b, *c;
	unsigned long reads;

	tree_clock_ahead = JUST_NOW;
	tree_put("file", "content");
	a = tree_snapshot(NULL);
	tree_clock_ahead = LATER;
	reads = tree_reads;
	b = tree_snapshot(a);
	ck_assert_uint_gt(tree_reads, reads);
	ck_assert_ptr_eq(tree_find(a, "/file"), tree_find(b, "/file")); /* but shared, as nothing has changed */
	reads = tree_reads;
	c = tree_snapshot(b); /* now it was at rest when it was read */
	ck_assert_uint_eq(tree_reads, reads);
	build_free(a);
	build_free(c);
	build_free(b);
}
END_TEST

/* The very case that makes it necessary: written twice within one tick of the clock, the same length. */
START_TEST(a_change_that_stat_does_not_show_is_seen)
{
	struct timespec times[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	struct snapshot *a, *b;
	struct asset_source *source;
	struct stat st;

	tree_clock_ahead = JUST_NOW;
	tree_put("file", "first.");
	utimensat(AT_FDCWD, tree_path("file"), times, 0);
	a = tree_snapshot(NULL);
	tree_put("file", "second");
	utimensat(AT_FDCWD, tree_path("file"), times, 0);
	/* ctime(2) cannot be set: make the asset remember the one that the file has now. */
	ck_assert_int_eq(stat(tree_path("file"), &st), 0);
	source = (struct asset_source *)((uintptr_t)tree_find(a, "/file") + offsetof(struct asset, source));
	ck_assert(!source->settled);
	source->ctime = st.st_ctim;
	b = tree_snapshot(a);
	tree_serves(b, "/file", "second");
	build_free(a);
	build_free(b);
}
END_TEST

START_TEST(changed_files_are_new)
{
	static const char *const names[] = {
		"content", "length", "date", "same", "dir.txt/index.html", "file.txt", "gone",
	};
	struct timespec first[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct timespec second[2] = { { .tv_sec = 2000 }, { .tv_sec = 2000 } };
	struct snapshot *a, *b;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tree_put(names[i], "same");
	utimensat(AT_FDCWD, tree_path("date"), first, 0);
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	tree_put("content", "diff");
	tree_put("length", "longer");
	utimensat(AT_FDCWD, tree_path("date"), second, 0);
	unlink(tree_path("dir.txt/index.html"));
	rmdir(tree_path("dir.txt"));
	tree_put("dir.txt", "file");
	unlink(tree_path("file.txt"));
	tree_put("file.txt/index.html", "dir");
	unlink(tree_path("gone"));
	b = tree_snapshot(a);
	tree_serves(b, "/content", "diff");
	tree_serves(b, "/length", "longer");
	tree_serves(b, "/dir.txt", "file");
	tree_lacks(b, "/dir.txt/");
	tree_serves(b, "/file.txt/", "dir");
	ck_assert_uint_eq(tree_find(b, "/file.txt")->status, 301);
	tree_lacks(b, "/gone");
	ck_assert_int_eq(tree_find(a, "/date")->last_modified, 1000);
	ck_assert_int_eq(tree_find(b, "/date")->last_modified, 2000);
	ck_assert_ptr_eq(tree_find(a, "/date")->body, tree_find(b, "/date")->body);
	ck_assert_mem_eq(tree_find(a, "/date")->etag, tree_find(b, "/date")->etag, ETAG_LEN);
	ck_assert_ptr_eq(tree_find(a, "/same"), tree_find(b, "/same"));
	tree_serves(a, "/content", "same"); /* the old one is what it was */
	build_free(a);
	build_free(b);
}
END_TEST

START_TEST(what_does_not_show_is_shared)
{
	struct snapshot *a, *b;

	tree_put("file", "x");
	a = tree_snapshot(NULL);
	ck_assert_int_eq(chmod(tree_path("file"), 0600), 0); /* ctime, and no more */
	b = tree_snapshot(a);
	ck_assert_ptr_eq(tree_find(a, "/file"), tree_find(b, "/file"));
	build_free(b);
	build_free(a);
}
END_TEST

/* What happens to a file between the first look at it and its first byte. */
static void append(int fd)
{
	int out = open(tree_path("file"), O_WRONLY | O_APPEND | O_CLOEXEC);

	tree_before_read = NULL;
	ck_assert_int_eq(write(out, "more", 4), 4);
	close(out);
}

static void cut(int fd)
{
	tree_before_read = NULL;
	ck_assert_int_eq(truncate(tree_path("file"), 10), 0);
}

static void overwrite(int fd)
{
	int out = open(tree_path("file"), O_WRONLY | O_CLOEXEC);

	tree_before_read = NULL;
	ck_assert_int_eq(pwrite(out, "xx", 2, 5), 2);
	close(out);
}

static void touch(int fd)
{
	tree_before_read = NULL;
	ck_assert_int_eq(utimensat(AT_FDCWD, tree_path("file"), NULL, 0), 0);
}

static void replace(int fd)
{
	tree_before_read = NULL;
	tree_put("other", "another file, whole");
	ck_assert_int_eq(rename(tree_path("other"), tree_path("file")), 0);
}

static void (*const changes[])(int fd) = { append, cut, overwrite, touch, replace };

START_TEST(a_file_that_changes_while_it_is_read_is_eagain)
{
	static char content[200000];
	struct snapshot *snapshot = NULL, *previous = NULL;

	memset(content, 'c', sizeof(content));
	tree_write("file", content, sizeof(content));
	if (_i % 2)
		previous = tree_snapshot(NULL); /* then it is compared first */
	usleep(20000);                          /* a tick, so that the change shows */
	tree_before_read = changes[_i / 2];
	ck_assert_int_eq(tree_build(previous, &snapshot), -EAGAIN);
	ck_assert_ptr_null(snapshot);
	ck_assert_str_eq(tree.why, "file changed while it was being read");
	build_free(previous);
}
END_TEST

/* However long its writer pauses: nothing but time tells that he is done. */
START_TEST(a_file_that_was_written_a_moment_ago_is_not_taken)
{
	struct snapshot *snapshot = NULL;

	tree.settle = 1000 * (LATER + 60);
	tree_put("file", "half");
	tree_clock_ahead = LATER;
	ck_assert_int_eq(tree_build(NULL, &snapshot), -EAGAIN);
	ck_assert_str_eq(tree.why, "file changed while it was being read");
	tree.settle = 1000 * (LATER - 1);
	snapshot = tree_snapshot(NULL);
	tree_serves(snapshot, "/file", "half");
	build_free(snapshot);
	/* A time that lies ahead is another clock's. */
	tree.settle = 1000 * LATER;
	tree_clock_ahead = JUST_NOW;
	snapshot = tree_snapshot(NULL);
	build_free(snapshot);
}
END_TEST

static void switch_root(int fd)
{
	char away[sizeof(tree.root) + 8];

	tree_before_read = NULL;
	snprintf(away, sizeof(away), "%s.away", tree.root);
	ck_assert_int_eq(rename(tree.root, away), 0);
	ck_assert_int_eq(mkdir(tree.root, 0755), 0);
	tree_remove(away);
}

/* As when a release is removed while it is read: what was read of it has holes. */
START_TEST(a_root_that_is_another_one_by_now_is_eagain)
{
	struct snapshot *snapshot = NULL;

	tree_put("a", "x");
	tree_put("b", "x");
	tree_before_read = switch_root;
	ck_assert_int_eq(tree_build(NULL, &snapshot), -EAGAIN);
	ck_assert_ptr_null(strstr(tree.why, "/a"));
	ck_assert_ptr_nonnull(strstr(tree.why, "changed while it was being read"));
}
END_TEST

static void vanish(int fd)
{
	tree_before_read = NULL;
	unlink(tree_path("b"));
	tree_remove(tree_path("d"));
}

START_TEST(what_vanishes_is_not_there)
{
	struct snapshot *snapshot;

	tree_put("a", "x");
	tree_put("b", "x");
	tree_put("c", "x");
	tree_put("d/x", "x");
	tree_before_read = vanish;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 2);
	tree_serves(snapshot, "/c", "x");
	build_free(snapshot);
}
END_TEST

static void block(int fd)
{
	tree_before_read = NULL;
	unlink(tree_path("b"));
	ck_assert_int_eq(mkfifo(tree_path("b"), 0644), 0);
}

/* It is opened all the same, and must not be waited for. */
START_TEST(what_a_fifo_takes_the_place_of_has_changed)
{
	struct snapshot *snapshot = NULL;

	tree_put("a", "x");
	tree_put("b", "x");
	tree_before_read = block;
	ck_assert_int_eq(tree_build(NULL, &snapshot), -EAGAIN);
	ck_assert_str_eq(tree.why, "b changed while it was being read");
}
END_TEST

START_TEST(memory_has_a_limit)
{
	static char content[100000];
	struct snapshot *a, *b = NULL;
	double needed, allowed;
	uint64_t memory;

	for (int i = 0; i < 10; i++) {
		char name[32];

		memset(content, 'a' + i, sizeof(content)); /* equal ones would be there once */
		snprintf(name, sizeof(name), "dir/%d", i);
		tree_write(name, content, sizeof(content));
	}
	a = tree_snapshot(NULL);
	memory = a->memory;
	ck_assert_uint_eq(memory_held(), memory);
	build_free(a);
	ck_assert_uint_eq(memory_held(), 0);
	tree.options.max_memory = memory + 2048; /* some heads are estimated */
	a = tree_snapshot(NULL);
	ck_assert_uint_eq(memory_held(), memory);
	build_free(a);

	tree.options.max_memory = memory / 2;
	ck_assert_int_eq(tree_build(NULL, &b), -ENOSPC);
	ck_assert_ptr_null(b);
	/* All of it, but for the errors' few hundred bytes each: they come last. */
	ck_assert_msg(sscanf(strstr(tree.why, " needs "), " needs %lf KiB of memory, and %lf KiB are", &needed,
	                     &allowed) == 2,
	              "%s", tree.why);
	ck_assert_msg(needed * 1024 <= (double)memory + 2048 && needed * 1024 > (double)memory - 20000,
	              "%s: it is %llu", tree.why, (unsigned long long)memory);
	ck_assert(allowed * 1024 > (double)memory / 2 - 64 && allowed * 1024 < (double)memory / 2 + 64);
	ck_assert_uint_eq(memory_held(), 0);
	ck_assert_ptr_nonnull(strstr(tree.why, "raise --max-memory"));

	/* Beside the one that is served only what is new counts. */
	tree.options.max_memory = memory + 150000;
	a = tree_snapshot(NULL);
	b = tree_snapshot(a);
	build_free(b);
	memset(content, 'y', sizeof(content));
	tree_write("one-more", content, sizeof(content));
	b = tree_snapshot(a);
	build_free(b);
	memset(content, 'z', sizeof(content));
	tree_write("two-more", content, sizeof(content));
	b = NULL;
	ck_assert_int_eq(tree_build(a, &b), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(tree.why, "of memory, beside the "));
	build_free(a);
}
END_TEST

START_TEST(the_limit_counts_what_is_not_allocated)
{
	struct snapshot *snapshot = NULL;

	tree_put("huge", "");
	ck_assert_int_eq(truncate(tree_path("huge"), (off_t)1 << 40), 0);
	ck_assert_int_eq(tree_build(NULL, &snapshot), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(tree.why, "needs 1048576.0 MiB of memory, and 1024.0 MiB are allowed"));
	unlink(tree_path("huge"));

	/* The index alone. */
	tree.options.max_memory = 5000;
	ck_assert_int_eq(tree_build(NULL, &snapshot), -ENOSPC);
	ck_assert_ptr_null(snapshot);
}
END_TEST

/* Links that make 2^30 directories of thirty. */
START_TEST(the_limit_ends_a_maze_of_links)
{
	struct snapshot *snapshot = NULL;
	char path[64], target[64];

	for (int i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "%02d", i);
		ck_assert_int_eq(mkdir(tree_path(path), 0755), 0);
		snprintf(target, sizeof(target), "../%02d", i + 1);
		for (int j = 0; i < 29 && j < 2; j++) {
			snprintf(path, sizeof(path), "%02d/%d", i, j);
			tree_link(target, path);
		}
	}
	tree.options.max_memory = 1 << 20;
	ck_assert_int_eq(tree_build(NULL, &snapshot), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(tree.why, "needs more than "));
}
END_TEST

START_TEST(want_of_descriptors_is_no_smaller_snapshot)
{
	struct rlimit old, few;
	struct snapshot *snapshot = NULL;
	int failures = 0, err;

	tree_put("a/b", "x");
	tree_put("c", "x");
	tree_link("c", "link");
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	for (few.rlim_cur = 3;; few.rlim_cur++) {
		int probe[2] = { -1, -1 };

		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		/* tree_build() itself takes two. */
		probe[0] = dup(0);
		probe[1] = dup(0);
		close(probe[0]);
		if (probe[1] < 0)
			continue;
		close(probe[1]);
		err = tree_build(NULL, &snapshot);
		if (!err)
			break;
		failures++;
		ck_assert_msg(err == -EMFILE, "%d: %s", err, tree.why);
		ck_assert_ptr_nonnull(strstr(tree.why, "Too many open files"));
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_int_ge(failures, 3); /* ROOT, a directory, a file */
	ck_assert_uint_eq(tree_keys(snapshot), 3);
	build_free(snapshot);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("build");
	TCase *tcase = tcase_create("build");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, tree_setup, tree_teardown);
	tcase_add_test(tcase, every_url_is_a_key);
	tcase_add_test(tcase, an_empty_tree_is_a_snapshot);
	tcase_add_test(tcase, the_index_has_the_name_that_was_chosen);
	tcase_add_test(tcase, an_index_that_is_a_directory_is_none);
	tcase_add_test(tcase, a_404_page_is_the_body_of_404);
	tcase_add_test(tcase, a_redirect_that_is_too_long_is_left_out);
	tcase_add_test(tcase, no_modification_date_is_in_the_future);
	tcase_add_loop_test(tcase, a_date_stands_for_one_content, 0, sizeof(histories) / sizeof(histories[0]));
	tcase_add_test(tcase, a_date_that_could_not_be_given_comes_later);
	tcase_add_test(tcase, files_are_cached_as_the_options_say);
	tcase_add_test(tcase, a_page_for_every_error);
	tcase_add_test(tcase, variants_arrive_with_a_build_as_before);
	tcase_add_test(tcase, variants_go_with_their_content);
	tcase_add_test(tcase, equal_contents_share_their_variants);
	tcase_add_test(tcase, only_the_codings_that_are_offered);
	tcase_add_test(tcase, sidecars_are_sent_in_place_of_their_file);
	tcase_add_test(tcase, a_sidecar_of_the_content_before_is_not_sent);
	tcase_add_test(tcase, a_sidecar_wins_over_our_own);
	tcase_add_test(tcase, what_is_no_sidecar_is_not_sent_as_one);
	tcase_add_test(tcase, a_sidecar_that_is_not_smaller_is_not_sent);
	tcase_add_test(tcase, vary_comes_and_goes_with_a_sidecar);
	tcase_add_test(tcase, variants_that_do_not_fit_are_left_out);
	tcase_add_test(tcase, equal_trees_have_equal_ids);
	tcase_add_test(tcase, different_trees_have_different_ids);
	tcase_add_test(tcase, unchanged_files_are_shared_and_not_opened);
	tcase_add_test(tcase, memory_is_the_same_read_or_shared);
	tcase_add_test(tcase, a_file_read_just_after_it_was_written_is_read_again);
	tcase_add_test(tcase, a_change_that_stat_does_not_show_is_seen);
	tcase_add_test(tcase, changed_files_are_new);
	tcase_add_test(tcase, what_does_not_show_is_shared);
	tcase_add_loop_test(tcase, a_file_that_changes_while_it_is_read_is_eagain, 0,
	                    2 * sizeof(changes) / sizeof(changes[0]));
	tcase_add_test(tcase, a_file_that_was_written_a_moment_ago_is_not_taken);
	tcase_add_test(tcase, a_root_that_is_another_one_by_now_is_eagain);
	tcase_add_test(tcase, what_vanishes_is_not_there);
	tcase_add_test(tcase, what_a_fifo_takes_the_place_of_has_changed);
	tcase_add_test(tcase, memory_has_a_limit);
	tcase_add_test(tcase, the_limit_counts_what_is_not_allocated);
	tcase_add_test(tcase, the_limit_ends_a_maze_of_links);
	tcase_add_test(tcase, want_of_descriptors_is_no_smaller_snapshot);
	return tree_run(suite);
}
