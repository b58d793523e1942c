/*
 * talk.h - what one simulated client says on one connection, request after request, and for each what it asks for
 * (model.h). It knows the limits that the server was given, and nothing of how the server reads.
 */
#ifndef LOOM_SIM_TALK_H
#define LOOM_SIM_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"

#define TALK_MAX 40

struct talk_limits {
	unsigned request_line, head, fields;
	uint64_t body;
};

/* How it ends. */
enum talk_end {
	END_OPEN,  /* after the last request, which is like the others */
	END_CLOSE, /* the last request says that the connection closes, or is refused with that */
	END_HALF,  /* the last request is never finished */
	TALK_ENDS,
};

struct exchange {
	uint32_t start, end; /* of the request in talk.bytes, from its empty line on, if it has one */
	uint32_t blank;      /* bytes of an empty line in front */
	uint32_t from;       /* the answer may come when so much has been read, */
	uint32_t by;         /* and must; UINT32_MAX: never */
	struct ask ask;

	/* What came of it, when the server had handed its answer over. */
	struct moment moment;
	uint64_t at; /* of the answer's first byte, in all that the server has sent */
	uint64_t len;
};

/* What stands in front of the first request where a PROXY header must come (haproxy's proxy-protocol.txt). */
struct talk_header {
	const char *bytes;
	size_t len;
	bool bad;       /* it is none */
	unsigned named; /* the client is 192.0.2.named; 0: whoever has connected */
};

#define TALK_HEADERS 8

extern const struct talk_header talk_headers[TALK_HEADERS];

struct talk {
	char *bytes;
	uint32_t len, size;
	const struct talk_header *header; /* NULL: none */
	uint32_t header_by; /* when so much has been read it is whole, or is known to be none; UINT32_MAX: never */
	struct exchange exchange[TALK_MAX];
	unsigned n;
};

/*
 * most: requests. large: answers that take long may be asked for. header: NULL, or what comes first. habits: of field lines
 * that this and other clients with the same habits send again and again, byte by byte. skewed: pages that are new, old, or
 * too large to be copied, and hardly any others.
 */
void talk_make(struct talk *talk, uint64_t *dice, const struct talk_limits *limits, enum talk_end end, unsigned most,
               bool large, const struct talk_header *header, uint64_t habits, bool skewed);

void talk_free(struct talk *talk);

#endif
