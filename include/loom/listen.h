/*
 * listen.h - addresses and listening sockets. Set-up code, main thread.
 *
 * One address opens one socket a worker (SO_REUSEPORT), so that workers share nothing; a Unix socket is opened once
 * and shared. Sockets are bound first, and listen when there is something to serve.
 */
#ifndef LOOM_LISTEN_H
#define LOOM_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct listen_address {
	struct sockaddr_storage addr;
	socklen_t len;
	bool dual_stack; /* [::] takes IPv4 too */
	char text[128];  /* for people, after binding: "http://127.0.0.1:8080/", "unix:/run/loom.sock",
	                  * "http://localhost:8080/ (all interfaces)" */
	dev_t device;    /* a Unix socket's file, after binding */
	ino_t inode;
};

/*
 * Reads "[::]:8080", "127.0.0.1:8080", ":8080" (= [::]:8080, dual stack), "8080", "[::1]:8080", "unix:/path". Numeric
 * addresses only. 0, or -EINVAL with one line in why.
 */
int listen_parse(const char *text, struct listen_address *address, char *why, size_t size);

/*
 * Opens and binds n >= 1 sockets for the address: O_NONBLOCK, O_CLOEXEC, TCP_NODELAY (accepted sockets inherit it),
 * SO_REUSEADDR. Port 0 is resolved once and shared by all n; address->addr and ->text then tell the real one. Where
 * the kernel has no IPv6, dual stack becomes 0.0.0.0. EADDRINUSE is tried again for up to 500 ms: a killed
 * predecessor's ring may hold the port for some milliseconds. Another process that listens on the address, with
 * SO_REUSEPORT or not, is an error, here and in listen_start(); ours is set only when that is sure.
 * A Unix socket's file that nobody listens on is replaced; one that answers is EADDRINUSE. fds[0] is opened and
 * fds[1..n) are duplicates of it.
 * 0, or -errno with one line in why ("cannot listen on [::]:80: Permission denied (...)"), and nothing left open.
 */
int listen_bind(struct listen_address *address, int fds[], unsigned n, char *why, size_t size);

/*
 * The same for sockets that a predecessor has handed over (inherit.h): fds[0..have) are open and listen, have >= 1;
 * fds[have..want) are opened here, if want is more, and bound beside them. A Unix socket's are duplicates, and so are
 * those that the kernel does not let join because the user is another by now. 0, or -errno with one line in why, and
 * fds[have..] closed.
 */
int listen_adopt(struct listen_address *address, int fds[], unsigned have, unsigned want, char *why, size_t size);

/* Whether the socket is bound to the address, as listen_parse() has read it. */
bool listen_is_at(const struct listen_address *address, int fd);

/*
 * listen(2) on all of them, with the system's longest backlog, and SO_REUSEPORT where there are several. 0, or -errno
 * with one line in why; the sockets stay the caller's.
 */
int listen_start(struct listen_address *address, int fds[], unsigned n, char *why, size_t size);

/*
 * Bounds what the kernel holds of a response that the client is not ready to take: so many bytes that have not been sent
 * (TCP_NOTSENT_LOWAT, tcp(7)), which accepted sockets inherit. Without it a send buffer grows to megabytes, and a thousand
 * clients that read slowly hold gigabytes of the kernel's memory. Between listen_bind() and listen_start(). A kernel that does
 * not have it does without; Unix sockets have a bound of their own.
 */
void listen_limit_unsent(const int fds[], unsigned n, uint32_t bytes);

/*
 * Whether listen_bind() would succeed now, for a configuration that is only looked at: binds and lets go at once,
 * without waiting; a Unix socket's file is neither made nor removed, its directory must be writable. 0; -EADDRINUSE
 * when somebody listens there; or another -errno. why gets one line with each.
 */
int listen_try(const struct listen_address *address, char *why, size_t size);

/* Whether two addresses, as listen_parse() gives them, overlap, so that one process cannot listen on both. */
bool listen_conflict(const struct listen_address *one, const struct listen_address *other);

/*
 * Removes the file of a Unix socket, unless a successor has put its own there; nothing for the others. Before the
 * sockets are closed: only while they are open is the file known to be theirs.
 */
void listen_cleanup(const struct listen_address *address);

#endif
