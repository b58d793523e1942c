/*
 * server_notices.c - see server_notices.h. The main thread.
 */
#include "server_notices.h"

#include <errno.h>
#include <string.h>

#include "loom/log.h"

/* How many have been counted since the last time. */
static unsigned grown(const atomic_uint *count, unsigned *told)
{
	unsigned now = atomic_load_explicit(count, memory_order_relaxed), before = *told;

	*told = now;
	return now - before;
}

static void log_accepting(const struct worker_config *config, const struct worker_notices *notices,
                          struct server_told *told)
{
	static const char *const fate[] = {
		[WHEN_FULL_WAIT] = "wait",
		[WHEN_FULL_503] = "get 503",
		[WHEN_FULL_CLOSE] = "are closed",
	};
	const struct options *options = config->options;
	unsigned failures = grown(&notices->accept_failures, &told->failures);
	unsigned crowding = grown(&notices->crowding, &told->crowding);
	int err = atomic_load_explicit(&notices->accept_errno, memory_order_relaxed);

	if (failures > 0)
		log_warn("worker %u: accepting failed %u times: %s%s", config->index, failures, strerror(err),
		         err == EMFILE ? " (raise the descriptor limit: ulimit -n, LimitNOFILE=)" : "");
	if (grown(&notices->full, &told->full) > 0)
		log_warn("worker %u: all %u connections are in use, new ones %s (raise --max-connections)",
		         config->index, config->conns, fate[options->when_full]);
	if (crowding > 0)
		log_warn("worker %u: %u connections were %s: their addresses have %u already "
		         "(--max-connections-per-ip)",
		         config->index, crowding, options->when_full == WHEN_FULL_CLOSE ? "closed" : "refused",
		         options->max_per_ip);
}

/* Answers that ended unfinished, other than for the client's sake. */
static void log_unfinished(const struct worker_config *config, const struct worker_notices *notices,
                           struct server_told *told)
{
	unsigned stale = grown(&notices->stale, &told->stale);
	unsigned unreadable = grown(&notices->unreadable, &told->unreadable);

	if (stale > 0)
		log_warn(
			"worker %u: %u responses ended unfinished: a streamed file was changed in place (replace files by "
			"rename)",
			config->index, stale);
	if (unreadable > 0)
		log_warn(
			"worker %u: %u responses ended unfinished: a streamed file could not be read: %s (see the kernel's "
			"log)",
			config->index, unreadable, strerror(EIO));
}

/*
 * Connections to a listener with proxy=on that came to nothing: a mistake in a configuration, this one or the proxy's.
 */
static void log_unproxied(const struct worker_config *config, const struct worker_notices *notices,
                          struct server_told *told)
{
	unsigned untrusted = grown(&notices->untrusted, &told->untrusted);
	unsigned unproxied = grown(&notices->unproxied, &told->unproxied);

	if (untrusted > 0)
		log_warn("worker %u: %u connections to a listener with proxy=on were closed: not from --proxy-from",
		         config->index, untrusted);
	if (unproxied > 0)
		log_warn(
			"worker %u: %u connections were closed: a PROXY header was missing or malformed (is the proxy told "
			"to send it?)",
			config->index, unproxied);
}

void notices_log(const struct worker_config *config, const struct worker_notices *notices, struct server_told *told)
{
	log_accepting(config, notices, told);
	log_unfinished(config, notices, told);
	log_unproxied(config, notices, told);
}
