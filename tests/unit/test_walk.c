/* test_walk.c - what of a tree is served and what is left out, by name, type, permission and way; how it is said. */
#include <dirent.h>
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tree.h"

static bool repeating;
static const char *hidden;

/* In the place of the C library's: gives each name twice, or one of them not, as readdir(3) may while a directory changes. */
struct dirent *readdir(DIR *dir)
{
	static struct dirent *(*real)(DIR *), *last;
	static bool again;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "readdir64");
	if (repeating && again && last) {
		again = false;
		return last; /* nothing has been read since */
	}
	do
		last = real(dir);
	while (last && hidden && strcmp(last->d_name, hidden) == 0);
	again = last != NULL;
	return last;
}

static void assert_logged(const char *text)
{
	ck_assert_msg(strstr(tree.log, text) != NULL, "\"%s\" is not in the log: %s", text, tree.log);
}

START_TEST(odd_names_are_keys_byte_for_byte)
{
	static const char *const names[] = {
		"a b.html", "100%.txt", "a%20b", "what?", "a#b", "back\\slash", "\"quoted\"",     "caf\xc3\xa9",
		"\xff\xfe", "~",        "-",     "+",     "...", "a:b",         "index.html.bak", "\xe2\x80\xae",
	};
	struct snapshot *snapshot;
	char key[64];

	tree.options.hidden = true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tree_put(names[i], names[i]);
	snapshot = tree_snapshot(NULL);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(key, sizeof(key), "/%s", names[i]);
		tree_serves(snapshot, key, names[i]);
	}
	ck_assert_uint_eq(tree_keys(snapshot), sizeof(names) / sizeof(names[0]));
	ck_assert_str_eq(tree.log, "");
	build_free(snapshot);
}
END_TEST

START_TEST(a_name_that_comes_twice_is_one)
{
	struct snapshot *snapshot, *next;

	tree_put("a/b", "1");
	tree_put("c", "2");
	repeating = true;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 2);
	tree_put("d", "3");
	next = tree_snapshot(snapshot); /* when entries are known by those of before */
	repeating = false;
	tree_serves(next, "/a/b", "1");
	tree_serves(next, "/c", "2");
	tree_serves(next, "/d", "3");
	ck_assert_uint_eq(tree_keys(next), 3);
	build_free(next);
	build_free(snapshot);
}
END_TEST

static struct snapshot *restless(const struct snapshot *previous)
{
	const struct build_request request = {
		.options = &tree.options,
		.workers = tree.options.workers,
		.previous = previous,
		.restless = true,
		.directory = tree_directory,
		.context = &tree,
	};
	struct snapshot *snapshot = NULL;

	ck_assert_int_eq(tree_request(&request, &snapshot), 0);
	return snapshot;
}

START_TEST(a_name_that_does_not_come_is_looked_for)
{
	struct snapshot *first, *next;

	tree_put("a/index.html", "1");
	tree_put("a/b", "2");
	tree_put("a/gone", "3");
	first = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(first), 5);
	ck_assert_int_eq(unlink(tree_path("a/gone")), 0);
	tree_put("a/b", "changed");
	for (unsigned i = 0; i < 2; i++) {
		hidden = i ? "index.html" : "b";
		next = restless(first);
		tree_serves(next, "/a/b", "changed");
		tree_serves(next, "/a/index.html", "1");
		tree_serves(next, "/a/", "1");
		ck_assert_uint_eq(tree_keys(next), 4);
		build_free(next);
	}
	/* Where the tree rests nobody leaves a name out. */
	next = tree_snapshot(first);
	ck_assert_uint_eq(tree_keys(next), 1);
	build_free(next);
	hidden = NULL;
	/* What is a directory by now is no file. */
	ck_assert_int_eq(unlink(tree_path("a/b")), 0);
	ck_assert_int_eq(mkdir(tree_path("a/b"), 0755), 0);
	next = restless(first);
	ck_assert_uint_eq(tree_keys(next), 3);
	build_free(next);
	build_free(first);
}
END_TEST

static unsigned swaps;

/* "a" is a directory, when the walk goes into it; */
static void becomes_a_file(void *context, const char *path, int fd)
{
	tree_directory(context, path, fd);
	if (strcmp(path, "a") != 0)
		return;
	ck_assert_int_eq(rename(tree_path("a"), tree_path(".directory")), 0);
	ck_assert_int_eq(rename(tree_path(".file"), tree_path("a")), 0);
	swaps = 1;
}

