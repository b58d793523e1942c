/*
 * io.h - the seam between the event loop and the kernel.
 *
 * An event backend (epoll, io_uring, or the simulated one of tests/sim) turns system calls into completions. The
 * interface is completion-shaped and pulled: submissions return nothing; the worker takes completions one at a time
 * with io_next(). No callback is stored, nothing recurses, and one loop shows the whole program.
 *
 * Threads: everything but io_wake() belongs to the one thread that called io_create(). After io_create() has returned
 * no operation allocates memory, and only io_wait() may block.
 *
 * Identity: struct io_conn and struct io_listener are embedded in the caller's own objects and must stay where they
 * are from io_open()/io_listen() until their last event (IO_CLOSED, IO_UNLISTENED).
 */
#ifndef LOOM_IO_H
#define LOOM_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#include "loom/features.h"
#include "loom/figure.h"
#include "loom/file.h"

/* The most bytes that one IO_RECV lends, on every backend. A remainder buffer of this size always suffices. */
#define IO_RECV_MAX (16 * 1024)

/* The most iovecs that one io_send() takes. */
#define IO_SEND_IOVS 64

/*
 * Memory of an iovec that is at least so long may be referred to by the kernel beyond IO_SENT, where the backend sends
 * without copying: see struct io_lent. What is shorter is the caller's again with IO_SENT, always, unless it lies in
 * io_config.registered.
 */
#define IO_LENT_MIN (16 * 1024)

/* The most sends whose memory is lent at a time. */
#define IO_LENTS 1024

enum io_op {
	IO_ACCEPT,     /* listener; res: the new descriptor (close-on-exec, the caller's until io_open()), or -errno */
	IO_UNLISTENED, /* listener; the last event after io_listen(off): its descriptor may be closed or turned on again */
	IO_RECV,       /* conn; res: bytes lent at data, 0 when the peer has sent its FIN, or -errno */
	IO_SENT, /* conn; res: 0 when all bytes were taken by the kernel, or -errno; data: NULL, or a struct io_lent */
	IO_CLOSED, /* conn; the descriptor is closed and the io_conn is the caller's again. Always the last event of it;
	                  data: NULL, or the struct io_lent of a send that had no IO_SENT */
	IO_RELEASED, /* data: a struct io_lent that an IO_SENT or IO_CLOSED has told: nothing refers to the memory any more */
};

/*
 * A send whose long pieces (IO_LENT_MIN) the kernel goes on reading though it is over: zero copy, until the peer has
 * acknowledged them. So does one that lies in io_config.registered, however short. The caller keeps the memory as it is
 * until IO_RELEASED, and may write into keep what it has to give back then. Belongs to the backend, whose number of these
 * is bounded (IO_LENTS): without a free one it copies. It may outlive the connection; an io_destroy() before IO_RELEASED
 * leaves the memory to the kernel for as long as that likes.
 */
struct io_lent {
	void *keep[2];
};

/*
 * The backend's part of a connection. The caller zeroes it once, when its memory is taken, and never looks inside,
 * except that fd may be asked about (getpeername(2)) until io_close().
 */
struct io_conn {
	int fd;
	uint16_t generation;  /* grows with each io_open(), so that a stale kernel event is known as one */
	uint8_t owed;         /* completions that the kernel still owes; 0 before the descriptor may be closed */
	uint8_t niov;         /* of iov, what is left to send */
	uint32_t flags;       /* private to the backend */
	int result;           /* a completion that waits to be pulled */
	struct io_conn *next; /* in the backend's list of connections that have something to say */
	union {
		struct iovec *iov;          /* the send in flight; the caller's memory, advanced by the backend */
		struct io_file_send *files; /* or this, while a send of io_send_file() is in flight */
	};
	uint64_t sent;       /* bytes of all sends that the kernel has taken, for io_progress() */
	uint16_t held_first; /* received buffers that wait for a credit: indices private to the backend */
	uint16_t held_last;
	uint16_t held; /* their number, or what the backend likes */
	uint16_t lent; /* of the send in flight: index of its struct io_lent, plus 1 */
};

