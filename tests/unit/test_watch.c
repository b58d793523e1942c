/*
 * test_watch.c - inotify over real directories. The kernel queues an event before the system call that caused it
 * returns, so that nothing here waits: what is not there at once has been missed.
 *
 * inotify_add_watch() and inotify_init1() are ours, in order to run into limits; fstatfs() and statfs(), for file systems
 * that are not here; the clock, so that nothing has to be waited for; and the log, to count warnings.
 */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <poll.h>
#include <time.h>

#include "loom/log.h"
#include "loom/walk.h"
#include "loom/watch.h"
#include "live_tree.h"

static unsigned warnings;
static char warning[2048];
static int add_fails;      /* the errno of inotify_add_watch(), when it is to fail */
static unsigned add_limit; /* so many calls of a pass that succeed before it does */
static unsigned add_after;
static unsigned adds, adds_failed;
static bool no_proc;
static bool init_fails;
static unsigned infos;
static const char *refused_path; /* inotify_add_watch() fails for what ends with this, with EACCES */
static uint32_t remote_type;     /* of the file system of directories with an entry called "remote"; 0: their own */
static bool all_remote;
static time_t clock_ahead;

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
	if (refused_path && strlen(path) >= strlen(refused_path) &&
	    strcmp(path + strlen(path) - strlen(refused_path), refused_path) == 0) {
		errno = EACCES;
		return -1;
	}
	if (add_fails && add_after == 0) {
		adds_failed++;
		errno = add_fails;
		return -1;
	}
	if (add_fails)
		add_after--;
	return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

int fstatfs(int fd, struct statfs *about)
{
	int err = (int)syscall(SYS_fstatfs, fd, about);

	if (err == 0 && remote_type && (all_remote || faccessat(fd, "remote", F_OK, 0) == 0))
		about->f_type = (__typeof__(about->f_type))remote_type;
	return err;
}

int statfs(const char *path, struct statfs *about)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = fd < 0 ? -1 : fstatfs(fd, about);

	if (fd >= 0)
		close(fd);
	return err;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int err = (int)syscall(SYS_clock_gettime, clock, now);

	now->tv_sec += clock_ahead;
	return err;
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

	if (strstr(format, "%.1024s"))
		return; /* the walk's, of what it leaves out */
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
	infos++;
}

void log_debug(const char *format, ...)
{
	(void)format;
}

