/*
 * seam.h - makes the kernel's answers about files rare ones. contract_file.c sets it, seam.c (in the suite of the real
 * backends) follows it.
 */
#ifndef LOOM_TESTS_SEAM_H
#define LOOM_TESTS_SEAM_H

#include <stdatomic.h>

struct seam {
	atomic_int cold;       /* of so many reads with RWF_NOWAIT, one finds its page: 0: as it is, INT_MAX: never */
	atomic_int counted;    /* an errno for every cachestat(2), or 0 */
	atomic_int nowait;     /* an errno for every read with RWF_NOWAIT, or 0 */
	atomic_int spliced;    /* an errno for every sendfile(2), or 0 */
	atomic_int splice_max; /* the most bytes that one sendfile(2) takes, or 0 */
	atomic_int referred;   /* an errno for every vmsplice(2), or 0 */
	atomic_int moved;      /* an errno for every splice(2), or 0 */
	atomic_int move_max;   /* the most bytes that one of these moves, or 0 */
	atomic_int stuck;      /* an errno for every read(2) from a pipe, or 0 */
	atomic_int reads, splices, moves; /* calls so far, told by the seam */

	/* Called once, before the next read with RWF_NOWAIT gets its answer. */
	void (*before)(void *context);
	void *context;
};

extern struct seam seam;

#endif
