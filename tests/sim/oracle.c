/*
 * oracle.c - the server's end of each connection as it must be (run.h). It is told of every crossing of the seam, and is
 * a state machine of its own: from what the client has sent and what was handed over it knows what the server may do next,
 * what it must have done by the end of the event or of the turn, and at which tick each deadline is looked at. It looks at
 * nothing in src/ but the public constants.
 */
#include <assert.h>
#include <string.h>

#include "run.h"

/* Accepting is tried again so long after it has failed: docs/ARCHITECTURE.md. */
#define PAUSE_MS 100

static uint64_t tick_of(uint64_t deadline)
{
	return (deadline + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
}

void timer_set(struct timer *timer, uint64_t deadline)
{
	timer->deadline = deadline;
	if (timer->linked && tick_of(deadline) >= timer->tick)
		return;
	timer->linked = true;
	timer->tick = tick_of(deadline);
}

bool timer_fires(const struct timer *timer, uint64_t now)
{
	return timer->linked && now / WHEEL_TICK_MS >= timer->tick && timer->deadline <= now;
}

/* The end of a turn, for a timer that has not fired. */
static void timer_visit(struct timer *timer, uint64_t now)
{
	if (timer->linked && now / WHEEL_TICK_MS >= timer->tick)
		timer->tick = tick_of(timer->deadline);
}

static bool is_draining(const struct run *run)
{
	return run->obeyed != WORKER_RUN;
}

/* Timers are looked at when all events of a turn are handled. */
static bool is_expiring(const struct run *run)
{
	return run->handling_op == -1;
}

static bool fires(const struct life *life)
{
	return timer_fires(&life->timer, life->run->now);
}

static void set_deadline(struct life *life, uint32_t ms)
{
	timer_set(&life->timer, life->run->now + ms);
}

/* Bytes of a request are there, and no answer to it. */
static bool has_begun(const struct life *life)
{
	const struct exchange *next = &life->talk.exchange[life->answered];

	return life->answered < life->talk.n && life->delivered > next->start + next->blank;
}

/* The rate at which a request must come is looked at again after a while, or it is all over. */
static void look_again(struct life *life)
{
	const struct worker_settings *settings = run_settings(life->run);
	uint64_t at = life->request_until;

	if (settings->limits.recv_rate && life->run->now + settings->timeouts.recv_window < at)
		at = life->run->now + settings->timeouts.recv_window;
	timer_set(&life->timer, at);
}

static void begin_reading(struct life *life)
{
	const struct exchange *next = &life->talk.exchange[life->answered];

	life->state = LIFE_READING;
	life->started = true;
	life->request_until = life->run->now + run_settings(life->run)->timeouts.header;
	life->window_from = next->start + next->blank;
	look_again(life);
}

/* Bytes a window must have brought; while windows may go back to before a change of settings, any will do. */
static uint64_t least_of(const struct life *life, uint32_t ms, uint32_t rate)
{
	uint64_t least = (uint64_t)ms * rate / 1000;

	return least > 0 && life->timer.deadline <= life->run->unsettled_until ? 1 : least;
}

static bool comes_too_slowly(const struct life *life)
{
	const struct worker_settings *settings = run_settings(life->run);

	return life->run->now >= life->request_until ||
	       life->delivered - life->window_from <
	               least_of(life, settings->timeouts.recv_window, settings->limits.recv_rate);
}

bool oracle_is_late(const struct life *life)
{
	return life->state == LIFE_READING && is_expiring(life->run) && fires(life) && comes_too_slowly(life);
}

static void opens(void *context, struct sim_stream *stream)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);

	run_require(run, life->state == LIFE_WAITING, "client %u is opened twice", life->number);
	if (run->queued > 0) {
		run_require(run, run->queue[run->queue_first] == life, "client %u is let in out of turn", life->number);
		run->queue_first = (run->queue_first + 1) % PLAN_CLIENTS;
		run->queued--;
	}
	life->state = run->plan->proxy ? LIFE_PROXY : LIFE_IDLE;
	life->fresh = true;
	run->open++;
}

