/*
 * access_format.h - from a record of the access log to its line. Pure: no system call, no clock; what the two clocks
 * differ by comes in.
 *
 * combined: Apache's format of that name, escaped as Apache does it (mod_log_config: "quotes, backslashes and what is not
 * printable"): control bytes as \n, \t or \xhh, bytes above 0x7e as \xhh. So a line is printable ASCII.
 *
 *     192.0.2.7 - - [28/Nov/2026:17:43:06 +0000] "GET /a.js HTTP/1.1" 200 5120 "https://example.org/" "Mozilla/5.0"
 *
 * json: an object a line (RFC 8259), always valid UTF-8: what a client sent that is not becomes U+FFFD, byte by byte, and
 * C0, C1 and DEL are escaped.
 *
 *     {"time":"2026-11-28T17:43:06.123Z","client":"192.0.2.7","method":"GET","target":"/a.js","protocol":"HTTP/1.1",
 *      "status":200,"bytes":5120,"referer":"https://example.org/","user_agent":"Mozilla/5.0","duration_us":84,
 *      "coding":"gzip","snapshot":"LnkXMYPkA0xmPcC8Bn2ePw","complete":true}
 *
 * What a request lacks is "-" in combined and null in json. What was cut ends with "..." in combined; in json a last
 * member says which: "truncated":["target"]. Members may be added to json; consumers must pass over those they do not know.
 */
#ifndef LOOM_ACCESS_FORMAT_H
#define LOOM_ACCESS_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "loom/access_record.h"

enum access_format {
	ACCESS_COMBINED,
	ACCESS_JSON,
};

/* The most bytes of a line, its end included: six for each that a client sent, and what stands around them. */
#define ACCESS_LINE_MAX (6 * ACCESS_RECORD_MAX + 1024)

struct access_formatter {
	enum access_format format;
	int64_t clock_offset; /* microseconds: what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC; set by the caller */
	int32_t utc_offset;   /* seconds east of UTC, for combined; set by the caller */

	/* The second that was formatted last, private; behind its text anything. */
	int64_t second_us;
	int32_t second_offset;
	char time[32];
	size_t time_len;

	char octet[256][4]; /* in decimal, and how many digits, private */

	/* The last client whose address is no IPv4 one, private. */
	struct peer peer;
	char peer_text[PEER_TEXT_MAX];
	size_t peer_len;
};

void access_formatter_init(struct access_formatter *formatter, enum access_format format);

/* Writes the record's line, "\n" at its end, to out (ACCESS_LINE_MAX bytes), and returns its length. */
size_t access_format(struct access_formatter *formatter, const struct access_record *record, char *out);

#endif
