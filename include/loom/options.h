/*
 * options.h - everything that a user can set: one struct, filled once, before any thread exists; constant afterwards.
 */
#ifndef LOOM_OPTIONS_H
#define LOOM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "loom/features.h"
#include "loom/peer.h"

#define OPTIONS_LISTEN_MAX       16
#define OPTIONS_IMMUTABLE_MAX    16
#define OPTIONS_PROXY_FROM_MAX   32
#define OPTIONS_SANDBOX_READ_MAX 16

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
	uint32_t recv_rate; /* a second, of a request, at least, averaged over timeouts.recv_window; then 408; 0: any */
	uint32_t
		send_rate; /* a second, of a response, at least, averaged over timeouts.send; 0: any progress will do */
};

struct timeouts {
	uint32_t keepalive;   /* milliseconds without a byte between two requests */
	uint32_t header;      /* from a request's first byte to its end; absolute */
	uint32_t send;        /* without progress of a response */
	uint32_t grace;       /* from the signal to the end of draining */
	uint32_t recv_window; /* what limits.recv_rate is averaged over */
};

/* What becomes of clients when all connections are in use. */
enum when_full {
	WHEN_FULL_WAIT,  /* they wait in the backlog */
	WHEN_FULL_503,   /* they are told so */
	WHEN_FULL_CLOSE, /* they are closed without a word */
};

/*
 * The most connections of a worker at a time that only hear a 503, on top of --max-connections; what is beyond them is
 * closed without a word.
 */
#define OPTIONS_REFUSALS 128

/* What a snapshot must pass before it goes live; gate.h says what each rule means. */
struct gate_rules {
	bool chosen; /* asked for, and not the default: a first snapshot must pass too */
	bool index;
	bool links;
	bool vanished;
	uint8_t percent; /* that may vanish, 0 to 99 */
};

/* How changes of ROOT are found out. */
enum watch_mode {
	WATCH_AUTO,    /* by inotify(7), and by looking from time to time where that does not serve */
	WATCH_INOTIFY, /* by inotify alone: what it cannot watch is an error at start, and a warning later */
	WATCH_POLL,    /* by looking from time to time */
	WATCH_OFF,     /* not: SIGHUP and loomctl reload read ROOT again */
};

/* What the process gives up before it serves: sandbox.h. */
enum sandbox_mode {
	SANDBOX_AUTO, /* what this kernel has */
	SANDBOX_ON,   /* all of it, or an error at start */
	SANDBOX_OFF,
};

struct options {
	const char *root;
	const char *listen[OPTIONS_LISTEN_MAX]; /* as given; defaults filled in by options_parse() */
	unsigned listens;
	struct network proxy_from[OPTIONS_PROXY_FROM_MAX]; /* whose PROXY headers are believed */
	unsigned proxy_froms;
	const char *backend;      /* "auto" or a name */
	struct features features; /* what is asked of it, and defaults */
	unsigned workers;         /* 1 or more; "auto" has been resolved (sched_getaffinity(2)) */
	unsigned max_connections; /* 1 or more; the default has been resolved from the descriptor limit */
	enum when_full when_full;
	unsigned max_per_ip;  /* connections of one IPv4 address or IPv6 network of 64 bits; 0: no limit */
	uint32_t max_unsent;  /* bytes of a connection's responses that wait in the kernel; 0: the system's choice */
	unsigned max_streams; /* descriptors that are left for streamed files */
	uint64_t max_memory;  /* bytes that snapshots may hold, all together */
	uint64_t
		stream_above; /* larger files are streamed, not held in memory; UINT64_MAX: none is, whatever the memory */
	uint64_t splice_above; /* larger bodies in memory are sealed and sent by reference; UINT64_MAX: none is */
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
	uint32_t settle;     /* milliseconds of quiet before a reload */
	uint32_t settle_max; /* milliseconds of unrest after which there is a reload all the same */
	enum watch_mode watch;
	uint32_t keep_generations; /* earlier snapshots that stay for a roll-back, and whose assets are still served */
	uint32_t keep_for;         /* milliseconds that assets which are gone are still served */
	const char *admin;         /* the path of the admin socket; NULL: none */
	const char *metrics;       /* the address that metrics are told at (listen.h); NULL: none */
	const char *health;        /* the path, and target, that tells whether loom is serving; NULL: none */
	const char *pid_file;      /* NULL: none */
	uint32_t upgrade_timeout;  /* milliseconds that a successor has to become ready */
	uint32_t drain_delay;      /* milliseconds from the signal to end to draining */
	const char *user;          /* a name or a number; NULL: as it was started */
	const char *group;         /* likewise; NULL: the user's */
	enum sandbox_mode sandbox;
	const char *sandbox_read[OPTIONS_SANDBOX_READ_MAX]; /* what else may be read */
	unsigned sandbox_reads;
	bool snapshot_header;   /* say the snapshot's id in each answer */
	uint8_t log_level;      /* enum log_level (log.h): what of the error log is said */
	const char *error_log;  /* where it goes: log_open() */
	const char *access_log; /* where that goes: access_log_create(); NULL: there is none */
	uint8_t access_format;  /* enum access_format (access_format.h) */
	struct limits limits;
	struct timeouts timeouts;
	struct option_store *store; /* owns strings that these are borrowed from; options_free() */
};

