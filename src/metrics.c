/*
 * metrics.c - see metrics.h: which figures there are, and what they are called. The thread that asks; owns nothing. A
 * figure that is added here belongs into docs/metrics.md as well, and a test compares the two.
 */
#include "loom/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loom/generations.h"
#include "loom/memory.h"
#include "loom/request.h"
#include "metrics_process.h"
#include "metrics_text.h"

static void number(struct metrics_text *text, enum family_kind kind, const char *name, const char *help, uint64_t value)
{
	text_family(text, kind, name, help);
	text_number(text, NULL, value);
}

static void labelled(struct metrics_text *text, const char *name, const char *value, uint64_t figure)
{
	const struct label labels[] = { { name, value }, { NULL, NULL } };

	text_number(text, labels, figure);
}

static void write_server(const struct metrics_source *source, struct metrics_text *text)
{
	const struct label labels[] = { { "version", source->version },
		                        { "backend", source->backend },
		                        { NULL, NULL } };

	text_family(text, FAMILY_INFO, "loom_build", "The version, and the event backend in use.");
	text_number(text, labels, 1);
	number(text, FAMILY_GAUGE, "loom_workers", "Event-loop threads.", source->options->workers);
	number(text, FAMILY_GAUGE, "loom_draining", "1 from the signal to end until the end.",
	       atomic_load_explicit(&source->draining, memory_order_relaxed));
}