/* a file, when that is looked for; and a directory once more, when files are read. */
int fstat(int fd, struct stat *st)
{
	int err = (int)syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH);

	if (err == 0 && swaps == 1 && S_ISREG(st->st_mode)) {
		ck_assert_int_eq(rename(tree_path("a"), tree_path(".file")), 0);
		ck_assert_int_eq(rename(tree_path(".directory"), tree_path("a")), 0);
		swaps = 2;
	}
	return err;
}

START_TEST(a_key_has_one_entry)
{
	struct build_request request = {
		.options = &tree.options,
		.workers = tree.options.workers,
		.restless = true,
		.directory = becomes_a_file,
		.context = &tree,
	};
	struct snapshot *first, *next = NULL;

	tree_put("a", "1");
	tree_put("b", "2");
	first = tree_snapshot(NULL);
	request.previous = first;
	ck_assert_int_eq(rename(tree_path("a"), tree_path(".file")), 0);
	tree_put("a/index.html", "3");
	tree_put("b", "4");
	ck_assert_int_eq(tree_request(&request, &next), 0);
	ck_assert_uint_eq(swaps, 2);
	tree_serves(next, "/a/index.html", "3");
	tree_serves(next, "/b", "4");
	ck_assert_uint_eq(tree_keys(next), 4); /* "/a" and "/a/", too */
	build_free(next);
	build_free(first);
}
END_TEST

START_TEST(files_of_another_file_system_are_read)
{
	struct build_request request = {
		.options = &tree.options,
		.workers = tree.options.workers,
		.directory = tree_directory,
		.context = &tree,
	};
	struct snapshot *first, *next = NULL;
	unsigned long reads;

	tree_put("a", "1");
	tree_put("b", "2");
	tree_clock_ahead = 10; /* so that nothing is in doubt */
	first = tree_snapshot(NULL);
	reads = tree_reads;
	next = tree_snapshot(first);
	ck_assert_uint_eq(tree_reads, reads);
	build_free(next);
	request.previous = first;
	request.remounted = true;
	ck_assert_int_eq(tree_request(&request, &next), 0);
	ck_assert_uint_ge(tree_reads, reads + 2);
	ck_assert_str_eq(next->id, first->id);
	build_free(next);
	build_free(first);
}
END_TEST

START_TEST(control_characters_are_left_out)
{
	struct snapshot *snapshot;

	tree_put("new\nline", "x");
	tree_put("del\x7f", "x");
	tree_put("tab\there/a", "x");
	tree_put("good", "x");
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 1);
	assert_logged("new?line: left out: no address can name it");
	assert_logged("del?: left out");
	assert_logged("tab?here: left out");
	build_free(snapshot);
}
END_TEST

START_TEST(dot_files_are_hidden)
{
	struct snapshot *snapshot;

	tree_put(".htpasswd", "x");
	tree_put(".git/config", "x");
	tree_put("a/.secret", "x");
	tree_put(".well-known/security.txt", "x");
	tree_put(".well-known/.hidden", "x");
	tree_put(".well-knownish", "x");
	snapshot = tree_snapshot(NULL);
	tree_serves(snapshot, "/.well-known/security.txt", "x");
	ck_assert_uint_eq(tree_keys(snapshot), 1);
	ck_assert_str_eq(tree.log, "");
	build_free(snapshot);

	tree.options.hidden = true;
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 6);
	tree_serves(snapshot, "/.git/config", "x");
	build_free(snapshot);
}
END_TEST

static bool opened_special;

static void no_special(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		opened_special = true;
}

START_TEST(special_files_are_left_out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct snapshot *snapshot;

	tree_put("file", "x");
	ck_assert_int_eq(mkfifo(tree_path("fifo"), 0644), 0);
	ck_assert_uint_lt(strlen(tree_path("socket")), sizeof(address.sun_path));
	memcpy(address.sun_path, tree_path("socket"), strlen(tree_path("socket")) + 1);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	tree_link("fifo", "link");
	if (geteuid() == 0)
		ck_assert_int_eq(mknod(tree_path("null"), S_IFCHR | 0644, makedev(1, 3)), 0);
	tree_before_read = no_special;
	snapshot = tree_snapshot(NULL); /* and comes back: opening the FIFO would wait for ever */
	tree_before_read = NULL;
	ck_assert(!opened_special);
	ck_assert_uint_eq(tree_keys(snapshot), 1);
	assert_logged("fifo: left out: a special file (FIFO)");
	assert_logged("link: left out: a special file (FIFO)");
	assert_logged("socket: left out: a special file (socket)");
	if (geteuid() == 0)
		assert_logged("null: left out: a special file (device)");
	build_free(snapshot);
	close(fd);
}
END_TEST

