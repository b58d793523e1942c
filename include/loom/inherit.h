/*
 * inherit.h - the successor's side of an upgrade: what a running loom (upgrade.h) has handed to this process, and what
 * is said to it. Main thread.
 *
 * Descriptors come by their numbers in the environment variable LOOM_INHERIT: lines, the first with the number of a
 * socket to the predecessor, each other with what belongs to one address:
 *
 *	KIND DEVICE INODE FD[,FD...] TEXT
 *
 * KIND: l, listening for clients, or a, the admin socket. DEVICE and INODE: of a Unix socket's file, otherwise 0. TEXT:
 * the address as the predecessor's options have it, by which it is found here; so port 0 and names stay what they were.
 *
 * On the socket there is one line in each direction: "ready N N ..." with the numbers of the lines (from 0) whose
 * sockets are used on, or "failed WHY"; and then, from the predecessor, "yours". Its end is the predecessor's end, after
 * which all is ours as well.
 */
#ifndef LOOM_INHERIT_H
#define LOOM_INHERIT_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/listen.h"

#define INHERIT_VARIABLE "LOOM_INHERIT"
#define INHERIT_LISTEN   'l'
#define INHERIT_ADMIN    'a'
#define INHERIT_METRICS  'm'

struct inherited;

/*
 * Reads and unsets the variable. 0 with *inherited NULL when there is none; or -errno with one line in why. Before
 * other threads, and before anything is opened.
 */
int inherit_open(struct inherited **inherited, char *why, size_t size);

/*
 * Takes what was handed over for an address: text, as options have it, or read by listen_parse() into address. At least
 * want >= 1 sockets come of it, and all that there are: each has a queue of its own, in which clients may wait, so that
 * none may be left alone. They are non-blocking and close on exec. 1: *fds is the caller's to free, and *n of them to
 * close; 0: there is nothing for it; or -errno with one line in why. inherited may be NULL.
 */
int inherit_take(struct inherited *inherited, char kind, const char *text, unsigned want,
                 struct listen_address *address, int **fds, unsigned *n, char *why, size_t size);

/* The same for an address that has one socket: *fd is it, and the caller's to close. */
int inherit_take_one(struct inherited *inherited, char kind, const char *text, struct listen_address *address, int *fd,
                     char *why, size_t size);

/* Closes what was not taken, and tells the predecessor that this process serves. NULL is allowed. */
void inherit_ready(struct inherited *inherited);

/*
 * This process is to end, and does not take the place: the predecessor hears of it, and goes on. After inherit_is_ours() nobody
 * is there to be told. NULL is allowed.
 */
void inherit_decline(struct inherited *inherited);

/* For poll(2): readable when inherit_is_ours() has something to read. -1 when there is nothing to wait for. */
int inherit_fd(const struct inherited *inherited);

/* Whether the predecessor has left its place, by saying so or by ending: true, and then for ever. Does not wait. */
bool inherit_is_ours(struct inherited *inherited);

/* Ends; before inherit_ready() the predecessor is told why. NULL is allowed. */
void inherit_close(struct inherited *inherited, const char *why);

#endif
