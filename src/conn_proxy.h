/*
 * conn_proxy.h - for whom a connection is: the PROXY header in front of its first request, and the table of peers.
 * Private to conn.c and conn_proxy.c.
 */
#ifndef LOOM_CONN_PROXY_H
#define LOOM_CONN_PROXY_H

#include "loom/conn.h"
#include "loom/proxy.h"

/* The table of peers. 0 or -ENOMEM. */
int conn_peers_init(struct conn_context *context, uint32_t conns);
void conn_peers_fini(struct conn_context *context);

/*
 * Reads lent bytes[0..len), len > 0, of a connection in CONN_PROXY. PROXY_DONE: the peer is known, or left to the
 * kernel, the first *used of these bytes belong to the header, and input is no longer needed. PROXY_MORE: they are kept
 * in input.
 */
enum proxy_progress conn_read_proxy(struct conn_context *context, struct conn *conn, const char *bytes, size_t len,
                                    size_t *used);

#endif
