/*
 * notify.h - what a service manager is told: the datagrams of sd_notify(3), to the socket that NOTIFY_SOCKET names; and
 * how often its watchdog wants to be fed (WATCHDOG_USEC, WATCHDOG_PID). Main thread. No library is needed for it.
 */
#ifndef LOOM_NOTIFY_H
#define LOOM_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

struct notify {
	int fd; /* -1: nobody wants to know */
	struct sockaddr_un address;
	socklen_t len;
	uint64_t watchdog_ms; /* in which WATCHDOG=1 is wanted once; 0: it is not */
};

/*
 * Reads the environment. The socket is "/path" or "@name" (abstract: unix(7)); what is neither, or cannot be had, is
 * a warning, and nobody is told anything then.
 */
void notify_open(struct notify *notify);

void notify_close(struct notify *notify);

/*
 * Sends lines, NAME=VALUE with newlines between. A manager that takes nothing for a second is passed over. Does nothing
 * when nobody wants to know.
 */
void notify_send(const struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "RELOADING=1", with the moment that a manager asks for with it. notify_send("READY=1") is its end. */
void notify_reloading(const struct notify *notify);

/*
 * Whether a watchdog may be fed: when every worker has turned since it was looked at before. A worker that sleeps is
 * woken after each look, so standing still means that something holds it.
 */
struct watchdog {
	uint64_t *seen; /* a worker's turns when it was woken */
	unsigned workers;
	bool woken; /* there was a look before */
};

#define WATCHDOG_ENDED UINT64_MAX /* in place of the turns of a worker that has ended */

enum watchdog_verdict {
	WATCHDOG_FEED, /* feed it, and wake all workers */
	WATCHDOG_HOLD, /* a worker has not turned: which, in *hung; it has been woken already */
};

/* Looks, and remembers turns when the verdict is FEED. The first look is FEED. */
enum watchdog_verdict watchdog_look(struct watchdog *watchdog, const uint64_t turns[], unsigned *hung);

#endif
