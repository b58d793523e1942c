/*
 * verify.c - see verify.h. Main thread. It owns the snapshot for the time of the test.
 */
#include "loom/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loom/build.h"
#include "loom/check.h"
#include "loom/gate.h"
#include "loom/io.h"
#include "loom/listen.h"
#include "loom/log.h"
#include "loom/logs.h"
#include "loom/pid_file.h"
#include "loom/sandbox.h"

#define WHY_SIZE 512

/* The error line of one option's value. */
static int fail(const struct options *options, const char *name, unsigned value, const char *why)
{
	char origin[512];

	options_origin(options, name, value, origin, sizeof(origin));
	log_error("%s%s%s", origin, *origin ? ": " : "", why);
	return -EINVAL;
}

static int verify_backend(const struct options *options)
{
	const struct io_ops *ops;
	char text[3 * WHY_SIZE];
	int err = io_select(options->backend, &options->features, &ops, text, sizeof(text));

	if (err == -IO_EFEATURE) {
		log_error("%s", text); /* it says itself which option it is */
		return -EINVAL;
	}
	if (err < 0)
		return fail(options, "backend", 0, text);
	printf("backend %s: ok\n", text);
	return 0;
}

/* A socket that somebody else opens is there when loom is started by them, and as a rule not now. */
static int verify_passed(const struct options *options, const char *name, unsigned value, const char *text,
                         const struct listen_address *address)
{
	struct listen_passed passed[LISTEN_PASSED_MAX];
	struct listen_address there = *address;
	char why[WHY_SIZE];
	int n = 0, err = 0;

	if (address->source == LISTEN_DESCRIPTOR)
		err = listen_examine(address->descriptor, &there, why, sizeof(why));
	else
		n = listen_passed(passed, why, sizeof(why));
	if (n == 0 && (err == -EBADF || address->source == LISTEN_SYSTEMD)) {
		printf("%s: ok, if it is passed (it is not here, now)\n", text);
		return 0;
	}
	err = n < 0 ? n : err;
	for (int i = 0; i < n && !err; i++)
		if (strcmp(address->name, "*") == 0 || strcmp(address->name, passed[i].name) == 0)
			err = listen_examine(passed[i].fd, &there, why, sizeof(why));
	if (err)
		return fail(options, name, value, why);
	printf("%s: ok\n", text);
	return 0;
}

/* One address, and whether an earlier one is the same: the second would not be had at a start either. */
static int verify_address(const struct options *options, const char *name, unsigned value, const char *text,
                          struct listen_address addresses[], unsigned n)
{
	struct listen_address *address = &addresses[n];
	char why[WHY_SIZE];
	/* The admin socket's path is a path alone. */
	int err = strcmp(name, "admin") == 0 ? listen_parse(text, address, why, sizeof(why))
	                                     : listen_parse_value(text, address, why, sizeof(why));

	for (unsigned i = 0; i < n && !err; i++) {
		if (listen_conflict(&addresses[i], address)) {
			snprintf(why, sizeof(why), "%s would be listened on twice (take one of the two out)", text);
			err = -EADDRINUSE;
		}
	}
	if (err)
		return fail(options, name, value, why);
	if (address->source != LISTEN_OWN)
		return verify_passed(options, name, value, text, address);
	err = listen_try(address, why, sizeof(why));
	if (err == -EADDRINUSE) {
		printf("%s: ok, and in use (it must be free at the start, or belong to the loom that is replaced)\n",
		       text);
		return 0;
	}
	if (err)
		return fail(options, name, value, why);
	printf("%s: ok\n", text);
	return 0;
}

static int verify_addresses(const struct options *options)
{
	struct listen_address addresses[OPTIONS_LISTEN_MAX + 2];
	char text[sizeof("unix:") + PATH_MAX], origin[8];
	unsigned i;
	const char *name = "listen";

	if (*options_origin(options, "port", 0, origin, sizeof(origin)))
		name = "port";
	for (i = 0; i < options->listens; i++)
		if (verify_address(options, name, i, options->listen[i], addresses, i) < 0)
			return -EINVAL;
	if (options->metrics && verify_address(options, "metrics", 0, options->metrics, addresses, i++) < 0)
		return -EINVAL;
	if (!options->admin)
		return 0;
	snprintf(text, sizeof(text), "unix:%s", options->admin);
	return verify_address(options, "admin", 0, text, addresses, i);
}

