/*
 * uring.h - the state of one ring, shared by uring.c (the ring and its listeners), uring_conn.c (connections),
 * uring_send.c (what they send), uring_file.c (their files), uring_zc.c (sends without a copy), uring_setup.c (creation, and the words for what went
 * wrong), uring_features.c, uring_test.c (the self-test) and uring_contain.c. Private to them.
 */
#ifndef LOOM_URING_H
#define LOOM_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "backends.h"
#include "file_send.h"
#include "uring_compat.h"

/* Tests make these small with -D. */
#ifndef URING_SQ_ENTRIES
#define URING_SQ_ENTRIES 512 /* a full one is submitted at once and costs one more system call */
#endif
#ifndef URING_CQ_MIN
#define URING_CQ_MIN 128 /* four for each connection are wanted; a full one costs time, and loses nothing */
#endif
#ifndef URING_CQ_MAX
#define URING_CQ_MAX 16384
#endif

/*
 * Receive buffers come in two groups.
 *
 * Multishot receives draw on the shared one. They go on without a credit, so a buffer may be held there for as long as
 * its connection waits for its answer to be sent: clients that send and do not read can take all of them.
 *
 * One-shot receives are armed for a credit only. Their buffers are lent at once, and back before the next wait. So
 * while the shared ones have run out, a connection with a credit still gets its bytes, whatever the others do.
 *
 * Powers of two. buf-count is of the shared ones; without multishot receives there are none, and it is of the others.
 */
#ifndef URING_SINGLE_BUFFERS
#define URING_SINGLE_BUFFERS 128
#endif

/* A connection without a credit holds about so many buffers before its receive is cancelled. */
#define URING_HELD_MAX 4

/* Several iovecs are cut at the end of a piece when the cut falls among the first so many. */
#define URING_CUT_IOVS 4

/*
 * Bytes of one send operation: the kernel copies them while it runs what was submitted, and others wait meanwhile.
 * Where the kernel does not count what the peer has taken (Unix sockets), pieces that are done are all that
 * io_progress() can see, and they are smaller.
 */
#define URING_PIECE        (256 * 1024)
#define URING_PIECE_COARSE (64 * 1024)

/* Bytes that sends which have begun go on with between two waits, all of them together: others have their turns between. */
#define URING_BULK URING_PIECE

/*
 * Sends without a copy that the kernel may still be reading for, of a worker; what is beyond them is copied. And when the
 * kernel has said so many times in a row that it copied all the same, no more are tried but one in so many.
 */
#ifndef URING_LENTS
#define URING_LENTS IO_LENTS
#endif
/* Less than that, and copying costs less than the second completion. */
#define URING_FIXED_MIN     1024
#define URING_ZC_COPIED_MAX 16
#define URING_ZC_RETRY      1024

/* Sends by send(2) between two waits, besides one for each completion: URING_INLINE_MORE. */
#define URING_INLINE_MORE 8

/* A wait for several completions has an end, or it would look about some 10,000 times a second when all is quiet. */
#define URING_WAIT_MAX_MS (60 * 60 * 1000)

/* Descriptors that the table of registered files has room for; others are not registered. */
#define URING_TABLE_MAX 65536

/* Reads of files at a time. More wait. Nothing is read ahead, so a read is as long as is good for a disk. */
#ifndef URING_READS
#define URING_READS 4
#endif
#define URING_READ_SIZE (256 * 1024)

enum uring_group_id {
	URING_SINGLE, /* the first buffers, uring.singles of them */
	URING_SHARED, /* the others */
	URING_GROUPS,
};

struct uring_group {
	struct io_uring_buf_ring *ring; /* shared with the kernel; of a group that there is not: uring.no_ring */
	uint16_t tail;                  /* ours; published before the kernel is entered */
	uint16_t mask;
};

/* What is known of a buffer: the next one that its connection holds, and how much of it is filled. */
struct uring_held {
	uint16_t next;
	uint16_t len;
	uint16_t slot; /* where in its group's ring it was given back: the next of a bundle is behind it */
	uint16_t used; /* with buf-inc: bytes that receives have taken of it */
};

