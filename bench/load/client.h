/*
 * client.h - the connections of the load generator: some are active, the others idle after one answer each. One thread, one
 * edge-triggered epoll instance. It owns all connections from client_open() to client_close().
 *
 * A round trip is a batch of `depth` requests, sent at once on one connection that has nothing outstanding. Flat out, every
 * active connection sends its next batch when the last answer has come. At a fixed rate batches are due by a schedule, go to
 * the connection that has been free for the longest time, and wait when there is none; latency counts from when they were due.
 */
#ifndef LOOM_BENCH_LOAD_CLIENT_H
#define LOOM_BENCH_LOAD_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

#define DEPTH_MAX   64
#define REQUEST_MAX 4096

struct client_options {
	struct sockaddr_in address;
	const char *path;
	const char *fields;   /* field lines beyond Host, each ended by CRLF */
	unsigned connections; /* all of them */
	unsigned active;      /* of these */
	unsigned depth;       /* requests a batch, 1 to DEPTH_MAX */
	bool close;           /* the active ones are opened anew for each request; depth is 1 then */
	bool spin;            /* never sleep: a wake-up costs more than a short answer */
	uint64_t seed;        /* of the gaps at a fixed rate; 0: even */
};

struct client_result {
	uint64_t answered;        /* in the time of the run */
	uint64_t late;            /* after it: sent or due in it, answered within the time that the end waits for */
	uint64_t unanswered;      /* due in it and not answered at all; latencies hold how long they had waited */
	uint64_t bytes;           /* received, heads included */
	uint64_t bad;             /* answers of another status than 200 and 304, or unreadable */
	uint64_t broken;          /* connections that ended where they should not, or could not be made */
	uint64_t idle_lost;       /* idle connections that are no more */
	uint64_t ns;              /* the run, without its end */
	uint64_t cpu_ns;          /* of this thread */
	struct latencies latency; /* a request: from when it was due (fixed rate) or sent (flat out) to its last byte */
	struct latencies delay;   /* a batch at a fixed rate: from when it was due to when it was sent */
};

/* Opens all connections and has one answer of each, in batches small enough for any backlog. Ends the process when it cannot. */
struct client *client_open(const struct client_options *options);

/* Runs for so many seconds; rate: requests a second, or 0 for flat out. The connections stay open. */
void client_run(struct client *client, double seconds, double rate, struct client_result *result);

void client_close(struct client *client);

/* Says what failed, with errno's text, and ends the process. */
_Noreturn void client_die(const char *what, int error);

#endif
