/*
 * watch_way.c - the ways of ROOT and of links: see watch.h. A path is followed as the kernel does it, name by name, and
 * each directory is watched before a name is looked up in it. So a name that comes to mean something else afterwards gives
 * an event, and what it meant before is what the builder finds.
 *
 * Ways have most of their directories in common. One that has been watched in this pass need not be watched again: the
 * names that led to it are watched as well, and should one of them change, that is news already.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "loom/walk.h"
#include "watcher.h"

#define HOP_MASK                                                                                           \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | \
	 IN_ONLYDIR | IN_DONT_FOLLOW | IN_MASK_ADD)
#define CONTENTS_MASK (IN_MODIFY | IN_CLOSE_WRITE)
#define ROOT_HOPS \
	8192 /* that ROOT's way may have beyond HOPS_MAX; a path has half as many names, but there are links */

/* Those of file systems that <linux/magic.h> does not have; as in coreutils' stat(1). */
#define ACFS_MAGIC   0x61636673
#define BEEGFS_MAGIC 0x19830326
#define GFS2_MAGIC   0x01161970
#define GPFS_MAGIC   0x47504653
#define LUSTRE_MAGIC 0x0bd00bd0
#define NFSD_MAGIC   0x6e667364
#define PANFS_MAGIC  0xaad7aaea
#define PRL_MAGIC    0x7c7c6673
#define SNFS_MAGIC   0xbeefdead
#define VBOXSF_MAGIC 0x786f4256
#define VMHGFS_MAGIC 0xbacbacbc

/*
 * File systems that others can change without this kernel's taking part: servers, hosts of a virtual machine (virtiofs says
 * that it is FUSE), user space; and those whose files the kernel makes up. An overlay is not among them: what is changed
 * through the mount itself is seen, and changing its layers behind its back is forbidden (filesystems/overlayfs in the
 * kernel's documentation), so that polling the root of every container would buy nothing.
 */
bool way_is_unseen(int fd, const char *path)
{
	struct statfs about;

	if ((fd >= 0 ? fstatfs(fd, &about) : statfs(path, &about)) < 0)
		return false;
	switch ((uint32_t)about.f_type) {
	case ACFS_MAGIC:
	case AFS_FS_MAGIC:
	case AFS_SUPER_MAGIC:
	case BEEGFS_MAGIC:
	case CEPH_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case CODA_SUPER_MAGIC:
	case FUSE_SUPER_MAGIC:
	case GFS2_MAGIC:
	case GPFS_MAGIC:
	case LUSTRE_MAGIC:
	case NFSD_MAGIC:
	case NFS_SUPER_MAGIC:
	case OCFS2_SUPER_MAGIC:
	case PANFS_MAGIC:
	case PRL_MAGIC:
	case PROC_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SNFS_MAGIC:
	case SYSFS_MAGIC:
	case V9FS_MAGIC:
	case VBOXSF_MAGIC:
	case VMHGFS_MAGIC:
		return true;
	}
	return false;
}

/* A path on its way: what has been walked, without links and dots, and what is left. */
struct way {
	char walked[PATH_MAX];
	size_t len;
	char rest[PATH_MAX];
	char *at; /* in rest */
	unsigned links;
};

static bool way_begin(struct way *way, const char *from, const char *path)
{
	way->len = strlen(from);
	way->at = way->rest;
	way->links = 0;
	if (strlen(path) >= sizeof(way->rest))
		return false;
	memcpy(way->walked, from, way->len + 1);
	strcpy(way->rest, path);
	return true;
}

static void go_up(struct way *way)
{
	while (way->len > 1 && way->walked[way->len - 1] != '/')
		way->len--;
	if (way->len > 1)
		way->len--;
	way->walked[way->len] = '\0';
}

