/*
 * inside.c - what is to be seen in the server's own memory between two turns (run.h): nothing is lost, nothing is held by
 * who does not need it, every count is what there is. The only file of the simulator that looks there.
 */
#include <string.h>

#include "loom/access_ring.h"
#include "run.h"
#include "shelf.h"

struct found {
	unsigned open, inputs, outputs, timers, states[CONN_STATES];
	unsigned pins[PLAN_EVENTS + 1];
};

/* In the oracle's words. */
static bool is_state(const struct conn *conn, const struct life *life)
{
	static const enum conn_state states[] = {
		[LIFE_OUT] = CONN_FREE,
		[LIFE_WAITING] = CONN_FREE,
		[LIFE_PROXY] = CONN_PROXY,
		[LIFE_IDLE] = CONN_IDLE,
		[LIFE_READING] = CONN_READING,
		[LIFE_SENDING] = CONN_SENDING,
		[LIFE_LINGERING] = CONN_LINGERING,
		[LIFE_CLOSING] = CONN_CLOSING,
		[LIFE_OVER] = CONN_FREE,
	};

	return conn->state == states[life->state];
}

static void look_at(struct run *run, const struct conn *conn, struct found *found)
{
	bool sending = conn->state == CONN_SENDING, closing = conn->state == CONN_CLOSING;
	const struct life *life = sim_owner_of(run->sim, conn->io.fd);

	run_require(run, life && is_state(conn, life), "descriptor %d: state %d, and it should be in %d", conn->io.fd,
	            conn->state, life ? (int)life->state : -1);
	found->open++;
	found->states[conn->state]++;
	found->inputs += conn->input != NULL;
	found->outputs += conn->output != NULL;
	found->timers += conn->timer.next != NULL;
	run_require(run, (conn->timer.next != NULL) == !closing, "descriptor %d: state %d, and %s timer", conn->io.fd,
	            conn->state, closing ? "a" : "no");
	run_require(run, sending ? conn->output != NULL : closing || !conn->output,
	            "descriptor %d: an output in state %d", conn->io.fd, conn->state);
	run_require(run, conn->output || !conn->snapshot, "descriptor %d: a pin, and no output", conn->io.fd);
	run_require(run,
	            conn->state == CONN_READING ? conn->input && conn->input->reading
	                                        : sending || conn->state == CONN_PROXY || !conn->input,
	            "descriptor %d: an input in state %d", conn->io.fd, conn->state);
	for (unsigned i = run->oldest; conn->snapshot && i <= run->newest; i++)
		found->pins[i] += run->publication[i].snapshot == conn->snapshot;
}

static void check_snapshots(struct run *run, const struct conn_context *context, const struct found *found)
{
	const struct snapshot *waiting = atomic_load(&run->inbox.next);

	for (unsigned i = run->oldest; i <= run->newest; i++) {
		const struct snapshot *snapshot = run->publication[i].snapshot;
		unsigned pins = found->pins[i] + (snapshot && snapshot == context->snapshot);
		unsigned shares = pins > 0 || (snapshot && snapshot == waiting);

		if (!snapshot) {
			run_require(run, pins == 0, "version %u is used, and was freed", run->publication[i].version);
			continue;
		}
		run_require(run, snapshot->share[0].pins == pins, "version %u has %u pins, and %u who use it",
		            run->publication[i].version, snapshot->share[0].pins, pins);
		run_require(run, atomic_load(&snapshot->shares) == shares, "version %u has %u shares instead of %u",
		            run->publication[i].version, atomic_load(&snapshot->shares), shares);
	}
	run_require(run,
	            context->snapshot == run->publication[run->current].snapshot ||
	                    (run->may_be_newest && context->snapshot == run->publication[run->newest].snapshot),
	            "the current snapshot is not version %u", run->publication[run->current].version);
}

void inside_check(struct run *run)
{
	const struct conn_context *context = worker_context(run->worker);
	struct found found = { 0 };

	for (uint32_t i = 0; i < context->conns.touched; i++) {
		const struct conn *conn = pool_at(&context->conns, i);

		if (conn->state != CONN_FREE)
			look_at(run, conn, &found);
		else
			run_require(run, !conn->input && !conn->output && !conn->snapshot && !conn->timer.next,
			            "something is left in a free connection");
	}
	run_require(run, found.open == run->open && context->conns.used == run->open,
	            "%u connections, %u of them in use, and %u should be", found.open, context->conns.used, run->open);
	run_require(run, context->inputs.used == found.inputs, "%u inputs are taken, and %u used", context->inputs.used,
	            found.inputs);
	run_require(run, context->outputs.used == found.outputs, "%u outputs are taken, and %u used",
	            context->outputs.used, found.outputs);
	run_require(run, context->notes.used == (run->plan->log ? found.outputs : 0), "%u notes are taken, and %u used",
	            context->notes.used, found.outputs);
	run_require(run, context->wheel.nodes == found.timers + run->pause.linked + run->drain_end.linked,
	            "%u timers, and %u + %u + %u are known", context->wheel.nodes, found.timers, run->pause.linked,
	            run->drain_end.linked);
	for (unsigned i = CONN_FREE + 1; i < CONN_STATES; i++)
		run_require(run, context->stats.states[i] == found.states[i],
		            "%llu connections count as %s, and %u are", (unsigned long long)context->stats.states[i],
		            conn_state_names[i], found.states[i]);
	if (context->snapshot)
		check_snapshots(run, context, &found);
}

