/*
 * test_watch.c - inotify over real directories. The kernel queues an event before the system call that caused it
 * returns, so that nothing here waits: what is not there at once has been missed.
 *
 * inotify_add_watch() and inotify_init1() are ours, in order to run into limits; and so is the log, to count warnings.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

#include "loom/log.h"
#include "loom/walk.h"
#include "loom/watch.h"
#include "live_tree.h"

static unsigned warnings;
static char warning[512];
static int add_fails;      /* the errno of inotify_add_watch(), when it is to fail */
static unsigned add_after; /* so many calls that succeed before it does */
static unsigned adds, adds_failed;
static bool no_proc;
static bool init_fails;

static char root[PATH_MAX];
static struct watch *watch;
static struct options options;

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	if (no_proc && strncmp(path, "/proc/", 6) == 0) {
		errno = ENOENT;
		return -1;
	}
	adds++;
	if (add_fails && add_after == 0) {
		adds_failed++;
		errno = add_fails;
		return -1;
	}
	if (add_fails)
		add_after--;
	return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

int inotify_init1(int flags)
{
	if (init_fails) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_inotify_init1, flags);
}

void log_warn(const char *format, ...)
{
	va_list arguments;

	warnings++;
	va_start(arguments, format);
	vsnprintf(warning, sizeof(warning), format, arguments);
	va_end(arguments);
}

void log_error(const char *format, ...)
{
	(void)format;
	ck_abort_msg("an error was logged");
}

void log_info(const char *format, ...)
{
	(void)format;
}

void log_debug(const char *format, ...)
{
	(void)format;
}

void log_verbosity(int level)
{
	(void)level;
}

static int pass_directory(void *context, const char *path, int fd)
{
	watch_directory(context, path, fd);
	return 0;
}

static int pass_file(void *context, struct walk *walk, const char *path, const struct stat *st)
{
	(void)context, (void)walk, (void)path, (void)st;
	return 0;
}

/* What a rebuild is to the watch. */
static bool pass(void)
{
	static const struct walk_handlers handlers = { pass_directory, watch_link, pass_file };
	char why[512];
	bool complete;

	watch_begin(watch);
	complete = walk_tree(&options, &handlers, watch, why, sizeof(why)) == 0;
	watch_end(watch, complete);
	return complete;
}

/* A watch of its own for each test, on what root says. */
static void create(void)
{
	char why[512];

	if (watch)
		watch_destroy(watch);
	watch = NULL;
	options.root = root;
	options.index = "index.html";
	ck_assert_int_eq(watch_create(&watch, &options, why, sizeof(why)), 0);
}

/* A tree with ROOT at base/site, watched. */
static void setup(void)
{
	tree_make();
	tree_mkdir("site/docs/deep");
	tree_mkdir("outside");
	tree_write("site/index.html", "index");
	tree_write("site/docs/page.html", "page");
	tree_write("site/docs/deep/well.html", "well");
	snprintf(root, sizeof(root), "%s", tree_path("site"));
	create();
}

static void teardown(void)
{
	watch_destroy(watch);
	tree_remove();
}

#define expect(news) ck_assert_int_eq(watch_read(watch), news)

/* Seen, once; and after the next pass all is quiet. */
#define expect_change()                                             \
	do {                                                        \
		expect(WATCH_CHANGED);                              \
		pass();                                             \
		watch_read(watch); /* a removal made by the pass */ \
		expect(WATCH_QUIET);                                \
	} while (0)

