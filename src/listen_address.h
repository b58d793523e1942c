/*
 * listen_address.h - what the files of listen.h share: questions about an address. Private to listen*.c.
 */
#ifndef LOOM_LISTEN_ADDRESS_H
#define LOOM_LISTEN_ADDRESS_H

#include <netinet/in.h>
#include <sys/un.h>

#include "loom/listen.h"

#define UNIX_PREFIX "unix:"

/*
 * An address as it is written in options: "[::1]:8080", "127.0.0.1:8080", "unix:/path"; "unix:@name" of an abstract
 * one.
 */
struct address_name {
	char text[sizeof(((struct sockaddr_un *)NULL)->sun_path) + sizeof(UNIX_PREFIX)];
};

/* Writes one line to why. Returns -EINVAL. */
int listen_explain(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

bool address_is_unix(const struct listen_address *address);
bool address_is_wildcard(const struct listen_address *address);
const char *address_path(const struct listen_address *address);

/* Where the port of an Internet address is kept. */
in_port_t *address_port(struct listen_address *address);

void address_name(const struct listen_address *address, struct address_name *name);

/* Fills address->text in. */
void address_write_text(struct listen_address *address);

/* Says why listening failed, and what to do about it. Returns error, a negative one. */
int listen_refuse(const struct listen_address *address, int error, char *why, size_t size);

/* Options of the sockets that accepted ones inherit. 0, or -errno with one line in why. Before or after listen(2). */
int listen_tune(const struct listen_address *address, int fd, char *why, size_t size);

/* Of an inherited socket of our own: what its options do not say, and a predecessor's did, is as the system has it. */
void listen_untune(const struct listen_address *address, int fd);

#endif
