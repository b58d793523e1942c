/*
 * test_peer_count.c - how many connections an address has: the limit, entries that come and go, a window that is full,
 * threads that race, and what is taken for an address.
 */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loom/peer_count.h"

static struct peer_count *made(uint32_t conns, uint32_t limit)
{
	struct peer_count *peers;

	ck_assert_int_eq(peer_count_create(&peers, conns, limit), 0);
	return peers;
}

START_TEST(an_address_has_as_many_as_the_limit_and_no_more)
{
	static const uint32_t limits[] = { 1, 2, 7, PEER_COUNT_MAX };
	uint32_t limit = limits[_i], slot, first = 0;
	struct peer_count *peers = made(100, limit);

	for (uint32_t i = 0; i < limit; i++) {
		ck_assert(peer_count_enter(peers, 4711, &slot));
		ck_assert_uint_ne(slot, PEER_UNCOUNTED);
		if (i == 0)
			first = slot;
		ck_assert_uint_eq(slot, first);
	}
	ck_assert(!peer_count_enter(peers, 4711, &slot));
	ck_assert(!peer_count_enter(peers, 4711, &slot));
	ck_assert(peer_count_enter(peers, 4712, &slot)); /* another is not concerned */
	peer_count_leave(peers, first);
	ck_assert(peer_count_enter(peers, 4711, &slot));
	ck_assert(!peer_count_enter(peers, 4711, &slot));
	peer_count_destroy(peers);
}
END_TEST

START_TEST(what_has_left_leaves_nothing_behind)
{
	struct peer_count *peers = made(1000, 2);
	static uint32_t slots[1000];

	for (unsigned round = 0; round < 50; round++) {
		for (uint64_t i = 0; i < 1000; i++)
			ck_assert(peer_count_enter(peers, round * UINT64_C(1000003) + (i << 40) + i, &slots[i]));
		ck_assert_uint_eq(peer_count_entries(peers), 1000);
		for (unsigned i = 0; i < 1000; i++)
			peer_count_leave(peers, slots[i]);
		ck_assert_uint_eq(peer_count_entries(peers), 0);
	}
	peer_count_leave(peers, PEER_UNCOUNTED);
	peer_count_destroy(peers);
}
END_TEST

/* Far more addresses than it is made for: the worst that may come of it is that some are not counted. */
START_TEST(a_table_that_is_full_counts_what_it_can)
{
	struct peer_count *peers = made(1, 1);
	static uint32_t slots[4000];
	unsigned uncounted = 0, held = 0;

	for (uint64_t i = 0; i < 4000; i++) {
		ck_assert(peer_count_enter(peers, i, &slots[i]));
		uncounted += slots[i] == PEER_UNCOUNTED;
	}
	ck_assert_uint_gt(uncounted, 0);
	ck_assert_uint_eq(peer_count_entries(peers), 4000 - uncounted);
	for (uint64_t i = 0; i < 4000; i++) {
		uint32_t slot;

		held += !peer_count_enter(peers, i, &slot); /* found again, wherever it lies */
		ck_assert(slot == PEER_UNCOUNTED || slot == slots[i]);
	}
	ck_assert_uint_eq(held, 4000 - uncounted);
	for (unsigned i = 0; i < 4000; i++)
		peer_count_leave(peers, slots[i]);
	ck_assert_uint_eq(peer_count_entries(peers), 0);
	peer_count_destroy(peers);
}
END_TEST

/* As many addresses as connections, as a table is made for. */
START_TEST(chance_leaves_hardly_any_uncounted)
{
	enum { CONNS = 100000 };
	struct peer_count *peers = made(CONNS, 1);
	unsigned uncounted = 0;

	for (uint64_t i = 0; i < CONNS; i++) {
		uint32_t slot;

		ck_assert(peer_count_enter(peers, 0x20010db8 + (i << 32), &slot));
		uncounted += slot == PEER_UNCOUNTED;
	}
	ck_assert_uint_le(uncounted, CONNS / 10000);
	peer_count_destroy(peers);
}
END_TEST

#define THREADS 4
#define ROUNDS  200000
#define LIMIT   3

static struct peer_count *raced;
static unsigned addresses;
static atomic_uint inside[8], most[8], refused;