/*
 * Bytes of memory and then of a file, to be sent as one. The caller sets the first part and lends it all, file and
 * what it refers to included, until IO_SENT or IO_CLOSED; the backend may change any of it.
 */
struct io_file_send {
	struct iovec *iov; /* niov entries, 0 <= niov <= IO_SEND_IOVS, none empty */
	unsigned niov;
	const struct file *file;
	uint64_t offset; /* offset + len <= file->size */
	uint64_t len;    /* at least 1 */

	/* Private to the backend. */
	struct io_conn *conn;
	struct io_file_send *next; /* in whatever list it waits */
	void *bytes;               /* where what was cold is read to */
	void *reader;              /* who reads it */
	uint64_t warm;             /* up to this offset the file was found in the page cache a moment ago, */
	uint64_t warm_from;        /* and from this one on, page by page, */
	uint32_t warm_since;       /* since this second */
	int unsent;                /* of the socket, before: what may be unsent */
	uint32_t state;
	int cancelled;
	int result;
};

/* A listening socket. The caller sets fd and shared, and zeroes the rest before the first io_listen(). */
struct io_listener {
	int fd;
	bool shared;    /* others accept from the same socket: take one connection, and go behind them in the queue */
	uint16_t flags; /* private to the backend, as is what follows */
	uint16_t owed;
	uint16_t swept; /* connections taken from the backlog after off */
	struct io_listener *next;
};

struct io_event {
	enum io_op op;
	int res;
	union {
		struct io_conn *conn;
		struct io_listener *listener;
	};
	const void *data; /* IO_RECV: lent until the next io_next() or io_wait(); otherwise NULL, or a struct io_lent */
};

/* What a backend is made for. */
struct io_config {
	unsigned conns;     /* the most connections open at a time; at least 1 */
	unsigned listeners; /* the most listeners at a time; at least 1 */
	bool files;         /* io_send_file() will be called: what it needs is taken now */
	bool sealed;        /* it will be called with sealed memory; without files, with nothing else */
	bool contain; /* limit the instance to the operations that it uses, if they pass by filters of system calls */
	void (*on_thread)(void); /* called by each thread that the backend starts, before its first work; may be NULL */
	const struct features *features; /* what is asked for; NULL: nothing. Not referred to afterwards */
	/*
	 * Page-aligned memory of the caller's that sends come from, for zc=fixed: it is made known to the kernel, which holds
	 * all of it in memory from then on; 1 GiB at most. iov_len 0: there is none. It outlives the backend.
	 */
	struct iovec registered;
};

/*
 * What io_create() and probe() return when the backend works here and a feature that was asked for cannot be had: there is
 * nothing to fall back on but asking for less.
 */
#define IO_EFEATURE EBADRQC

/* What came of io_config.contain. */
enum io_limits {
	IO_UNLIMITED, /* not asked for, or there is nothing to limit: each operation is a system call of its thread */
	IO_LIMITED,
	IO_UNLIMITABLE, /* this kernel cannot */
};

struct io;

/*
 * One table per backend. Functions are called through the wrappers below, which say what they promise.
 */
struct io_ops {
	const char *name; /* as --backend= names it */

	/*
	 * Whether this kernel and this process can have the backend, by trying every operation that serving needs, not
	 * by asking for a version. features as in io_config. 0, or -errno with one line in why that says what was tried and
	 * what to do about it.
	 * Leaves nothing behind. Any thread.
	 */
	int (*probe)(const struct features *features, char *why, size_t size);
	int (*create)(struct io **io, const struct io_config *config, char *why, size_t size);
	void (*destroy)(struct io *io);
	int (*wait)(struct io *io, int timeout_ms);
	bool (*next)(struct io *io, struct io_event *event);
	void (*listen)(struct io *io, struct io_listener *listener, bool on);
	void (*open)(struct io *io, struct io_conn *conn, int fd);
	void (*recv)(struct io *io, struct io_conn *conn);
	void (*send)(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n);
	void (*send_file)(struct io *io, struct io_conn *conn, struct io_file_send *send);
	void (*shutdown)(struct io *io, struct io_conn *conn);
	void (*close)(struct io *io, struct io_conn *conn);
	uint64_t (*progress)(struct io *io, struct io_conn *conn);
	void (*wake)(struct io *io);
	void (*describe)(struct io *io, char *text, size_t size);
	const struct figure *figures; /* what io.figures holds, in that order; NULL: nothing */
};

