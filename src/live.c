/*
 * live.c - see live.h. Main thread. Owns what was read last.
 */
#include "loom/live.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void live_init(struct live *live, int argc, char *argv[], const struct options *options)
{
	*live = (struct live){ .argc = argc, .argv = argv, .started = options };
}

void live_free(struct live *live)
{
	if (live->read)
		options_free(&live->options);
	live->read = false;
}

const struct options *live_options(const struct live *live)
{
	return live->read ? &live->options : live->started;
}

int live_read(struct live *live, struct live_changes *changes, char *why, size_t size)
{
	struct options options;

	if (!options_can_reread(live->started)) {
		snprintf(why, size, "%s", options_file(live->started) ? "it was a pipe" : "there is none");
		return -ENOENT;
	}
	if (options_parse(&options, live->argc, live->argv, why, size) != OPTIONS_RUN)
		return -EINVAL;
	options_changes(live_options(live), &options, true, changes->adopted, sizeof(changes->adopted));
	options_changes(live->started, &options, false, changes->waiting, sizeof(changes->waiting));
	live_free(live);
	live->options = options;
	live->read = true;
	return 0;
}
