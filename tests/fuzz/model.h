/*
 * model.h - a second reading of requests (RFC 9112, docs/http.md): by hand, all of one at once, and sharing nothing
 * with src/. What one reader takes for the end of a request, and another does not, is how requests are smuggled.
 */
#ifndef LOOM_FUZZ_MODEL_H
#define LOOM_FUZZ_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"

enum model_progress {
	MODEL_MORE,
	MODEL_END,
	MODEL_BAD,
	MODEL_TOO_LARGE, /* a chunk is larger than the limit */
};

/* A body in the chunked coding. *used: where it ends, for MODEL_END. */
enum model_progress model_chunked(const uint8_t *bytes, size_t len, size_t size_max, size_t *used);

/* As authority_parse(). */
bool model_authority(const uint8_t *bytes, size_t len, size_t *host_len, bool *has_port);

struct model_request {
	const uint8_t *method, *target;
	size_t method_len, target_len;
	size_t head_len; /* with its empty line */
	size_t len;      /* with the body, as far as it is read */
	unsigned minor;
	unsigned fields;
	unsigned status; /* 0, or 417 */
	bool keep_alive;
	bool framed; /* whether another request may follow */
};

/* The bytes of an empty line before a request: one is passed over (RFC 9112 2.2). */
size_t model_empty_line(const uint8_t *bytes, size_t len);

/* Whether a request stands at the beginning of the bytes that is whole, valid and within the limits. */
bool model_request(const uint8_t *bytes, size_t len, const struct limits *limits, struct model_request *request);

/* Whether the target begins like one that every server has to read: its form is not left to the parser. */
bool model_target_is_plain(const struct model_request *request);

bool model_method_is(const struct model_request *request, const char *method);

#endif
