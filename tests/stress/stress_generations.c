/*
 * stress_generations.c - generations under fire, compiled with ThreadSanitizer: one builder publishes, follows up,
 * reaps and makes room, while two others roll back, pin, unpin, list, hold and read, and workers adopt and read what
 * they have.
 *
 * The builder is a fake: the index of a generation is a text that tells its number, counted as build_again.c counts
 * it, and overwritten before it is freed. While it "builds" it reads its previous snapshot all the time, as a build
 * does.
 *
 * Exit status: 0; 1 when content or accounts are wrong; ThreadSanitizer's own when it has reported.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loom/generations.h"

#define WORKERS      4
#define SWITCHERS    2
#define IN_FLIGHT    8
#define BODY         256
#define PUBLICATIONS 3000
#define PATIENCE     60
#define SECONDS      3

struct owner {
	atomic_uint references;
	unsigned number;
	uint8_t body[BODY];
};

static struct snapshot_inbox inboxes[WORKERS];
static struct generations *generations;
static atomic_bool stopping;
static atomic_uint wrong, alive, switches, adoptions, busy;
static unsigned asked_to_reap; /* the builder's own counter would hide races: this one is the eventfd's part */

static struct snapshot *object(struct owner *owner, unsigned workers)
{
	size_t size = sizeof(struct snapshot) + workers * sizeof(struct snapshot_share);
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, size);

	assert(snapshot);
	memset(snapshot, 0, size);
	snapshot->owner = owner;
	snapshot->workers = workers;
	snapshot->files = owner->number;
	snprintf(snapshot->id, sizeof(snapshot->id), "%022u", owner->number);
	atomic_init(&snapshot->shares, workers);
	atomic_fetch_add_explicit(&owner->references, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&alive, 1, memory_order_relaxed);
	return snapshot;
}

struct snapshot *build_again(const struct snapshot *snapshot, unsigned workers)
{
	return object(snapshot->owner, workers);
}

void build_free(struct snapshot *snapshot)
{
	struct owner *owner = snapshot->owner;

	for (unsigned i = 0; i < snapshot->workers; i++) {
		if (snapshot->share[i].pins != 0)
			atomic_fetch_add(&wrong, 1);
		snapshot->share[i].pins = 0xeeeeeeee;
	}
	free(snapshot);
	atomic_fetch_sub_explicit(&alive, 1, memory_order_relaxed);
	if (atomic_fetch_sub_explicit(&owner->references, 1, memory_order_acq_rel) > 1)
		return;
	memset(owner->body, 0xee, sizeof(owner->body));
	free(owner);
}

static void read_all(const struct snapshot *snapshot)
{
	const struct owner *owner = snapshot->owner;

	for (size_t i = 0; i < BODY; i++)
		if (owner->body[i] != (snapshot->files & 0x7f))
			atomic_fetch_add_explicit(&wrong, 1, memory_order_relaxed);
}

bool build_diff(const struct snapshot *old, const struct snapshot *new, struct build_position *position, size_t keys,
                build_change_fn *fn, void *context)
{
	(void)position;
	(void)keys;
	read_all(old);
	read_all(new);
	fn(context, BUILD_CHANGED, "/", 1);
	return true;
}

static struct snapshot *build(unsigned number)
{
	struct owner *owner = calloc(1, sizeof(*owner));

	assert(owner);
	owner->number = number;
	memset(owner->body, (int)(number & 0x7f), BODY);
	return object(owner, WORKERS);
}

static void *work(void *argument)
{
	unsigned index = (unsigned)(uintptr_t)argument, seed = index;
	struct snapshot *in_flight[IN_FLIGHT] = { NULL }, *current = NULL;

	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		unsigned i = (unsigned)rand_r(&seed) % IN_FLIGHT;

		if (snapshot_waiting(&inboxes[index])) {
			struct snapshot *next = snapshot_adopt(&inboxes[index], index);

			if (current)
				snapshot_unpin(current, index);
			current = next;
			atomic_fetch_add_explicit(&adoptions, 1, memory_order_relaxed);
		}
		if (!current)
			continue;
		if (in_flight[i]) {
			read_all(in_flight[i]);
			snapshot_unpin(in_flight[i], index);
			in_flight[i] = NULL;
		} else {
			in_flight[i] = current;
			snapshot_pin(current, index);
		}
	}
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		if (in_flight[i])
			snapshot_unpin(in_flight[i], index);
	if (current)
		snapshot_unpin(current, index);
	return NULL;
}

static void on_switch(void *context)
{
	__atomic_fetch_add((unsigned *)context, 1, __ATOMIC_RELAXED);
}