/* A submission that receives: one is for a single receive, one for a multishot. */
struct uring_receive {
	uint8_t opcode;
	uint8_t flags;
	uint16_t ioprio;
	uint16_t group;
	uint32_t len;
	uint32_t cap;    /* with recv-cap: a multishot's bytes, in all */
	uint32_t events; /* of a poll */
};

/* A send without a copy that the kernel may read for yet. */
struct uring_lent {
	struct io_lent io;    /* first */
	struct io_conn *conn; /* whose send it is; NULL: that is over, and the caller was told */
	unsigned pending;     /* notifications that are due */
	uint16_t next;        /* of those that are free: index plus 1 */
};

/* What a sendmsg refers to until it is submitted. One for each entry of the submission queue. */
struct uring_message {
	struct msghdr header;
	struct iovec iov[URING_CUT_IOVS];
};

struct uring {
	struct io io; /* first */

	/* Submission queue: entries [sq_head, sq_tail) have not been taken by the kernel. */
	struct io_uring_sqe *sqes;
	unsigned sq_head;
	unsigned sq_tail;
	unsigned sq_mask;
	unsigned sq_entries;

	/* Completion queue: [cq_head, cq_end) is this turn's share, whatever has come since. */
	struct io_uring_cqe *cqes;
	unsigned cq_head;
	unsigned cq_end;
	unsigned cq_mask;
	unsigned enter_flags; /* of every enter that collects completions */
	int enter_fd;         /* the ring's descriptor, or its index: ring-fd */
	unsigned fd_flags;    /* which of the two: of every enter */

	/* What is in effect, as far as the way of a request has to know it. All of it is in io.features. */
	bool odd_recv;    /* a receive that has completed takes more thought, for one of these: */
	bool polls;       /* recv=poll */
	bool bundles;     /* recv-bundle */
	bool inc;         /* buf-inc */
	bool odd_send;    /* a send takes more thought, for files=direct, zc=on or this: */
	bool send_inline; /* send=inline */
	bool send_vec;    /* send-vec */
	bool sqpoll;      /* sqpoll */
	bool odd_wait;    /* sqpoll, or wait=N: entering takes more thought */
	uint8_t direct;   /* files=direct */
	uint16_t accepts; /* sqe.ioprio of an accept on a socket of this worker alone */
	unsigned wait;    /* completions that end a wait */
	unsigned wait_usec;
	bool zc;                         /* zc=on, zc=fixed */
	size_t zc_min;                   /* the least bytes of a piece that is sent so; SIZE_MAX: none is */
	unsigned inlines;                /* sends by send(2) that are left until the next wait, */
	unsigned inline_turn;            /* since cq_end was this */
	struct uring_receive receive[2]; /* by whether it is a multishot */

	unsigned singles;    /* buffers of the first group */
	unsigned scarce;     /* so many shared ones held are many */
	unsigned buf_size;   /* of each, in bytes */
	unsigned buf_stride; /* from one to the next: see uring_map_buffers() */
	uint8_t *buffers;
	struct uring_group group[URING_GROUPS];
	struct io_uring_buf_ring no_ring;
	struct uring_held *held; /* one a buffer */
	unsigned held_count;     /* buffers held, of all connections */
	int lent;                /* the buffer that the caller reads, or -1 */

	struct conn_queue ready;   /* have a credit and something held, or were closed while they had */
	struct conn_queue parked;  /* have a credit and found no buffer */
	struct conn_queue bulk;    /* go on with a send, and have no credit */
	struct io_listener *swept; /* off, nothing armed: what is in the backlog, then IO_UNLISTENED */
	unsigned sweeps;           /* of the first of them */
	int accepted;              /* the last descriptor that IO_ACCEPT told, which io_open() knows to be blocking */
	bool accepted_coarse;      /* and what kind it is: io_conn's CONN_COARSE */
	bool multishot;            /* receives may be multishots */
	struct uring_message *message; /* one for each entry of the submission queue */
	uint8_t *scratch;              /* with recv=poll: what recv(2) receives into */

