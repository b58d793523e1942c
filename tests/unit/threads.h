/*
 * threads.h - the threads of this process, by their names.
 */
#ifndef LOOM_TESTS_THREADS_H
#define LOOM_TESTS_THREADS_H

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether this process has a thread of that name, and its status in /proc (proc(5)). */
static inline bool thread_status(const char *name, char *status, size_t size)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	bool found = false;

	ck_assert_ptr_nonnull(tasks);
	while (!found && (entry = readdir(tasks))) {
		char path[PATH_MAX], wanted[64];
		ssize_t len;
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		len = read(fd, status, size - 1);
		close(fd);
		status[len > 0 ? len : 0] = '\0';
		snprintf(wanted, sizeof(wanted), "Name:\t%s\n", name);
		found = strncmp(status, wanted, strlen(wanted)) == 0;
	}
	closedir(tasks);
	return found;
}

#endif