static void receives(void *context, struct sim_stream *stream)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);

	run_require(run, !life->ended, "client %u has ended, and is read from", life->number);
	life->credit = true;
	if (life->fresh) {
		life->fresh = false;
		run->counts.accepted++;
		run->address_open[life->plan->address] += !run->plan->proxy; /* behind one all have its address */
		set_deadline(life, is_draining(run) ? CONN_DRAIN_FIRST_MS : run_settings(run)->timeouts.header);
		return;
	}
	if (life->state != LIFE_SENDING)
		return;
	run_require(run, !life->in_flight && !life->failed && !life->last && !life->more,
	            "client %u is read from, and is not done with", life->number);
	if (has_begun(life)) {
		begin_reading(life);
	} else {
		life->state = LIFE_IDLE;
		set_deadline(life, is_draining(run) ? CONN_DRAIN_NEXT_MS : run_settings(run)->timeouts.keepalive);
	}
}

/* The header is there, and more than it, perhaps. */
static void pass_header(struct life *life)
{
	if (life->state == LIFE_PROXY && !life->talk.header->bad && life->delivered >= life->talk.header_by)
		life->state = LIFE_IDLE;
}

static void sends(void *context, struct sim_stream *stream, const struct iovec *iov, unsigned n,
                  const struct io_file_send *file)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);

	if (life->fresh)
		life->state = LIFE_IDLE;
	pass_header(life);
	run_require(run,
	            life->state == LIFE_IDLE || life->state == LIFE_READING ||
	                    (life->state == LIFE_SENDING && !life->in_flight && !life->failed),
	            "client %u is sent something, in state %d", life->number, life->state);
	if (life->fresh) {
		life->fresh = false;
		life->refused = true;
		run->refusing++;
		run->counts.refused++;
	}
	life->progress_base = life->submitted;
	life->measured = false;
	judge_send(life, iov, n, file);
	inside_check_send(run, stream, iov, n, file);
	if (is_expiring(run))
		life->timer.linked = false; /* it has fired */
	life->started = true;
	life->state = LIFE_SENDING;
	life->in_flight = true;
	set_deadline(life, run_settings(run)->timeouts.send);
}

static void shuts(void *context, struct sim_stream *stream)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);
	bool after_last = life->state == LIFE_SENDING && !life->in_flight && !life->failed && !life->more &&
	                  life->last && life->lingers && !life->ended;
	bool idle = life->state == LIFE_IDLE && life->started && (life->must_end || (is_expiring(run) && fires(life)));

	run_require(run, after_last || idle, "client %u is shut down, in state %d", life->number, life->state);
	if (idle && !life->must_end)
		life->timer.linked = false;
	life->must_end = false;
	life->state = LIFE_LINGERING;
	set_deadline(life, idle || is_draining(run) || life->refused ? CONN_LINGER_BRIEF_MS : CONN_LINGER_MS);
}

/* Why a connection may be closed in its state; NULL: there is no reason. */
static const char *reason_to_close(const struct life *life)
{
	const struct run *run = life->run;
	bool expired = is_expiring(run) && fires(life);

	if (run->obeyed == WORKER_ABORT)
		return "all are";
	if (life->slow)
		return "it does not take its answer";
	switch (life->state) {
	case LIFE_PROXY:
		return life->ended                                     ? "it has ended"
		       : expired                                       ? "it has no header"
		       : life->talk.header->bad && life->delivered > 0 ? "its header is none"
		                                                       : NULL;
	case LIFE_IDLE:
		return life->ended ? "it has ended" : expired && !life->started ? "it never spoke" : NULL;
	case LIFE_READING:
		return life->ended ? "it has ended" : NULL;
	case LIFE_SENDING:
		if (life->failed)
			return "sending fails";
		return !life->in_flight && !life->more && life->last && (!life->lingers || life->ended) ? "it is done"
		                                                                                        : NULL;
	case LIFE_LINGERING:
		return life->ended ? "it has ended" : expired ? "it does not end" : NULL;
	case LIFE_OUT:
	case LIFE_WAITING:
	case LIFE_CLOSING:
	case LIFE_OVER:
		break;
	}
	return NULL;
}

