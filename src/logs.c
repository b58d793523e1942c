/*
 * logs.c - see logs.h.
 */
#include "loom/logs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loom/log.h"
#include "loom/syslog_socket.h"

/* The path of the log that the option names; NULL: it is none, or no file. */
static const char *file_of(const struct options *options, const char *option)
{
	const char *where = strcmp(option, "access-log") == 0 ? options->access_log : options->error_log;

	if (!where || strcmp(where, "stdout") == 0 || strcmp(where, "stderr") == 0 || syslog_socket_path(where))
		return NULL;
	return where;
}

/* For free(3). NULL: no memory. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

/* Whether the file would lie in ROOT, and be served to everybody. Where nothing can be said, opening it will. */
static bool lies_in_root(const char *root, const char *path)
{
	char *parent = directory_of(path);
	char *directory = parent ? realpath(parent, NULL) : NULL, *top = realpath(root, NULL);
	size_t len = top ? strlen(top) : 0;
	bool inside = directory && top && strncmp(directory, top, len) == 0 &&
	              (directory[len] == '/' || directory[len] == '\0' || len == 1);

	free(parent);
	free(directory);
	free(top);
	return inside;
}

static int refuse_in_root(const struct options *options, const char *option, char *why, size_t size)
{
	const char *path = file_of(options, option);

	if (!path || !lies_in_root(options->root, path))
		return 0;
	snprintf(why, size, "%s lies in ROOT, where it would be served (choose a directory outside)", path);
	return -EINVAL;
}

static int try_parent(const char *path)
{
	char *parent = directory_of(path);
	int err = !parent ? -ENOMEM : access(parent, W_OK | X_OK) < 0 ? -errno : 0;

	free(parent);
	return err;
}

int logs_try(const struct options *options, const char *option, char *why, size_t size)
{
	const char *path = file_of(options, option);
	struct stat st;
	int err;

	if (!path)
		return 0;
	if (stat(path, &st) == 0)
		err = S_ISDIR(st.st_mode) ? -EISDIR : access(path, W_OK) < 0 ? -errno : 0;
	else
		err = errno == ENOENT ? try_parent(path) : -errno;
	if (err < 0) {
		snprintf(why, size, "cannot write the log to %s: %s", path, strerror(-err));
		return err;
	}
	err = refuse_in_root(options, option, why, size);
	return err < 0 ? err : 1;
}

static int complain(const char *option, int err, const char *why)
{
	log_error("--%s: %s", option, why);
	return err;
}

int logs_open(const struct options *options, struct access_log **access)
{
	char why[512];
	int err;

	*access = NULL;
	err = refuse_in_root(options, "error-log", why, sizeof(why));
	if (err == 0)
		err = log_open(options->error_log, why, sizeof(why));
	if (err < 0)
		return complain("error-log", err, why);
	err = refuse_in_root(options, "access-log", why, sizeof(why));
	if (err == 0 && options->access_log)
		err = access_log_create(access, options->access_log, (enum access_format)options->access_format,
		                        options->workers, why, sizeof(why));
	return err < 0 ? complain("access-log", err, why) : 0;
}

void logs_reopen(struct access_log *access)
{
	log_reopen();
	log_info("opening the logs anew on SIGUSR1");
	if (access)
		access_log_reopen(access);
}

void logs_end(struct access_log *access)
{
	if (access)
		access_log_stop(access);
}
