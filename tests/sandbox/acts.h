/*
 * acts.h - what a thread in the sandbox tries, in a process of its own, and what came of it.
 */
#ifndef LOOM_TEST_ACTS_H
#define LOOM_TEST_ACTS_H

#include <check.h>

#include "loom/sandbox.h"

#define PATIENCE 60 /* seconds of a test: each act is a process */

#define KILLED (-1) /* by SIGSYS, as the sandbox ends a process */

/* 0 or an errno. */
typedef int act(void);

/* The tree of the test: root and outside it, as absolute paths, and what is in them. */
extern char place[64];
const char *at(const char *name);
void make_place(void);
void remove_place(void);

/* A process enters the sandbox by these options and the thread by its kind, and does it. 0, an errno or KILLED. */
int attempt(const struct options *options, enum sandbox_thread kind, act *what);

/* place/root, all defaults, --sandbox=on. */
struct options standard(void);

/* Why there is no sandbox here, or NULL. */
const char *lacking(void);

Suite *ring_suite(void);
Suite *launcher_suite(void);

#endif
