/*
 * gate.h - what a snapshot must pass before it goes live. Runs on the builder's thread, which has just built it.
 *
 * The rules (--gate; struct gate_rules of options.h):
 *   index     ROOT has an index file, and it is not empty
 *   vanished  no more than N % of the previous snapshot's files have vanished or become empty, nor of its bytes. Numbers are
 *             compared, not names: a deploy that renames every hashed asset is nothing unusual
 *   links     every script, stylesheet and image of the same site that an HTML page names is there (links.h); a redirect
 *             and a directory with an index are. A page that is streamed is not read for that, which the log says
 *
 * Rules that were not chosen but are on by default must not be in the way of a site that has been served without
 * them: they compare, and nothing else. So index then refuses only the loss of an index; vanished counts files alone,
 * since one video may be most of a site's bytes, and passes over trees of less than GATE_FILES_MIN files, of which a
 * person may well delete most or all; and a first snapshot passes.
 */
#ifndef LOOM_GATE_H
#define LOOM_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/options.h"
#include "loom/snapshot.h"

#define GATE_FILES_MIN 10

/* So many missing files are told by name, and no more. */
#define GATE_NAMES_MAX 100

struct gate_violation {
	const char *text; /* "links: /app.js is missing, named by /index.html and 7 more pages" */
	size_t subject; /* the first bytes of it, which stay the same while a deploy goes on: "links: /app.js is missing" */
	bool compares; /* with the previous snapshot: a restart would not find it */
};

typedef void gate_tell_fn(void *context, const struct gate_violation *violation);

/*
 * Tells every violation of the rules that are on, in their order. previous NULL: there is nothing to compare with.
 * Their number.
 */
uint64_t gate_inspect(const struct options *options, const struct snapshot *snapshot, const struct snapshot *previous,
                      gate_tell_fn *tell, void *context);

/*
 * Whether the snapshot may go live: 0; or -EPERM with one line in why that says what the rules have found, and what
 * to do about it. reason: equal when it is for the same reason, though numbers in the line may be others.
 */
int gate_check(const struct options *options, const struct snapshot *snapshot, const struct snapshot *previous,
               uint64_t *reason, char *why, size_t size);

#endif