void log_set_level(enum log_level most)
{
	(void)most;
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
	static const struct walk_handlers handlers = { .directory = pass_directory,
		                                       .link = watch_link,
		                                       .file = pass_file };
	char why[512];
	bool complete;

	add_after = add_limit;
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
	add_limit = adds - 2; /* with all of the way and one directory of the tree */
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
		add_limit = n;
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

START_TEST(what_is_hidden_is_passed_over)
{
	pass();
	/* As rsync does it: the others need not wait for a large file. */
	tree_write("site/.page.html.Xa3f", "half");
	tree_append("site/.page.html.Xa3f", " and half");
	expect(WATCH_QUIET);
	tree_rename("site/.page.html.Xa3f", "site/page.html");
	expect_change();
	tree_rename("site/page.html", "site/.gone");
	expect_change();
	tree_mkdir("site/.git/objects");
	expect(WATCH_QUIET);
	tree_mkdir("site/.well-known");
	expect_change();

	options.hidden = true;
	create();
	pass();
	tree_write("site/.page.html.Xa3f", "half");
	expect_change();
	options.hidden = false;
}
END_TEST

START_TEST(editors_of_every_habit)
{
	int fd;

	pass();
	/* vim: can a file be made here? a backup, a new file under the old name, the backup deleted */
	tree_write("site/4913", "");
	TREE_MUST(unlink(tree_path("site/4913")));
	tree_rename("site/index.html", "site/index.html~");
	tree_write("site/index.html", "vim");
	TREE_MUST(unlink(tree_path("site/index.html~")));
	expect_change();
	/* emacs: a lock that leads nowhere, with a name of the machine's */
	tree_link("me@host.42:1700000000", "site/.#index.html");
	expect(WATCH_QUIET);
	pass();
	tree_write("site/index.html", "emacs");
	TREE_MUST(unlink(tree_path("site/.#index.html")));
	expect_change();
	/* sed -i and atomic-save */
	tree_write("site/sedXa3f", "sed");
	tree_rename("site/sedXa3f", "site/index.html");
	expect_change();
	/* a log that is kept open */
	TREE_MUST(fd = open(tree_path("site/log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
	expect_change();
	for (unsigned i = 0; i < 3; i++) {
		TREE_MUST(write(fd, "x", 1));
		expect_change();
	}
	TREE_MUST(ftruncate(fd, 0));
	expect_change();
	close(fd);
	ck_assert_uint_eq(warnings, 0);
}
END_TEST

/* A directory in a directory in ..., as fast as the system makes them, each with a file. */
static void *dig(void *unused)
{
	char path[PATH_MAX / 2] = "site/deep", file[PATH_MAX];

	for (unsigned i = 0; i < 40; i++) {
		TREE_MUST(mkdir(tree_path(path), 0755));
		snprintf(file, sizeof(file), "%s/file", path);
		tree_write(file, "x");
		strcat(path, "/d");
	}
	atomic_store(&writing, false);
	return unused;
}

/*
 * One pass amid the digging, and no other before the digger has ended: what it has not seen has to be an event. Were a
 * directory read before it is watched, what comes in between would be neither.
 */
static unsigned missed_amid_digging(unsigned rounds)
{
	unsigned missed = 0;

	for (unsigned i = 0; i < rounds; i++) {
		unsigned files = 0;
		struct tree_walk walk = { .directory = count_directory, .file = count_file, .context = &files };
		pthread_t digger;
		bool told;

		pass();
		watch_read(watch);
		atomic_store(&writing, true);
		ck_assert_int_eq(pthread_create(&digger, NULL, dig, NULL), 0);
		/* The directory that all the others are in is news that is taken. */
		while (watch_read(watch) == WATCH_QUIET)
			;
		watch_begin(watch);
		ck_assert_int_eq(tree_walk(&walk, root), 0);
		watch_end(watch, true);
		pthread_join(digger, NULL);
		told = watch_read(watch) != WATCH_QUIET;
		missed += !told && files != 40 + 3;
		tree_delete("site/deep");
	}
	return missed;
}

START_TEST(a_watch_comes_before_the_reading)
{
	ck_assert_uint_eq(missed_amid_digging(30), 0);
}
END_TEST

START_TEST(a_link_inside_root_is_switched)
{
	tree_mkdir("site/.releases/41");
	tree_mkdir("site/.releases/42");
	tree_write("site/.releases/41/app.js", "41");
	tree_write("site/.releases/42/app.js", "42");
	tree_link(".releases/41", "site/current");
	pass();
	expect(WATCH_QUIET);
	tree_write("site/.releases/41/app.js", "forty-one");
	expect_change();
	tree_write("site/.releases/42/app.js", "not yet");
	expect(WATCH_QUIET);
	tree_relink(".releases/42", "site/current");
	expect_change();
	tree_write("site/.releases/42/app.js", "forty-two");
	expect_change();
	tree_write("site/.releases/41/app.js", "not any more");
	expect(WATCH_QUIET);
	/* What the link says stays the same, and what that is does not. */
	tree_rename("site/.releases/42", "site/.releases/away");
	expect(WATCH_CHANGED);
	pass();
	watch_read(watch);
	tree_rename("site/.releases/away", "site/.releases/42");
	expect_change();
}
END_TEST

START_TEST(a_configmap_is_switched)
{
	/* As the kubelet writes it: kubernetes, pkg/volume/util/atomic_writer.go */
	tree_mkdir("site/..2024_01");
	tree_write("site/..2024_01/settings.js", "one");
	tree_link("..2024_01", "site/..data");
	tree_link("..data/settings.js", "site/settings.js");
	pass();
	expect(WATCH_QUIET);
	for (unsigned i = 2; i < 6; i++) {
		char made[64], name[32], old[64];

		snprintf(name, sizeof(name), "..2024_%02u", i);
		snprintf(made, sizeof(made), "site/%s", name);
		tree_mkdir(made);
		snprintf(made, sizeof(made), "site/%s/settings.js", name);
		tree_write(made, "next");
		expect(WATCH_QUIET);
		tree_link(name, "site/..data_tmp");
		expect(WATCH_QUIET);
		tree_rename("site/..data_tmp", "site/..data");
		expect_change();
		snprintf(old, sizeof(old), "site/..2024_%02u", i - 1);
		tree_delete(old);
		watch_read(watch);
		tree_write(made, "in place");
		expect_change();
	}
	ck_assert_uint_eq(watch_polled(watch), 0);
}
END_TEST

START_TEST(a_chain_of_links_is_watched_at_every_hop)
{
	/* site/a -> .b/c, .b -> .x/y, .x/y/c -> ../../.end/file */
	tree_mkdir("site/.x/y");
	tree_mkdir("site/.end");
	tree_write("site/.end/file", "end");
	tree_link(".b/c", "site/a");
	tree_link(".x/y", "site/.b");
	tree_link("../../.end/file", "site/.x/y/c");
	pass();
	expect(WATCH_QUIET);
	tree_write("site/.end/file", "written");
	expect_change();
	tree_replace("site/.end/file", "replaced");
	expect_change();
	tree_write("site/.end/other", "nobody's business");
	tree_write("site/.x/other", "nobody's business");
	expect(WATCH_QUIET);
	tree_relink("../../.end/other", "site/.x/y/c");
	expect_change();
	tree_write("site/.end/other", "somebody's business");
	expect_change();
	tree_mkdir("site/.z");
	tree_link("../.end/file", "site/.z/c");
	expect(WATCH_QUIET);
	tree_relink(".z", "site/.b");
	expect_change();
	tree_write("site/.end/file", "again");
	expect_change();
	tree_rename("site/.end", "site/.away");
	expect(WATCH_CHANGED);
	pass();
	watch_read(watch);
	tree_rename("site/.away", "site/.end");
	expect_change();
}
END_TEST

START_TEST(what_lies_at_the_end_of_a_link_outside)
{
	char target[PATH_MAX];

	options.symlinks = SYMLINKS_FOLLOW;
	tree_mkdir("outside/dir/sub");
	tree_write("outside/file", "outside");
	snprintf(target, sizeof(target), "%s", tree_path("outside/file"));
	tree_link(target, "site/absolute");
	tree_link("../outside/dir", "site/docs/../dir");
	pass();
	ck_assert_uint_eq(watch_count(watch), 5);
	expect(WATCH_QUIET);
	tree_write("outside/file", "in place");
	expect_change();
	tree_replace("outside/file", "renamed over");
	expect_change();
	tree_write("outside/file", "and in place again");
	expect_change();
	TREE_MUST(unlink(tree_path("outside/file")));
	expect(WATCH_CHANGED);
	pass();
	watch_read(watch);
	tree_write("outside/file", "created");
	expect_change();
	TREE_MUST(truncate(tree_path("outside/file"), 1));
	expect_change();
	tree_write("outside/neighbour", "nobody's business");
	expect(WATCH_QUIET);
	tree_write("outside/dir/sub/new", "in a directory");
	expect_change();
	tree_rename("outside", "gone");
	expect(WATCH_CHANGED);
	pass();
	watch_read(watch);
	tree_rename("gone", "outside");
	expect_change();
	ck_assert_uint_eq(watch_polled(watch), 0);
}
END_TEST

START_TEST(a_link_that_leads_nowhere_is_watched_as_far_as_it_goes)
{
	options.symlinks = SYMLINKS_FOLLOW;
	tree_link("../later/dir/file", "site/docs/dangling");
	tree_link("nowhere", "site/.#lock");
	pass();
	tree_write("later", "a file"); /* in the way */
	expect(WATCH_QUIET);           /* site/docs/../later, and not later */
	TREE_MUST(unlink(tree_path("later")));
	tree_relink("../../later/dir/file", "site/docs/dangling");
	expect_change();
	tree_mkdir("later");
	expect_change();
	tree_mkdir("later/other");
	expect(WATCH_QUIET);
	tree_mkdir("later/dir");
	expect_change();
	tree_write("later/dir/file", "there");
	expect_change();
	tree_write("later/dir/file", "written");
	expect_change();
	tree_delete("later");
	expect(WATCH_CHANGED);
	pass();
	watch_read(watch);
	tree_mkdir("later");
	expect_change();
}
END_TEST

START_TEST(a_link_that_may_not_be_followed_is_not)
{
	char target[PATH_MAX];

	tree_write("outside/file", "outside");
	snprintf(target, sizeof(target), "%s", tree_path("outside/file"));
	tree_link(target, "site/absolute");
	tree_link("../../outside/file", "site/docs/relative");
	for (options.symlinks = SYMLINKS_CONTAIN;; options.symlinks = SYMLINKS_DENY) {
		pass();
		tree_write("outside/file", "nobody's business");
		expect(WATCH_QUIET);
		/* The link itself is. */
		tree_relink(options.symlinks == SYMLINKS_DENY ? target : "page.html", "site/docs/relative");
		expect_change();
		if (options.symlinks == SYMLINKS_DENY)
			break;
	}
}
END_TEST

START_TEST(links_in_a_directory_behind_a_link)
{
	options.symlinks = SYMLINKS_FOLLOW;
	tree_mkdir("outside/dir");
	tree_mkdir("other");
	tree_write("other/file", "other");
	tree_link("../outside/dir", "site/dir");
	tree_link("../../other/file", "outside/dir/link"); /* from outside/dir, and not from site/dir */
	pass();
	tree_write("other/file", "seen");
	expect_change();
	tree_relink("nowhere", "site/dir");
	expect_change();
	tree_write("other/file", "nobody's business");
	expect(WATCH_QUIET);
}
END_TEST

START_TEST(a_way_that_is_no_longer_one_is_let_go)
{
	char name[64];

	/* Names come and go, thousands of times; what is kept is what there is. */
	tree_mkdir("site/.store");
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), ".store/%u", i);
		tree_relink(name, "site/current");
		watch_begin(watch);
		watch_link(watch, "current");
		watch_end(watch, true);
	}
	watch_read(watch);
	tree_write("site/.store/7", "nobody's business");
	expect(WATCH_QUIET);
	tree_write("site/.store/2999", "x");
	expect(WATCH_CHANGED);
}
END_TEST

START_TEST(more_links_than_are_kept_are_polled)
{
	char name[64];

	for (unsigned turn = 0; turn < 2; turn++) {
		watch_begin(watch);
		for (unsigned i = 0; i < 66000; i++) {
			snprintf(name, sizeof(name), ".%u", i);
			watch_link(watch, name);
		}
		watch_end(watch, true);
		ck_assert_uint_gt(watch_polled(watch), 66000 - 65536);
		ck_assert_uint_lt(watch_polled(watch), 600);
	}
	ck_assert_uint_eq(warnings, 1);
	ck_assert_ptr_nonnull(strstr(warning, "too many links"));
	expect(WATCH_QUIET);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	tree_write("site/.65999", "polled");
	expect(WATCH_QUIET);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	tree_write("site/.1", "watched");
	expect(WATCH_CHANGED);
	pass();
	ck_assert_uint_eq(watch_polled(watch), 0);
}
END_TEST

/* Why the whole tree of a test is polled. */
enum { POLL_LIMIT, POLL_INSTANCE, POLL_FILE_SYSTEM, POLL_MODE, POLL_CAUSES };

static void poll_for(int cause)
{
	options.watch = cause == POLL_MODE ? WATCH_POLL : WATCH_AUTO;
	init_fails = cause == POLL_INSTANCE;
	add_fails = cause == POLL_LIMIT ? ENOSPC : 0;
	add_limit = 0;
	remote_type = cause == POLL_FILE_SYSTEM ? NFS_SUPER_MAGIC : 0;
	all_remote = true;
	create();
	pass();
}

/* What the clock says was a while ago when it is looked at. */
#define polled(news)                                                     \
	do {                                                             \
		clock_ahead += 10;                                       \
		pass();                                                  \
		clock_ahead += 10;                                       \
		ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET); \
	} while (0)