static void closes(void *context, struct sim_stream *stream)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);
	const char *reason = reason_to_close(life);

	run_require(run, reason, "client %u is closed, in state %d", life->number, life->state);
	sim_trace(run->sim, "client %u is closed: %s", life->number, reason);
	life->abrupt = !life->ended;
	if (life->state == LIFE_PROXY && !life->ended && run->obeyed != WORKER_ABORT) {
		run->counts.timeouts += is_expiring(run);
		run->counts.unproxied += !is_expiring(run);
	}
	if (life->state == LIFE_SENDING && (life->in_flight || life->failed)) {
		uint64_t before = life->submitted - life->sending;

		life->cut = true;
		run->counts.bytes += life->progress > before ? life->progress - before : 0;
	}
	life->state = LIFE_CLOSING;
	life->timer.linked = false;
}

static void asks_progress(void *context, struct sim_stream *stream, uint64_t progress)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);
	const struct worker_settings *settings = run_settings(run);
	uint64_t least = least_of(life, settings->timeouts.send, settings->limits.send_rate);

	life->progress = progress;
	if (life->state != LIFE_SENDING || !life->in_flight || life->slow || !is_expiring(run) || !fires(life) ||
	    run->obeyed == WORKER_ABORT)
		return;
	life->timer.linked = false;
	/* Whether it has taken as much as it must, or is still busy with what was sent before this. */
	if (progress > life->progress_base && !life->measured)
		least = 1;
	if (progress < life->progress_base || progress - life->progress_base >= (least > 0 ? least : 1)) {
		life->progress_base = progress;
		life->measured = true;
		set_deadline(life, settings->timeouts.send);
	} else {
		life->slow = true;
		run->counts.timeouts++;
	}
}

static void drops(void *context, struct sim_stream *stream)
{
	struct run *run = context;
	struct life *life = sim_owner(stream);

	run_require(run, life->state == LIFE_WAITING, "client %u: close(2) in state %d", life->number, life->state);
	if (run->queued > 0 && run->queue[run->queue_first] == life) {
		run->queue_first = (run->queue_first + 1) % PLAN_CLIENTS;
		run->queued--;
		if (run->obeyed != WORKER_ABORT)
			run->counts.turned_away++;
	} else if (run->expected == EXPECT_TURNED_AWAY) {
		run->counts.turned_away++;
	}
	life->state = LIFE_OVER;
}

static unsigned spare(const struct run *run)
{
	return run->options.when_full == WHEN_FULL_503 ? OPTIONS_REFUSALS : 0;
}

static bool is_full(const struct run *run)
{
	return run->open - (spare(run) ? run->refusing : 0) >= run->plan->conns;
}

static bool is_crowded(const struct run *run, const struct life *life)
{
	return run->plan->per_address && !run->plan->proxy &&
	       run->address_open[life->plan->address] >= run->plan->per_address;
}

/* A client who was let in, or was not: what becomes of it. */
static void accept_begins(struct run *run, struct life *life)
{
	life->state = LIFE_WAITING;
	run->counts.untrusted += run->plan->proxy && life->plan->stranger;
	if ((run->plan->proxy && life->plan->stranger) || run->obeyed == WORKER_ABORT)
		run->expected = EXPECT_CLOSED;
	else if (run->queued == 0 && !is_full(run))
		run->expected = is_crowded(run, life) ? EXPECT_TURNED_AWAY : EXPECT_ADMITTED;
	else
		run->expected = run->options.when_full == WHEN_FULL_WAIT ? EXPECT_QUEUED : EXPECT_TURNED_AWAY;
	if (run->expected == EXPECT_QUEUED)
		run->queue[(run->queue_first + run->queued++) % PLAN_CLIENTS] = life;
}

static void accept_ends(struct run *run, const struct life *life)
{
	unsigned few = run->plan->conns / 8 < OPTIONS_REFUSALS ? run->plan->conns / 8 : OPTIONS_REFUSALS;
	bool may_refuse = run->options.when_full != WHEN_FULL_CLOSE;
	bool is_right = false;

	switch (run->expected) {
	case EXPECT_ADMITTED:
		is_right = life->state == (run->plan->proxy ? LIFE_PROXY : LIFE_IDLE) && life->credit;
		break;
	case EXPECT_QUEUED:
		is_right = life->state == LIFE_WAITING;
		break;
	case EXPECT_TURNED_AWAY:
		may_refuse = may_refuse && run->refusing - life->refused < (spare(run) ? spare(run) : few);
		is_right = may_refuse ? life->state == LIFE_SENDING && life->refused : life->state == LIFE_OVER;
		break;
	case EXPECT_CLOSED:
		is_right = life->state == LIFE_OVER;
		break;
	case EXPECT_NOTHING:
		break;
	}
	run_require(run, is_right, "client %u was accepted, and is in state %d, expected %d", life->number, life->state,
	            run->expected);
	run->expected = EXPECT_NOTHING;
}

