/*
 * file_read.h - threads that wait for a disk in place of an event loop that has no better means to. One set for the
 * process, shared by all loops. Private to this directory.
 */
#ifndef LOOM_BACKENDS_FILE_READ_H
#define LOOM_BACKENDS_FILE_READ_H

#include <stdatomic.h>

#include "file_send.h"

/* What an event loop has for it. All zero but for fd. */
struct file_reader {
	int fd;                              /* an eventfd: counts up when something is done and nothing was */
	_Atomic(struct io_file_send *) done; /* last one first */
	_Atomic unsigned busy;               /* what the threads have not quite finished with */
};

/*
 * Starts the threads, each of which calls on_thread() first (NULL: none does), or counts one more user of them. 0 or -errno
 * (EAGAIN, ENOMEM). Every start is paired with a stop, with everything that was asked for taken back before: it waits until
 * no thread refers to the reader any more, and ends the threads with the last user. From any thread.
 */
int file_readers_start(void (*on_thread)(void));
void file_readers_stop(struct file_reader *reader);

/*
 * After FILE_COLD: has the next bytes read, for the loop that reader belongs to. Until it is taken back, nobody but the
 * threads may touch the send. Never waits.
 */
void file_read(struct file_reader *reader, struct io_file_send *send);

/* Nobody is interested any more: what has not begun is done at once, and still to be taken back. */
void file_read_cancel(struct io_file_send *send);

/*
 * Takes back all that is done, first one first, linked by next: send->bytes and send->result (as file_send_read() wants
 * them) are set. Each must then be given to file_read_free(), soon, for there are few buffers: before the loop waits.
 */
struct io_file_send *file_read_done(struct file_reader *reader);
void file_read_free(struct io_file_send *send);

#endif
