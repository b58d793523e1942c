/*
 * option_values.h - a row of the table of options, the functions that read its values, and where each value is from.
 * Private to options.c, which owns the table (option_rows.h), and to option_*.c.
 */
#ifndef LOOM_OPTION_VALUES_H
#define LOOM_OPTION_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"

#define WORKERS_MAX     1024
#define CONNECTIONS_MAX (1000 * 1000)
#define HOUR            (60 * 60 * 1000)     /* ms */
#define RATE_MAX        (1024 * 1024 * 1024) /* bytes a second */
#define HEAD_MAX        (16 * 1024)          /* bytes: REQUEST_HEAD_MAX of request.h */
#define HEALTH_MAX      200                  /* bytes of --health */

/* Where a complaint goes, and what it is about: the option or the variable. */
struct complaint {
	char *text;
	size_t size;
	const char *subject;
};

/*
 * What of a value is a path: one in a file is relative to that file's directory, and --dump-config writes all
 * absolute.
 */
enum path_kind {
	PATH_NONE,
	PATH_WHOLE,
	PATH_UNIX, /* what follows unix: */
	PATH_LOG,  /* all of it, unless it is off, stdout, stderr, syslog or syslog:PATH */
};

struct row;
typedef int set_fn(const struct row *row, struct options *options, const char *text, struct complaint *complaint);

struct row {
	const char *group;    /* its first option: the heading in --help */
	const char *name;     /* without dashes */
	char letter;          /* 0: none */
	const char *argument; /* as --help shows it; NULL: a flag */
	const char *standard; /* the default, read like a given value; NULL: none, or found out later */
	const char *implied;  /* a default that is not read, but would be the same if it were given */
	bool unsaid;          /* the default is not the same if it is given: --dump-config keeps it a comment */
	bool positional;      /* ROOT: no option, but a variable, and a name in a file */
	bool not_in_file;     /* what a file cannot say */
	bool live;            /* takes effect by SIGHUP: live.h */
	enum path_kind path;
	const char *rival; /* the option that cannot be given together with this one */
	set_fn *set;       /* NULL: not a setting but an action (--help), so not in the environment either */
	enum options_action action;
	size_t offset; /* into struct options; with flag and bounds, for the setters that serve several options */
	int flag;
	uint32_t min;
	uint32_t max;
	const char *help;
};

/* Where a value is from. Later sources win over earlier ones. */
enum source {
	SOURCE_NONE,
	SOURCE_DEFAULT,
	SOURCE_FILE,
	SOURCE_ENVIRONMENT,
	SOURCE_COMMAND_LINE,
};

/* One more than any option takes, so that its setter says what is one too many. */
#define VALUES_MAX (OPTIONS_PROXY_FROM_MAX + 1)

/* The values of an option, before they are read: those of one source, and one alone unless the option adds up. */
struct given {
	enum source source;
	unsigned values;
	const char *text[VALUES_MAX]; /* "1" for a flag on the command line */
	unsigned line[VALUES_MAX];    /* of the file */
};

/*
 * What struct options borrows from besides argv and the environment: strings of a file, pieces of variables. One for
 * each options_parse(), so that a second one takes nothing from under the first.
 */
struct option_store {
	struct given *given; /* a row's at the row's index */
	const char *file;    /* as named; NULL: none is read */
	const char *base;    /* its directory, absolute */
	bool is_pipe;
	struct option_string *strings;
};

/* A copy that lives as long as the store; NULL: no memory. */
char *option_keep(struct option_store *store, const char *text, size_t len);

/* The row at an index; NULL behind the last one. The row of a name; NULL: there is none. The index of a row. */
const struct row *option_row(size_t index);
const struct row *option_find(const char *name, size_t len);
size_t option_index(const struct row *row);

/* Whether a log's place is a word and not a file's path. */
bool option_is_log_word(const char *text);

/* Whether the option may be repeated, each time with one more value. */
bool option_adds_up(const struct row *row);

/* Whether a switch is on: the text is 1, yes, on or true. */
bool option_is_on(const char *text);

/* One more value: for an option that does not add up, in place of the one before. */
void option_give(struct given *given, enum source source, const char *text, unsigned line);

/* "FILE:12: settle", "LOOM_SETTLE" or "--settle": how complaints call a value of the option; "" for a default. */
const char *option_subject(const struct option_store *store, const struct row *row, unsigned value, char *out,
                           size_t size);

/* "LOOM_KEEPALIVE_TIMEOUT" of "keepalive-timeout". */
void option_variable(const char *name, char *out, size_t size);

/*
 * The value with its path made absolute, by the base or (NULL) by the working directory; the text itself where it is
 * no path, or absolute already. Kept in the store. NULL: no memory, or no working directory.
 */
const char *option_absolute(struct option_store *store, const struct row *row, const char *base, const char *text);

/*
 * Reads the file into given, a row's at the row's index, all zero before; and each value by its setter into a copy of
 * the options: a file is right or wrong whatever wins over it. path must live as long as the store. 0, or -EINVAL
 * with a complaint.
 */
int option_read_file(struct option_store *store, const char *path, const struct options *options, struct given *given,
                     struct complaint *complaint);

/* Writes what is wrong with the subject. Returns -EINVAL. */
int option_complain(struct complaint *complaint, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each reads a value into the options: 0, or -EINVAL with a complaint. */
set_fn option_set_access_format, option_set_access_log, option_set_admin, option_set_backend, option_set_body,
	option_set_cache_control, option_set_cache_dir, option_set_config, option_set_connections, option_set_duration,
	option_set_encodings, option_set_epoll, option_set_error_log, option_set_gate, option_set_group,
	option_set_health, option_set_immutable, option_set_index, option_set_listen, option_set_log_level,
	option_set_memory, option_set_metrics, option_set_number, option_set_pid_file, option_set_port,
	option_set_proxy_from, option_set_root, option_set_sandbox, option_set_sandbox_read, option_set_size,
	option_set_splice_above, option_set_stream_above, option_set_switch, option_set_symlinks, option_set_uring,
	option_set_user, option_set_verbosity, option_set_watch, option_set_when_full, option_set_workers;

#endif