static void write_requests(const struct conn_stats *total, struct metrics_text *text)
{
	static const char *const methods[METHODS] = {
		[METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",   [METHOD_OPTIONS] = "OPTIONS",
		[METHOD_CONNECT] = "CONNECT", [METHOD_OTHER] = "other",
	};
	static const char *const classes[STATS_CLASSES] = { NULL, NULL, "2xx", "3xx", "4xx", "5xx" };

	text_family(
		text, FAMILY_COUNTER, "loom_http_requests",
		"Requests that were answered, by method (other: also what could not be read) and class of the status.");
	for (unsigned method = 0; method < METHODS; method++) {
		for (unsigned class = 2; class < STATS_CLASSES; class ++) {
			const struct label labels[] = { { "method", methods[method] },
				                        { "code", classes[class] },
				                        { NULL, NULL } };

			text_number(text, labels, total->answers[method][class]);
		}
	}
}

static void write_http(const struct conn_stats *total, struct metrics_text *text)
{
	write_requests(total, text);
	number(text, FAMILY_COUNTER, "loom_http_sent_bytes",
	       "Bytes of answers, heads included, that the kernel has taken.", total->bytes);
	text_family(
		text, FAMILY_HISTOGRAM, "loom_http_request_duration_seconds",
		"From the turn of the loop in which a request was read to its answer's being handed to the kernel.");
	text_histogram(text, histogram_bounds_text, HISTOGRAM_BOUNDS, total->latency.bucket,
	               (double)total->latency.sum / 1e9);
	number(text, FAMILY_COUNTER, "loom_http_kept_responses",
	       "Answers about a file that is gone from the tree and still served (--keep-generations).", total->kept);
	number(text, FAMILY_COUNTER, "loom_http_streamed_sends",
	       "Sends of bytes that were not held in memory; several ranges of one answer are as many sends.",
	       total->streamed);
	text_family(
		text, FAMILY_COUNTER, "loom_http_unfinished_responses",
		"Answers that were broken off since a streamed file was changed in place (stale) or could not be read.");
	labelled(text, "reason", "stale", total->stale);
	labelled(text, "reason", "unreadable", total->unreadable);
	number(text, FAMILY_COUNTER, "loom_http_timeouts",
	       "Requests that did not arrive in time, and answers that made no progress.", total->timeouts);
}

static void write_connections(const struct metrics_source *source, const struct conn_stats *total,
                              struct metrics_text *text)
{
	text_family(text, FAMILY_GAUGE, "loom_connections", "Open connections, by what they are doing.");
	for (unsigned i = 0; i < STATS_STATES; i++)
		if (source->states[i])
			labelled(text, "state", source->states[i], total->states[i]);
	number(text, FAMILY_GAUGE, "loom_connections_max", "The most connections at a time (--max-connections).",
	       source->options->max_connections);
	number(text, FAMILY_COUNTER, "loom_connections_accepted", "Connections that were accepted.", total->accepted);
	number(text, FAMILY_COUNTER, "loom_connections_exhausted",
	       "Times that a worker took its last free connection and stopped accepting.", total->full);
	text_family(
		text, FAMILY_COUNTER, "loom_proxy_refused",
		"Connections to a listener with proxy=on that were closed: from elsewhere than --proxy-from (untrusted), or "
		"without a whole PROXY header (malformed).");
	labelled(text, "reason", "untrusted", total->untrusted);
	labelled(text, "reason", "malformed", total->unproxied);
	text_family(
		text, FAMILY_COUNTER, "loom_connections_refused",
		"Connections that were not let in, since there were too many in all or of one address: answered 503 "
		"(refused), or closed (closed).");
	labelled(text, "how", "refused", total->refused);
	labelled(text, "how", "closed", total->turned_away);
	number(text, FAMILY_COUNTER, "loom_accept_failures",
	       "Times that accepting failed (no descriptors, no memory) and was suspended for a moment.",
	       total->accept_failures);
}

/* One family of the workers, by the same number of each. */
static void write_workers(const struct conn_stats stats[], unsigned workers, struct metrics_text *text,
                          enum family_kind kind, const char *name, const char *help,
                          void (*write)(const struct conn_stats *stats, struct metrics_text *text,
                                        const struct label *labels))
{
	text_family(text, kind, name, help);
	for (unsigned i = 0; i < workers; i++) {
		char worker[16];
		const struct label labels[] = { { "worker", worker }, { NULL, NULL } };

		snprintf(worker, sizeof(worker), "%u", i);
		write(&stats[i], text, labels);
	}
}

static void write_open(const struct conn_stats *stats, struct metrics_text *text, const struct label *labels)
{
	text_number(text, labels, conn_stats_open(stats));
}

static void write_accepted(const struct conn_stats *stats, struct metrics_text *text, const struct label *labels)
{
	text_number(text, labels, stats->accepted);
}

static void write_answered(const struct conn_stats *stats, struct metrics_text *text, const struct label *labels)
{
	text_number(text, labels, stats->requests);
}

static void write_cpu(const struct conn_stats *stats, struct metrics_text *text, const struct label *labels)
{
	text_real(text, labels, (double)stats->cpu / 1e9);
}

static void write_loops(const struct metrics_source *source, const struct conn_stats stats[],
                        const struct conn_stats *total, struct metrics_text *text)
{
	unsigned workers = source->options->workers;

	write_workers(stats, workers, text, FAMILY_GAUGE, "loom_worker_connections", "Open connections of a worker.",
	              write_open);
	write_workers(stats, workers, text, FAMILY_COUNTER, "loom_worker_accepted",
	              "Connections that a worker has accepted.", write_accepted);
	write_workers(stats, workers, text, FAMILY_COUNTER, "loom_worker_requests",
	              "Requests that a worker has answered.", write_answered);
	write_workers(stats, workers, text, FAMILY_COUNTER, "loom_worker_cpu_seconds",
	              "CPU time of a worker, the kernel's work for it included, in seconds.", write_cpu);
	text_family(text, FAMILY_HISTOGRAM, "loom_loop_turn_duration_seconds",
	            "Turns of the event loops, from the end of a wait for the kernel to the beginning of the next.");
	text_histogram(text, histogram_bounds_text, HISTOGRAM_BOUNDS, total->turns.bucket,
	               (double)total->turns.sum / 1e9);
	for (unsigned i = 0; i < FIGURES_MAX && source->io && source->io[i].name; i++) {
		char name[64];

		snprintf(name, sizeof(name), "loom_%s", source->io[i].name);
		text_family(text, FAMILY_COUNTER, name, source->io[i].help);
		for (unsigned worker = 0; worker < workers; worker++) {
			char number[16];

			snprintf(number, sizeof(number), "%u", worker);
			labelled(text, "worker", number, stats[worker].io[i]);
		}
	}
}

static void write_current(void *context, const struct snapshot *snapshot, uint64_t since)
{
	struct metrics_text *text = context;

	(void)since; /* of this object; the generation may be older */
	text_family(text, FAMILY_INFO, "loom_snapshot",
	            "The id of what is served: the same for the same tree on every machine.");
	labelled(text, "id", snapshot->id, 1);
	number(text, FAMILY_GAUGE, "loom_snapshot_files", "Files that are served.", snapshot->files);
	number(text, FAMILY_GAUGE, "loom_snapshot_bytes", "Bytes of their contents.", snapshot->bytes);
	number(text, FAMILY_GAUGE, "loom_snapshot_memory_bytes",
	       "Memory that the snapshot holds, alone or with others.", snapshot->memory);
	number(text, FAMILY_GAUGE, "loom_snapshot_streamed_files", "Files that are sent from the file system.",
	       snapshot->streamed);
	number(text, FAMILY_GAUGE, "loom_snapshot_streamed_bytes", "Bytes of their contents.",
	       snapshot->streamed_bytes);
	number(text, FAMILY_GAUGE, "loom_snapshot_kept_files",
	       "Files that are gone from the tree and still served; in no other figure.", snapshot->kept);
	number(text, FAMILY_GAUGE, "loom_snapshot_kept_bytes", "Bytes of their contents.", snapshot->kept_bytes);
	number(text, FAMILY_GAUGE, "loom_snapshot_variants", "Contents in a content coding.", snapshot->coded);
	number(text, FAMILY_GAUGE, "loom_snapshot_variant_bytes", "Bytes of these.", snapshot->coded_bytes);
}

struct generation_counts {
	uint64_t age, pinned;
	uint64_t number[GENERATION_RETIRED + 1], pins[GENERATION_RETIRED + 1];
};

static bool count_generation(void *context, const struct generation *generation)
{
	struct generation_counts *counts = context;
	enum generation_state state = generation->state;

	if (state == GENERATION_PINNED) {
		counts->pinned = 1;
		state = GENERATION_CURRENT;
	}
	if (state == GENERATION_CURRENT)
		counts->age = generation->age;
	counts->number[state]++;
	counts->pins[state] += generation->shares;
	return true;
}

static void write_by_state(struct metrics_text *text, const char *name, const char *help, const uint64_t figures[])
{
	text_family(text, FAMILY_GAUGE, name, help);
	labelled(text, "state", "current", figures[GENERATION_CURRENT]);
	labelled(text, "state", "kept", figures[GENERATION_KEPT]);
	labelled(text, "state", "retired", figures[GENERATION_RETIRED]);
}

static void write_snapshots(const struct metrics_source *source, struct metrics_text *text)
{
	struct generations *generations = reload_generations(source->reload);
	struct generation_counts counts = { 0 };

	generations_visit(generations, write_current, text);
	generations_list(generations, count_generation, &counts);
	text_family(text, FAMILY_GAUGE, "loom_snapshot_age_seconds",
	            "Since what is served went live for the first time.");
	text_real(text, NULL, (double)counts.age / 1000);
	write_by_state(
		text, "loom_generations",
		"Snapshots: the one that is served, those kept for a roll-back, those that answers still refer to.",
		counts.number);
	write_by_state(text, "loom_generation_pins", "Workers that hold one of these.", counts.pins);
	number(text, FAMILY_GAUGE, "loom_generation_pinned",
	       "1 while a generation is held (loomctl pin, rollback) and the tree is not published.", counts.pinned);
	number(text, FAMILY_GAUGE, "loom_memory_held_bytes", "Memory that all snapshots hold.", memory_held());
	number(text, FAMILY_GAUGE, "loom_memory_max_bytes", "What they may hold (--max-memory).",
	       source->options->max_memory);
}

static void write_reloads(const struct metrics_source *source, struct metrics_text *text)
{
	static const char *const results[RELOAD_RESULTS] = {
		[RELOAD_LIVE] = "live",     [RELOAD_SAME] = "same",     [RELOAD_REFUSED] = "refused",
		[RELOAD_FAILED] = "failed", [RELOAD_PINNED] = "pinned",
	};
	static const char *const ends[RELOAD_BOUNDS] = RELOAD_BOUNDS_TEXT;
	struct reload_status status;

	reload_status(source->reload, &status);
	text_family(
		text, FAMILY_COUNTER, "loom_reloads",
		"Readings of the tree, the first one included, by what came of them: a new snapshot went live; the same "
		"contents; refused by the gate; failed; not published, a generation being pinned.");
	for (unsigned i = 0; i < RELOAD_RESULTS; i++)
		labelled(text, "result", results[i], status.results[i]);
	text_family(text, FAMILY_HISTOGRAM, "loom_reload_duration_seconds", "What they took.");
	text_histogram(text, ends, RELOAD_BOUNDS, status.took, (double)status.took_ms / 1000);
	number(text, FAMILY_GAUGE, "loom_reload_last_success_timestamp_seconds",
	       "When the tree was last read and found to be, or become, what is served, in seconds since the epoch.",
	       (uint64_t)status.succeeded);
	number(text, FAMILY_GAUGE, "loom_reload_building", "1 while the tree is read.", status.building);
	number(text, FAMILY_GAUGE, "loom_variants_pending", "Contents that are being compressed, or wait for it.",
	       status.pending);
	number(text, FAMILY_COUNTER, "loom_variants_made", "Contents that were compressed, or taken from --cache-dir.",
	       status.made);
	number(text, FAMILY_COUNTER, "loom_variants_dropped",
	       "Compressed contents that were dropped for want of memory.", status.dropped);
}

static void write_all(const struct metrics_source *source, const struct conn_stats stats[], struct metrics_text *text)
{
	struct conn_stats total = { 0 };

	for (unsigned i = 0; i < source->options->workers; i++)
		conn_stats_add(&total, &stats[i]);
	write_server(source, text);
	write_http(&total, text);
	write_connections(source, &total, text);
	write_loops(source, stats, &total, text);
	write_snapshots(source, text);
	write_reloads(source, text);
	number(text, FAMILY_COUNTER, "loom_log_records_dropped",
	       "Records of the access log that there was no time for.",
	       source->log_dropped ? source->log_dropped(source->context) : 0);
	metrics_process_write(&source->process, text);
	text_end(text);
}

int metrics_write(const struct metrics_source *source, enum metrics_format format, char **out, size_t *len)
{
	struct conn_stats *stats = calloc(source->options->workers, sizeof(*stats));
	struct metrics_text text = { .format = format };

	if (!stats)
		return -ENOMEM;
	for (unsigned i = 0; i < source->options->workers; i++)
		source->worker(source->context, i, &stats[i]);
	write_all(source, stats, &text);
	free(stats);
	if (text.failed) {
		free(text.bytes);
		return -ENOMEM;
	}
	*out = text.bytes;
	*len = text.len;
	return 0;
}
