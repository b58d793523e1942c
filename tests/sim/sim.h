/*
 * sim.h - a world without a kernel: the event backend io_sim_ops (io.h), the clients' ends of its streams, and a
 * clock. One seed decides everything that a kernel, a network and a busy machine decide otherwise: into which pieces
 * received bytes fall, when and in what order completions come, how fast a send moves, when accepting fails, how late
 * a close is confirmed. The same seed and the same clients give the same run, always.
 *
 * It also holds its caller to the contract of io.h, and ends the program on the first breach (sim_fail()): at most one
 * credit and one send, nothing after close, nothing read after the loan's end (the bytes are poisoned and freed),
 * nothing changed while it is lent, objects that stay where they are.
 *
 * One thread, but for io_wake(). Time passes only inside io_wait(), in whole milliseconds.
 */
#ifndef LOOM_SIM_H
#define LOOM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "loom/io.h"

extern const struct io_ops io_sim_ops;

/* Simulated descriptors begin here, far above any real one; their numbers are used again as soon as they may be. */
#define SIM_FD_BASE (1 << 20)

#define SIM_NEVER UINT64_MAX

/* What the world is like. Chances are in one of a thousand. */
struct sim_weather {
	unsigned late;         /* chance that something due is held back (a receive: as on a lack of buffers) */
	unsigned late_ms;      /* for at most so long */
	unsigned spurious;     /* chance that io_wait() returns for nothing */
	unsigned sluggish;     /* chance that the caller's thread loses up to late_ms before it waits */
	unsigned accept_fails; /* chance that an accept ends in EMFILE, ENFILE, ENOBUFS or ENOMEM */
	unsigned breaks;       /* chance that a receive or a send fails by itself: a route lost, no memory, a timeout */
	unsigned hasty; /* chance that a connection is accepted already when its listener is turned off: room or not */
	unsigned file_fails; /* chance that a file, while it is sent, is found changed (ESTALE) or unreadable (EIO) */
	unsigned batch;      /* most completions between two waits; at least 1 */
	unsigned piece;      /* most bytes of one IO_RECV; 1 to IO_RECV_MAX */
	unsigned step;       /* most bytes that a send moves at once; at least 1 */
	unsigned window;     /* bytes from a client that the world holds; at least 1 */
	unsigned buffer;     /* bytes to a client that the world holds; at least 1 */
	bool steady;         /* piece, step and window as they are, not a draw up to them for each stream */
};

/* Every piece whole, nothing late, nothing fails. */
extern const struct sim_weather sim_fair_weather;

struct sim;
struct io_conn;
struct io_event;

struct sim_stream; /* a client's end; from sim_connect() or sim_pair() to sim_hang_up() */

/*
 * Who watches the seam: told of each crossing, in the order in which they happen. It may look at everything, and may call
 * sim_fail(). All functions are needed.
 */
struct sim_watch {
	void (*turn_begins)(void *context); /* io_wait() returns */
	/* It is called, for so long at most: all that could be done is done. */
	void (*turn_ends)(void *context, int timeout_ms);
	void (*handles)(void *context, struct sim_stream *stream,
	                const struct io_event *event); /* is handed over now; stream NULL: of a listener */
	void (*handled)(void *context);                /* io_next() is called again */
	void (*opens)(void *context, struct sim_stream *stream);
	void (*receives)(void *context, struct sim_stream *stream);
	/* iov: as the caller gave it. file NULL: io_send(). */
	void (*sends)(void *context, struct sim_stream *stream, const struct iovec *iov, unsigned n,
	              const struct io_file_send *file);
	void (*shuts)(void *context, struct sim_stream *stream);
	void (*closes)(void *context, struct sim_stream *stream);
	void (*asks_progress)(void *context, struct sim_stream *stream, uint64_t progress);
	void (*drops)(void *context,
	              struct sim_stream *stream); /* close(2) of an accepted descriptor that was never opened */
};

/*
 * The clients: called inside io_wait() whenever something may have changed, until it returns a time that is not now.
 * Returns when it wants to be called again though nothing has happened: a time, or SIM_NEVER.
 */
typedef uint64_t sim_clients_fn(void *context);

/* A world of this seed and this weather, for the next io_create() with io_sim_ops on this thread. */
struct sim *sim_new(uint64_t seed, const struct sim_weather *weather);

