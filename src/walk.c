/*
 * walk.c - walking ROOT by descriptors. Builder's thread. It owns the descriptor of ROOT, one of the directory being
 * read, and the list of directories still to be read.
 *
 * Every path is resolved from ROOT by openat2(2), so that no rename or link that comes in between leads outside: with
 * --symlinks=contain by RESOLVE_BENEATH, with deny by RESOLVE_NO_SYMLINKS as well. An absolute link is outside even
 * when it points into ROOT: where ROOT lies must not change what is served. Types are looked at before anything is
 * opened, as opening is an act on some devices.
 */
#include "loom/walk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/sandbox.h"

#define WARNINGS_MAX 20

/* A directory to be read, or one that has been and that others lie in. All are kept until the walk is over. */
struct directory {
	struct directory *next; /* on the stack of those to be read, or on the list of those that were */
	const struct directory *parent;
	dev_t dev;
	ino_t ino;
	size_t len;
	char path[];
};

struct walk {
	const struct options *options;
	const struct walk_handlers *handlers;
	void *context;
	int root;
	struct options *own; /* a copy's */
	bool have_openat2;   /* Linux 5.6, and no seccomp filter in the way */
	struct directory *stack;
	struct directory *done;
	unsigned warnings;
	char *why;
	size_t why_size;

	/* The names in the directory being read: NUL-ended, one after another, and pointers to them, sorted. */
	char *text;
	size_t text_len, text_size;
	const char **names;
	size_t count, names_size;
};

