/*
 * options.h - everything that a user can set: one struct, filled once, before any thread exists; constant afterwards.
 */
#ifndef LOOM_OPTIONS_H
#define LOOM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OPTIONS_LISTEN_MAX    16
#define OPTIONS_IMMUTABLE_MAX 16

enum symlinks {
	SYMLINKS_CONTAIN, /* followed while they stay inside ROOT */
	SYMLINKS_FOLLOW,  /* followed anywhere */
	SYMLINKS_DENY,    /* never followed */
};

/* Bounds on what a client may send. Bytes, but for fields. */
struct limits {
	uint32_t request_line; /* less than head; method, target and the space after each; then 414 */
	uint32_t head;         /* request line and field section together; at most REQUEST_HEAD_MAX; then 431 */
	uint32_t fields;       /* field lines in a section; then 431 */
	uint64_t body;         /* of a request, read past; then 413 */
	uint32_t requests;     /* of one connection, then it is closed; 0: no limit */
};

struct timeouts {
	uint32_t keepalive; /* milliseconds without a byte between two requests */
	uint32_t header;    /* from a request's first byte to its end; absolute */
	uint32_t send;      /* without progress of a response */
	uint32_t grace;     /* from the signal to the end of draining */
};

/* What a snapshot must pass before it goes live; gate.h says what each rule means. */
struct gate_rules {
	bool chosen; /* asked for, and not the default: a first snapshot must pass too */
	bool index;
	bool links;
	bool vanished;
	uint8_t percent; /* that may vanish, 0 to 99 */
};

struct options {
	const char *root;
	const char *listen[OPTIONS_LISTEN_MAX]; /* as given; defaults filled in by options_parse() */
	unsigned listens;
	const char *backend;      /* "auto" or a name */
	unsigned workers;         /* 1 or more; "auto" has been resolved (sched_getaffinity(2)) */
	unsigned max_connections; /* 1 or more; the default has been resolved from the descriptor limit */
	uint64_t max_memory;      /* bytes that snapshots may hold */
	const char *index;
	bool hidden;
	enum symlinks symlinks;
	uint8_t encodings;         /* bit by bit (1 << enum content_coding): those that are offered besides identity */
	bool compress;             /* make variants; otherwise there are those that lie beside the files */
	const char *cache_dir;     /* where variants outlive the process; NULL: nowhere */
	const char *cache_control; /* for every file that is not immutable; NULL: see rules.h */
	const char *immutable[OPTIONS_IMMUTABLE_MAX]; /* patterns of fnmatch(3) */
	unsigned immutables;
	bool immutable_auto; /* names that carry a fingerprint are immutable too */
	bool nosniff;
	struct gate_rules gate;
	uint32_t settle; /* milliseconds of quiet before a reload */
	bool watch;
	int verbosity; /* -1 quiet, 0, 1 verbose */
	struct limits limits;
	struct timeouts timeouts;
};

enum options_action {
	OPTIONS_RUN,     /* serve */
	OPTIONS_CHECK,   /* apply the gate's rules to ROOT, once */
	OPTIONS_PLAN,    /* say what serving ROOT would take */
	OPTIONS_HELP,    /* print options_help() */
	OPTIONS_VERSION, /* print the version */
	OPTIONS_ERROR,   /* one line has been written to error; exit status 2 */
};

/*
 * Reads the environment (LOOM_NAME for every long option --name; '-' becomes '_'; LOOM_ROOT for ROOT), and the command
 * line, which wins. error gets one line that says which option or variable, what is wrong and what would be right.
 * Strings are borrowed from argv, the environment and this module. Every address has been read by listen_parse();
 * whether ROOT exists is not looked at. Raises the descriptor limit, see below, unless nothing is to be served. May be
 * called again.
 */
enum options_action options_parse(struct options *options, int argc, char *argv[], char *error, size_t size);

/* Prints what --help shows; made from the same table as the parser. */
void options_help(FILE *out);

/*
 * Raises this process's limit of open descriptors (RLIMIT_NOFILE) to the most that it may have, and returns that.
 */
uint64_t options_descriptor_limit(void);

#endif
