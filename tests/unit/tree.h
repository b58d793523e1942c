/*
 * tree.h - directories to build snapshots from, what was logged meanwhile, and what was asked of the kernel. For the
 * tests of the builder; one tree at a time.
 */
#ifndef TESTS_UNIT_TREE_H
#define TESTS_UNIT_TREE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loom/asset.h"
#include "loom/build.h"
#include "loom/variants.h"

struct tree {
	char root[64];
	struct options options;
	struct variants *variants; /* for the next builds; NULL: none are made */
	uint32_t settle;           /* of the requests that follow */
	char why[512];
	char log[16384]; /* of the last build */
	unsigned directories;
	char directory[4096]; /* the paths that were told, a line each; what fits */
};

static struct tree tree;

/*
 * The test program's own read(2) and clock: they come before the C library's. The hook runs before each read; files
 * are as old as the clock is ahead; or it stands still.
 */
static atomic_ulong tree_reads; /* on all threads of a build */
static void (*_Atomic tree_before_read)(int fd);
static time_t tree_clock_ahead;

/* For tree_clock_ahead: what is written now is young however long a busy machine takes until it is read. */
#define JUST_NOW (-5)
static time_t tree_clock_at; /* 0: it goes */

__attribute__((used)) ssize_t read(int fd, void *bytes, size_t len)
{
	void (*before)(int fd) = tree_before_read;

	tree_reads++;
	if (before)
		before(fd);
	return syscall(SYS_read, fd, bytes, len);
}

__attribute__((used)) int clock_gettime(clockid_t clock, struct timespec *now)
{
	long result = syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && clock == CLOCK_REALTIME)
		now->tv_sec = tree_clock_at ? tree_clock_at : now->tv_sec + tree_clock_ahead;
	return (int)result;
}

static inline void tree_make(const char *root)
{
	ck_assert_int_lt(snprintf(tree.root, sizeof(tree.root), "%s", root), (int)sizeof(tree.root));
	tree.options = (struct options){
		.root = tree.root,
		.index = "index.html",
		.max_memory = 1 << 30,
		.stream_above = UINT64_MAX,
		.splice_above = UINT64_MAX,
		.max_streams = 1000,
		.workers = 2,
		.encodings = 1 << CODING_GZIP | 1 << CODING_BR | 1 << CODING_ZSTD,
		.compress = true,
		.nosniff = true,
	};
}

static inline void tree_setup(void)
{
	char root[] = "/tmp/loom-tree-XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(root));
	ck_assert_int_eq(chmod(root, 0755), 0);
	tree_make(root);
}

static inline void tree_remove(const char *root)
{
	pid_t child = fork();

	if (child == 0) {
		execlp("rm", "rm", "-rf", "--", root, (char *)NULL);
		_exit(127);
	}
	waitpid(child, NULL, 0);
}

static inline void tree_teardown(void)
{
	variants_destroy(tree.variants);
	tree.variants = NULL;
	tree_before_read = NULL;
	tree_clock_ahead = tree_clock_at = 0;
	tree.settle = 0;
	tree_remove(tree.root);
}

/* Good for one more call. */
static inline const char *tree_path(const char *path)
{
	static char paths[2][8192];
	static unsigned turn;
	char *full = paths[turn++ % 2];

	snprintf(full, sizeof(paths[0]), "%s/%s", tree.root, path);
	return full;
}

