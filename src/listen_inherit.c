/*
 * listen_inherit.c - sockets that somebody else has opened: a service manager (sd_listen_fds(3), without its library),
 * a shell, or the loom that is replaced. Main thread, at start. The descriptors are the caller's, before and after.
 */
#include "listen_address.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loom/units.h"

#define FIRST_PASSED 3 /* SD_LISTEN_FDS_START */

static bool read_variable(const char *name, uint64_t *value)
{
	const char *text = getenv(name), *end;

	return text && units_number(text, &end, value) == 0 && *end == '\0';
}

unsigned listen_passed_count(void)
{
	uint64_t pid, n;

	if (!read_variable("LISTEN_PID", &pid) || pid != (uint64_t)getpid() || !read_variable("LISTEN_FDS", &n))
		return 0;
	return n < LISTEN_PASSED_MAX + 1 ? (unsigned)n : LISTEN_PASSED_MAX + 1;
}

int listen_passed(struct listen_passed passed[LISTEN_PASSED_MAX], char *why, size_t size)
{
	unsigned n = listen_passed_count();
	const char *names = getenv("LISTEN_FDNAMES");

	if (n > LISTEN_PASSED_MAX)
		return listen_explain(why, size, "LISTEN_FDS=%s: at most %d sockets are taken", getenv("LISTEN_FDS"),
		                      LISTEN_PASSED_MAX);
	for (unsigned i = 0; i < n; i++) {
		size_t len = names ? strcspn(names, ":") : 0;

		passed[i] = (struct listen_passed){ .fd = FIRST_PASSED + (int)i };
		if (fcntl(passed[i].fd, F_SETFD, FD_CLOEXEC) < 0) {
			listen_explain(why, size, "LISTEN_FDS=%u, but descriptor %d is not open: %s", n, passed[i].fd,
			               strerror(errno));
			return -EBADF;
		}
		/* sd_listen_fds_with_names(3): without names, or with too few of them, they are unknown. */
		if (names)
			snprintf(passed[i].name, sizeof(passed[i].name), "%.*s", (int)len, names);
		else
			strcpy(passed[i].name, "unknown");
		names = names && names[len] == ':' ? names + len + 1 : NULL;
	}
	return (int)n;
}

static int integer_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) < 0 ? -errno : value;
}

int listen_examine(int fd, struct listen_address *address, char *why, size_t size)
{
	const char *wrong = NULL;
	int type = integer_option(fd, SOL_SOCKET, SO_TYPE), domain = integer_option(fd, SOL_SOCKET, SO_DOMAIN);
	int err = -EINVAL;

	if (type < 0) {
		err = type;
		wrong = err == -EBADF      ? "is not open (whoever starts loom must pass it on)"
		        : err == -ENOTSOCK ? "is no socket"
		                           : strerror(-err);
	} else if (type != SOCK_STREAM) {
		wrong = "is no stream socket (ListenStream= in a socket unit)";
	} else if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) {
		wrong = "is neither of TCP nor a Unix socket";
	} else {
		address->len = sizeof(address->addr);
		address->addr = (struct sockaddr_storage){ 0 };
		if (getsockname(fd, (struct sockaddr *)&address->addr, &address->len) < 0) {
			err = -errno;
			wrong = strerror(errno);
		} else if (integer_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1) {
			err = 0;
		} else if (domain == AF_UNIX ? address->len <= offsetof(struct sockaddr_un, sun_path)
		                             : *address_port(address) == 0) {
			wrong = "is not bound to an address";
		} else {
			struct sockaddr_storage peer;
			socklen_t len = sizeof(peer);

			/* systemd's Accept=yes starts a service for each connection, and passes that. */
			if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
				wrong = "is a connection, and no listening socket (Accept=no in a socket unit)";
			else
				err = 0;
		}
	}
	if (wrong) {
		listen_explain(why, size, "descriptor %d %s", fd, wrong);
		return err;
	}
	address->dual_stack = domain == AF_INET6 && address_is_wildcard(address) &&
	                      integer_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
	address_write_text(address);
	return 0;
}

bool listen_same(const struct listen_address *one, const struct listen_address *other)
{
	return one->len == other->len && memcmp(&one->addr, &other->addr, one->len) == 0;
}

/* Flags that all duplicates share (O_NONBLOCK), and the one that each has. */
static int make_ready(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

int listen_take_over(struct listen_address *address, const int given[], unsigned m, int fds[], unsigned n, char *why,
                     size_t size)
{
	char text[sizeof(address->text)];
	unsigned taken = 0;
	int err = 0;

	assert(m >= 1 && m <= n && n >= 1);
	strcpy(text, address->text);
	for (unsigned i = 0; i < m && !err; i++) {
		char reason[256];

		err = listen_examine(given[i], address, reason, sizeof(reason));
		if (err)
			listen_explain(why, size, "%s: %s", text, reason);
		if (!err && address_is_unix(address))
			err = listen_check_local(address, text, why, size);
		if (!err)
			err = listen_tune(address, given[i], why, size);
		if (!err) {
			err = make_ready(given[i]);
			if (err)
				listen_refuse(address, err, why, size);
		}
	}
	for (; taken < n && !err; taken++) {
		fds[taken] = taken < m ? given[taken] : fcntl(given[taken % m], F_DUPFD_CLOEXEC, 0);
		if (fds[taken] < 0) {
			err = listen_refuse(address, -errno, why, size);
			break;
		}
	}
	while (err && taken > m)
		close(fds[--taken]);
	if (err)
		return err;
	address->shared = n > m;
	return 0;
}
