/*
 * file.h - what is sent as it lies: an open file, with what tells that nobody has written to it since it was opened; or memory
 * that nobody writes to. The builder opens and closes it (body.h); a backend reads and sends from it (io_send_file()); what
 * lies between only passes it on.
 */
#ifndef LOOM_FILE_H
#define LOOM_FILE_H

#include <stdint.h>
#include <time.h>

struct file {
	int fd; /* open for reading, close-on-exec; its offset is nobody's, since all reads say where */
	uint64_t size;
	/*
	 * What statx(2) says as long as the content is the one that the validators stand for. The file had been at rest for
	 * longer than any clock ticks when it was opened, so that a later write must show here.
	 */
	struct timespec mtime;
	struct timespec ctime;
	/*
	 * Its links. A name that is added or taken away (a release made of hard links, a deploy by rename) changes ctime and
	 * no content: when there are more or fewer links than these, mtime and size alone speak.
	 */
	uint32_t nlink;
	/*
	 * When each part of it (of equal sizes but for the last) was found in the page cache, in seconds of CLOCK_MONOTONIC; 0:
	 * never. A hint for all who send from it, on whatever thread: relaxed loads and stores. NULL: nobody remembers.
	 */
	uint32_t *warm;
	/*
	 * The content, where it is memory of whole pages that are written to no more, not even when they have been freed and
	 * belong to somebody else. Then size is all that counts of the above, and fd is -1. NULL: it is a file.
	 */
	const uint8_t *bytes;
};

/* Parts that warm has. */
#define FILE_WARM_PARTS 64

#endif