void walk_warn(struct walk *walk, const char *path, const char *format, ...)
{
	char text[256];
	va_list args;

	if (walk->warnings++ >= WARNINGS_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* A line of the log has an end: what is wrong must not be lost beyond it. */
	log_warn("%.1024s%s: %s", path, strlen(path) > 1024 ? "..." : "", text);
}

/* Whether it is the sandbox that keeps what lies at the path from being read. */
static bool is_beyond(const struct walk *walk, const char *path)
{
	char whole[2 * PATH_MAX];

	snprintf(whole, sizeof(whole), "%s/%s", walk->options->root, path == walk->options->root ? "" : path);
	return !sandbox_may_read(whole);
}

const char *walk_denied(const struct walk *walk, const char *path)
{
	return is_beyond(walk, path)
	               ? "left out: it leads to where the sandbox does not let loom read (--sandbox-read would)"
	               : "left out: not permitted to read it";
}

int walk_fail(struct walk *walk, int err, const char *what, const char *path)
{
	size_t len = strlen(path), room = walk->why_size / 2;
	const char *dots = len > room ? "..." : "";

	assert(err < 0);
	if (len > room)
		len = room;
	if (err == -EAGAIN)
		snprintf(walk->why, walk->why_size, "%.*s%s changed while it was being read", (int)len, path, dots);
	else
		snprintf(walk->why, walk->why_size, "%s %.*s%s: %s%s", what, (int)len, path, dots, strerror(-err),
		         err == -EACCES && is_beyond(walk, path)
		                 ? " (the sandbox does not let loom read there: --sandbox-read, and a restart)"
		                 : "");
	return err;
}

/*
 * Without openat2(2): component by component, none of them a link. The last one may be anything that the flags open.
 */
static int open_by_steps(const struct walk *walk, const char *path, int flags)
{
	char name[NAME_MAX + 1];
	int at = walk->root;

	for (;;) {
		size_t len = strcspn(path, "/");
		bool last = path[len] == '\0';
		int fd;

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		fd = openat(at, name, (last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC) | O_NOFOLLOW);
		if (fd < 0)
			fd = -errno;
		if (at != walk->root)
			close(at);
		if (fd < 0 || last)
			return fd;
		at = fd;
		path += len + 1;
	}
}

static int open_openat2(int root, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
	};

	/* EAGAIN: something was moved while ".." was resolved (openat2(2)). */
	for (int tries = 0; tries < 8; tries++) {
		long fd = syscall(SYS_openat2, root, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

/* Opens a path under ROOT, as the options on links allow it. */
static int open_under_root(const struct walk *walk, const char *path, int flags)
{
	int fd;

	flags |= O_CLOEXEC;
	if (walk->options->symlinks == SYMLINKS_FOLLOW) {
		do {
			fd = openat(walk->root, path, flags);
		} while (fd < 0 && errno == EINTR);
		return fd < 0 ? -errno : fd;
	}
	if (!walk->have_openat2)
		return open_by_steps(walk, path, flags);
	return open_openat2(walk->root, path, flags,
	                    walk->options->symlinks == SYMLINKS_DENY ? RESOLVE_NO_SYMLINKS : 0);
}

int walk_open(struct walk *walk, const char *path)
{
	/* Should a FIFO or a terminal have taken the file's place, opening must not wait for it or be ruled by it. */
	return open_under_root(walk, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

int walk_stat(struct walk *walk, const char *path, struct stat *st)
{
	int fd = open_under_root(walk, path, O_PATH), err;

	if (fd < 0)
		return fd;
	err = fstat(fd, st) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static int push_directory(struct walk *walk, const struct directory *parent, const char *path, size_t len)
{
	struct directory *directory = malloc(sizeof(*directory) + len + 1);

	if (!directory)
		return -ENOMEM;
	*directory = (struct directory){ .next = walk->stack, .parent = parent, .len = len };
	memcpy(directory->path, path, len + 1);
	walk->stack = directory;
	return 0;
}

static int add_name(struct walk *walk, const char *name)
{
	size_t len = strlen(name) + 1;

	if (walk->text_size - walk->text_len < len) {
		size_t size = walk->text_size * 2 + len + 4096;
		char *text = realloc(walk->text, size);

		if (!text)
			return -ENOMEM;
		walk->text = text;
		walk->text_size = size;
	}
	memcpy(walk->text + walk->text_len, name, len);
	walk->text_len += len;
	walk->count++;
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* readdir(3) may give a name once more that was replaced meanwhile, or is in a broken directory twice. */
static void drop_repeated(struct walk *walk)
{
	size_t kept = 1;

	for (size_t i = 1; i < walk->count; i++)
		if (strcmp(walk->names[i], walk->names[kept - 1]) != 0)
			walk->names[kept++] = walk->names[i];
	walk->count = kept;
}

static int sort_names(struct walk *walk)
{
	const char *name = walk->text;

	if (walk->count > walk->names_size) {
		void *names = realloc(walk->names, walk->count * sizeof(*walk->names));

		if (!names)
			return -ENOMEM;
		walk->names = names;
		walk->names_size = walk->count;
	}
	for (size_t i = 0; i < walk->count; i++, name += strlen(name) + 1)
		walk->names[i] = name;
	if (walk->count > 1) {
		qsort(walk->names, walk->count, sizeof(*walk->names), by_bytes);
		drop_repeated(walk);
	}
	return 0;
}

bool walk_is_hidden(const struct options *options, const char *name)
{
	/* What is well known is meant to be seen (RFC 8615). */
	return name[0] == '.' && !options->hidden && strcmp(name, ".well-known") != 0;
}

/* Reads all names that may be served. */
static int read_names(struct walk *walk, DIR *dir)
{
	const struct dirent *entry;
	int err;

	walk->count = 0;
	walk->text_len = 0;
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    walk_is_hidden(walk->options, entry->d_name))
			continue;
		err = add_name(walk, entry->d_name);
		if (err)
			return err;
	}
	return errno ? -errno : sort_names(walk);
}

/* Why an entry cannot be reached when that is no failure of the walk; NULL when it is one. */
static const char *left_out(const struct walk *walk, const char *path, int err, bool link)
{
	switch (err) {
	case -EXDEV:
		return "left out: the link leads out of ROOT, or is absolute (--symlinks=follow would serve it)";
	case -ELOOP:
		return walk->have_openat2 || walk->options->symlinks == SYMLINKS_FOLLOW
		               ? "left out: the link leads round in a circle"
		               : "left out: this kernel lacks openat2(2); --symlinks=follow would serve the link";
	case -ENOENT:
	case -ENOTDIR:
		return link ? "left out: the link leads nowhere" : "";
	case -EACCES:
	case -EPERM:
		return walk_denied(walk, path);
	case -ENAMETOOLONG:
		return "left out: the path is too long";
	default:
		return NULL;
	}
}

/* While a file is edited, Emacs has a link beside it that leads nowhere on purpose. */
static bool is_lock(const char *name)
{
	return strncmp(name, ".#", 2) == 0;
}

/*
 * What an entry is, links resolved. 1: left out, and said so where it may surprise.
 */
static int entry_stat(struct walk *walk, int dir, const char *name, const char *path, struct stat *st)
{
	const char *reason;
	bool link = false;
	int err = 0;

	if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	if (!err && S_ISLNK(st->st_mode)) {
		link = true;
		if (walk->options->symlinks == SYMLINKS_DENY) {
			log_debug("%s: left out: a link (--symlinks=deny)", path);
			return 1;
		}
		/* Before it is followed: whoever watches its way misses nothing that comes later. */
		if (walk->handlers->link)
			walk->handlers->link(walk->context, path);
		/* O_PATH: without a word to what lies at the end of the link. */
		err = walk_stat(walk, path, st);
		/* Without openat2(2) this is the link itself: links lead nowhere then. */
		if (!err && S_ISLNK(st->st_mode))
			err = -ELOOP;
	}
	if (!err)
		return 0;
	reason = left_out(walk, path, err, link);
	if (!reason)
		return walk_fail(walk, err, "cannot look at", path);
	if (*reason && is_lock(name))
		log_debug("%s: %s", path, reason);
	else if (*reason)
		walk_warn(walk, path, "%s", reason);
	return 1;
}

static int walk_entry(struct walk *walk, int dir, const struct directory *directory, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	int len, err;

	len = directory->parent ? snprintf(path, sizeof(path), "%s/%s", directory->path, name)
	                        : snprintf(path, sizeof(path), "%s", name);
	if ((size_t)len >= sizeof(path)) {
		walk_warn(walk, directory->path, "an entry is left out: its path is longer than %d bytes",
		          PATH_MAX - 1);
		return 0;
	}
	for (const char *c = name; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f) {
			walk_warn(walk, path, "left out: no address can name it, for its control characters");
			return 0;
		}
	}

	err = entry_stat(walk, dir, name, path, &st);
	if (err)
		return err < 0 ? err : 0;
	if (S_ISREG(st.st_mode))
		return walk->handlers->file(walk->context, walk, path, &st);
	if (S_ISDIR(st.st_mode))
		return push_directory(walk, directory, path, (size_t)len);
	walk_warn(walk, path, "left out: a special file (%s)",
	          S_ISFIFO(st.st_mode)   ? "FIFO"
	          : S_ISSOCK(st.st_mode) ? "socket"
	                                 : "device");
	return 0;
}

/* Whether the directory lies in itself, by way of a link. */
static bool is_own_ancestor(const struct directory *directory)
{
	for (const struct directory *above = directory->parent; above; above = above->parent) {
		if (above->dev == directory->dev && above->ino == directory->ino)
			return true;
	}
	return false;
}

static int walk_entries(struct walk *walk, DIR *dir, const struct directory *directory)
{
	struct directory *first = walk->stack, *found;
	int err = read_names(walk, dir);

	if (err)
		return walk_fail(walk, err, "cannot read the directory", directory->path);
	for (size_t i = 0; i < walk->count; i++) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a count above 0 comes with names (add_name) */
		err = walk_entry(walk, dirfd(dir), directory, walk->names[i]);
		if (err)
			return err;
	}

	/* The directories just found are on the stack in reverse: turn them, so that they come in order. */
	found = walk->stack;
	walk->stack = first;
	while (found != first) {
		struct directory *next = found->next;

		found->next = walk->stack;
		walk->stack = found;
		found = next;
	}
	return 0;
}

/* A directory that cannot be opened: is that the end of the walk? */
static int unopened(struct walk *walk, const struct directory *directory, int err)
{
	if (!directory->parent)
		return walk_fail(walk, err, "cannot open", walk->options->root);
	switch (err) {
	case -ENOENT:
	case -ENOTDIR:
		return 0; /* gone since it was seen */
	case -EACCES:
	case -EPERM:
		walk_warn(walk, directory->path, "%s", walk_denied(walk, directory->path));
		return 0;
	case -ELOOP:
	case -EXDEV: /* a link has taken its place */
		if (!walk->handlers->restless)
			return walk_fail(walk, -EAGAIN, "cannot open", directory->path);
		walk_warn(walk, directory->path, "left out for now: it changes too often to be read");
		return 0;
	default:
		return walk_fail(walk, err, "cannot open", directory->path);
	}
}

static int walk_directory(struct walk *walk, struct directory *directory)
{
	struct stat st;
	DIR *dir;
	int fd, err;

	fd = open_under_root(walk, directory->path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return unopened(walk, directory, fd);
	if (fstat(fd, &st) < 0) {
		err = walk_fail(walk, -errno, "cannot look at", directory->path);
		goto fail;
	}
	directory->dev = st.st_dev;
	directory->ino = st.st_ino;
	if (is_own_ancestor(directory)) {
		walk_warn(walk, directory->path, "left out: the link leads back to a directory that it lies in");
		err = 0;
		goto fail;
	}

	/* Before the first name is read: whoever watches the directory misses nothing that comes later. */
	err = walk->handlers->directory(walk->context, directory->path, fd);
	if (err)
		goto fail;
	dir = fdopendir(fd);
	if (!dir) {
		err = walk_fail(walk, -errno, "cannot read the directory", directory->path);
		goto fail;
	}
	err = walk_entries(walk, dir, directory);
	closedir(dir);
	return err;
fail:
	close(fd);
	return err;
}

static void free_directories(struct directory *list)
{
	while (list) {
		struct directory *next = list->next;

		free(list);
		list = next;
	}
}

/* openat2(2) is missing before Linux 5.6 (ENOSYS); some containers' filters answer EPERM for what they do not know. */
static bool probe_openat2(int root)
{
	int fd = open_openat2(root, ".", O_PATH | O_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd != -ENOSYS && fd != -EPERM;
}

/*
 * After the walk: a ROOT that is another directory by now (a link that was switched, a rename) was perhaps taken apart
 * while it was read, and what was read of it is neither the old tree nor the new one.
 */
static int check_root(struct walk *walk)
{
	struct stat was, is;

	if (fstat(walk->root, &was) < 0)
		return walk_fail(walk, -errno, "cannot look at", walk->options->root);
	if (stat(walk->options->root, &is) < 0 || is.st_dev != was.st_dev || is.st_ino != was.st_ino)
		return walk_fail(walk, -EAGAIN, "cannot open", walk->options->root);
	return 0;
}

int walk_tree(const struct options *options, const struct walk_handlers *handlers, void *context, char *why,
              size_t size)
{
	struct walk walk = {
		.options = options,
		.handlers = handlers,
		.context = context,
		.why = why,
		.why_size = size,
	};
	int err;

	walk.root = open(options->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (walk.root < 0)
		return walk_fail(&walk, -errno, "cannot open", options->root);
	walk.have_openat2 = probe_openat2(walk.root);

	err = push_directory(&walk, NULL, ".", 1);
	while (!err && walk.stack) {
		struct directory *directory = walk.stack;

		walk.stack = directory->next;
		directory->next = walk.done;
		walk.done = directory;
		err = walk_directory(&walk, directory);
	}
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what is done is freed below, all of it */
	if (!err && handlers->end)
		err = handlers->end(context, &walk);
	if (!err)
		err = check_root(&walk);
	if (err == -ENOMEM)
		snprintf(why, size, "cannot read %s: out of memory", options->root);
	if (walk.warnings > WARNINGS_MAX)
		log_warn("%u more warnings about %s", walk.warnings - WARNINGS_MAX, options->root);

	free_directories(walk.stack);
	free_directories(walk.done);
	free(walk.text);
	free(walk.names);
	close(walk.root);
	return err;
}

struct walk *walk_copy(const struct walk *walk)
{
	struct walk *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return NULL;
	copy->root = fcntl(walk->root, F_DUPFD_CLOEXEC, 0);
	copy->own = malloc(sizeof(*copy->own));
	if (copy->root < 0 || !copy->own) {
		walk_copy_free(copy);
		return NULL;
	}
	*copy->own = *walk->options;
	copy->options = copy->own;
	copy->have_openat2 = walk->have_openat2;
	return copy;
}

void walk_copy_free(struct walk *walk)
{
	if (!walk)
		return;
	if (walk->root >= 0)
		close(walk->root);
	free(walk->own);
	free(walk);
}