START_TEST(every_way_of_changing_a_file_is_seen)
{
	int fd;

	pass();
	expect(WATCH_QUIET);
	tree_write("site/docs/deep/well.html", "in place");
	expect_change();
	tree_append("site/docs/deep/well.html", "more");
	expect_change();
	tree_replace("site/docs/deep/well.html", "renamed over");
	expect_change();
	TREE_MUST(unlink(tree_path("site/docs/page.html")));
	tree_write("site/docs/page.html", "deleted and created");
	expect_change();
	tree_write("site/docs/new.html", "");
	expect_change();
	TREE_MUST(unlink(tree_path("site/docs/new.html")));
	expect_change();
	TREE_MUST(truncate(tree_path("site/index.html"), 1));
	expect_change();
	TREE_MUST(chmod(tree_path("site/index.html"), 0600));
	expect_change();
	TREE_MUST(utimensat(AT_FDCWD, tree_path("site/index.html"), NULL, 0));
	expect_change();
	TREE_MUST(link(tree_path("site/index.html"), tree_path("site/hard.html")));
	expect_change();
	tree_link("index.html", "site/soft.html");
	expect_change();
	tree_write("outside/file", "outside");
	tree_rename("outside/file", "site/moved-in.html");
	expect_change();
	tree_rename("site/moved-in.html", "outside/file");
	expect_change();

	/* A write is seen before the file is closed: it has not come to rest. */
	TREE_MUST(fd = open(tree_path("site/index.html"), O_WRONLY | O_CLOEXEC));
	expect(WATCH_QUIET);
	TREE_MUST(write(fd, "x", 1));
	expect_change();
	TREE_MUST(close(fd));
	expect_change();
}
END_TEST

START_TEST(reading_is_no_change)
{
	struct tree_walk walk = { 0 };
	char byte;
	int fd;

	pass();
	TREE_MUST(fd = open(tree_path("site/docs/page.html"), O_RDONLY | O_CLOEXEC));
	TREE_MUST(read(fd, &byte, 1));
	TREE_MUST(close(fd));
	tree_walk(&walk, root);
	expect(WATCH_QUIET);
}
END_TEST

START_TEST(directories_come_go_and_move)
{
	pass();
	ck_assert_uint_eq(watch_count(watch), 3);
	tree_mkdir("site/a/b/c");
	expect_change();
	ck_assert_uint_eq(watch_count(watch), 6);
	tree_write("site/a/b/c/file", "in a new directory");
	expect_change();

	/* A renamed directory stays watched, under its new name and before the next pass too. */
	tree_rename("site/a", "site/z");
	expect(WATCH_CHANGED);
	tree_write("site/z/b/c/file", "renamed");
	expect_change();
	ck_assert_uint_eq(watch_count(watch), 6);
	tree_write("site/z/b/c/file", "renamed and passed");
	expect_change();

	/* One that is moved out is let go. */
	tree_rename("site/z", "outside/z");
	expect_change();
	ck_assert_uint_eq(watch_count(watch), 3);
	tree_write("outside/z/b/c/file", "nobody's business");
	expect(WATCH_QUIET);
	tree_rename("outside/z", "site/z");
	expect_change();
	tree_write("site/z/b/c/file", "back again");
	expect_change();

	tree_delete("site/z");
	expect(WATCH_CHANGED);
	ck_assert_uint_eq(watch_count(watch), 3); /* the kernel has let them go */
	pass();
	ck_assert_uint_eq(watch_count(watch), 3);
}
END_TEST

START_TEST(an_unfinished_pass_lets_nothing_go)
{
	pass();
	watch_begin(watch);
	watch_end(watch, false);
	ck_assert_uint_eq(watch_count(watch), 3);
	tree_write("site/docs/deep/well.html", "still watched");
	expect_change();
}
END_TEST

static atomic_bool writing;

/* Makes directories with files at once, deletes some and renames others, as an unpacked archive or a build does. */
static void *make_trees(void *unused)
{
	char path[128], other[128];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(path, sizeof(path), "site/new-%u/b/c", i);
		tree_mkdir(path);
		snprintf(path, sizeof(path), "site/new-%u/file", i);
		tree_write(path, "x");
		snprintf(path, sizeof(path), "site/new-%u/b/c/file", i);
		tree_write(path, "x");
		snprintf(path, sizeof(path), "site/new-%u", i);
		snprintf(other, sizeof(other), "site/old-%u", i);
		if (i % 3 == 0)
			tree_delete(path);
		else if (i % 3 == 1)
			tree_rename(path, other);
	}
	atomic_store(&writing, false);
	return unused;
}

