/*
 * listen.h - addresses and listening sockets. Set-up code, main thread.
 *
 * One address opens one socket a worker (SO_REUSEPORT), so that workers share nothing. A Unix socket, and one that
 * somebody else has opened, is there once and shared by all workers, each with a descriptor of its own; io.h says how
 * they take turns. Sockets are bound first, and listen when there is something to serve.
 */
#ifndef LOOM_LISTEN_H
#define LOOM_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Where the sockets are from. */
enum listen_source {
	LISTEN_OWN,        /* loom opens them: listen_bind() */
	LISTEN_DESCRIPTOR, /* "fd:3": whoever has started loom has opened it: listen_take_over() */
	LISTEN_SYSTEMD,    /* "systemd:NAME", likewise, by sd_listen_fds(3): listen_passed() */
};

/* Bits of listen_options.given. */
enum listen_option {
	LISTEN_BACKLOG,
	LISTEN_NO_DELAY,
	LISTEN_DEFER_ACCEPT,
	LISTEN_FAST_OPEN,
	LISTEN_CONGESTION,
	LISTEN_MODE,
	LISTEN_PROXY,
};

#define LISTEN_CONGESTION_MAX 16 /* TCP_CA_NAME_MAX */

/* What stands behind an address: "127.0.0.1:8080,backlog=1024,proxy=on". The names of tcp(7), listen(2), unix(7). */
struct listen_options {
	uint32_t given;   /* 1 << enum listen_option, for each that was said */
	int backlog;      /* connections that wait to be accepted; 0: as many as net.core.somaxconn allows */
	bool no_delay;    /* TCP_NODELAY of accepted sockets */
	int defer_accept; /* TCP_DEFER_ACCEPT, seconds; 0: off */
	int fast_open;    /* TCP_FASTOPEN, requests that may wait; 0: off */
	char congestion[LISTEN_CONGESTION_MAX]; /* TCP_CONGESTION; "": the system's */
	mode_t mode; /* of the file of a Unix socket; when not given, what the umask leaves */
	bool proxy;  /* connections begin with a PROXY header: proxy.h */
};

struct listen_address {
	struct sockaddr_storage addr;
	socklen_t len;
	bool dual_stack; /* [::] takes IPv4 too */
	bool shared;     /* after binding or adoption: several of its descriptors are one socket */
	char text[128];  /* for people, after binding: "http://127.0.0.1:8080/", "unix:/run/loom.sock",
	                  * "http://localhost:8080/ (all interfaces)" */
	dev_t device;    /* a Unix socket's file, after binding; inode 0: it is somebody else's */
	ino_t inode;
	enum listen_source source;
	int descriptor; /* LISTEN_DESCRIPTOR */
	char name[256]; /* LISTEN_SYSTEMD; "*": all */
	struct listen_options options;
};

/*
 * Reads "[::]:8080", "127.0.0.1:8080", ":8080" (= [::]:8080, dual stack), "8080", "[::1]:8080", "unix:/path". Numeric
 * addresses only, and no options. 0, or -EINVAL with one line in why.
 */
int listen_parse(const char *text, struct listen_address *address, char *why, size_t size);

/*
 * A value of --listen: such an address, "fd:N" or "systemd:NAME", and behind it, with commas, options: NAME=VALUE. A
 * path with a comma cannot be written so. The same errors.
 */
int listen_parse_value(const char *text, struct listen_address *address, char *why, size_t size);

/* Whether the text, a part of a list with commas between them, is an option of the address before it. */
bool listen_is_option(const char *text);

/* Whether an option was given that a Unix socket does not have: 0, or -EINVAL with one line in why. */
int listen_check_local(const struct listen_address *address, const char *text, char *why, size_t size);

