/*
 * body_pages.h - memory for bodies that are sent by reference: pages that are written to once, and never again. Private to
 * body.c. Any thread but the event loop's.
 */
#ifndef LOOM_BODY_PAGES_H
#define LOOM_BODY_PAGES_H

#include <stdint.h>

struct body_pages {
	uint8_t *bytes; /* from a page's start */
	uint64_t len;   /* whole pages */
	struct region *region;
};

/* What so many bytes take. */
uint64_t body_pages_len(uint64_t len);

/*
 * Pages for len bytes, len > 0, to be filled by the calling thread before it takes others. 0 or -ENOMEM. When it has gone on to
 * other regions, whoever writes to them ends the process (SIGSEGV).
 */
int body_pages_take(struct body_pages *pages, uint64_t len);

/*
 * The calling thread has filled what it took, and takes no more for a while: what was set aside for that goes back to the
 * system.
 */
void body_pages_rest(void);

/* Gives them back. What the kernel still has of them in its queues stays what it is. */
void body_pages_give(const struct body_pages *pages);

#endif
