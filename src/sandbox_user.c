/*
 * sandbox_user.c - --user and --group, and capabilities (capabilities(7)), by the system calls themselves: there are three,
 * and a library would bring no more than their names. Main thread. setuid(2) and its like are done in all threads by the C
 * library, capset(2) is not; so it is done while there is one.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_parts.h"

#define CAPABILITY(number) (UINT64_C(1) << (number))

/*
 * What a process that has them, root above all, keeps: to read trees and to write a cache that are somebody else's, within
 * what Landlock allows; to raise a thread's priority again; and not to be held to the limit of locked memory, which all
 * rings of a user share. With --user there is nothing left.
 */
#define KEPT                                                                                         \
	(CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_DAC_READ_SEARCH) | CAPABILITY(CAP_SYS_NICE) | \
	 CAPABILITY(CAP_IPC_LOCK))

/* An id that is written as a number. False: it is a name. */
static bool number(const char *text, unsigned long long *id)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*id = strtoull(text, &end, 10);
	return *end == '\0' && !errno && *id < UINT32_MAX; /* the last one means none */
}

static int find_group(struct sandbox_user *user, const char *text, char *why, size_t size)
{
	const struct group *group;
	unsigned long long id;

	if (number(text, &id)) {
		user->gid = (gid_t)id;
		return 0;
	}
	errno = 0;
	group = getgrnam(text);
	if (!group) {
		snprintf(why, size, "--group: there is no group '%.64s' (getent group lists them)%s%s", text,
		         errno ? ": " : "", errno ? strerror(errno) : "");
		return -EINVAL;
	}
	user->gid = group->gr_gid;
	return 0;
}

int user_find(struct sandbox_user *user, const struct options *options, char *why, size_t size)
{
	const struct passwd *found = NULL;
	unsigned long long id;

	*user = (struct sandbox_user){
		.chosen = options->user || options->group,
		.uid = geteuid(),
		.gid = getegid(),
	};
	if (options->user) {
		bool is_number = number(options->user, &id);

		errno = 0;
		found = is_number ? getpwuid((uid_t)id) : getpwnam(options->user);
		if (!found && !is_number) {
			snprintf(why, size, "--user: there is no user '%.64s' (getent passwd lists them)%s%s",
			         options->user, errno ? ": " : "", errno ? strerror(errno) : "");
			return -EINVAL;
		}
		if (!found && !options->group) {
			snprintf(why, size,
			         "--user: the user %llu has no name, and so no group: give it one by --group", id);
			return -EINVAL;
		}
		user->uid = found ? found->pw_uid : (uid_t)id;
		if (found) {
			user->gid = found->pw_gid;
			if (strlen(found->pw_name) < sizeof(user->name))
				strcpy(user->name, found->pw_name);
		}
	}
	return options->group ? find_group(user, options->group, why, size) : 0;
}

int user_try(const struct sandbox_user *user, char *why, size_t size)
{
	bool same_user = user->uid == geteuid() && user->uid == getuid();
	bool same_group = user->gid == getegid() && user->gid == getgid();

	if (!user->chosen || (same_user && same_group) || geteuid() == 0)
		return 0;
	snprintf(why, size,
	         "--%s: only root can become somebody else, and this is user %u (start loom as root, or "
	         "leave the option out)",
	         same_user ? "group" : "user", (unsigned)geteuid());
	return -EPERM;
}

/* Needs CAP_SETPCAP. Who has not got it has no use for the set: no_new_privs keeps set-user-ID programs from raising it. */
static void drop_bounding_set(void)
{
	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/* Who has nothing to give up does not ask for it: under a service manager's filter capset(2) may be forbidden. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 }, before[2];
	uint64_t permitted;

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	memcpy(before, data, sizeof(before));
	permitted = ((uint64_t)data[1].permitted << 32 | data[0].permitted) & KEPT;
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted = data[i].effective = (uint32_t)(permitted >> 32 * i);
		data[i].inheritable = 0;
	}
	if (memcmp(before, data, sizeof(before)) == 0)
		return 0;
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int set_ids(const struct sandbox_user *user, const char **what)
{
	*what = "setgroups";
	if ((*user->name ? initgroups(user->name, user->gid) : setgroups(1, &user->gid)) < 0)
		return -errno;
	*what = "setresgid";
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return -errno;
	*what = "setresuid";
	return setresuid(user->uid, user->uid, user->uid) < 0 ? -errno : 0;
}

/* The way back must be closed: each of these must fail. */
static bool can_return(const struct sandbox_user *user)
{
	uid_t real, effective, saved;
	gid_t real_group, effective_group, saved_group;

	if (getresuid(&real, &effective, &saved) < 0 || real != user->uid || effective != user->uid ||
	    saved != user->uid)
		return true;
	if (getresgid(&real_group, &effective_group, &saved_group) < 0 || real_group != user->gid ||
	    effective_group != user->gid || saved_group != user->gid)
		return true;
	if (user->uid == 0)
		return false; /* that is what was asked for */
	return setuid(0) == 0 || seteuid(0) == 0 || (user->gid != 0 && (setgid(0) == 0 || setegid(0) == 0)) ||
	       setgroups(0, NULL) == 0;
}

int user_become(const struct sandbox_user *user, char *why, size_t size)
{
	const char *what = "";
	int err = user_try(user, why, size);

	if (err)
		return err;
	drop_bounding_set();
	if (user->chosen && geteuid() == 0)
		err = set_ids(user, &what);
	if (!err) {
		what = "capset";
		err = drop_capabilities();
	}
	if (err) {
		snprintf(why, size, "cannot become user %u, group %u: %s: %s", (unsigned)user->uid, (unsigned)user->gid,
		         what, strerror(-err));
		return err;
	}
	if (user->chosen && can_return(user)) {
		snprintf(why, size, "user %u, group %u could become another one again: loom does not serve so",
		         (unsigned)user->uid, (unsigned)user->gid);
		return -EPERM;
	}
	return 0;
}