/* A backend's own state begins with this. */
struct io {
	const struct io_ops *ops;
	uint64_t figures[FIGURES_MAX]; /* they only grow: relaxed stores by the backend, relaxed loads by any thread */
	enum io_limits limits;
	struct features features; /* what is in effect; what was asked for is still marked */
};

/* Adds to one of its figures. For backends. */
static inline void io_count(struct io *io, unsigned figure, uint64_t n)
{
	__atomic_store_n(&io->figures[figure], io->figures[figure] + n, __ATOMIC_RELAXED);
}

/*
 * Creates the backend's state on the thread that will wait on it, and allocates all that it will ever use.
 * Returns 0 with *io set, or -errno with one line in why (ENOMEM: memlock or memory; see the line).
 */
static inline int io_create(const struct io_ops *ops, struct io **io, const struct io_config *config, char *why,
                            size_t size)
{
	return ops->create(io, config, why, size);
}

/* Frees it all. Every connection must be closed and every listener unlistened before. Same thread as io_create(). */
static inline void io_destroy(struct io *io)
{
	io->ops->destroy(io);
}

/*
 * Hands what was submitted to the kernel and sleeps until there is a completion, the time is up, a signal arrives or
 * io_wake() was called (also before this call: a wake is never lost). timeout_ms: -1 for ever, 0 not at all. Returns
 * at once when completions are waiting to be pulled. Ends the loan of the last IO_RECV. 0, or -errno when the backend
 * itself is broken; EINTR and the passing of the time are 0.
 */
static inline int io_wait(struct io *io, int timeout_ms)
{
	return io->ops->wait(io, timeout_ms);
}

/*
 * Takes one completion. False when there is none; then io_wait() is due. Ends the loan of the last IO_RECV. Work done
 * between two io_wait() calls is bounded: a peer that is always ready cannot keep the others from their turn.
 */
static inline bool io_next(struct io *io, struct io_event *event)
{
	return io->ops->next(io, event);
}

/*
 * on: accepted descriptors arrive as IO_ACCEPT events until off. An IO_ACCEPT with res < 0 (EMFILE, ENFILE, ENOBUFS,
 * ENOMEM, EPERM ...) says that accepting failed and has been suspended by the backend: nothing more comes, and nothing
 * spins, until the caller does off, awaits IO_UNLISTENED and turns it on again. Errors of the one connection
 * (ECONNABORTED, EPROTO ...) are passed over by the backend.
 * off: exactly one IO_UNLISTENED follows. Connections that are in the backlog by then still arrive as IO_ACCEPT first, as
 * far as there is room for connections (none is lost when the listener is closed next); when there is none, or when
 * accepting has failed, they stay in the backlog. on again is allowed only after IO_UNLISTENED.
 * The listening socket must be O_NONBLOCK. It is the caller's, and may be shared by several threads' backends, which
 * then take turns, as far as they sleep: connections are spread evenly over idle workers, and none waits for a busy one
 * as long as another sleeps (epoll), or at most as long as that one's turn (io_uring).
 */
static inline void io_listen(struct io *io, struct io_listener *listener, bool on)
{
	io->ops->listen(io, listener, on);
}

/* The backend adopts an accepted (or otherwise connected) stream socket; it will close it. No event follows. */
static inline void io_open(struct io *io, struct io_conn *conn, int fd)
{
	io->ops->open(io, conn, fd);
}

/*
 * A credit for one receive: exactly one IO_RECV follows. At most one credit at a time; none after an IO_RECV with
 * res <= 0. Backpressure is not asking: without a credit the backend holds a bounded number of bytes and leaves the
 * rest in the socket. Running out of receive buffers delays an IO_RECV and is never seen here.
 */
