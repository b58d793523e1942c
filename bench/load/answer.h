/*
 * answer.h - reads answers of a server of files, however they are cut up: status line, Content-Length, end. As little
 * HTTP as an honest count needs: no chunked coding (an error), no trailers. Pure but for a buffer for a head in pieces.
 */
#ifndef LOOM_BENCH_LOAD_ANSWER_H
#define LOOM_BENCH_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_HEAD_MAX 8192

struct answer {
	uint64_t left;   /* bytes of the body that are still to come */
	uint16_t status; /* of the answer that is being read, or was read last */
	bool in_body;
	bool close;        /* it said Connection: close */
	uint32_t head_len; /* bytes of half a head */
	char *head;        /* which lie here; NULL: there was never one */
};

enum answer_progress {
	ANSWER_MORE, /* all bytes were used */
	ANSWER_DONE, /* one answer ends after *used bytes */
	ANSWER_BAD,  /* not an answer that this can read */
};

enum answer_progress answer_read(struct answer *answer, const char *bytes, size_t len, size_t *used);

/* So many bytes of the body have been thrown away unseen, no more than are left: whether that was the end of it. */
bool answer_skip(struct answer *answer, uint64_t bytes);

/* Forgets what has been read: a new connection. */
void answer_reset(struct answer *answer);

#endif
