/*
 * option_values.h - a row of the table of options, and the functions that read its values. Private to options.c, which owns
 * the table (option_rows.h), and option_values.c.
 */
#ifndef LOOM_OPTION_VALUES_H
#define LOOM_OPTION_VALUES_H

#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"

#define WORKERS_MAX     1024
#define CONNECTIONS_MAX (1000 * 1000)
#define HOUR            (60 * 60 * 1000) /* ms */
#define HEAD_MAX        (16 * 1024)      /* bytes: REQUEST_HEAD_MAX of request.h */

/* Where a complaint goes, and what it is about: the option or the variable. */
struct complaint {
	char *text;
	size_t size;
	const char *subject;
};

struct row;
typedef int set_fn(const struct row *row, struct options *options, const char *text, struct complaint *complaint);

struct row {
	const char *group;    /* its first option: the heading in --help */
	const char *name;     /* without dashes */
	char letter;          /* 0: none */
	const char *argument; /* as --help shows it; NULL: a flag */
	const char *standard; /* the default, read like a given value; NULL: none, or found out later */
	const char *rival;    /* the option that cannot be given together with this one */
	set_fn *set;          /* NULL: not a setting but an action (--help), so not in the environment either */
	enum options_action action;
	size_t offset; /* into struct options; with flag and bounds, for the setters that serve several options */
	int flag;
	uint32_t min;
	uint32_t max;
	const char *help;
};

/* Writes what is wrong with the subject. Returns -EINVAL. */
int option_complain(struct complaint *complaint, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each reads a value into the options: 0, or -EINVAL with a complaint. */
set_fn option_set_admin, option_set_backend, option_set_body, option_set_cache_control, option_set_cache_dir,
	option_set_connections, option_set_duration, option_set_encodings, option_set_gate, option_set_immutable,
	option_set_index, option_set_listen, option_set_memory, option_set_number, option_set_port, option_set_size,
	option_set_stream_above, option_set_switch, option_set_symlinks, option_set_verbosity, option_set_watch,
	option_set_workers;

#endif