static void handles(void *context, struct sim_stream *stream, const struct io_event *event)
{
	struct run *run = context;
	struct life *life = stream ? sim_owner(stream) : NULL;

	run->handling = life;
	run->handling_op = (int)event->op;
	switch (event->op) {
	case IO_ACCEPT:
		if (life) {
			accept_begins(run, life);
		} else {
			run->counts.accept_failures++;
			timer_set(&run->pause, run->now + PAUSE_MS);
		}
		break;
	case IO_UNLISTENED:
	case IO_RELEASED: /* the simulated kernel copies what it sends */
		break;
	case IO_RECV:
		life->credit = false;
		if (event->res <= 0)
			life->ended = true;
		else if (life->state >= LIFE_PROXY && life->state <= LIFE_READING)
			life->delivered += (uint32_t)event->res;
		break;
	case IO_SENT:
		life->in_flight = false;
		life->failed = event->res < 0;
		if (!life->failed)
			run->counts.bytes += life->sending;
		break;
	case IO_CLOSED:
		life->state = LIFE_OVER;
		run->open--;
		run->refusing -= life->refused;
		if (!life->refused && !run->plan->proxy)
			run->address_open[life->plan->address]--;
		break;
	}
}

/* When all that an event asks for is done. */
static void settle(struct life *life)
{
	struct run *run = life->run;

	pass_header(life);
	switch (life->state) {
	case LIFE_PROXY:
		run_require(run, !life->ended && life->credit && life->delivered < life->talk.header_by,
		            "client %u has sent no header, and is not closed", life->number);
		return;
	case LIFE_IDLE:
	case LIFE_READING:
		run_require(run, !life->ended, "client %u has ended, and is not closed", life->number);
		run_require(run, life->credit, "client %u is waited for, and not read from", life->number);
		if (!has_begun(life))
			return;
		run_require(run, life->delivered < life->talk.exchange[life->answered].by,
		            "client %u: request %u is whole, and not answered", life->number, life->answered);
		if (life->state == LIFE_IDLE)
			begin_reading(life);
		return;
	case LIFE_SENDING:
		run_require(run, life->in_flight && !life->slow, "client %u is left alone with its answers",
		            life->number);
		return;
	case LIFE_LINGERING:
		run_require(run, !life->ended && life->credit, "client %u is lingered for, and not read from",
		            life->number);
		return;
	case LIFE_OUT:
	case LIFE_WAITING:
	case LIFE_CLOSING:
	case LIFE_OVER:
		return;
	}
}

static void handled(void *context)
{
	struct run *run = context;
	struct life *life = run->handling;

	if (run->handling_op == IO_ACCEPT && life)
		accept_ends(run, life);
	if (run->handling_op == IO_CLOSED)
		run_require(run, run->queued == 0 || is_full(run), "client %u waits, and there is room",
		            run->queue[run->queue_first]->number);
	if (life)
		settle(life);
	run->handling = NULL;
	run->handling_op = -1;
	run_between(run);
}

/* A drain begins, or becomes another. */
static void obey(struct run *run)
{
	bool patient = run->commanded == WORKER_YIELD;

	if (run->obeyed == run->commanded)
		return;
	run->obeyed = run->commanded;
	if (run->obeyed == WORKER_ABORT)
		return;
	if (!run->drain_end.linked || run->now + run_settings(run)->timeouts.grace < run->drain_end.deadline)
		timer_set(&run->drain_end, run->now + run_settings(run)->timeouts.grace);
	for (unsigned i = run->first; i < run->begun; i++) {
		struct life *life = &run->life[i];

		if (life->state != LIFE_IDLE && life->state != LIFE_PROXY)
			continue;
		if (life->started && !patient)
			life->must_end = true;
		else
			set_deadline(life, life->started ? CONN_DRAIN_NEXT_MS : CONN_DRAIN_FIRST_MS);
	}
}

