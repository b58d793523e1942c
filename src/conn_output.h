/*
 * conn_output.h - the answers of one connection, gathered until they are sent: heads and small bodies as bytes, larger
 * bodies by reference, and, as the last of them, what lies in a file or in sealed memory. Private to conn.c, conn_input.c and
 * conn_output.c.
 *
 * These end the gathering: nothing can stand behind it in the same send. Several parts of a streamed one are sent one
 * after another, each with its part's head, and the output keeps what is still to come.
 */
#ifndef LOOM_CONN_OUTPUT_H
#define LOOM_CONN_OUTPUT_H

#include "conn_access.h"
#include "loom/conn.h"

/* Bodies up to this size are copied behind their head: one iovec less is worth more than the copy. */
#define COPY_MAX 4096

/* What one answer may need of an output: the head, a copied body; and iovecs for what went before, and the body. */
#define ANSWER_BYTES (RESPONSE_HEAD_MAX + COPY_MAX)
#define ANSWER_IOVS  3

/* And one of several parts: what stands before each and behind the last; two iovecs a part, and one for what went before. */
#define PARTS_BYTES (RESPONSE_HEAD_MAX + (RANGES_MAX + 1) * RESPONSE_PART_MAX)
#define PARTS_IOVS  (2 * RANGES_MAX + 2)

#define OUTPUT_SIZE (16 * 1024)
#define OUTPUT_IOVS 48
#define OUTPUT_BYTES \
	(OUTPUT_SIZE - OUTPUT_IOVS * sizeof(struct iovec) - sizeof(struct io_file_send) - sizeof(struct response) - 32)

/*
 * Of the pool's outputs, the first so many are registered with the backend where that is asked for (17 MiB): those are taken
 * before others, so they are all that is in use, unless very many clients are sent to at a time.
 */
#define OUTPUTS_REGISTERED IO_LENTS

struct output {
	struct iovec iov[OUTPUT_IOVS];
	uint32_t niov;
	uint32_t used;              /* of bytes */
	uint32_t run;               /* where in bytes the part begins that no iovec covers yet */
	uint32_t part;              /* of parts: the next; 0: there is none */
	uint64_t sending;           /* bytes of the send in flight, those of the file included */
	struct io_file_send file;   /* what follows all iovecs; len 0: nothing does */
	struct response parts;      /* an answer of several parts of a file, when part is not 0 */
	struct access_notes *notes; /* of these answers, for the access log; NULL: there is none */
	char bytes[OUTPUT_BYTES];   /* heads, and bodies so small that copying them costs less than an iovec */
};

/* Whether one more answer fits, and its note for the log. None does behind a file. */
static inline bool output_has_room(const struct output *output, size_t bytes, unsigned iovs)
{
	return !output || (output->used + bytes <= OUTPUT_BYTES && output->niov + iovs <= OUTPUT_IOVS &&
	                   output->file.len == 0 && (!output->notes || access_has_room(output->notes)));
}

/* Covers what has been written to bytes since the last time. */
void output_end_run(struct output *output);

/* All of it is sent: whether there is more, the next part of the last answer, which is then in the output. */
bool output_next_part(struct output *output);

/*
 * Writes the answer to the output, which has room for it, counts it, and notes it and the request for the access log.
 * parser NULL: there was no request.
 */
void conn_answer(struct conn_context *context, struct conn *conn, const struct request_parser *parser,
                 const struct response *response);

#endif