static inline void io_recv(struct io *io, struct io_conn *conn)
{
	io->ops->recv(io, conn);
}

/*
 * Sends all bytes of iov[0..n), 1 <= n <= IO_SEND_IOVS, no entry empty: exactly one IO_SENT follows, when the kernel
 * has taken all bytes or will take no more. iov and the bytes are lent to the backend until IO_SENT or IO_CLOSED; it
 * may change iov. At most one send in flight a connection; receiving goes on beside it. No SIGPIPE.
 */
static inline void io_send(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n)
{
	io->ops->send(io, conn, iov, n);
}

/*
 * Sends send->iov, then len bytes of the file from offset: exactly one IO_SENT follows, as for io_send(), which it
 * otherwise equals. Needs io_config.files. Never waits for a disk: what is not in the page cache is brought in aside,
 * and other connections have their turns meanwhile. Bytes of two versions of the file never reach the peer as one
 * whole answer: before the last bytes are handed to the kernel, the file must still be what send->file says, and
 * nothing that was handed over before may still refer to the page cache; otherwise some of the last bytes are
 * withheld, and IO_SENT says -ESTALE. Other results: -EIO and what else reading gives. After any error the caller can
 * only close.
 *
 * sendfile(2) has no MSG_NOSIGNAL: SIGPIPE must be ignored, or blocked on this thread. A file without a name (it was
 * replaced or removed) goes on being sent: its ctime, which that has changed, is then not looked at.
 */
static inline void io_send_file(struct io *io, struct io_conn *conn, struct io_file_send *send)
{
	io->ops->send_file(io, conn, send);
}

/* Sends a FIN after the bytes already sent (shutdown(2), SHUT_WR). No send may be in flight or follow. No event. */
static inline void io_shutdown(struct io *io, struct io_conn *conn)
{
	io->ops->shutdown(io, conn);
}

/*
 * Ends the connection in whatever state: silences it (no IO_RECV or IO_SENT follows) and delivers exactly one
 * IO_CLOSED, once nothing in the kernel refers to the descriptor or to lent memory. Bytes that the kernel has taken
 * are still delivered to the peer when no unread input is left. Once per io_open().
 */
static inline void io_close(struct io *io, struct io_conn *conn)
{
	io->ops->close(io, conn);
}

/*
 * Bytes of this connection's sends that have left for the peer, a figure that only grows. Finer than IO_SENT (the
 * acknowledged bytes of tcp(7), TCP_INFO, where the kernel tells): it is what a send deadline asks for a minimum rate
 * by. May cost a system call; for use when a timer expires, not for every event.
 */
static inline uint64_t io_progress(struct io *io, struct io_conn *conn)
{
	return io->ops->progress(io, conn);
}

/* Makes the present or the next io_wait() return. From any thread; async-signal-safe. */
static inline void io_wake(struct io *io)
{
	io->ops->wake(io);
}

/* One line for people: the features in effect, as the option reads them ("taskrun=defer,entries=512,..."). */
static inline void io_describe(struct io *io, char *text, size_t size)
{
	io->ops->describe(io, text, size);
}

/*
 * The backends of this binary, best first, ended by NULL. io_uring is missing from a build without liburing.
 */
extern const struct io_ops *const io_backends[];

/*
 * Chooses a backend by name, with the features that are asked for: "auto" (the first whose probe succeeds; one that works
 * without these features ends the search) or one name of io_backends. Returns 0 with *ops
 * set and in why one line for the log: which, and why not the better ones; or -errno with why saying what is wrong and
 * how to mend it (ENOENT: no such backend in this binary).
 */
int io_select(const char *name, const struct features *features, const struct io_ops **ops, char *why, size_t size);

/* For --version: one line on the libraries built with and on what the running kernel offers. */
void io_versions(char *text, size_t size);

/*
 * For --version -v: each feature of each backend, a line: what is in effect when these are asked for, and of what else
 * there is whether it can be had here, by trying. 0, or -EINVAL when what is asked for cannot be had; that is told, too.
 */
int io_feature_report(const struct features *features, FILE *out);

#endif
