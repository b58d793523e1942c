/*
 * check.h - loom --check: whether the tree would pass the gate, for a deploy script to ask before it deploys. Main thread;
 * nothing is listened to, watched or compressed.
 */
#ifndef LOOM_CHECK_H
#define LOOM_CHECK_H

#include <stddef.h>

#include "loom/options.h"
#include "loom/snapshot.h"

/*
 * Builds the tree once and tells every violation of the rules on standard error. The exit status: 0 when there is none, 1
 * when there is, or when the tree cannot be read or does not fit.
 */
int check_run(const struct options *options);

/*
 * A snapshot to be looked at, not served: without what would have to be compressed first. A tree that is being written at
 * this moment gets ten seconds to come to rest. As build_snapshot().
 */
int check_build(const struct options *options, struct snapshot **snapshot, char *why, size_t size);

#endif
