/*
 * body_pages.c - see body_pages.h. Bodies lie one behind the other in regions of address space, so that most of them share
 * pages of 2 MiB, where the kernel has them (transparent huge pages, madvise(2)): to refer to the parts of one of these costs
 * less than to refer to as many small ones.
 *
 * An address is given away once. What is freed is given back to the system at once (MADV_DONTNEED; the rest of a huge page that
 * is still used in part only when memory is short) but its addresses only with the whole region, when nothing is left in it: no
 * page that a socket's queue refers to is ever written to again, whoever has freed it, and a page that is freed is one of the
 * queue's alone until it has left.
 *
 * Huge pages are made where bodies are being filled in, and not behind that: the kernel (khugepaged) would find the gaps that
 * freed bodies leave, and fill them with pages of zeros to have a huge page again. Who takes no more for a while gives back
 * what is left of the huge page that he has begun, and later begins another one, in addresses that cost nothing: what a site
 * takes is what its bodies take, in whatever order they came. A body that is alone pays for that with the huge page that it
 * ends in (1 MiB: up to a tenth more time a request).
 *
 * Each thread fills a region of its own, and none takes a lock: most are at SCHED_IDLE, where one that holds a lock may not run
 * for minutes.
 */
#include "body_pages.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of transparent huge pages on x86-64 and arm64 with pages of 4 KiB; elsewhere regions are only cut a little larger. */
#define HUGE_PAGE (UINT64_C(2) << 20)

/* Address space; what is not used of it costs nothing. */
#define REGION_SIZE (UINT64_C(64) << 20)

struct region {
	uint8_t *room; /* with what is nobody's */
	uint64_t reserved;
	uint8_t *base; /* from a huge page's start */
	uint64_t size;
	uint64_t used;             /* has been given away, from base on; of the thread that fills it */
	uint64_t settled;          /* of that: huge pages are not made of it any more; likewise */
	bool begun;                /* some of it has been given away since the last rest; likewise */
	atomic_uint_fast64_t live; /* bodies in it, and one more while it is being filled */
};

/* The region that this thread fills. */
static pthread_key_t filling;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool keyed;

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

uint64_t body_pages_len(uint64_t len)
{
	return round_up(len, (uint64_t)sysconf(_SC_PAGESIZE));
}

/* All up to the huge page that is being filled. Once for each of them, as whoever changes a mapping may have to wait. */
static void region_settle(struct region *region, uint64_t end)
{
	end = end / HUGE_PAGE * HUGE_PAGE;
	if (end <= region->settled)
		return;
	madvise(region->base + region->settled, end - region->settled, MADV_NOHUGEPAGE);
	region->settled = end;
}

/* What is left of the huge page that is being filled goes back: the kernel has made it whole. */
static void region_rest(struct region *region)
{
	uint64_t end = round_up(region->used, HUGE_PAGE);

	uint8_t *tail = region->base + region->used;

	if (!region->begun)
		return;
	region_settle(region, end);
	if (end > region->used) {
		madvise(tail, end - region->used,
		        MADV_FREE); /* makes the kernel split it now, and not when memory is short */
		madvise(tail, end - region->used, MADV_DONTNEED);
	}
	region->used = end;
	region->begun = false;
}

static struct region *region_create(uint64_t len)
{
	struct region *region = malloc(sizeof(*region));
	uint64_t size = round_up(len, HUGE_PAGE), before;
	uint8_t *room;

	if (size < REGION_SIZE)
		size = REGION_SIZE;
	if (!region)
		return NULL;
	/*
	 * A page in front is nobody's, so that the kernel does not make one mapping of two regions: a thread that has to wait
	 * for a processor while it fills a huge page would have all others wait that seal something in the same mapping.
	 */
	room = mmap(NULL, size + 2 * HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED) {
		free(region);
		return NULL;
	}
	before = round_up((uintptr_t)room + 1, HUGE_PAGE) - (uintptr_t)room;
	if (mprotect(room + before, size, PROT_READ | PROT_WRITE)) {
		munmap(room, size + 2 * HUGE_PAGE);
		free(region);
		return NULL;
	}
	region->room = room;
	region->reserved = size + 2 * HUGE_PAGE;
	room += before;
	madvise(room, size, MADV_HUGEPAGE); /* or not */
	region->base = room;
	region->size = size;
	region->used = region->settled = 0;
	region->begun = false;
	atomic_init(&region->live, 1);
	return region;
}

/* One body less, or who has filled it. */
static void region_leave(struct region *region)
{
	if (atomic_fetch_sub(&region->live, 1) > 1)
		return;
	munmap(region->room, region->reserved);
	free(region);
}

/*
 * A thread has filled a region, or ends: all of it has been written to, and nobody has to do so again. Not body by body: each
 * time all others that have to do with the process's mappings would wait for whoever fills a huge page meanwhile, perhaps at
 * SCHED_IDLE. It may fail where there are very many mappings (vm.max_map_count): then nobody watches over what nobody does.
 */
static void leave(void *argument)
{
	struct region *region = argument;

	region_rest(region);
	region_settle(region, region->size);
	mprotect(region->base, region->size, PROT_READ);
	region_leave(region);
}

static void make_key(void)
{
	keyed = pthread_key_create(&filling, leave) == 0;
}

int body_pages_take(struct body_pages *pages, uint64_t len)
{
	struct region *region;

	assert(len > 0);
	len = body_pages_len(len);
	pthread_once(&once, make_key);
	if (!keyed)
		return -ENOMEM;
	region = pthread_getspecific(filling);
	if (!region || len > region->size - region->used) {
		struct region *before = region;

		region = region_create(len);
		if (!region)
			return -ENOMEM;
		if (pthread_setspecific(filling, region)) {
			region_leave(region);
			return -ENOMEM;
		}
		if (before)
			leave(before);
	}
	region_settle(region, region->used); /* what was taken before is filled */
	/* Many a thread reads one short body and rests: a huge page would cost more than it saves. */
	if (!region->begun && len < HUGE_PAGE / 2)
		region_settle(region, region->used + HUGE_PAGE);
	region->begun = true;
	*pages = (struct body_pages){ .bytes = region->base + region->used, .len = len, .region = region };
	region->used += len;
	atomic_fetch_add(&region->live, 1);
	return 0;
}

void body_pages_rest(void)
{
	struct region *region;

	pthread_once(&once, make_key);
	region = keyed ? pthread_getspecific(filling) : NULL;
	if (region)
		region_rest(region);
}

void body_pages_give(const struct body_pages *pages)
{
	madvise(pages->bytes, pages->len, MADV_DONTNEED);
	region_leave(pages->region);
}
