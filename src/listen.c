/*
 * listen.c - addresses and listening sockets.
 *
 * Main thread, at start and at the end. Owns no memory and no descriptor: they are the caller's from the moment that
 * they are handed over.
 *
 * SO_REUSEPORT, which gives each worker its own queue, would also let two servers share a port without either of them
 * knowing. So the sockets are bound with SO_REUSEADDR alone, which fails beside a listening socket of anybody, and one
 * of them listens (the kernel checks once more) before SO_REUSEPORT is set and the others join it.
 */
#include "loom/listen.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUSY_RETRIES  50
#define BUSY_DELAY_MS 10

#define UNIX_PREFIX "unix:"
#define EXAMPLES    "[::]:8080, 127.0.0.1:8080, :8080 or unix:/path"

/* An address as it is written in options: "[::1]:8080", "127.0.0.1:8080", "unix:/path". */
struct address_name {
	char text[sizeof(((struct sockaddr_un *)NULL)->sun_path) + sizeof(UNIX_PREFIX)];
};

__attribute__((format(printf, 3, 4))) static int explain(char *why, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, size, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

static bool is_unix(const struct listen_address *address)
{
	return address->addr.ss_family == AF_UNIX;
}

static const char *unix_path(const struct listen_address *address)
{
	return ((const struct sockaddr_un *)&address->addr)->sun_path;
}

/* Where the port of an Internet address is kept. */
static in_port_t *port_of(struct listen_address *address)
{
	if (address->addr.ss_family == AF_INET6)
		return &((struct sockaddr_in6 *)&address->addr)->sin6_port;
	assert(address->addr.ss_family == AF_INET);
	return &((struct sockaddr_in *)&address->addr)->sin_port;
}

static void name_address(const struct listen_address *address, struct address_name *name)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->addr;
	char host[INET6_ADDRSTRLEN];
	char scope[IF_NAMESIZE + 1] = "";

	if (is_unix(address)) {
		snprintf(name->text, sizeof(name->text), UNIX_PREFIX "%s", unix_path(address));
	} else if (address->addr.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		if (in6->sin6_scope_id) {
			scope[0] = '%';
			if (!if_indextoname(in6->sin6_scope_id, scope + 1))
				scope[0] = '\0';
		}
		snprintf(name->text, sizeof(name->text), "[%s%s]:%u", host, scope, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(name->text, sizeof(name->text), "%s:%u", host, ntohs(in->sin_port));
	}
}

static bool is_wildcard(const struct listen_address *address)
{
	if (address->addr.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&address->addr)->sin6_addr);
	return address->addr.ss_family == AF_INET &&
	       ((const struct sockaddr_in *)&address->addr)->sin_addr.s_addr == htonl(INADDR_ANY);
}

/* What can be opened in a browser. [::] and 0.0.0.0 cannot, in many. */
static void write_text(struct listen_address *address)
{
	struct address_name name;

	name_address(address, &name);
	if (is_unix(address))
		snprintf(address->text, sizeof(address->text), "%s", name.text);
	else if (is_wildcard(address))
		snprintf(address->text, sizeof(address->text), "http://localhost:%u/ (all interfaces)",
		         ntohs(*port_of(address)));
	else
		snprintf(address->text, sizeof(address->text), "http://%s/", name.text);
}

static int parse_unix(const char *text, struct listen_address *address, char *why, size_t size)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&address->addr;
	const char *path = text + sizeof(UNIX_PREFIX) - 1;
	size_t len = strlen(path);

	if (len == 0)
		return explain(why, size, "'%s' lacks the path (as in unix:/run/loom.sock)", text);
	if (len >= sizeof(un->sun_path))
		return explain(why, size, "'%s': a Unix socket's path has at most %zu bytes", text,
		               sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	address->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return 0;
}

/* Decimal digits, 0 to 65535. */
static int parse_port(const char *text, in_port_t *port)
{
	unsigned value = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > UINT16_MAX)
			return -ERANGE;
	}
	*port = htons((uint16_t)value);
	return 0;
}

