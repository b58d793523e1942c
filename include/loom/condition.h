/*
 * condition.h - conditional requests (RFC 9110 13): whether what a client says of a representation is true. Pure.
 */
#ifndef LOOM_CONDITION_H
#define LOOM_CONDITION_H

#include <stdbool.h>
#include <time.h>

#include "loom/request.h"
#include "loom/snapshot.h"

enum condition {
	CONDITION_NONE,         /* go on */
	CONDITION_FAILED,       /* 412 */
	CONDITION_NOT_MODIFIED, /* 304 */
};

/*
 * If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in the order of 13.2.2, for a GET or HEAD that would
 * otherwise be answered by this representation. head: the bytes that the request's spans refer to. exact: a date means the
 * content that was sent with it, and no later one (snapshot.h, returned). now: for the century of dates with two digits.
 */
enum condition condition_judge(const struct request *request, const char *head,
                               const struct representation *representation, bool exact, time_t now);

/* If-Range (13.1.5): whether the client's part is of this very representation. True when there is no such field. */
bool condition_if_range(const struct request *request, const char *head, const struct representation *representation,
                        time_t now);

#endif
