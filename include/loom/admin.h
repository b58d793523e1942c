/*
 * admin.h - the admin socket (--admin, docs/admin.md): a thread that answers loomctl. It reads what others count and
 * have, switches generations, and asks the reloader; nobody ever waits for it.
 */
#ifndef LOOM_ADMIN_H
#define LOOM_ADMIN_H

#include <stddef.h>
#include <stdint.h>

#include "loom/metrics.h"
#include "loom/options.h"
#include "loom/reload.h"

struct admin;
struct inherited;
struct listen_address;

/* All of it outlives the admin. Whoever has an answer for it (reload_on_answer(), upgraded()) calls admin_wake(). */
struct admin_config {
	const struct options *options;
	struct reload *reload;
	const char *version;
	const char *backend; /* which, and what it uses */
	const char *const *listeners;
	unsigned listens;
	const struct metrics_source *metrics; /* what workers have counted, and all else that there is to tell */
	/* Begins an upgrade: a ticket, or 0 with one line in why. On the admin's thread; must not block. */
	uint64_t (*upgrade)(void *context, char *why, size_t size);
	/* Whether it has ended: 0 not yet, 1 with the successor's pid, -1 with one line in why. */
	int (*upgraded)(void *context, uint64_t ticket, int *pid, char *why, size_t size);
	void *context;
};

/*
 * Binds the socket at path, mode 0600 from the first moment. A socket file that nobody listens on is replaced, one
 * that answers is an error; one that a predecessor has handed over is taken (inherited may be NULL). Main thread, before any other exists, since it changes the umask for that moment. 0, or
 * -errno with one line in why.
 */
int admin_bind(struct admin **admin, const char *path, struct inherited *inherited, char *why, size_t size);

/* What a successor is handed: the descriptor, and the address of it; -1 when there is none. NULL is allowed. */
int admin_socket(const struct admin *admin, const struct listen_address **address);

/* Starts to listen, and the thread. 0, or -errno with one line in why. */
int admin_start(struct admin *admin, const struct admin_config *config, char *why, size_t size);

/* Something that a client waits for may be there. Any thread; async-signal-safe. NULL is allowed. */
void admin_wake(struct admin *admin);

/*
 * A successor has the socket now: no more clients are accepted, and the file stays. Those that are there are served on.
 * Any thread. NULL is allowed.
 */
void admin_yield(struct admin *admin);

/* The server is draining: status says so. Any thread. */
void admin_drain(struct admin *admin);

/* Stops the thread, ends its clients, and removes the socket. Before reload_destroy(). NULL is allowed. */
void admin_destroy(struct admin *admin);

#endif
