/*
 * inside_epoll.c - see inside.h.
 */
#include <stdio.h>
#include <unistd.h>

#include "epoll.h"
#include "inside.h"

const char *inside_epoll(struct io *io)
{
	static char text[160];
	const struct io_epoll *ep = (const struct io_epoll *)io;

	if (io->ops != &io_epoll_ops)
		return NULL;
	/* A thread that reads says that a read is done before it says that it is idle. */
	for (unsigned i = 0; ep->reader.busy && i < 20000; i++)
		usleep(1000);
	if (!ep->conns && !ep->ready.first && !ep->bulk.first && !ep->listener_head && !ep->sender.turns.first &&
	    !ep->reader.done && !ep->reader.busy)
		return inside_sender(&ep->sender);
	snprintf(text, sizeof(text), "left in epoll: %u connections,%s%s%s%s%s%s", ep->conns,
	         ep->ready.first ? " in ready" : "", ep->bulk.first ? " in bulk" : "",
	         ep->listener_head ? " a listener" : "", ep->sender.turns.first ? " a file's turn" : "",
	         ep->reader.done ? " a read that is done" : "", ep->reader.busy ? " a read" : "");
	return text;
}

void inside_epoll_window(struct io *io, uint64_t window)
{
	if (io->ops == &io_epoll_ops)
		inside_sender_begin(&((struct io_epoll *)io)->sender, window);
}
