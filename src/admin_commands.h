/*
 * admin_commands.h - what the admin socket is asked, apart from sockets: a line in, lines out. Private to admin.c,
 * whose thread calls.
 */
#ifndef LOOM_ADMIN_COMMANDS_H
#define LOOM_ADMIN_COMMANDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin_output.h"
#include "loom/admin.h"
#include "loom/build.h"

struct admin_view {
	const struct admin_config *config;
	atomic_bool draining;
	uint64_t began; /* seconds of CLOCK_MONOTONIC */
};

/* A command that is under way for one client. */
struct admin_task {
	enum { TASK_NONE, TASK_RELOAD, TASK_DIFF, TASK_UPGRADE } kind;
	uint64_t ticket;            /* RELOAD, UPGRADE */
	struct snapshot *old, *new; /* DIFF: held */
	struct build_position position;
};

/*
 * Carries out one line, without its end. The answer is in output when the task is NONE afterwards; otherwise the rest
 * comes with admin_resume().
 */
void admin_begin(struct admin_view *view, struct admin_task *task, char *line, struct admin_output *output);

/* Goes on with a task, as far as it can; DIFF: by one piece. */
void admin_resume(struct admin_view *view, struct admin_task *task, struct admin_output *output);

/* Ends a task whose answer nobody will read. */
void admin_abandon(struct admin_view *view, struct admin_task *task);

#endif
