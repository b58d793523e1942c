/* test_body.c - the bytes of answers: where they lie, what they cost, how they are shared, and what their hash is. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loom/body.h"
#include "loom/file.h"
#include "loom/memory.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

static struct body *make(const char *content, size_t len)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, len), 0);
	memcpy(body->bytes, content, len);
	body_seal(body);
	return body;
}

START_TEST(bodies_of_every_length_lie_right)
{
	static const char content[300] = "x";

	for (size_t len = 0; len < sizeof(content); len++) {
		struct body *body = make(content, len);

		ck_assert_uint_eq((uintptr_t)body->bytes % 64, 0);
		ck_assert_uint_eq(body->len, len);
		ck_assert_uint_eq(body->references, 1);
		ck_assert_uint_eq(body->memory, body_memory(len));
		ck_assert_uint_ge(body->memory, sizeof(*body) + len);
		ck_assert_uint_lt(body->memory, sizeof(*body) + len + 2 * 64);
		body_release(body);
	}
}
END_TEST

START_TEST(a_body_beyond_all_memory_is_enomem)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, UINT64_MAX), -ENOMEM);
	ck_assert_int_eq(body_create(&body, UINT64_MAX - 1000), -ENOMEM);
	ck_assert_int_eq(body_create(&body, (uint64_t)PTRDIFF_MAX), -ENOMEM);
}
END_TEST

START_TEST(a_hash_is_of_the_bytes_and_the_same_on_every_machine)
{
	/* XXH3, 128 bits, of nothing: 99aa06d3014798d86001c324468d497f. */
	static const uint8_t nothing[BODY_HASH_LEN] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
		                                        0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
	struct body *empty = make("", 0), *a = make("same", 4), *b = make("same", 4), *c = make("Same", 4),
		    *d = make("same\0", 5);

	ck_assert_mem_eq(empty->hash, nothing, BODY_HASH_LEN);
	ck_assert_mem_eq(a->hash, b->hash, BODY_HASH_LEN);
	ck_assert_mem_ne(a->hash, c->hash, BODY_HASH_LEN);
	ck_assert_mem_ne(a->hash, d->hash, BODY_HASH_LEN);
	body_release(empty);
	body_release(a);
	body_release(b);
	body_release(c);
	body_release(d);
}
END_TEST

START_TEST(references_are_counted)
{
	struct body *body = make("x", 1);

	ck_assert_ptr_eq(body_reference(body), body);
	body_release(body);
	ck_assert_mem_eq(body->bytes, "x", 1);
	body_release(body);
	body_release(NULL);
}
END_TEST

/* A body of so many letters, begun and not yet sealed. */
static struct body *begin(size_t len)
{
	struct body *body;

	ck_assert_int_eq(body_create(&body, len), 0);
	memset(body->bytes, 'x', len);
	return body;
}

static struct body *make_sealed(size_t len)
{
	struct body *body = begin(len);

	body_seal(body);
	ck_assert_ptr_nonnull(body->sealed);
	ck_assert_ptr_eq(body->sealed->bytes, body->bytes);
	ck_assert_uint_eq(body->sealed->size, len);
	return body;
}

START_TEST(only_long_bodies_are_sealed)
{
	struct body *body;

	body_seal_above(10000);
	body = begin(10000);
	body_seal(body);
	ck_assert_ptr_null(body->sealed);
	ck_assert_uint_eq(body->memory, body_memory(10000));
	body_release(body);
	body_release(make_sealed(10001));
	body_seal_above(0);
	body = make("", 0);
	ck_assert_ptr_null(body->sealed);
	body_release(body);
	body_release(make_sealed(1));
}
END_TEST

/* When its thread has gone on to another region. */
START_TEST(who_writes_to_a_sealed_body_ends)
{
	struct body *body, *next;

	body_seal_above(0);
	body = begin(PAGE);
	body_seal(body);
	next = begin(80 << 20);
	next->bytes[0] = 'x';
	body->bytes[_i ? PAGE - 1 : 0] = 'x';
}
END_TEST