static void count_file(void *context, const char *path, int dirfd, const char *name)
{
	(void)path, (void)dirfd, (void)name;
	++*(unsigned *)context;
}

static void count_directory(void *context, const char *path, int fd)
{
	(void)context;
	watch_directory(watch, path, fd);
}

START_TEST(nothing_is_missed_while_the_tree_grows)
{
	unsigned files = 0, there = 0, passes = 0;
	struct tree_walk walk = { .directory = count_directory, .file = count_file, .context = &files };
	pthread_t writer;

	pass();
	atomic_store(&writing, true);
	ck_assert_int_eq(pthread_create(&writer, NULL, make_trees, NULL), 0);
	while (atomic_load(&writing) || watch_read(watch) != WATCH_QUIET) {
		watch_read(watch);
		files = 0;
		watch_begin(watch);
		ck_assert_int_eq(tree_walk(&walk, root), 0);
		watch_end(watch, true);
		passes++;
	}
	pthread_join(writer, NULL);

	/* No news any more: then what the last pass has seen is what there is. */
	walk = (struct tree_walk){ .file = count_file, .context = &there };
	ck_assert_int_eq(tree_walk(&walk, root), 0);
	ck_assert_uint_eq(files, there);
	ck_assert_uint_ge(passes, 1);
	tree_write("site/new-197/b/c/file", "the last ones are watched too");
	expect(WATCH_CHANGED);
}
END_TEST

START_TEST(root_deleted_and_made_again)
{
	pass();
	tree_delete("site");
	expect(WATCH_CHANGED);
	pass(); /* finds nothing */
	watch_read(watch);
	tree_mkdir("site");
	expect(WATCH_CHANGED);
	tree_write("site/index.html", "again");
	pass();
	watch_read(watch);
	tree_write("site/index.html", "watched again");
	expect_change();
	ck_assert_uint_eq(watch_count(watch), 1);
}
END_TEST

START_TEST(root_replaced_by_another_directory)
{
	pass();
	tree_mkdir("next");
	tree_write("next/index.html", "next");
	expect(WATCH_QUIET);
	tree_rename("site", "previous");
	tree_rename("next", "site");
	expect_change();
	tree_write("previous/docs/deep/well.html", "nobody's business");
	expect(WATCH_QUIET);
	tree_write("site/index.html", "watched");
	expect_change();
}
END_TEST

START_TEST(neighbours_on_the_way_to_root_do_not_matter)
{
	pass();
	tree_mkdir("neighbour");
	tree_write("neighbour/file", "x");
	tree_write("site-2", "x");
	tree_rename("site-2", "sit");
	TREE_MUST(unlink(tree_path("sit")));
	expect(WATCH_QUIET);
}
END_TEST

/* A way with links of all kinds: base/srv -> real, real/www/current -> ../releases/1, releases/1 a directory. */
static void make_releases(void)
{
	char absolute[PATH_MAX];

	tree_mkdir("real/www");
	tree_mkdir("real/releases/1");
	tree_mkdir("real/releases/2");
	tree_write("real/releases/1/index.html", "1");
	tree_write("real/releases/2/index.html", "2");
	snprintf(absolute, sizeof(absolute), "%s", tree_path("real"));
	tree_link(absolute, "srv");
	tree_link("../releases/1", "real/www/current");
	snprintf(root, sizeof(root), "%s", tree_path("./srv/../srv//www/current/"));
	create();
}

