/*
 * metrics_text.h - the text formats of metrics: families, samples, labels. Private to metrics*.c.
 *
 * The two formats differ in how a counter's family is called (with _total or without), in the type of what is there for
 * its labels (gauge, info), and in the last line (# EOF).
 */
#ifndef LOOM_METRICS_TEXT_H
#define LOOM_METRICS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/metrics.h"

enum family_kind {
	FAMILY_COUNTER,
	FAMILY_GAUGE,
	FAMILY_INFO, /* always 1: its labels are what it says */
	FAMILY_HISTOGRAM,
};

/* Lines of text that grow. Begins all zero but for format. */
struct metrics_text {
	enum metrics_format format;
	char *bytes;
	size_t len, room;
	bool failed;      /* there was no memory: the text is of no use */
	const char *name; /* of the family that was begun last, and its kind */
	enum family_kind kind;
};

struct label {
	const char *name; /* NULL ends a list of labels */
	const char *value;
};

/*
 * Begins a family: what follows are its samples. name: without _total and _info. help: one line, a sentence; its
 * backslashes and line feeds are escaped.
 */
void text_family(struct metrics_text *text, enum family_kind kind, const char *name, const char *help);

/* A sample of the family. labels may be NULL; values are escaped. */
void text_number(struct metrics_text *text, const struct label *labels, uint64_t value);

/* The same with a fraction, which is written with nine digits. */
void text_real(struct metrics_text *text, const struct label *labels, double value);

/* A histogram without labels: count buckets with these ends, and one more; sum in seconds. */
void text_histogram(struct metrics_text *text, const char *const ends[], unsigned count, const uint64_t bucket[],
                    double sum);

/* The last line. */
void text_end(struct metrics_text *text);

#endif
