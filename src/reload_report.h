/*
 * reload_report.h - what the reloader tells other threads: what became of reloads, and what it is doing. Private to it.
 */
#ifndef LOOM_RELOAD_REPORT_H
#define LOOM_RELOAD_REPORT_H

#include <pthread.h>

#include "loom/reload.h"

/* Builds whose outcome is kept for those who asked for them and have not looked yet. */
#define REPORT_ANSWERS 8

struct report {
	pthread_mutex_t lock; /* all below; held for the time of a copy */
	uint64_t issued;      /* tickets; */
	uint64_t taken;       /* those up to this one are for the build that is under way; */
	uint64_t answered;    /* those up to this one are for a build that has ended */
	struct {
		uint64_t ticket; /* the last that it is for */
		struct reload_outcome outcome;
	} answer[REPORT_ANSWERS]; /* the last ones, a ring, */
	unsigned answers;         /* of so many that there ever were */
	struct reload_status status;
	void (*tell)(void *context);
	void *context;
};

void report_init(struct report *report);

/* A build begins that answers all tickets so far. The reloader's thread, as the next two. */
void report_begin(struct report *report);

/* It has come to nothing yet, and will be tried again for the same tickets. */
void report_put_off(struct report *report);

/* It has ended: outcome is copied, and its time set. watching: a line of text, or NULL when nothing is new. */
void report_end(struct report *report, const struct reload_outcome *outcome, const char *watching);

/* The figures of the store of variants. The reloader's thread. */
void report_variants(struct report *report, uint64_t pending, uint64_t made, uint64_t dropped);

/* Any thread; see the functions of reload.h that are called alike. */
uint64_t report_ask(struct report *report);
uint64_t report_asked(struct report *report);
bool report_answer(struct report *report, uint64_t ticket, struct reload_outcome *outcome);
void report_on_answer(struct report *report, void (*tell)(void *context), void *context);
void report_status(struct report *report, struct reload_status *status);

#endif
