/*
 * response.h - a request and a snapshot in, an answer out; and the answer's bytes. Pure: no system call, no clock; time and
 * date come in. The order of decisions is that of RFC 9110 13.2.1: the request itself, its target, the method, the variant,
 * the conditions, the ranges. docs/http.md tells users what comes out.
 */
#ifndef LOOM_RESPONSE_H
#define LOOM_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/date.h"
#include "loom/range.h"
#include "loom/request.h"
#include "loom/snapshot.h"

enum response_form {
	RESPONSE_WHOLE,         /* the representation's head and body as they are */
	RESPONSE_NOT_MODIFIED,  /* 304 */
	RESPONSE_PARTS,         /* 206: one part, or several as multipart/byteranges */
	RESPONSE_UNSATISFIABLE, /* 416, with the length of what was asked for */
};

struct response {
	const struct representation *representation;
	const struct snapshot_slot *slot; /* of the target: what the answer is of or about; NULL: the target has none */
	const char *query;                /* for redirects: goes into Location; into the request's bytes */
	size_t query_len;
	enum response_form form;
	uint8_t method;      /* enum request_method, for who counts; METHOD_OTHER of a request that could not be read */
	bool with_body;      /* false for HEAD and 304 */
	bool close;          /* say Connection: close, and do so */
	bool say_keep_alive; /* HTTP/1.0 wants to be told */
	bool clock_is_behind; /* Last-Modified lies in the future: Date takes its place (RFC 9110 8.8.2.1) */
	bool briefly;         /* RESPONSE_PARTS to If-Range: the client has the representation's other fields */
	uint64_t length;      /* RESPONSE_UNSATISFIABLE */
	unsigned parts;       /* RESPONSE_PARTS; otherwise 0, and part[] is not set */
	struct range part[RANGES_MAX];
};

/* What an answer depends on besides the request. */
struct response_context {
	const struct snapshot *snapshot;
	time_t now;
	bool unhealthy;      /* --health answers that no more clients should come */
	bool may_keep_alive; /* false when the server is about to close: draining, the last request of a connection */
	char *scratch;       /* at least as long as the target */
};

/* The status that response_head() writes. */
static inline unsigned response_status(const struct response *response)
{
	if (response->form == RESPONSE_NOT_MODIFIED)
		return 304;
	if (response->form == RESPONSE_PARTS)
		return 206;
	return response->representation->status;
}

/* Chooses the answer. head: the bytes that the request's spans refer to. */
void response_plan(struct response *response, const struct request *request, const char *head,
                   const struct response_context *context);

/* The answer to what could not be read to its end: the error for the status, and Connection: close. */
void response_error(struct response *response, unsigned status, bool with_body, const struct snapshot *snapshot);

/*
 * The most bytes that response_head() and response_say_snapshot() write: the prebuilt head, Connection, a query or ranges,
 * Loom-Snapshot, and the empty line.
 */
#define RESPONSE_HEAD_MAX (REPRESENTATION_HEAD_MAX + 256)

/*
 * Writes the complete head to out (RESPONSE_HEAD_MAX bytes), date being HTTP_DATE_LEN bytes, and returns its length.
 * A query that does not fit is left out.
 */
size_t response_head(const struct response *response, const char *date, char *out);

/*
 * Adds `Loom-Snapshot: ID` to a complete head of len bytes, in the same RESPONSE_HEAD_MAX bytes, and returns its new length.
 * Prebuilt heads are shared between snapshots and cannot hold it.
 */
size_t response_say_snapshot(char *head, size_t len, const struct snapshot *snapshot);

/* Bytes of the body that follows the head, the framing of parts included: 0 to HEAD and for a 304. */
uint64_t response_length(const struct response *response);

/* The most bytes that response_part_head() writes. */
#define RESPONSE_PART_MAX 256

/*
 * With two parts or more: what stands before part i (RFC 9110 14.6), or, for i == parts, after the last. Writes at most
 * RESPONSE_PART_MAX bytes and returns their number.
 */
size_t response_part_head(const struct response *response, unsigned i, char *out);

#endif
