/*
 * sandbox.c - see sandbox.h: what is asked for, what this kernel has of it, in which order it is put into force, and the
 * words for that. Main thread, but for sandbox_thread() and sandbox_may_read(). It owns the one sandbox of the process.
 */
#include "loom/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"
#include "sandbox_parts.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED true
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#undef SANITIZED
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#define PATHS_MAX (2 * OPTIONS_LISTEN_MAX + OPTIONS_SANDBOX_READ_MAX + 32)
#define LINKS_MAX 40
#define WHY_SIZE  256

struct allowed {
	char *path; /* real */
	enum landlock_access access;
	bool told; /* of interest to people */
};

static struct {
	enum sandbox_mode mode;
	struct sandbox_user user;
	bool filters;
	int abi; /* of Landlock; 0: it is not in force */
	bool rings;
	struct allowed allowed[PATHS_MAX];
	unsigned paths;
	int pinned[2]; /* see pin() */
	char missing[4 * WHY_SIZE];
} sandbox;

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format, ...)
{
	size_t len = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + len, size - len, format, args);
	va_end(args);
}

__attribute__((format(printf, 1, 2))) static void miss(const char *format, ...)
{
	char text[WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	add(sandbox.missing, sizeof(sandbox.missing), "%s%s", *sandbox.missing ? "; " : "", text);
}

/* Whether what is at path lies in directory, or is it. Real paths, both. */
static bool lies_in(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	if (len == 1)
		return true;
	return strncmp(path, directory, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* The directory that a real path lies in, in place. False: that is the root, or it is. */
static bool to_parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash == path)
		return false;
	*slash = '\0';
	return true;
}

static unsigned note(char paths[][PATH_MAX], unsigned max, unsigned n, const char *path)
{
	if (n < max && strcmp(path, "/") != 0)
		strcpy(paths[n++], path);
	return n;
}

/*
 * Where the next release may lie, of which a link tells: below the directory that it points into ("current -> releases/41":
 * releases), or beside the link ("current -> 41"); where it leads elsewhere, beside what it leads to.
 */
static unsigned note_link(char paths[][PATH_MAX], unsigned max, unsigned n, const char *holder, const char *target)
{
	char path[2 * PATH_MAX], real[PATH_MAX];
	size_t first = strcspn(target, "/");

	if (*target == '/')
		snprintf(path, sizeof(path), "%s", target);
	else if (strncmp(target, "../", 3) == 0 || strcmp(target, "..") == 0)
		snprintf(path, sizeof(path), "%s/%s", holder, target);
	else if (target[first] == '/' && target[first + strspn(target + first, "/")])
		snprintf(path, sizeof(path), "%s/%.*s/.", holder, (int)first, target);
	else
		snprintf(path, sizeof(path), "%s", holder);
	if (!realpath(path, real))
		return n;
	if ((*target == '/' || strncmp(target, "..", 2) == 0) && !to_parent(real))
		return n;
	return note(paths, max, n, real);
}

/* The links on the way, and on theirs. */
static unsigned note_way(char paths[][PATH_MAX], unsigned max, unsigned n, const char *way, unsigned *links)
{
	char prefix[PATH_MAX], target[PATH_MAX], holder[PATH_MAX], next[2 * PATH_MAX];
	struct stat st;

	if (strlen(way) >= sizeof(prefix))
		return n;
	for (size_t at = strspn(way, "/"); way[at]; at += strspn(way + at, "/")) {
		size_t begin = at;
		ssize_t len;

		at += strcspn(way + at, "/");
		memcpy(prefix, way, at);
		prefix[at] = '\0';
		if (lstat(prefix, &st) < 0)
			break;
		if (!S_ISLNK(st.st_mode))
			continue;
		len = readlink(prefix, target, sizeof(target) - 1);
		prefix[begin] = '\0';
		if (len <= 0 || ++*links > LINKS_MAX || !realpath(prefix, holder))
			break;
		target[len] = '\0';
		n = note_link(paths, max, n, holder, target);
		snprintf(next, sizeof(next), "%s/%s", *target == '/' ? "" : holder, target);
		n = note_way(paths, max, n, next, links);
	}
	return n;
}

unsigned sandbox_ancestors(const char *root, char paths[][PATH_MAX], unsigned max)
{
	char way[2 * PATH_MAX] = "", cwd[PATH_MAX], real[PATH_MAX];
	unsigned links = 0, n = 0;

	if (!realpath(root, real))
		return 0;
	if (max > n)
		strcpy(paths[n++], real);
	/* Another directory may take its place by a rename. */
	if (to_parent(real))
		n = note(paths, max, n, real);
	if (*root != '/' && getcwd(cwd, sizeof(cwd)))
		snprintf(way, sizeof(way), "%s/", cwd);
	add(way, sizeof(way), "%s", root);
	return note_way(paths, max, n, way, &links);
}

/* Adds a path that is there. 0; or -errno, when it cannot be allowed. */
static int allow(int rules, const char *path, enum landlock_access access, bool told)
{
	struct allowed *allowed = &sandbox.allowed[sandbox.paths];
	int err = landlock_allow(rules, sandbox.abi, path, access);

	if (err || sandbox.paths == PATHS_MAX)
		return err;
	allowed->path = realpath(path, NULL);
	allowed->access = access;
	allowed->told = told;
	for (unsigned i = 0; allowed->path && i < sandbox.paths; i++) {
		struct allowed *before = &sandbox.allowed[i];

		if (before->access != access)
			continue;
		if (lies_in(allowed->path, before->path))
			allowed->told = false;
		else if (lies_in(before->path, allowed->path))
			before->told = false;
	}
	sandbox.paths += allowed->path != NULL;
	return 0;
}

static int allow_parent(int rules, const char *path, enum landlock_access access, bool told)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash)
		return allow(rules, ".", access, told);
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path) + 1, path);
	return allow(rules, parent, access, told);
}