	/* With zc=on and zc=fixed; of the latter alone the memory that the kernel knows, as its buffer 0. */
	struct iovec registered;
	struct uring_lent *lents;
	uint16_t lent_free;  /* the first that is free: index plus 1; 0: none */
	unsigned zc_copied;  /* notifications in a row that said so */
	unsigned zc_skipped; /* sends since it was turned off */
	unsigned table;      /* entries of the table of registered files */

	/* With io_config.files. */
	struct file_sender sender;
	struct file_queue cold;     /* sends that wait for one of these */
	void *read_to[URING_READS]; /* buffers that no read is using */
	unsigned reads_free;
	uint8_t *read_memory;

	unsigned open; /* connections */
	unsigned conns;
	int broken; /* 0, or the -errno that io_wait() returns from now on */
	int wake_fd;
	bool wake_armed;
	uint64_t wake_value; /* where the ring reads the eventfd to */

	size_t memory_size; /* of buffers, and the rings of both groups behind them */
	struct io_uring ring;
};

/* io.figures */
enum uring_figure {
	URING_ENTERS,
	URING_SUBMISSIONS,
	URING_COMPLETIONS,
	URING_NO_BUFFERS,
	URING_OVERFLOWS,
	URING_INLINE_SENDS,
	URING_ZC_SENDS,
	URING_ZC_COPIED,
	URING_SPLICED,
};

static inline struct uring *uring_of(struct io *io)
{
	return (struct uring *)io;
}

/* user_data: the object's address, above it 16 bits of generation, below it one of these. */
enum uring_op {
	URING_RECV,
	URING_SEND, /* or what a send of a file waits for */
	URING_CLOSE,
	URING_CANCEL_RECV,
	URING_ACCEPT,
	URING_CANCEL_ACCEPT,
	URING_WAKE,                  /* without an address; with one: */
	URING_LENT = URING_WAKE,     /* of a struct uring_lent: a send without a copy, and its notification */
	URING_REGISTER,              /* a connection's descriptor was put into the table */
	URING_TEST = URING_REGISTER, /* the self-test's, which never meets a connection */
};

/* io_conn.flags */
enum {
	CONN_OPEN = 1 << 0,
	CONN_CREDIT = 1 << 1,     /* an IO_RECV is due */
	CONN_ARMED = 1 << 2,      /* a receive is submitted, or about to be */
	CONN_SHARED = 1 << 3,     /* that receive is a multishot, on the shared buffers */
	CONN_AGAIN = 1 << 4,      /* it is not the first one: may be a multishot */
	CONN_CANCELLING = 1 << 5, /* its cancellation has not completed */
	CONN_PARKED = 1 << 6,     /* on the list of those without a buffer */
	CONN_READY = 1 << 7,      /* on the list of those with something held */
	CONN_ENDED = 1 << 8,      /* the end or an error was received, it is in result */
	CONN_SENDING = 1 << 9,    /* an IO_SENT is due */
	CONN_CLOSING = 1 << 10,
	CONN_TOLD = 1 << 11,   /* of the end or error: no credit may follow */
	CONN_COARSE = 1 << 12, /* the kernel does not count what the peer has taken */
	CONN_FILE = 1 << 13,   /* the send in flight is of io_send_file(): files, not iov */
	CONN_WAITS = 1 << 14,  /* it stands in a queue, the sender's or cold */
	CONN_BULK = 1 << 15,   /* on the list of those that go on with a send */
	CONN_DIRECT = 1 << 16, /* its descriptor is in the table, at the index of the same number */
	CONN_SENT = 1 << 17,   /* all was sent by send(2): an IO_SENT waits on the list of those that are ready */
	CONN_COPIES = 1 << 18, /* its socket does not send without a copy */
};

/* The flag of a submission that has such a connection's descriptor. */
static inline uint8_t uring_fixed(const struct io_conn *conn)
{
	_Static_assert(IOSQE_FIXED_FILE == 1, "so a shift will do");
	return conn->flags / CONN_DIRECT & 1;
}

#define URING_OP_MASK      UINT64_C(7)
#define URING_ADDRESS_BITS 48
#define URING_ADDRESS_MASK ((UINT64_C(1) << URING_ADDRESS_BITS) - 1 - URING_OP_MASK)

