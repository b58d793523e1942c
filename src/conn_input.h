/*
 * conn_input.h - from a client's bytes to answers in the output: requests that arrive whole, half or several at a time, and
 * the input buffer, where the bytes lie that cannot be dealt with yet. Private to conn.c and conn_input.c.
 *
 * Nothing is asked of the backend here: what is to be sent or received after that is for conn.c to say.
 */
#ifndef LOOM_CONN_INPUT_H
#define LOOM_CONN_INPUT_H

#include <stddef.h>

#include "loom/conn.h"

/*
 * Answers every whole request in bytes[0..len), len > 0, as far as the output has room. What is left is in the input
 * afterwards: with input->reading half a request, which the next call goes on with; without, requests that are to be read
 * again, by a call with those very bytes, when the output has been sent. There is no input when nothing is left, or after
 * the last answer. Bytes may be lent, or those of the input.
 */
void conn_read_requests(struct conn_context *context, struct conn *conn, const char *bytes, size_t len);

/* Gives the connection's input back, if it has one. */
void input_release(struct conn_context *context, struct conn *conn);

#endif
