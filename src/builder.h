/*
 * builder.h - what the parts of the builder share. Private to them. A build goes through them in this order:
 *
 *   build_collect.c   walks the tree: entries for what is shared with the previous snapshot, jobs for what is not
 *   build_plan.c      decides what is held in memory and what is streamed, and takes the memory for it
 *   build_read.c      does the jobs, on several threads
 *   build_take.c      makes assets of what was read, equal contents once
 *   build_keep.c      entries of earlier snapshots that are gone from the tree and still served
 *   build_coded.c     the coded variants of the entries, and build_choose.c those of them that fit
 *   build_snapshot.c  the index and the snapshot itself
 */
#ifndef LOOM_BUILDER_H
#define LOOM_BUILDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loom/asset.h"
#include "loom/build.h"
#include "loom/coding.h"
#include "loom/content.h"
#include "loom/walk.h"

/* A key and its answers. Holds a reference to each asset. */
struct build_entry {
	const char *key; /* lies in an asset of the same snapshot: a directory's key begins its index file's */
	uint32_t key_len;
	uint32_t variants;            /* into the owner's variants; 0: identity alone */
	struct asset *asset;          /* identity */
	struct asset *coded[CODINGS]; /* NULL where there is none; that of identity always is */
	uint32_t uses;                /* of a file: requests, older ones counting less */
	uint8_t own; /* bit by bit, as options->encodings: the variants that were made of it, and not found beside it */
	uint32_t gone;       /* from the tree, for so many generations; 0: it is there */
	uint64_t gone_since; /* milliseconds of CLOCK_MONOTONIC */
	uint32_t before; /* in a build: 1 + the index of the same key in the previous snapshot; 0: it was not there */
};

/* What a snapshot keeps for the builder: all that it is made of. */
struct build_owner {
	struct build_entry *entries; /* sorted by key */
	size_t count;
	struct snapshot_slot *slots;
	struct snapshot_variants *variants; /* from 1; NULL when nothing has any */
	size_t varying;                     /* their number */
	struct asset *errors[SNAPSHOT_ERRORS];
	atomic_uint references; /* snapshots that are over it */
	uint64_t kept;          /* entries that are gone, and their bytes */
	uint64_t kept_bytes;
	uint64_t kept_until;
	uint64_t memory;   /* of all this, without the assets, as memory.h counts it */
	uint64_t without;  /* variants that there was no room for */
	uint64_t kept_out; /* files that are streamed for want of memory, and not for their size */
	uint64_t limit;    /* what it may hold by itself; see build_plan.c */
};

/* A file to be read, or to be taken out of memory or into it. */
struct build_job {
	/* As it was collected and planned; constant while it is read. */
	struct asset *old; /* of this key in the previous snapshot, borrowed from it; NULL: there is none */
	const char *type;
	uint64_t size;     /* as the walk saw it */
	uint64_t reserved; /* bytes that have been taken for its body */
	uint32_t before;   /* see struct build_entry */
	uint32_t replaces; /* 1 + the index of the entry whose asset the new one takes the place of; 0: of none */
	bool vouched;      /* it is old's content, by its stat */
	bool stream;

	/* What came of it. */
	atomic_bool done;      /* what follows is there */
	atomic_bool abandoned; /* another one is done in its place */
	const char *failed;    /* what could not be done, if err is set: "cannot open" */
	int err;
	bool same; /* old's content; byte by byte, or, when one of them is streamed, by its hash */
	struct content content;
	struct body *body; /* NULL: old's will do */

	uint32_t key_len;
	char key[]; /* NUL-terminated; from 1, the path */
};

struct builder {
	const struct build_request *request;
	const struct build_owner *previous; /* NULL for the first snapshot */
	struct build_owner *owner;          /* the one in the making */
	size_t entries_size;
	size_t index_len;
	size_t near; /* where the last key was found in the previous snapshot: the next one is not far */

	int (*read)(void *builder, struct walk *walk); /* when all has been collected */

	struct build_job **jobs;
	size_t job_count, jobs_size;

	uint64_t keys;      /* entries, those included that jobs will make */
	uint64_t transient; /* bytes that collecting holds meanwhile */
	uint64_t reserved;  /* bytes that have been taken for heads and the index, and are not allocated yet */
	uint64_t needed;    /* bytes that the new snapshot allocates; set when they do not fit */
	uint64_t streams;   /* files that have to be opened to be streamed */
	bool crowded;       /* they are too many */
	uint64_t files;
	uint64_t bytes;
	uint64_t coded; /* variants, without identity */
	uint64_t coded_bytes;
	bool unmeasured; /* needed is not all */
	bool squeezed;
};

/* An entry of sorted entries, or NULL. owner may be NULL. */
struct build_entry *build_find(const struct build_owner *owner, const char *key, size_t len);

/* The same for the previous snapshot, quick when keys are asked for in nearly their order. */
struct build_entry *build_find_before(struct builder *builder, const char *key, size_t len);

/* Whether an entry is a file under its own name, and not a directory with its index file. */
static inline bool build_is_file(const struct build_entry *entry)
{
	return entry->asset->kind == ASSET_FILE && entry->key_len == entry->asset->key_len;
}

