/*
 * world.h - what the halves of the simulation share: sim.c, the backend that the server sees, and stream.c, the
 * streams as their clients see them. Private to tests/sim.
 */
#ifndef LOOM_SIM_WORLD_H
#define LOOM_SIM_WORLD_H

#include <stdatomic.h>

#include "sim.h"

#define SIM_FDS     4096
#define SIM_BACKLOG 512

#define LENT_POISON 0xdb /* what memory holds whose loan has ended, for builds without AddressSanitizer */

/* A bounded queue of bytes. */
struct sim_queue {
	char *bytes;
	size_t size;
	size_t first;
	size_t len;
};

/* Who holds the server's end of a stream. */
enum sim_side {
	SIDE_BACKLOG,  /* not accepted yet */
	SIDE_ACCEPTED, /* a descriptor of the caller's */
	SIDE_OPEN,     /* from io_open() to io_close() */
	SIDE_CLOSING,  /* from io_close() to IO_CLOSED */
	SIDE_OVER,
};

/* Bytes that the caller has lent for a send. */
struct sim_loan {
	struct iovec *caller;           /* the array as it was given; ours to scribble on until the loan ends */
	struct iovec iov[IO_SEND_IOVS]; /* what it held */
	unsigned n;
	unsigned at;   /* first entry that has bytes left */
	size_t offset; /* of them */
	char *copy;    /* of all the bytes, as they were lent */
	size_t len;
	size_t left;

	struct io_file_send
		*caller_file;     /* what follows them; as it was given, and ours to scribble on. NULL: nothing */
	struct io_file_send file; /* what it held; offset and len are advanced */
	struct file opened;       /* *file.file, as it was lent */
	uint64_t whole;           /* of memory and of the file */
	uint64_t fails_at;        /* bytes of the file left when it fails; 0: it does not */
};

/*
 * One connection, both ends. Times at which something is due are drawn when it becomes possible; 0: not drawn yet.
 */
struct sim_stream {
	struct sim *sim;
	struct sim_stream *next; /* in the backlog, or of all streams that have no descriptor */
	int fd;
	enum sim_side side;
	void *owner; /* the watcher's */

	/* the client's end */
	bool client_gone;
	bool client_reset; /* the client has been told ECONNRESET, or will be */
	struct sim_queue up;
	struct sim_queue down;
	bool up_fin;
	bool down_fin;
	bool stirred; /* the client may find something new */

	/* the server's end */
	struct io_conn *conn;
	struct io_conn as_left; /* what the backend has written there: nobody else may */
	bool credit;
	bool received_end;
	bool broken; /* reset by the client */
	int error;   /* told once, as the kernel does */
	bool shut;
	bool sending;
	bool sent; /* the completion is due */
	bool file_failed;
	int sent_res;
	struct sim_loan loan;
	uint64_t acked;
	size_t piece;
	size_t step;
	uint64_t recv_at, move_at, sent_at, closed_at;
};

struct sim_port {
	int fd;
	struct io_listener *listener; /* from io_listen(on) to IO_UNLISTENED */
	struct io_listener as_left;
	bool off;
	bool suspended;
	struct sim_stream *backlog;
	unsigned waiting;
	unsigned owed;  /* of them, those that are to be accepted before IO_UNLISTENED */
	unsigned hasty; /* and of these, those that are accepted already, and come though there is no room */
	uint64_t accept_at, off_at;
};

struct sim_descriptor {
	struct sim_stream *stream; /* one of the two, or neither */
	struct sim_port *port;
};

struct sim {
	struct io io; /* first: the backend's state is the world */
	struct sim_weather weather;
	uint64_t dice;
	uint64_t now;
	uint64_t soonest; /* the next time that something is due; made anew with every look around */
	bool entered;     /* between io_create() and io_destroy() */
	bool own;         /* io_destroy() ends the world */
	bool exhausted;
	bool stirred; /* bytes have moved since the clients were last called */
	atomic_bool woken;
	unsigned file_failures;
	unsigned left;  /* completions until the next io_wait() */
	unsigned conns; /* open ones, and the most that the caller has announced */
	unsigned conns_max;
	unsigned listeners;
	unsigned listeners_max;
	bool files;  /* the caller has announced that it sends files, */
	bool sealed; /* and sealed memory */
	char *lent;  /* the last IO_RECV's bytes */
	size_t lent_len;
	sim_clients_fn *clients;
	void *clients_context;
	const struct sim_watch *watch; /* NULL: nobody */
	void *watch_context;
	uint64_t jump;            /* milliseconds by which the next io_wait() is late */
	uint64_t starved_to;      /* until then there are no buffers to receive into */
	struct sim_stream *loose; /* streams whose server's end is over, until the client lets go */
	unsigned top;             /* descriptors in use lie below */
	struct sim_descriptor fds[SIM_FDS];
};

/* Whether what may happen since *at was last 0 happens now; draws the time when it is asked for the first time. */
bool sim_due(struct sim *sim, uint64_t *at);

/* The world that was made for this thread's io_create(); NULL: none. */
struct sim *sim_take(void);

int sim_fd_take(struct sim *sim, struct sim_stream *stream, struct sim_port *port);
void sim_fd_give(struct sim *sim, int fd);

size_t sim_queue_put(struct sim_queue *queue, const void *bytes, size_t len);
size_t sim_queue_get(struct sim_queue *queue, void *bytes, size_t len);

/* The bytes and the array of a send are lent, and the file behind them (or NULL); and are given back. */
void sim_loan_begin(struct sim *sim, struct sim_stream *stream, struct iovec *iov, unsigned n,
                    struct io_file_send *file);
void sim_loan_end(struct sim *sim, struct sim_stream *stream);

/* The kernel's side of the send in flight: it takes what there is room for, a step at a time. */
void sim_send_move(struct sim *sim, struct sim_stream *stream);

/* It has ended with an error of the network's or the machine's. */
void sim_stream_fail(struct sim_stream *stream);

/* The client has reset the connection: what the server will see of it. */
void sim_stream_break(struct sim_stream *stream);

/* The server's end is closed: a FIN to the client, or a reset when input was left unread. */
void sim_stream_over(struct sim_stream *stream);

#endif
