/*
 * loan.c - what the caller lends for a send: taken by the simulated kernel piece by piece, from the caller's own
 * memory and at a time of the kernel's choosing, and compared at the end with a copy made at the start. Whoever gives
 * a buffer back too early, or writes into one that is not his at the moment, is found here. Files are real ones, read
 * as they lie at the time when a piece is taken.
 */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes of a file that are read at once. */
#define LOAN_READ 65536

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
	loan->copy = malloc(loan->len + 1);
	assert(loan->copy);
	for (unsigned i = 0; i < n; i++) {
		memcpy(loan->copy + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memset(iov, LENT_POISON, n * sizeof(*iov)); /* the array is ours now, as io.h says */
}

void sim_loan_begin_file(struct sim *sim, struct sim_stream *stream, struct io_file_send *send)
{
	static const int errors[] = { ESTALE, ESTALE, EIO };
	struct sim_loan *loan = &stream->loan;
	struct io_file_send lent = *send;

	sim_loan_begin(sim, stream, lent.iov, lent.niov);
	memset(send, LENT_POISON, sizeof(*send));
	loan->send = send;
	loan->file = *lent.file;
	loan->file_at = lent.offset;
	loan->file_left = lent.len;
	if (sim_chance(&sim->dice, sim->weather.file_fails)) {
		loan->fails = -errors[sim_below(&sim->dice, 3)];
		loan->fails_at = 1 + sim_below(&sim->dice, lent.len);
	}
}

static bool loan_file_changed(const struct file *file)
{
	struct stat stat;

	return fstat(file->fd, &stat) || (uint64_t)stat.st_size != file->size ||
	       memcmp(&stat.st_mtim, &file->mtime, sizeof(file->mtime)) != 0 ||
	       (stat.st_nlink && memcmp(&stat.st_ctim, &file->ctime, sizeof(file->ctime)) != 0);
}

/* Moves bytes of the file, no more than budget. 0, or the -errno that ends the send. */
static int loan_file_move(struct sim_stream *stream, size_t budget)
{
	struct sim_loan *loan = &stream->loan;
	static char bytes[LOAN_READ];

	while (budget > 0 && loan->file_left > 0) {
		size_t room = stream->down.size - stream->down.len;
		size_t len = budget < room ? budget : room;
		ssize_t res;

		len = len < sizeof(bytes) ? len : sizeof(bytes);
		len = len < loan->file_left ? len : loan->file_left;
		if (loan->fails) {
			if (loan->file_left <= loan->fails_at)
				return loan->fails;
			if (len > loan->file_left - loan->fails_at)
				len = loan->file_left - loan->fails_at;
		}
		if (len == 0)
			break;
		res = pread(loan->file.fd, bytes, len, (off_t)loan->file_at);
		if (res < 0)
			return -errno;
		if (res == 0 || (res == (ssize_t)loan->file_left && loan_file_changed(&loan->file)))
			return -ESTALE;
		sim_queue_put(&stream->down, bytes, (size_t)res);
		loan->file_at += (uint64_t)res;
		loan->file_left -= (uint64_t)res;
		budget -= (size_t)res;
	}
	return 0;
}

void sim_loan_end(struct sim *sim, struct sim_stream *stream)
{
	struct sim_loan *loan = &stream->loan;
	const unsigned char *caller = (const unsigned char *)loan->caller;
	size_t at = 0;

	for (size_t i = 0; loan->send && i < sizeof(*loan->send); i++)
		sim_require(sim, ((const unsigned char *)loan->send)[i] == LENT_POISON,
		            "send of %d: the io_file_send was changed while lent", stream->fd);
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
	if (budget < (loan->len + loan->file_left) / 128)
		budget = (loan->len + loan->file_left) / 128; /* long answers come to an end, too */
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
		stream->sent_res = loan_file_move(stream, budget);
		stream->sent = loan->file_left == 0 || stream->sent_res;
	}
	if (stream->client_gone)
		sim_stream_break(stream); /* nobody is there any more to take them */
}
