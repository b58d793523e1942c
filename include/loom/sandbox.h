/*
 * sandbox.h - what the process gives up before it serves: --user and --group, capabilities, files (Landlock), and system
 * calls, thread by thread (seccomp). docs/sandbox.md says what is allowed, and why so.
 *
 * The process has one sandbox, so there is no handle: sandbox_enter() sets it up while there is one thread; afterwards it is
 * constant, and each thread takes its own filter when it begins its work.
 *
 * Who opens, sends or starts something new while serving adds it here:
 *  - a file or a directory: a line in add_paths() (sandbox.c);
 *  - a system call: a row or a bit in the table of sandbox_filter.c;
 *  - a thread: a kind below, and sandbox_thread() at its beginning. One without has the filter of SANDBOX_ALL;
 *  - a program (execve(2)): launcher.h. No thread can, and Landlock would go with it.
 */
#ifndef LOOM_SANDBOX_H
#define LOOM_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/options.h"

enum sandbox_thread {
	SANDBOX_ALL, /* the process from sandbox_enter() on, starting and ending included: inherited by every thread */
	SANDBOX_MAIN,
	SANDBOX_WORKER,
	SANDBOX_DISK,     /* reads files that are being sent and are not in the page cache */
	SANDBOX_RELOADER, /* and what it starts: */
	SANDBOX_READER,   /* reads files for a build */
	SANDBOX_VARIANTS,
	SANDBOX_ADMIN,
	SANDBOX_METRICS,
	SANDBOX_LOG, /* writes the access log */
	SANDBOX_THREADS,
};

/* Whether a program that is started later must be started by a launcher.h, which has to be made before sandbox_enter(). */
bool sandbox_needs_launcher(const struct options *options);

/*
 * What options ask for, as far as this kernel has it: the directories that are made at start, the user, then the rest.
 * After what only the first user may do (binding), and before any other thread. path: the admin socket's file has been
 * bound and is given to the user. 0; or -errno with one line in why: a user that is not there or cannot be become, a
 * path that this user cannot read, or with --sandbox=on what is missing.
 */
int sandbox_enter(const struct options *options, char *why, size_t size);

/* The calling thread does from now on what its kind does. Without a sandbox nothing happens. Ends the process if it fails. */
void sandbox_thread(enum sandbox_thread kind);

/*
 * Whether event backends are to limit themselves too (io_config.contain): rings carry operations past the filters. And
 * whether that has been had: told by who starts them, before sandbox_describe(). missing: one line, or NULL. -ENOTSUP:
 * with --sandbox=on it must be.
 */
bool sandbox_wants_rings(void);
int sandbox_rings(bool used, const char *missing);

/* One line for people: "Landlock ABI 7, seccomp; not: ...". "" without --user and with --sandbox=off. */
void sandbox_describe(char *text, size_t size);

/*
 * Whether Landlock lets this process read what lies at the path, links resolved. True when that cannot be said. For the
 * words of a failure, not for a decision. Any thread.
 */
bool sandbox_may_read(const char *path);

/* Whether --user and --group can be had by this process, and --sandbox=on here. 0, or -errno with one line in why. */
int sandbox_try(const struct options *options, char *why, size_t size);

#endif
