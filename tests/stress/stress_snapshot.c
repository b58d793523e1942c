/*
 * stress_snapshot.c - shares of snapshots under fire, compiled with ThreadSanitizer.
 *
 * One publisher builds, publishes and frees snapshots as fast as it can. More workers than there are processors adopt
 * them, pin them for random spans as responses in flight do, and read what they have pinned. Every byte of a snapshot
 * tells its generation, and is overwritten before it is freed: a worker that still reads it sees the wrong byte, and
 * ThreadSanitizer sees two threads at the same memory with nothing between them.
 *
 * Threads share nothing else: counters are joined at the end, and the one flag that stops the workers is relaxed. Any
 * further synchronisation would hide what the test is for.
 *
 * Exit status: 0; 1 when content or accounts are wrong; ThreadSanitizer's own when it has reported.
 */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loom/snapshot.h"

#define WORKERS      6
#define IN_FLIGHT    16 /* responses of a worker that may be pinned at a time */
#define KEYS         8
#define SLOTS        16
#define BODY         64
#define PUBLICATIONS 4000
#define RETIRED      512 /* of the publisher; it waits when they are all in use */
#define SECONDS      2   /* the most that the publisher takes */

struct content {
	struct snapshot_slot slots[SLOTS];
	struct representation representations[KEYS];
	char keys[KEYS][16];
	uint8_t bodies[KEYS][BODY];
};

struct worker {
	pthread_t thread;
	unsigned index;
	unsigned seed;
	unsigned long adopted;
	unsigned long read;
	unsigned long wrong;
};

static struct snapshot_inbox inboxes[WORKERS];
static atomic_bool stopping;

static void key_name(char *out, size_t size, unsigned key)
{
	snprintf(out, size, "/page-%u", key);
}

static struct snapshot *build(uint64_t generation)
{
	size_t size = sizeof(struct snapshot) + WORKERS * sizeof(struct snapshot_share);
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, size);
	struct content *content = malloc(sizeof(*content));

	assert(snapshot && content);
	memset(snapshot, 0, size);
	memset(content, 0, sizeof(*content));
	for (unsigned i = 0; i < KEYS; i++) {
		struct representation *representation = &content->representations[i];
		uint64_t at;

		memset(content->bodies[i], (int)(generation & 0x7f), BODY);
		representation->body = content->bodies[i];
		representation->body_len = BODY;
		key_name(content->keys[i], sizeof(content->keys[i]), i);
		at = snapshot_hash(content->keys[i], strlen(content->keys[i]));
		while (content->slots[at & (SLOTS - 1)].hash)
			at++;
		content->slots[at & (SLOTS - 1)] = (struct snapshot_slot){
			.hash = snapshot_hash(content->keys[i], strlen(content->keys[i])),
			.key = content->keys[i],
			.key_len = (uint32_t)strlen(content->keys[i]),
			.representation = representation,
		};
	}
	snapshot->slots = content->slots;
	snapshot->mask = SLOTS - 1;
	snapshot->files = generation;
	snapshot->owner = content;
	atomic_init(&snapshot->shares, WORKERS);
	return snapshot;
}

static void poison_and_free(struct snapshot *snapshot)
{
	struct content *content = snapshot->owner;

	for (unsigned i = 0; i < KEYS; i++)
		memset(content->bodies[i], 0xee, BODY);
	for (unsigned i = 0; i < WORKERS; i++) {
		if (snapshot->share[i].pins != 0) {
			fprintf(stderr, "stress_snapshot: freed while worker %u has it pinned\n", i);
			exit(1);
		}
		snapshot->share[i].pins = 0xeeeeeeee;
	}
	free(content);
	free(snapshot);
}

/* What a response does with its memory: finds it, and reads all of it. */
static void read_one(struct worker *worker, const struct snapshot *snapshot)
{
	const struct representation *representation;
	const struct snapshot_slot *slot;
	char key[16];

	key_name(key, sizeof(key), (unsigned)rand_r(&worker->seed) % KEYS);
	slot = snapshot_find(snapshot, key, strlen(key));
	if (!slot) {
		worker->wrong++;
		return;
	}
	representation = slot->representation;
	for (size_t i = 0; i < representation->body_len; i++)
		worker->wrong += representation->body[i] != (snapshot->files & 0x7f);
	worker->read++;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct snapshot *in_flight[IN_FLIGHT] = { NULL };
	struct snapshot *current = NULL;
	uint64_t newest = 0;

	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		unsigned i = (unsigned)rand_r(&worker->seed) % IN_FLIGHT;

		if (snapshot_waiting(&inboxes[worker->index])) {
			struct snapshot *next = snapshot_adopt(&inboxes[worker->index], worker->index);

			worker->wrong += next->files <= newest;
			newest = next->files;
			worker->adopted++;
			if (current)
				snapshot_unpin(current, worker->index);
			current = next;
		}
		if (!current)
			continue;
		if (in_flight[i]) {
			read_one(worker, in_flight[i]);
			snapshot_unpin(in_flight[i], worker->index);
			in_flight[i] = NULL;
		} else {
			snapshot_pin(current, worker->index);
			in_flight[i] = current;
			read_one(worker, current);
		}
	}
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		if (in_flight[i]) {
			read_one(worker, in_flight[i]);
			snapshot_unpin(in_flight[i], worker->index);
		}
	}
	if (current)
		snapshot_unpin(current, worker->index);
	return NULL;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Frees what nobody holds any more; returns how many are left. */
static unsigned reap(struct snapshot *retired[], unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (snapshot_unused(retired[i]))
			poison_and_free(retired[i]);
		else
			retired[kept++] = retired[i];
	}
	return kept;
}

int main(void)
{
	static struct worker workers[WORKERS];
	static struct snapshot *retired[RETIRED];
	unsigned n = 0, most = 0;
	unsigned long adopted = 0, read = 0, wrong = 0;
	uint64_t generation = 0;
	double end = seconds() + SECONDS;

	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].index = i;
		workers[i].seed = i + 1;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
			perror("stress_snapshot: pthread_create");
			return 1;
		}
	}
	while (generation < PUBLICATIONS && seconds() < end) {
		n = reap(retired, n);
		if (n == RETIRED) {
			sched_yield();
			continue;
		}
		retired[n] = build(++generation);
		snapshot_publish(retired[n++], inboxes, WORKERS);
		most = n > most ? n : most;
		/* Now and then the workers get time to come to the newest, so that every order of events occurs. */
		if (generation % 4 == 0)
			sched_yield();
	}
	atomic_store_explicit(&stopping, true, memory_order_relaxed);
	/* The last looks at what is unused come before the joins, which would synchronise everything. */
	n = reap(retired, n);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		snapshot_retract(&inboxes[i]);
		adopted += workers[i].adopted;
		read += workers[i].read;
		wrong += workers[i].wrong;
	}
	n = reap(retired, n);
	printf("%llu published, %lu adoptions, %lu reads, at most %u retired at a time\n",
	       (unsigned long long)generation, adopted, read, most);
	if (wrong)
		fprintf(stderr, "stress_snapshot: %lu wrong bytes or orders\n", wrong);
	if (n)
		fprintf(stderr, "stress_snapshot: %u snapshots still held after everybody has left\n", n);
	if (adopted == 0 || read == 0)
		fprintf(stderr, "stress_snapshot: nothing was adopted, so nothing was tested\n");
	return wrong || n || adopted == 0 || read == 0;
}
