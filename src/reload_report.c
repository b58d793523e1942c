/*
 * reload_report.c - see reload_report.h. A ticket is a number: the first build that begins after it was issued is its
 * answer. So whoever asked need not wait on a condition, and a thread that serves others in the meantime can.
 */
#include "reload_report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void report_init(struct report *report)
{
	pthread_mutex_init(&report->lock, NULL);
}

void report_begin(struct report *report)
{
	pthread_mutex_lock(&report->lock);
	report->taken = report->issued;
	report->status.building = true;
	pthread_mutex_unlock(&report->lock);
}

void report_variants(struct report *report, uint64_t pending, uint64_t made, uint64_t dropped)
{
	pthread_mutex_lock(&report->lock);
	report->status.pending = pending;
	report->status.made = made;
	report->status.dropped = dropped;
	pthread_mutex_unlock(&report->lock);
}

void report_put_off(struct report *report)
{
	pthread_mutex_lock(&report->lock);
	report->status.building = false;
	pthread_mutex_unlock(&report->lock);
}

/* The last outcome. Under the lock. */
static void count(struct reload_status *status)
{
	static const uint64_t bounds[RELOAD_BOUNDS] = RELOAD_BOUNDS_MS;
	const struct reload_outcome *last = &status->last;
	unsigned i = 0;

	status->results[last->result]++;
	if (last->result == RELOAD_LIVE || last->result == RELOAD_SAME)
		status->succeeded = last->at;
	while (i < RELOAD_BOUNDS && last->ms > bounds[i])
		i++;
	status->took[i]++;
	status->took_ms += last->ms;
}

void report_end(struct report *report, const struct reload_outcome *outcome, const char *watching)
{
	pthread_mutex_lock(&report->lock);
	report->status.building = false;
	report->status.last = *outcome;
	report->status.last.at = time(NULL);
	count(&report->status);
	if (watching)
		snprintf(report->status.watching, sizeof(report->status.watching), "%s", watching);
	if (report->answered < report->taken) {
		unsigned i = report->answers++ % REPORT_ANSWERS;

		report->answered = report->answer[i].ticket = report->taken;
		report->answer[i].outcome = report->status.last;
		/* Under the lock: who wants no more of it knows that none is under way. */
		if (report->tell)
			report->tell(report->context);
	}
	pthread_mutex_unlock(&report->lock);
}

uint64_t report_ask(struct report *report)
{
	uint64_t ticket;

	pthread_mutex_lock(&report->lock);
	ticket = ++report->issued;
	pthread_mutex_unlock(&report->lock);
	return ticket;
}

uint64_t report_asked(struct report *report)
{
	uint64_t ticket;

	pthread_mutex_lock(&report->lock);
	ticket = report->issued;
	pthread_mutex_unlock(&report->lock);
	return ticket;
}

bool report_answer(struct report *report, uint64_t ticket, struct reload_outcome *outcome)
{
	bool answered;

	pthread_mutex_lock(&report->lock);
	answered = ticket <= report->answered;
	if (answered) {
		unsigned i = report->answers > REPORT_ANSWERS ? report->answers - REPORT_ANSWERS : 0;

		while (report->answer[i % REPORT_ANSWERS].ticket < ticket)
			i++;
		*outcome = report->answer[i % REPORT_ANSWERS].outcome;
	}
	pthread_mutex_unlock(&report->lock);
	return answered;
}

void report_on_answer(struct report *report, void (*tell)(void *context), void *context)
{
	pthread_mutex_lock(&report->lock);
	report->tell = tell;
	report->context = context;
	pthread_mutex_unlock(&report->lock);
}

void report_status(struct report *report, struct reload_status *status)
{
	pthread_mutex_lock(&report->lock);
	*status = report->status;
	pthread_mutex_unlock(&report->lock);
}
