/*
 * metrics_process.h - the standard process_* metrics. Private to metrics*.c.
 */
#ifndef LOOM_METRICS_PROCESS_H
#define LOOM_METRICS_PROCESS_H

#include "metrics_text.h"

void metrics_process_write(const struct metrics_process *process, struct metrics_text *text);

#endif