/*
 * What lies in /proc has no inode that would outlive its being looked at; so what is looked up has to be held. They are not
 * read but at the start, and by this process.
 */
static void pin(int rules, unsigned index, const char *path)
{
	sandbox.pinned[index] = open(path, O_PATH | O_CLOEXEC);
	allow(rules, path, LANDLOCK_READ, false);
}

/* Where a log goes to. */
static bool is_path(const char *log)
{
	return log && strcmp(log, "stderr") != 0 && strcmp(log, "stdout") != 0 && strncmp(log, "syslog", 6) != 0;
}

static int complain_of_read(const char *path, int err, char *why, size_t size)
{
	snprintf(why, size, "--sandbox-read: cannot open %s: %s", path, strerror(-err));
	return err;
}

/* What is to be read in the sandbox is there. A mistake is one also where the kernel has no Landlock. */
static int check_reads(const struct options *options, char *why, size_t size)
{
	for (unsigned i = 0; i < options->sandbox_reads; i++) {
		int fd = open(options->sandbox_read[i], O_PATH | O_CLOEXEC);

		if (fd < 0)
			return complain_of_read(options->sandbox_read[i], -errno, why, size);
		close(fd);
	}
	return 0;
}

/* All that is opened after the sandbox has been entered. */
static int add_paths(int rules, const struct options *options, char *why, size_t size)
{
	static char ancestors[32][PATH_MAX];
	const char *file = options_file(options);
	unsigned n = sandbox_ancestors(options->root, ancestors, 32);
	int err;

	/* ROOT, and where its successor may lie. What is not there is left to those who need it to complain about. */
	for (unsigned i = 0; i < n; i++)
		allow(rules, ancestors[i], LANDLOCK_READ, true);
	for (unsigned i = 0; i < options->sandbox_reads; i++) {
		err = allow(rules, options->sandbox_read[i], LANDLOCK_READ, true);
		if (err)
			return complain_of_read(options->sandbox_read[i], err, why, size);
	}
	/* The settings, which may be read again; by their directory, since files are replaced by others. Not from a pipe. */
	if (file && strncmp(file, "/dev/", 5) != 0 && strncmp(file, "/proc/", 6) != 0)
		allow_parent(rules, file, LANDLOCK_READ, true);
	if (options->cache_dir)
		allow(rules, options->cache_dir, LANDLOCK_CACHE, true);
	if (options->pid_file)
		allow_parent(rules, options->pid_file, LANDLOCK_CACHE, true);
	/* Logs are opened anew when they have been moved away. */
	if (is_path(options->error_log))
		allow_parent(rules, options->error_log, LANDLOCK_CACHE, true);
	if (is_path(options->access_log))
		allow_parent(rules, options->access_log, LANDLOCK_CACHE, true);
	/* Sockets are removed in the end. */
	if (options->admin)
		allow_parent(rules, options->admin, LANDLOCK_SOCKET, true);
	if (options->metrics && strncmp(options->metrics, "unix:", 5) == 0)
		allow_parent(rules, options->metrics + 5, LANDLOCK_SOCKET, true);
	for (unsigned i = 0; i < options->listens; i++) {
		char path[PATH_MAX];

		/* Up to a comma: what follows may be options of the address, with slashes in them. */
		if (strncmp(options->listen[i], "unix:", 5) != 0)
			continue;
		snprintf(path, sizeof(path), "%.*s", (int)strcspn(options->listen[i] + 5, ","), options->listen[i] + 5);
		allow_parent(rules, path, LANDLOCK_SOCKET, true);
	}
	/* Mounts (watch_mounts.c), the sizes of queues (file_send.c), how many processors there are (sysconf(3)). */
	pin(rules, 0, "/proc/self/mountinfo");
	pin(rules, 1, "/proc/sys");
	allow(rules, "/sys/devices/system/cpu", LANDLOCK_READ, false);
	return 0;
}