/*
 * Opens and binds n >= 1 sockets for the address: O_NONBLOCK, O_CLOEXEC, SO_REUSEADDR, and its options, which accepted
 * sockets inherit. Port 0 is resolved once and shared by all n; address->addr and ->text then tell the real one. Where
 * the kernel has no IPv6, dual stack becomes 0.0.0.0. EADDRINUSE is tried again for up to 500 ms: a killed
 * predecessor's ring may hold the port for some milliseconds. Another process that listens on the address, with
 * SO_REUSEPORT or not, is an error, here and in listen_start(); ours is set only when that is sure.
 * A Unix socket's file that nobody listens on is replaced; one that answers is EADDRINUSE. fds[0] is opened and
 * fds[1..n) are duplicates of it. With a mode, while there is one thread: it sets the umask for a moment.
 * 0, or -errno with one line in why ("cannot listen on [::]:80: Permission denied (...)"), and nothing left open.
 */
int listen_bind(struct listen_address *address, int fds[], unsigned n, char *why, size_t size);

/*
 * The same for sockets that a predecessor has handed over (inherit.h): fds[0..have) are open and listen, have >= 1;
 * fds[have..want) are opened here, if want is more, and bound beside them. A Unix socket's are duplicates, and so are
 * those that the kernel does not let join because the user is another by now: then address->shared is set. Their options
 * are set anew. 0, or -errno with one line in why, and fds[have..] closed.
 */
int listen_adopt(struct listen_address *address, int fds[], unsigned have, unsigned want, char *why, size_t size);

/* Whether the socket is bound to the address, as listen_parse_value() has read it; never for sockets that are passed. */
bool listen_is_at(const struct listen_address *address, int fd);

/*
 * What is known of an open descriptor: fills in addr, len, dual_stack and text, when it is a stream socket, of TCP
 * or a Unix one, that listens, or is bound and may listen. Otherwise -EINVAL, -EBADF, -ENOTSOCK or
 * another -errno, with one line in why ("descriptor 3 is no socket").
 */
int listen_examine(int fd, struct listen_address *address, char *why, size_t size);

/* Whether two bound sockets have the same address, by what listen_examine() or listen_bind() has filled in. */
bool listen_same(const struct listen_address *one, const struct listen_address *other);

/*
 * Takes m >= 1 open sockets over, all bound to one address, for n >= m workers, in the place of listen_bind(): from a
 * service manager (one), or from the loom that is replaced (one for each of its workers; of those the caller passes at
 * most n). Sets the options, O_NONBLOCK and O_CLOEXEC, and fills the address in; fds[0..m) are the given ones, and
 * fds[m..n) duplicates, in turn. The file of a Unix socket stays somebody else's: who takes it over with the socket
 * sets device and inode. 0; or -errno with one line in why, and the given ones are still the caller's.
 */
int listen_take_over(struct listen_address *address, const int given[], unsigned m, int fds[], unsigned n, char *why,
                     size_t size);

/* Sockets that a service manager passes (sd_listen_fds(3)): descriptors from 3 on. */
#define LISTEN_PASSED_MAX 64

struct listen_passed {
	int fd;
	char name[256]; /* FileDescriptorName=; "unknown" when there are no names */
	bool taken;     /* the caller's */
};

/*
 * How many there are by LISTEN_FDS, when LISTEN_PID says that they are for this process; otherwise 0. The variables
 * stay, so that the answer does; children have another number.
 */
unsigned listen_passed_count(void);

/* Names them, and sets close-on-exec. Their number, or -EINVAL or -EBADF with one line in why. */
int listen_passed(struct listen_passed passed[LISTEN_PASSED_MAX], char *why, size_t size);

/*
 * listen(2) on all of them, with the backlog of the options, and SO_REUSEPORT where there are several of our own;
 * passed ones that listen already are left as they are, unless a backlog is given. A Unix socket whose file another
 * process has replaced since listen_bind() is -EADDRINUSE. 0, or -errno with one line in why; the sockets stay the
 * caller's.
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
 * when somebody listens there; or another -errno. why gets one line with each. Not for passed ones.
 */
int listen_try(const struct listen_address *address, char *why, size_t size);

/* Whether two addresses, as listen_parse_value() gives them, overlap, so that one process cannot listen on both. */
bool listen_conflict(const struct listen_address *one, const struct listen_address *other);

/*
 * Removes the file of a Unix socket, unless a successor has put its own there; nothing for the others. Before the
 * sockets are closed: only while they are open is the file known to be theirs.
 */
void listen_cleanup(const struct listen_address *address);

#endif
