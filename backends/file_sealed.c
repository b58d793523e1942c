/*
 * file_sealed.c - one turn of io_send_file() of sealed memory: pages of this process that nobody writes to any more (file.h). So
 * all of a range goes by reference, from its first byte to its last, and nothing has to be asked before or after: there are
 * no versions of it, and no disk behind it. On the event loop's thread; owns a pipe for each of them, which is empty between
 * turns.
 *
 * vmsplice(2) puts references to pages into the pipe, and splice(2) moves them to the socket. The same by a file of memory
 * (memfd_create(2), sealed) and sendfile(2) takes half as much again: the kernel looks each page of 4 KiB up there, and has no
 * larger ones unless somebody has configured them (shmem_enabled, "never" by default), while pages of 2 MiB for a process's
 * own memory are everyday.
 *
 * What the socket does not take is thrown away from the pipe, and referred to again when there is room. So a send whose socket
 * has been full goes on in smaller pieces.
 *
 * Unsent bytes. TCP_NOTSENT_LOWAT keeps clients that are slow from holding the kernel's memory (--max-unsent), and has a body be
 * sent in as many steps as it goes into, each of which wakes this thread up: more than half of what a MiB costs. What is
 * sent by reference holds no memory that is not there anyhow. But the kernel counts it as if it did, and slows all
 * connections down when all together hold too much (tcp_mem). So a bounded number of sends at a time is allowed more.
 *
 * A thousand clients who come for a large body and do not read it must not delay others. So a connection gets it in pieces of
 * as many bytes as it has taken before, and more unsent ones only when it has taken some: one that is fast is soon at the
 * largest, and stays there with the next request.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "file_send.h"

/* What the pipe is to hold: as much as one without privileges may (pipe-max-size). */
#define PIPE_SIZE (1 << 20)

/* What is read from it at a time, for nobody. */
#define WASTE_SIZE (64 * 1024)

/* A piece, after the socket has been full, and the first of a connection. */
#define PIECE_HALTED (128 * 1024)

/* A client is allowed more unsent bytes when so many have gone to him. */
#define SENT_PROVEN (512 * 1024)

/* Unsent bytes of a send that is allowed more, and what all of those may come to of what is too much. */
#define UNSENT_LIFTED (2 << 20)
#define LIFTED_SHARE  8
#define LIFTED_MAX    128

/*
 * How many sends at a time may have UNSENT_LIFTED. The kernel begins to save at a sixteenth of the memory, unless somebody has
 * configured it (tcp_mem, which cannot be read in the sandbox).
 */
static unsigned lifted_most(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	uint64_t most = pages > 0 ? (uint64_t)pages * (uint64_t)size / 16 / LIFTED_SHARE / UNSENT_LIFTED : 0;

	return most < LIFTED_MAX ? (unsigned)most : LIFTED_MAX;
}

void file_splicer_create(struct file_splicer *splicer, uint64_t *figure)
{
	int ends[2], size;

	*splicer = (struct file_splicer){ 0 };
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return;
	fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
	size = fcntl(ends[1], F_GETPIPE_SZ);
	splicer->waste = size < 2 * FILE_GRAIN ? NULL : malloc(WASTE_SIZE);
	if (!splicer->waste) {
		close(ends[0]);
		close(ends[1]);
		return;
	}
	splicer->from = ends[0];
	splicer->to = ends[1];
	splicer->room = (size_t)size;
	splicer->figure = figure;
	splicer->lifts = lifted_most();
}

/* It is used no more. On the event loop, where nothing is freed. */
static void splicer_shut(struct file_splicer *splicer)
{
	close(splicer->from);
	close(splicer->to);
	splicer->room = 0;
}

void file_splicer_destroy(struct file_splicer *splicer)
{
	if (splicer->room)
		splicer_shut(splicer);
	free(splicer->waste);
	splicer->waste = NULL;
}

/* More of a long body may be unsent, if not too many have that already. */
static void sealed_lift(struct file_sender *sender, struct io_file_send *send)
{
	static const int most = UNSENT_LIFTED;
	int fd = send->conn->fd, was;
	socklen_t size = sizeof(was);

	if (!sender->splicer.lifts)
		return;
	send->state |= FILE_WEIGHED;
	if (getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &was, &size) < 0)
		return;
	/* 0: it is not limited */
	if (was <= 0 || was >= most || send->len <= (uint64_t)was ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most)) < 0)
		return;
	send->state |= FILE_LIFTED;
	send->unsent = was;
	sender->splicer.lifts--;
}

void file_sealed_begin(struct file_sender *sender, struct io_file_send *send)
{
	if (!sender->splicer.room || !file_unblock(send))
		send->state |= FILE_UNSPLICED;
}

