/*
 * run.h - one simulated run: a server, its clients, what happens to them, and what must hold at each moment. Private to
 * the simulator's own files:
 *   plan.c    from a seed to all that is going to happen, and how to leave parts of it out
 *   player.c  the clients' ends of their streams: connect, write, read, leave
 *   oracle.c  the server's end of each, as docs/ and io.h say that it must behave: a second state machine, fed by the
 *             seam's crossings, which knows at each of them what may come next and what must
 *   judge.c   the bytes, as the server hands them over and as they reach the client
 *   inside.c  what is to be seen in the server's own memory between two turns
 *   simulate.c  the run itself, and the command line
 */
#ifndef LOOM_SIM_RUN_H
#define LOOM_SIM_RUN_H

#include "loom/worker.h"
#include "plan.h"
#include "sim.h"
#include "talk.h"

/* In the server's eyes. */
enum life_state {
	LIFE_OUT,     /* not connected, or in the backlog */
	LIFE_WAITING, /* accepted, and has no connection yet */
	LIFE_PROXY,   /* before a PROXY header is whole */
	LIFE_IDLE,    /* between requests */
	LIFE_READING, /* a request has begun to arrive */
	LIFE_SENDING,
	LIFE_LINGERING, /* a FIN is sent, what still comes is thrown away */
	LIFE_CLOSING,
	LIFE_OVER,
};

/* As wheel.h says: looked at when its tick comes round, and raised without being moved. */
struct timer {
	uint64_t deadline, tick;
	bool linked;
};

enum play_phase {
	PLAY_AWAY, /* before its time */
	PLAY_ON,
	PLAY_LINGERING, /* told that all is over, and does not care */
	PLAY_DONE,
};

/* A client's end: player.c. */
struct play {
	enum play_phase phase;
	uint64_t dice;
	uint64_t next; /* there is nothing to do before, unless the stream stirs */
	uint64_t write_at, read_at, end_at;
	uint32_t written;
	bool finished; /* the FIN is sent */
	uint64_t stuck_until;
	size_t quantum;
	uint64_t noise_until;
};

struct life {
	struct run *run;
	unsigned number;
	const struct plan_client *plan;
	struct talk talk;
	struct sim_stream *stream; /* the client's end; NULL before and after */
	struct play play;

	/* oracle.c */
	enum life_state state;
	struct timer timer;
	uint32_t delivered; /* of talk.bytes */
	unsigned answered;  /* exchanges that have their answer, or the beginning of it */
	unsigned answers;   /* all of them, 503 and 408 too */
	bool fresh;         /* opened in this very event */
	bool credit, in_flight, failed, ended;
	bool last;     /* no answer follows */
	bool lingers;  /* and then the client may still be sending */
	bool more;     /* the answer goes on with the next send */
	bool started;  /* its first request has begun */
	bool refused;  /* 503, unasked */
	bool must_end; /* draining has found it idle */
	bool slow;     /* its time is up */
	bool cut;      /* not all that was handed over has left */
	bool abrupt;   /* closed though the client may have been sending */
	uint64_t request_until;
	uint32_t window_from; /* delivered, when its rate was last looked at */
	uint64_t submitted;   /* bytes of all sends */
	uint64_t sending;     /* of the one in flight */
	bool measured;        /* progress_base, at the end of a window */
	uint64_t progress, progress_base;

	/* judge.c */
	struct exchange unasked; /* of the 503 */
	struct answer wire;      /* that is being handed over */
	uint64_t wire_at;        /* bytes of it so far */
	struct answer own;       /* that the client is reading */
	uint64_t own_at;
	unsigned own_answers;
	uint64_t received;
};

/* What was published, one after another. */
struct publication {
	struct snapshot *snapshot; /* NULL: freed */
	unsigned version;
	bool returned;
};

#define NAMES_MAX 16 /* of clients: PLAN_ADDRESSES by the kernel, and then those of talk_headers by their number */

struct run_counts {
	uint64_t answers[6], named[NAMES_MAX], bytes, hits, timeouts, accepted, refused, turned_away, accept_failures,
		untrusted, unproxied;
};

struct run {
	const struct plan *plan;
	struct sim *sim;
	struct worker *worker;
	struct options options;
	struct worker_settings settings[PLAN_EVENTS + 1]; /* that were ever given */
	unsigned given, adopted;                          /* the last, and the one in effect */
	struct snapshot_inbox inbox;
	struct publication publication[PLAN_EVENTS + 1];
	unsigned newest; /* that was published last */
	unsigned oldest; /* that is not freed */
	unsigned best;   /* the highest version that was ever published */
	int listening;
	int64_t wall; /* seconds: what the real clock says when the monotonic one is 0 */
	struct peer_count *peers;
	struct access_bell bell;
	struct access_ring ring;
	uint64_t dice;
	uint64_t start;
	unsigned next_event;
	struct life *life;
	unsigned lives, first, begun; /* those before first are over; those from begun on have not connected yet */
	bool quiet;                   /* no client is left, and nothing will happen */
	uint64_t quiet_since;
	uint64_t turns, moves; /* of the loop; of all outside of it */
	uint64_t noticed;      /* when there was something to say to people; 0: never */

	/* oracle.c */
	uint64_t now;
	time_t real;
	unsigned current; /* publication */
	bool may_be_newest;
	enum worker_command commanded, obeyed;
	struct timer drain_end, pause;
	uint64_t unsettled_until; /* timers up to then may have been set under other settings */
	struct life *handling;
	int handling_op; /* enum io_op; -1: nothing is being handled */
	enum { EXPECT_NOTHING, EXPECT_ADMITTED, EXPECT_QUEUED, EXPECT_TURNED_AWAY, EXPECT_CLOSED } expected;
	struct life *queue[PLAN_CLIENTS];
	unsigned queue_first, queued;
	unsigned open, refusing;
	unsigned address_open[PLAN_ADDRESSES];
	struct run_counts counts;
	struct {
		uint64_t answers[6], named[NAMES_MAX], least, most, records;
	} logged;
};

#define run_require(run, condition, ...) sim_require((run)->sim, condition, __VA_ARGS__)

/* plan.c's, of all seeds; talk.h */
static inline const struct worker_settings *run_settings(const struct run *run)
{
	return &run->settings[run->adopted];
}

/* oracle.c */
extern const struct sim_watch oracle_watch; /* its context is the run */

/* Whether a timer is looked at now, and its time has come. */
bool timer_fires(const struct timer *timer, uint64_t now);
void timer_set(struct timer *timer, uint64_t deadline);

/* Whether a request of which not all is there has had its time. */
bool oracle_is_late(const struct life *life);

/* judge.c */

/* The server hands these over. Judges them, and learns which exchanges they answer. */
void judge_send(struct life *life, const struct iovec *iov, unsigned n, const struct io_file_send *file);

/* The client reads these. */
void judge_read(struct life *life, const char *bytes, size_t len);

/* The client finds the connection ended. */
void judge_end(struct life *life, bool reset);

/* inside.c */
void inside_check(struct run *run);
/* What is sent is memory of the output's own, or of the snapshot that is pinned for it. */
void inside_check_send(struct run *run, struct sim_stream *stream, const struct iovec *iov, unsigned n,
                       const struct io_file_send *file);
void inside_take_records(struct run *run);
void inside_check_end(struct run *run);

/* player.c */

/* The next time to be called, or SIM_NEVER when that depends on the server. */
uint64_t player_act(struct life *life);

/* simulate.c */
void run_between(struct run *run);

#endif
