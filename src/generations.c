/*
 * generations.c - see generations.h. It owns the snapshots from their publication on.
 *
 * A generation has one snapshot object in the list, the last one that was published for it. Publishing it once more
 * takes another object over the same index, because shares are paid in advance, and only once (snapshot.h); the one
 * before goes to the retired ones, and with the last of them what they share.
 */
#include "loom/generations.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

struct entry {
	struct snapshot *snapshot;
	uint64_t first; /* milliseconds: it went live */
	uint64_t since; /* the same of this object */
	bool compared;
	uint64_t changes[3]; /* by enum build_change, from the entry before */
};

struct generations {
	struct generations_config config;
	void (*published)(void *context);
	void *context;

	pthread_mutex_t lock;  /* all below */
	struct entry *entries; /* by the time that the tree brought them, the oldest first; no two of one id */
	size_t count;
	size_t current;
	bool pinned; /* the current one */
	struct snapshot *retired;
	const struct snapshot *lent_current, *lent_newest; /* to the builder, which may be building from them */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ms(void)
{
	return now_ns() / 1000000;
}

int generations_create(struct generations **out, const struct generations_config *config)
{
	struct generations *generations = calloc(1, sizeof(*generations));

	assert(config->workers > 0);
	if (!generations)
		return -ENOMEM;
	/* The current one, and the one more that there is for a moment while a new one is published. */
	generations->entries = calloc((size_t)config->keep + 2, sizeof(*generations->entries));
	if (!generations->entries) {
		free(generations);
		return -ENOMEM;
	}
	generations->config = *config;
	pthread_mutex_init(&generations->lock, NULL);
	*out = generations;
	return 0;
}

void generations_on_publish(struct generations *generations, void (*published)(void *context), void *context)
{
	generations->published = published;
	generations->context = context;
}

static void tell_workers(const struct generations *generations)
{
	if (generations->published)
		generations->published(generations->context);
}

/* Under the lock. */
static void retire(struct generations *generations, struct snapshot *snapshot)
{
	snapshot->next = generations->retired;
	generations->retired = snapshot;
}

static void remove_entry(struct generations *generations, size_t at)
{
	struct entry *entries = generations->entries;

	memmove(&entries[at], &entries[at + 1], (generations->count - at - 1) * sizeof(*entries));
	generations->count--;
	if (generations->current > at)
		generations->current--;
}

/* The current generation is the last one that was served, wherever it stood. */
static void move_current_to_end(struct generations *generations)
{
	struct entry entry = generations->entries[generations->current];

	remove_entry(generations, generations->current);
	generations->entries[generations->count] = entry;
	generations->current = generations->count++;
}

static void trim(struct generations *generations)
{
	while (generations->count > (size_t)generations->config.keep + 1) {
		retire(generations, generations->entries[0].snapshot);
		remove_entry(generations, 0);
	}
}

static bool has_id(const struct entry *entry, const char *id)
{
	return strcmp(entry->snapshot->id, id) == 0;
}

static bool count_change(void *context, enum build_change change, const char *key, size_t key_len)
{
	uint64_t *changes = context;

	(void)key;
	(void)key_len;
	changes[change]++;
	return true;
}

/*
 * How the newest generation differs from the one before: after it went live, and without the lock, since it may take
 * a while. Nobody else frees either.
 */
static void compare(struct generations *generations, const struct snapshot *old, const struct snapshot *new)
{
	struct build_position position = { 0 };
	uint64_t changes[3] = { 0 };

	build_diff(old, new, &position, SIZE_MAX / 2, count_change, changes);
	pthread_mutex_lock(&generations->lock);
	for (size_t i = 0; i < generations->count; i++) {
		struct entry *entry = &generations->entries[i];

		if (has_id(entry, new->id)) {
			entry->compared = true;
			memcpy(entry->changes, changes, sizeof(changes));
		}
	}
	pthread_mutex_unlock(&generations->lock);
}

/* A new object of the entry that is, or becomes, the current one. Under the lock. */
static void serve(struct generations *generations, struct entry *entry, struct snapshot *snapshot)
{
	if (entry->snapshot)
		retire(generations, entry->snapshot);
	entry->snapshot = snapshot;
	entry->since = now_ms();
	generations->current = (size_t)(entry - generations->entries);
	snapshot_publish(snapshot, generations->config.inboxes, generations->config.workers);
}

/* Under the lock. The generation before, if there is one and this is a new one. */
static const struct snapshot *publish(struct generations *generations, struct snapshot *snapshot)
{
	const struct snapshot *before = NULL;
	struct entry *entry;

	if (generations->count > 0) {
		entry = &generations->entries[generations->current];
		before = entry->snapshot;
		if (has_id(entry, snapshot->id)) {
			move_current_to_end(generations);
			serve(generations, &generations->entries[generations->current], snapshot);
			return NULL;
		}
		/* A tree that is again what it was: it is the newest now, and no longer an earlier one. */
		for (size_t i = 0; i < generations->count; i++) {
			if (!has_id(&generations->entries[i], snapshot->id))
				continue;
			retire(generations, generations->entries[i].snapshot);
			remove_entry(generations, i);
			break;
		}
		move_current_to_end(generations);
	}
	entry = &generations->entries[generations->count++];
	*entry = (struct entry){ .first = now_ms() };
	serve(generations, entry, snapshot);
	trim(generations);
	return before;
}

int generations_publish(struct generations *generations, struct snapshot *snapshot, enum generations_kind kind)
{
	const struct snapshot *before = NULL;
	struct entry *entry;
	int err = 0;

	assert(snapshot->workers == generations->config.workers);
	pthread_mutex_lock(&generations->lock);
	if (kind == GENERATION_OF_TREE) {
		if (generations->pinned)
			err = -EBUSY;
		else
			before = publish(generations, snapshot);
	} else {
		assert(generations->count > 0);
		entry = &generations->entries[generations->current];
		if (has_id(entry, snapshot->id)) {
			snapshot->returned = entry->snapshot->returned;
			serve(generations, entry, snapshot);
		} else {
			err = -ESTALE;
		}
	}
	pthread_mutex_unlock(&generations->lock);
	if (err)
		return err;
	tell_workers(generations);
	if (before)
		compare(generations, before, snapshot);
	return 0;
}

struct snapshot *generations_current(struct generations *generations)
{
	struct snapshot *snapshot = NULL;

