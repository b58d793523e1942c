/*
 * test_keep.c - what is gone from the tree is still served, as far and as long as it may be, and is no part of the tree.
 */
#include "loom/gate.h"
#include "tree.h"

#define HOUR_MS (60 * 60 * 1000)

static uint64_t now_ms = 1000;
static struct snapshot *current;

static void setup(void)
{
	tree_setup();
	tree.options.keep_generations = 3;
	tree.options.keep_for = HOUR_MS;
	tree.options.stream_above = UINT64_MAX;
	now_ms = 1000;
}

static void teardown(void)
{
	build_free(current);
	current = NULL;
	tree_teardown();
}

/* Builds the next snapshot, from keep_from what is gone, in place of the current one. */
static void build_from(const struct snapshot *keep_from, bool as_before)
{
	const struct build_request request = {
		.options = &tree.options,
		.workers = tree.options.workers,
		.previous = current,
		.variants = tree.variants,
		.keep_from = keep_from,
		.as_before = as_before,
		.now = now_ms,
	};
	struct snapshot *next = NULL;

	ck_assert_msg(tree_request(&request, &next) == 0, "%s", tree.why);
	build_free(current);
	current = next;
}

static void build(void)
{
	build_from(current, false);
}

static bool is_gone(const char *key)
{
	const struct snapshot_slot *slot = snapshot_find(current, key, strlen(key));

	ck_assert_msg(slot, "%s is not there", key);
	return slot->gone;
}

static void drop(const char *path)
{
	ck_assert_int_eq(unlink(tree_path(path)), 0);
}

START_TEST(assets_stay_and_documents_go)
{
	static const char *const stay[] = { "a.css",        "a.js",    "a.mjs",
		                            "a.wasm",       "a.woff2", "a.png",
		                            "a.svg",        "a.mp4",   "data.0123abcd.json",
		                            "deep/er/a.css" };
	static const char *const go[] = { "page.html", "page.0123abcd.html", "x.xhtml", "secret.txt",
		                          "dump.sql",  "data.json",          "a.pdf",   "a.zip",
		                          "none" };
	char key[64];

	for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
		tree_put(stay[i], stay[i]);
	for (size_t i = 0; i < sizeof(go) / sizeof(go[0]); i++)
		tree_put(go[i], go[i]);
	tree_put("dir/index.html", "index");
	tree_put("left.txt", "left");
	tree.options.immutable_auto = true;
	build();
	ck_assert_uint_eq(current->kept, 0);
	ck_assert(current->kept_until == 0);
	for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
		drop(stay[i]);
	for (size_t i = 0; i < sizeof(go) / sizeof(go[0]); i++)
		drop(go[i]);
	drop("dir/index.html");
	build();

	for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++) {
		snprintf(key, sizeof(key), "/%s", stay[i]);
		tree_serves(current, key, stay[i]);
		ck_assert_msg(is_gone(key), "%s", key);
	}
	for (size_t i = 0; i < sizeof(go) / sizeof(go[0]); i++) {
		snprintf(key, sizeof(key), "/%s", go[i]);
		tree_lacks(current, key);
	}
	tree_lacks(current, "/dir/");
	tree_lacks(current, "/dir");
	ck_assert(!is_gone("/left.txt"));
	ck_assert_uint_eq(current->files, 1);
	ck_assert_uint_eq(current->bytes, 4);
	ck_assert_uint_eq(current->kept, sizeof(stay) / sizeof(stay[0]));
	ck_assert(current->kept_until == 1000 + HOUR_MS);
}
END_TEST

START_TEST(what_is_kept_is_no_part_of_the_id)
{
	char id[ETAG_LEN - 1];

	tree_put("a.css", "a");
	tree_put("b.css", "b");
	build();
	drop("a.css");
	build();
	strcpy(id, current->id);
	ck_assert_uint_eq(current->kept, 1);
	build_from(NULL, false);
	ck_assert_uint_eq(current->kept, 0);
	ck_assert_str_eq(current->id, id);
}
END_TEST

START_TEST(it_goes_after_so_many_generations)
{
	tree_put("a.css", "a");
	tree_put("b.txt", "0");
	build();
	drop("a.css");
	for (int generation = 1; generation <= 3; generation++) {
		char content[2] = { (char)('0' + generation), '\0' };

		tree_put("b.txt", content);
		build();
		tree_serves(current, "/a.css", "a");
		build(); /* the same contents: no generation */
		build_from(current, true);
		tree_serves(current, "/a.css", "a");
	}
	tree_put("b.txt", "4");
	build();
	tree_lacks(current, "/a.css");
	ck_assert_uint_eq(current->kept, 0);
	ck_assert(current->kept_until == 0);
}
END_TEST

START_TEST(it_goes_after_so_long)
{
	tree_put("a.css", "a");
	tree_put("b.css", "b");
	tree_put("c.txt", "c");
	build();
	drop("a.css");
	build();
	now_ms += 1000;
	drop("b.css");
	build();
	ck_assert_uint_eq(current->kept, 2);
	ck_assert(current->kept_until == 1000 + HOUR_MS);
	now_ms = 1000 + HOUR_MS - 1;
	build_from(current, true);
	ck_assert_uint_eq(current->kept, 2);
	now_ms++;
	build_from(current, true);
	tree_lacks(current, "/a.css");
	tree_serves(current, "/b.css", "b");
	ck_assert(current->kept_until == 2000 + HOUR_MS);
	now_ms += 1000;
	build_from(current, true);
	tree_lacks(current, "/b.css");
	tree_serves(current, "/c.txt", "c");
}
END_TEST

