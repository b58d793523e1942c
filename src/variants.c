/*
 * variants.c - see variants.h. The store: a hash table from contents to their variants, on the builder's thread alone. What is
 * to be made goes to the yard (variants_yard.h), whose threads have jobs and never look at the store.
 */
#include "loom/variants.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/compress.h"
#include "variants_yard.h"

struct variant {
	enum { UNASKED, PENDING, READY, NONE, SHED } state;
	bool offered;       /* READY: variants_get() has shown it, so that a builder could take it */
	struct body *coded; /* READY: the store's reference */
	uint64_t memory;    /* SHED: of the body that it was */
};

/* A content that was asked for, by hash and length. It stays until variants_sweep() finds that it has gone. */
struct entry {
	struct entry *next; /* in the same bucket */
	uint32_t idle;      /* sweeps since it was asked for, or referred to */
	uint8_t hash[BODY_HASH_LEN];
	uint64_t len;
	struct variant variants[CODINGS];
};

struct variants {
	struct entry **buckets;
	size_t entries;
	size_t mask; /* of the number of buckets, a power of two */
	unsigned pending;
	uint64_t number;
	uint64_t made, dropped;
	bool expired;
	struct variants *behind; /* on the list of those that are left behind */
	struct yard yard;
};

/* What variants_destroy() has left to threads that had no processor to end: lost to nobody, for who looks for leaks. */
static struct variants *_Atomic left_behind;

int variants_create(struct variants **out, const struct variants_config *config, char *why, size_t size)
{
	struct variants *variants = calloc(1, sizeof(*variants));
	int err;

	if (!variants) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	err = yard_open(&variants->yard, config, why, size);
	variants->mask = 255;
	variants->buckets = calloc(variants->mask + 1, sizeof(struct entry *));
	if (!err && !variants->buckets) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		err = -ENOMEM;
	}
	if (err)
		variants_destroy(variants);
	else
		*out = variants;
	return err;
}

void variants_stop(struct variants *variants)
{
	yard_stop(&variants->yard);
}

static void free_entry(struct entry *entry)
{
	for (unsigned coding = 0; coding < CODINGS; coding++)
		body_release(entry->variants[coding].coded);
	free(entry);
}

static void free_entries(struct variants *variants)
{
	for (size_t i = 0; variants->buckets && i <= variants->mask; i++) {
		struct entry *entry = variants->buckets[i], *next;

		for (; entry; entry = next) {
			next = entry->next;
			free_entry(entry);
		}
	}
	free(variants->buckets);
}

void variants_destroy(struct variants *variants)
{
	if (!variants)
		return;
	if (!yard_close(&variants->yard)) {
		variants->behind = atomic_exchange(&left_behind, variants);
		return;
	}
	free_entries(variants);
	free(variants);
}

static struct entry **bucket_of(const struct variants *variants, const uint8_t hash[BODY_HASH_LEN])
{
	uint64_t bits;

	memcpy(&bits, hash, sizeof(bits)); /* a hash is as good as random */
	return &variants->buckets[bits & variants->mask];
}

/* Twice as many buckets, if there is memory: it works with long chains as well. */
static void grow(struct variants *variants)
{
	struct entry **old = variants->buckets, **new;
	size_t buckets = variants->mask + 1;

	new = calloc(2 * buckets, sizeof(struct entry *));
	if (!new)
		return;
	variants->buckets = new;
	variants->mask = 2 * buckets - 1;
	for (size_t i = 0; i < buckets; i++) {
		struct entry *entry = old[i], *next;

		for (; entry; entry = next) {
			struct entry **bucket = bucket_of(variants, entry->hash);

			next = entry->next;
			entry->next = *bucket;
			*bucket = entry;
		}
	}
	free(old);
}

/* The content's entry, made if it is not there; NULL without memory. */
static struct entry *find_entry(struct variants *variants, const struct body *identity)
{
	struct entry **bucket = bucket_of(variants, identity->hash), *entry;

	for (entry = *bucket; entry; entry = entry->next)
		if (entry->len == identity->len && memcmp(entry->hash, identity->hash, BODY_HASH_LEN) == 0)
			return entry;

	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	memcpy(entry->hash, identity->hash, BODY_HASH_LEN);
	entry->len = identity->len;
	if (variants->entries++ > variants->mask) {
		grow(variants);
		bucket = bucket_of(variants, identity->hash);
	}
	entry->next = *bucket;
	*bucket = entry;
	return entry;
}

static int ask(struct variants *variants, struct variant *variant, struct body *identity, enum content_coding coding)
{
	struct job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return -ENOMEM;
	job->variant = variant;
	job->coding = coding;
	job->number = variants->number++;
	job->identity = body_reference(identity);
	err = yard_put(&variants->yard, job);
	if (err) {
		yard_free_job(job);
		return err;
	}
	variants->pending++;
	return 0;
}

