/*
 * metrics_request.h - a scraper's request: bytes in, what to answer out. Private to metrics*.c. As much of RFC 9112 as a
 * server needs that closes after one answer and reads no bodies.
 */
#ifndef LOOM_METRICS_REQUEST_H
#define LOOM_METRICS_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/metrics.h"

/* A longer head is 431. */
#define METRICS_HEAD_MAX 8192

struct metrics_request {
	unsigned status; /* 200, 400, 404, 405 or 431 */
	bool head;       /* HEAD: no content is wanted */
	enum metrics_format format;
};

/* Whether there is an answer to the first len bytes; otherwise there is more to come. len <= METRICS_HEAD_MAX. */
bool metrics_request_read(const char *bytes, size_t len, struct metrics_request *request);

#endif
