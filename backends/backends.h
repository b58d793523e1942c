/*
 * backends.h - what the backends share, and select.c's list of them. Private to this directory.
 */
#ifndef LOOM_BACKENDS_H
#define LOOM_BACKENDS_H

#include <stdbool.h>
#include <stdint.h>

#include "loom/io.h"

extern const struct io_ops io_epoll_ops;
extern const struct io_ops io_uring_ops; /* only with HAVE_LIBURING */

/* The liburing that this binary was built with, "2.3"; only with HAVE_LIBURING. */
extern const char io_uring_library[];

/*
 * For io_progress(): the bytes that the peer has acknowledged where the kernel counts them (TCP), otherwise taken,
 * the bytes that the kernel has taken (Unix sockets). For one socket it is always the one or always the other, so the
 * figure only grows. One system call.
 */
uint64_t socket_progress(int fd, uint64_t taken);

/* Whether the kernel counts acknowledged bytes of this socket, or of those that this listener accepts. One call. */
bool socket_counts(int fd);

/* Whether -errno of accept4(2) is of the one connection that was to be accepted: then the next one may be. */
bool socket_accept_passes(int err);

#endif
