/*
 * verify.h - loom --test: whether a start with these options would succeed, without starting. Main thread; changes
 * nothing: no file, no socket's file, no cache directory is made, and nothing is compressed.
 */
#ifndef LOOM_VERIFY_H
#define LOOM_VERIFY_H

#include "loom/options.h"

/*
 * Looks at what a start would use, in its order, and prints a line for each thing that is as it has to be on standard
 * output: the configuration file, the backend, the addresses, the cache directory, and the tree, which is built once
 * and passes the gate as the first snapshot does. The first thing that is wrong is one line on standard error, with
 * the line of the file that asks for it. An address that is in use is not wrong: the loom that is to be replaced has
 * it, or the next start fails for another reason than its configuration. The exit status: 0 or 1 (2, a bad setting,
 * is found by options_parse()).
 */
int verify_run(const struct options *options);

#endif