	pthread_mutex_lock(&generations->lock);
	if (generations->count > 0)
		snapshot = generations->entries[generations->current].snapshot;
	generations->lent_current = snapshot;
	pthread_mutex_unlock(&generations->lock);
	return snapshot;
}

struct snapshot *generations_newest(struct generations *generations)
{
	struct snapshot *snapshot = NULL;

	pthread_mutex_lock(&generations->lock);
	if (generations->count > 0)
		snapshot = generations->entries[generations->count - 1].snapshot;
	generations->lent_newest = snapshot;
	pthread_mutex_unlock(&generations->lock);
	return snapshot;
}

/* Whether the builder may be building from it: another thread may have retired it in the meantime. */
static bool is_lent(const struct generations *generations, const struct snapshot *snapshot)
{
	return snapshot == generations->lent_current || snapshot == generations->lent_newest;
}

/* Takes those out that nobody holds; building: what is lent is held. Under the lock. */
static struct snapshot *take_unused(struct generations *generations, bool building)
{
	struct snapshot *unused = NULL, **at = &generations->retired;

	while (*at) {
		struct snapshot *snapshot = *at;

		if (!snapshot_unused(snapshot) || (building && is_lent(generations, snapshot))) {
			at = &snapshot->next;
			continue;
		}
		*at = snapshot->next;
		snapshot->next = unused;
		unused = snapshot;
	}
	return unused;
}

static bool free_all(struct snapshot *unused)
{
	bool any = unused != NULL;

	while (unused) {
		struct snapshot *next = unused->next;

		build_free(unused);
		unused = next;
	}
	return any;
}

bool generations_reap(struct generations *generations)
{
	struct snapshot *unused;
	bool left;

	pthread_mutex_lock(&generations->lock);
	unused = take_unused(generations, false);
	left = generations->retired != NULL;
	pthread_mutex_unlock(&generations->lock);
	/* Without the lock: a large site is many assets. */
	free_all(unused);
	return left;
}

bool generations_make_room(struct generations *generations)
{
	struct snapshot *unused;

	pthread_mutex_lock(&generations->lock);
	unused = take_unused(generations, true);
	for (size_t i = 0; !unused && i + 1 < generations->count; i++) {
		struct snapshot *snapshot = generations->entries[i].snapshot;

		if (i == generations->current || !snapshot_unused(snapshot) || is_lent(generations, snapshot))
			continue;
		remove_entry(generations, i);
		snapshot->next = NULL;
		unused = snapshot;
	}
	pthread_mutex_unlock(&generations->lock);
	return free_all(unused);
}

/* Under the lock. The index, or an error of generations_pin(). */
static ssize_t find(const struct generations *generations, const char *id)
{
	ssize_t found = -ENOENT;
	size_t len;

	if (!id)
		return (ssize_t)generations->current;
	len = strlen(id);
	if (len < GENERATION_PREFIX_MIN)
		return -EINVAL;
	for (size_t i = 0; i < generations->count; i++) {
		if (strncmp(generations->entries[i].snapshot->id, id, len) != 0)
			continue;
		if (found >= 0)
			return -ENOTUNIQ;
		found = (ssize_t)i;
	}
	return found;
}

/* Under the lock. 0 or -ENOMEM. */
static int pin(struct generations *generations, size_t at, struct generations_switch *result)
{
	struct entry *entry = &generations->entries[at];

	result->switched = at != generations->current;
	memcpy(result->id, entry->snapshot->id, sizeof(result->id));
	if (result->switched) {
		struct snapshot *again = build_again(entry->snapshot, generations->config.workers);

		if (!again)
			return -ENOMEM;
		again->returned = at + 1 < generations->count;
		serve(generations, entry, again);
	}
	generations->pinned = true;
	return 0;
}

/*
 * What pinning and rolling back have in common: back is how many generations before the current one, id if it is
 * NULL.
 */
static int switch_to(struct generations *generations, const char *id, size_t back, struct generations_switch *result)
{
	uint64_t began = now_ns();
	ssize_t at;
	int err;

	*result = (struct generations_switch){ .switched = false };
	pthread_mutex_lock(&generations->lock);
	assert(generations->count > 0);
	if (back > generations->current)
		at = -ENOENT;
	else
		at = back ? (ssize_t)(generations->current - back) : find(generations, id);
	err = at < 0 ? (int)at : pin(generations, (size_t)at, result);
	pthread_mutex_unlock(&generations->lock);
	if (err || !result->switched)
		return err;
	tell_workers(generations);
	result->nanoseconds = now_ns() - began;
	generations->config.on_switch(generations->config.context);
	return 0;
}

int generations_pin(struct generations *generations, const char *id, struct generations_switch *result)
{
	return switch_to(generations, id, 0, result);
}

int generations_rollback(struct generations *generations, struct generations_switch *result)
{
	return switch_to(generations, NULL, 1, result);
}

bool generations_unpin(struct generations *generations)
{
	bool pinned;

	pthread_mutex_lock(&generations->lock);
	pinned = generations->pinned;
	generations->pinned = false;
	pthread_mutex_unlock(&generations->lock);
	return pinned;
}

bool generations_pinned(struct generations *generations, char id[GENERATION_ID_SIZE])
{
	bool pinned;

	pthread_mutex_lock(&generations->lock);
	pinned = generations->pinned;
	if (pinned && id)
		memcpy(id, generations->entries[generations->current].snapshot->id, GENERATION_ID_SIZE);
	pthread_mutex_unlock(&generations->lock);
	return pinned;
}

static struct generation describe(const struct snapshot *snapshot, enum generation_state state)
{
	struct generation generation = {
		.state = state,
		.files = snapshot->files,
		.bytes = snapshot->bytes,
		.coded = snapshot->coded,
		.coded_bytes = snapshot->coded_bytes,
		.shares = atomic_load_explicit(&snapshot->shares, memory_order_relaxed),
	};

