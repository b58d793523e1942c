/*
 * access_record.h - what the access log keeps of one request, from the worker that answered it to the thread that writes
 * it down. Pure.
 *
 * A record is this struct and then its text, without anything between: the request line, Referer and User-Agent, as the
 * client sent them, and cut where they are long. What a record has no place for is not logged.
 */
#ifndef LOOM_ACCESS_RECORD_H
#define LOOM_ACCESS_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "loom/peer.h"

/* Bytes that are kept of each at most. */
#define ACCESS_METHOD_MAX  32
#define ACCESS_TARGET_MAX  2048
#define ACCESS_REFERER_MAX 1024
#define ACCESS_AGENT_MAX   512

#define ACCESS_VERSION_LEN (sizeof(" HTTP/1.1") - 1) /* what a request line has behind its target */

#define ACCESS_RECORD_ALIGN 8

/* The most bytes of one record, a multiple of ACCESS_RECORD_ALIGN. */
#define ACCESS_TEXT_MAX \
	(ACCESS_METHOD_MAX + 1 + ACCESS_TARGET_MAX + ACCESS_VERSION_LEN + ACCESS_REFERER_MAX + ACCESS_AGENT_MAX)
#define ACCESS_RECORD_MAX                                                                                   \
	((sizeof(struct access_record) + ACCESS_TEXT_MAX + ACCESS_RECORD_ALIGN - 1) / ACCESS_RECORD_ALIGN * \
	 ACCESS_RECORD_ALIGN)

#define ACCESS_SNAPSHOT_LEN 22 /* of snapshot.id */

enum access_flag {
	ACCESS_COMPLETE = 1 << 0, /* all of the answer was handed to the kernel */
	ACCESS_REFERER = 1 << 1,  /* such a field line came */
	ACCESS_AGENT = 1 << 2,
	ACCESS_TARGET_CUT = 1 << 3, /* there was more of it, or its end was never seen */
	ACCESS_REFERER_CUT = 1 << 4,
	ACCESS_AGENT_CUT = 1 << 5,
	ACCESS_LINE_WHOLE = 1 << 6, /* the request line has its version, too: that of protocol */
	ACCESS_PLAIN = 1 << 7,      /* nothing in Referer and User-Agent is escaped; without it, something may be */
};

struct access_record {
	uint32_t size; /* of the whole record, a multiple of ACCESS_RECORD_ALIGN; private to access_ring.c: 0 */
	uint16_t status;
	uint8_t flags;
	uint8_t coding;    /* enum content_coding: of what was sent, or would have been */
	uint64_t began;    /* microseconds of CLOCK_MONOTONIC: the request was there, whole */
	uint64_t duration; /* microseconds from then until the answer had left, or was given up; access_ring.c knows */
	uint64_t bytes;    /* of the answer's body, framing of parts included, that have left */
	uint32_t head;     /* bytes of the answer's head */
	uint16_t line_len; /* method, one space, target, and with ACCESS_LINE_WHOLE one space and the version */
	uint16_t target_len; /* 0: the request was none; there is no method then either, and no line */
	uint16_t referer_len;
	uint16_t agent_len;
	uint8_t method_len;
	uint8_t protocol; /* of HTTP: 16 * major + minor; 0: it was not seen, or was none */
	struct peer peer;
	char snapshot[ACCESS_SNAPSHOT_LEN];
	char text[];
};

#endif
