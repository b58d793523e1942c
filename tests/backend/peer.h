/*
 * peer.h - the other end of a connection, for the contract suite. The suite (contract.h) knows clients only through
 * this table, so that the same tests run over real sockets (peer_socket.c: TCP on loopback, AF_UNIX) and over the
 * simulated backend's streams (tests/sim).
 *
 * No call blocks and no call pulls events of the backend: a test that waits for something turns the backend with
 * rig_until(), which calls io_wait() with short timeouts again and again. So a simulated peer's world may move on
 * in io_wait() and io_next() only; and 100 ms (of its time) of io_wait() without an event must mean that none is coming.
 */
#ifndef LOOM_TESTS_PEER_H
#define LOOM_TESTS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "loom/io.h"

/* What a kind of peer can show. Tests that need more are not added for it. */
#define PEER_RESETS  (1 << 0) /* reset() is seen as an error, not as a FIN */
#define PEER_KERNEL  (1 << 1) /* real descriptors: /proc/self/fd, RLIMIT_NOFILE, threads and signals mean something */
#define PEER_ACKS    (1 << 2) /* io_progress() sees what the peer has taken, beyond what the kernel has */
#define PEER_LISTENS (1 << 3) /* listener(), connect() and exhaust() are there */

struct peer_ops;

struct peer {
	const struct peer_ops *ops;
	int fd;     /* the peer's own end, -1 when closed; what the implementation likes */
	void *data; /* the implementation's */
};

struct peer_ops {
	const char *name; /* "tcp", "unix", "sim" */
	unsigned flags;

	/* A connected pair: *fd is the end for io_open(), closed by the backend. What is written and not read is held
	 * to the amount of 40,000 bytes at least, and of a few MiB at most, so that a test can fill it. 0 or -errno. */
	int (*pair)(struct io *io, struct peer *peer, int *fd);

	/* Bytes taken (may be fewer than n), or -EAGAIN, -EPIPE, -ECONNRESET. n >= 1. */
	ssize_t (*write)(struct peer *peer, const void *data, size_t n);

	/* Bytes read, 0 after the other end's FIN, or -EAGAIN, -ECONNRESET. n >= 1. */
	ssize_t (*read)(struct peer *peer, void *data, size_t n);

	void (*shutdown)(struct peer *peer); /* a FIN after what was written; reading goes on */
	void (*reset)(struct peer *peer);    /* an RST; the peer is gone */
	void (*close)(struct peer *peer);    /* close(2): a FIN, or an RST when something was left unread. Idempotent */

	/* PEER_LISTENS. A listening socket, zeroed and with its fd set; a backlog of at least 128. */
	int (*listener)(struct io *io, struct io_listener *listener);
	void (*unlisten)(struct io *io, struct io_listener *listener); /* closes it, after IO_UNLISTENED */
	/* Connected, and perhaps not accepted yet. */
	int (*connect)(struct io *io, struct io_listener *listener, struct peer *peer);
	void (*drop)(struct io *io, int fd); /* closes an accepted descriptor that was never opened */

	/* PEER_LISTENS. on: from now on accepting fails with EMFILE; off: no longer. */
	void (*exhaust)(struct io *io, bool on);
};

extern const struct peer_ops peer_tcp;
extern const struct peer_ops peer_unix;

#endif
