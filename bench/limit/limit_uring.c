/*
 * limit_uring.c - the limit server on io_uring: one io_uring_enter(2) a batch of completions, and no other system call.
 * Connections are accepted by one multishot request. The first receive of a connection is a single one: when it asks
 * for "Connection: close" there is no armed receive to take back, and the answer and the close go in as one chain; when
 * it does not, a multishot receive with provided buffers follows for the rest of the connection's life. One thread.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "limit.h"

#define ENTRIES     4096
#define COMPLETIONS 16384
#define BUFFERS     512 /* a power of two */
#define BUFFER_SIZE 4096
#define GROUP       0

enum op {
	OP_ACCEPT,
	OP_FIRST, /* a receive that is not repeated */
	OP_RECV,  /* multishot */
	OP_SEND,
	OP_CLOSE,
};

static struct limit limit;
static struct limit_conn *conns;
static struct io_uring ring;
static struct io_uring_buf_ring *buf_ring;
static char *buffers;

/* Makes room for n submissions that must go in together. */
static void reserve(unsigned n)
{
	while (io_uring_sq_space_left(&ring) < n) {
		int error = io_uring_submit(&ring);

		if (error < 0 && error != -EINTR && error != -EAGAIN && error != -EBUSY)
			limit_die("io_uring_submit", error);
	}
}

static struct io_uring_sqe *get_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	assert(sqe);
	return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, int fd)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)op << 32 | (uint32_t)fd);
}

static void submit_accept(void)
{
	struct io_uring_sqe *sqe;

	reserve(1);
	sqe = get_sqe();
	io_uring_prep_multishot_accept(sqe, limit.listener, NULL, NULL, SOCK_CLOEXEC);
	tag(sqe, OP_ACCEPT, limit.listener);
}

static void submit_recv(enum op op, int fd)
{
	struct io_uring_sqe *sqe;

	reserve(1);
	sqe = get_sqe();
	if (op == OP_RECV)
		io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	tag(sqe, op, fd);
}

static void submit_close(int fd)
{
	struct io_uring_sqe *sqe;

	reserve(1);
	sqe = get_sqe();
	io_uring_prep_close(sqe, fd);
	tag(sqe, OP_CLOSE, fd);
}

static void submit_send(int fd, struct limit_conn *conn)
{
	struct io_uring_sqe *sqe;
	const char *bytes;
	size_t len;

	if (conn->inflight || !conn->left)
		return;
	bytes = limit_next(&limit, conn, &len);
	conn->left -= len;
	conn->inflight = (uint32_t)len;
	reserve(2); /* a chain ends where a submission ends */
	sqe = get_sqe();
	io_uring_prep_send(sqe, fd, bytes, len, MSG_WAITALL | MSG_NOSIGNAL);
	tag(sqe, OP_SEND, fd);
	if (conn->done) {
		assert(!conn->left);
		sqe->flags |= IOSQE_IO_LINK;
		submit_close(fd);
	}
}

/* Nothing more will be received; the descriptor is closed when no send refers to it either. */
static void end(int fd, struct limit_conn *conn)
{
	conn->ended = true;
	conn->left = 0;
	if (!conn->inflight)
		submit_close(fd);
}

static void accepted(const struct io_uring_cqe *cqe)
{
	if (cqe->res >= 0) {
		conns[cqe->res] = (struct limit_conn){ 0 };
		submit_recv(OP_FIRST, cqe->res);
	} else if (cqe->res != -ECONNABORTED && cqe->res != -EINTR && cqe->res != -EAGAIN) {
		limit_die("accept", cqe->res);
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		submit_accept();
}

static void received(enum op op, int fd, const struct io_uring_cqe *cqe)
{
	struct limit_conn *conn = &conns[fd];

	if (cqe->res > 0) {
		unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

		limit_receive(&limit, conn, buffers + (size_t)id * BUFFER_SIZE, (size_t)cqe->res);
		io_uring_buf_ring_add(buf_ring, buffers + (size_t)id * BUFFER_SIZE, BUFFER_SIZE, (unsigned short)id,
		                      BUFFERS - 1, 0);
		io_uring_buf_ring_advance(buf_ring, 1);
		submit_send(fd, conn);
	} else if (cqe->res != -ENOBUFS) {
		end(fd, conn);
		return;
	}
	/*
	 * A multishot receive has ended early, for want of buffers or for reasons of the kernel's own. All buffers are
	 * back when this is submitted, because each completion gives back its own.
	 */
	if (!(cqe->flags & IORING_CQE_F_MORE) && !conn->done)
		submit_recv(conn->closing || (op == OP_FIRST && cqe->res < 0) ? OP_FIRST : OP_RECV, fd);
}

static void sent(int fd, const struct io_uring_cqe *cqe)
{
	struct limit_conn *conn = &conns[fd];
	uint32_t inflight = conn->inflight;

	conn->inflight = 0;
	if (conn->done)
		return; /* the close of the chain follows */
	if (conn->ended) {
		submit_close(fd);
		return;
	}
	if (cqe->res < 0 || (uint32_t)cqe->res < inflight) {
		/* Broken: the armed receive is told, and ends the connection. */
		conn->left = 0;
		shutdown(fd, SHUT_RDWR);
		return;
	}
	submit_send(fd, conn);
}

static void turn(const struct io_uring_cqe *cqe)
{
	uint64_t data = io_uring_cqe_get_data64(cqe);
	enum op op = (enum op)(data >> 32);
	int fd = (int)(uint32_t)data;

	switch (op) {
	case OP_ACCEPT:
		accepted(cqe);
		break;
	case OP_FIRST:
	case OP_RECV:
		received(op, fd, cqe);
		break;
	case OP_SEND:
		sent(fd, cqe);
		break;
	case OP_CLOSE:
		if (cqe->res < 0) /* the send before it in the chain has failed */
			submit_close(fd);
		break;
	}
}

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		limit_die("mmap", errno);
	return memory;
}

static void create_ring(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = COMPLETIONS,
	};
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS, .bgid = GROUP };
	int error = io_uring_queue_init_params(ENTRIES, &ring, &params);

	if (error)
		limit_die("io_uring_setup (Linux 6.1 or newer is needed)", error);
	io_uring_ring_dontfork(&ring);

	buf_ring = map(BUFFERS * sizeof(struct io_uring_buf));
	reg.ring_addr = (uint64_t)(uintptr_t)buf_ring;
	error = io_uring_register_buf_ring(&ring, &reg, 0);
	if (error)
		limit_die("io_uring_register_buf_ring", error);
	io_uring_buf_ring_init(buf_ring);
	buffers = map((size_t)BUFFERS * BUFFER_SIZE);
	for (int i = 0; i < BUFFERS; i++)
		io_uring_buf_ring_add(buf_ring, buffers + (size_t)i * BUFFER_SIZE, BUFFER_SIZE, (unsigned short)i,
		                      BUFFERS - 1, i);
	io_uring_buf_ring_advance(buf_ring, BUFFERS);
}

int main(int argc, char *argv[])
{
	limit_setup(&limit, argc, argv, false);
	conns = calloc(limit.conns, sizeof(*conns));
	if (!conns)
		limit_die("calloc", errno);
	create_ring();
	submit_accept();

	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;
		int error = io_uring_submit_and_wait(&ring, 1);

		if (error < 0 && error != -EINTR && error != -EAGAIN && error != -EBUSY)
			limit_die("io_uring_enter", error);
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			turn(cqe);
			n++;
		}
		io_uring_cq_advance(&ring, n);
	}
}
