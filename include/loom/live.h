/*
 * live.h - reads the configuration file again while loom runs (SIGHUP): what of it can take effect now, and what takes
 * an upgrade. Main thread.
 */
#ifndef LOOM_LIVE_H
#define LOOM_LIVE_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/options.h"

struct live {
	int argc;
	char **argv;
	const struct options *started; /* as the process was started with */
	struct options options;        /* what was read last; its strings are this struct's to free */
	bool read;
};

/* argv and options must live as long. */
void live_init(struct live *live, int argc, char *argv[], const struct options *options);
void live_free(struct live *live);

/* What was read last, in whole. Live settings are in effect, others those of the start. Valid until live_read(). */
const struct options *live_options(const struct live *live);

#define LIVE_NAMES_SIZE 512

struct live_changes {
	char adopted[LIVE_NAMES_SIZE]; /* settings that have changed since the last reading, and can take effect */
	char waiting[LIVE_NAMES_SIZE]; /* those that differ from the start's, and take an upgrade */
};

/*
 * Reads the file, the environment and the command line once more. 0: changes says what is different, and
 * live_options() is new; -EINVAL: one line in why, with file and line, and all stays; -ENOENT: there is no file, or one
 * that can be read only once.
 */
int live_read(struct live *live, struct live_changes *changes, char *why, size_t size);

#endif
