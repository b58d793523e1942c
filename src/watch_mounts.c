/*
 * watch_mounts.c - mounts over ROOT's way and in its tree, of which inotify says nothing. /proc/self/mountinfo tells
 * poll(2) of each change of the mount namespace (proc_pid_mountinfo(5)); which one it was has to be read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "watcher.h"

void mounts_create(struct watch *watch)
{
	/* Without /proc a mount goes unseen, and nothing else would tell of it either. */
	watch->mounts = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
}

/* A path as the kernel writes it into mountinfo. */
static void escape(const char *path, char *out, size_t size)
{
	size_t len = 0;

	for (; *path && len + 5 < size; path++) {
		if (strchr(" \t\n\\", *path))
			len += (size_t)snprintf(out + len, size - len, "\\%03o", (unsigned char)*path);
		else
			out[len++] = *path;
	}
	out[len] = '\0';
}

/* Whether ROOT is the mount point, or lies somewhere under it. */
static bool is_under(const char *root, const char *point, size_t len)
{
	return len == 1 || (strncmp(root, point, len) == 0 && (root[len] == '\0' || root[len] == '/'));
}

/* A line: id, parent, device, root in the file system, mount point, and what does not matter here. */
static void take_line(struct mount_state *state, const char *line, size_t len, const char *root)
{
	size_t of_root = strlen(root), field = 0, at = 0, end;

	for (; at < len && field < 4; at++)
		field += line[at] == ' ';
	for (end = at; end < len && line[end] != ' '; end++)
		;
	state->all += XXH3_64bits(line, end);
	if (is_under(root, line + at, end - at))
		state->over += XXH3_64bits(line, end);
	if (of_root == 1 || (end - at > of_root && memcmp(line + at, root, of_root) == 0 && line[at + of_root] == '/'))
		state->inside += XXH3_64bits(line, end);
}

static void read_mounts(struct watch *watch, struct mount_state *state)
{
	char root[4 * PATH_MAX];
	size_t len = 0;
	ssize_t got;
	bool recent;

	*state = (struct mount_state){ .way = way_signature(watch->options->root, 0, &recent) };
	if (watch->mounts < 0 || lseek(watch->mounts, 0, SEEK_SET) < 0)
		return;
	escape(watch->root, root, sizeof(root));
	/* The buffer of events is not in use now. A line that does not fit is taken in pieces, which is good enough. */
	while ((got = read(watch->mounts, watch->buffer + len, sizeof(watch->buffer) - len)) > 0) {
		char *line = watch->buffer, *end;

		len += (size_t)got;
		while ((end = memchr(line, '\n', len - (size_t)(line - watch->buffer)))) {
			take_line(state, line, (size_t)(end - line), root);
			line = end + 1;
		}
		if (line == watch->buffer && len == sizeof(watch->buffer))
			line += len;
		len -= (size_t)(line - watch->buffer);
		memmove(watch->buffer, line, len);
	}
}

/* Reads them again. Whether something is mounted otherwise that concerns the tree or the way to it. */
static bool have_changed(struct watch *watch)
{
	struct mount_state state;
	bool same;

	read_mounts(watch, &state);
	same = state.way == watch->mounted.way && state.inside == watch->mounted.inside &&
	       (!watch->outside || state.all == watch->mounted.all);
	/* The way changes with each deploy by a link, and its files are the same ones as often as not. */
	if (state.over != watch->mounted.over || state.inside != watch->mounted.inside)
		watch->remounted = true;
	watch->mounted = state;
	return !same;
}

void mounts_begin(struct watch *watch)
{
	if (watch->mounts >= 0)
		have_changed(watch);
}

int watch_mounts_fd(const struct watch *watch)
{
	return watch->mounts;
}

enum watch_news watch_mounts(struct watch *watch)
{
	if (watch->mounts < 0)
		return WATCH_QUIET;
	return have_changed(watch) ? WATCH_CHANGED : WATCH_QUIET;
}

bool watch_remounted(struct watch *watch)
{
	bool remounted = watch->remounted;

	watch->remounted = false;
	return remounted;
}
