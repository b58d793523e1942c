/*
 * admin_commands.h - what the admin socket is asked, apart from sockets: a line in, lines out. Private to admin.c, whose
 * thread calls.
 */
#ifndef LOOM_ADMIN_COMMANDS_H
#define LOOM_ADMIN_COMMANDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/admin.h"
#include "loom/build.h"

/* Answers that come in pieces pause when there are so many bytes to be sent; and no other answer is longer than the most. */
#define ADMIN_PIECE      (64 * 1024)
#define ADMIN_OUTPUT_MAX (1024 * 1024)

/* Lines that are to be sent. Empty: all zero, but for bytes and room. */
struct admin_output {
	char *bytes;
	size_t len, room;
	bool cut; /* a line did not fit, and is missing; cleared by the last line, which says so */
};

void admin_output_free(struct admin_output *output);

struct admin_view {
	const struct admin_config *config;
	atomic_bool draining;
	uint64_t began; /* seconds of CLOCK_MONOTONIC */
};

/* A command that is under way for one client. */
struct admin_task {
	enum { TASK_NONE, TASK_RELOAD, TASK_DIFF } kind;
	uint64_t ticket;            /* RELOAD */
	struct snapshot *old, *new; /* DIFF: held */
	struct build_position position;
};

/*
 * Carries out one line, without its end. The answer is in output when the task is NONE afterwards; otherwise the rest comes
 * with admin_resume().
 */
void admin_begin(struct admin_view *view, struct admin_task *task, char *line, struct admin_output *output);

/* Goes on with a task, as far as it can; DIFF: by one piece. */
void admin_resume(struct admin_view *view, struct admin_task *task, struct admin_output *output);

/* Ends a task whose answer nobody will read. */
void admin_abandon(struct admin_view *view, struct admin_task *task);

/* The last line of an answer that is an error. */
void admin_error(struct admin_output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