#define expect_poll()                                                      \
	do {                                                               \
		ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED); \
		ck_assert_int_eq(watch_poll(watch, true), WATCH_QUIET);    \
		polled();                                                  \
	} while (0)

START_TEST(every_way_of_changing_a_file_is_found)
{
	struct stat st;

	poll_for(_i);
	polled();
	ck_assert_uint_ge(watch_polled(watch), 3);
	ck_assert_uint_eq(warnings, _i == POLL_LIMIT || _i == POLL_INSTANCE);
	ck_assert_uint_eq(infos, _i == POLL_FILE_SYSTEM);
	tree_write("site/docs/deep/well.html", "in place");
	expect_poll();
	tree_append("site/docs/deep/well.html", "more");
	expect_poll();
	tree_replace("site/docs/deep/well.html", "renamed over");
	expect_poll();
	TREE_MUST(unlink(tree_path("site/docs/page.html")));
	expect_poll();
	tree_write("site/docs/page.html", "created");
	expect_poll();
	TREE_MUST(chmod(tree_path("site/index.html"), 0600));
	expect_poll();
	tree_mkdir("site/new/dir");
	expect_poll();
	tree_write("site/new/dir/file", "x");
	expect_poll();
	tree_rename("site/new", "site/renamed");
	expect_poll();
	tree_delete("site/renamed");
	expect_poll();
	tree_link("index.html", "site/link");
	expect_poll();
	tree_relink("docs/page.html", "site/link");
	expect_poll();
	TREE_MUST(stat(tree_path("site/index.html"), &st));
	/* The same bytes at another time; and as many others with the old time. */
	tree_write("site/index.html", "xedni");
	TREE_MUST(utimensat(AT_FDCWD, tree_path("site/index.html"), (struct timespec[]){ st.st_atim, st.st_mtim }, 0));
	expect_poll();
	tree_write("site/.hidden", "nobody's business");
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	tree_rename("site", "away");
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	ck_assert(!pass());
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	tree_mkdir("site");
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	pass();
	tree_delete("site");
	tree_rename("away", "site");
	expect_poll();
	ck_assert_uint_le(warnings, 1);
	ck_assert_uint_le(infos, 1);
}
END_TEST