	memcpy(generation.id, snapshot->id, sizeof(generation.id));
	return generation;
}

void generations_list(struct generations *generations, generations_list_fn *fn, void *context)
{
	uint64_t now = now_ms();
	bool more = true;

	pthread_mutex_lock(&generations->lock);
	for (size_t i = generations->count; more && i-- > 0;) {
		const struct entry *entry = &generations->entries[i];
		struct generation generation = describe(entry->snapshot, i != generations->current ? GENERATION_KEPT
		                                                         : generations->pinned     ? GENERATION_PINNED
		                                                                               : GENERATION_CURRENT);

		generation.age = now > entry->first ? now - entry->first : 0;
		generation.compared = entry->compared;
		generation.added = entry->changes[BUILD_ADDED];
		generation.changed = entry->changes[BUILD_CHANGED];
		generation.removed = entry->changes[BUILD_REMOVED];
		more = fn(context, &generation);
	}
	for (const struct snapshot *snapshot = generations->retired; more && snapshot; snapshot = snapshot->next) {
		struct generation generation = describe(snapshot, GENERATION_RETIRED);

		/* Those that nobody holds wait to be freed, and those that were held for reading have no workers. */
		if (generation.shares > 0)
			more = fn(context, &generation);
	}
	pthread_mutex_unlock(&generations->lock);
}

void generations_visit(struct generations *generations, generations_visit_fn *fn, void *context)
{
	const struct entry *entry;

	pthread_mutex_lock(&generations->lock);
	assert(generations->count > 0);
	entry = &generations->entries[generations->current];
	fn(context, entry->snapshot, entry->since);
	pthread_mutex_unlock(&generations->lock);
}

int generations_hold(struct generations *generations, const char *id, struct snapshot **held)
{
	ssize_t at;

	pthread_mutex_lock(&generations->lock);
	assert(generations->count > 0);
	at = find(generations, id);
	*held = at < 0 ? NULL : build_again(generations->entries[at].snapshot, 0);
	pthread_mutex_unlock(&generations->lock);
	return at < 0 ? (int)at : *held ? 0 : -ENOMEM;
}

void generations_release(struct generations *generations, struct snapshot *held)
{
	if (!held)
		return;
	pthread_mutex_lock(&generations->lock);
	retire(generations, held);
	pthread_mutex_unlock(&generations->lock);
	generations->config.on_switch(generations->config.context);
}

void generations_destroy(struct generations *generations)
{
	bool left;

	if (!generations)
		return;
	for (size_t i = 0; i < generations->count; i++)
		retire(generations, generations->entries[i].snapshot);
	generations->count = 0;
	left = generations_reap(generations);
	assert(!left);
	pthread_mutex_destroy(&generations->lock);
	free(generations->entries);
	free(generations);
}