/* Whether the cache directory could be opened, or made, as cache_open() does it. 0 or an errno. */
static int try_cache_dir(const char *path)
{
	size_t len = strlen(path);
	char *parent;
	struct stat st;
	int err;

	if (stat(path, &st) == 0)
		return !S_ISDIR(st.st_mode) ? ENOTDIR : access(path, R_OK | X_OK) < 0 ? errno : 0;
	if (errno != ENOENT)
		return errno;
	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 0 && path[len - 1] != '/')
		len--;
	parent = len > 0 ? strndup(path, len) : strdup(".");
	if (!parent)
		return ENOMEM;
	err = access(parent, W_OK | X_OK) < 0 ? errno : 0;
	free(parent);
	return err;
}

/* It would be served, and reload.c refuses that. */
static bool lies_in_root(const struct options *options)
{
	char *dir = realpath(options->cache_dir, NULL), *root = realpath(options->root, NULL);
	size_t len = root ? strlen(root) : 0;
	bool inside = dir && root && strncmp(dir, root, len) == 0 && (dir[len] == '/' || dir[len] == '\0' || len == 1);

	free(dir);
	free(root);
	return inside;
}

static int verify_cache_dir(const struct options *options)
{
	const char *dir = options->cache_dir;
	char why[WHY_SIZE];
	int err;

	if (!dir || !options->compress || !options->encodings)
		return 0;
	err = try_cache_dir(dir);
	if (err) {
		snprintf(why, sizeof(why), "cannot keep compressed contents in %s: %s", dir, strerror(err));
		return fail(options, "cache-dir", 0, why);
	}
	if (lies_in_root(options)) {
		snprintf(why, sizeof(why),
		         "the cache directory %s lies in ROOT, where it would be served (choose one outside)", dir);
		return fail(options, "cache-dir", 0, why);
	}
	/* A cache that cannot be added to is one all the same. */
	printf("%s: ok%s\n", dir, access(dir, W_OK) < 0 && errno != ENOENT ? ", but not writable" : "");
	return 0;
}

static int verify_log(const struct options *options, const char *name, const char *where)
{
	char why[WHY_SIZE];
	int found = logs_try(options, name, why, sizeof(why));

	if (found < 0)
		return fail(options, name, 0, why);
	if (found > 0)
		printf("%s: ok\n", where);
	return 0;
}

static int verify_pid_file(const struct options *options)
{
	char why[WHY_SIZE];

	if (!options->pid_file)
		return 0;
	if (pid_file_try(options->pid_file, why, sizeof(why)) < 0)
		return fail(options, "pid-file", 0, why);
	printf("%s: ok\n", options->pid_file);
	return 0;
}

static int verify_tree(const struct options *options)
{
	struct snapshot *snapshot;
	char why[WHY_SIZE];
	uint64_t reason;
	int err = check_build(options, &snapshot, why, sizeof(why));

	if (err < 0)
		return fail(options, err == -ENOSPC ? "max-memory" : "root", 0, why);
	err = gate_check(options, snapshot, NULL, &reason, why, sizeof(why));
	if (err < 0)
		fail(options, "gate", 0, why);
	else
		printf("%s: ok, %" PRIu64 " file%s, %" PRIu64 " bytes\n", options->root, snapshot->files,
		       snapshot->files == 1 ? "" : "s", snapshot->bytes);
	build_free(snapshot);
	return err;
}

static int verify_sandbox(const struct options *options)
{
	char why[WHY_SIZE];

	if (sandbox_try(options, why, sizeof(why)) == 0)
		return 0;
	if (strncmp(why, "--sandbox", strlen("--sandbox")) == 0)
		return fail(options, "sandbox", 0, why);
	return fail(options, strncmp(why, "--group", strlen("--group")) == 0 ? "group" : "user", 0, why);
}

int verify_run(const struct options *options)
{
	const char *file = options_file(options);

	if (file)
		printf("%s: ok\n", file);
	else
		printf("no configuration file (see --config)\n");
	if (verify_sandbox(options) < 0 || verify_backend(options) < 0 || verify_addresses(options) < 0 ||
	    verify_cache_dir(options) < 0 || verify_log(options, "error-log", options->error_log) < 0 ||
	    verify_log(options, "access-log", options->access_log) < 0 || verify_pid_file(options) < 0 ||
	    verify_tree(options) < 0)
		return 1;
	return 0;
}