_Static_assert(_Alignof(struct io_conn) > URING_OP_MASK && _Alignof(struct io_listener) > URING_OP_MASK,
               "an operation fits below an address");

/* Makes room in a full submission queue. Always succeeds; see its definition. */
void uring_make_room(struct uring *uring);

/* Hands over what is queued, and waits for nothing. What the kernel does not take now, the next wait hands over. */
void uring_submit(struct uring *uring);

/*
 * The next submission entry, to be written in full by the caller. Entries are submitted in order by the next enter.
 */
static inline struct io_uring_sqe *uring_sqe(struct uring *uring)
{
	if (__builtin_expect(uring->sq_tail - uring->sq_head == uring->sq_entries, 0))
		uring_make_room(uring);
	return &uring->sqes[uring->sq_tail++ & uring->sq_mask];
}

static inline uint64_t uring_conn_data(const struct io_conn *conn, enum uring_op op)
{
	return (uint64_t)conn->generation << URING_ADDRESS_BITS | (uintptr_t)conn | op;
}

/* Cancels the operation that has the user_data which. */
static inline void uring_cancel(struct uring *uring, uint64_t which, uint64_t user_data)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_ASYNC_CANCEL,
		.fd = -1,
		.addr = which,
		.user_data = user_data,
	};
}

static inline bool uring_completed(const struct uring *uring)
{
	return io_uring_smp_load_acquire(uring->ring.cq.ktail) != uring->cq_head;
}

/* Frees a completion entry that has been copied. */
static inline void uring_seen(struct uring *uring)
{
	io_uring_smp_store_release(uring->ring.cq.khead, ++uring->cq_head);
}

static inline uint8_t *uring_buffer(const struct uring *uring, unsigned index)
{
	return uring->buffers + (size_t)index * uring->buf_stride;
}

/* Gives a buffer back to the kernel, which sees it when uring_publish() has been called. */
static inline void uring_give_back(struct uring *uring, unsigned index)
{
	struct uring_group *group = &uring->group[index < uring->singles ? URING_SINGLE : URING_SHARED];
	struct io_uring_buf *buf = &group->ring->bufs[group->tail & group->mask];

	if (__builtin_expect(uring->bundles, 0))
		uring->held[index].slot = group->tail;
	group->tail++;
	buf->addr = (uintptr_t)uring_buffer(uring, index);
	buf->len = uring->buf_size;
	buf->bid = index;
}

/* The loan of the last IO_RECV ends. */
static inline void uring_take_back(struct uring *uring)
{
	if (uring->lent >= 0) {
		uring_give_back(uring, uring->lent);
		uring->lent = -1;
	}
}

static inline void uring_publish(struct uring *uring)
{
	for (unsigned i = 0; i < URING_GROUPS; i++)
		io_uring_smp_store_release(&uring->group[i].ring->tail, uring->group[i].tail);
}

/*
 * One io_uring_enter: submits what is queued, waits for at least want completions, collects those that are there.
 * timeout_ms as for io_wait(). 0, or -errno as the kernel says it (-ETIME, -EINTR ...).
 */
int uring_enter(struct uring *uring, unsigned want, int timeout_ms);

/* uring_conn.c: the operations of io.h on connections. */
void uring_open(struct io *io, struct io_conn *conn, int fd);
void uring_recv(struct io *io, struct io_conn *conn);
void uring_shutdown(struct io *io, struct io_conn *conn);
void uring_close(struct io *io, struct io_conn *conn);
uint64_t uring_progress(struct io *io, struct io_conn *conn);

/*
 * uring_zc.c. uring_send_is_fixed(): whether what is to be sent is one piece of registered memory, with zc=fixed, and long
 * enough. uring_send_zc(): submits what is first to send without a copy; false when that is not the way for it.
 * uring_still_lent(): a send is over: the struct io_lent whose memory the kernel still reads, or NULL.
 */
bool uring_send_is_fixed(const struct uring *uring, const struct io_conn *conn);
bool uring_send_zc(struct uring *uring, struct io_conn *conn);
const void *uring_still_lent(struct uring *uring, struct io_conn *conn);
int uring_zc_create(struct uring *uring);

