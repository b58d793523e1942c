/*
 * test_generations.c - the list of generations over real small snapshots: what is kept, served, pinned, rolled back
 * to and freed. The workers are inboxes and a current snapshot each.
 */
#include "loom/generations.h"
#include "loom/memory.h"
#include "tree.h"

#define WORKERS 2 /* as tree.h builds for */

static struct snapshot_inbox inboxes[WORKERS];
static struct snapshot *current[WORKERS];
static struct generations *generations;
static unsigned switches, published;

static void count(void *context)
{
	++*(unsigned *)context;
}

static void start(unsigned keep)
{
	const struct generations_config config = {
		.inboxes = inboxes, .workers = WORKERS, .keep = keep, .on_switch = count, .context = &switches
	};

	ck_assert_int_eq(generations_create(&generations, &config), 0);
	generations_on_publish(generations, count, &published);
}

/* The workers come to what is published. */
static void turn(void)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct snapshot *next = snapshot_adopt(&inboxes[i], i);

		if (!next)
			continue;
		if (current[i])
			snapshot_unpin(current[i], i);
		current[i] = next;
	}
}

static void stop(void)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		snapshot_retract(&inboxes[i]);
		if (current[i])
			snapshot_unpin(current[i], i);
		current[i] = NULL;
	}
	generations_destroy(generations);
	ck_assert_uint_eq(memory_held(), 0);
}

static struct snapshot *build(const char *text)
{
	tree_put("index.html", text);
	return tree_snapshot(generations_newest(generations));
}

/* Deploys a text. Its id is left in id, which may be NULL. */
static void deploy(const char *text, char *id)
{
	struct snapshot *snapshot = build(text);

	if (id)
		memcpy(id, snapshot->id, GENERATION_ID_SIZE);
	ck_assert_int_eq(generations_publish(generations, snapshot, GENERATION_OF_TREE), 0);
	turn();
	generations_reap(generations);
}

static void serves(const char *text)
{
	turn();
	for (unsigned i = 0; i < WORKERS; i++)
		tree_serves(current[i], "/index.html", text);
}

static bool write_state(void *context, const struct generation *generation)
{
	static const char letters[] = { [GENERATION_CURRENT] = 'C',
		                        [GENERATION_PINNED] = 'P',
		                        [GENERATION_KEPT] = 'k',
		                        [GENERATION_RETIRED] = 'r' };
	char *text = context;

	snprintf(text + strlen(text), 64 - strlen(text), "%c", letters[generation->state]);
	return true;
}

/* The states, the newest first. */
static void states(const char *expected)
{
	char text[64] = "";

	generations_list(generations, write_state, text);
	ck_assert_str_eq(text, expected);
}

/* As a build does it, which takes from these two. */
static bool makes_room(void)
{
	generations_newest(generations);
	generations_current(generations);
	return generations_make_room(generations);
}

static void rolls_back(const char *text)
{
	struct generations_switch result;

	ck_assert_int_eq(generations_rollback(generations, &result), 0);
	ck_assert(result.switched);
	serves(text);
	ck_assert_str_eq(result.id, current[0]->id);
}

START_TEST(as_many_as_asked_for_are_kept)
{
	struct generations_switch result;

	start(2);
	deploy("one", NULL);
	states("C");
	deploy("two", NULL);
	deploy("three", NULL);
	deploy("four", NULL);
	states("Ckk");
	rolls_back("three");
	rolls_back("two");
	ck_assert_int_eq(generations_rollback(generations, &result), -ENOENT);
	serves("two");
	states("kkP");
	ck_assert_uint_eq(switches, 2);
	ck_assert_uint_eq(published, 6);
	stop();
}
END_TEST

START_TEST(none_are_kept_where_none_are_wanted)
{
	struct generations_switch result;

	start(0);
	deploy("one", NULL);
	deploy("two", NULL);
	states("C");
	ck_assert_int_eq(generations_rollback(generations, &result), -ENOENT);
	ck_assert_int_eq(generations_pin(generations, NULL, &result), 0);
	ck_assert(!result.switched);
	states("P");
	ck_assert(generations_unpin(generations));
	ck_assert(!generations_unpin(generations));
	deploy("three", NULL);
	serves("three");
	stop();
}
END_TEST

