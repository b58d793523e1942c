/* test_snapshot.c - look-ups, and the accounts of shares on one thread; tests/stress has them on many. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loom/snapshot.h"

#define WORKERS 3

static struct snapshot *make(struct snapshot_slot *slots, uint64_t count)
{
	size_t size = sizeof(struct snapshot) + WORKERS * sizeof(struct snapshot_share);
	struct snapshot *snapshot = aligned_alloc(CACHE_LINE, size);

	ck_assert_ptr_nonnull(snapshot);
	memset(snapshot, 0, size);
	snapshot->slots = slots;
	snapshot->mask = count - 1;
	atomic_init(&snapshot->shares, WORKERS);
	return snapshot;
}

static void put(struct snapshot_slot *slots, uint64_t at, uint64_t hash, const char *key,
                const struct representation *representation)
{
	slots[at] = (struct snapshot_slot){
		.hash = hash, .key = key, .key_len = (uint32_t)strlen(key), .representation = representation
	};
}

static const struct representation *find(const struct snapshot *snapshot, const char *key, size_t len)
{
	const struct snapshot_slot *slot = snapshot_find(snapshot, key, len);

	if (!slot)
		return NULL;
	ck_assert_uint_eq(slot->key_len, len);
	ck_assert_mem_eq(slot->key, key, len);
	return slot->representation;
}

START_TEST(finds_every_key_and_no_other)
{
	enum { KEYS = 3000, SLOTS = 8192 };
	static struct snapshot_slot slots[SLOTS];
	static struct representation representations[KEYS];
	static char keys[KEYS][16];
	struct snapshot *snapshot = make(slots, SLOTS);
	char other[32];

	for (unsigned i = 0; i < KEYS; i++) {
		uint64_t hash, at;

		snprintf(keys[i], sizeof(keys[i]), "/k/%u", i);
		hash = snapshot_hash(keys[i], strlen(keys[i]));
		for (at = hash & (SLOTS - 1); slots[at].hash; at = (at + 1) & (SLOTS - 1))
			;
		put(slots, at, hash, keys[i], &representations[i]);
	}
	for (unsigned i = 0; i < KEYS; i++) {
		ck_assert_ptr_eq(find(snapshot, keys[i], strlen(keys[i])), &representations[i]);
		/* A beginning and a longer one are other keys. */
		snprintf(other, sizeof(other), "%s/", keys[i]);
		ck_assert_ptr_null(snapshot_find(snapshot, other, strlen(other)));
	}
	ck_assert_ptr_null(snapshot_find(snapshot, "/k/", 3));
	ck_assert_ptr_null(snapshot_find(snapshot, "", 0));
	free(snapshot);
}
END_TEST

START_TEST(keys_are_bytes_and_end_where_they_end)
{
	static struct snapshot_slot slots[2];
	struct representation representation;
	struct snapshot *snapshot = make(slots, 2);
	uint64_t hash = snapshot_hash("/a", 2);

	put(slots, hash & 1, hash, "/a", &representation);
	ck_assert_ptr_eq(find(snapshot, "/a?query", 2), &representation);
	ck_assert_ptr_null(snapshot_find(snapshot, "/a", 3)); /* with the NUL */
	free(snapshot);
}
END_TEST

START_TEST(probing_goes_round_the_end_of_the_table)
{
	static struct snapshot_slot slots[4];
	struct representation first, second;
	struct snapshot *snapshot = make(slots, 4);
	char key[2][16] = { "", "" };
	unsigned found = 0;

	/* Two keys whose place is the last slot: the second one lies in the first slot. */
	for (unsigned i = 0; found < 2; i++) {
		snprintf(key[found], sizeof(key[0]), "/%u", i);
		found += (snapshot_hash(key[found], strlen(key[found])) & 3) == 3;
	}
	put(slots, 3, snapshot_hash(key[0], strlen(key[0])), key[0], &first);
	put(slots, 0, snapshot_hash(key[1], strlen(key[1])), key[1], &second);
	ck_assert_ptr_eq(find(snapshot, key[0], strlen(key[0])), &first);
	ck_assert_ptr_eq(find(snapshot, key[1], strlen(key[1])), &second);
	free(snapshot);
}
END_TEST

START_TEST(equal_hashes_are_not_equal_keys)
{
	static struct snapshot_slot slots[8];
	struct representation wrong_bytes, wrong_length, right;
	struct snapshot *snapshot = make(slots, 8);
	uint64_t hash = snapshot_hash("/page", 5);

	/* As though three keys had one hash. */
	put(slots, hash & 7, hash, "/egap", &wrong_bytes);
	put(slots, (hash + 1) & 7, hash, "/page/", &wrong_length);
	put(slots, (hash + 2) & 7, hash, "/page", &right);
	ck_assert_ptr_eq(find(snapshot, "/page", 5), &right);
	free(snapshot);
}
END_TEST

