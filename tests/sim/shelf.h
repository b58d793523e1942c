/*
 * shelf.h - the snapshots that the simulated server serves: contents of the model (model.h) in assets and bodies that
 * src/asset.c and src/body.c make, as the reloader has them made, so that heads and entity-tags are the real ones; and
 * overwritten when they are freed, so that an answer that still refers to one is found out.
 */
#ifndef LOOM_SIM_SHELF_H
#define LOOM_SIM_SHELF_H

#include <stdbool.h>
#include <stdint.h>

#include "loom/snapshot.h"
#include "model.h"

/* Once, before all else: makes every content, and tells the model their entity-tags. */
void shelf_open(void);

/*
 * A snapshot of a version, with one share. like: a snapshot whose assets are taken over where the content is the same;
 * may be NULL.
 */
struct snapshot *shelf_build(unsigned version, const struct snapshot *like, bool returned);
void shelf_free(struct snapshot *snapshot);

unsigned shelf_version(const struct snapshot *snapshot);

/* Requests that its slots have counted. */
uint64_t shelf_hits(const struct snapshot *snapshot);

/* Which content an open file of a snapshot is. False: it is of none that is there. */
bool shelf_knows(const struct snapshot *snapshot, const struct file *file, enum page *page, unsigned *content);

/* Whether bytes, or a file, are among those that a snapshot refers to. */
bool shelf_holds(const struct snapshot *snapshot, const char *bytes, size_t len);
bool shelf_holds_file(const struct snapshot *snapshot, const struct file *file);

#endif