START_TEST(what_is_pinned_stays)
{
	struct snapshot *refused;
	char id[GENERATION_ID_SIZE], pinned[GENERATION_ID_SIZE];
	struct generations_switch result;

	start(1);
	deploy("one", id);
	deploy("two", NULL);
	ck_assert(!generations_pinned(generations, pinned));
	ck_assert_int_eq(generations_pin(generations, id, &result), 0);
	ck_assert(generations_pinned(generations, pinned));
	ck_assert_str_eq(pinned, id);
	serves("one");
	ck_assert(current[0]->returned);
	refused = build("three");
	ck_assert_int_eq(generations_publish(generations, refused, GENERATION_OF_TREE), -EBUSY);
	serves("one");
	generations_unpin(generations);
	serves("one");
	ck_assert_int_eq(generations_publish(generations, refused, GENERATION_OF_TREE), 0);
	serves("three");
	ck_assert(!current[0]->returned);
	/* "one" was served last, and so it is what is kept and gone back to. */
	states("Ck");
	rolls_back("one");
	stop();
}
END_TEST

START_TEST(ids_may_be_abbreviated)
{
	char id[GENERATION_ID_SIZE], cut[GENERATION_ID_SIZE];
	struct generations_switch result;
	struct snapshot *held;

	start(3);
	deploy("one", id);
	deploy("two", NULL);
	for (size_t len = GENERATION_PREFIX_MIN; len <= GENERATION_ID_LEN; len++) {
		snprintf(cut, sizeof(cut), "%.*s", (int)len, id);
		ck_assert_int_eq(generations_pin(generations, cut, &result), 0);
		ck_assert_str_eq(result.id, id);
	}
	ck_assert_uint_eq(switches, 1); /* it was there already */
	snprintf(cut, sizeof(cut), "%.3s", id);
	ck_assert_int_eq(generations_pin(generations, cut, &result), -EINVAL);
	ck_assert_int_eq(generations_pin(generations, "", &result), -EINVAL);
	ck_assert_int_eq(generations_pin(generations, "~~~~", &result), -ENOENT);
	ck_assert_int_eq(generations_hold(generations, "~~~~", &held), -ENOENT);
	ck_assert_ptr_null(held);
	snprintf(cut, sizeof(cut), "%s", id);
	cut[GENERATION_ID_LEN - 1] ^= 1;
	ck_assert_int_eq(generations_pin(generations, cut, &result), -ENOENT);
	/* Two that begin alike. */
	memcpy(generations_newest(generations)->id, id, 5);
	snprintf(cut, sizeof(cut), "%.5s", id);
	ck_assert_int_eq(generations_pin(generations, cut, &result), -ENOTUNIQ);
	stop();
}
END_TEST

START_TEST(a_follow_up_takes_its_place)
{
	struct snapshot *follower;
	struct generations_switch result;

	start(3);
	deploy("one", NULL);
	deploy("two", NULL);
	follower = tree_as_before(generations_current(generations));
	ck_assert_int_eq(generations_publish(generations, follower, GENERATION_FOLLOW_UP), 0);
	states("Ckr"); /* the workers have not come to it yet */
	serves("two");
	generations_reap(generations);
	states("Ck");
	ck_assert_ptr_eq(generations_current(generations), follower);
	/* One of what is no longer served comes too late. */
	follower = tree_as_before(generations_current(generations));
	rolls_back("one");
	ck_assert_int_eq(generations_publish(generations, follower, GENERATION_FOLLOW_UP), -ESTALE);
	build_free(follower);
	/* One of what is pinned does not, and its dates are still those of an earlier generation. */
	follower = tree_as_before(generations_current(generations));
	ck_assert_int_eq(generations_publish(generations, follower, GENERATION_FOLLOW_UP), 0);
	ck_assert(follower->returned);
	serves("one");
	/* Back to the newest: nothing has a later date than that. */
	ck_assert_int_eq(generations_pin(generations, generations_newest(generations)->id, &result), 0);
	serves("two");
	ck_assert(!current[0]->returned);
	stop();
}
END_TEST