static void turn_begins(void *context)
{
	struct run *run = context;

	run->now = sim_now(run->sim);
	run->real = (time_t)(run->wall + (int64_t)(run->now / 1000));
	if (run->adopted != run->given) {
		const struct timeouts *old = &run_settings(run)->timeouts;
		uint64_t until = run->now + (old->send > old->recv_window ? old->send : old->recv_window);

		if (run->unsettled_until < until)
			run->unsettled_until = until;
	}
	run->adopted = run->given;
	run->handling = NULL;
	run->handling_op = -2; /* neither an event nor the time after the last one */
	obey(run);
	run->current = run->newest;
	run->may_be_newest = false;
}

static void life_turn_ends(struct life *life)
{
	struct run *run = life->run;

	settle(life);
	run_require(run, !life->must_end, "client %u is idle, and draining has forgotten it", life->number);
	run_require(run, run->obeyed != WORKER_ABORT || life->state == LIFE_CLOSING || life->state <= LIFE_WAITING,
	            "client %u is in state %d, and all should be closed", life->number, life->state);
	if (!fires(life)) {
		timer_visit(&life->timer, run->now);
		return;
	}
	run_require(run, life->state == LIFE_READING && !comes_too_slowly(life),
	            "client %u is in state %d, and its time has been up for %llu ms", life->number, life->state,
	            (unsigned long long)(run->now - life->timer.deadline));
	life->timer.linked = false;
	life->window_from = life->delivered;
	look_again(life);
}

/* Clients in the backlog must be let in as soon as there is room; and while there is none, or no more are wanted, not. */
static void check_listener(struct run *run)
{
	unsigned waiting;
	bool on = sim_is_listening(run->sim, run->listening, &waiting);
	bool wanted = !is_draining(run) && !run->pause.linked && run->queued == 0 &&
	              !(run->options.when_full == WHEN_FULL_WAIT && is_full(run));

	run_require(run, on || !wanted, "%u clients wait, and nobody listens", waiting);
}

static void not_beyond(uint64_t *until, const struct timer *timer)
{
	uint64_t at = timer->tick * WHEEL_TICK_MS;

	if (timer->linked && at < *until)
		*until = at;
}

/* The loop must not sleep beyond the next deadline, nor wake up for nothing all the time. -2: it has ended. */
static void check_sleep(const struct run *run, int timeout_ms)
{
	uint64_t until = SIM_NEVER;

	if (timeout_ms == -2)
		return;
	for (unsigned i = run->first; i < run->begun; i++)
		not_beyond(&until, &run->life[i].timer);
	not_beyond(&until, &run->pause);
	not_beyond(&until, &run->drain_end);
	run_require(run, timeout_ms != 0, "the loop does not sleep, and there is nothing to do");
	run_require(run, until == SIM_NEVER || (timeout_ms > 0 && run->now + (unsigned)timeout_ms <= until),
	            "the loop wants to sleep for %d ms, and something is to be done in %llu", timeout_ms,
	            (unsigned long long)(until - run->now));
}

static void turn_ends(void *context, int timeout_ms)
{
	struct run *run = context;

	if (run->now == 0)
		return; /* before the first */
	for (unsigned i = run->first; i < run->begun; i++)
		if (run->life[i].state != LIFE_OUT && run->life[i].state != LIFE_OVER)
			life_turn_ends(&run->life[i]);
	if (timer_fires(&run->pause, run->now))
		run->pause.linked = false;
	timer_visit(&run->pause, run->now);
	if (timer_fires(&run->drain_end, run->now)) {
		run->drain_end.linked = false;
		run->commanded = WORKER_ABORT;
	}
	timer_visit(&run->drain_end, run->now);
	check_listener(run);
	check_sleep(run, timeout_ms);
	inside_check(run);
	run->turns++;
}

const struct sim_watch oracle_watch = {
	.turn_begins = turn_begins,
	.turn_ends = turn_ends,
	.handles = handles,
	.handled = handled,
	.opens = opens,
	.receives = receives,
	.sends = sends,
	.shuts = shuts,
	.closes = closes,
	.asks_progress = asks_progress,
	.drops = drops,
};
