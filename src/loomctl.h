/*
 * loomctl.h - what loomctl's files share: asking, and saying what went wrong. Private to loomctl.
 */
#ifndef LOOM_LOOMCTL_H
#define LOOM_LOOMCTL_H

#include <stdbool.h>
#include <stdio.h>

typedef void loomctl_line_fn(void *context, char *line);

/* Sends a command, and has each line of data told. 0, or 1 when it has been said why not. */
int loomctl_ask(FILE *stream, const char *command, loomctl_line_fn *tell, void *context);

/*
 * The running server, looked at each second: rates, durations, connections, workers, reloads, and what is asked for
 * most. pictures: so many, and then the end; 0: for ever. terminal: each in the place of the last one, as large as the
 * terminal; otherwise plain lines. 0, or 1 when it has been said what is wrong.
 */
int loomctl_top(FILE *stream, unsigned pictures, bool terminal);

#endif
