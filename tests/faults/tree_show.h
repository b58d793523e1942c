/*
 * tree_show.h - the reloader with its threads over a small tree, which is changed and read again; and what must hold when
 * something has failed meanwhile: the old snapshot or the new one, whole, and the next reload succeeds.
 */
#ifndef LOOM_TESTS_TREE_SHOW_H
#define LOOM_TESTS_TREE_SHOW_H

#include <sys/types.h>

#include "fault.h"
#include "rows.h"
#include "stage.h"

/* The directory, once for all processes; and its end. Exits with a line when that fails. */
void tree_show_prepare(void);
void tree_show_dismantle(void);

/* What a process that has ended has left. */
void tree_show_forget(pid_t pid);

/* One reload with the fault and one without. In a process that has called it before: with the same reloader. */
void tree_show_run(const struct fault *plan, enum effect effect, unsigned patience, struct verdict *verdict);

extern const struct row tree_rows[];
extern const unsigned tree_rows_count;

#endif
