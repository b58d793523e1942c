/*
 * loan.c - what the caller lends for a send: taken by the simulated kernel piece by piece, from the caller's own memory
 * and at a time of the kernel's choosing, and compared at the end with a copy made at the start. Whoever gives a buffer
 * back too early, or writes into one that is not his at the moment, is found here. A file is read as the simulated kernel
 * comes to it, and must be open and described as it was until the end.
 */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void sim_loan_file(struct sim *sim, struct sim_stream *stream, struct io_file_send *file)
{
	struct sim_loan *loan = &stream->loan;

	sim_require(sim, file->len > 0, "io_send_file() of %d: nothing of the file", stream->fd);
	sim_require(sim, file->offset <= file->file->size && file->len <= file->file->size - file->offset,
	            "io_send_file() of %d: %llu + %llu of %llu bytes", stream->fd, (unsigned long long)file->offset,
	            (unsigned long long)file->len, (unsigned long long)file->file->size);
	loan->caller_file = file;
	loan->file = *file;
	loan->opened = *file->file;
	loan->whole += file->len;
	if (!file->file->bytes && sim_chance(&sim->dice, sim->weather.file_fails))
		loan->fails_at = 1 + sim_below(&sim->dice, file->len);
	memset(file, LENT_POISON, sizeof(*file));
}

void sim_loan_begin(struct sim *sim, struct sim_stream *stream, struct iovec *iov, unsigned n,
                    struct io_file_send *file)
{
	struct sim_loan *loan = &stream->loan;
	size_t len = 0;

	*loan = (struct sim_loan){ .caller = iov, .n = n };
	for (unsigned i = 0; i < n; i++) {
		sim_require(sim, iov[i].iov_len > 0, "io_send() of %d: iovec %u is empty", stream->fd, i);
		loan->iov[i] = iov[i];
		loan->len += iov[i].iov_len;
	}
	loan->left = loan->whole = loan->len;
	loan->copy = malloc(loan->len + 1);
	assert(loan->copy);
	for (unsigned i = 0; i < n; i++) {
		memcpy(loan->copy + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (n > 0)
		memset(iov, LENT_POISON, n * sizeof(*iov)); /* the array is ours now, as io.h says */
	if (file)
		sim_loan_file(sim, stream, file);
}

static void sim_loan_end_file(struct sim *sim, const struct sim_stream *stream)
{
	const struct sim_loan *loan = &stream->loan;
	const unsigned char *caller = (const unsigned char *)loan->caller_file;

	for (size_t i = 0; i < sizeof(*loan->caller_file); i++)
		sim_require(sim, caller[i] == LENT_POISON, "send of %d: the io_file_send was changed while lent",
		            stream->fd);
	sim_require(sim, memcmp(loan->file.file, &loan->opened, sizeof(loan->opened)) == 0,
	            "send of %d: the struct file was changed while lent", stream->fd);
	sim_require(sim, loan->opened.bytes || fcntl(loan->opened.fd, F_GETFD) >= 0,
	            "send of %d: the file was closed while lent", stream->fd);
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
	if (loan->caller_file)
		sim_loan_end_file(sim, stream);
	free(loan->copy);
	loan->copy = NULL;
}

/* Whether the file is what it was when it was opened. */
static bool sim_file_is_fresh(const struct file *file)
{
	struct stat now;

	if (file->bytes)
		return true; /* sealed */
	return fstat(file->fd, &now) == 0 && (uint64_t)now.st_size == file->size &&
	       now.st_mtim.tv_sec == file->mtime.tv_sec && now.st_mtim.tv_nsec == file->mtime.tv_nsec &&
	       (now.st_nlink != file->nlink ||
	        (now.st_ctim.tv_sec == file->ctime.tv_sec && now.st_ctim.tv_nsec == file->ctime.tv_nsec));
}

static void sim_file_fails(struct sim *sim, struct sim_stream *stream, int err)
{
	stream->sent = stream->file_failed = true;
	stream->sent_res = err;
	sim_trace(sim, "the file for %d fails, %llu bytes before its end", stream->fd,
	          (unsigned long long)stream->loan.file.len);
}

/* Of the file, up to so many bytes. The last of them leave only when it has not changed (io.h). */
static void sim_file_move(struct sim *sim, struct sim_stream *stream, uint64_t budget)
{
	struct sim_loan *loan = &stream->loan;
	struct io_file_send *file = &loan->file;
	char bytes[4096];

	while (budget > 0 && file->len > 0) {
		size_t room = stream->down.size - stream->down.len, len = sizeof(bytes);
		ssize_t got;

		if (file->len == loan->fails_at) {
			sim_file_fails(sim, stream, sim_chance(&sim->dice, 800) ? -ESTALE : -EIO);
			return;
		}
		len = len < room ? len : room;
		len = len < budget ? len : budget;
		if (len > file->len - loan->fails_at)
			len = file->len - loan->fails_at;
		if (len == 0)
			return;
		if (loan->opened.bytes) {
			memcpy(bytes, loan->opened.bytes + file->offset, len);
			got = (ssize_t)len;
		} else {
			got = pread(loan->opened.fd, bytes, len, (off_t)file->offset);
		}
		if (got < 0) {
			sim_file_fails(sim, stream, -errno);
			return;
		}
		if (got == 0 || ((uint64_t)got == file->len && !sim_file_is_fresh(&loan->opened))) {
			sim_file_fails(sim, stream, -ESTALE);
			return;
		}
		sim_queue_put(&stream->down, bytes, (size_t)got);
		budget -= (uint64_t)got;
		file->offset += (uint64_t)got;
		file->len -= (uint64_t)got;
	}
}

void sim_send_move(struct sim *sim, struct sim_stream *stream)
{
	struct sim_loan *loan = &stream->loan;
	uint64_t budget;

	if (!stream->sending || stream->sent)
		return;
	if (!stream->broken && stream->down.len == stream->down.size)
		return;
	if (!sim_due(sim, &stream->move_at))
		return;
	stream->move_at = 0;
	if (sim_chance(&sim->dice, sim->weather.breaks))
		sim_stream_fail(stream);
	if (stream->broken) {
		stream->sent = true;
		stream->sent_res = stream->error ? -stream->error : -EPIPE;
		stream->error = 0;
		return;
	}
	budget = 1 + sim_below(&sim->dice, stream->step);
	if (budget < loan->whole / 128)
		budget = loan->whole / 128; /* long answers come to an end, too */
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
	sim->stirred = stream->stirred = true;
	if (loan->left == 0)
		sim_file_move(sim, stream, budget);
	if (loan->left == 0 && loan->file.len == 0) {
		stream->sent = true;
		stream->sent_res = 0;
	}
	if (stream->client_gone)
		sim_stream_break(stream); /* nobody is there any more to take them */
}