static void *race(void *seed)
{
	unsigned dice = (unsigned)(uintptr_t)seed;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned address = ((dice = dice * 1664525 + 1013904223) >> 29) % addresses, now, seen;
		uint32_t slot;

		if (!peer_count_enter(raced, address, &slot)) {
			atomic_fetch_add(&refused, 1);
			continue;
		}
		now = atomic_fetch_add(&inside[address], 1) + 1;
		seen = atomic_load(&most[address]);
		while (now > seen && !atomic_compare_exchange_weak(&most[address], &seen, now))
			;
		if (i % 16 == 0)
			sched_yield(); /* so that there are some to be refused */
		atomic_fetch_sub(&inside[address], 1);
		peer_count_leave(raced, slot);
	}
	return NULL;
}

START_TEST(threads_that_race_lose_no_count)
{
	pthread_t threads[THREADS];

	raced = made(100, LIMIT);
	addresses = _i == 0 ? 1 : 8;
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	/* What went up came down. */
	ck_assert_uint_eq(peer_count_entries(raced), 0);
	/* A second entry of an address needs another address that leaves its window: there may be one among eight. */
	if (addresses == 1) {
		ck_assert_uint_eq(atomic_load(&most[0]), LIMIT);
		ck_assert_uint_gt(atomic_load(&refused), 0);
	}
	peer_count_destroy(raced);
}
END_TEST

/* The address of the other end of a real connection to a listener of this family, from an address of that text. */
static bool address_of(int family, const char *from, uint64_t *address)
{
	int listener = socket(family, SOCK_STREAM, 0), client, accepted, off = 0;
	bool any = family == AF_INET6 && strchr(from, '.');
	struct sockaddr_storage name = { .ss_family = (sa_family_t)family };
	struct sockaddr_storage own = { 0 };
	socklen_t len = sizeof(name);
	bool found;

	ck_assert_int_ge(listener, 0);
	if (any)
		setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (family == AF_INET)
		((struct sockaddr_in *)&name)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&name)->sin6_addr = any ? in6addr_any : in6addr_loopback;
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&name,
	                      family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)),
	                 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&name, &len), 0);
	client = socket(any ? AF_INET : family, SOCK_STREAM, 0);
	if (any || family == AF_INET) {
		struct sockaddr_in *to = (struct sockaddr_in *)&own;
		in_port_t port = family == AF_INET ? ((struct sockaddr_in *)&name)->sin_port
		                                   : ((struct sockaddr_in6 *)&name)->sin6_port;

		to->sin_family = AF_INET;
		to->sin_addr.s_addr = inet_addr(from);
		ck_assert_int_eq(bind(client, (struct sockaddr *)&own, sizeof(*to)), 0);
		to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		to->sin_port = port;
		ck_assert_int_eq(connect(client, (struct sockaddr *)&own, sizeof(*to)), 0);
	} else {
		ck_assert_int_eq(connect(client, (struct sockaddr *)&name, len), 0);
	}
	accepted = accept(listener, NULL, NULL);
	ck_assert_int_ge(accepted, 0);
	found = peer_address(accepted, address);
	close(accepted);
	close(client);
	close(listener);
	return found;
}

START_TEST(ipv4_is_the_same_on_every_socket)
{
	uint64_t plain, mapped, other, six;

	ck_assert(address_of(AF_INET, "127.0.0.1", &plain));
	ck_assert(address_of(AF_INET, "127.0.0.2", &other));
	ck_assert_uint_ne(plain, other);
	/* As the network 0:0:7f00:1::/64: whatever comes from IPv6 has other bytes in front. */
	ck_assert_mem_eq(&plain, ((const uint8_t[]){ 0, 0, 0, 0, 127, 0, 0, 1 }), sizeof(plain));
	if (access("/proc/net/if_inet6", F_OK) < 0)
		return; /* no IPv6 here */
	ck_assert(address_of(AF_INET6, "127.0.0.1", &mapped));
	ck_assert_uint_eq(plain, mapped);
	ck_assert(address_of(AF_INET6, "::1", &six));
	ck_assert_uint_ne(six, plain);
}
END_TEST

START_TEST(a_unix_socket_has_none)
{
	uint64_t address;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert(!peer_address(fds[0], &address));
	close(fds[0]);
	close(fds[1]);
	ck_assert(!peer_address(-1, &address));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("peer_count");
	TCase *tcase = tcase_create("peer_count");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, an_address_has_as_many_as_the_limit_and_no_more, 0, 4);
	tcase_add_test(tcase, what_has_left_leaves_nothing_behind);
	tcase_add_test(tcase, a_table_that_is_full_counts_what_it_can);
	tcase_add_test(tcase, chance_leaves_hardly_any_uncounted);
	tcase_add_loop_test(tcase, threads_that_race_lose_no_count, 0, 2);
	tcase_add_test(tcase, ipv4_is_the_same_on_every_socket);
	tcase_add_test(tcase, a_unix_socket_has_none);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