static void *make_elsewhere(void *made)
{
	*(struct body **)made = make_sealed(PAGE);
	return NULL;
}

START_TEST(who_writes_to_a_body_of_a_thread_that_has_ended_ends)
{
	struct body *body;
	pthread_t thread;

	body_seal_above(0);
	ck_assert_int_eq(pthread_create(&thread, NULL, make_elsewhere, &body), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(body->bytes[PAGE - 1], 'x');
	body->bytes[PAGE - 1] = 'x';
}
END_TEST

START_TEST(a_sealed_body_is_the_same_content)
{
	struct body *body, *same;

	body = begin(5 * PAGE + 1);
	body_seal(body);
	body_seal_above(0);
	same = make_sealed(5 * PAGE + 1);
	ck_assert_mem_eq(body->hash, same->hash, BODY_HASH_LEN);
	ck_assert_mem_eq(body->bytes, same->bytes, body->len);
	body_release(same);
	body_release(body);
}
END_TEST

START_TEST(whole_pages_are_counted)
{
	uint64_t before = memory_held();
	struct body *body;

	body_seal_above(100);
	for (uint64_t len = PAGE - 2; len <= PAGE + 2; len++) {
		body = make_sealed(len);
		ck_assert_uint_eq((uintptr_t)body->bytes % PAGE, 0);
		ck_assert_uint_eq(body->memory, body_memory(len));
		ck_assert_uint_ge(body->memory, (len + PAGE - 1) / PAGE * PAGE + sizeof(*body) + sizeof(struct file));
		ck_assert_uint_le(body->memory, (len + PAGE - 1) / PAGE * PAGE + 4 * 64);
		ck_assert_uint_eq(memory_held() - before, body->memory);
		body_release(body);
		ck_assert_uint_eq(memory_held(), before);
	}
}
END_TEST

/* What the process has of these pages, in bytes. */
static uint64_t resident(const void *bytes, uint64_t len)
{
	unsigned char pages[256];
	uint64_t n = 0;

	ck_assert_uint_le(len, sizeof(pages) * PAGE);
	if (mincore((void *)(uintptr_t)bytes, len, pages) < 0)
		return 0; /* not even addresses */
	for (uint64_t i = 0; i < len / PAGE; i++)
		n += pages[i] & 1;
	return n * PAGE;
}

START_TEST(what_is_freed_is_given_back_and_not_given_away_again)
{
	const uint64_t len = 100 * PAGE;
	struct body *a, *b, *c;
	const uint8_t *was;

	body_seal_above(100);
	a = make_sealed(len);
	b = make_sealed(len);
	was = a->bytes;
	ck_assert_uint_eq(resident(was, len), len);
	body_release(a);
	ck_assert_uint_eq(resident(was, len), 0);
	c = make_sealed(len);
	ck_assert(c->bytes >= was + len || c->bytes + len <= was);
	ck_assert_int_eq(b->bytes[len - 1], 'x');
	was = b->bytes;
	body_release(c);
	body_release(b);
	ck_assert_uint_eq(resident(was, len), 0);
}
END_TEST

/* Whether the mapping of these bytes has a flag (proc(5), smaps). */
static bool has_flag(const void *bytes, const char *flag)
{
	FILE *maps = fopen("/proc/self/smaps", "r");
	unsigned long first, end;
	bool inside = false, has = false;
	char line[512];

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &first, &end) == 2)
			inside = (uintptr_t)bytes >= first && (uintptr_t)bytes < end;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, flag) != NULL;
	}
	fclose(maps);
	return has;
}