START_TEST(polling_is_of_the_part_alone)
{
	pass();
	add_fails = ENOSPC;
	add_limit = adds - 1;
	pass();
	ck_assert_uint_eq(watch_count(watch), 2);
	ck_assert_uint_eq(watch_polled(watch), 1);
	ck_assert_uint_eq(warnings, 1);
	polled();
	tree_write("site/docs/page.html", "watched");
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	expect(WATCH_CHANGED);
	tree_write("site/docs/deep/well.html", "polled");
	expect(WATCH_QUIET);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	tree_write("site/docs/deep/well.html", "polled again");
	ck_assert_int_eq(watch_poll(watch, true), WATCH_CHANGED);
	ck_assert_int_eq(watch_poll(watch, true), WATCH_QUIET);
}
END_TEST

START_TEST(links_on_the_way_are_polled)
{
	tree_mkdir("site/.closed");
	tree_write("site/.closed/file", "x");
	tree_link(".closed/file", "site/link");
	tree_link("docs/page.html", "site/watched");
	refused_path = "/.closed";
	pass();
	polled();
	ck_assert_uint_eq(watch_polled(watch), 1);
	ck_assert_uint_eq(warnings, 1);
	ck_assert_ptr_nonnull(strstr(warning, "/.closed"));
	watch_read(watch);
	tree_write("site/.closed/file", "written");
	expect(WATCH_QUIET);
	expect_poll();
	TREE_MUST(unlink(tree_path("site/.closed/file")));
	expect_poll();
	tree_write("site/.closed/file", "created");
	expect_poll();
	ck_assert_uint_eq(warnings, 1);

	/* The same of a way through a file system that others change. */
	refused_path = NULL;
	remote_type = FUSE_SUPER_MAGIC;
	tree_write("site/.closed/remote", "");
	pass();
	polled();
	ck_assert_uint_eq(watch_polled(watch), 1);
	ck_assert_uint_eq(infos, 1);
	watch_read(watch);
	tree_write("site/.closed/file", "by this machine");
	expect(WATCH_CHANGED);
	expect_poll();
}
END_TEST

