/*
 * conn.h - THE connection state machine: what becomes of one client, from accept to close, on any backend.
 *
 *               bytes, a request is whole             all sent, nothing more to answer
 *    IDLE ---------------------------------> SENDING ----------------------------------> IDLE
 *      \  bytes, more to come          whole ^     \ all sent, a request is half read
 *       `------------------> READING -------'       `------------------------------> READING
 *
 *    SENDING, after the last answer: io_close(), or LINGERING until the client has read it -> CLOSING -> gone
 *    any state, on an error, the peer's end or a deadline: CLOSING
 *
 *    On a listener with proxy=on a connection begins as PROXY, and is IDLE when the PROXY header is whole.
 *
 * One function per event, one switch over the state. No allocation, no clock, and no system call of its own but for
 * getpeername(2), when a client's address is asked for: the worker lends everything through struct conn_context. All on
 * the worker's thread.
 *
 * Memory: an idle connection is 128 bytes. A request that arrives whole is read and answered where the backend put
 * it; only a remainder (half a request, or requests that wait for an answer to be sent) is copied to an input buffer.
 * Answers are gathered in an output buffer until they are sent. Both come from pools as large as the pool of
 * connections, so that there is nothing to wait for. A body that lies in a file stays there: io_send_file().
 */
#ifndef LOOM_CONN_H
#define LOOM_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "loom/access_ring.h"
#include "loom/io.h"
#include "loom/options.h"
#include "loom/peer.h"
#include "loom/pool.h"
#include "loom/request.h"
#include "loom/response.h"
#include "loom/snapshot.h"
#include "loom/stats.h"
#include "loom/wheel.h"

/*
 * How long a connection that we end may go on sending, until we stop listening to it; and for how long when it was idle,
 * or while draining. Milliseconds.
 */
#define CONN_LINGER_MS       5000
#define CONN_LINGER_BRIEF_MS 1000

/*
 * While draining, a connection that has not begun its first request yet is given so long; and one whose answer was under
 * way, and did not say that it is the last, for the next request. Milliseconds.
 */
#define CONN_DRAIN_FIRST_MS 1000
#define CONN_DRAIN_NEXT_MS  1000

enum conn_state {
	CONN_FREE,      /* in the pool */
	CONN_PROXY,     /* before a PROXY header is whole; its bytes so far are in input */
	CONN_IDLE,      /* between requests; nothing is owned but these 128 bytes */
	CONN_READING,   /* a request has begun to arrive; its bytes so far are in input */
	CONN_SENDING,   /* answers are on their way; input may hold what is to be read after them */
	CONN_LINGERING, /* our FIN is sent; what still comes is thrown away, so that no reset overtakes the answer */
	CONN_CLOSING,   /* waiting for IO_CLOSED */
};

#define CONN_STATES (CONN_CLOSING + 1)

struct conn {
	struct io_conn io; /* first: the completion is the connection */
	struct wheel_node timer;
	struct input *input;       /* NULL most of the time */
	struct output *output;     /* NULL unless SENDING */
	struct snapshot *snapshot; /* pinned while output refers to its memory, otherwise NULL */
	uint64_t sent;             /* bytes given to io_send() and io_send_file() so far */
	uint64_t progress;         /* io_progress() that the send deadline compares with */
	uint32_t answered;         /* requests */
	uint8_t state;             /* enum conn_state */
	bool receiving : 1;        /* a credit is out */
	bool ended : 1;            /* the peer has sent its FIN */
	bool last : 1;             /* what is being sent is the last answer */
	bool linger : 1;           /* and the client may still be sending */
	bool started : 1;          /* the first request has begun */
	bool refused : 1;          /* it is only told that there is no room: conn_refuse() */
	unsigned blank : 2;        /* bytes of an empty line that have come before the next request: CR, LF */
	bool known : 1;            /* conn_peer() has been found out */
	bool measured : 1;         /* progress is what the client had then, and not what this send began behind */
};

/* What is left of a client's bytes. From a pool. */
struct input {
	struct request_parser parser;
	bool reading; /* parser is in the middle of a request that begins at bytes[0]; else bytes are yet to be read */
	uint32_t len;
	uint32_t received;           /* bytes of that request, since conn_rate.c last looked */
	uint64_t deadline;           /* of that request, absolute */
	char bytes[2 * IO_RECV_MAX]; /* a head that is almost too long, and one more receive */
};

/* What people call each enum conn_state; that of CONN_FREE is NULL. */
extern const char *const conn_state_names[CONN_STATES];

