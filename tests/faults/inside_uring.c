/*
 * inside_uring.c - see inside.h.
 */
#include <stdio.h>

#include "fault.h"
#include "inside.h"
#include "uring.h"

const char *inside_uring(struct io *io)
{
	static char text[200];
	struct uring *uring = (struct uring *)io;
	bool buffers = true;
	unsigned lents = 0;

	if (io->ops != &io_uring_ops)
		return NULL;
	for (unsigned i = 0; i < URING_GROUPS; i++)
		buffers &= seam_ring_buffers(uring->ring.ring_fd, i, uring->group[i].tail, uring->group[i].mask + 1U) !=
		           0;
	for (unsigned at = uring->zc ? uring->lent_free : 0; at; at = uring->lents[at - 1].next)
		lents++;
	if (uring->zc && lents != URING_LENTS) {
		snprintf(text, sizeof(text), "left in io_uring: %u of %u records of what is lent are free", lents,
		         URING_LENTS);
		return text;
	}
	if (!uring->open && !uring->held_count && uring->lent < 0 && !uring->ready.first && !uring->parked.first &&
	    !uring->bulk.first && !uring->swept && !uring->cold.first && !uring->sender.turns.first &&
	    uring->reads_free == URING_READS && uring->sq_head == uring->sq_tail && buffers)
		return inside_sender(&uring->sender);
	snprintf(
		text, sizeof(text),
		"left in io_uring: %u connections, %u held, lent %d, %u of %u read buffers, %u submissions;%s%s%s%s%s%s%s",
		uring->open, uring->held_count, uring->lent, uring->reads_free, URING_READS,
		uring->sq_tail - uring->sq_head, uring->ready.first ? " in ready" : "",
		uring->parked.first ? " in parked" : "", uring->bulk.first ? " in bulk" : "",
		uring->swept ? " a listener" : "", uring->cold.first ? " a cold read" : "",
		uring->sender.turns.first ? " a file's turn" : "", buffers ? "" : " receive buffers are not back");
	return text;
}

void inside_uring_window(struct io *io, uint64_t window)
{
	if (io->ops == &io_uring_ops)
		inside_sender_begin(&((struct uring *)io)->sender, window);
}
