/*
 * peer.h - the address of a client, and networks that it may lie in. Pure: text in, bytes out.
 */
#ifndef LOOM_PEER_H
#define LOOM_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum peer_family {
	PEER_UNKNOWN, /* nobody has asked yet, or nobody knows */
	PEER_IN4,     /* also what came to an IPv6 socket as ::ffff:192.0.2.1 */
	PEER_IN6,
	PEER_LOCAL, /* a Unix socket: no address */
};

/* 20 bytes. All that has no meaning is zero, so that two peers can be compared, and hashed, as bytes. */
struct peer {
	uint8_t family;      /* enum peer_family */
	bool proxied;        /* a PROXY header has said so, and not the kernel */
	uint16_t port;       /* of the host's byte order; 0 for a Unix socket */
	uint8_t address[16]; /* in network order; IPv4 has the first four bytes */
};

/*
 * Fills an address in, n being 4 or 16 bytes; an IPv4-mapped one (RFC 4291 2.5.5.2) becomes PEER_IN4. proxied stays
 * false.
 */
void peer_set(struct peer *peer, const uint8_t *address, size_t n, uint16_t port);

/* Room for peer_text() and its zero byte. */
#define PEER_TEXT_MAX 46

/* "192.0.2.1", "2001:db8::1" (RFC 5952), "unix" or "-": without the port. Returns the text. */
const char *peer_text(const struct peer *peer, char text[PEER_TEXT_MAX]);

/*
 * A numeric address, 4 or 16 bytes of it: their number, or 0 when the text (len bytes) is none. No leading zeros in
 * IPv4.
 */
size_t peer_parse_address(const char *text, size_t len, uint8_t address[16]);

struct network {
	uint8_t family; /* PEER_IN4, PEER_IN6, or PEER_LOCAL: all Unix sockets */
	uint8_t bits;   /* of the prefix */
	uint8_t address[16];
};

/*
 * "192.0.2.0/24", "2001:db8::/32" (CIDR, RFC 4632 3.1), a lone address, or "unix". 0, or -EINVAL with one line in why.
 */
int network_parse(const char *text, struct network *network, char *why, size_t size);

/* Whether the peer lies in one of n networks. An unknown one never does. */
bool network_has(const struct network networks[], unsigned n, const struct peer *peer);

#endif
