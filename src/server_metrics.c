/*
 * server_metrics.c - see server_metrics.h. The main thread. Owns the listener and the descriptors of /proc.
 */
#include "server_metrics.h"

#include "loom/log.h"
#include "loom/worker.h"

#define WHY_SIZE 512

void server_metrics_init(struct server_metrics *metrics)
{
	metrics->source.process.statm = metrics->source.process.fds = -1;
}

int server_metrics_bind(struct server_metrics *metrics, const struct options *options, struct inherited *inherited)
{
	char why[WHY_SIZE];
	int err = 0;

	metrics->source.options = options;
	if (options->metrics || options->admin)
		metrics_process_open(&metrics->source.process);
	if (options->metrics)
		err = metrics_http_bind(&metrics->http, options->metrics, inherited, why, sizeof(why));
	if (err < 0)
		log_error("--metrics: %s", why);
	return err;
}

void server_metrics_set(struct server_metrics *metrics, struct reload *reload, const struct io_ops *ops,
                        void (*worker)(void *context, unsigned index, struct conn_stats *total), void *context)
{
	struct metrics_source *source = &metrics->source;

	source->reload = reload;
	source->version = LOOM_VERSION;
	source->backend = ops->name;
	source->states = conn_state_names;
	source->io = ops->figures;
	source->worker = worker;
	source->context = context;
}

int server_metrics_start(struct server_metrics *metrics)
{
	char why[WHY_SIZE];
	int err;

	if (!metrics->http)
		return 0;
	err = metrics_http_start(metrics->http, &metrics->source, why, sizeof(why));
	if (err < 0)
		log_error("--metrics: %s", why);
	else
		log_info("metrics at %s", metrics_http_address(metrics->http));
	return err;
}

void server_metrics_yield(struct server_metrics *metrics, bool taken)
{
	if (metrics->http && taken)
		metrics_http_leave(metrics->http);
	metrics_http_destroy(metrics->http);
	metrics->http = NULL;
}

void server_metrics_drain(struct server_metrics *metrics)
{
	atomic_store_explicit(&metrics->source.draining, true, memory_order_relaxed);
}

void server_metrics_end(struct server_metrics *metrics)
{
	metrics_http_destroy(metrics->http);
	metrics->http = NULL;
	metrics_process_close(&metrics->source.process);
}