START_TEST(a_hash_is_never_the_mark_of_an_empty_slot)
{
	char key[32];

	ck_assert_uint_ne(snapshot_hash("", 0), 0);
	for (unsigned i = 0; i < 10000; i++) {
		snprintf(key, sizeof(key), "/%u", i);
		ck_assert_uint_ne(snapshot_hash(key, strlen(key)), 0);
		ck_assert_uint_eq(snapshot_hash(key, strlen(key)), snapshot_hash(key, strlen(key)));
	}
}
END_TEST

START_TEST(a_share_comes_back_with_the_last_pin)
{
	static struct snapshot_inbox inboxes[WORKERS];
	static struct snapshot_slot slots[2];
	struct snapshot *snapshot = make(slots, 2);

	ck_assert(!snapshot_waiting(&inboxes[0]));
	ck_assert_ptr_null(snapshot_adopt(&inboxes[0], 0));
	snapshot_publish(snapshot, inboxes, WORKERS);
	ck_assert(!snapshot_unused(snapshot));
	for (unsigned i = 0; i < WORKERS; i++) {
		ck_assert(snapshot_waiting(&inboxes[i]));
		ck_assert_ptr_eq(snapshot_adopt(&inboxes[i], i), snapshot);
		ck_assert(!snapshot_waiting(&inboxes[i]));
		snapshot_pin(snapshot, i);   /* a response */
		snapshot_unpin(snapshot, i); /* no longer the current one */
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		ck_assert(!snapshot_unused(snapshot));
		snapshot_unpin(snapshot, i);
	}
	ck_assert(snapshot_unused(snapshot));
	free(snapshot);
}
END_TEST

START_TEST(what_was_never_picked_up_is_taken_back)
{
	static struct snapshot_inbox inboxes[WORKERS];
	static struct snapshot_slot slots[2];
	struct snapshot *old = make(slots, 2), *new = make(slots, 2);

	snapshot_publish(old, inboxes, WORKERS);
	ck_assert_ptr_eq(snapshot_adopt(&inboxes[1], 1), old);
	snapshot_publish(new, inboxes, WORKERS);
	ck_assert(!snapshot_unused(old));
	snapshot_unpin(old, 1);
	ck_assert(snapshot_unused(old));

	/* Workers that have ended. */
	ck_assert_ptr_eq(snapshot_adopt(&inboxes[2], 2), new);
	snapshot_unpin(new, 2);
	for (unsigned i = 0; i < WORKERS; i++) {
		ck_assert(!snapshot_unused(new) || i == 2);
		snapshot_retract(&inboxes[i]);
	}
	ck_assert(snapshot_unused(new));
	free(old);
	free(new);
}
END_TEST

START_TEST(one_unpin_too_many_is_caught)
{
	static struct snapshot_inbox inboxes[WORKERS];
	static struct snapshot_slot slots[2];
	struct snapshot *snapshot = make(slots, 2);

	snapshot_publish(snapshot, inboxes, WORKERS);
	snapshot_adopt(&inboxes[0], 0);
	snapshot_unpin(snapshot, 0);
	snapshot_unpin(snapshot, 0);
}
END_TEST

START_TEST(shares_and_workers_must_agree)
{
	static struct snapshot_inbox inboxes[WORKERS];
	static struct snapshot_slot slots[2];

	snapshot_publish(make(slots, 2), inboxes, WORKERS - 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("snapshot");
	TCase *index = tcase_create("index"), *shares = tcase_create("shares");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(index, finds_every_key_and_no_other);
	tcase_add_test(index, keys_are_bytes_and_end_where_they_end);
	tcase_add_test(index, probing_goes_round_the_end_of_the_table);
	tcase_add_test(index, equal_hashes_are_not_equal_keys);
	tcase_add_test(index, a_hash_is_never_the_mark_of_an_empty_slot);
	suite_add_tcase(suite, index);

	tcase_add_test(shares, a_share_comes_back_with_the_last_pin);
	tcase_add_test(shares, what_was_never_picked_up_is_taken_back);
	tcase_add_test_raise_signal(shares, one_unpin_too_many_is_caught, SIGABRT);
	tcase_add_test_raise_signal(shares, shares_and_workers_must_agree, SIGABRT);
	suite_add_tcase(suite, shares);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