START_TEST(unreadable_files_are_left_out)
{
	struct snapshot *snapshot = NULL;
	int err;

	tree_put("good", "x");
	tree_put("secret", "x");
	tree_put("closed/a", "x");
	tree_put("blind/a", "x");
	ck_assert_int_eq(chmod(tree_path("secret"), 0), 0);
	ck_assert_int_eq(chmod(tree_path("closed"), 0), 0);
	ck_assert_int_eq(chmod(tree_path("blind"), 0444), 0); /* names can be read, files not be looked at */
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	err = tree_build(NULL, &snapshot);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(chmod(tree_path("closed"), 0755), 0);
	ck_assert_int_eq(chmod(tree_path("blind"), 0755), 0);

	ck_assert_int_eq(err, 0);
	tree_serves(snapshot, "/good", "x");
	ck_assert_uint_eq(tree_keys(snapshot), 1);
	assert_logged("secret: left out: not permitted to read it");
	assert_logged("closed: left out: not permitted to read it");
	assert_logged("blind/a: left out: not permitted to read it");
	build_free(snapshot);
}
END_TEST

/* A tree of links, and a directory beside ROOT that some lead to. */
static char outside[80];

static void make_links(void)
{
	char target[128];

	snprintf(outside, sizeof(outside), "%s-outside", tree.root);
	ck_assert_int_eq(mkdir(outside, 0755), 0);
	snprintf(target, sizeof(target), "%s/secret", outside);
	close(open(target, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));

	tree_put("real/index.html", "index");
	tree_put("real/deep/file", "file");
	tree_link("real/deep/file", "in");
	tree_link("real", "dir");
	tree_link("../deep/file", "real/deep/up"); /* by way of a parent, inside */
	tree_link("nowhere", "dangling");
	tree_link("loop2", "loop1");
	tree_link("loop1", "loop2");
	tree_link(".", "self");
	tree_link("..", "real/parent");
	tree_link(target, "out-file");
	tree_link(outside, "out-dir");
	snprintf(target, sizeof(target), "../%s/secret", strrchr(outside, '/') + 1);
	tree_link(target, "out-relative");
	snprintf(target, sizeof(target), "%s/real/deep/file", tree.root);
	tree_link(target, "absolute");
	snprintf(target, sizeof(target), "../%s/real/deep/file", strrchr(tree.root, '/') + 1);
	tree_link(target, "out-and-in");
}

START_TEST(links_are_followed_inside_root)
{
	struct snapshot *snapshot;

	make_links();
	snapshot = tree_snapshot(NULL);
	tree_remove(outside);
	tree_serves(snapshot, "/in", "file");
	tree_serves(snapshot, "/dir/", "index");
	tree_serves(snapshot, "/dir/deep/file", "file");
	tree_serves(snapshot, "/real/deep/up", "file");
	ck_assert_uint_eq(tree_find(snapshot, "/dir")->status, 301);
	ck_assert_str_eq(tree.directory, ".\ndir\ndir/deep\nreal\nreal/deep\n");
	/* Two directories with a file, an index of three keys and a link; and "in". */
	ck_assert_uint_eq(tree_keys(snapshot), 11);
	assert_logged("dangling: left out: the link leads nowhere");
	assert_logged("loop1: left out: the link leads round in a circle");
	assert_logged("self: left out: the link leads back");
	assert_logged("real/parent: left out: the link leads back");
	assert_logged("out-file: left out: the link leads out of ROOT");
	assert_logged("out-dir: left out: the link leads out of ROOT");
	assert_logged("out-relative: left out: the link leads out of ROOT");
	assert_logged("out-and-in: left out: the link leads out of ROOT");
	assert_logged("absolute: left out: the link leads out of ROOT, or is absolute");
	assert_logged("(--symlinks=follow would serve it)");
	build_free(snapshot);
}
END_TEST