START_TEST(a_tree_that_is_again_what_it_was_is_the_newest)
{
	start(3);
	deploy("one", NULL);
	deploy("two", NULL);
	deploy("one", NULL);
	states("Ck");
	serves("one");
	rolls_back("two");
	stop();
}
END_TEST

START_TEST(what_a_worker_holds_is_not_freed)
{
	struct snapshot *held;

	start(1);
	deploy("one", NULL);
	held = current[1];
	snapshot_pin(held, 1); /* an answer that takes its time */
	deploy("two", NULL);
	deploy("three", NULL);
	ck_assert(generations_reap(generations));
	states("Ckr");
	/* Neither for want of memory: */
	ck_assert(makes_room()); /* "two" */
	states("Cr");
	ck_assert(!makes_room());
	tree_serves(held, "/index.html", "one");
	snapshot_unpin(held, 1);
	ck_assert(makes_room());
	states("C");
	stop();
}
END_TEST

START_TEST(room_is_made_by_the_oldest_first)
{
	struct snapshot *newest;

	start(3);
	deploy("one", NULL);
	deploy("two", NULL);
	deploy("three", NULL);
	deploy("four", NULL);
	rolls_back("three");
	newest = generations_newest(generations);
	states("kPkk");
	ck_assert(makes_room()); /* what the roll-back has left over */
	while (makes_room())
		;
	states("kP");
	tree_serves(newest, "/index.html", "four"); /* a build takes from it */
	serves("three");
	stop();
}
END_TEST

START_TEST(what_a_build_takes_from_is_not_freed_under_it)
{
	struct generations_switch result;
	struct snapshot *newest, *served;

	start(3);
	deploy("one", NULL);
	deploy("two", NULL);
	deploy("three", NULL);
	rolls_back("two");
	newest = generations_newest(generations);
	served = generations_current(generations);
	/* Both are retired while the build goes on: others are published in their place. */
	ck_assert_int_eq(generations_pin(generations, newest->id, &result), 0);
	serves("three");
	rolls_back("two");
	rolls_back("one");
	while (generations_make_room(generations))
		;
	states("kP");
	tree_serves(newest, "/index.html", "three");
	tree_serves(served, "/index.html", "two");
	while (generations_reap(generations))
		;
	stop();
}
END_TEST

START_TEST(what_is_held_to_be_read_stays)
{
	char id[GENERATION_ID_SIZE];
	struct snapshot *held, *other;
	uint64_t before = memory_held();

	start(0);
	deploy("one", id);
	ck_assert_int_eq(generations_hold(generations, id, &held), 0);
	ck_assert_int_eq(generations_hold(generations, NULL, &other), 0);
	deploy("two", NULL);
	generations_reap(generations);
	states("C");
	tree_serves(held, "/index.html", "one");
	generations_release(generations, held);
	generations_release(generations, other);
	generations_release(generations, NULL);
	ck_assert_uint_eq(switches, 2);
	states("C");
	ck_assert(!generations_reap(generations));
	ck_assert_uint_ge(memory_held(), before);
	stop();
}
END_TEST

static bool note(void *context, enum build_change change, const char *key, size_t key_len)
{
	char *text = context;

	ck_assert_uint_eq(strlen(key), key_len);
	snprintf(text + strlen(text), 256 - strlen(text), "%c%s ", "+-~"[change], key);
	return true;
}

static bool note_one(void *context, enum build_change change, const char *key, size_t key_len)
{
	note(context, change, key, key_len);
	return false;
}

static bool last_one(void *context, const struct generation *generation)
{
	*(struct generation *)context = *generation;
	return false;
}

