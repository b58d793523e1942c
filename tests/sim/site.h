/*
 * site.h - small snapshots made by hand, in memory: what test_conn serves. Version after version of the same URLs, each
 * with contents of its own, so that every answer tells the version that it is of; and what a client should get.
 */
#ifndef LOOM_SIM_SITE_H
#define LOOM_SIM_SITE_H

#include <stdbool.h>
#include <stddef.h>

#include "loom/range.h"
#include "loom/snapshot.h"

/* What can be asked for; the errors of snapshot.h follow. */
enum site_page {
	PAGE_INDEX,  /* "/", some hundred bytes, contiguous with its head */
	PAGE_SMALL,  /* "/small.txt" */
	PAGE_EMPTY,  /* "/empty": no body */
	PAGE_COPIED, /* "/copied.html": somewhat less than what is worth an iovec; has variants, as have the next two */
	PAGE_LENT,   /* "/lent.js": somewhat more */
	PAGE_LARGE,  /* "/large.bin": many times a socket's buffer */
	PAGE_MOVED,  /* "/dir": a redirect that keeps the query */
	PAGE_DIR,    /* "/dir/" */
	PAGE_TINY,   /* "/tiny.bin": streamed from a file, as are the next two */
	PAGE_FILE,   /* "/file.bin": many times a socket's buffer */
	PAGE_HUGE,   /* "/huge.bin": 2^40 bytes, zeros but for the last SITE_HUGE_TAIL; not to be asked for whole */
	SITE_PAGES,
};

#define SITE_HUGE_TAIL 65536

extern const char *const site_paths[SITE_PAGES];

/* The least that a page has in any version, in bytes, identity. */
extern const size_t site_sizes[SITE_PAGES];

/* A version of the site; *snapshot has one share. */
struct snapshot *site_build(unsigned version);

/* Overwrites what it frees: an answer that still refers to it is found out. */
void site_free(struct snapshot *snapshot);

/* The most ranges of one question. */
#define SITE_PARTS 4

/* What a client asked for, as far as the choice of the answer goes. */
struct site_question {
	bool is_error;
	unsigned which; /* enum site_page, or enum snapshot_error */
	bool head;      /* HEAD */
	const char *query;
	enum content_coding coding; /* that is accepted, of pages that have it */
	size_t range_first;         /* 0, or Range: bytes=range_first- */
	unsigned parts;             /* 0, or Range: of several, in part, no two of them near each other; of identity */
	struct range part[SITE_PARTS];
	unsigned etag_version;  /* 0, or If-None-Match with the tag that the page has in this version and coding */
	bool since;             /* If-Modified-Since with a date after every version */
	const char *connection; /* "close", "keep-alive" or NULL: the Connection field of the answer */
	bool identify;          /* with Loom-Snapshot */
};

/* Of an answer's body. */
struct site_piece {
	const uint8_t *bytes; /* NULL: zeros */
	uint64_t len;
};

/* An answer that a client may get. */
struct site_answer {
	char head[2 * REPRESENTATION_HEAD_MAX];
	size_t head_len;
	size_t date_at;
	struct site_piece piece[4 * SITE_PARTS + 1];
	unsigned pieces;
	uint64_t body_len;                    /* of all pieces */
	char part_heads[SITE_PARTS + 1][256]; /* among them */
};

/* The right answer to the question in one version of the site. */
void site_answer(const struct snapshot *snapshot, const struct site_question *question, struct site_answer *answer);

/* Whether the answer is a file's, or a part of one, and goes by io_send_file(). */
bool site_streams(const struct site_question *question);

/* Requests that the snapshot's slots have counted. */
uint64_t site_hits(const struct snapshot *snapshot);

/* Whether the page has variants in all codings. */
bool site_has_variants(enum site_page page);

/* The entity-tag of a page in a version and a coding, with its quotes: ETAG_LEN bytes. */
void site_etag(unsigned version, enum site_page page, enum content_coding coding, char etag[ETAG_LEN + 1]);

#endif