START_TEST(the_way_to_root_is_polled)
{
	refused_path = tree_base;
	pass();
	polled();
	ck_assert_uint_eq(watch_polled(watch), 1);
	watch_read(watch);
	tree_write("outside/neighbour", "x");
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	tree_mkdir("next");
	tree_rename("site", "previous");
	tree_rename("next", "site");
	watch_read(watch); /* the directory itself says that it was moved */
	expect_poll();
	tree_rename("site", "next");
	tree_rename("previous", "site");
	expect_poll();
}
END_TEST

START_TEST(what_leaves_no_trace_is_doubted_once)
{
	poll_for(POLL_MODE);
	/* At once nobody can tell, and whoever waits for rest need not know. */
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	clock_ahead += 10;
	ck_assert_int_eq(watch_poll(watch, true), WATCH_QUIET);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	pass();
	clock_ahead += 10;
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
	/* A time that somebody has set to the next year is none of those. */
	TREE_MUST(utimensat(AT_FDCWD, tree_path("site/index.html"),
	                    (struct timespec[]){ { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) + 31536000 } }, 0));
	clock_ahead += 10;
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	pass();
	clock_ahead += 10;
	ck_assert_int_eq(watch_poll(watch, false), WATCH_QUIET);
}
END_TEST

START_TEST(more_than_can_be_polled_is_the_whole)
{
	char path[PATH_MAX];
	int fd;

	options.watch = WATCH_POLL;
	create();
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	TREE_MUST(fd = open(tree_path("outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	watch_begin(watch);
	for (unsigned i = 0; i < (64 << 20) / PATH_MAX; i++)
		watch_directory(watch, path, fd);
	watch_end(watch, true);
	ck_assert_int_eq(watch_polls(watch), WATCH_POLLS_WHOLE);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	watch_poll(watch, true);
	ck_assert_int_eq(watch_poll(watch, true), WATCH_QUIET);
	ck_assert_int_eq(watch_poll(watch, false), WATCH_CHANGED);
	ck_assert_uint_eq(warnings, 1);
	ck_assert_ptr_nonnull(strstr(warning, "the whole tree is read"));
	pass();
	ck_assert_int_eq(watch_polls(watch), WATCH_POLLS_PARTS);
	close(fd);
}
END_TEST

START_TEST(inotify_alone_refuses_at_first_and_warns_later)
{
	char why[512] = "";

	options.watch = WATCH_INOTIFY;
	create();
	pass();
	ck_assert(!watch_refuses(watch, why, sizeof(why)));
	add_fails = ENOSPC;
	add_limit = adds - 1;
	create();
	pass();
	ck_assert(watch_refuses(watch, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, "fs.inotify.max_user_watches"));
	ck_assert_ptr_nonnull(strstr(why, "--watch=auto"));
	ck_assert_uint_eq(warnings, 0); /* the reloader's to tell */
	ck_assert_int_eq(watch_polls(watch), WATCH_POLLS_NOTHING);
	for (unsigned i = 0; i < 3; i++)
		pass();
	ck_assert_uint_eq(warnings, 1);

	add_fails = 0;
	remote_type = NFS_SUPER_MAGIC;
	tree_write("site/docs/remote", "");
	create();
	pass();
	ck_assert(watch_refuses(watch, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, "site/docs"));

	watch_destroy(watch);
	watch = NULL;
	init_fails = true;
	ck_assert_int_eq(watch_create(&watch, &options, why, sizeof(why)), -EMFILE);
	ck_assert_ptr_nonnull(strstr(why, "fs.inotify.max_user_instances"));
	watch = NULL;
	init_fails = false;
	options.watch = WATCH_AUTO;
	create();
}
END_TEST

/* Whether the kernel tells that mounts have changed, and then what the watch says to that. */
static enum watch_news heard(void)
{
	struct pollfd fd = { .fd = watch_mounts_fd(watch), .events = POLLPRI };

	ck_assert_int_eq(poll(&fd, 1, 0), 1);
	ck_assert_int_eq(poll(&fd, 1, 0), 0);
	return watch_mounts(watch);
}

static int mount_rounds(void)
{
	struct pollfd fd;

	create();
	pass();
	fd = (struct pollfd){ .fd = watch_mounts_fd(watch), .events = POLLPRI };
	poll(&fd, 1, 0); /* what was mounted between */
	tree_mkdir("neighbour");
	TREE_MUST(mount("none", tree_path("neighbour"), "tmpfs", 0, NULL));
	ck_assert_int_eq(heard(), WATCH_QUIET);
	watch_remounted(watch); /* before the first pass nothing was mounted */
	ck_assert(pass());
	ck_assert(!watch_remounted(watch));
	for (unsigned i = 0; i < 3; i++) {
		static const char *const at[] = { "site", "site/docs", "" };

		TREE_MUST(mount("none", tree_path(at[i]), "tmpfs", 0, NULL));
		ck_assert_int_eq(heard(), WATCH_CHANGED);
		ck_assert(watch_remounted(watch));
		ck_assert(pass() == (i != 2)); /* ROOT is away */
		watch_read(watch);
		if (i < 2) {
			tree_write(i ? "site/docs/file" : "site/file", "on another device");
			expect_change();
		} else {
			tree_mkdir("site");
			expect_change();
		}
		watch_remounted(watch); /* the file system of the last round may have told of its end */
		TREE_MUST(umount2(tree_path(at[i]), MNT_DETACH));
		ck_assert(pass()); /* which may come first */
		ck_assert(watch_remounted(watch));
		TREE_MUST(mount("none", tree_path(at[i]), "tmpfs", 0, NULL));
		ck_assert_int_eq(heard(), WATCH_CHANGED);
		pass();
		TREE_MUST(umount2(tree_path(at[i]), MNT_DETACH));
		ck_assert_int_eq(heard(), WATCH_CHANGED);
		ck_assert(watch_remounted(watch));
		ck_assert(pass());
		watch_read(watch);
	}
	TREE_MUST(umount2(tree_path("neighbour"), MNT_DETACH));
	ck_assert_int_eq(heard(), WATCH_QUIET);
	tree_write("site/docs/page.html", "as before");
	expect_change();
	return 0;
}

START_TEST(a_mount_is_heard_of)
{
	/* Check runs each test in a process of its own, which may leave the others' namespace. */
	if (unshare(CLONE_NEWNS) < 0) {
		fprintf(stderr, "SKIPPED: a_mount_is_heard_of: no mount namespace of its own: %s\n", strerror(errno));
		return;
	}
	TREE_MUST(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	mount_rounds();
}
END_TEST

int main(int argc, char *argv[])
{
	(void)argc, (void)argv;
	Suite *suite = suite_create("watch");
	TCase *links = tcase_create("links"), *polls = tcase_create("polling"), *mounts = tcase_create("mounts");
	TCase *tree = tcase_create("tree"), *way = tcase_create("way to ROOT"), *faults = tcase_create("faults");
	SRunner *runner = srunner_create(suite);
	TCase *cases[] = { tree, way, links, polls, mounts, faults };
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

	tcase_add_test(tree, what_is_hidden_is_passed_over);
	tcase_add_test(tree, editors_of_every_habit);
	tcase_add_test(tree, a_watch_comes_before_the_reading);

	tcase_add_test(links, a_link_inside_root_is_switched);
	tcase_add_test(links, a_configmap_is_switched);
	tcase_add_test(links, a_chain_of_links_is_watched_at_every_hop);
	tcase_add_test(links, what_lies_at_the_end_of_a_link_outside);
	tcase_add_test(links, a_link_that_leads_nowhere_is_watched_as_far_as_it_goes);
	tcase_add_test(links, a_link_that_may_not_be_followed_is_not);
	tcase_add_test(links, links_in_a_directory_behind_a_link);
	tcase_add_test(links, a_way_that_is_no_longer_one_is_let_go);
	tcase_add_test(links, more_links_than_are_kept_are_polled);

	tcase_add_loop_test(polls, every_way_of_changing_a_file_is_found, 0, POLL_CAUSES);
	tcase_add_test(polls, polling_is_of_the_part_alone);
	tcase_add_test(polls, links_on_the_way_are_polled);
	tcase_add_test(polls, the_way_to_root_is_polled);
	tcase_add_test(polls, what_leaves_no_trace_is_doubted_once);
	tcase_add_test(polls, more_than_can_be_polled_is_the_whole);
	tcase_add_test(polls, inotify_alone_refuses_at_first_and_warns_later);

	tcase_add_test(mounts, a_mount_is_heard_of);

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
