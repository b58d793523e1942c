/*
 * server_metrics.h - the server's part of metrics: where the figures are from, and the listener of --metrics. Private to the
 * server. The main thread, but for what others do with source (metrics.h).
 */
#ifndef LOOM_SERVER_METRICS_H
#define LOOM_SERVER_METRICS_H

#include "loom/io.h"
#include "loom/metrics.h"
#include "loom/options.h"
#include "loom/reload.h"

struct server_metrics {
	struct metrics_source source;
	struct metrics_http *http; /* NULL without --metrics */
};

/* So that server_metrics_end() may be called. */
void server_metrics_init(struct server_metrics *metrics);

/*
 * Opens what may be forbidden later: what /proc tells, and the address, if a predecessor does not hand it over. 0, or -errno
 * after one line of why.
 */
int server_metrics_bind(struct server_metrics *metrics, const struct options *options, struct inherited *inherited);

/* Before a thread asks for metrics. worker and context: see metrics.h. */
void server_metrics_set(struct server_metrics *metrics, struct reload *reload, const struct io_ops *ops,
                        void (*worker)(void *context, unsigned index, struct conn_stats *total), void *context);

/* 0, or -errno after one line of why. */
int server_metrics_start(struct server_metrics *metrics);

/* Leaves, and if it is taken, the address to a successor. */
void server_metrics_yield(struct server_metrics *metrics, bool taken);

/* The metrics say so. */
void server_metrics_drain(struct server_metrics *metrics);

/* Before the reloader goes, and after the admin's thread has ended. */
void server_metrics_end(struct server_metrics *metrics);

#endif
