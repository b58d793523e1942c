/*
 * conn_access.h - what a connection notes of its requests for the access log, while their answers are on the way. Private
 * to conn.c, conn_output.c and conn_access.c. Nothing here is called while the log is off.
 *
 * The bytes of a request are lent and gone when its answer is sent; whether and how much of the answer left shows only
 * then. So a record is made when the request is answered, stands in the notes that go with the output, and is put into the
 * worker's ring when the output is sent or given up. So there is one record a request, and it is true. (A record of the
 * beginning and one of the end would have to be brought together again by the thread that writes, with memory for every
 * answer that takes its time; a record that is corrected later would have readers of the log take the first one for true.)
 */
#ifndef LOOM_CONN_ACCESS_H
#define LOOM_CONN_ACCESS_H

#include "loom/access_record.h"
#include "loom/conn.h"

#define NOTES_SIZE  (16 * 1024)
#define NOTES_BYTES (NOTES_SIZE - 2 * sizeof(uint64_t))

/* From a pool of as many as there are outputs; pages come with first use. */
struct access_notes {
	uint64_t base; /* conn->sent before the first of these answers */
	uint32_t count;
	uint32_t used;
	char bytes[NOTES_BYTES]; /* records, as if all bytes had left; their duration is not known yet */
};

/* Whether one more record fits, however long its text. */
static inline bool access_has_room(const struct access_notes *notes)
{
	return notes->used + ACCESS_RECORD_MAX <= NOTES_BYTES;
}

/* Takes notes for an output whose first answer is about to be written. */
struct access_notes *access_notes_take(struct conn_context *context, const struct conn *conn);

/*
 * Notes the answer, whose head of so many bytes is in the output. There is room for it. parser NULL: to somebody who has
 * not been asked what he wants.
 */
void access_note(struct conn_context *context, struct conn *conn, struct access_notes *notes,
                 const struct request_parser *parser, const struct response *response, size_t head);

/* All the answers of these notes have left; or left bytes of them have, and no more will. Once. */
#define ACCESS_ALL UINT64_MAX
void access_sent(struct conn_context *context, struct access_notes *notes, uint64_t left);

#endif