START_TEST(links_are_followed_anywhere)
{
	struct snapshot *snapshot;

	make_links();
	tree.options.symlinks = SYMLINKS_FOLLOW;
	snapshot = tree_snapshot(NULL);
	tree_remove(outside);
	tree_serves(snapshot, "/dir/deep/file", "file");
	tree_serves(snapshot, "/out-dir/secret", "");
	tree_serves(snapshot, "/out-file", "");
	tree_serves(snapshot, "/out-relative", "");
	tree_serves(snapshot, "/absolute", "file");
	tree_serves(snapshot, "/out-and-in", "file");
	assert_logged("self: left out: the link leads back");
	assert_logged("loop1: left out: the link leads round in a circle");
	assert_logged("dangling: left out: the link leads nowhere");
	build_free(snapshot);
}
END_TEST

START_TEST(links_are_denied)
{
	struct snapshot *snapshot;

	make_links();
	tree.options.symlinks = SYMLINKS_DENY;
	snapshot = tree_snapshot(NULL);
	tree_remove(outside);
	ck_assert_uint_eq(tree_keys(snapshot), 4);
	tree_serves(snapshot, "/real/", "index");
	ck_assert_str_eq(tree.log, "");
	build_free(snapshot);
}
END_TEST

START_TEST(files_that_the_kernel_makes_up_are_left_out)
{
	struct snapshot *snapshot;

	tree.options.symlinks = SYMLINKS_FOLLOW;
	tree_put("file", "x");
	tree_link("/proc/sys/kernel/ostype", "longer"); /* size 0, and six bytes */
	if (access("/sys/kernel/uevent_seqnum", R_OK) == 0)
		tree_link("/sys/kernel/uevent_seqnum", "shorter"); /* size 4096, and a number */
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(tree_keys(snapshot), 1);
	assert_logged("longer: left out: it has another size than it says");
	build_free(snapshot);
}
END_TEST

START_TEST(root_may_be_a_link)
{
	char link[80];
	struct snapshot *snapshot;

	tree_put("file", "x");
	snprintf(link, sizeof(link), "%s-link", tree.root);
	ck_assert_int_eq(symlink(tree.root, link), 0);
	tree.options.root = link;
	for (int symlinks = SYMLINKS_CONTAIN; symlinks <= SYMLINKS_DENY; symlinks++) {
		tree.options.symlinks = (enum symlinks)symlinks;
		snapshot = tree_snapshot(NULL);
		tree_serves(snapshot, "/file", "x");
		build_free(snapshot);
	}
	unlink(link);
}
END_TEST

static void deny_openat2(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* In a child of its own: the filter stays. */
START_TEST(without_openat2_links_are_left_out)
{
	int status;
	pid_t child;

	tree_put("a/b/file", "x");
	tree_put("index.html", "y");
	tree_link("index.html", "link");
	tree_link("a", "dir");
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct snapshot *snapshot;
		bool good;

		deny_openat2(_i ? EPERM : ENOSYS);
		snapshot = tree_snapshot(NULL);
		good = tree_find(snapshot, "/a/b/file") && tree_find(snapshot, "/") && tree_keys(snapshot) == 3 &&
		       strstr(tree.log, "link: left out: this kernel lacks openat2(2)") &&
		       strstr(tree.log, "dir: left out: this kernel lacks openat2(2)");
		build_free(snapshot);
		tree.options.symlinks = SYMLINKS_FOLLOW;
		snapshot = tree_snapshot(NULL);
		good = good && tree_find(snapshot, "/dir/b/file") && tree_find(snapshot, "/link");
		build_free(snapshot);
		_exit(good ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(a_tree_deeper_than_path_max_is_served_as_far_as_paths_go)
{
	char name[101], log[256];
	int fd = open(tree.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct snapshot *snapshot;

	memset(name, 'd', 100);
	name[100] = '\0';
	for (int depth = 0; depth < 60; depth++) {
		int next;

		ck_assert_int_eq(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = next;
		next = openat(fd, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		ck_assert_int_ge(next, 0);
		close(next);
	}
	close(fd);
	snapshot = tree_snapshot(NULL);
	/* 40 times 101 bytes, and two for the file: 4042; one directory more is 4140 */
	ck_assert_uint_eq(snapshot->files, 40);
	snprintf(log, sizeof(log), "...: an entry is left out: its path is longer than 4095 bytes");
	assert_logged(log);
	build_free(snapshot);
}
END_TEST

START_TEST(depth_costs_no_descriptors)
{
	char path[1300] = "";
	struct rlimit old, few = { 16, 0 };
	struct snapshot *snapshot;

	for (int depth = 0; depth < 600; depth++)
		strcat(path, "d/");
	strcat(path, "f");
	tree_put(path, "deep");
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	snapshot = tree_snapshot(NULL);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	memmove(path + 1, path, strlen(path) + 1);
	path[0] = '/';
	tree_serves(snapshot, path, "deep");
	ck_assert_uint_eq(tree.directories, 601);
	build_free(snapshot);
}
END_TEST

START_TEST(a_big_directory_is_served)
{
	struct snapshot *snapshot;
	char name[32];

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "%d.txt", i);
		tree_put(name, name);
	}
	snapshot = tree_snapshot(NULL);
	ck_assert_uint_eq(snapshot->files, 10000);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "/%d.txt", i);
		tree_serves(snapshot, name, name + 1);
	}
	build_free(snapshot);
}
END_TEST

START_TEST(warnings_are_counted_after_the_first)
{
	struct snapshot *snapshot;
	unsigned lines = 0;
	char name[32];

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "fifo%02d", i);
		ck_assert_int_eq(mkfifo(tree_path(name), 0644), 0);
	}
	snapshot = tree_snapshot(NULL);
	for (const char *c = tree.log; *c; c++)
		lines += *c == '\n';
	ck_assert_uint_eq(lines, 21);
	assert_logged("fifo00: ");
	assert_logged("fifo19: ");
	assert_logged("30 more warnings");
	build_free(snapshot);
}
END_TEST

