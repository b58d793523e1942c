/*
 * features.h - what of the kernel an event backend makes use of, feature by feature, under the names that --uring and
 * --epoll know. One table (backends/features.c) has each feature's name, values, default and meaning; the two options,
 * --help, --version -v and the line at start are made from it, and tests compare the manual and docs/features.md with it.
 *
 * Pure: text in, plain values out, no system call. Whether this kernel has what is asked for is found out by the backend
 * that is made for it (io_create()), which writes what came of it into a struct of the same kind: io_features().
 */
#ifndef LOOM_FEATURES_H
#define LOOM_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The most bytes that features_print() writes for one option, the 0 included. */
#define FEATURES_TEXT 480

/* The most rows of the table. */
#define FEATURES_MAX 40

enum feature_option {
	FEATURE_URING, /* --uring */
	FEATURE_EPOLL, /* --epoll */
};

enum feature_taskrun {
	TASKRUN_DEFER, /* completions run when the thread that waits asks for them */
	TASKRUN_COOP,  /* at its next system call */
	TASKRUN_NONE,  /* at once: it is interrupted */
};

enum feature_accept { ACCEPT_MULTISHOT, ACCEPT_ONESHOT };
enum feature_files { FILES_NORMAL, FILES_DIRECT };
enum feature_recv { RECV_MULTISHOT, RECV_ONESHOT, RECV_POLL };
enum feature_send { SEND_RING, SEND_INLINE };
enum feature_zc { ZC_OFF, ZC_ON, ZC_FIXED };
enum feature_trigger { TRIGGER_EDGE, TRIGGER_LEVEL };
enum feature_read { READ_SHORT, READ_DRAIN };
enum feature_write { WRITE_FIRST, WRITE_WAIT };

/* Switches are 0 or 1; what else has a number is 0 when it is off, or left to the backend. */
struct uring_features {
	uint32_t taskrun; /* enum feature_taskrun */
	uint32_t sqpoll;  /* milliseconds until the kernel's thread sleeps */
	uint32_t entries, cq_entries;
	uint32_t sqarray;
	uint32_t ring_fd;
	uint32_t napi;   /* microseconds */
	uint32_t accept; /* enum feature_accept */
	uint32_t files;  /* enum feature_files */
	uint32_t recv;   /* enum feature_recv */
	uint32_t recv_bundle;
	uint32_t recv_poll_first;
	uint32_t recv_cap; /* bytes */
	uint32_t buf_count;
	uint32_t buf_size; /* bytes */
	uint32_t buf_inc;
	uint32_t send; /* enum feature_send */
	uint32_t send_vec;
	uint32_t zc;     /* enum feature_zc */
	uint32_t zc_min; /* bytes */
	uint32_t wait;   /* completions */
	uint32_t wait_usec;
};

struct epoll_features {
	uint32_t trigger; /* enum feature_trigger */
	uint32_t read;    /* enum feature_read */
	uint32_t write;   /* enum feature_write */
	uint32_t exclusive;
	uint32_t busy_poll; /* microseconds */
};

struct features {
	uint64_t asked; /* bit by bit, by feature_index(): what was asked for, and is no default */
	struct uring_features uring;
	struct epoll_features epoll;
};

enum feature_kind {
	FEATURE_SWITCH, /* name or no-name */
	FEATURE_CHOICE, /* name=WORD */
	FEATURE_NUMBER, /* name=N */
	FEATURE_SIZE,   /* name=BYTES, also 4K, 1M */
	FEATURE_IDLE,   /* name or name=N */
	FEATURE_WAIT,   /* name=N:USEC, or name=1 */
};

struct feature {
	enum feature_option option;
	const char *name;
	enum feature_kind kind;
	const char *values;   /* as people write them: "defer|coop|none", "N"; NULL: a switch */
	const char *standard; /* the default, for people: "defer", "off", "by connections" */
	size_t offset;        /* into struct features */
	uint32_t min, max;    /* of what is a number */
	uint32_t implied;     /* of FEATURE_IDLE: the value without one */
	bool can_be_off;      /* no-name is allowed: 0 */
	bool power_of_two;
	const char *since; /* what it needs: the kernel, above all */
	const char *help;  /* one line */
};

/* The table: rows of --uring first. NULL behind the last one. */
const struct feature *feature_at(unsigned index);
unsigned feature_index(const struct feature *feature);

/* The row of a name, len bytes of it; NULL: there is none. */
const struct feature *feature_find(enum feature_option option, const char *name, size_t len);

/* "uring", "epoll". */
const char *feature_option_name(enum feature_option option);

static inline uint32_t feature_value(const struct features *features, const struct feature *feature)
{
	return *(const uint32_t *)((const char *)features + feature->offset);
}

/* All defaults, nothing asked for. */
extern const struct features features_standard;

/*
 * Reads an option's value, "FEATURE[=VALUE],no-FEATURE,...", into features, which hold the defaults or an earlier value.
 * What comes later wins. 0; or -EINVAL with one line in why that says what is wrong and what would be right.
 * Whether features go together is the backend's to say.
 */
int features_parse(struct features *features, enum feature_option option, const char *text, char *why, size_t size);

/* Whether the row was asked for. The pointer is to a member of features. */
bool features_asked(const struct features *features, const uint32_t *member);

/* Whether any row of the option was. */
bool features_asked_any(const struct features *features, enum feature_option option);

/*
 * Writes the values of an option's features as the option itself reads them, with commas between: read, it gives the same.
 * all: also what is off and is so by default, as no-FEATURE. FEATURES_TEXT bytes are enough.
 */
void features_print(const struct features *features, enum feature_option option, bool all, char *text, size_t size);

/* The one row, likewise: "zc=on", "no-sqpoll", "napi=0" where off cannot be said otherwise. */
void feature_print(const struct features *features, const struct feature *feature, char *text, size_t size);

/* The row as people are told to write it: "zc=off|on", "sqpoll[=MS]". */
void feature_usage(const struct feature *feature, char *text, size_t size);

/* What --help says of them. */
void features_help(FILE *out);

#endif