/* The inside of [...]: an address, perhaps with the %interface that a link-local one needs (RFC 4007 11). */
static int parse_in6(const char *host, struct sockaddr_in6 *in6)
{
	char copy[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
	char *scope;

	if (strlen(host) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, host);
	scope = strchr(copy, '%');
	if (scope) {
		*scope++ = '\0';
		in6->sin6_scope_id = if_nametoindex(scope);
		if (in6->sin6_scope_id == 0)
			return -ENODEV;
	}
	return inet_pton(AF_INET6, copy, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
}

static int parse_host(const char *text, const char *host, struct listen_address *address, char *why, size_t size)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->addr;
	struct sockaddr_in *in = (struct sockaddr_in *)&address->addr;
	size_t len = strlen(host);

	if (len == 0) {
		in6->sin6_family = AF_INET6; /* the rest is zero: [::] */
		address->len = sizeof(*in6);
	} else if (host[0] == '[' && host[len - 1] == ']') {
		char inside[64];
		int error;

		snprintf(inside, sizeof(inside), "%.*s", (int)len - 2, host + 1);
		in6->sin6_family = AF_INET6;
		address->len = sizeof(*in6);
		error = parse_in6(inside, in6);
		if (error == -ENODEV)
			return explain(why, size, "'%s': this machine has no such interface", text);
		if (error)
			return explain(why, size, "'%s': %s is no IPv6 address", text, host);
	} else if (strchr(host, ':')) {
		return explain(why, size, "'%s': an IPv6 address stands in brackets (as in [::1]:8080)", text);
	} else {
		in->sin_family = AF_INET;
		address->len = sizeof(*in);
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			return explain(why, size, "'%s': '%s' is no numeric address (%s)", text, host, EXAMPLES);
	}
	address->dual_stack = address->addr.ss_family == AF_INET6 && is_wildcard(address);
	return 0;
}

int listen_parse(const char *text, struct listen_address *address, char *why, size_t size)
{
	const char *colon = strrchr(text, ':');
	const char *port_text;
	char host[64] = "";
	in_port_t port = 0;
	int error;

	*address = (struct listen_address){ 0 };
	if (strncmp(text, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0) {
		error = parse_unix(text, address, why, size);
		if (!error)
			write_text(address);
		return error;
	}
	if (colon) {
		if ((size_t)(colon - text) >= sizeof(host))
			return explain(why, size, "'%s' is no address (%s)", text, EXAMPLES);
		memcpy(host, text, (size_t)(colon - text));
		port_text = colon + 1;
	} else {
		port_text = text;
	}
	error = parse_port(port_text, &port);
	if (error == -ERANGE)
		return explain(why, size, "'%s': a port is at most 65535", text);
	if (error && (!colon || strchr(port_text, ']')))
		return explain(why, size, "'%s' lacks a port (%s)", text, EXAMPLES);
	if (error)
		return explain(why, size, "'%s': '%s' is no port (%s)", text, port_text, EXAMPLES);
	error = parse_host(text, host, address, why, size);
	if (error)
		return error;
	*port_of(address) = port;
	write_text(address);
	return 0;
}

static const char *remedy(const struct listen_address *address, int error)
{
	switch (error) {
	case EADDRINUSE:
		if (is_unix(address))
			return " (another process answers there; end it, or choose another path)";
		return " (another process listens there: ss -ltnp names it; or choose another port with --port or --listen)";
	case EACCES:
		if (is_unix(address))
			return "";
		return " (low ports need CAP_NET_BIND_SERVICE, which a unit gives by AmbientCapabilities=; or take one from "
		       "1024 up)";
	case EADDRNOTAVAIL:
		return " (no interface of this machine has that address)";
	case EAFNOSUPPORT:
		return " (this kernel does without IPv6)";
	case ENOTSOCK:
		return " (there is a file that is no socket; it is not touched)";
	default:
		return "";
	}
}

static int refuse(const struct listen_address *address, int error, char *why, size_t size)
{
	struct address_name name;

	assert(error < 0);
	name_address(address, &name);
	explain(why, size, "cannot listen on %s: %s%s", name.text, strerror(-error), remedy(address, -error));
	return error;
}

/* A socket of the address's family with every option that it needs before it is bound. A descriptor, or -errno. */
static int open_socket(const struct listen_address *address)
{
	const int on = 1, v6only = !address->dual_stack;
	int fd, error;

	fd = socket(address->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (is_unix(address))
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    (address->addr.ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof(v6only)) < 0)) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static int bind_patiently(int fd, const struct listen_address *address, int retries)
{
	const struct timespec delay = { .tv_nsec = BUSY_DELAY_MS * 1000 * 1000 };

	for (int i = 0;; i++) {
		if (bind(fd, (const struct sockaddr *)&address->addr, address->len) == 0)
			return 0;
		if (errno != EADDRINUSE || is_unix(address) || i == retries)
			return -errno;
		nanosleep(&delay, NULL);
	}
}

/* What is in the place of a Unix socket: 0 nothing, 1 the file of one that is dead; or -errno. */
static int probe_path(const struct listen_address *address)
{
	struct stat st;
	int fd, error;

	if (lstat(unix_path(address), &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = open_socket(address);
	if (fd < 0)
		return fd;
	error = connect(fd, (const struct sockaddr *)&address->addr, address->len) < 0 ? errno : 0;
	close(fd);
	switch (error) {
	case ECONNREFUSED:
		return 1;
	case ENOENT:
		return 0;
	case 0:
	case EAGAIN:     /* alive, its backlog is full */
	case EPROTOTYPE: /* alive, with datagrams */
		return -EADDRINUSE;
	default:
		return -error;
	}
}

/* Makes way for a Unix socket. 0 or -errno. */
static int clear_path(const struct listen_address *address)
{
	int state = probe_path(address);

	if (state <= 0)
		return state;
	return unlink(unix_path(address)) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_unix(struct listen_address *address)
{
	struct stat st;
	int fd, error;

	error = clear_path(address);
	if (error)
		return error;
	fd = open_socket(address);
	if (fd < 0)
		return fd;
	error = bind_patiently(fd, address, 0);
	if (!error && lstat(unix_path(address), &st) < 0)
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	address->device = st.st_dev;
	address->inode = st.st_ino;
	return fd;
}

static int bind_internet(struct listen_address *address, int retries)
{
	int fd, error;

	fd = open_socket(address);
	if (fd < 0)
		return fd;
	error = bind_patiently(fd, address, retries);
	address->len = sizeof(address->addr);
	if (!error && getsockname(fd, (struct sockaddr *)&address->addr, &address->len) < 0)
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

/* [::] on a kernel without IPv6: the same port of 0.0.0.0 is what the user means. */
static void use_ipv4(struct listen_address *address)
{
	in_port_t port = *port_of(address);

	address->addr = (struct sockaddr_storage){ 0 };
	address->dual_stack = false;
	address->addr.ss_family = AF_INET;
	address->len = sizeof(struct sockaddr_in);
	*port_of(address) = port;
}

static int bind_first_internet(struct listen_address *address, int retries)
{
	const struct listen_address asked = *address;
	int fd = bind_internet(address, retries);

	if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && asked.dual_stack) {
		*address = asked;
		use_ipv4(address);
		fd = bind_internet(address, retries);
	}
	if (fd < 0) {
		address->addr = asked.addr;
		address->len = asked.len;
	}
	return fd;
}

static int bind_first(struct listen_address *address)
{
	return is_unix(address) ? bind_unix(address) : bind_first_internet(address, BUSY_RETRIES);
}

int listen_bind(struct listen_address *address, int fds[], unsigned n, char *why, size_t size)
{
	assert(n >= 1);
	for (unsigned i = 0; i < n; i++) {
		if (i == 0) {
			fds[i] = bind_first(address);
		} else if (is_unix(address)) {
			fds[i] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
			if (fds[i] < 0)
				fds[i] = -errno;
		} else {
			fds[i] = bind_internet(address,
			                       BUSY_RETRIES); /* the port of the first: it is in the address now */
		}
		if (fds[i] < 0) {
			int error = fds[i];

			if (i > 0)
				listen_cleanup(address);
			while (i-- > 0)
				close(fds[i]);
			return refuse(address, error, why, size);
		}
	}
	write_text(address);
	return 0;
}

/*
 * One more socket of an address that sockets of ours listen on already: SO_REUSEPORT is set before it is bound, since
 * it could not be bound otherwise. The kernel lets sockets of one user join alone (EADDRINUSE): a process that has
 * dropped its user since shares the first socket instead, and with it the queue.
 */
static int join(struct listen_address *address, int first)
{
	const int on = 1;
	int fd;

	if (is_unix(address))
		return fcntl(first, F_DUPFD_CLOEXEC, 0);
	fd = open_socket(address);
	if (fd >= 0 && setsockopt(first, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
	    bind(fd, (const struct sockaddr *)&address->addr, address->len) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return fcntl(first, F_DUPFD_CLOEXEC, 0);
}

int listen_adopt(struct listen_address *address, int fds[], unsigned have, unsigned want, char *why, size_t size)
{
	assert(have >= 1);
	address->len = sizeof(address->addr);
	if (getsockname(fds[0], (struct sockaddr *)&address->addr, &address->len) < 0) {
		explain(why, size, "what was inherited for a listening socket is none: %s", strerror(errno));
		return -errno;
	}
	address->dual_stack = address->addr.ss_family == AF_INET6 && is_wildcard(address);
	for (unsigned i = have; i < want; i++) {
		fds[i] = join(address, fds[0]);
		if (fds[i] < 0) {
			int error = -errno;

			while (i-- > have)
				close(fds[i]);
			return refuse(address, error, why, size);
		}
	}
	write_text(address);
	return 0;
}

bool listen_is_at(const struct listen_address *address, int fd)
{
	struct listen_address is = { 0 };

	is.len = sizeof(is.addr);
	if (getsockname(fd, (struct sockaddr *)&is.addr, &is.len) < 0 || is.addr.ss_family != address->addr.ss_family)
		return false;
	if (is_unix(address))
		return strcmp(unix_path(&is), unix_path(address)) == 0;
	return is.len == address->len && memcmp(&is.addr, &address->addr, is.len) == 0;
}

/* Whether a file could be made in the directory of the path. 0 or -errno. */
static int try_directory(const char *path)
{
	char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1] = ".";
	const char *slash = strrchr(path, '/');

	if (slash)
		snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path) + 1, path);
	return access(directory, W_OK | X_OK) < 0 ? -errno : 0;
}

int listen_try(const struct listen_address *address, char *why, size_t size)
{
	struct listen_address copy = *address;
	int error;

	if (is_unix(address)) {
		error = probe_path(address);
		if (error >= 0)
			error = try_directory(unix_path(address));
	} else {
		error = bind_first_internet(&copy, 0);
		if (error >= 0)
			error = close(error);
	}
	return error < 0 ? refuse(address, error, why, size) : 0;
}

bool listen_conflict(const struct listen_address *one, const struct listen_address *other)
{
	struct listen_address a = *one, b = *other;

	if (is_unix(&a) || is_unix(&b))
		return is_unix(&a) && is_unix(&b) && strcmp(unix_path(&a), unix_path(&b)) == 0;
	if (*port_of(&a) != *port_of(&b) || *port_of(&a) == 0)
		return false;
	if (a.addr.ss_family != b.addr.ss_family)
		return a.dual_stack || b.dual_stack;
	return is_wildcard(&a) || is_wildcard(&b) || memcmp(&a.addr, &b.addr, a.len) == 0;
}

static int listen_all(const struct listen_address *address, const int fds[], unsigned n)
{
	const int on = 1;

	/* The kernel cuts the backlog down to net.core.somaxconn. */
	if (listen(fds[0], INT_MAX) < 0)
		return -errno;
	if (is_unix(address) || n == 1)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		if (setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
			return -errno;
		if (i > 0 && listen(fds[i], INT_MAX) < 0)
			return -errno;
	}
	return 0;
}

void listen_limit_unsent(const int fds[], unsigned n, uint32_t bytes)
{
	int value = bytes < INT_MAX ? (int)bytes : INT_MAX;

	for (unsigned i = 0; i < n; i++)
		(void)setsockopt(fds[i], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value));
}

int listen_start(struct listen_address *address, int fds[], unsigned n, char *why, size_t size)
{
	int error;

	assert(n >= 1);
	error = listen_all(address, fds, n);
	return error ? refuse(address, error, why, size) : 0;
}

void listen_cleanup(const struct listen_address *address)
{
	struct stat st;

	if (!is_unix(address) || address->inode == 0 || lstat(unix_path(address), &st) < 0)
		return;
	if (st.st_dev == address->device && st.st_ino == address->inode)
		unlink(unix_path(address));
}