START_TEST(directories_are_told_in_order_before_they_are_read)
{
	struct snapshot *snapshot;

	tree_put("b/x", "");
	tree_put("a/c/x", "");
	tree_put("a/b/x", "");
	tree_put("a.x/y", "");
	snapshot = tree_snapshot(NULL);
	ck_assert_str_eq(tree.directory, ".\na\na/b\na/c\na.x\nb\n");
	build_free(snapshot);
}
END_TEST

START_TEST(a_root_that_cannot_be_opened_is_said)
{
	struct snapshot *snapshot = NULL;

	tree_put("file", "x");
	tree.options.root = "/nonexistent/loom";
	ck_assert_int_eq(tree_build(NULL, &snapshot), -ENOENT);
	ck_assert_str_eq(tree.why, "cannot open /nonexistent/loom: No such file or directory");
	tree.options.root = tree_path("file");
	ck_assert_int_eq(tree_build(NULL, &snapshot), -ENOTDIR);
	ck_assert_ptr_nonnull(strstr(tree.why, "/file: Not a directory"));
	tree.options.root = tree.root;
	ck_assert_int_eq(chmod(tree.root, 0), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(tree_build(NULL, &snapshot), -EACCES);
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_ptr_nonnull(strstr(tree.why, ": Permission denied"));
	ck_assert_int_eq(chmod(tree.root, 0755), 0);
	ck_assert_ptr_null(snapshot);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("walk");
	TCase *tcase = tcase_create("walk");

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, tree_setup, tree_teardown);
	tcase_add_test(tcase, odd_names_are_keys_byte_for_byte);
	tcase_add_test(tcase, a_name_that_comes_twice_is_one);
	tcase_add_test(tcase, a_name_that_does_not_come_is_looked_for);
	tcase_add_test(tcase, a_key_has_one_entry);
	tcase_add_test(tcase, files_of_another_file_system_are_read);
	tcase_add_test(tcase, control_characters_are_left_out);
	tcase_add_test(tcase, dot_files_are_hidden);
	tcase_add_test(tcase, special_files_are_left_out);
	tcase_add_test(tcase, unreadable_files_are_left_out);
	tcase_add_test(tcase, links_are_followed_inside_root);
	tcase_add_test(tcase, links_are_followed_anywhere);
	tcase_add_test(tcase, links_are_denied);
	tcase_add_test(tcase, files_that_the_kernel_makes_up_are_left_out);
	tcase_add_test(tcase, root_may_be_a_link);
	tcase_add_loop_test(tcase, without_openat2_links_are_left_out, 0, 2);
	tcase_add_test(tcase, a_tree_deeper_than_path_max_is_served_as_far_as_paths_go);
	tcase_add_test(tcase, depth_costs_no_descriptors);
	tcase_add_test(tcase, a_big_directory_is_served);
	tcase_add_test(tcase, warnings_are_counted_after_the_first);
	tcase_add_test(tcase, directories_are_told_in_order_before_they_are_read);
	tcase_add_test(tcase, a_root_that_cannot_be_opened_is_said);
	return tree_run(suite);
}
