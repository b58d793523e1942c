/*
 * judge.h - reads answers, however they are cut up, and says whether each is what its request must get: status, head,
 * and every byte of the body, compared with what was written. Pure but for memory for bodies whose ETag is new.
 */
#ifndef LOOM_SOAK_JUDGE_H
#define LOOM_SOAK_JUDGE_H

#include "site.h"

#define JUDGE_RANGES 3

enum ask_how {
	ASK_PLAIN,
	ASK_MATCH,    /* If-None-Match */
	ASK_SINCE,    /* If-Modified-Since */
	ASK_RANGE,    /* Range with one */
	ASK_IF_RANGE, /* and with If-Range */
	ASK_RANGES,   /* with several, far enough from each other that they are not joined */
	ASK_BEYOND,   /* one that begins behind the end of every version */
	ASK_HOWS,
};

/* A request that is to be answered. */
struct ask {
	unsigned file;
	bool head;       /* its method, otherwise GET */
	bool close;      /* it said Connection: close */
	bool draining;   /* an upgrade was under way when it was sent */
	unsigned coding; /* a bit for each that it accepts beside identity */
	enum ask_how how;
	const struct site_tag *tag; /* of the condition */
	unsigned ranges;
	uint64_t first[JUDGE_RANGES], last[JUDGE_RANGES];
	uint32_t floor; /* of the file, when it was sent */
};

enum judge_state {
	JUDGE_HEAD,
	JUDGE_BODY,
};

/* The answer that is being read on one connection. Zeroed: a new connection. */
struct judge {
	enum judge_state state;
	unsigned status;
	bool close; /* the answer says so */
	bool multipart, ranged;
	enum site_coding coding;
	uint64_t left, at, len; /* of the body */
	uint64_t first, last, total;
	char etag[SITE_TAG_MAX], modified[40], type[128];
	const char *expected; /* what the body must be; NULL: it is collected first */
	char *collected;
};

struct tally {
	uint64_t answers, bytes; /* of bodies */
	uint64_t whole, coded, heads, not_modified, partial, multipart, unsatisfiable, absent;
};

enum judge_progress {
	JUDGE_MORE, /* more bytes are needed; *used of them are of no further use */
	JUDGE_DONE, /* the answer ends after *used bytes, and was right */
	JUDGE_WRONG,
};

/* Bytes that may be the head's or the body's. JUDGE_WRONG: `why` says why, up to its size. */
enum judge_progress judge_read(struct judge *judge, struct site *site, const struct ask *ask, const char *bytes,
                               size_t len, size_t *used, struct tally *tally, char why[256]);

/* Forgets it: the connection has ended. */
void judge_reset(struct judge *judge);

#endif
