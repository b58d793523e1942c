/*
 * access_sink.h - where the lines of the access log go: a file, a FIFO or device, standard output, or the system's log.
 * Private to access_log.c and access_sink.c. One thread at a time.
 *
 * Nothing here waits for a reader: what is not taken at once is refused with -EAGAIN. A file's disk may make a write wait.
 */
#ifndef LOOM_ACCESS_SINK_H
#define LOOM_ACCESS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct access_sink {
	const char *where; /* "stdout", "syslog", "syslog:PATH" or a path; borrowed */
	const char *path;  /* of the system's log; NULL: it is none */
	int fd;
	bool alone; /* a regular file, to which each write is appended as one */
	enum {
		SINK_PLAIN,  /* write(2): a regular file, or non-blocking */
		SINK_SOCKET, /* send(2): standard output of a unit under systemd */
		SINK_SHARED, /* poll(2) and small writes: others have it open too, and set its flags */
		SINK_SYSLOG,
	} kind;
};

/* 0, or -errno with one line in why, which names it. */
int access_sink_open(struct access_sink *sink, const char *where, char *why, size_t size);

/*
 * The same for the same place, which may have been renamed: the new one takes the old one's place, or the old one stays. 1: it
 * is another one now; 0: what was written up to now is in the same one.
 */
int access_sink_reopen(struct access_sink *sink, char *why, size_t size);

void access_sink_close(struct access_sink *sink);

/* Writes from bytes[0..len), which are whole lines but perhaps the first: how many bytes were taken, or -errno. */
ssize_t access_sink_write(struct access_sink *sink, const char *bytes, size_t len);

#endif
