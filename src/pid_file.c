/*
 * pid_file.c - see pid_file.h. Main thread; owns nothing but the file's name.
 */
#include "loom/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	char text[16];
	ssize_t n;
	int len, err = 0;

	if (fd < 0)
		return -errno;
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	n = write(fd, text, (size_t)len);
	if (n != len)
		err = n < 0 ? -errno : -ENOSPC;
	if (close(fd) < 0 && !err)
		err = -errno;
	return err;
}

int pid_file_write(const char *path, char *why, size_t size)
{
	char *beside;
	int err;

	if (asprintf(&beside, "%s.%d", path, (int)getpid()) < 0) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	unlink(beside); /* of a process that had this id, and was killed in this moment */
	err = write_all(beside);
	if (!err && rename(beside, path) < 0)
		err = -errno;
	if (err) {
		snprintf(why, size, "cannot write %s: %s", path, strerror(-err));
		unlink(beside);
	}
	free(beside);
	return err;
}

int pid_file_try(const char *path, char *why, size_t size)
{
	const char *slash = strrchr(path, '/');
	char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int err = !directory ? -ENOMEM : access(directory, W_OK | X_OK) < 0 ? -errno : 0;

	free(directory);
	if (err)
		snprintf(why, size, "cannot write %s: %s", path, strerror(-err));
	return err;
}

void pid_file_remove(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[16] = "";
	ssize_t n;

	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0 && strtol(text, NULL, 10) == getpid())
		unlink(path);
}