/* Else the kernel fills the gaps that freed bodies leave, in its own time. */
START_TEST(huge_pages_are_made_where_bodies_are_being_filled_and_not_behind)
{
	const uint64_t len = UINT64_C(1) << 20;
	struct body *bodies[70];
	const uint8_t *at[70];

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0)
		return; /* this kernel has none */
	body_seal_above(100);
	for (unsigned i = 0; i < 70; i++) { /* a region has room for 64 */
		bodies[i] = make_sealed(len);
		at[i] = bodies[i]->bytes;
		ck_assert(has_flag(at[i], " hg"));
		if (i >= 3)
			ck_assert(has_flag(at[i - 3], " nh"));
		if (i % 3 == 2) {
			body_release(bodies[i - 1]);
			bodies[i - 1] = NULL;
		}
	}
	for (unsigned i = 0; i < 70; i++)
		body_release(bodies[i]);
}
END_TEST

static void *seal_one(void *len)
{
	return make_sealed(*(size_t *)len);
}

/* What the process has from a body to another, and of the rest of the huge page that this ends in, in bytes. */
static uint64_t resident_up_to(const struct body *first, const struct body *last)
{
	const uint64_t huge = UINT64_C(2) << 20;
	uint64_t n = 0;

	for (const uint8_t *at = first->bytes; at < last->bytes + last->len || (uintptr_t)at % huge != 0; at += PAGE)
		n += resident(at, PAGE);
	return n;
}

/* A body of a thread that has ended takes no more than it is long. */
START_TEST(what_a_thread_leaves_takes_what_its_bodies_take)
{
	size_t lens[] = { 50 * PAGE, 300 * PAGE, 600 * PAGE };

	body_seal_above(100);
	for (unsigned i = 0; i < 3; i++) {
		struct body *body;
		pthread_t thread;
		void *made;

		ck_assert_int_eq(pthread_create(&thread, NULL, seal_one, &lens[i]), 0);
		ck_assert_int_eq(pthread_join(thread, &made), 0);
		body = made;
		ck_assert_uint_eq(resident_up_to(body, body), lens[i]);
		ck_assert_int_eq(body->bytes[lens[i] - 1], 'x');
		body_release(body);
	}
}
END_TEST

/* Nor one of a thread that rests; and the next one does not fill what has been given back. */
START_TEST(who_rests_keeps_what_his_bodies_take)
{
	const size_t lens[] = { 192 << 10, 1216 << 10, 2432 << 10, 384 << 10,
		                1856 << 10 }; /* whole pages, of 64 KiB too */
	const uint64_t huge = UINT64_C(2) << 20;
	struct body *bodies[80], *last;

	body_rest(); /* of nothing */
	body_seal_above(100);
	for (unsigned i = 0; i < 80; i++) { /* more than one region */
		last = bodies[i] = make_sealed(lens[i % 5]);
		if (i % 2) {
			last = make_sealed(lens[0]);
			ck_assert_ptr_eq(last->bytes, bodies[i]->bytes + bodies[i]->len); /* no rest between them */
		}
		body_rest();
		body_rest();
		ck_assert_uint_eq(resident_up_to(bodies[i], last), bodies[i]->len + (i % 2 ? last->len : 0));
		ck_assert_uint_eq((uintptr_t)bodies[i]->bytes % huge, 0);
		if (access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0)
			ck_assert(has_flag(bodies[i]->bytes, " nh"));
		if (i % 2)
			body_release(last);
		ck_assert_uint_eq(resident_up_to(bodies[i], bodies[i]), bodies[i]->len);
	}
	for (unsigned i = 0; i < 80; i++) {
		ck_assert_int_eq(bodies[i]->bytes[0], 'x');
		ck_assert_int_eq(bodies[i]->bytes[bodies[i]->len - 1], 'x');
		body_release(bodies[i]);
	}
}
END_TEST

