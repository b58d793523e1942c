/* test_wheel.c - timers: none early, none lost, none late by more than a tick, against a plain list as the model. */
#include <check.h>
#include <stdlib.h>

#include "loom/wheel.h"

#define NODES 500

/* ck_assert() writes a mark on every call, which is too slow for millions. */
#define CHECK(condition)                                \
	do {                                            \
		if (!(condition))                       \
			ck_abort_msg("%s", #condition); \
	} while (0)

static unsigned seed;

static unsigned random_number(unsigned below)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % below;
}

/* Sets, raises, lowers and cancels at random while time goes on in steps of any size. */
START_TEST(test_against_a_list)
{
	struct wheel wheel;
	struct wheel_node node[NODES] = { 0 };
	bool set[NODES] = { false };
	uint64_t set_at[NODES] = { 0 };
	uint64_t now = random_number(1000000);

	seed = (unsigned)_i * 7919 + 1;
	wheel_init(&wheel, now);
	for (int step = 0; step < 20000; step++) {
		unsigned i = random_number(NODES);
		struct wheel_node *expired;

		switch (random_number(5)) {
		case 0:
			wheel_cancel(&wheel, &node[i]);
			set[i] = false;
			break;
		case 1:
			now += random_number(random_number(20) == 0 ? 100000 : 300);
			break;
		default:
			wheel_set(&wheel, &node[i], now + random_number(random_number(4) == 0 ? 200000 : 5000));
			set[i] = true;
			set_at[i] = now;
		}
		while ((expired = wheel_expire(&wheel, now))) {
			i = (unsigned)(expired - node);
			CHECK(set[i] && node[i].deadline <= now && !expired->next);
			set[i] = false;
		}
		for (i = 0; step % 50 == 0 && i < NODES; i++) {
			CHECK(set[i] == (node[i].next != NULL));
			/* A tick of grace: from when it is due, or from when it was set if that was already due. */
			if (set[i])
				CHECK(now < node[i].deadline + 2 * WHEEL_TICK_MS ||
				      now < set_at[i] + 2 * WHEEL_TICK_MS);
		}
		CHECK((wheel_timeout(&wheel, now) == -1) == (wheel.nodes == 0));
		CHECK(wheel_timeout(&wheel, now) != 0); /* 0 would be a loop that spins */
	}
}
END_TEST

/* Sleeping as long as wheel_timeout() says reaches every deadline within two ticks, and does not wake for nothing much. */
START_TEST(test_sleeping_by_the_timeout)
{
	struct wheel wheel;
	struct wheel_node node[NODES] = { 0 };
	uint64_t now = 12345;
	unsigned left = NODES, wakeups = 0;

	seed = 42;
	wheel_init(&wheel, now);
	for (unsigned i = 0; i < NODES; i++)
		wheel_set(&wheel, &node[i], now + random_number(120000));
	while (left > 0) {
		struct wheel_node *expired;
		int timeout = wheel_timeout(&wheel, now);

		ck_assert_int_gt(timeout, 0);
		now += (uint64_t)timeout;
		wakeups++;
		while ((expired = wheel_expire(&wheel, now))) {
			ck_assert(expired->deadline + 2 * WHEEL_TICK_MS > now);
			left--;
		}
	}
	ck_assert_int_eq(wheel_timeout(&wheel, now), -1);
	ck_assert_uint_lt(wakeups, 120000 / WHEEL_TICK_MS + 10);
}
END_TEST

START_TEST(test_raising_moves_nothing)
{
	struct wheel wheel;
	struct wheel_node node = { 0 };
	struct wheel_node *before;

	wheel_init(&wheel, 0);
	wheel_set(&wheel, &node, 5000);
	before = node.prev;
	wheel_set(&wheel, &node, 30000);
	ck_assert_ptr_eq(node.prev, before);
	wheel_set(&wheel, &node, 6000);
	ck_assert_ptr_eq(node.prev, before);
	ck_assert_ptr_null(wheel_expire(&wheel, 5999));
	ck_assert_ptr_eq(wheel_expire(&wheel, 6100), &node);
	wheel_set(&wheel, &node, 30000);
	wheel_set(&wheel, &node, 7000); /* lowering does */
	ck_assert_ptr_eq(wheel_expire(&wheel, 7100), &node);
}
END_TEST

/* However many of later turns there are in a slot, who is due is found first. */
START_TEST(test_later_turns_come_last)
{
	const uint64_t turn = (uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS;
	struct wheel wheel;
	struct wheel_node later[3] = { 0 }, due[3] = { 0 };

	wheel_init(&wheel, 0);
	for (int i = 0; i < 3; i++) {
		wheel_set(&wheel, &later[i], (i == 1 ? 2 : 1) * turn + 1000);
		wheel_set(&wheel, &due[i], 1000);
	}
	ck_assert_ptr_eq(due[2].next, &due[1]);
	ck_assert_ptr_eq(due[1].next, &due[0]);
	ck_assert_ptr_eq(due[0].next, &later[0]);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(wheel_expire(&wheel, 1024)->deadline, 1000);
	ck_assert_ptr_null(wheel_expire(&wheel, 1024));
	ck_assert_uint_eq(wheel.nodes, 3);
	ck_assert_ptr_nonnull(wheel_expire(&wheel, turn + 1024));
	ck_assert_ptr_nonnull(wheel_expire(&wheel, turn + 1024));
	ck_assert_ptr_null(wheel_expire(&wheel, turn + 1024));
	ck_assert_ptr_eq(wheel_expire(&wheel, 2 * turn + 1024), &later[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wheel");
	TCase *tcase = tcase_create("wheel");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_against_a_list, 0, 20);
	tcase_add_test(tcase, test_sleeping_by_the_timeout);
	tcase_add_test(tcase, test_raising_moves_nothing);
	tcase_add_test(tcase, test_later_turns_come_last);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
