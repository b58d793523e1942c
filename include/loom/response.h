/*
 * response.h - a request and a snapshot in, an answer out; and the answer's bytes. Pure: no system call, no clock; the
 * date comes in as text.
 */
#ifndef LOOM_RESPONSE_H
#define LOOM_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/date.h"
#include "loom/request.h"
#include "loom/snapshot.h"

struct response {
	const struct representation *representation;
	const char *query; /* for redirects: goes into Location; into the request's bytes */
	size_t query_len;
	bool not_modified;   /* send the 304 */
	bool with_body;      /* false for HEAD and 304 */
	bool close;          /* say Connection: close, and do so */
	bool say_keep_alive; /* HTTP/1.0 wants to be told */
};

/*
 * Chooses the answer. head: the bytes that the request's spans refer to. scratch: at least as long as the target. may_keep_alive:
 * false when the server is about to close (draining).
 */
void response_plan(struct response *response, const struct request *request, const char *head,
                   const struct snapshot *snapshot, bool may_keep_alive, char *scratch);

/* The answer to what could not be read to its end: the error for the status, and Connection: close. */
void response_error(struct response *response, unsigned status, bool with_body, const struct snapshot *snapshot);

/* The most bytes that response_head() writes: the prebuilt head, Connection, a query and the empty line. */
#define RESPONSE_HEAD_MAX (REPRESENTATION_HEAD_MAX + 64)

/*
 * Writes the complete head to out (RESPONSE_HEAD_MAX bytes), date being HTTP_DATE_LEN bytes, and returns its length.
 * A query that does not fit is left out.
 */
size_t response_head(const struct response *response, const char *date, char *out);

#endif
