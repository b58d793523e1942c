/*
 * plan.h - loom --plan: what serving a tree would hold in memory, before anybody serves it. Main thread.
 */
#ifndef LOOM_PLAN_H
#define LOOM_PLAN_H

#include "loom/options.h"

/*
 * Builds the tree once, within --max-memory, and prints a table on standard output. The exit status: 0; 1 when the
 * tree does not fit; or, where nothing may be streamed, fits once and not twice, as a switch in which everything
 * changes needs it; or when it cannot be read.
 */
int plan_run(const struct options *options);

#endif
