/*
 * script.h - what one simulated client sends, request after request, and for each what it asks for: a model of HTTP's
 * requests (RFC 9110, RFC 9112) that knows nothing of how loom reads them.
 */
#ifndef LOOM_SIM_SCRIPT_H
#define LOOM_SIM_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"
#include "site.h"

/* How a client's part ends, after what it has to ask. */
enum script_tail {
	TAIL_HANG_UP,     /* close(2) when the last answer is there */
	TAIL_FINISH,      /* a FIN right behind the last request; answers are still read */
	TAIL_IDLE,        /* nothing: the server gets tired of it */
	TAIL_CLOSES,      /* the last request says or means that the connection closes, or is refused with that */
	TAIL_HALF,        /* the last request is never finished */
	TAIL_HALF_FINISH, /* the same, and then a FIN */
	TAIL_STUCK,       /* stops reading, some time */
	TAIL_RESET,       /* a reset, some time */
	TAIL_VANISH,      /* close(2), some time */
	SCRIPT_TAILS,
};

struct exchange {
	size_t start, end; /* of the request in script.bytes */
	size_t blank;      /* bytes of an empty line that it starts with */
	struct site_question question;
	bool closes;     /* the answer ends the connection */
	bool early;      /* the answer may come before the request is whole */
	uint64_t begun;  /* when its first byte was written; 0: not yet */
	uint64_t done;   /* when its last byte was written */
	unsigned oldest; /* the oldest version that may answer it */
};

struct script {
	char *bytes;
	size_t len;
	size_t size;
	struct exchange *exchange;
	unsigned n;
	enum script_tail tail;
};

/* Most kinds of requests at random, of the dice; large: answers that take long may be asked for. */
void script_make(struct script *script, uint64_t *dice, const struct limits *limits, enum script_tail tail, bool large);
void script_free(struct script *script);

#endif
