/*
 * sandbox_parts.h - what sandbox.c is made of: the user, Landlock and the filters. Private to src/sandbox*.c. Main thread,
 * while it is the only one, unless it says otherwise.
 */
#ifndef LOOM_SANDBOX_PARTS_H
#define LOOM_SANDBOX_PARTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loom/sandbox.h"

/* sandbox_user.c */
struct sandbox_user {
	bool chosen; /* --user or --group */
	uid_t uid;
	gid_t gid;
	char name[64]; /* for initgroups(3); "" for a number that has no name */
};

/* Looks the options up. 0, or -errno with one line in why. */
int user_find(struct sandbox_user *user, const struct options *options, char *why, size_t size);

/* Whether this process may become it. 0, or -errno with one line. */
int user_try(const struct sandbox_user *user, char *why, size_t size);

/*
 * Becomes it, if it was chosen; and gives up all capabilities but those that serving files may need, and what could bring
 * more. Makes sure that there is no way back. 0, or -errno with one line in why.
 */
int user_become(const struct sandbox_user *user, char *why, size_t size);

/* sandbox_landlock.c */
enum landlock_access {
	LANDLOCK_READ,   /* files and directories below, or one file */
	LANDLOCK_CACHE,  /* read, make, write and delete below */
	LANDLOCK_SOCKET, /* delete what lies below: the sockets that have been bound there */
};

/* The highest ABI of this kernel, 1 or more; or -errno with one line in why. */
int landlock_abi(char *why, size_t size);

/* Begins a set of rules for that ABI, in which nothing is allowed. A descriptor, or -errno. */
int landlock_begin(int abi, bool keep_abstract);

/* Allows what lies at the path. 0; or -errno, -ENOENT among them. */
int landlock_allow(int rules, int abi, const char *path, enum landlock_access access);

/* Puts the rules into force, and closes them. Needs PR_SET_NO_NEW_PRIVS. 0 or -errno. */
int landlock_enter(int rules);

/* sandbox_filter.c */

/* Whether filters can be had here. 0, or -errno with one line in why. */
int filter_try(char *why, size_t size);

/* Puts the filter of a kind into force for the calling thread, and those that it starts. 0 or -errno. Any thread. */
int filter_enter(enum sandbox_thread kind);

/* sandbox.c: the directory of ROOT's releases and the like; see there. For tests. At most max real paths. How many. */
unsigned sandbox_ancestors(const char *root, char paths[][PATH_MAX], unsigned max);

#endif