START_TEST(a_link_to_root_is_switched)
{
	make_releases();
	pass();
	tree_write("real/releases/1/index.html", "one");
	expect_change();
	tree_write("real/releases/2/index.html", "not yet");
	expect(WATCH_QUIET);

	tree_relink("../releases/2", "real/www/current");
	expect_change();
	tree_write("real/releases/2/index.html", "two");
	expect_change();
	tree_write("real/releases/1/index.html", "not any more");
	expect(WATCH_QUIET);

	/* Each further hop: the link before it, what the link points to, and a directory above. */
	tree_relink("real", "srv");
	expect_change();
	tree_rename("real/releases/2", "real/releases/3");
	expect(WATCH_CHANGED);
	pass();
	tree_rename("real/releases/3", "real/releases/2");
	expect_change();
	tree_rename("real", "surreal");
	expect(WATCH_CHANGED);
	pass();
	tree_rename("surreal", "real");
	expect_change();
	tree_write("real/releases/2/index.html", "and it is still watched");
	expect_change();
	ck_assert_uint_eq(warnings, 0);
}
END_TEST

START_TEST(the_whole_way_to_root_is_made_again)
{
	make_releases();
	pass();
	tree_delete("real");
	expect(WATCH_CHANGED);
	pass();
	watch_read(watch);
	for (unsigned step = 0; step < 3; step++) {
		static const char *const steps[] = { "real/www", "real/releases/1" };

		if (step < 2)
			tree_mkdir(steps[step]);
		else
			tree_link("../releases/1", "real/www/current");
		if (step != 1) /* releases is not on the way yet */
			expect(WATCH_CHANGED);
		pass();
		watch_read(watch);
	}
	tree_write("real/releases/1/index.html", "again");
	expect_change();
}
END_TEST

START_TEST(root_on_the_way_to_itself)
{
	/* site/self/self is site: its directory is a hop and the tree at once. */
	tree_link(".", "site/self");
	snprintf(root, sizeof(root), "%s", tree_path("site/self/self"));
	create();
	pass();
	tree_write("site/index.html", "seen as a part of the tree");
	expect_change();

	/* A pass that gets no further than the hops makes nobody deaf to what concerns the tree. */
	watch_begin(watch);
	watch_end(watch, false);
	tree_write("site/index.html", "still seen");
	expect_change();

	/* The directory leaves the tree and is still a hop. */
	tree_mkdir("site/docs/self");
	expect_change();
	tree_relink("docs", "site/self");
	expect_change();
	ck_assert_uint_eq(watch_count(watch), 1);
	tree_write("site/index.html", "nobody's business");
	expect(WATCH_QUIET);
	tree_relink(".", "site/self");
	expect_change();
	tree_write("site/index.html", "seen again");
	expect_change();
}
END_TEST

START_TEST(the_tree_stays_watched_when_the_way_leads_elsewhere)
{
	tree_link(".", "site/self");
	tree_link("site", "current");
	snprintf(root, sizeof(root), "%s", tree_path("current/self"));
	create();
	pass();
	tree_relink("outside", "current");
	expect(WATCH_CHANGED);
	pass(); /* outside/self is not there, and what is served is what was */
	watch_read(watch);
	tree_write("site/index.html", "seen");
	expect(WATCH_CHANGED);
}
END_TEST

START_TEST(links_that_go_round_are_survived)
{
	tree_link("loop", "loop");
	snprintf(root, sizeof(root), "%s", tree_path("loop/x"));
	create();
	pass();
	TREE_MUST(unlink(tree_path("loop")));
	expect(WATCH_CHANGED);
}
END_TEST

START_TEST(lost_events_are_news)
{
	FILE *limit = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	unsigned most;

	ck_assert_ptr_nonnull(limit);
	ck_assert_int_eq(fscanf(limit, "%u", &most), 1);
	fclose(limit);
	pass();
	/* Names take turns, since the kernel merges equal neighbours. */
	for (unsigned i = 0; i <= most / 2 + 1; i++) {
		TREE_MUST(chmod(tree_path("site/index.html"), 0600));
		TREE_MUST(chmod(tree_path("site/docs/page.html"), 0600));
	}
	expect(WATCH_LOST);
	pass();
	expect(WATCH_QUIET);
	tree_write("site/index.html", "seen again");
	expect_change();
}
END_TEST

