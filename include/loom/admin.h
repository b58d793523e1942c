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

/* All of it outlives the admin. */
struct admin_config {
	const struct options *options;
	struct reload *reload;
	const char *version;
	const char *backend; /* which, and what it uses */
	const char *const *listeners;
	unsigned listens;
	const struct metrics_source *metrics; /* what workers have counted, and all else that there is to tell */
};

/*
 * Binds the socket at path, mode 0600 from the first moment. A socket file that nobody listens on is replaced, one
 * that answers is an error. Main thread, before any other exists, since it changes the umask for that moment. 0, or
 * -errno with one line in why.
 */
int admin_bind(struct admin **admin, const char *path, char *why, size_t size);

/* Starts to listen, and the thread. 0, or -errno with one line in why. */
int admin_start(struct admin *admin, const struct admin_config *config, char *why, size_t size);

/* The server is draining: status says so. Any thread. */
void admin_drain(struct admin *admin);

/* Stops the thread, ends its clients, and removes the socket. Before reload_destroy(). NULL is allowed. */
void admin_destroy(struct admin *admin);

#endif
