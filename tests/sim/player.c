/*
 * player.c - the client's end of a stream (run.h): it connects, writes what it has to say in its own pieces and time,
 * reads or does not, and leaves in its own way. What it reads goes to judge.c.
 */
#include <errno.h>

#include "run.h"

static void done(struct life *life)
{
	life->play.phase = PLAY_DONE;
	life->stream = NULL;
}

static void hang_up(struct life *life)
{
	sim_hang_up(life->stream);
	done(life);
}

static bool is_told_to_end(const struct life *life)
{
	return life->own_answers > 0 && !life->refused && life->talk.exchange[life->own_answers - 1].moment.close;
}

/* Up to where it may write, as long as so few answers are there. */
static uint32_t may_write(const struct life *life)
{
	unsigned last = life->own_answers + life->plan->depth;

	if (is_told_to_end(life))
		return 0;
	return last >= life->talk.n ? life->talk.len : life->talk.exchange[last].start;
}

static uint64_t write_on(struct life *life, uint64_t now)
{
	struct play *play = &life->play;
	uint32_t until = may_write(life);

	while (play->written < until && !play->finished) {
		size_t len = until - play->written;
		ssize_t taken;

		if (now < play->write_at)
			return play->write_at;
		if (len > life->plan->write_most)
			len = 1 + sim_below(&play->dice, life->plan->write_most);
		taken = sim_write(life->stream, life->talk.bytes + play->written, len);
		if (taken <= 0)
			return SIM_NEVER; /* until the server has read; or reading tells why */
		play->written += (uint32_t)taken;
		if (life->plan->write_gap > 0)
			play->write_at = now + sim_below(&play->dice, life->plan->write_gap + 1);
	}
	if (!play->finished &&
	    (is_told_to_end(life) || (life->plan->tail == TAIL_FINISH && play->written == life->talk.len))) {
		sim_finish(life->stream);
		play->finished = true;
	}
	return SIM_NEVER;
}

static void ended(struct life *life, bool reset, uint64_t now)
{
	struct play *play = &life->play;

	judge_end(life, reset);
	if (life->plan->deaf_for == 0 || reset) {
		hang_up(life);
		return;
	}
	play->phase = PLAY_LINGERING;
	play->noise_until = now + life->plan->deaf_for;
	play->write_at = now;
}

static bool is_stuck(struct life *life, uint64_t now)
{
	struct play *play = &life->play;

	if (life->plan->tail != TAIL_STUCK || life->received < life->plan->stuck_after || sim_is_over(life->stream))
		return false;
	if (play->stuck_until == 0)
		play->stuck_until = now + life->plan->stuck_for;
	return now < play->stuck_until;
}

static bool is_slow(const struct life *life)
{
	return life->plan->slow_until == 0 || life->received < life->plan->slow_until;
}

static uint64_t read_on(struct life *life, uint64_t now)
{
	struct play *play = &life->play;
	static char bytes[16384];

	for (;;) {
		unsigned gap = is_slow(life) ? life->plan->read_gap : 0;
		size_t most = gap ? life->plan->read_most : sizeof(bytes);
		ssize_t n;

		if (is_stuck(life, now))
			return play->stuck_until;
		if (now < play->read_at)
			return play->read_at;
		if (most > sizeof(bytes))
			most = sizeof(bytes);
		n = sim_read(life->stream, bytes, most);
		if (n == -EAGAIN)
			return SIM_NEVER;
		if (n <= 0) {
			ended(life, n < 0, now);
			return SIM_NEVER;
		}
		judge_read(life, bytes, (size_t)n);
		play->quantum += (size_t)n;
		if (gap > 0 && play->quantum >= life->plan->read_most) {
			play->quantum = 0;
			play->read_at = now + 1 + sim_below(&play->dice, gap);
		}
	}
}

/* Whether the client itself ends it now. */
static bool leaves(struct life *life, uint64_t now)
{
	struct play *play = &life->play;

	if (play->end_at && now >= play->end_at) {
		if (life->plan->tail == TAIL_RESET) {
			sim_reset(life->stream);
			done(life);
		} else {
			hang_up(life);
		}
		return true;
	}
	if (life->plan->tail == TAIL_HANG_UP && life->own_answers >= life->talk.n && life->own_at == 0) {
		hang_up(life);
		return true;
	}
	return false;
}

/* Stays on the line, and goes on talking, until the server hangs up in earnest. */
static uint64_t linger(struct life *life, uint64_t now)
{
	struct play *play = &life->play;

	if (now >= play->noise_until || sim_is_over(life->stream)) {
		hang_up(life);
		return SIM_NEVER;
	}
	if (now >= play->write_at) {
		if (!play->finished && sim_chance(&play->dice, 300))
			sim_write(life->stream, "and another thing\r\n\r\n", 21);
		play->write_at = now + 1 + sim_below(&play->dice, 500);
	}
	return play->write_at < play->noise_until ? play->write_at : play->noise_until;
}

static bool connect_now(struct life *life, uint64_t now)
{
	struct run *run = life->run;
	struct play *play = &life->play;

	life->stream = sim_connect(run->sim, run->listening, life->plan->buffer);
	if (!life->stream) {
		run_require(run, run->commanded != WORKER_RUN, "client %u: connection refused", life->number);
		done(life);
		return false;
	}
	sim_set_owner(life->stream, life);
	play->phase = PLAY_ON;
	play->dice = life->plan->play_seed;
	if (life->plan->tail == TAIL_RESET || life->plan->tail == TAIL_VANISH)
		play->end_at = now + life->plan->leave_after;
	return true;
}

static uint64_t act(struct life *life, uint64_t now)
{
	struct play *play = &life->play;
	uint64_t next, at;

	if (play->phase == PLAY_LINGERING)
		return linger(life, now);
	/* Reading makes room for writing, and writing is what there is to leave after. */
	next = read_on(life, now);
	if (play->phase == PLAY_LINGERING)
		return linger(life, now);
	if (play->phase == PLAY_DONE)
		return SIM_NEVER;
	at = write_on(life, now);
	next = at < next ? at : next;
	if (leaves(life, now))
		return SIM_NEVER;
	return play->end_at && play->end_at < next ? play->end_at : next;
}

uint64_t player_act(struct life *life)
{
	struct play *play = &life->play;
	uint64_t now;

	if (play->phase == PLAY_DONE)
		return SIM_NEVER;
	now = sim_now(life->run->sim);
	if (play->phase == PLAY_AWAY && !connect_now(life, now))
		return SIM_NEVER;
	if (!sim_has_stirred(life->stream) && now < play->next)
		return play->next;
	play->next = act(life, now);
	return play->next;
}
