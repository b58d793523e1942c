/*
 * inside.h - a look into the backends, between two turns and without a connection: what is lent is back, and nothing waits.
 * Each is a file of its own, as their private headers do not go together; each is silent about the other's.
 */
#ifndef LOOM_TESTS_INSIDE_H
#define LOOM_TESTS_INSIDE_H

#include <stdint.h>

#include "loom/io.h"

struct file_sender;

/* NULL, or what does not hold. */
const char *inside_epoll(struct io *io);
const char *inside_uring(struct io *io);

/* Of both: no byte waits in the pipe, and who may have more unsent has given that back. */
const char *inside_sender(const struct file_sender *sender);

/* The bytes at the end of a file that are copied (file_send.c): small, so that small files are sent by reference. */
void inside_epoll_window(struct io *io, uint64_t window);
void inside_uring_window(struct io *io, uint64_t window);
void inside_sender_begin(struct file_sender *sender, uint64_t window);

#endif
