/*
 * uring_file.c - io_send_file() on io_uring: when a turn of a send (file_send.h) is due, and what becomes of it. On
 * the worker's thread.
 *
 * The turns themselves are system calls, not operations of the ring. There is none for sendfile(2), a splice is
 * always handed to a thread of the kernel's, and reading into memory and sending from it copies twice: on loopback,
 * with CUBIC, 150 us of a processor's time for a MiB instead of 120. What the ring does is to wait: for room in the
 * socket, by a poll, and for the disk, by a read. That is forced to a thread of the kernel's, since one that is tried
 * at once may wait for the file's map of blocks.
 *
 * At any time a send has one turn or operation due, so its completions come as the ones of URING_SEND do.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>

#include "uring.h"

int uring_files_create(struct uring *uring)
{
	int err = file_sender_create(&uring->sender);
	uint8_t *memory;

	if (err)
		return err;
	memory = mmap(NULL, (size_t)URING_READS * URING_READ_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	              -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	uring->read_memory = memory;
	for (unsigned i = 0; i < URING_READS; i++)
		uring->read_to[uring->reads_free++] = memory + (size_t)i * URING_READ_SIZE;
	return 0;
}

void uring_files_destroy(struct uring *uring)
{
	if (uring->read_memory)
		munmap(uring->read_memory, (size_t)URING_READS * URING_READ_SIZE);
	uring->read_memory = NULL;
	file_sender_destroy(&uring->sender);
}

static void uring_file_wait(struct io_conn *conn, struct file_queue *queue)
{
	conn->flags |= CONN_WAITS;
	file_queue_push(queue, conn->files);
}

/* A one-shot poll looks first, so room that has come since the turn is not missed. */
static void uring_file_poll(struct uring *uring, struct io_conn *conn)
{
	struct io_uring_sqe *sqe = uring_sqe(uring);

	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD,
		.fd = conn->fd,
		.poll32_events = __io_uring_prep_poll_mask(POLLOUT),
		.user_data = uring_conn_data(conn, URING_SEND),
	};
	conn->owed++;
}

static void uring_file_read(struct uring *uring, struct io_conn *conn)
{
	struct io_file_send *send = conn->files;
	struct io_uring_sqe *sqe;

	if (!uring->reads_free) {
		uring_file_wait(conn, &uring->cold);
		return;
	}
	send->bytes = uring->read_to[--uring->reads_free];
	sqe = uring_sqe(uring);
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_READ,
		.flags = IOSQE_ASYNC,
		.fd = send->file->fd,
		.addr = (uintptr_t)send->bytes,
		.len = file_cold(send, URING_READ_SIZE),
		.off = send->offset,
		.user_data = uring_conn_data(conn, URING_SEND),
	};
	conn->owed++;
}

/* A buffer is free: the next that waits for one. */
static void uring_file_release(struct uring *uring, struct io_file_send *send)
{
	uring->read_to[uring->reads_free++] = send->bytes;
	send->bytes = NULL;
	while (uring->cold.first && uring->reads_free) {
		struct io_conn *conn = file_queue_shift(&uring->cold)->conn;

		conn->flags &= ~CONN_WAITS;
		if (conn->flags & CONN_CLOSING)
			uring_settle(uring, conn);
		else
			uring_file_read(uring, conn);
	}
}

/* True when it made an event. */
static bool uring_file_turned(struct uring *uring, struct io_conn *conn, enum file_turn turn, struct io_event *event)
{
	switch (turn) {
	case FILE_MORE:
		uring_file_wait(conn, &uring->sender.turns);
		return false;
	case FILE_FULL:
		uring_file_poll(uring, conn);
		return false;
	case FILE_COLD:
		file_hurry(&uring->sender);
		uring_file_read(uring, conn);
		return false;
	case FILE_DONE:
		break;
	}
	conn->flags &= ~(CONN_SENDING | CONN_FILE);
	*event = (struct io_event){ .op = IO_SENT, .res = conn->files->result, .conn = conn };
	return true;
}

bool uring_file_turn(struct uring *uring, struct io_event *event)
{
	struct io_file_send *send;
	struct io_conn *conn;

	if (!file_has_turn(&uring->sender))
		return false;
	/* What is submitted need not wait for it: answers to small requests, above all. */
	if (uring->sq_tail != uring->sq_head)
		uring_submit(uring);
	send = file_queue_shift(&uring->sender.turns);
	conn = send->conn;
	conn->flags &= ~CONN_WAITS;
	event->conn = NULL;
	if (conn->flags & CONN_CLOSING)
		uring_settle(uring, conn);
	else
		uring_file_turned(uring, conn, file_send_turn(&uring->sender, send), event);
	return true;
}

bool uring_file_complete(struct uring *uring, struct io_conn *conn, int res, struct io_event *event)
{
	struct io_file_send *send = conn->files;
	enum file_turn turn = FILE_MORE;
	bool read = send->bytes;

	conn->owed--;
	if (read) {
		if (res == -EINTR || res == -EAGAIN)
			turn = FILE_MORE; /* it is as cold as before */
		else if (!(conn->flags & CONN_CLOSING))
			turn = file_send_read(&uring->sender, send, send->bytes, res);
		uring_file_release(uring, send);
	}
	if (conn->flags & CONN_CLOSING) {
		uring_settle(uring, conn);
		return false;
	}
	return uring_file_turned(uring, conn, turn, event);
}

void uring_send_file(struct io *io, struct io_conn *conn, struct io_file_send *send)
{
	struct uring *uring = uring_of(io);

	assert(conn->flags & CONN_OPEN && !(conn->flags & (CONN_SENDING | CONN_CLOSING)));
	file_send_begin(&uring->sender, conn, send);
	conn->flags |= CONN_SENDING | CONN_FILE;
	uring_file_wait(conn, &uring->sender.turns);
}