/* After io_destroy(). What clients still hold goes too. sim_free_later(): io_destroy() does it. */
void sim_free(struct sim *sim);
void sim_free_later(struct sim *sim);

/* The world behind a backend of io_sim_ops. */
struct sim *sim_of(struct io *io);

void sim_clients(struct sim *sim, sim_clients_fn *clients, void *context);

void sim_watch(struct sim *sim, const struct sim_watch *watch, void *context);

/* What a stream is to the watcher; NULL at first. A client that is gone leaves it. */
void sim_set_owner(struct sim_stream *stream, void *owner);
void *sim_owner(const struct sim_stream *stream);

/* Whether something has happened to a stream, for its client, since this was asked last; at first it has. */
bool sim_has_stirred(struct sim_stream *stream);

/* The io_conn of a stream, while it has one. */
const struct io_conn *sim_conn_of(const struct sim_stream *stream);

/* The owner of the stream that has a descriptor now; NULL when there is none. */
void *sim_owner_of(const struct sim *sim, int fd);

/* The next io_wait() returns so many milliseconds late: the machine has stood still. */
void sim_jump(struct sim *sim, uint64_t ms);

/* Until then no receive ends: there are no buffers. */
void sim_starve(struct sim *sim, uint64_t until);

/* Whether a listening descriptor is on, or is being turned off; and clients that wait there. */
bool sim_is_listening(const struct sim *sim, int listening, unsigned *waiting);

/* Milliseconds of the world's clock. */
uint64_t sim_now(const struct sim *sim);

/* Lets time pass outside of io_wait(), when the server has ended; nothing but the clock moves. */
void sim_sleep(struct sim *sim, uint64_t until);

/* Writes what happens to standard error. */
void sim_trace_on(bool on);
void sim_trace(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the program (SIGABRT) with a line that says what was broken. */
_Noreturn void sim_fail(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define sim_require(sim, condition, ...) ((condition) ? (void)0 : sim_fail(sim, __VA_ARGS__))

/* Opens a listening descriptor; -EMFILE when there are too many. */
int sim_listening(struct sim *sim);

/*
 * close(2) by the caller of the backend: of a listening descriptor, or of an accepted one that was never given to
 * io_open(). False when fd is not a simulated descriptor.
 */
bool sim_close(struct sim *sim, int fd);

/* on: every accept fails with EMFILE from now on. */
void sim_exhaust(struct sim *sim, bool on);

/*
 * A client connects to a listening descriptor; NULL when it is closed or its backlog is full: connection refused.
 * buffer: bytes to it that the world holds, as SO_RCVBUF has it; 0: as the weather has it.
 */
struct sim_stream *sim_connect(struct sim *sim, int listening, size_t buffer);

/* A connected pair: a client, and in *fd the descriptor for io_open(). */
struct sim_stream *sim_pair(struct sim *sim, int *fd);

/* Writes what fits: the bytes taken, 0 to len; -EPIPE after sim_finish(), -ECONNRESET after a reset. */
ssize_t sim_write(struct sim_stream *stream, const void *bytes, size_t len);

/* Reads up to len bytes: their number, 0 at the server's FIN, -EAGAIN when there are none yet, -ECONNRESET. */
ssize_t sim_read(struct sim_stream *stream, void *bytes, size_t len);

/* Sends a FIN; reading goes on. */
void sim_finish(struct sim_stream *stream);

/* close(2) of the client's end: a FIN, or a reset if bytes were left unread, or come later. The handle is gone. */
void sim_hang_up(struct sim_stream *stream);

/* close(2) with SO_LINGER of 0: a reset. The handle is gone. */
void sim_reset(struct sim_stream *stream);

/* Whether the server has the stream no more: after IO_CLOSED, or close(2) of what was never opened. */
bool sim_is_over(const struct sim_stream *stream);

/* Whether the network has given it up. */
bool sim_is_broken(const struct sim_stream *stream);

/* How often the server was told so. */
unsigned sim_file_failures(const struct sim *sim);

/* Descriptors that the server's side holds, listening ones included: 0 when nothing was lost. */
unsigned sim_descriptors(const struct sim *sim);

/* The world's dice, for the clients too. sim_below(n): 0 to n - 1. sim_chance(): true n times of a thousand. */
uint64_t sim_random(uint64_t *state);
uint64_t sim_below(uint64_t *state, uint64_t n);
bool sim_chance(uint64_t *state, unsigned per_mille);

#endif
