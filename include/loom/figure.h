/*
 * figure.h - the name of something that is counted, for people: what a backend counts of itself, and what metrics say.
 */
#ifndef LOOM_FIGURE_H
#define LOOM_FIGURE_H

/* The most figures in one table. */
#define FIGURES_MAX 12

struct figure {
	const char *name; /* small letters, digits and underscores; NULL ends a table */
	const char *help; /* one line */
};

#endif