/* Takes the next name off the rest. False: this is the end. */
static bool next_name(struct way *way, char name[NAME_MAX + 1], int *err)
{
	size_t len;

	way->at += strspn(way->at, "/");
	len = strcspn(way->at, "/");
	*err = len > NAME_MAX ? -ENAMETOOLONG : 0;
	if (len == 0 || *err)
		return false;
	memcpy(name, way->at, len);
	name[len] = '\0';
	way->at += len;
	return true;
}

/*
 * Looks name up: walked goes one further, or rest begins with what the link says (left in target). before is the length
 * of the directory's path in walked.
 */
static int look_up(struct way *way, const char *name, struct stat *st, char target[PATH_MAX], size_t *before)
{
	size_t part = strlen(name), left;
	ssize_t linked;

	*before = way->len;
	if (way->len + 1 + part >= sizeof(way->walked))
		return -ENAMETOOLONG;
	if (way->len > 1)
		way->walked[way->len++] = '/';
	memcpy(way->walked + way->len, name, part + 1);
	way->len += part;
	if (lstat(way->walked, st) < 0)
		return -errno;
	if (!S_ISLNK(st->st_mode))
		return 0;
	linked = readlink(way->walked, target, PATH_MAX);
	if (linked < 0)
		return -errno;
	left = strlen(way->at);
	if (++way->links > LINKS_MAX)
		return -ELOOP;
	if (linked == PATH_MAX || (size_t)linked + left >= sizeof(way->rest))
		return -ENAMETOOLONG;
	target[linked] = '\0';
	memmove(way->rest + linked, way->at, left + 1);
	memcpy(way->rest, target, (size_t)linked);
	way->at = way->rest;
	way->len = target[0] == '/' ? 1 : *before;
	way->walked[way->len] = '\0';
	return 0;
}

/* Watches directory for what happens to name in it, and for its being written to. Whether that serves. */
static bool watch_name(struct watch *watch, const char *directory, const char *name, bool contents, size_t most)
{
	struct known *known;
	struct watched *watched = NULL;
	int err;

	if (watch->fd < 0)
		return false;
	known = known_at(watch, directory);
	if (!known) {
		watch_doubt(watch, DOUBT_MEMORY, directory, ENOMEM);
		return false;
	}
	if (known->wd == 0 || (contents && known->wd > 0 && !known->contents)) {
		int wd = inotify_add_watch(watch->fd, directory, HOP_MASK | (contents ? CONTENTS_MASK : 0));

		if (wd < 0) {
			if (errno == ENOENT || errno == ENOTDIR)
				return true; /* just gone; the name before this one tells of it */
			known->wd = -1;
			watch_doubt(watch, watch_doubt_of(errno), directory, errno);
		} else if (way_is_unseen(-1, directory)) {
			known->unseen = true;
			watch_doubt(watch, DOUBT_FILE_SYSTEM, directory, 0);
		}
		if (wd >= 0)
			known->wd = wd;
		known->contents |= contents;
	}
	if (known->wd > 0)
		watched = watched_add(watch, known->wd);
	if (!watched) {
		if (known->wd > 0)
			watch_doubt(watch, DOUBT_MEMORY, directory, ENOMEM);
		return false;
	}
	/* All that happens in a directory of the tree is news, but for what is hidden. */
	if (watched->tree == watch->pass && !walk_is_hidden(watch->options, name))
		return !known->unseen;
	watched->hop = watch->pass;
	err = hops_add(watch, known->wd, name, most);
	if (err) {
		watch_doubt(watch, err == -ENOSPC ? DOUBT_WAY : DOUBT_MEMORY, directory, -err);
		return false;
	}
	return !known->unseen;
}

static bool is_below(const char *path, size_t len, const char *root)
{
	size_t of_root = strlen(root);

	return len >= of_root && memcmp(path, root, of_root) == 0 &&
	       (of_root == 1 || path[of_root] == '/' || path[of_root] == '\0');
}

/*
 * Follows the way and watches it. inside: it may not leave ROOT; where it would, nobody looks further, and neither do we.
 * Returns 0 at the end of the way, or -errno where it ends before; *served: all of that is watched, and that is enough.
 */
