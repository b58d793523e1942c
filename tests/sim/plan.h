/*
 * plan.h - all that is going to happen in one simulated run, made from one number: what the world is like, who connects
 * when and how they behave, and what the operator, the publisher and the machine do. Parts can be left out (a cut), so that
 * a failing run is made short; a plan and its cut are what replays it.
 */
#ifndef LOOM_SIM_PLAN_H
#define LOOM_SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "loom/worker.h"
#include "sim.h"
#include "talk.h"

#define PLAN_CLIENTS   64
#define PLAN_EVENTS    12
#define PLAN_ADDRESSES 4

/* How a client leaves when it has said all. */
enum plan_tail {
	TAIL_HANG_UP, /* close(2) when the last answer is there */
	TAIL_FINISH,  /* a FIN right behind the last request; answers are still read */
	TAIL_WAIT,    /* not at all: the server gets tired of it */
	TAIL_STUCK,   /* stops reading for a while, or for good */
	TAIL_RESET,   /* a reset, some time */
	TAIL_VANISH,  /* close(2), some time */
	PLAN_TAILS,
};

struct plan_client {
	bool gone; /* cut */
	uint64_t connect_at;
	uint64_t talk_seed, play_seed;
	enum talk_end end;
	unsigned requests;
	bool large;
	bool skewed; /* asks for what is new, or old */
	enum plan_tail tail;
	unsigned address;
	unsigned header;     /* of talk_headers, where one must come */
	bool stranger;       /* whose header nobody would believe */
	unsigned depth;      /* requests that may be unanswered at a time */
	unsigned write_most; /* bytes at a time */
	unsigned write_gap;  /* milliseconds between two writes, at most */
	unsigned read_most, read_gap;
	unsigned slow_until; /* that, up to so many bytes; 0: to the end */
	unsigned buffer;     /* SO_RCVBUF; 0: the world's choice */
	unsigned leave_after, stuck_after;
	uint64_t stuck_for;
	unsigned deaf_for; /* goes on when it was told that all is over */
};

enum plan_event_kind {
	EVENT_PUBLISH,  /* version; between: in the middle of a turn */
	EVENT_COMMAND,  /* to drain, to yield, to abort */
	EVENT_SETTINGS, /* live ones change */
	EVENT_JUMP,     /* the machine stands still for so long */
	EVENT_WALL,     /* the real clock is set, by so many seconds */
	EVENT_STARVE,   /* there are no receive buffers for so long */
	EVENT_EXHAUST,  /* nor descriptors */
	EVENT_RECOVER,  /* there are again */
	PLAN_EVENT_KINDS,
};

struct plan_event {
	bool gone;
	uint64_t at;
	enum plan_event_kind kind;
	bool between;
	int64_t value;
	struct worker_settings settings;
};

/* What of the weather can be left out, one by one. */
#define PLAN_KNOBS 11

struct plan {
	uint64_t seed, sim_seed, dice;
	struct sim_weather weather;
	unsigned conns, per_address;
	enum when_full when_full;
	bool log;
	bool proxy; /* connections begin with a PROXY header */
	struct worker_settings settings;
	unsigned clients, events;
	struct plan_client client[PLAN_CLIENTS]; /* in the order in which they connect */
	struct plan_event event[PLAN_EVENTS];    /* in the order of their times */
};

void plan_make(struct plan *plan, uint64_t seed);

/* What a client says. */
void plan_talk(const struct plan *plan, unsigned client, struct talk *talk);

/*
 * Leaves parts out. cut: names of parts with commas between: "c3" the fourth client, "c4-9" six more; "r3:1" all but one of
 * its requests; "p3" how it plays: at once, whole; "e2" the third event; "w4" a knob of the weather. False: no such cut.
 */
bool plan_cut(struct plan *plan, const char *cut);

/* As people read it. */
void plan_print(const struct plan *plan);

#endif
