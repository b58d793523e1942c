/*
 * conn_rate.h - how slow a client may be: the deadlines of a request that arrives and of an answer that is being sent, and
 * the least rates at which both must move. Private to conn.c and conn_rate.c.
 */
#ifndef LOOM_CONN_RATE_H
#define LOOM_CONN_RATE_H

#include "loom/conn.h"

/* Sets the timer of a connection so many milliseconds from now. */
void conn_set_deadline(struct conn_context *context, struct conn *conn, uint32_t timeout);

/*
 * A request has begun to arrive, and its bytes so far are in the input: sets the timer for when to look at it. It has
 * --header-timeout from now on, which nothing renews.
 */
void conn_await_request(struct conn_context *context, struct conn *conn);

/*
 * That timer has expired. True when the request has time left and has come at --min-recv-rate since it was last looked
 * at; the timer is then set again.
 */
bool conn_is_arriving(struct conn_context *context, struct conn *conn);

/*
 * A send's timer has expired. True when the client has taken bytes at --min-send-rate in the last --send-timeout, or is
 * still busy with earlier answers; the timer is then set again.
 */
bool conn_is_taking(struct conn_context *context, struct conn *conn);

#endif
