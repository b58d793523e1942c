/*
 * party.h - clients of the fixed scenario: each says its lines, and knows what it must hear. All of them run on the driver's
 * thread, a step at a time, between two turns of the worker.
 */
#ifndef LOOM_TESTS_PARTY_H
#define LOOM_TESTS_PARTY_H

#include <stdbool.h>
#include <stddef.h>

#define PARTY_HEARS (1400 * 1024) /* the most that one hears */

enum step_op {
	STEP_END,   /* closes */
	STEP_SAY,   /* text */
	STEP_HEAR,  /* until so many answers are whole, all in all */
	STEP_TAKE,  /* until so many bytes have come */
	STEP_REST,  /* so many of its turns */
	STEP_SULK,  /* until it was idle so often */
	STEP_FIN,   /* says that it has no more to say */
	STEP_RESET, /* ends with an RST */
	STEP_AWAIT, /* the end by the server */
};

struct step {
	enum step_op op;
	unsigned n;
	const char *text;
};

struct role {
	const char *name;
	bool local;      /* by the Unix socket */
	bool narrow;     /* by the narrow port */
	bool wild;       /* goes away by itself: what it hears is anything that others may hear, from the beginning */
	bool stuck;      /* takes nothing until the server gives it up: it hears as much as has been on its way */
	bool afterwards; /* plays again when the fault is over */
	int window;      /* SO_RCVBUF, 0: the system's */
	size_t pace;     /* bytes that it reads in a turn; 0: all */
	const struct step *steps;
};

enum fate {
	FATE_PLAYS,
	FATE_WHOLE, /* heard all that it must */
	FATE_CUT,   /* heard a beginning of that, or that it was too slow, and then the end */
	FATE_WRONG, /* heard something else */
};

struct party {
	const struct role *role;
	int fd;
	unsigned at;     /* step */
	unsigned rested; /* turns */
	size_t said;     /* of the step's text */
	bool ended;      /* by the server */
	bool done;
	size_t heard;
	size_t parsed; /* whole answers end here */
	unsigned answers;
	char *bytes;
};

/* By which the parties find the server. */
struct venue {
	unsigned short port;        /* of 127.0.0.1 */
	unsigned short narrow_port; /* likewise, of sockets that take little at a time */
	const char *path;
};

extern const struct role roles_serve[]; /* ended by one without a name; likewise */
extern const struct role roles_drain[];

unsigned roles_count(const struct role *roles);

void party_begin(struct party *party, const struct role *role, const struct venue *venue, char *bytes);

/* One turn. True when something has happened. */
bool party_step(struct party *party);
void party_leave(struct party *party);

/* What has become of it, by what it heard in the run that nothing disturbed. */
enum fate party_fate(const struct party *party, const struct party *model);

#endif
