/*
 * request.h - from bytes to a request: llhttp, made as strict as RFC 9112 asks, with limits; or a look at what the same
 * bytes were found to say before. Pure: no system call, no allocation, no clock.
 *
 * The bytes of a request head must lie in one piece of memory that may grow, or move, between calls: a request holds
 * offsets into it, never pointers. Bytes of a body are looked at once and need not be kept.
 */
#ifndef LOOM_REQUEST_H
#define LOOM_REQUEST_H

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/chunked.h"
#include "loom/coding.h"
#include "loom/options.h"

/* The longest head that limits may allow: spans are of 16 bits, and a remainder must fit an input buffer (conn.h). */
#define REQUEST_HEAD_MAX (16 * 1024)

/* Bytes of the head, from its first. */
struct span {
	uint16_t at;
	uint16_t len;
};

enum request_method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_OPTIONS,
	METHOD_CONNECT,
	METHOD_OTHER, /* known to HTTP, refused by a server of files: 405 */
};

#define METHODS (METHOD_OTHER + 1)

/* Field lines whose values are kept, for the answer. */
enum request_field {
	FIELD_ACCEPT_ENCODING,
	FIELD_IF_MATCH,
	FIELD_IF_MODIFIED_SINCE,
	FIELD_IF_NONE_MATCH,
	FIELD_IF_RANGE,
	FIELD_IF_UNMODIFIED_SINCE,
	FIELD_RANGE,
	REQUEST_FIELDS,
};

/* What a request's field lines say that matters to a server of files. */
struct request {
	uint16_t status; /* 0, or the status of the error that this request is answered with */
	uint8_t method;  /* enum request_method */
	uint8_t minor;   /* of HTTP/1.minor */
	bool keep_alive; /* as the client wants it: version, Connection (RFC 9112 9.3) */
	bool framed;     /* whether the end of the message is known, so that the connection can go on after an error */
	bool has_body;
	bool in_body;     /* the head is complete, the body is being read past */
	uint8_t hosts;    /* Host field lines; counts no further than 2 */
	uint8_t present;  /* bit by bit (1 << enum request_field): whether such a field line came */
	uint8_t repeated; /* the same: whether it came more than once */
	uint16_t fields;
	uint32_t head_len; /* bytes of the head, its empty line included, once it is complete */
	uint64_t body_len; /* bytes of the body read past, its framing included */
	struct span target;
	uint16_t path_len;           /* of a target that is normal already (target.h), up to its query; 0: who knows */
	bool has_wishes;             /* that wishes is set: they were worth remembering */
	bool is_plain;               /* referer and agent are of bytes that no log escapes; false: who knows */
	struct coding_wishes wishes; /* what Accept-Encoding says; request_wishes() */
	struct span field[REQUEST_FIELDS]; /* the value of the first such line, white space around it aside */
	struct span referer;               /* the same, for the log alone; at is 0 when there was none */
	struct span agent;                 /* of User-Agent */
};

/* What Connection, Expect and the framing fields have said so far; private to request.c. */
struct request_lines {
	bool connection_close, connection_keep_alive;
	bool expects_continue, expects_other;
	bool has_length, has_coding;
	bool chunked, coding_unknown, coding_bad;
};

struct request_parser {
	llhttp_t llhttp; /* reads the head, line by line */
	const struct limits *limits;
	const char *base; /* where the head begins now */
	struct span name; /* of the field line being read */
	struct span value;
	uint16_t line_end;   /* where the line read last ends, trailing white space aside */
	bool fresh;          /* nothing has been read; llhttp is not set up */
	bool line_read;      /* the target is complete */
	bool method_unknown; /* llhttp has given up on the method; see request.c */
	struct request_lines lines;
	struct chunked chunked;
	uint64_t length; /* Content-Length; of a body that is being read: what is still to come */
	struct request request;

	struct request_memo *memo; /* what requests have said before; NULL: nothing is remembered */
};

enum request_progress {
	REQUEST_MORE,     /* all bytes were used, and there must be more */
	REQUEST_COMPLETE, /* head and body are over; request.status may still be an error with known framing */
	REQUEST_FAILED,   /* request.status says why; nothing after this can be read: answer and close */
};

/*
 * The last field lines that parsers were shown, with what they say, so that the same need not be read again: so many bytes
 * of memory, about 70 KiB, zeroed, of which only what is used is touched. For parsers of one thread.
 */
struct request_memo;
size_t request_memo_size(void);

/* Begins a request whose head lies, or will lie, at base. */
void request_begin(struct request_parser *parser, const struct limits *limits, const char *base);

/*
 * The same on a parser that has read requests before, or is zeroed, its memo being set or NULL: what it remembers of them
 * saves work.
 */
void request_next(struct request_parser *parser, const struct limits *limits, const char *base);

/* Makes an error of a request that has just begun, because of what came before it: as if request_read() had failed. */
void request_refuse(struct request_parser *parser, unsigned status);

/* The head so far has been moved, to base. */
void request_moved(struct request_parser *parser, const char *base);

/*
 * Reads on at bytes[0..len), len > 0. While the head is incomplete they must follow, in memory, the head so far.
 * *used: bytes that belong to this request (all, for REQUEST_MORE); the next request begins after them.
 */
enum request_progress request_read(struct request_parser *parser, const char *bytes, size_t len, size_t *used);

static inline bool request_has(const struct request *request, enum request_field field)
{
	return request->present & 1 << field;
}

static inline bool request_repeats(const struct request *request, enum request_field field)
{
	return request->repeated & 1 << field;
}

/*
 * The value of the next line of a field that may stand several times, after *value, which begins as request->field[]. head:
 * where the head lies. False when there is none left.
 */
bool request_next_line(const struct request *request, enum request_field field, const char *head, struct span *value);

/* What all lines of Accept-Encoding say together, of which there is at least one. head: as above. */
void request_wishes(const struct request *request, const char *head, struct coding_wishes *wishes);

/* Whether the request, whole or not, is known to be for HEAD: then the answer has no content, be it an error. */
bool request_is_head(const struct request_parser *parser);

/* "llhttp 8.1.0": what this was built with, for --version. */
const char *request_library(void);

#endif