/* Writes a file, and the directories that it lies in. */
static inline void tree_write(const char *path, const char *content, size_t len)
{
	char full[8192];
	int fd;

	snprintf(full, sizeof(full), "%s", tree_path(path));
	for (char *slash = strchr(full + strlen(tree.root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		ck_assert(mkdir(full, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ck_assert_msg(fd >= 0, "%s: %s", full, strerror(errno));
	ck_assert_int_eq(write(fd, content, len), (ssize_t)len);
	close(fd);
}

static inline void tree_put(const char *path, const char *content)
{
	tree_write(path, content, strlen(content));
}

static inline void tree_link(const char *target, const char *path)
{
	ck_assert_int_eq(symlink(target, tree_path(path)), 0);
}

static inline void tree_directory(void *context, const char *path, int fd)
{
	struct stat st;
	size_t len = strlen(tree.directory);

	ck_assert_ptr_eq(context, &tree);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert(S_ISDIR(st.st_mode));
	tree.directories++;
	snprintf(tree.directory + len, sizeof(tree.directory) - len, "%s\n", path);
}

/* Builds, with what is logged kept in tree.log. */
static inline int tree_request(const struct build_request *request, struct snapshot **snapshot)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC), err;
	ssize_t n;

	tree.directories = 0;
	tree.directory[0] = tree.why[0] = '\0';
	ck_assert(saved >= 0 && log >= 0);
	dup2(log, STDERR_FILENO);
	err = build_snapshot(request, snapshot, tree.why, sizeof(tree.why));
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(log, tree.log, sizeof(tree.log) - 1, 0);
	tree.log[n > 0 ? n : 0] = '\0';
	close(log);
	return err;
}

static inline int tree_build(const struct snapshot *previous, struct snapshot **snapshot)
{
	const struct build_request request = {
		.options = &tree.options,
		.workers = tree.options.workers,
		.previous = previous,
		.variants = tree.variants,
		.settle = tree.settle,
		.directory = tree_directory,
		.context = &tree,
	};

	return tree_request(&request, snapshot);
}

static inline struct snapshot *tree_snapshot(const struct snapshot *previous)
{
	struct snapshot *snapshot = NULL;
	int err = tree_build(previous, &snapshot);

	ck_assert_msg(err == 0, "%s", tree.why);
	ck_assert_str_eq(tree.why, "");
	return snapshot;
}

/* The files of previous again, with the variants that have become ready; NULL when these do not fit. */
static inline struct snapshot *tree_as_before(const struct snapshot *previous)
{
	const struct build_request request = {
		.options = &tree.options,
		.workers = tree.options.workers,
		.previous = previous,
		.variants = tree.variants,
		.as_before = true,
		.directory = tree_directory,
		.context = &tree,
	};
	struct snapshot *snapshot = NULL;
	int err = tree_request(&request, &snapshot);

	ck_assert_msg(err == 0 || err == -ENOSPC, "%s", tree.why);
	return snapshot;
}

static inline void tree_news(void *context)
{
	(void)context;
}

/* From now on builds ask for variants. */
static inline void tree_compress(void)
{
	const struct variants_config config = { .threads = 2, .patience = 60000, .news = tree_news };

	ck_assert_msg(variants_create(&tree.variants, &config, tree.why, sizeof(tree.why)) == 0, "%s", tree.why);
}

/* Waits until all that was asked for is there, or known not to be worth having. */
static inline void tree_collect(void)
{
	for (int i = 0; variants_collect(tree.variants), variants_pending(tree.variants) > 0; i++) {
		ck_assert_int_lt(i, 60000);
		usleep(1000);
	}
}

/* The identity representation of a key, or NULL. */
static inline const struct representation *tree_find(const struct snapshot *snapshot, const char *key)
{
	const struct snapshot_slot *slot = snapshot_find(snapshot, key, strlen(key));

	return slot ? slot->representation : NULL;
}

/* The key's variant in a coding, or NULL. */
static inline const struct representation *tree_coded(const struct snapshot *snapshot, const char *key,
                                                      enum content_coding coding)
{
	const struct snapshot_slot *slot = snapshot_find(snapshot, key, strlen(key));

	ck_assert_msg(slot != NULL, "%s is not there; log: %s", key, tree.log);
	return slot->variants ? snapshot->variants[slot->variants].coded[coding] : NULL;
}

/* A field's value in a head, as a string good for one more call; NULL when there is no such field. */
static inline const char *tree_field(const struct representation *representation, const char *name)
{
	static char values[2][512];
	static unsigned turn;
	char *value = values[turn++ % 2], line[64];
	const char *at, *end;

	snprintf(line, sizeof(line), "\r\n%s: ", name);
	at = memmem(representation->head, representation->head_len, line, strlen(line));
	if (!at)
		return NULL;
	at += strlen(line);
	end = memmem(at, (size_t)(representation->head + representation->head_len - at), "\r\n", 2);
	snprintf(value, sizeof(values[0]), "%.*s", (int)(end - at), at);
	return value;
}

/* The key's answer is a 200 with this content. */
static inline void tree_serves(const struct snapshot *snapshot, const char *key, const char *content)
{
	const struct representation *r = tree_find(snapshot, key);

	ck_assert_msg(r != NULL, "%s is not there; log: %s", key, tree.log);
	ck_assert_uint_eq(r->status, 200);
	ck_assert_uint_eq(r->body_len, strlen(content));
	ck_assert_mem_eq(r->body, content, r->body_len);
}

static inline void tree_lacks(const struct snapshot *snapshot, const char *key)
{
	ck_assert_msg(tree_find(snapshot, key) == NULL, "%s is there", key);
}

/* The number of keys. */
static inline unsigned tree_keys(const struct snapshot *snapshot)
{
	unsigned keys = 0;

	for (uint64_t i = 0; i <= snapshot->mask; i++)
		keys += snapshot->slots[i].hash != 0;
	return keys;
}

static inline int tree_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