START_TEST(the_limit_of_watches_makes_blind_with_one_warning)
{
	pass();
	ck_assert_uint_eq(watch_polled(watch), 0);
	add_fails = ENOSPC;
	add_after = adds - 2; /* with all of the way and one directory of the tree */
	pass();
	ck_assert_uint_gt(watch_polled(watch), 0);
	pass();
	ck_assert_uint_eq(warnings, 1);
	ck_assert_ptr_nonnull(strstr(warning, "fs.inotify.max_user_watches"));
	ck_assert_ptr_nonnull(strstr(warning, root));
	add_fails = 0;
	pass();
	ck_assert_uint_eq(watch_polled(watch), 0);
	ck_assert_uint_eq(warnings, 1);
	watch_read(watch);
	tree_write("site/docs/deep/well.html", "seen again");
	expect_change();
}
END_TEST

START_TEST(a_failure_at_any_watch_is_survived)
{
	for (unsigned n = 0;; n++) {
		adds_failed = 0;
		add_fails = ENOMEM;
		add_after = n;
		pass();
		ck_assert((watch_polled(watch) > 0) == (adds_failed > 0));
		if (adds_failed == 0)
			break;
		add_fails = 0;
		pass();
		ck_assert_uint_eq(watch_polled(watch), 0);
		watch_read(watch);
		tree_write("site/docs/deep/well.html", "x");
		expect_change();
	}
	ck_assert_uint_eq(warnings, 1);
}
END_TEST

START_TEST(no_inotify_at_all_is_survived)
{
	init_fails = true;
	create();
	ck_assert_int_eq(watch_fd(watch), -1);
	pass();
	ck_assert_uint_gt(watch_polled(watch), 0);
	expect(WATCH_QUIET);
	ck_assert_uint_eq(warnings, 1);
	ck_assert_ptr_nonnull(strstr(warning, "fs.inotify.max_user_instances"));
}
END_TEST

START_TEST(without_proc_directories_are_watched_by_path)
{
	no_proc = true;
	pass();
	ck_assert_uint_eq(watch_polled(watch), 0);
	ck_assert_uint_eq(watch_count(watch), 3);
	tree_write("site/docs/deep/well.html", "x");
	expect_change();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("watch");
	TCase *tree = tcase_create("tree"), *way = tcase_create("way to ROOT"), *faults = tcase_create("faults");
	SRunner *runner = srunner_create(suite);
	TCase *cases[] = { tree, way, faults };
	int failed;

	tcase_add_test(tree, every_way_of_changing_a_file_is_seen);
	tcase_add_test(tree, reading_is_no_change);
	tcase_add_test(tree, directories_come_go_and_move);
	tcase_add_test(tree, an_unfinished_pass_lets_nothing_go);
	tcase_add_test(tree, nothing_is_missed_while_the_tree_grows);

	tcase_add_test(way, root_deleted_and_made_again);
	tcase_add_test(way, root_replaced_by_another_directory);
	tcase_add_test(way, neighbours_on_the_way_to_root_do_not_matter);
	tcase_add_test(way, a_link_to_root_is_switched);
	tcase_add_test(way, the_whole_way_to_root_is_made_again);
	tcase_add_test(way, root_on_the_way_to_itself);
	tcase_add_test(way, the_tree_stays_watched_when_the_way_leads_elsewhere);
	tcase_add_test(way, links_that_go_round_are_survived);

	tcase_add_test(faults, lost_events_are_news);
	tcase_add_test(faults, the_limit_of_watches_makes_blind_with_one_warning);
	tcase_add_test(faults, a_failure_at_any_watch_is_survived);
	tcase_add_test(faults, no_inotify_at_all_is_survived);
	tcase_add_test(faults, without_proc_directories_are_watched_by_path);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		tcase_add_checked_fixture(cases[i], setup, teardown);
		tcase_set_timeout(cases[i], 60);
		suite_add_tcase(suite, cases[i]);
	}
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
