/*
 * inside_sender.c - see inside.h: what the backends have in common of files and of memory that is sent by reference. The caller's
 * thread, which drives the worker.
 */
#include <stdio.h>
#include <sys/ioctl.h>

#include "file_send.h"
#include "inside.h"

/* As they were before the first send. */
static unsigned lifts;

void inside_sender_begin(struct file_sender *sender, uint64_t window)
{
	sender->window = window;
	lifts = sender->splicer.lifts;
}

const char *inside_sender(const struct file_sender *sender)
{
	static char text[120];
	int left = 0;

	if (sender->splicer.room)
		ioctl(sender->splicer.from, FIONREAD, &left);
	if (!left && sender->splicer.lifts == lifts)
		return NULL;
	snprintf(text, sizeof(text), "left in the pipe: %d bytes; %u sends may have more unsent, not %u", left,
	         sender->splicer.lifts, lifts);
	return text;
}