static bool look(void *context, const struct generation *generation)
{
	snprintf(context, GENERATION_ID_SIZE, "%s", generation->id);
	return generation->state != GENERATION_RETIRED;
}

static void visit(void *context, const struct snapshot *snapshot, uint64_t since)
{
	(void)context;
	(void)since;
	read_all(snapshot);
}

static void *switch_about(void *argument)
{
	unsigned seed = (unsigned)(uintptr_t)argument;

	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		struct generations_switch result = { .switched = false };
		char id[GENERATION_ID_SIZE] = "";
		struct snapshot *held;

		switch (rand_r(&seed) % 6) {
		case 0:
		case 1:
			generations_rollback(generations, &result);
			break;
		case 2:
			generations_list(generations, look, id);
			if (generations_pin(generations, id, &result) == -EINVAL)
				atomic_fetch_add(&wrong, 1);
			break;
		case 3:
			generations_visit(generations, visit, NULL);
			break;
		case 4:
			if (generations_hold(generations, NULL, &held) == 0) {
				read_all(held);
				sched_yield();
				read_all(held);
				generations_release(generations, held);
			}
			break;
		case 5:
			generations_unpin(generations);
			break;
		}
		if (result.switched)
			atomic_fetch_add_explicit(&switches, 1, memory_order_relaxed);
		sched_yield();
		/* Much of the time the builder may publish. */
		if (rand_r(&seed) % 2)
			generations_unpin(generations);
	}
	return NULL;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One build: previous is read while it goes on, as assets are shared, and room is made. */
static void rebuild(unsigned number)
{
	struct snapshot *previous = generations_newest(generations);
	struct snapshot *current = generations_current(generations), *snapshot;
	bool follow = number % 4 == 0;

	read_all(previous);
	read_all(current);
	sched_yield();
	if (number % 3 == 0)
		generations_make_room(generations);
	read_all(previous);
	read_all(current);
	snapshot = follow ? build((unsigned)current->files) : build(number);
	if (generations_publish(generations, snapshot, follow ? GENERATION_FOLLOW_UP : GENERATION_OF_TREE) < 0) {
		build_free(snapshot);
		atomic_fetch_add_explicit(&busy, 1, memory_order_relaxed);
	}
}

int main(void)
{
	const struct generations_config config = {
		.inboxes = inboxes, .workers = WORKERS, .keep = 4, .on_switch = on_switch, .context = &asked_to_reap
	};
	pthread_t workers[WORKERS], switchers[SWITCHERS];
	double end = seconds() + SECONDS;
	unsigned number = 1;
	int err;

	err = generations_create(&generations, &config);
	assert(err == 0);
	err = generations_publish(generations, build(number), GENERATION_OF_TREE);
	assert(err == 0);
	for (unsigned i = 0; i < WORKERS; i++)
		if (pthread_create(&workers[i], NULL, work, (void *)(uintptr_t)i))
			return 1;
	for (unsigned i = 0; i < SWITCHERS; i++)
		if (pthread_create(&switchers[i], NULL, switch_about, (void *)(uintptr_t)(i + 100)))
			return 1;
	/* Until the others have had their turns, too: on a busy machine that may take longer. */
	while ((number < PUBLICATIONS && seconds() < end) ||
	       ((!atomic_load(&switches) || !atomic_load(&adoptions)) && seconds() < end + PATIENCE)) {
		rebuild(++number);
		/* Others switch in between. */
		for (int i = 0; i < 4; i++) {
			sched_yield();
			generations_reap(generations);
		}
	}
	atomic_store_explicit(&stopping, true, memory_order_relaxed);
	generations_reap(generations);
	for (unsigned i = 0; i < SWITCHERS; i++)
		pthread_join(switchers[i], NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(workers[i], NULL);
		snapshot_retract(&inboxes[i]);
	}
	generations_destroy(generations);
	printf("%u built, %u of them not published, %u switches, %u adoptions\n", number, atomic_load(&busy),
	       atomic_load(&switches), atomic_load(&adoptions));
	if (atomic_load(&wrong))
		fprintf(stderr, "stress_generations: %u wrong bytes or pins\n", atomic_load(&wrong));
	if (atomic_load(&alive))
		fprintf(stderr, "stress_generations: %u snapshots left\n", atomic_load(&alive));
	if (!atomic_load(&switches) || !atomic_load(&adoptions))
		fprintf(stderr, "stress_generations: nothing was switched, so nothing was tested\n");
	return atomic_load(&wrong) || atomic_load(&alive) || !atomic_load(&switches) || !atomic_load(&adoptions);
}