/* What a worker lends to its connections. */
struct conn_context {
	struct io *io;
	const struct limits *limits;
	const struct timeouts *timeouts;
	struct snapshot *snapshot;    /* the current one */
	struct snapshot_inbox *inbox; /* where the next one comes; NULL: none will */
	unsigned worker;              /* index, for pins */
	uint64_t splice_above;        /* longer pieces of a sealed body are sent by reference */
	uint32_t refusing;            /* connections that are being refused now */
	uint32_t lent;                /* sends whose memory the kernel still reads: each has a pin (struct io_lent) */
	uint32_t lent_outputs;        /* and some an output */
	bool lends_outputs;           /* there is io_config.registered: outputs that lie there may be lent, too */
	bool draining;
	bool unhealthy;             /* --health says so: others are to take the clients */
	bool say_snapshot;          /* in each answer: --snapshot-header */
	struct access_ring *access; /* where records for the access log go; NULL: there is none */
	uint64_t turn;            /* microseconds, monotonic: when this turn began, for the log; 0: not looked at yet */
	uint64_t now;             /* milliseconds, monotonic, as of this turn */
	uint64_t windows_until;   /* rates' windows that end up to then may have begun under other settings */
	time_t real;              /* seconds since the epoch, as of this turn */
	char date[HTTP_DATE_LEN]; /* the same as an HTTP date */
	struct wheel wheel;
	struct pool conns, inputs, outputs;
	struct peer *peers;               /* of the connections, by their index in the pool; conn_peer() */
	const struct network *proxy_from; /* whose PROXY headers are believed */
	unsigned proxy_froms;
	struct pool notes;            /* for the access log; empty without */
	struct request_parser parser; /* for requests that arrive whole */
	char scratch[IO_RECV_MAX];    /* for normalising a target */
	struct conn_stats stats;
};

/*
 * Takes the pools, for conns connections; access is set, or NULL, and lends_outputs, before. 0 or -ENOMEM. The rest of the
 * context is the worker's to fill in.
 */
int conn_context_init(struct conn_context *context, uint32_t conns);

/* The memory of those outputs that are taken first, for io_config.registered. Empty, unless outputs are lent. */
struct iovec conn_outputs(const struct conn_context *context);
void conn_context_fini(struct conn_context *context);

/* Makes the snapshot that waits in the inbox the current one, if one does. */
void conn_adopt(struct conn_context *context);

/*
 * Begins a connection on an accepted descriptor; proxy: a PROXY header must come first, within the header deadline.
 * NULL when there is no room: the descriptor is still the caller's.
 */
struct conn *conn_accept(struct conn_context *context, int fd, bool proxy);

/*
 * The same to say 503 and nothing else, whatever the client wants: it is not read from, until the answer is sent, and then
 * only so that no reset takes the answer away. Takes a connection of the pool for so long, which refusing counts. False
 * when there is none.
 */
bool conn_refuse(struct conn_context *context, int fd);

/*
 * Whether the peer of an accepted descriptor lies in the networks whose PROXY headers are believed; one that does not
 * is counted. False for one that has gone already, too. A system call.
 */
bool conn_trusts(struct conn_context *context, int fd);

/*
 * The client's address: the one that a PROXY header has named, otherwise the kernel's. The kernel is asked
 * (getpeername(2)) when this is first called for a connection, and never on accept; later calls cost nothing. The answer
 * is PEER_UNKNOWN in CONN_PROXY and in CONN_CLOSING, and for good when the first call comes after the client's reset: who
 * needs it at the end asks at the beginning. Valid until IO_CLOSED. Memory: 20 bytes aside of the connection, touched
 * only when there is a header or somebody asks.
 */
const struct peer *conn_peer(struct conn_context *context, struct conn *conn);

/* Handles IO_RECV, IO_SENT or IO_CLOSED. */
void conn_event(struct conn_context *context, const struct io_event *event);

/* Handles IO_RELEASED: the snapshot that was kept for it loses its pin. The connection may be gone. */
void conn_released(struct conn_context *context, const struct io_event *event);

/* Handles a timer that wheel_expire() has returned. */
void conn_timeout(struct conn_context *context, struct wheel_node *node);

/*
 * Draining begins (context->draining has been set): idle connections are closed, answers under way say Connection:
 * close where they can. patient: idle connections are kept for one more request, for CONN_DRAIN_NEXT_MS; so a client that
 * is about to ask is answered, and told to come again elsewhere, and does not find its connection ended.
 */
void conn_drain(struct conn_context *context, bool patient);

/* Ends every connection now. */
void conn_close_all(struct conn_context *context);

#endif
