/*
 * notify.c - see notify.h. Main thread. Owns a datagram socket.
 */
#include "loom/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loom/log.h"

static bool read_number(const char *name, uint64_t *number)
{
	const char *text = getenv(name);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static int set_address(struct notify *notify, const char *path)
{
	size_t len = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || len < 2)
		return -EAFNOSUPPORT;
	if (len >= sizeof(notify->address.sun_path))
		return -ENAMETOOLONG;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, path, len + 1);
	notify->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (path[0] == '@')
		notify->address.sun_path[0] = '\0'; /* abstract: as long as it is, without an end */
	return 0;
}

void notify_open(struct notify *notify)
{
	const char *path = getenv("NOTIFY_SOCKET");
	const struct timeval patience = { .tv_sec = 1 };
	uint64_t pid, usec;
	int err;

	*notify = (struct notify){ .fd = -1 };
	if (!path || !*path)
		return;
	err = set_address(notify, path);
	if (!err) {
		notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		err = notify->fd < 0 ? -errno : 0;
	}
	if (err) {
		log_warn("NOTIFY_SOCKET=%s: %s; the service manager is told nothing", path, strerror(-err));
		return;
	}
	setsockopt(notify->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!read_number("WATCHDOG_USEC", &usec) || usec == 0)
		return;
	if (getenv("WATCHDOG_PID") && (!read_number("WATCHDOG_PID", &pid) || pid != (uint64_t)getpid()))
		return;
	notify->watchdog_ms = usec < 1000 ? 1 : usec / 1000;
}

void notify_close(struct notify *notify)
{
	if (notify->fd >= 0)
		close(notify->fd);
	*notify = (struct notify){ .fd = -1 };
}

void notify_send(const struct notify *notify, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	ssize_t sent;
	int len;

	if (notify->fd < 0)
		return;
	va_start(arguments, format);
	len = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (len < 0)
		return;
	if ((size_t)len >= sizeof(text))
		len = sizeof(text) - 1;
	do
		sent = sendto(notify->fd, text, (size_t)len, MSG_NOSIGNAL, (const struct sockaddr *)&notify->address,
		              notify->len);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		log_debug("the service manager was not told: %s", strerror(errno));
}

void notify_reloading(const struct notify *notify)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	notify_send(notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
	            (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

enum watchdog_verdict watchdog_look(struct watchdog *watchdog, const uint64_t turns[], unsigned *hung)
{
	for (unsigned i = 0; watchdog->woken && i < watchdog->workers; i++) {
		if (turns[i] == WATCHDOG_ENDED || turns[i] != watchdog->seen[i])
			continue;
		*hung = i;
		return WATCHDOG_HOLD;
	}
	for (unsigned i = 0; i < watchdog->workers; i++)
		watchdog->seen[i] = turns[i];
	watchdog->woken = true;
	return WATCHDOG_FEED;
}