void inside_check_send(struct run *run, struct sim_stream *stream, const struct iovec *iov, unsigned n,
                       const struct io_file_send *file)
{
	const struct conn *conn = (const struct conn *)sim_conn_of(stream);
	const char *own = (const char *)conn->output;
	size_t size = worker_context(run->worker)->outputs.size;

	for (unsigned i = 0; i < n; i++) {
		const char *base = iov[i].iov_base;

		if (base >= own && base + iov[i].iov_len <= own + size)
			continue;
		run_require(run, conn->snapshot && shelf_holds(conn->snapshot, base, iov[i].iov_len),
		            "descriptor %d: memory is sent that is not held", conn->io.fd);
	}
	run_require(run, !file || (conn->snapshot && shelf_holds_file(conn->snapshot, file->file)),
	            "descriptor %d: a file is sent that is not held", conn->io.fd);
}

void inside_take_records(struct run *run)
{
	const struct access_record *record;

	while ((record = access_ring_next(&run->ring))) {
		uint64_t whole = record->head + record->bytes;

		run_require(run, record->status >= 200 && record->status < 600 && record->head > 0,
		            "a record with status %u", record->status);
		run->logged.records++;
		run->logged.named[record->peer.address[3] % NAMES_MAX]++;
		run_require(run, record->peer.family == PEER_IN4, "a record of nobody");
		run->logged.answers[record->status / 100]++;
		run->logged.most += whole;
		run->logged.least += record->flags & ACCESS_COMPLETE || record->bytes > 0 ? whole : 0;
	}
	access_ring_release(&run->ring);
}

static void check_records(struct run *run, const struct conn_stats *stats)
{
	uint64_t dropped = atomic_load(&run->ring.dropped);

	inside_take_records(run);
	run_require(run, run->logged.records + dropped == stats->requests,
	            "%llu records and %llu dropped of %llu answers", (unsigned long long)run->logged.records,
	            (unsigned long long)dropped, (unsigned long long)stats->requests);
	if (dropped)
		return;
	run_require(run,
	            memcmp(run->logged.answers, run->counts.answers, sizeof(run->counts.answers)) == 0 &&
	                    memcmp(run->logged.named, run->counts.named, sizeof(run->counts.named)) == 0,
	            "records do not tell of the answers");
	run_require(run, run->logged.least <= stats->bytes && stats->bytes <= run->logged.most,
	            "%llu bytes have left, and records say %llu to %llu", (unsigned long long)stats->bytes,
	            (unsigned long long)run->logged.least, (unsigned long long)run->logged.most);
}

static void check_count(struct run *run, const char *what, uint64_t counted, uint64_t were)
{
	run_require(run, counted == were, "%llu %s are counted, and %llu were", (unsigned long long)counted, what,
	            (unsigned long long)were);
}

void inside_check_end(struct run *run)
{
	static const char *const classes[STATS_CLASSES] = { "0xx", "1xx", "2xx", "3xx", "4xx", "5xx" };
	const struct run_counts *counts = &run->counts;
	struct conn_stats stats = { 0 };
	uint64_t answers = 0;

	worker_stats(run->worker, &stats);
	for (unsigned i = 0; i < STATS_CLASSES; i++) {
		uint64_t counted = 0;

		for (unsigned method = 0; method < STATS_METHODS; method++)
			counted += stats.answers[method][i];
		check_count(run, classes[i], counted, counts->answers[i]);
		answers += counts->answers[i];
	}
	check_count(run, "open connections", conn_stats_open(&stats), 0);
	check_count(run, "answers", stats.requests, answers);
	check_count(run, "bytes", stats.bytes, counts->bytes);
	check_count(run, "accepted connections", stats.accepted, counts->accepted);
	check_count(run, "refused connections", stats.refused, counts->refused);
	check_count(run, "connections turned away", stats.turned_away, counts->turned_away);
	check_count(run, "failures to accept", stats.accept_failures, counts->accept_failures);
	check_count(run, "timeouts", stats.timeouts, counts->timeouts);
	check_count(run, "strangers", stats.untrusted, counts->untrusted);
	check_count(run, "malformed PROXY headers", stats.unproxied, counts->unproxied);
	check_count(run, "failures of files", stats.stale + stats.unreadable, sim_file_failures(run->sim));
	if (run->plan->log)
		check_records(run, &stats);
}
