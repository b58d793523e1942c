/*
 * test_build.c - a snapshot is the tree it was built from: its keys, its id, what it shares with the one before, what
 * it may cost, and that a tree that changes meanwhile never gives a torn one.
 */
#include <sys/resource.h>

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
		ck_assert_uint_ge(snapshot->errors[error]->status, 400);
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
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct snapshot *a, *b;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tree_put(names[i], "same");
	tree_clock_ahead = LATER;
	a = tree_snapshot(NULL);
	tree_put("content", "diff");
	tree_put("length", "longer");
	utimensat(AT_FDCWD, tree_path("date"), old, 0);
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
	ck_assert_int_eq(tree_find(b, "/date")->last_modified, 1000);
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

static void vanish(int fd)
{
	tree_before_read = NULL;
	unlink(tree_path("b"));
	tree_remove(tree_path("d"));
	unlink(tree_path("e"));
	ck_assert_int_eq(mkfifo(tree_path("e"), 0644), 0);
}

START_TEST(what_vanishes_is_not_there)
{
	struct snapshot *snapshot;

	tree_put("a", "x");
	tree_put("b", "x");
	tree_put("c", "x");
	tree_put("d/x", "x");
	tree_put("e", "x");
	tree_before_read = vanish;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 2);
	tree_serves(snapshot, "/c", "x");
	build_free(snapshot);
}
END_TEST

START_TEST(memory_has_a_limit)
{
	static char content[100000];
	struct snapshot *a, *b = NULL;

	memset(content, 'c', sizeof(content));
	for (int i = 0; i < 10; i++) {
		char name[32];

		snprintf(name, sizeof(name), "dir/%d", i);
		tree_write(name, content, sizeof(content));
	}
	a = tree_snapshot(NULL);
	tree.options.max_memory = a->memory + 4096; /* the walk's own, meanwhile */
	b = tree_snapshot(NULL);
	build_free(b);

	tree.options.max_memory = a->memory / 2;
	b = NULL;
	ck_assert_int_eq(tree_build(NULL, &b), -ENOSPC);
	ck_assert_ptr_null(b);
	ck_assert_ptr_nonnull(strstr(tree.why, " needs 984."));
	ck_assert_ptr_nonnull(strstr(tree.why, " KiB of memory, and 49"));
	ck_assert_ptr_nonnull(strstr(tree.why, "raise --max-memory"));

	/* Beside the one that is served only what is new counts. */
	tree.options.max_memory = a->memory + 150000;
	b = tree_snapshot(a);
	build_free(b);
	tree_write("one-more", content, sizeof(content));
	b = tree_snapshot(a);
	build_free(b);
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
	tcase_add_test(tcase, what_vanishes_is_not_there);
	tcase_add_test(tcase, memory_has_a_limit);
	tcase_add_test(tcase, the_limit_counts_what_is_not_allocated);
	tcase_add_test(tcase, the_limit_ends_a_maze_of_links);
	tcase_add_test(tcase, want_of_descriptors_is_no_smaller_snapshot);
	return tree_run(suite);
}
