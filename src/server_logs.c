/*
 * server_logs.c - see server_logs.h.
 */
#include "server_logs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "loom/log.h"
#include "loom/syslog_socket.h"

/* Whether the file would lie in ROOT, and be served to everybody. Where nothing can be said, opening it will. */
static bool lies_in_root(const char *root, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	char *directory = parent ? realpath(parent, NULL) : NULL, *top = realpath(root, NULL);
	size_t len = top ? strlen(top) : 0;
	bool inside = directory && top && strncmp(directory, top, len) == 0 &&
	              (directory[len] == '/' || directory[len] == '\0' || len == 1);

	free(parent);
	free(directory);
	free(top);
	return inside;
}

static int refuse_in_root(const struct options *options, const char *option, const char *where)
{
	if (!where || strcmp(where, "stdout") == 0 || strcmp(where, "stderr") == 0 || syslog_socket_path(where) ||
	    !lies_in_root(options->root, where))
		return 0;
	log_error("--%s: %s lies in ROOT, where it would be served (choose a directory outside)", option, where);
	return -EINVAL;
}

int server_logs_open(const struct options *options, struct access_log **access)
{
	char why[512];
	int err;

	*access = NULL;
	err = refuse_in_root(options, "error-log", options->error_log);
	if (err == 0)
		err = refuse_in_root(options, "access-log", options->access_log);
	if (err < 0)
		return err;
	err = log_open(options->error_log, why, sizeof(why));
	if (err < 0) {
		log_error("--error-log: %s", why);
		return err;
	}
	if (!options->access_log)
		return 0;
	err = access_log_create(access, options->access_log, (enum access_format)options->access_format,
	                        options->workers, why, sizeof(why));
	if (err < 0)
		log_error("--access-log: %s", why);
	return err;
}

void server_logs_reopen(struct access_log *access)
{
	log_reopen();
	log_info("opening the logs anew on SIGUSR1");
	if (access)
		access_log_reopen(access);
}

void server_logs_end(struct access_log *access)
{
	if (access)
		access_log_stop(access);
}
