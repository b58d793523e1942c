/*
 * pid_file.h - a file that says which process serves (--pid-file). Main thread.
 */
#ifndef LOOM_PID_FILE_H
#define LOOM_PID_FILE_H

#include <stddef.h>

/*
 * Writes this process's id and a newline, whole or not at all: beside the path, and then renamed over it. 0, or -errno
 * with one line in why.
 */
int pid_file_write(const char *path, char *why, size_t size);

/* Whether it could be written, as pid_file_write() does it: its directory is there and writable. 0, or -errno with why. */
int pid_file_try(const char *path, char *why, size_t size);

/* Removes the file if it names this process; a successor's stays. */
void pid_file_remove(const char *path);

#endif
