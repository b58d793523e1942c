/*
 * answers.h - a strict reading of what a server sends on one connection: whether it is a sequence of well-formed
 * answers (RFC 9112, RFC 9110), each to the request that it answers, and each with the very content that the site has
 * (site.h). Ends the program by fuzz_fail() on the first that is not.
 */
#ifndef LOOM_FUZZ_ANSWERS_H
#define LOOM_FUZZ_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"

struct answers {
	unsigned n;
	bool closes;      /* the last said that the connection closes */
	unsigned timeout; /* answers 408 */
};

/*
 * date: of all answers. Requests are read by model.h; what it refuses has an error for its answer, or none when more of
 * it could come. Requests that it accepts have all been answered.
 */
struct answers answers_check(const uint8_t *bytes, size_t len, const uint8_t *requests, size_t requests_len,
                             const struct limits *limits, const char *date);

#endif
