/*
 * stage.h - one worker on a real backend with real sockets, driven turn by turn on the caller's thread, its clock the
 * caller's too; and what must hold of it after whatever has happened.
 */
#ifndef LOOM_TESTS_STAGE_H
#define LOOM_TESTS_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"
#include "loom/io.h"
#include "loom/worker.h"
#include "party.h"

#define PARTIES_MAX 32

/* Which part of a server's life the fault falls into. */
enum act {
	ACT_SERVE,
	ACT_DRAIN,
	ACTS,
};

extern const char *const act_names[ACTS];

/* What has become of one run. */
struct verdict {
	char wrong[300]; /* what did not hold; empty: all did */
	unsigned cut;    /* parties that did not hear all */
	unsigned turns;
	bool stopped; /* the worker's loop ended before it was told to */
	bool fired;
	bool ruined; /* the process cannot go on after this */
};

/* The tree and the snapshot, once a process. Exits with a line when that fails. */
void stage_prepare(const struct io_ops *ops, enum feature_zc zc);
void stage_dismantle(void);

/* The run that nothing disturbs: what the parties hear is what they must hear from then on. */
void stage_model(enum act act, struct verdict *verdict);

/*
 * The same with a fault. stops: one that ends the worker's loop. patience: so many times as long until clients and deadlines
 * are given up.
 */
void stage_run(enum act act, const struct fault *plan, bool stops, unsigned patience, struct verdict *verdict);

#endif
