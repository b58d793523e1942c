/*
 * snapshot.h - the immutable, in-memory image of the served directory, and how threads share it.
 *
 * A snapshot maps every URL path that has an answer to a prebuilt representation. It is built by one thread
 * (build.h), never changes once it is published, and is freed by the publisher when nobody holds a share of it.
 *
 * Sharing without locks, epochs or hazard pointers: a snapshot is born with one share a worker. snapshot_publish()
 * exchanges it into every worker's one-slot inbox, and takes back the share of a snapshot that was never picked up. A
 * worker looks into its inbox once a turn (one relaxed load), adopts with one exchange, and pins with a plain integer
 * of its own: one pin for being current, one for every response that refers to its memory. The last unpin gives the
 * share back with one release decrement. Nobody ever waits.
 */
#ifndef LOOM_SNAPSHOT_H
#define LOOM_SNAPSHOT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "loom/coding.h"
#include "loom/file.h"

#define CACHE_LINE 64

/* The longest head that a representation may have, final empty line excluded: a bound for output buffers. */
#define REPRESENTATION_HEAD_MAX 4096

/* `"` + 22 base64url digits of a 128-bit content hash + `"` */
#define ETAG_LEN 24

/*
 * One answer, ready to be sent: RFC 9110's representation with the fields of its message, or an error or a redirect.
 *
 * head is the status line and all field lines but Connection, each ended by CRLF, without the empty line that ends the
 * section. Its parts stand in this order, so that the heads of a 304 and a 206 are made of the same bytes:
 *
 *     status line
 *     Date                                     from validators_at; its 29 bytes at date_at are written when it is sent
 *     ETag, Vary, Cache-Control                the fields of a 304 (RFC 9110 15.4.5) end at metadata_at
 *     all others, for instance Last-Modified
 *     Content-Type                             from type_at
 *     Content-Length                           from length_at
 */
struct representation {
	const char *head;
	const uint8_t *body;     /* NULL: the bytes are those of file, which is streamed */
	const struct file *file; /* with body: the same bytes, to be sent by reference; NULL: they are at body alone */
	size_t body_len;
	uint16_t head_len;
	uint16_t status;
	uint16_t metadata_at;
	uint16_t type_at;
	uint16_t length_at;
	uint16_t location_end; /* redirects: where in head the request's query is inserted; otherwise 0 */
	uint16_t modified_at;  /* the 29 bytes of Last-Modified; 0: there is no such field */
	uint8_t validators_at;
	uint8_t date_at;

	/* There may be variants in other codings, of the same Last-Modified: to them it is a weak validator (RFC 9110 8.8.1). */
	bool varies;

	/* Validators; etag_len is 0 and last_modified 0 where there is none. */
	uint8_t etag_len;
	char etag[ETAG_LEN];
	time_t last_modified;
};

/* The answers that every snapshot has, whatever it holds: errors, and the one to OPTIONS. */
enum snapshot_error {
	ERROR_400,
	ERROR_404,
	ERROR_405, /* its head carries Allow */
	ERROR_406,
	ERROR_408,
	ERROR_412,
	ERROR_413,
	ERROR_414,
	ERROR_416, /* gets a Content-Range when it is sent */
	ERROR_417,
	ERROR_431,
	ERROR_500,
	ERROR_501,
	ERROR_503,
	ERROR_505,
	ANSWER_OPTIONS,  /* 200 with Allow */
	ANSWER_HEALTHY,  /* 200 to --health */
	ANSWER_DRAINING, /* 503 to it */
	SNAPSHOT_ERRORS,
};

/* A worker's pins on one snapshot: a plain integer on a cache line of its own. */
struct snapshot_share {
	alignas(CACHE_LINE) uint32_t pins;
	/*
	 * Requests answered from slots[i] by this worker, each on cache lines of its own: relaxed stores by it, relaxed loads
	 * by others. NULL: there was no memory for them, and nothing is counted.
	 */
	uint32_t *hits;
};

/* The representations of one key by content coding; NULL where there is none. Identity is always there. */
struct snapshot_variants {
	const struct representation *coded[CODINGS];
};