void file_sealed_drop(struct file_sender *sender, struct io_file_send *send)
{
	if (!(send->state & FILE_LIFTED))
		return;
	sender->splicer.lifts++;
	send->state &= ~(uint32_t)FILE_LIFTED;
}

static enum file_turn sealed_end(struct file_sender *sender, struct io_file_send *send, int result)
{
	if (send->state & FILE_LIFTED)
		setsockopt(send->conn->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &send->unsent, sizeof(send->unsent));
	file_sealed_drop(sender, send);
	return file_end(send, result);
}

/* Empties the pipe of what the socket did not take. One that cannot be emptied is used no more. */
static void sealed_drain(struct file_splicer *splicer, size_t left)
{
	while (left > 0) {
		ssize_t res = read(splicer->from, splicer->waste, left < WASTE_SIZE ? left : WASTE_SIZE);

		if (res < 0 && errno == EINTR)
			continue;
		if (res <= 0) {
			splicer_shut(splicer);
			return;
		}
		left -= (size_t)res;
	}
}

/* By reference: what the socket has taken, or -errno; 0: it cannot be had. */
static ssize_t sealed_splice(struct file_splicer *splicer, struct io_file_send *send, size_t len)
{
	/* The cast: struct iovec has no const; nobody writes. */
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)(send->file->bytes + send->offset), .iov_len = len };
	unsigned flags = SPLICE_F_NONBLOCK;
	ssize_t in, res;

	do
		in = vmsplice(splicer->to, &iov, 1, SPLICE_F_NONBLOCK);
	while (in < 0 && errno == EINTR);
	if (in <= 0)
		return 0;
	if ((uint64_t)in < send->len)
		flags |= SPLICE_F_MORE;
	do
		res = splice(splicer->from, NULL, send->conn->fd, NULL, (size_t)in, flags);
	while (res < 0 && errno == EINTR);
	if (res < 0)
		res = errno == EINVAL || errno == ENOSYS || errno == EPERM ? 0 : -errno;
	if (res > 0)
		__atomic_store_n(splicer->figure, *splicer->figure + (uint64_t)res, __ATOMIC_RELAXED);
	if (res < in)
		sealed_drain(splicer, (size_t)(in - (res > 0 ? res : 0)));
	return res;
}

/* The memory itself is there as well. */
static ssize_t sealed_copy(struct io_file_send *send, size_t len)
{
	ssize_t res;

	do
		res = sendto(send->conn->fd, send->file->bytes + send->offset, len,
		             MSG_NOSIGNAL | MSG_DONTWAIT | (len < send->len ? MSG_MORE : 0), NULL, 0);
	while (res < 0 && errno == EINTR);
	return res < 0 ? -errno : res;
}

static size_t sealed_piece(const struct file_sender *sender, const struct io_file_send *send)
{
	/* Bytes that are not copied take half the time of others. */
	size_t len = 2 * (sender->budget > PIECE_HALTED ? sender->budget : PIECE_HALTED);
	size_t most = sender->splicer.room - (send->offset % FILE_GRAIN ? FILE_GRAIN : 0);

	if (send->state & (FILE_UNSPLICED | FILE_HALTED) || send->conn->sent < PIECE_HALTED)
		most = PIECE_HALTED;
	else if (most > send->conn->sent)
		most = send->conn->sent; /* as much again as it has taken */
	if (len > most)
		len = most;
	len -= (send->offset + len) % FILE_GRAIN; /* so that the next piece begins with a page */
	return len < send->len ? len : send->len;
}

enum file_turn file_sealed_turn(struct file_sender *sender, struct io_file_send *send)
{
	size_t len;
	ssize_t res;

	if (send->conn->sent < SENT_PROVEN)
		sender->budget = 0; /* one of these between two waits: the first bytes of many take the longest */
	if (!sender->splicer.room)
		send->state |= FILE_UNSPLICED;
	if (send->niov) {
		enum file_turn turn = file_send_memory(send);

		if (turn == FILE_DONE)
			return sealed_end(sender, send, send->result);
		if (send->niov)
			return turn;
	}
	if (send->conn->sent >= SENT_PROVEN && !(send->state & (FILE_WEIGHED | FILE_UNSPLICED)))
		sealed_lift(sender, send);
	len = sealed_piece(sender, send);
	res = send->state & FILE_UNSPLICED ? sealed_copy(send, len) : sealed_splice(&sender->splicer, send, len);
	if (res == 0) {
		send->state |= FILE_UNSPLICED;
		return FILE_MORE;
	}
	if (res < 0 && res != -EAGAIN)
		return sealed_end(sender, send, (int)res);
	if (res > 0)
		file_advance(send, (size_t)res);
	if (!send->len)
		return sealed_end(sender, send, 0);
	if (res > 0 && ((size_t)res == len || !file_is_full(send->conn->fd)))
		return FILE_MORE;
	send->state |= FILE_HALTED;
	return FILE_FULL;
}