static int follow(struct watch *watch, struct way *way, bool inside, size_t most, bool *served)
{
	char name[NAME_MAX + 1], target[PATH_MAX];
	int err = 0;

	*served = true;
	while (next_name(way, name, &err)) {
		struct stat st;
		size_t before;

		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			if (inside && strlen(watch->root) == way->len)
				return -EXDEV;
			go_up(way);
			continue;
		}
		if (!watch_name(watch, way->walked, name, false, most))
			*served = false;
		err = look_up(way, name, &st, target, &before);
		if (err)
			break;
		if (S_ISLNK(st.st_mode) && target[0] == '/' && inside)
			return -EXDEV;
		if (S_ISREG(st.st_mode)) {
			char cut = way->walked[before];

			/* The file is read after this, so that whatever is written from now on is either read or seen. */
			way->walked[before] = '\0';
			if (!watch_name(watch, way->walked, name, true, most))
				*served = false;
			way->walked[before] = cut;
		}
	}
	if (err == -ENAMETOOLONG) {
		watch_doubt(watch, DOUBT_OTHER, way->walked, -err);
		*served = false;
	}
	return err;
}

void way_to_root(struct watch *watch)
{
	struct way way;
	bool served = false;
	int err;

	watch->root[0] = watch->link_path[0] = watch->link_directory[0] = '\0';
	if (!way_begin(&way, "/", watch->options->root)) {
		watch_doubt(watch, DOUBT_OTHER, watch->options->root, ENAMETOOLONG);
		return; /* nor can it be opened */
	}
	err = follow(watch, &way, false, HOPS_MAX + ROOT_HOPS, &served);
	if (!err)
		strcpy(watch->root, way.walked);
	if (!served)
		polled_way(watch, "");
}

void way_of_link(struct watch *watch, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = slash ? (size_t)(slash - path) : 0;
	bool inside = watch->options->symlinks != SYMLINKS_FOLLOW, served, directory_served = true;
	struct way way;

	if (!watch->root[0])
		return; /* it is not where it was when the pass began; an event is on its way, or ROOT is polled */
	/* Links come directory by directory. */
	if (len != strlen(watch->link_path) || memcmp(path, watch->link_path, len) != 0 || !watch->link_directory[0]) {
		memcpy(watch->link_path, path, len);
		watch->link_path[len] = '\0';
		watch->link_directory[0] = '\0';
		if (!way_begin(&way, watch->root, watch->link_path))
			return;
		if (follow(watch, &way, inside, HOPS_MAX, &directory_served) == 0)
			strcpy(watch->link_directory, way.walked);
	}
	if (!watch->link_directory[0] || !way_begin(&way, watch->link_directory, name))
		return;
	follow(watch, &way, inside, HOPS_MAX, &served);
	if (!inside && !is_below(way.walked, way.len, watch->root))
		watch->outside = true;
	if (!served)
		polled_way(watch, path);
}

uint64_t way_signature(const char *path, int64_t now, bool *recent)
{
	char name[NAME_MAX + 1], target[PATH_MAX];
	uint64_t signature = 0;
	struct way way;
	int err = 0;

	*recent = false;
	if (!way_begin(&way, "/", path))
		return 0;
	while (next_name(&way, name, &err)) {
		struct stat st;
		size_t before;

		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			go_up(&way);
			continue;
		}
		err = look_up(&way, name, &st, target, &before);
		if (err)
			break;
		signature = signature_of(signature, name, &st, !S_ISDIR(st.st_mode));
		if (S_ISLNK(st.st_mode))
			signature = XXH3_64bits_withSeed(target, strlen(target), signature);
		if (!S_ISDIR(st.st_mode) && signature_recent(&st, now))
			*recent = true;
	}
	return err ? XXH3_64bits_withSeed(&err, sizeof(err), signature) : signature;
}