/* One key of the index: open addressing, linear probing; 32 bytes, so two to a cache line. */
struct snapshot_slot {
	uint64_t hash; /* of the key; 0 marks an empty slot */
	const char *key;
	uint16_t key_len;
	bool gone;                                   /* no longer in the tree, and served for those who saw it there */
	uint32_t variants;                           /* index into snapshot->variants; 0: there is identity alone */
	const struct representation *representation; /* identity */
};

struct snapshot {
	const struct snapshot_slot *slots;
	uint64_t mask;                            /* number of slots - 1; a power of two, at least twice the keys */
	const struct snapshot_variants *variants; /* from 1 */
	const struct representation *errors[SNAPSHOT_ERRORS];

	/* --health: a key that has no slot, and hides one; borrowed from the options. NULL: none. */
	const char *health;
	uint32_t health_len;

	/* 22 base64url digits and a NUL: a hash of all keys and contents, equal on equal trees. */
	char id[ETAG_LEN - 1];
	uint64_t files;
	uint64_t bytes; /* of file contents */
	uint64_t coded; /* variants in a content coding */
	uint64_t coded_bytes;
	uint64_t kept; /* files that are gone from the tree and still served; in none of the figures above */
	uint64_t kept_bytes;
	uint64_t kept_until; /* milliseconds of CLOCK_MONOTONIC: the first of them is to go then; 0: none */
	uint64_t memory;     /* held for this snapshot alone or with others, each allocation once, in bytes */
	uint64_t streamed;   /* files whose bytes are not in memory */
	uint64_t streamed_bytes;
	bool squeezed; /* some of them, or more variants, would be in memory if older snapshots were gone */
	void *owner;   /* the builder's: what to free */
	void *hits;    /* the builder's: the memory of all share[].hits */
	/*
	 * An earlier generation is served again (roll-back): newer dates than its own have been sent for the same names, so that
	 * "not modified since" is true of an equal date alone.
	 */
	bool returned;
	struct snapshot *next; /* generations.h: of those that are retired */
	uint32_t workers;      /* shares that it was born with */

	alignas(CACHE_LINE) atomic_uint shares; /* workers that have not given theirs back */
	struct snapshot_share share[];          /* one a worker */
};

/* The slot where the publisher leaves a snapshot for one worker. */
struct snapshot_inbox {
	alignas(CACHE_LINE) _Atomic(struct snapshot *) next;
};

/* The hash of a key. Seedless: keys come from the deployer; what clients ask for is never stored. */
uint64_t snapshot_hash(const char *key, size_t len);

/* What answers at a normalised path (target.h), or NULL. Any thread that holds a share. */
const struct snapshot_slot *snapshot_find(const struct snapshot *snapshot, const char *key, size_t len);

/* Whether a newer snapshot waits in the inbox: one relaxed load. */
static inline bool snapshot_waiting(const struct snapshot_inbox *inbox)
{
	return atomic_load_explicit(&inbox->next, memory_order_relaxed) != NULL;
}

/* Takes the waiting snapshot, pinned once for being the worker's current one; NULL when there is none. */
struct snapshot *snapshot_adopt(struct snapshot_inbox *inbox, unsigned worker);

static inline void snapshot_pin(struct snapshot *snapshot, unsigned worker)
{
	snapshot->share[worker].pins++;
}

/* The last pin gives the worker's share back; the snapshot must not be touched afterwards. */
void snapshot_unpin(struct snapshot *snapshot, unsigned worker);

/*
 * Leaves the snapshot in every inbox. The caller has built it with shares == workers (1 or more), and sees by
 * snapshot_unused() when it may free an older one.
 */
void snapshot_publish(struct snapshot *snapshot, struct snapshot_inbox inbox[], unsigned workers);

/* Takes back what a worker that has ended never picked up. */
void snapshot_retract(struct snapshot_inbox *inbox);

/* Whether all shares are back, and everything that workers did with it is over (acquire). Publisher's thread. */
bool snapshot_unused(const struct snapshot *snapshot);

#endif