enum options_action {
	OPTIONS_RUN,     /* serve */
	OPTIONS_CHECK,   /* apply the gate's rules to ROOT, once */
	OPTIONS_PLAN,    /* say what serving ROOT would take */
	OPTIONS_TEST,    /* say whether it could be served: verify.h */
	OPTIONS_DUMP,    /* print options_dump() */
	OPTIONS_HELP,    /* print options_help() */
	OPTIONS_VERSION, /* print the version */
	OPTIONS_ERROR,   /* one line has been written to error; exit status 2 */
};

/*
 * Reads the configuration file, if --config or LOOM_CONFIG names one (config.h; a long option's name is the
 * setting's); the environment (LOOM_NAME for every long option --name; '-' becomes '_'; LOOM_ROOT for ROOT), which
 * wins over the file; and the command line, which wins over both. error gets one line that says which option,
 * variable or line of the file, what is wrong and what would be right.
 *
 * Strings are borrowed from argv, from the environment, and from a store that this call makes and options_free()
 * frees; a copy of the struct borrows too. After an error, HELP and VERSION there is none. May be called again, into
 * another struct options, while threads still use the first: it reads the same file anew, unless that was a pipe.
 * Relative paths of a file are absolute here, by the file's directory.
 *
 * Every address has been read by listen_parse(); whether ROOT exists is not looked at. Raises the descriptor limit,
 * see below, unless only help is asked for.
 */
enum options_action options_parse(struct options *options, int argc, char *argv[], char *error, size_t size);

void options_free(struct options *options);

/* Prints what --help shows; made from the same table as the parser. */
void options_help(FILE *out);

/*
 * Prints the settings in effect as a configuration file, and above each where it is from; paths are absolute. Read by
 * options_parse() it gives the same options. What follows from the machine (the default of --max-connections), and
 * defaults that are not the same when they are said, are comments. 0; or -EINVAL with one line in error when a value
 * cannot be written in a file, and is a comment for that reason, or -EIO.
 */
int options_dump(const struct options *options, FILE *out, char *error, size_t size);

/*
 * Where the value of an option (its long name, or "root") is from, as errors call it: "FILE:12: settle",
 * "LOOM_SETTLE" or "--settle". value: which one of a list. The default has no place: "".
 */
const char *options_origin(const struct options *options, const char *name, unsigned value, char *out, size_t size);

/*
 * Writes the names of the settings whose values differ, with commas between, and returns how many they are: those that
 * can change while loom runs (live), or those that take an upgrade.
 */
unsigned options_changes(const struct options *one, const struct options *other, bool live, char *out, size_t size);

/* Whether the file can be read again: there is one, and it is no pipe. */
bool options_can_reread(const struct options *options);

/* The file that was read, as named; NULL: none. */
const char *options_file(const struct options *options);

/*
 * Raises this process's limit of open descriptors (RLIMIT_NOFILE) to the most that it may have, and returns that.
 */
uint64_t options_descriptor_limit(void);

#endif
