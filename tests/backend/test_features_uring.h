/*
 * test_features_uring.h - what test_features.c has to know of a ring. In a file of its own, test_features_uring.c: both
 * backends' private headers name the states of their connections alike.
 */
#ifndef LOOM_TESTS_FEATURES_URING_H
#define LOOM_TESTS_FEATURES_URING_H

#include <liburing.h>

#include "loom/io.h"
#include "uring_compat.h"

unsigned ring_flags(struct io *io); /* IORING_SETUP_* */
int ring_fd(struct io *io);
unsigned ring_entries(struct io *io);
unsigned ring_cq_entries(struct io *io);
unsigned ring_shared_buffers(struct io *io);
const void *ring_scratch(struct io *io); /* what recv=poll receives into */

/* The result of one receive, as the backend submits those that are no multishots, from a group of no buffers; -ETIME: none. */
int ring_receive_without_buffers(struct io *io, struct io_conn *conn);

/* The result of an operation whose other members are zeroes. */
int ring_try(struct io *io, unsigned opcode);

#endif
