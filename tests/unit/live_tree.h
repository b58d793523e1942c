/*
 * live_tree.h - a directory tree that changes while it is watched, in the ways that people and programs change one: for
 * the tests of the watch and of the reloader. Paths are relative to the tree's base, a directory of its own under
 * TMPDIR. Failures of a test's own work abort.
 */
#ifndef TESTS_UNIT_LIVE_TREE_H
#define TESTS_UNIT_LIVE_TREE_H

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_MUST(call)                \
	do {                           \
		if ((call) < 0) {      \
			perror(#call); \
			abort();       \
		}                      \
	} while (0)

static char tree_base[PATH_MAX / 2];

static inline void tree_make(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(tree_base, sizeof(tree_base), "%s/loom-test-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(tree_base)) {
		perror(tree_base);
		abort();
	}
}

/* The absolute path; good until the fourth call after. */
static inline const char *tree_path(const char *path)
{
	static _Thread_local char paths[4][2 * PATH_MAX];
	static _Thread_local unsigned turn;
	char *out = paths[turn++ % 4];

	snprintf(out, sizeof(paths[0]), "%s/%s", tree_base, path);
	return out;
}

static inline int tree_remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static inline void tree_delete(const char *path)
{
	TREE_MUST(nftw(tree_path(path), tree_remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

static inline void tree_remove(void)
{
	tree_delete("");
}

/* mkdir -p */
static inline void tree_mkdir(const char *path)
{
	char whole[PATH_MAX];

	snprintf(whole, sizeof(whole), "%s", tree_path(path));
	for (char *at = whole + strlen(tree_base) + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		if (mkdir(whole, 0755) < 0)
			assert(errno == EEXIST);
		*at = '/';
	}
	if (mkdir(whole, 0755) < 0)
		assert(errno == EEXIST);
}

static inline void tree_put(const char *path, const char *text, int flags)
{
	int fd;

	TREE_MUST(fd = open(tree_path(path), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644));
	TREE_MUST(write(fd, text, strlen(text)));
	TREE_MUST(close(fd));
}

/* As many editors save: over the file's own bytes. */
static inline void tree_write(const char *path, const char *text)
{
	tree_put(path, text, O_TRUNC);
}

static inline void tree_append(const char *path, const char *text)
{
	tree_put(path, text, O_APPEND);
}

static inline void tree_rename(const char *from, const char *to)
{
	TREE_MUST(rename(tree_path(from), tree_path(to)));
}

/* As the careful ones do: a new file, renamed into its place. */
static inline void tree_replace(const char *path, const char *text)
{
	char temporary[PATH_MAX / 2];

	snprintf(temporary, sizeof(temporary), "%s~", path);
	tree_write(temporary, text);
	tree_rename(temporary, path);
}

static inline void tree_link(const char *target, const char *path)
{
	TREE_MUST(symlink(target, tree_path(path)));
}

/* ln -sfn: the link is one thing or the other at any time. */
static inline void tree_relink(const char *target, const char *path)
{
	char temporary[PATH_MAX / 2];

	snprintf(temporary, sizeof(temporary), "%s~", path);
	tree_link(target, temporary);
	tree_rename(temporary, path);
}

/* Directories of a walk, before they are read; and files, after. Either may be NULL. */
struct tree_walk {
	void (*directory)(void *context, const char *path, int fd);
	void (*file)(void *context, const char *path, int dirfd, const char *name);
	void *context;
};

static inline void tree_walk_directory(const struct tree_walk *walk, int fd, const char *path)
{
	struct dirent *entry;
	DIR *dir;

	if (walk->directory)
		walk->directory(walk->context, path, fd);
	dir = fdopendir(fd);
	assert(dir);
	while ((entry = readdir(dir))) {
		char below[PATH_MAX];
		struct stat st;
		int sub;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(below, sizeof(below), "%s%s%s", strcmp(path, ".") == 0 ? "" : path,
		                     strcmp(path, ".") == 0 ? "" : "/", entry->d_name) >= sizeof(below))
			continue;
		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISDIR(st.st_mode)) {
			sub = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub >= 0)
				tree_walk_directory(walk, sub, below);
		} else if (S_ISREG(st.st_mode) && walk->file) {
			walk->file(walk->context, below, fd, entry->d_name);
		}
	}
	closedir(dir);
}

/* 0, or -errno when root cannot be opened. */
static inline int tree_walk(const struct tree_walk *walk, const char *root)
{
	int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	tree_walk_directory(walk, fd, ".");
	return 0;
}

#endif
