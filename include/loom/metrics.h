/*
 * metrics.h - loom's figures for machines: the text format of Prometheus (0.0.4) and OpenMetrics 1.0.0, as a command of
 * the admin socket, and over HTTP with --metrics (a listener and a thread of its own, docs/metrics.md). Reads what others
 * count and have; nobody ever waits for it but on the locks that the admin socket takes, too.
 *
 * Names follow https://prometheus.io/docs/practices/naming/: the prefix loom_, base units, _total of what only grows.
 */
#ifndef LOOM_METRICS_H
#define LOOM_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/inherit.h"
#include "loom/figure.h"
#include "loom/options.h"
#include "loom/reload.h"
#include "loom/stats.h"

/* Where the kernel tells about this process: opened at start, since a sandbox may forbid it later. -1: not told. */
struct metrics_process {
	int statm, fds;
	double started; /* seconds since the epoch; 0: not known */
};

/* Main thread. What cannot be had is left out of the metrics. metrics_process_close() may be called once or never. */
void metrics_process_open(struct metrics_process *process);
void metrics_process_close(struct metrics_process *process);

/* Where all figures are from. Set before threads that write metrics begin, and outlives them. */
struct metrics_source {
	const struct options *options;
	struct reload *reload;
	const char *version;
	const char *backend;       /* its name */
	const char *const *states; /* STATS_STATES names of connections' states; NULL: not to be told */
	const struct figure *io;   /* of conn_stats.io; NULL: none */
	struct metrics_process process;
	atomic_bool draining;
	/* Adds what worker index has counted. Any thread; must not block. */
	void (*worker)(void *context, unsigned index, struct conn_stats *total);
	/* Records of logs that were dropped, so far. Any thread; must not block. NULL: there is no such log. */
	uint64_t (*log_dropped)(void *context);
	void *context;
};

enum metrics_format {
	METRICS_TEXT,        /* text/plain; version=0.0.4 */
	METRICS_OPENMETRICS, /* application/openmetrics-text; version=1.0.0 */
};

/* All of it, for free(3). 0 or -ENOMEM. Any thread, also several at once. */
int metrics_write(const struct metrics_source *source, enum metrics_format format, char **text, size_t *len);

/*
 * Which format a scraper wants, by the value of its Accept field (RFC 9110 12.5.1): OpenMetrics when it is named, with a
 * weight that is not less than that of plain text.
 */
enum metrics_format metrics_accept(const char *accept, size_t len);

struct metrics_http;

/*
 * Binds the address (listen.h), or takes its socket from a predecessor (inherit.h), and listens when it is started. Main
 * thread. 0, or -errno with one line in why. GET and HEAD of /metrics, one request a connection; few connections, bounded in bytes and time: a scraper that is slow, or
 * worse, harms nobody but other scrapers, and these for seconds.
 */
int metrics_http_bind(struct metrics_http **http, const char *address, struct inherited *inherited, char *why,
                      size_t size);
int metrics_http_start(struct metrics_http *http, const struct metrics_source *source, char *why, size_t size);

/* The socket and its address, for a successor. -1: there is none. */
int metrics_http_socket(const struct metrics_http *http, const struct listen_address **address);

/* The file of a Unix socket is a successor's from now on. */
void metrics_http_leave(struct metrics_http *http);

/* For people: "http://127.0.0.1:9100/", the real port. */
const char *metrics_http_address(const struct metrics_http *http);

/* Stops the thread and closes all. NULL is allowed. Before what the source refers to goes. */
void metrics_http_destroy(struct metrics_http *http);

#endif