/* Makes the directory of the cache while there are the rights for that, and gives it to the user. */
static int make_cache_dir(const struct options *options, char *why, size_t size)
{
	const char *path = options->cache_dir;
	int fd, err = 0;

	if (!path || mkdir(path, 0700) < 0)
		return 0; /* it is there, or whoever opens it says why it cannot be had */
	if (!sandbox.user.chosen)
		return 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, sandbox.user.uid, sandbox.user.gid) < 0) {
		err = -errno;
		snprintf(why, size, "cannot give the directory %s to user %u: %s", path, (unsigned)sandbox.user.uid,
		         strerror(-err));
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* What the user must be able to do from now on. */
static int check_reach(const struct options *options, char *why, size_t size)
{
	const char *path = options->root, *what = "read ROOT, the directory", *help = "and x on the way to it";
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = fd < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	if (err != EACCES && options->cache_dir && access(options->cache_dir, R_OK | W_OK | X_OK) < 0 &&
	    errno == EACCES) {
		path = options->cache_dir;
		what = "write to the cache directory";
		help = "and w to it";
		err = errno;
	}
	if (err != EACCES)
		return 0; /* another failure has its own words */
	snprintf(why, size, "user %u, group %u cannot %s %s: %s (give it r and x to it, %s)",
	         (unsigned)sandbox.user.uid, (unsigned)sandbox.user.gid, what, path, strerror(err), help);
	return -EACCES;
}

/* Why this process cannot have a sandbox, or NULL. */
static const char *unfit(void)
{
	if (SANITIZED)
		return "this loom is built with a sanitizer, which needs system calls of its own";
	if (RUNNING_ON_VALGRIND)
		return "loom runs under valgrind, which needs system calls of its own";
	return NULL;
}

/*
 * The rules, before the user is changed: who becomes somebody else may not reach all that they name. *rules is -1 where
 * there is no Landlock.
 */
static int prepare_landlock(const struct options *options, int *rules, char *why, size_t size)
{
	const char *notify = getenv("NOTIFY_SOCKET");
	char reason[WHY_SIZE];
	int abi = landlock_abi(reason, sizeof(reason)), err;

	*rules = -1;
	if (abi < 0) {
		miss("Landlock: %s", reason);
		return 0;
	}
	/* systemd's socket may be an abstract one. */
	*rules = landlock_begin(abi, notify && *notify == '@');
	if (*rules < 0) {
		miss("Landlock: %s", strerror(-*rules));
		*rules = -1;
		return 0;
	}
	sandbox.abi = abi;
	err = add_paths(*rules, options, why, size);
	if (err)
		close(*rules);
	else if (abi < 4)
		miss("TCP, signals and abstract sockets (Landlock ABI 6, Linux 6.12)");
	else if (abi < 6)
		miss("signals and abstract sockets (Landlock ABI 6, Linux 6.12)");
	return err;
}

static int refuse(char *why, size_t size)
{
	snprintf(why, size, "--sandbox=on cannot be had: %s (--sandbox=auto serves without)", sandbox.missing);
	return -ENOTSUP;
}

/* Whether seccomp and Landlock can be had, before anything is given up. */
static int check_mode(const struct options *options, char *why, size_t size)
{
	char reason[WHY_SIZE];

	*sandbox.missing = '\0';
	sandbox.mode = options->sandbox;
	sandbox.filters = false;
	if (sandbox.mode == SANDBOX_OFF)
		return 0;
	if (unfit()) {
		miss("%s", unfit());
		if (sandbox.mode == SANDBOX_ON)
			return refuse(why, size);
		sandbox.mode = SANDBOX_OFF;
		return 0;
	}
	sandbox.filters = filter_try(reason, sizeof(reason)) == 0;
	if (!sandbox.filters)
		miss("seccomp: %s", reason);
	return 0;
}

bool sandbox_needs_launcher(const struct options *options)
{
	return options->user || options->group || (options->sandbox != SANDBOX_OFF && !unfit());
}

int sandbox_try(const struct options *options, char *why, size_t size)
{
	struct sandbox_user user;
	char reason[WHY_SIZE];
	int err = user_find(&user, options, why, size);

	if (!err)
		err = user_try(&user, why, size);
	if (!err)
		err = check_mode(options, why, size);
	if (err || options->sandbox != SANDBOX_ON)
		return err;
	if (landlock_abi(reason, sizeof(reason)) < 0)
		miss("Landlock: %s", reason);
	return *sandbox.missing ? refuse(why, size) : 0;
}

int sandbox_enter(const struct options *options, char *why, size_t size)
{
	int err = user_find(&sandbox.user, options, why, size), rules = -1;

	if (!err)
		err = user_try(&sandbox.user, why, size);
	if (!err)
		err = check_mode(options, why, size);
	if (!err && options->sandbox != SANDBOX_OFF)
		err = check_reads(options, why, size);
	if (!err && (sandbox.user.chosen || sandbox.mode != SANDBOX_OFF))
		err = make_cache_dir(options, why, size);
	if (err)
		return err;
	if (sandbox.user.chosen && options->admin && lchown(options->admin, sandbox.user.uid, sandbox.user.gid) < 0) {
		snprintf(why, size, "cannot give unix:%s to user %u: %s", options->admin, (unsigned)sandbox.user.uid,
		         strerror(errno));
		return -errno;
	}
	if (sandbox.mode != SANDBOX_OFF) {
		tzset(); /* the file of the time zone is read once */
		err = prepare_landlock(options, &rules, why, size);
		if (err)
			return err;
		if (sandbox.mode == SANDBOX_ON && (!sandbox.abi || !sandbox.filters))
			return refuse(why, size);
	}
	if (sandbox.user.chosen || sandbox.mode != SANDBOX_OFF)
		err = user_become(&sandbox.user, why, size);
	if (err)
		return err;
	if (sandbox.mode == SANDBOX_OFF)
		return sandbox.user.chosen ? check_reach(options, why, size) : 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = -errno;
	if (!err && rules >= 0)
		err = landlock_enter(rules);
	if (!err && sandbox.filters)
		err = filter_enter(SANDBOX_ALL);
	if (err) {
		snprintf(why, size, "cannot enter the sandbox: %s (--sandbox=off serves without)", strerror(-err));
		return err;
	}
	return sandbox.user.chosen ? check_reach(options, why, size) : 0;
}

void sandbox_thread(enum sandbox_thread kind)
{
	int err;

	if (!sandbox.filters)
		return;
	err = filter_enter(kind);
	if (err) {
		log_error("cannot limit the system calls of a thread: %s", strerror(-err));
		_exit(1);
	}
}

bool sandbox_wants_rings(void)
{
	return sandbox.mode != SANDBOX_OFF;
}

int sandbox_rings(bool used, const char *missing)
{
	if (sandbox.mode == SANDBOX_OFF)
		return 0;
	sandbox.rings = used;
	if (!missing)
		return 0;
	miss("%s", missing);
	return sandbox.mode == SANDBOX_ON ? -ENOTSUP : 0;
}

static void describe_paths(char *text, size_t size)
{
	static const char *const verbs[] = {
		[LANDLOCK_READ] = "reads", [LANDLOCK_CACHE] = "writes", [LANDLOCK_SOCKET] = "removes sockets in"
	};
	const char *between = " (";

	for (unsigned access = 0; access < sizeof(verbs) / sizeof(verbs[0]); access++) {
		bool first = true;

		for (unsigned i = 0; i < sandbox.paths; i++) {
			const struct allowed *allowed = &sandbox.allowed[i];

			if (allowed->access != access || !allowed->told)
				continue;
			if (first)
				add(text, size, "%s%s %s", between, verbs[access], allowed->path);
			else
				add(text, size, ", %s", allowed->path);
			first = false;
			between = "; ";
		}
	}
	if (*between == ';')
		add(text, size, ")");
}

void sandbox_describe(char *text, size_t size)
{
	*text = '\0';
	if (sandbox.user.chosen)
		add(text, size, "user %u, group %u", (unsigned)sandbox.user.uid, (unsigned)sandbox.user.gid);
	if (sandbox.mode != SANDBOX_OFF)
		add(text, size, "%sno new privileges", *text ? ", " : "");
	if (sandbox.abi) {
		add(text, size, ", Landlock ABI %d", sandbox.abi);
		describe_paths(text, size);
	}
	if (sandbox.filters)
		add(text, size, ", seccomp");
	if (sandbox.rings)
		add(text, size, ", ring restrictions");
	if (sandbox.mode == SANDBOX_OFF && *text)
		add(text, size, ", nothing else");
	else if (sandbox.mode == SANDBOX_OFF)
		add(text, size, "off");
	if (*sandbox.missing)
		add(text, size, "; not: %s", sandbox.missing);
}

bool sandbox_may_read(const char *path)
{
	char real[PATH_MAX];

	if (!sandbox.abi || !realpath(path, real))
		return true;
	for (unsigned i = 0; i < sandbox.paths; i++)
		if (sandbox.allowed[i].access != LANDLOCK_SOCKET && lies_in(real, sandbox.allowed[i].path))
			return true;
	return false;
}