/* A pipe with references to them is what a socket's queue is. */
START_TEST(what_was_referred_to_outlives_the_body)
{
	const size_t len = 8 * PAGE;
	struct body *kept = NULL, *body, *next;
	char bytes[8];
	struct iovec iov;
	int ends[2];

	body_seal_above(100);
	ck_assert_int_eq(pipe(ends), 0);
	if (_i)
		kept = make_sealed(len); /* the region stays */
	body = make_sealed(len);
	iov = (struct iovec){ body->bytes, len };
	ck_assert_int_eq(vmsplice(ends[1], &iov, 1, 0), (ssize_t)len);
	body_release(body);
	for (unsigned i = 0; i < 20; i++) {
		next = begin(len);
		memset(next->bytes, 'y', len);
		body_seal(next);
		body_release(next);
	}
	for (size_t i = 0; i < len; i += sizeof(bytes)) {
		ck_assert_int_eq(read(ends[0], bytes, sizeof(bytes)), sizeof(bytes));
		ck_assert_mem_eq(bytes, "xxxxxxxx", sizeof(bytes));
	}
	body_release(kept);
}
END_TEST

START_TEST(bodies_of_many_sizes_do_not_meet)
{
	struct body *bodies[64] = { NULL };
	uint32_t random = 1;
	uint64_t before = memory_held();

	body_seal_above(100);
	for (unsigned i = 0; i < 2000; i++) {
		unsigned at = i % 64;
		size_t len;

		random = random * 1664525 + 1013904223;
		len = 101 + (random >> 8) % (i % 97 == 0 ? 80u << 20 : 3u << 20) / (i % 97 == 0 ? 1 : 4);
		if (bodies[at]) {
			ck_assert_int_eq(bodies[at]->bytes[0], (int)at);
			ck_assert_int_eq(bodies[at]->bytes[bodies[at]->len - 1], (int)at);
			body_release(bodies[at]);
		}
		ck_assert_int_eq(body_create(&bodies[at], len), 0);
		ck_assert_ptr_nonnull(bodies[at]->sealed);
		bodies[at]->bytes[0] = bodies[at]->bytes[len - 1] = (uint8_t)at;
	}
	for (unsigned i = 0; i < 64; i++)
		body_release(bodies[i]);
	ck_assert_uint_eq(memory_held(), before);
}
END_TEST

START_TEST(without_address_space_it_is_ordinary_memory)
{
	struct rlimit limit;
	struct body *body;

	body_seal_above(100);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = 60 << 20;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	body = begin(PAGE);
	body_seal(body);
	ck_assert_ptr_null(body->sealed);
	ck_assert_int_eq(body->bytes[PAGE - 1], 'x');
	body_release(body);
	ck_assert_uint_eq(memory_held(), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("body");
	TCase *tcase = tcase_create("bodies"), *sealed = tcase_create("sealed");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, bodies_of_every_length_lie_right);
	tcase_add_test(tcase, a_body_beyond_all_memory_is_enomem);
	tcase_add_test(tcase, a_hash_is_of_the_bytes_and_the_same_on_every_machine);
	tcase_add_test(tcase, references_are_counted);

	suite_add_tcase(suite, sealed);
	tcase_add_test(sealed, only_long_bodies_are_sealed);
	if (!SANITIZED) { /* which catches the signal, and needs address space of its own */
		tcase_add_loop_test_raise_signal(sealed, who_writes_to_a_sealed_body_ends, SIGSEGV, 0, 2);
		tcase_add_test_raise_signal(sealed, who_writes_to_a_body_of_a_thread_that_has_ended_ends, SIGSEGV);
		tcase_add_test(sealed, without_address_space_it_is_ordinary_memory);
	}
	tcase_add_test(sealed, a_sealed_body_is_the_same_content);
	tcase_add_test(sealed, whole_pages_are_counted);
	tcase_add_test(sealed, what_is_freed_is_given_back_and_not_given_away_again);
	tcase_add_test(sealed, what_a_thread_leaves_takes_what_its_bodies_take);
	tcase_add_test(sealed, who_rests_keeps_what_his_bodies_take);
	tcase_add_test(sealed, huge_pages_are_made_where_bodies_are_being_filled_and_not_behind);
	tcase_add_loop_test(sealed, what_was_referred_to_outlives_the_body, 0, 2);
	tcase_add_test(sealed, bodies_of_many_sizes_do_not_meet);

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
