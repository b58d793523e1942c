/*
 * sandbox_landlock.c - which files the process can still reach: landlock(7), by its three system calls, as the C library has
 * no wrappers. Main thread, before there is another one: a thread brings its rules only to those that it starts.
 *
 * What is not handled by Landlock goes on: what stat(2), readlink(2), access(2), inotify_add_watch(2) and open(2) with O_PATH
 * say of a path. So the way to ROOT is watched and polled without a rule for its directories. Rules hang on inodes as they
 * are now, and cover what lies below whenever it comes there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_parts.h"

/* The kernel's ABI as of version 7; the headers that loom is built with may be older. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#define NET_BIND_TCP        (1ULL << 0)
#define NET_CONNECT_TCP     (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL        (1ULL << 1)

#define ABI_REFER     2 /* Linux 5.19 */
#define ABI_TRUNCATE  3 /* 6.2 */
#define ABI_NET       4 /* 6.7 */
#define ABI_IOCTL_DEV 5 /* 6.10 */
#define ABI_SCOPE     6 /* 6.12 */

/* struct landlock_ruleset_attr of ABI 6. An older kernel takes a longer one whose new members are zero. */
struct rules_attributes {
	uint64_t handled_access_fs;
	uint64_t handled_access_net;
	uint64_t scoped;
};

int landlock_abi(char *why, size_t size)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi > 0)
		return (int)abi;
	switch (errno) {
	case ENOSYS:
		snprintf(why, size, "this kernel is built without it (Linux 5.13, CONFIG_SECURITY_LANDLOCK)");
		return -ENOSYS;
	case EOPNOTSUPP:
		snprintf(why, size, "it is not switched on: add landlock to the kernel's parameter lsm=");
		return -EOPNOTSUPP;
	default:
		snprintf(why, size, "%s (a container's seccomp filter denies it)", strerror(errno));
		return errno ? -errno : -ENOSYS;
	}
}

/* All accesses to files that the ABI knows. */
static uint64_t known_accesses(int abi)
{
	uint64_t known = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= ABI_REFER)
		known |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= ABI_TRUNCATE)
		known |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= ABI_IOCTL_DEV)
		known |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return known;
}

int landlock_begin(int abi, bool keep_abstract)
{
	struct rules_attributes attributes = { .handled_access_fs = known_accesses(abi) };
	int rules;

	/* No rule of the network follows: the listeners are bound, and nothing is connected to. */
	if (abi >= ABI_NET)
		attributes.handled_access_net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (abi >= ABI_SCOPE)
		attributes.scoped = SCOPE_SIGNAL | (keep_abstract ? 0 : SCOPE_ABSTRACT_UNIX);
	rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
	return rules < 0 ? -errno : rules;
}

int landlock_allow(int rules, int abi, const char *path, enum landlock_access access)
{
	static const uint64_t accesses[] = {
		[LANDLOCK_READ] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
		[LANDLOCK_CACHE] = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
		                   LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |
		                   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
		                   LANDLOCK_ACCESS_FS_REMOVE_FILE,
		[LANDLOCK_SOCKET] = LANDLOCK_ACCESS_FS_REMOVE_FILE,
	};
	struct landlock_path_beneath_attr beneath = { .allowed_access = accesses[access] & known_accesses(abi) };
	struct stat st;
	int err = 0;

	beneath.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (beneath.parent_fd < 0)
		return -errno;
	if (fstat(beneath.parent_fd, &st) < 0)
		err = -errno;
	else if (!S_ISDIR(st.st_mode))
		beneath.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE;
	if (!err && syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		err = -errno;
	close(beneath.parent_fd);
	return err;
}

int landlock_enter(int rules)
{
	int err = syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0;

	close(rules);
	return err;
}