/* Handles a completion of a connection. True when it made an event. */
bool uring_conn_complete(struct uring *uring, uint64_t data, int res, unsigned flags, struct io_event *event);

/* A send without a copy has gone as far as it goes, or the kernel has done with its memory. True when it made an event. */
bool uring_lent_complete(struct uring *uring, struct uring_lent *lent, int res, unsigned flags, struct io_event *event);

/* Puts it at the end of uring->ready, unless it is there. */
void uring_make_ready(struct uring *uring, struct io_conn *conn);

/* Takes the first of uring->ready. False when it was closed since, and there is no event. */
bool uring_conn_ready(struct uring *uring, struct io_event *event);

/* Lets those on uring->parked try again. Before a wait. */
void uring_conn_unpark(struct uring *uring);

/* Closes the descriptor of a connection that is closing, once nothing refers to it. */
void uring_settle(struct uring *uring, struct io_conn *conn);

/* uring_send.c: the operation of io.h. */
void uring_send(struct io *io, struct io_conn *conn, struct iovec *iov, unsigned n);

/* A piece has been sent: with so many bytes, or -errno. True when that made an event. And the same without a copy. */
bool uring_sent(struct uring *uring, struct io_conn *conn, int res, struct io_event *event);
bool uring_sent_zc(struct uring *uring, struct io_conn *conn, int res, struct io_event *event);

/* Takes sent bytes off the front of what a connection is to send; there are so many. */
void uring_advance(struct io_conn *conn, size_t taken);

/* One of uring->bulk gets a credit, and may have to stand in another queue: it goes on with its send at once. */
void uring_leave_bulk(struct uring *uring, struct io_conn *conn);

/* Lets sends of uring->bulk go on, within their budget. Before a wait. */
void uring_go_on(struct uring *uring);

/*
 * uring_file.c. uring_files_create(): with io_config.files; 0 or -errno. uring_files_destroy() copes with what was
 * not created. uring_file_turn(): a turn of the send that waits longest, if the budget allows it; false when it does
 * not, or none waits; event->conn is NULL if the turn made none. uring_file_complete(): what a send of a file has
 * waited for; true when that made an event.
 */
int uring_files_create(struct uring *uring);
void uring_files_destroy(struct uring *uring);
void uring_send_file(struct io *io, struct io_conn *conn, struct io_file_send *send);
bool uring_file_turn(struct uring *uring, struct io_event *event);
bool uring_file_complete(struct uring *uring, struct io_conn *conn, int res, struct io_event *event);

/*
 * uring_setup.c. Sets up and tests a ring on the calling thread. 0, or -errno with a line in why. uring_destroy()
 * undoes it, on the same thread, and copes with a ring that is half set up.
 */
int uring_create(struct io **io, const struct io_config *config, char *why, size_t size);
void uring_destroy(struct io *io);
int uring_probe(const struct features *features, char *why, size_t size);
void uring_describe(struct io *io, char *text, size_t size);

/* The system call io_uring_register: 0 or what it returns, or -errno. */
int uring_register(const struct uring *uring, unsigned opcode, void *argument, unsigned n);

/*
 * uring_features.c. uring_resolve(): what follows from what was asked for, and what does not go together: 0, or -EINVAL
 * with a line in why. uring_adopt(): brings the struct into line with io.features, once the ring is there.
 * uring_register_features(): what is registered with it, 0 or -errno with *what that failed.
 */
int uring_resolve(struct uring_features *uring, const struct features *asked, char *why, size_t size);
void uring_adopt(struct uring *uring);
int uring_register_features(struct uring *uring, const char **what);

/* uring_contain.c. Limits the ring to what is in effect, and enables it. 0 or -errno. */
int uring_contain(struct uring *uring, bool files, bool sealed);

/* uring_test.c. Tries each operation that serving needs, as serving will use it. 0, or -errno with *what that failed. */
int uring_self_test(struct uring *uring, const char **what);

/* Awaits a completion: 0 with *cqe a copy, or -errno. */
int uring_test_wait(struct uring *uring, struct io_uring_cqe *cqe);

#endif
