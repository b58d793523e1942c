/*
 * client.h - a simulated client: plays a script (script.h) over a stream (sim.h), in its own time, and judges every
 * byte that comes back. It knows which answers are right at each moment, and when the server may end the connection;
 * anything else ends the program with sim_fail().
 */
#ifndef LOOM_SIM_CLIENT_H
#define LOOM_SIM_CLIENT_H

#include "loom/options.h"
#include "script.h"
#include "sim.h"
#include "site.h"

#define VERSIONS_MAX 4

/* What all clients of a world know: the server's promises, and what the publisher and the operator have done. */
struct client_world {
	struct sim *sim;
	int listening;
	const struct options *options;
	time_t epoch;     /* the real time when the world's clock was 0 */
	unsigned newest;  /* version published last */
	uint64_t drained; /* when draining began; 0: not yet */
	bool yielding;    /* by WORKER_YIELD, or after WORKER_LAME_DUCK: idle clients may ask once more */
	uint64_t aborted; /* when the server was told to close everything */
	bool prompt;      /* there are slots for all, and accepting never fails: the server is quick */
	bool crowded;     /* more may be accepted than there is any room for: some are turned away */
	bool refuses;     /* and some get 503 */
	const struct snapshot *reference[VERSIONS_MAX + 1]; /* copies that the server knows nothing of */
};

enum client_phase {
	CLIENT_WAITING, /* for its time to connect */
	CLIENT_TALKING,
	CLIENT_LINGERING, /* told that all is over, and does not care */
	CLIENT_DONE,
};

struct client {
	struct client_world *world;
	struct script script;
	enum client_phase phase;
	uint64_t dice;
	struct sim_stream *stream;
	uint64_t connect_at;

	/* writing */
	uint64_t write_at;
	size_t written;
	size_t write_most;  /* bytes at a time */
	unsigned write_gap; /* milliseconds between two writes, at most */
	unsigned depth;     /* requests that may be unanswered at a time */
	bool finished;      /* the FIN is sent */
	uint64_t wrote_at;  /* the last byte, or the connection itself */

	/* reading */
	uint64_t read_at;
	size_t read_most; /* bytes until the next pause */
	unsigned read_gap;
	size_t quantum;
	size_t buffer;     /* SO_RCVBUF; 0: the world's choice */
	unsigned answered; /* exchanges that have their whole answer */
	size_t at;         /* bytes of the next answer that are there */
	uint64_t possible; /* what it may be: see client.c */
	uint64_t began_at; /* its first byte */
	char date[32];     /* its Date */
	unsigned seen;     /* the oldest version that may come */
	bool deaf;         /* will not mind the server's FIN */
	uint64_t ended_at;
	bool ending;   /* the last answer said that there is no other */
	bool too_slow; /* a 408 came before --header-timeout: --min-recv-rate */
	bool refused;  /* it was the 503 that comes unasked */
	uint64_t answered_at;

	uint64_t end_at;    /* for the tails that end some time; 0: not set */
	size_t stuck_after; /* bytes */
	uint64_t stuck_at;
	size_t received;
	unsigned hits; /* answers of pages */
	char *record;  /* everything received, dates blanked; NULL: not wanted */
};

/*
 * A client of the world, who connects at the time. The script is of the one seed, and how it is played of the other.
 */
void client_init(struct client *client, struct client_world *world, uint64_t script_seed, uint64_t play_seed,
                 enum script_tail tail, uint64_t connect_at);
void client_fini(struct client *client);

/* Does what there is to do now. The next time to be called, or SIM_NEVER when that depends on the server. */
uint64_t client_act(struct client *client);

#endif
