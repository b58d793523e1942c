/*
 * epoll_file.c - io_send_file() on epoll: when a turn of a send (file_send.h) is due, and what becomes of it. On the
 * worker's thread.
 *
 * Sends that may get on stand in a FIFO of their own, which is served when the connections' FIFO is empty, or has had
 * its turns, and within a budget of bytes a wait; so a request beside any number of downloads waits for a turn or two.
 * A send whose socket is full waits for its edge; one that has met a cold page waits for a thread (file_read.h).
 */
#include <assert.h>

#include "epoll.h"

int ep_files_create(struct io_epoll *ep, const char **what)
{
	int err;

	ep->reader.fd = -1;
	if (!ep->config.files)
		return 0;
	*what = "memory for sending files";
	err = file_sender_create(&ep->sender);
	if (err)
		return err;
	*what = "threads that read files";
	err = file_readers_start(ep->config.on_thread);
	if (err) {
		file_sender_destroy(&ep->sender);
		return err;
	}
	ep->reader.fd = ep->wake_fd;
	return 0;
}

void ep_files_destroy(struct io_epoll *ep)
{
	if (ep->reader.fd < 0)
		return;
	file_readers_stop(&ep->reader);
	file_sender_destroy(&ep->sender);
}

void ep_file_ready(struct io_epoll *ep, struct io_conn *conn)
{
	if ((conn->flags & (CONN_SENDING | CONN_FULL | CONN_WAITS | CONN_READING)) != CONN_SENDING)
		return;
	conn->flags |= CONN_WAITS;
	file_queue_push(&ep->sender.turns, conn->files);
}

static void ep_file_turned(struct io_epoll *ep, struct io_conn *conn, enum file_turn turn)
{
	switch (turn) {
	case FILE_MORE:
		ep_file_ready(ep, conn);
		break;
	case FILE_FULL:
		ep_await_room(ep, conn);
		if (!(conn->flags & CONN_FULL))
			ep_file_ready(ep, conn); /* it finds out why */
		break;
	case FILE_COLD:
		conn->flags |= CONN_READING;
		file_hurry(&ep->sender);
		file_read(&ep->reader, conn->files);
		break;
	case FILE_DONE:
		conn->result = conn->files->result;
		conn->flags = (conn->flags & ~(CONN_SENDING | CONN_FILE)) | CONN_SENT;
		ep_push(ep, conn);
		break;
	}
}

bool ep_file_turn(struct io_epoll *ep)
{
	struct io_file_send *send;
	struct io_conn *conn;

	if (!file_has_turn(&ep->sender))
		return false;
	send = file_queue_shift(&ep->sender.turns);
	conn = send->conn;
	conn->flags &= ~CONN_WAITS;
	if (conn->flags & CONN_CLOSED)
		ep_push(ep, conn);
	else
		ep_file_turned(ep, conn, file_send_turn(&ep->sender, send));
	return true;
}

void ep_files_done(struct io_epoll *ep)
{
	struct io_file_send *send = file_read_done(&ep->reader);

	while (send) {
		struct io_file_send *next = send->next;
		struct io_conn *conn = send->conn;
		enum file_turn turn = FILE_DONE;

		conn->flags &= ~CONN_READING;
		if (!(conn->flags & CONN_CLOSED))
			turn = file_send_read(&ep->sender, send, send->bytes, send->result);
		file_read_free(send);
		if (conn->flags & CONN_CLOSED)
			ep_push(ep, conn);
		else
			ep_file_turned(ep, conn, turn);
		send = next;
	}
}

void ep_send_file(struct io *io, struct io_conn *conn, struct io_file_send *send)
{
	struct io_epoll *ep = ep_of(io);

	assert((conn->flags & (CONN_OPEN | CONN_CLOSED | CONN_SENDING | CONN_SENT | CONN_SHUT)) == CONN_OPEN);
	conn->flags &= ~CONN_FULL;
	file_send_begin(&ep->sender, conn, send);
	conn->flags |= CONN_SENDING | CONN_FILE;
	if (ep->waits_first)
		ep_ask_for_room(ep, conn);
	ep_file_ready(ep, conn);
}
