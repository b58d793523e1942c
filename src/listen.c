/*
 * listen.c - listening sockets: opening, binding, listening, and what is left of them at the end. listen_parse.c reads
 * addresses, listen_options.c what stands behind them, listen_inherit.c takes over sockets that somebody else has
 * opened.
 *
 * Main thread, at start and at the end. Owns no memory and no descriptor: they are the caller's from the moment that
 * they are handed over.
 *
 * SO_REUSEPORT, which gives each worker its own queue, would also let two servers share a port without either of them
 * knowing. So the sockets are bound with SO_REUSEADDR alone, which fails beside a listening socket of anybody, and one
 * of them listens (the kernel checks once more) before SO_REUSEPORT is set and the others join it.
 */
#include "listen_address.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUSY_RETRIES  50
#define BUSY_DELAY_MS 10

static const char *remedy(const struct listen_address *address, int error)
{
	switch (error) {
	case EADDRINUSE:
		if (address_is_unix(address))
			return " (another process answers there; end it, or choose another path)";
		return " (another process listens there: ss -ltnp names it; or choose another port with --port or --listen)";
	case EACCES:
		if (address_is_unix(address))
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

int listen_refuse(const struct listen_address *address, int error, char *why, size_t size)
{
	struct address_name name;

	assert(error < 0);
	address_name(address, &name);
	listen_explain(why, size, "cannot listen on %s: %s%s", name.text, strerror(-error), remedy(address, -error));
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
	if (address_is_unix(address))
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
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
		if (errno != EADDRINUSE || address_is_unix(address) || i == retries)
			return -errno;
		nanosleep(&delay, NULL);
	}
}

/* What is in the place of a Unix socket: 0 nothing, 1 the file of one that is dead; or -errno. */
static int probe_path(const struct listen_address *address)
{
	struct stat st;
	int fd, error;

	if (lstat(address_path(address), &st) < 0)
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
	struct stat before, st;
	int state;

	if (lstat(address_path(address), &before) < 0)
		return errno == ENOENT ? 0 : -errno;
	state = probe_path(address);
	if (state <= 0)
		return state;
	if (lstat(address_path(address), &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Whoever has put another one there since is alive. What happens from here on, listen_start() sees. */
	if (st.st_dev != before.st_dev || st.st_ino != before.st_ino)
		return -EADDRINUSE;
	return unlink(address_path(address)) < 0 && errno != ENOENT ? -errno : 0;
}

/* The file's mode is what the umask leaves of 0777 (unix(7)); so there is no moment at which it is another one. */
static int bind_mode(int fd, const struct listen_address *address)
{
	mode_t before;
	int error;

	if (!(address->options.given & 1 << LISTEN_MODE))
		return bind_patiently(fd, address, 0);
	before = umask(0777 & ~address->options.mode);
	error = bind_patiently(fd, address, 0);
	umask(before);
	return error;
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
	error = bind_mode(fd, address);
	if (!error && lstat(address_path(address), &st) < 0)
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
	in_port_t port = *address_port(address);

	address->addr = (struct sockaddr_storage){ 0 };
	address->dual_stack = false;
	address->addr.ss_family = AF_INET;
	address->len = sizeof(struct sockaddr_in);
	*address_port(address) = port;
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
	return address_is_unix(address) ? bind_unix(address) : bind_first_internet(address, BUSY_RETRIES);
}

static int bind_next(struct listen_address *address, int first)
{
	int fd;

	if (!address_is_unix(address))
		return bind_internet(address, BUSY_RETRIES); /* the port of the first: it is in the address now */
	fd = fcntl(first, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int listen_bind(struct listen_address *address, int fds[], unsigned n, char *why, size_t size)
{
	unsigned bound;
	int error = 0;

	assert(n >= 1 && address->source == LISTEN_OWN);
	for (bound = 0; bound < n && !error; bound++) {
		fds[bound] = bound == 0 ? bind_first(address) : bind_next(address, fds[0]);
		if (fds[bound] < 0) {
			error = listen_refuse(address, fds[bound], why, size);
			break;
		}
		error = listen_tune(address, fds[bound], why, size);
	}
	if (error) {
		if (bound > 0)
			listen_cleanup(address);
		while (bound-- > 0)
			close(fds[bound]);
		return error;
	}
	address->shared = address_is_unix(address) && n > 1;
	address_write_text(address);
	return 0;
}

/*
 * One more socket of an address that sockets of ours listen on already: SO_REUSEPORT is set before it is bound, since
 * it could not be bound otherwise. The kernel lets sockets of one user join alone (EADDRINUSE): a process that has
 * dropped its user since shares the first socket instead, and with it the queue; and so it does with a socket that was
 * passed, which has no such option set.
 */
static int join(struct listen_address *address, int first)
{
	const int on = 1;
	int fd = -1;

	if (address->source == LISTEN_OWN && !address_is_unix(address)) {
		fd = open_socket(address);
		if (fd >= 0 && setsockopt(first, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
		    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
		    bind(fd, (const struct sockaddr *)&address->addr, address->len) == 0)
			return fd;
	}
	if (fd >= 0)
		close(fd);
	address->shared = true;
	fd = fcntl(first, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* The mode that the file of a Unix socket is to have, if it is still the one that was handed over. 0 or -errno. */
static int adopt_mode(const struct listen_address *address, char *why, size_t size)
{
	const char *path = address_path(address);
	char name[sizeof("/proc/self/fd/-2147483648")];
	struct stat st;
	int fd, error = 0;

	if (!address_is_unix(address) || address->source != LISTEN_OWN || address->inode == 0 ||
	    !(address->options.given & 1 << LISTEN_MODE))
		return 0;
	/* By a descriptor: what lies in its place may be a link to something else by the time that its mode is set. */
	fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return 0; /* its path has been taken away, as has_path() will say */
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && st.st_dev == address->device && st.st_ino == address->inode &&
	    (st.st_mode & 0777) != address->options.mode && chmod(name, address->options.mode) < 0)
		error = -errno;
	close(fd);
	if (error)
		listen_explain(why, size, "unix:%s is there already, and cannot be given mode=%04o: %s (whose is it?)",
		               path, (unsigned)address->options.mode, strerror(-error));
	return error;
}

int listen_adopt(struct listen_address *address, int fds[], unsigned have, unsigned want, char *why, size_t size)
{
	unsigned all = want > have ? want : have, n = have;
	int error = 0;

	assert(have >= 1);
	address->len = sizeof(address->addr);
	if (getsockname(fds[0], (struct sockaddr *)&address->addr, &address->len) < 0) {
		error = -errno;
		listen_explain(why, size, "what was inherited for a listening socket is none: %s", strerror(-error));
		return error;
	}
	address->dual_stack = address->addr.ss_family == AF_INET6 && address_is_wildcard(address);
	/* A Unix socket, and one that was passed, is there once, and what was handed over are its duplicates. */
	address->shared = have > 1 && (address->source != LISTEN_OWN || address_is_unix(address));
	while (n < all && !error) {
		fds[n] = join(address, fds[0]);
		if (fds[n] < 0)
			error = listen_refuse(address, fds[n], why, size);
		else
			n++;
	}
	for (unsigned i = 0; i < n && !error; i++) {
		listen_untune(address, fds[i]);
		error = listen_tune(address, fds[i], why, size);
	}
	if (!error)
		error = adopt_mode(address, why, size);
	while (error && n > have)
		close(fds[--n]);
	if (!error)
		address_write_text(address);
	return error;
}

bool listen_is_at(const struct listen_address *address, int fd)
{
	struct listen_address is = { 0 };

	is.len = sizeof(is.addr);
	if (address->source != LISTEN_OWN || getsockname(fd, (struct sockaddr *)&is.addr, &is.len) < 0 ||
	    is.addr.ss_family != address->addr.ss_family)
		return false;
	if (address_is_unix(address))
		return strcmp(address_path(&is), address_path(address)) == 0;
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

	if (address_is_unix(address)) {
		error = probe_path(address);
		if (error >= 0)
			error = try_directory(address_path(address));
	} else {
		int fd = error = bind_first_internet(&copy, 0);

		if (fd >= 0) {
			error = listen_tune(address, fd, why, size);
			close(fd);
			if (error)
				return error;
		}
	}
	return error < 0 ? listen_refuse(address, error, why, size) : 0;
}

bool listen_conflict(const struct listen_address *one, const struct listen_address *other)
{
	struct listen_address a = *one, b = *other;

	if (a.source != LISTEN_OWN || b.source != LISTEN_OWN)
		return a.source == b.source && a.descriptor == b.descriptor && strcmp(a.name, b.name) == 0;
	if (address_is_unix(&a) || address_is_unix(&b))
		return address_is_unix(&a) && address_is_unix(&b) && strcmp(address_path(&a), address_path(&b)) == 0;
	if (*address_port(&a) != *address_port(&b) || *address_port(&a) == 0)
		return false;
	if (a.addr.ss_family != b.addr.ss_family)
		return a.dual_stack || b.dual_stack;
	return address_is_wildcard(&a) || address_is_wildcard(&b) || memcmp(&a.addr, &b.addr, a.len) == 0;
}

/* Whether the file of a Unix socket is still the one that was bound. */
static bool has_path(const struct listen_address *address)
{
	struct stat st;

	return address->inode == 0 ||
	       (lstat(address_path(address), &st) == 0 && st.st_dev == address->device && st.st_ino == address->inode);
}

static int listen_one(const struct listen_address *address, int fd)
{
	/* The kernel cuts the backlog down to net.core.somaxconn. */
	return listen(fd, address->options.backlog ? address->options.backlog : INT_MAX) < 0 ? -errno : 0;
}

static int listen_all(const struct listen_address *address, const int fds[], unsigned n)
{
	const int on = 1;
	int error = listen_one(address, fds[0]);

	if (!error && !has_path(address))
		return -EADDRINUSE;
	if (error || address->shared || n == 1)
		return error;
	for (unsigned i = 0; i < n; i++) {
		if (setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
			return -errno;
		error = i > 0 ? listen_one(address, fds[i]) : 0;
		if (error)
			return error;
	}
	return 0;
}

/* Passed sockets listen as a rule, with a backlog of their own. */
static int listen_passed_ones(const struct listen_address *address, const int fds[], unsigned n)
{
	int error = 0;

	for (unsigned i = 0; i < n && !error; i++) {
		int listens = 0;
		socklen_t len = sizeof(listens);

		if (getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
			return -errno;
		if (!listens || address->options.given & 1 << LISTEN_BACKLOG)
			error = listen_one(address, fds[i]);
	}
	return error;
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
	error = address->source == LISTEN_OWN ? listen_all(address, fds, n) : listen_passed_ones(address, fds, n);
	return error ? listen_refuse(address, error, why, size) : 0;
}

void listen_cleanup(const struct listen_address *address)
{
	if (address_is_unix(address) && address->inode != 0 && has_path(address))
		unlink(address_path(address));
}
