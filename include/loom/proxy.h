/*
 * proxy.h - the header of the PROXY protocol, versions 1 and 2, that a proxy sends before anything else: for whom the
 * connection is. Pure. Source: HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2.
 */
#ifndef LOOM_PROXY_H
#define LOOM_PROXY_H

#include <stddef.h>

#include "loom/peer.h"

/* The longest header of version 1, its CRLF included; and of version 2, additional fields (TLV) included. Bytes. */
#define PROXY_V1_MAX 107
#define PROXY_V2_MAX 4096

enum proxy_progress {
	PROXY_MORE, /* so far it may become a header */
	PROXY_DONE, /* it is one */
	PROXY_BAD,  /* it is none, whatever may follow */
};

/*
 * Reads the beginning of a connection, bytes[0..len), len >= 0: all of it that has come so far, from its first byte,
 * each time anew. PROXY_DONE: *used bytes, at most PROXY_V2_MAX, are the header, and *peer is for whom the connection
 * is, with proxied set; or PEER_UNKNOWN when the header leaves that to the kernel (LOCAL; UNKNOWN and AF_UNSPEC;
 * datagrams, which no stream carries). Otherwise neither is touched. A Unix socket's client is PEER_LOCAL. Additional
 * fields (TLV) are not looked at.
 *
 * Version 1 is read as it is specified: single spaces, canonical numbers, both addresses of the family that is named.
 */
enum proxy_progress proxy_read(const char *bytes, size_t len, struct peer *peer, size_t *used);

#endif