enum variant_state variants_get(struct variants *variants, struct body *identity, enum content_coding coding,
                                struct body **coded, uint64_t *memory)
{
	struct entry *entry = find_entry(variants, identity);
	struct variant *variant;

	*coded = NULL;
	*memory = 0;
	assert(identity->len > 0 && identity->len <= COMPRESS_MAX);
	assert(coding > CODING_IDENTITY && coding < CODINGS);

	if (!entry) {
		yard_tell_memory(&variants->yard);
		return VARIANT_NONE;
	}
	entry->idle = 0;
	variant = &entry->variants[coding];
	switch (variant->state) {
	case READY:
		variant->offered = true;
		*coded = variant->coded;
		return VARIANT_READY;
	case NONE:
		return VARIANT_NONE;
	case PENDING:
		return VARIANT_PENDING;
	case SHED:
		*memory = variant->memory;
		return VARIANT_SHED;
	case UNASKED:
		break;
	}
	if (ask(variants, variant, identity, coding) < 0) {
		yard_tell_memory(&variants->yard);
		variant->state = NONE;
		return VARIANT_NONE;
	}
	variant->state = PENDING;
	return VARIANT_PENDING;
}

void variants_again(struct variants *variants, struct body *identity, enum content_coding coding)
{
	struct entry *entry = find_entry(variants, identity);

	if (!entry || entry->variants[coding].state != SHED ||
	    ask(variants, &entry->variants[coding], identity, coding) < 0)
		return;
	entry->variants[coding] = (struct variant){ .state = PENDING };
}

/* The first time that nothing is left to do. */
static void expire_once(struct variants *variants)
{
	if (!variants->yard.cache || variants->expired || variants->pending > 0 || variants->number == 0)
		return;
	variants->expired = true;
	yard_expire(&variants->yard);
}

unsigned variants_collect(struct variants *variants)
{
	struct job *done = yard_collect(&variants->yard);
	unsigned ready = 0;

	while (done) {
		struct job *job = done;

		done = job->next;
		assert(job->variant->state == PENDING);
		job->variant->state = job->coded ? READY : job->shed ? SHED : NONE;
		job->variant->coded = job->coded;
		job->variant->memory = job->shed;
		ready += job->coded != NULL;
		variants->dropped += job->shed > 0;
		job->coded = NULL; /* the store has the reference now */
		yard_free_job(job);
		variants->pending--;
	}
	variants->made += ready;
	expire_once(variants);
	return ready;
}

unsigned variants_pending(const struct variants *variants)
{
	return variants->pending;
}

void variants_count(const struct variants *variants, struct variants_counts *counts)
{
	*counts = (struct variants_counts){
		.pending = variants->pending,
		.made = variants->made,
		.dropped = variants->dropped,
	};
}

static bool is_spare(const struct variant *variant, bool unseen)
{
	return variant->state == READY && (variant->offered || unseen) && variant->coded->references == 1;
}

/* Forgets the jobs that nobody has begun and whose contents nothing but such jobs refers to. Bytes. */
static uint64_t forget_gone(struct variants *variants)
{
	struct job *gone = yard_take_back(&variants->yard);
	uint64_t forgotten = 0;

	while (gone) {
		struct job *job = gone;

		gone = job->next;
		if (job->identity->references == 1)
			forgotten += job->identity->memory;
		job->variant->state = UNASKED;
		yard_free_job(job);
		variants->pending--;
	}
	return forgotten;
}

uint64_t variants_shed(struct variants *variants, bool unseen)
{
	uint64_t shed = forget_gone(variants);

	for (size_t i = 0; i <= variants->mask; i++) {
		for (struct entry *entry = variants->buckets[i]; entry; entry = entry->next) {
			for (unsigned coding = 0; coding < CODINGS; coding++) {
				struct variant *variant = &entry->variants[coding];
				uint64_t memory;

				if (!is_spare(variant, unseen))
					continue;
				memory = variant->coded->memory;
				shed += memory;
				variants->dropped++;
				body_release(variant->coded);
				*variant = (struct variant){ .state = SHED, .memory = memory };
			}
		}
	}
	return shed;
}

/* Whether a job has a pointer into it, or a snapshot has one of its variants. */
static bool is_in_use(const struct entry *entry)
{
	for (unsigned coding = 0; coding < CODINGS; coding++) {
		const struct variant *variant = &entry->variants[coding];

		if (variant->state == PENDING || (variant->state == READY && variant->coded->references > 1))
			return true;
	}
	return false;
}

void variants_sweep(struct variants *variants)
{
	for (size_t i = 0; i <= variants->mask; i++) {
		struct entry **at = &variants->buckets[i], *entry;

		while ((entry = *at)) {
			entry->idle = is_in_use(entry) ? 0 : entry->idle + 1;
			if (entry->idle <= VARIANTS_SWEEPS) {
				at = &entry->next;
				continue;
			}
			*at = entry->next;
			free_entry(entry);
			variants->entries--;
		}
	}
}
