/*
 * peer_count.h - how many connections each client address has, in the whole process: --max-connections-per-ip.
 *
 * Counted for all workers together, since the kernel deals one client's connections out to them by chance: shares of a
 * worker's own would end a client's fifth connection or its ninth, as the dice fall. No lock is taken and nothing is
 * allocated after the start. An address is an IPv4 address or an IPv6 network of 64 bits, which is what one subscriber
 * has; IPv4 that comes by an IPv6 socket is IPv4.
 *
 * The table is open-addressed: an address is looked for in PEER_WINDOW entries from a place that a keyed hash says, so
 * nobody can know which addresses share a place. What is promised is this much: an entry never counts more than the
 * limit. Two addresses take each other's entry with a chance of 2^-48. An address gets a second entry, and with it
 * that many connections more, when two workers meet it for the first time at the same moment and a third address
 * leaves its place in that very moment. And when all PEER_WINDOW entries are taken by others, which a table four times
 * as large as all connections makes a thing of chance alone, a connection is let in without being counted.
 */
#ifndef LOOM_PEER_COUNT_H
#define LOOM_PEER_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#define PEER_WINDOW 16

/* The most that --max-connections-per-ip may say: what an entry can count. */
#define PEER_COUNT_MAX 65535

/* The slot of a connection that is not counted. */
#define PEER_UNCOUNTED 0

struct peer_count;

/*
 * For at most conns connections at a time, each address with at most limit of them, 1 to PEER_COUNT_MAX. 0 or -ENOMEM.
 * Takes 32 to 64 bytes a connection, as they are touched.
 */
int peer_count_create(struct peer_count **peers, uint32_t conns, uint32_t limit);
void peer_count_destroy(struct peer_count *peers);

/*
 * One more connection of this address. False: it has as many as it may. Otherwise *slot is what to give back when the
 * connection is over, or PEER_UNCOUNTED. Any thread.
 */
bool peer_count_enter(struct peer_count *peers, uint64_t address, uint32_t *slot);

/* The connection is over. Any thread. */
void peer_count_leave(struct peer_count *peers, uint32_t slot);

/* Addresses that have an entry now: for tests. */
uint32_t peer_count_entries(const struct peer_count *peers);

/* The address to count for the other end of a socket; false when it has none to count by (a Unix socket). */
bool peer_address(int fd, uint64_t *address);

#endif
