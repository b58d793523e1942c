/*
 * rows.h - what is tried: each operation of a backend with each errno that its man page names, and in what other ways it can
 * fail; and what may come of it.
 */
#ifndef LOOM_TESTS_ROWS_H
#define LOOM_TESTS_ROWS_H

#include "fault.h"

enum effect {
	PASSES, /* no client notices */
	HARMS,  /* one client may be cut off, or be found too slow */
	STOPS, /* the worker's loop ends with an error, and the server with one line: nothing is known of the backend any more */
};

struct value {
	long value;
	enum effect effect;
};

struct row {
	enum fault_call call;
	enum fault_how how;
	const struct value *values; /* ended by one of value -1 */
	bool epoll, uring;          /* where it is made */
	const char *about;          /* for people */
};

extern const struct row rows[];
extern const unsigned rows_count;

/* What zc=fixed adds to io_uring. */
extern const struct row zc_rows[];
extern const unsigned zc_rows_count;

#endif