START_TEST(differences_are_told)
{
	static const char expected[] = "-/a +/b ~/dir/index.html +/z/index.html ";
	struct build_position position = { 0 };
	struct snapshot *before, *after;
	struct generation newest;
	char text[256] = "";
	int rounds = 0;

	start(1);
	tree_put("a", "1");
	tree_put("dir/index.html", "1");
	tree_put("dir/same", "1");
	before = build("one");
	ck_assert_int_eq(generations_publish(generations, before, GENERATION_OF_TREE), 0);
	turn();
	generations_list(generations, last_one, &newest);
	ck_assert(!newest.compared);
	ck_assert_int_eq(unlink(tree_path("a")), 0);
	tree_put("b", "1");
	tree_put("dir/index.html", "2");
	tree_put("z/index.html", "1");
	after = tree_snapshot(before);
	ck_assert_int_eq(generations_publish(generations, after, GENERATION_OF_TREE), 0);
	turn();
	ck_assert(build_diff(before, after, &position, SIZE_MAX / 2, note, text));
	ck_assert_str_eq(text, expected);
	generations_list(generations, last_one, &newest);
	ck_assert(newest.compared);
	ck_assert_uint_eq(newest.added, 2);
	ck_assert_uint_eq(newest.changed, 1);
	ck_assert_uint_eq(newest.removed, 1);
	/* In pieces, whatever ends them. */
	for (unsigned keys = 1; keys < 4; keys++) {
		position = (struct build_position){ 0 };
		text[0] = '\0';
		while (!build_diff(before, after, &position, keys, keys % 2 ? note : note_one, text))
			ck_assert_int_lt(++rounds, 100);
		ck_assert_str_eq(text, expected);
	}
	position = (struct build_position){ 0 };
	text[0] = '\0';
	ck_assert(build_diff(after, after, &position, 100, note, text));
	ck_assert_str_eq(text, "");
	stop();
}
END_TEST

static void check_hits(void *context, const struct snapshot *snapshot, uint64_t since)
{
	(void)since;
	for (unsigned worker = 0; worker < WORKERS; worker++) {
		ck_assert_ptr_nonnull(snapshot->share[worker].hits);
		ck_assert_uint_eq((uintptr_t)snapshot->share[worker].hits % CACHE_LINE, 0);
		for (uint64_t i = 0; i <= snapshot->mask; i++)
			ck_assert_uint_eq(snapshot->share[worker].hits[i], 0);
		memset(snapshot->share[worker].hits, 0xff, (snapshot->mask + 1) * sizeof(uint32_t));
	}
	++*(unsigned *)context;
}

START_TEST(every_snapshot_has_its_own_hits)
{
	unsigned visits = 0;

	start(1);
	deploy("one", NULL);
	generations_visit(generations, check_hits, &visits);
	deploy("two", NULL);
	generations_visit(generations, check_hits, &visits);
	rolls_back("one");
	generations_visit(generations, check_hits, &visits);
	ck_assert_uint_eq(visits, 3);
	stop();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("generations");
	TCase *all = tcase_create("generations");

	tcase_add_checked_fixture(all, tree_setup, tree_teardown);
	tcase_add_test(all, as_many_as_asked_for_are_kept);
	tcase_add_test(all, none_are_kept_where_none_are_wanted);
	tcase_add_test(all, what_is_pinned_stays);
	tcase_add_test(all, ids_may_be_abbreviated);
	tcase_add_test(all, a_follow_up_takes_its_place);
	tcase_add_test(all, a_tree_that_is_again_what_it_was_is_the_newest);
	tcase_add_test(all, what_a_worker_holds_is_not_freed);
	tcase_add_test(all, room_is_made_by_the_oldest_first);
	tcase_add_test(all, what_a_build_takes_from_is_not_freed_under_it);
	tcase_add_test(all, what_is_held_to_be_read_stays);
	tcase_add_test(all, differences_are_told);
	tcase_add_test(all, every_snapshot_has_its_own_hits);
	suite_add_tcase(suite, all);
	return tree_run(suite);
}
