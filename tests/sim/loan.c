/*
 * loan.c - what the caller lends for a send: taken by the simulated kernel piece by piece, from the caller's own memory
 * and at a time of the kernel's choosing, and compared at the end with a copy made at the start. Whoever gives a buffer
 * back too early, or writes into one that is not his at the moment, is found here.
 */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void sim_loan_begin(struct sim *sim, struct sim_stream *stream, struct iovec *iov, unsigned n)
{
	struct sim_loan *loan = &stream->loan;
	size_t len = 0;

	*loan = (struct sim_loan){ .caller = iov, .n = n };
	for (unsigned i = 0; i < n; i++) {
		sim_require(sim, iov[i].iov_len > 0, "io_send() of %d: iovec %u is empty", stream->fd, i);
		loan->iov[i] = iov[i];
		loan->len += iov[i].iov_len;
	}
	loan->left = loan->len;
	loan->copy = malloc(loan->len);
	assert(loan->copy);
	for (unsigned i = 0; i < n; i++) {
		memcpy(loan->copy + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memset(iov, LENT_POISON, n * sizeof(*iov)); /* the array is ours now, as io.h says */
}

void sim_loan_end(struct sim *sim, struct sim_stream *stream)
{
	struct sim_loan *loan = &stream->loan;
	const unsigned char *caller = (const unsigned char *)loan->caller;
	size_t at = 0;

	for (size_t i = 0; i < loan->n * sizeof(*loan->caller); i++)
		sim_require(sim, caller[i] == LENT_POISON, "send of %d: the iovecs were changed while lent",
		            stream->fd);
	for (unsigned i = 0; i < loan->n; i++) {
		sim_require(sim, memcmp(loan->copy + at, loan->iov[i].iov_base, loan->iov[i].iov_len) == 0,
		            "send of %d: the bytes of iovec %u of %u were changed while lent", stream->fd, i, loan->n);
		at += loan->iov[i].iov_len;
	}
	free(loan->copy);
	loan->copy = NULL;
}

void sim_send_move(struct sim *sim, struct sim_stream *stream)
{
	struct sim_loan *loan = &stream->loan;
	size_t budget;

	if (!stream->sending || stream->sent)
		return;
	if (!stream->broken && stream->down.len == stream->down.size)
		return;
	if (!sim_due(sim, &stream->move_at))
		return;
	stream->move_at = 0;
	if (stream->broken) {
		stream->sent = true;
		stream->sent_res = stream->error ? -stream->error : -EPIPE;
		stream->error = 0;
		return;
	}
	budget = 1 + sim_below(&sim->dice, stream->step);
	if (budget < loan->len / 128)
		budget = loan->len / 128; /* long answers come to an end, too */
	while (budget > 0 && loan->left > 0) {
		const struct iovec *iov = &loan->iov[loan->at];
		size_t len = iov->iov_len - loan->offset;

		len = sim_queue_put(&stream->down, (const char *)iov->iov_base + loan->offset,
		                    len < budget ? len : budget);
		if (len == 0)
			break;
		budget -= len;
		loan->left -= len;
		loan->offset += len;
		if (loan->offset == iov->iov_len) {
			loan->at++;
			loan->offset = 0;
		}
	}
	sim->stirred = true;
	if (loan->left == 0) {
		stream->sent = true;
		stream->sent_res = 0;
	}
	if (stream->client_gone)
		sim_stream_break(stream); /* nobody is there any more to take them */
}