START_TEST(what_comes_back_is_of_the_tree)
{
	struct snapshot *before;

	tree_put("a.css", "a");
	tree_put("b.txt", "b");
	build();
	drop("a.css");
	build();
	ck_assert(is_gone("/a.css"));
	tree_put("a.css", "new");
	build();
	tree_serves(current, "/a.css", "new");
	ck_assert(!is_gone("/a.css"));
	ck_assert_uint_eq(current->kept, 0);

	/* A directory in its place too. */
	drop("a.css");
	build();
	tree_put("a.css/index.html", "dir");
	build();
	ck_assert_uint_eq(tree_find(current, "/a.css")->status, 301);
	ck_assert_uint_eq(current->kept, 0);

	/* The same contents once in the tree and once gone are two snapshots to clients of the gate, if not of files. */
	tree_remove(tree_path("a.css"));
	tree_put("c.css", "c");
	build();
	drop("c.css");
	before = current;
	current = NULL;
	build_from(before, false);
	ck_assert(!build_same(before, current));
	build_free(before);
}
END_TEST

START_TEST(nothing_is_kept_when_nothing_is_to_be)
{
	tree_put("a.css", "a");
	tree_put("b.txt", "b");
	build();
	tree.options.keep_generations = 0;
	drop("a.css");
	build();
	tree_lacks(current, "/a.css");
	tree.options.keep_generations = 3;
	tree.options.keep_for = 0;
	tree_put("a.css", "a");
	build();
	drop("a.css");
	build();
	tree_lacks(current, "/a.css");
}
END_TEST

START_TEST(the_newest_stay_when_there_is_no_room_for_all)
{
	char *big = malloc(300 * 1024);

	memset(big, 'x', 300 * 1024);
	tree_write("old.css", big, 300 * 1024);
	tree_write("new.css", big, 300 * 1024);
	tree_put("a.txt", "a");
	tree.options.max_memory = 2 * 1024 * 1024; /* a quarter of it is for what is gone */
	build();
	drop("old.css");
	build();
	tree_serves(current, "/a.txt", "a");
	ck_assert(is_gone("/old.css"));
	drop("new.css");
	build();
	ck_assert(is_gone("/new.css"));
	tree_lacks(current, "/old.css");
	ck_assert_uint_eq(current->kept, 1);
	ck_assert_uint_eq(current->kept_bytes, 300 * 1024);
	free(big);
}
END_TEST

START_TEST(variants_stay_with_it)
{
	char text[4096];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)("abcdefgh"[i % 8]);
	tree_compress();
	tree_write("a.js", text, sizeof(text));
	tree_put("b.txt", "b");
	build();
	tree_collect();
	build_from(current, true);
	ck_assert_ptr_nonnull(tree_coded(current, "/a.js", CODING_BR));
	drop("a.js");
	build();
	ck_assert(is_gone("/a.js"));
	ck_assert_ptr_nonnull(tree_coded(current, "/a.js", CODING_BR));
	ck_assert_ptr_nonnull(tree_coded(current, "/a.js", CODING_GZIP));
	build_from(current, true);
	ck_assert_ptr_nonnull(tree_coded(current, "/a.js", CODING_ZSTD));
}
END_TEST

START_TEST(after_a_roll_back_the_newer_ones_assets_stay)
{
	struct snapshot *old, *newer;

	tree_put("v1.css", "1");
	build();
	old = current;
	current = NULL;
	drop("v1.css");
	tree_put("v2.css", "2");
	build();
	newer = current;
	current = old;
	build_from(newer, true);
	tree_serves(current, "/v1.css", "1");
	tree_serves(current, "/v2.css", "2");
	ck_assert(!is_gone("/v1.css"));
	ck_assert(is_gone("/v2.css"));

	/* And goes on being, for as long as if nobody had rolled back. */
	now_ms += HOUR_MS / 2;
	build_from(current, true);
	ck_assert(is_gone("/v2.css"));
	build_from(newer, true);
	now_ms += HOUR_MS / 2;
	build_from(current, true);
	tree_lacks(current, "/v2.css");
	build_free(newer);
}
END_TEST

START_TEST(to_the_gate_it_is_gone)
{
	uint64_t reason;
	char why[512];
	struct snapshot *before;

	tree.options.gate = (struct gate_rules){ .chosen = true, .links = true };
	tree_put("index.html", "<script src=app.js></script>");
	tree_put("app.js", "1");
	build();
	before = current;
	current = NULL;
	drop("app.js");
	build_from(before, false);
	ck_assert(is_gone("/app.js"));
	ck_assert_int_eq(gate_check(&tree.options, current, before, &reason, why, sizeof(why)), -EPERM);
	ck_assert_msg(strstr(why, "/app.js is missing"), "%s", why);

	tree.options.gate = (struct gate_rules){ .chosen = true, .vanished = true, .percent = 10 };
	ck_assert_int_eq(gate_check(&tree.options, current, before, &reason, why, sizeof(why)), -EPERM);
	ck_assert_msg(strstr(why, "/app.js"), "%s", why);
	build_free(before);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("keep");
	TCase *tcase = tcase_create("keep");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, assets_stay_and_documents_go);
	tcase_add_test(tcase, what_is_kept_is_no_part_of_the_id);
	tcase_add_test(tcase, it_goes_after_so_many_generations);
	tcase_add_test(tcase, it_goes_after_so_long);
	tcase_add_test(tcase, what_comes_back_is_of_the_tree);
	tcase_add_test(tcase, nothing_is_kept_when_nothing_is_to_be);
	tcase_add_test(tcase, the_newest_stay_when_there_is_no_room_for_all);
	tcase_add_test(tcase, variants_stay_with_it);
	tcase_add_test(tcase, after_a_roll_back_the_newer_ones_assets_stay);
	tcase_add_test(tcase, to_the_gate_it_is_gone);
	suite_add_tcase(suite, tcase);
	return tree_run(suite);
}