/* Whether a key's last segment is the name of index files; if so, len is what comes before it, "/" included. */
bool build_is_index(const struct builder *builder, const char *key, size_t key_len, size_t *len);

/* All URLs of a file. Takes over a reference. 0 or -ENOMEM. */
int build_add_file(struct builder *builder, struct walk *walk, struct asset *asset, uint32_t before);

/* Entries and jobs of the tree; of the previous snapshot. read is called at the end, while files can be opened. */
int build_collect(struct builder *builder, int (*read)(void *builder, struct walk *walk), char *why, size_t size);
int build_collect_previous(struct builder *builder);

/* Entries in the order of their keys, in an array that is no larger than they are. 0 or -ENOMEM. */
int build_sort(struct builder *builder);

/*
 * What is streamed, and the memory for all that is new: taken from now on, in each job's reserved and the builder's. 0,
 * -ENOMEM; -ENOSPC or -ENFILE with needed or streams set.
 */
int build_plan(struct builder *builder);

/* The same where all is as in the previous snapshot: for the index alone. 0 or -ENOSPC. */
int build_plan_previous(struct builder *builder);

/* Memory that is held for comfort is asked back. Whether there was any. */
bool build_make_room(struct builder *builder);

/* A number that no body or asset has been stamped with yet. */
uint32_t build_stamp(void);

/* Bytes that this snapshot would hold by itself with what it has so far: each body and asset once. */
uint64_t build_holds(struct builder *builder);

/* Does all jobs. Their results are in them; 0, or -ENOMEM before any was begun. */
int build_read(struct builder *builder, struct walk *walk);

/* Entries of what was read. 0, or the error that ends the build, with why set by way of the walk. */
int build_take(struct builder *builder, struct walk *walk);

/* A zeroed job for a key. 0 or -ENOMEM. */
int build_add_job(struct builder *builder, struct build_job **job, const char *key, size_t key_len);
/* What is known of a file goes to another asset of the same content. */
void build_inherit(struct asset *made, const struct asset *asset);

void build_free_jobs(struct builder *builder);

/* The fields of a file's head in a coding. body NULL: not known yet. */
struct asset_fields build_fields(const struct builder *builder, const char *key, size_t key_len, const char *type,
                                 uint64_t size, bool stream, time_t last_modified);

/* Whether loom itself makes variants of a content. */
bool build_is_candidate(const struct builder *builder, const char *type, uint64_t size, bool stream);

/* What the index of so many keys takes, with all that is no asset. Bytes. */
uint64_t build_overhead(const struct builder *builder, uint64_t keys);

/* The answers that are there in any case, in our own words; build_finish() gives them those of pages. 0 or -ENOMEM. */
int build_errors(struct builder *builder);

/* All assets are there: the index and the snapshot itself. 0 or -ENOMEM. */
int build_finish(struct builder *builder, const char *id, struct snapshot **made);

/* A snapshot over what is in the owner, with its shares and hits, and nothing else filled in. NULL: no memory. */
struct snapshot *build_object(struct build_owner *owner, uint64_t slots, unsigned workers);

/* Bytes of it, without hits. */
static inline size_t build_object_size(unsigned workers)
{
	return sizeof(struct snapshot) + workers * sizeof(struct snapshot_share);
}

/* Bytes of the hits of a snapshot. */
size_t build_hits_size(uint64_t slots, unsigned workers);

/* By key, of what qsort(3) sorts. */
int build_by_key(const void *a, const void *b);

/* One more entry, unsorted. Takes over a reference, also when it fails. */
struct build_entry *build_add_entry(struct builder *builder, const char *key, size_t key_len, struct asset *asset);

/* The id of what the sorted entries hold. 0 or -ENOMEM. */
int build_id(const struct build_owner *owner, char id[ETAG_LEN - 1]);

/*
 * The entries are sorted, and id is theirs: adds those of request->keep_from that are gone and still to be served, as far as
 * there is room, and sorts them in. 0 or -ENOMEM.
 */
int build_keep(struct builder *builder, const char *id);

void build_free_owner(struct build_owner *owner);

/* Gives every file of the sorted entries the variants that there are, and that fit. 0 or -ENOMEM. */
int build_coded(struct builder *builder);

/* A variant that an entry may have. */
struct build_choice {
	size_t entry;
	enum content_coding coding;
	uint32_t uses;     /* of its file */
	struct body *body; /* NULL: it was let go of, and could be made again */
	struct asset *old; /* the answer of the previous snapshot that will do, borrowed; NULL: there is none */
	uint64_t head;     /* bytes of a new answer; 0 with old */
	uint64_t memory;   /* bytes of the body, unless it is that of a file beside this one, which counts there */
	bool held;         /* the choice has a reference to the body, for all that have the same one */
	bool spare;        /* the body would be freed, if it were not taken */
	bool taken;
};

/*
 * Decides which of them are taken: all, or those that are used most and fit. References their bodies, each once, until
 * build_chosen(). Reorders them when it has to.
 */
void build_choose(struct builder *builder, struct build_choice *choices, size_t count);
void build_chosen(struct builder *builder, struct build_choice *choices, size_t count);

#endif
