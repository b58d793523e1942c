/*
 * file_send.c - one turn of io_send_file(): memory first, then a range of a file, and never two versions of the file
 * as one answer. On the event loop's thread; owns one scratch buffer for each of them.
 *
 * sendfile(2) does not copy. It queues references to pages of the page cache, and who writes to the file afterwards
 * changes what the peer will read: while it waits in our send queue, and, where the peer is on this machine
 * (loopback, veth), also while it waits in the peer's receive queue. No check of the file before or after the call
 * can see that.
 *
 * So only the front of a long range is sent by reference. The last bytes of each, as many as both queues can hold
 * together (file_window()), are copied: when the kernel has taken the last of them, nothing that it holds refers to
 * the file any more. Before it gets the last of them, and after they were read, the file must still be what it was
 * when it was opened. If it is not, those bytes are withheld, and the peer knows by the length that it has no whole
 * answer.
 *
 * Cold pages. What is not in the page cache would be waited for by sendfile(2). cachestat(2) counts the pages that
 * are there without touching anything, but also those that are still being read, and since Linux 6.14 only for who
 * may write to the file. A read with RWF_NOWAIT tells for certain, for the page it reads, and may begin to read
 * ahead. So the first is asked where it answers, and then the second, here and there: pages come and go in runs. A
 * page that slips through is waited for, once.
 *
 * To count pages costs a tenth of what it costs to send them; and who is slower than his peer pays once more, for waking
 * him up with each packet. So for some seconds it is remembered what parts of a file were there, and for these the reads
 * alone are asked.
 */
#include "file_send.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "backends.h"
#include "file_compat.h"

/*
 * Steps in which a page is asked for: when all have been counted, which does not tell of those that are being read, and
 * readahead brings in 128 KiB at a time, if nobody has configured less; when they cannot be counted; and when they have
 * been a short time ago.
 */
#define PROBE_STEP            (128 * 1024)
#define PROBE_STEP_UNCOUNTED  (32 * 1024)
#define PROBE_STEP_REMEMBERED (1024 * 1024)

/* For how many seconds it is taken for granted that a part of a file stays in the page cache. */
#define WARM_SECONDS 10

/*
 * The slice of an event loop that has others read for it, in nanoseconds. Without one that is shorter than theirs (some
 * milliseconds) it would wait for the next tick of the clock, 4 ms perhaps, when one of them is at work as it is woken. It
 * gets no larger share of the processor for that. Where they are threads of our own they would give way at SCHED_IDLE as
 * well, and starve: 2 MiB a second were left of 130 beside one other program on this processor.
 */
#define LOOP_SLICE 100000

/* How many bytes are asked for at once. */
#define WARM_AHEAD (2 * 1024 * 1024)

/* The window is never smaller: the send and the receive queue that Linux 6.18 allows by itself, and some to spare. */
#define WINDOW_MIN (40ULL << 20)

/* What the last packets may exceed the limits of queues by. */
#define WINDOW_SPARE (1ULL << 20)

/* The last number in a file of /proc/sys, or 0. */
static uint64_t sysctl_last(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned long long value = 0;

	if (!file)
		return 0;
	while (fscanf(file, "%llu", &value) == 1)
		;
	fclose(file);
	return value;
}

/*
 * The most bytes that wait in the send queue of a connection and in the receive queue of a peer on this machine: what
 * TCP sizes them to by itself (tcp(7), tcp_wmem and tcp_rmem), or twice what a socket may ask for (socket(7)).
 */
static uint64_t file_window(void)
{
	uint64_t send = sysctl_last("/proc/sys/net/ipv4/tcp_wmem");
	uint64_t send_asked = 2 * sysctl_last("/proc/sys/net/core/wmem_max");
	uint64_t receive = sysctl_last("/proc/sys/net/ipv4/tcp_rmem");
	uint64_t receive_asked = 2 * sysctl_last("/proc/sys/net/core/rmem_max");
	uint64_t window = (send > send_asked ? send : send_asked) +
	                  (receive > receive_asked ? receive : receive_asked) + WINDOW_SPARE;

	return window > WINDOW_MIN ? window : WINDOW_MIN;
}

/* tcp(7); a socket of another kind refuses, and has no need. */
static void file_cork(int fd, int on)
{
	setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

int file_sender_create(struct file_sender *sender)
{
	void *scratch = mmap(NULL, FILE_COPY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (scratch == MAP_FAILED)
		return -errno;
	*sender = (struct file_sender){ .scratch = scratch, .window = file_window() };
	return 0;
}

void file_sender_destroy(struct file_sender *sender)
{
	assert(!sender->turns.first);
	if (sender->scratch)
		munmap(sender->scratch, FILE_COPY);
	sender->scratch = NULL;
}

void file_hurry(struct file_sender *sender)
{
	struct compat_sched_attr attr;

	if (sender->hurried)
		return;
	sender->hurried = true; /* an older kernel takes no notice, whatever it says */
	if (compat_sched_getattr(&attr))
		return;
	attr.runtime = LOOP_SLICE;
	(void)compat_sched_setattr(&attr);
}

bool file_unblock(struct io_file_send *send)
{
	int flags = fcntl(send->conn->fd, F_GETFL);

	if (flags < 0)
		return false;
	if (flags & O_NONBLOCK)
		return true;
	if (fcntl(send->conn->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return false;
	send->state |= FILE_BLOCKING;
	return true;
}

void file_send_begin(struct file_sender *sender, struct io_conn *conn, struct io_file_send *send)
{
	assert((sender->scratch || send->file->bytes) && "io_send_file() without io_config.files");
	assert(send->niov <= IO_SEND_IOVS && send->len >= 1);
	assert(send->len <= send->file->size && send->offset <= send->file->size - send->len);
	send->conn = conn;
	send->bytes = NULL;
	send->warm = 0;
	send->warm_from = send->offset;
	send->warm_since = 0;
	send->state = 0;
	send->result = 0;
	conn->files = send;
	if (send->file->bytes) {
		file_sealed_begin(sender, send);
		return;
	}
	/*
	 * The kernel's own readahead would be begun by whoever comes to a page that was marked for it, and takes as
	 * long as the system has it large: milliseconds. Now what is read aside is exactly what was asked for, and
	 * nothing is marked.
	 */
	posix_fadvise(send->file->fd, 0, 0, POSIX_FADV_RANDOM);
	if (send->len > sender->window) {
		/* An acknowledgement that comes between two pieces must not have the end of the first leave as a packet. */
		file_cork(conn->fd, true);
		send->state |= FILE_CORKED;
		if (!file_unblock(send))
			send->state |= FILE_UNSPLICED; /* all is copied */
	}
}

enum file_turn file_end(struct io_file_send *send, int result)
{
	if (send->state & FILE_CORKED)
		file_cork(send->conn->fd, false);
	if (send->state & FILE_BLOCKING)
		fcntl(send->conn->fd, F_SETFL, fcntl(send->conn->fd, F_GETFL) & ~O_NONBLOCK);
	send->result = result;
	return FILE_DONE;
}

static bool file_time_is(const struct statx_timestamp *is, const struct timespec *was)
{
	return is->tv_sec == was->tv_sec && (long)is->tv_nsec == was->tv_nsec;
}

/*
 * 0 while the file is what it was when it was opened, or -ESTALE. ctime tells of writes after which mtime was set back; but
 * it also changes with every name that is taken from the file or added, which each deploy by rename or of hard links does.
 * So one thing escapes: a write in place of as many bytes, with mtime set back and a name taken away, all between two looks.
 */
static int file_check(const struct file *file)
{
	struct statx stat;

	if (statx(file->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
	          STATX_SIZE | STATX_MTIME | STATX_CTIME | STATX_NLINK, &stat))
		return -errno;
	if (stat.stx_size != file->size || !file_time_is(&stat.stx_mtime, &file->mtime))
		return -ESTALE;
	return stat.stx_nlink != file->nlink || file_time_is(&stat.stx_ctime, &file->ctime) ? 0 : -ESTALE;
}

enum file_turn file_send_memory(struct io_file_send *send)
{
	struct msghdr message = { .msg_iov = send->iov, .msg_iovlen = send->niov };
	ssize_t res = sendmsg(send->conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
	size_t taken;

	if (res < 0) {
		if (errno == EAGAIN)
			return FILE_FULL;
		return errno == EINTR ? FILE_MORE : file_end(send, -errno);
	}
	taken = (size_t)res;
	send->conn->sent += taken;
	while (send->niov && taken >= send->iov->iov_len) {
		taken -= send->iov++->iov_len;
		send->niov--;
	}
	if (!send->niov)
		return FILE_MORE;
	send->iov->iov_base = (char *)send->iov->iov_base + taken;
	send->iov->iov_len -= taken;
	return FILE_FULL;
}

/* Whether so many of the next bytes are in the page cache, as well as can be told without waiting. */
static bool file_is_counted(struct io_file_send *send, size_t len)
{
	struct compat_cachestat_range range = { .offset = send->offset, .len = len };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct compat_cachestat stat;

	if (send->state & FILE_UNCOUNTED)
		return true;
	if (compat_cachestat(send->file->fd, &range, &stat)) {
		send->state |= FILE_UNCOUNTED;
		return true;
	}
	return stat.cached >= (send->offset + len - 1) / page - send->offset / page + 1;
}

/* Reads without waiting. What preadv2(2) says, or -errno; -EAGAIN: cold. */
static ssize_t file_peek(struct io_file_send *send, uint64_t offset, void *bytes, size_t len)
{
	struct iovec iov = { .iov_base = bytes, .iov_len = len };
	ssize_t res;

	do
		res = preadv2(send->file->fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
	while (res < 0 && errno == EINTR);
	if (res >= 0)
		return res;
	if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
		send->state |= FILE_BLIND;
		return -EAGAIN;
	}
	return -errno;
}

/* Of file->warm[]. */
static uint64_t file_part_size(const struct file *file)
{
	return (file->size + FILE_WARM_PARTS - 1) / FILE_WARM_PARTS;
}

static uint32_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint32_t)now.tv_sec;
}

/* Whether all parts that the next bytes lie in have been found warm a short time ago. */
static bool file_is_remembered(const struct io_file_send *send, size_t len)
{
	const struct file *file = send->file;
	uint64_t part = file_part_size(file);
	uint32_t now = now_s();

	if (!file->warm)
		return false;
	for (uint64_t i = send->offset / part; i <= (send->offset + len - 1) / part; i++) {
		uint32_t was = __atomic_load_n(&file->warm[i], __ATOMIC_RELAXED);

		if (!was || now - was > WARM_SECONDS)
			return false;
	}
	return true;
}

/* The next bytes are warm, too: so are the parts that end with them, of which this send has seen all a short time ago. */
static void file_remember(struct io_file_send *send, size_t len)
{
	const struct file *file = send->file;
	uint64_t part = file_part_size(file), end = send->offset + len;
	uint32_t now = now_s();

	if (!file->warm)
		return;
	if (now - send->warm_since > WARM_SECONDS) {
		send->warm_from = send->offset;
		send->warm_since = now;
	}
	for (uint64_t i = send->offset / part; i <= (end - 1) / part; i++) {
		uint64_t part_end = (i + 1) * part < file->size ? (i + 1) * part : file->size;

		if (send->warm_from <= i * part && part_end <= end)
			__atomic_store_n(&file->warm[i], now ? now : 1, __ATOMIC_RELAXED);
	}
}

/*
 * A page of a part that was remembered is gone, as others of the file will be: pages go in runs. Without this, one that has
 * been brought in since would stand for all up to the next one that is asked for, and they would be waited for.
 */
static void file_forget(const struct file *file)
{
	for (unsigned i = 0; i < FILE_WARM_PARTS; i++)
		__atomic_store_n(&file->warm[i], 0, __ATOMIC_RELAXED);
}

/* Whether pages that far apart are there, and the last one. An error is met again by who reads it. */
static bool file_is_sampled(struct io_file_send *send, size_t len, size_t step)
{
	uint64_t end = send->offset + len;
	char byte;

	for (uint64_t at = send->offset; at < end; at += step) {
		if (file_peek(send, at, &byte, 1) < 0)
			return false;
	}
	return file_peek(send, end - 1, &byte, 1) >= 0;
}

/* Whether pages are there, some of them asked, all of them counted unless that has been done a short time ago. */
static bool file_is_warm(struct io_file_send *send, size_t len)
{
	if (file_is_remembered(send, len)) {
		if (!file_is_sampled(send, len, PROBE_STEP_REMEMBERED)) {
			file_forget(send->file);
			return false;
		}
		send->warm_from = send->offset + len; /* nothing new is known of these pages */
		return true;
	}
	if (!file_is_counted(send, len) ||
	    !file_is_sampled(send, len, send->state & FILE_UNCOUNTED ? PROBE_STEP_UNCOUNTED : PROBE_STEP))
		return false;
	file_remember(send, len);
	return true;
}

/* Whether the next len bytes are there; asks for the turns to come as well, up to most bytes. */
static bool file_stays_warm(struct io_file_send *send, size_t len, uint64_t most)
{
	size_t ahead = most < WARM_AHEAD ? most : WARM_AHEAD;

	if (send->offset + len <= send->warm)
		return true;
	if (file_is_warm(send, ahead)) {
		send->warm = send->offset + ahead;
		return true;
	}
	return ahead > len && file_is_warm(send, len);
}

/* To find that out by another sendfile(2) would fill what little room has come since, in small segments. */
bool file_is_full(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };

	return poll(&poll_fd, 1, 0) == 0;
}

/* The front of a long range, by reference. */
static enum file_turn file_send_pages(struct file_sender *sender, struct io_file_send *send)
{
	size_t left = 2 * (sender->budget > FILE_PIECE_MIN ? sender->budget : FILE_PIECE_MIN); /* see file_spend() */
	off_t offset = (off_t)send->offset;
	ssize_t res;

	left -= (send->offset + left) % FILE_GRAIN; /* so that the next piece begins with a page */
	if (left > send->len - sender->window)
		left = send->len - sender->window;
	if (!file_stays_warm(send, left, send->len - sender->window))
		return FILE_COLD;
	do
		res = sendfile(send->conn->fd, send->file->fd, &offset, left);
	while (res < 0 && errno == EINTR);
	if (res == 0)
		return file_end(send, -ESTALE);
	if (res > 0) {
		file_advance(send, (size_t)res);
		if ((size_t)res == left || !file_is_full(send->conn->fd))
			return FILE_MORE;
		send->warm = 0; /* who knows how long it waits now */
		return FILE_FULL;
	}
	switch (errno) {
	case EAGAIN:
		send->warm = 0;
		return FILE_FULL;
	case EINVAL:
	case ENOSYS:
		send->state |= FILE_UNSPLICED;
		return FILE_MORE;
	default:
		return file_end(send, -errno);
	}
}

/* Sends bytes that were copied from send->offset on. */
static enum file_turn file_send_bytes(struct io_file_send *send, const void *bytes, size_t n)
{
	bool last = n == send->len;
	ssize_t res;

	if (last) {
		int err = file_check(send->file);

		if (err)
			return file_end(send, err);
	}
	do
		res = sendto(send->conn->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT | (last ? 0 : MSG_MORE), NULL, 0);
	while (res < 0 && errno == EINTR);
	if (res < 0)
		return errno == EAGAIN ? FILE_FULL : file_end(send, -errno);
	file_advance(send, (size_t)res);
	if (!send->len)
		return file_end(send, 0);
	return (size_t)res < n ? FILE_FULL : FILE_MORE;
}

/* The end of a range, and the whole of a short one. What the socket does not take is read again, when it has room. */
static enum file_turn file_send_copy(struct file_sender *sender, struct io_file_send *send)
{
	size_t n = file_cold(send, FILE_COPY);
	ssize_t res;

	if (send->state & FILE_BLIND || !file_is_counted(send, n))
		return FILE_COLD;
	res = file_peek(send, send->offset, sender->scratch, n);
	if (res == -EAGAIN)
		return FILE_COLD;
	if (res <= 0)
		return file_end(send, res < 0 ? (int)res : -ESTALE);
	return file_send_bytes(send, sender->scratch, (size_t)res);
}

/* Whether the next turn sends references to pages, and not copies. */
static bool file_is_by_reference(const struct file_sender *sender, const struct io_file_send *send)
{
	return send->file->bytes || (send->len > sender->window && !(send->state & FILE_UNSPLICED));
}

static enum file_turn file_take_turn(struct file_sender *sender, struct io_file_send *send, bool by_reference)
{
	/* What the kernel holds is looked at before the last bytes. Until then it saves a client what is of no use any more. */
	if (!by_reference || send->offset >= send->warm) {
		int err = file_check(send->file);

		if (err)
			return file_end(send, err);
	}
	if (send->niov) {
		enum file_turn turn = file_send_memory(send);

		if (send->niov)
			return turn;
	}
	if (send->state & FILE_BLIND)
		return FILE_COLD;
	if (by_reference)
		return file_send_pages(sender, send);
	return file_send_copy(sender, send);
}

/* Takes what a turn has sent from the budget. Bytes that are not copied take half the time of others. */
static void file_spend(struct file_sender *sender, uint64_t n, bool by_reference)
{
	n = by_reference ? n / 2 : n;
	n = n > FILE_TURN_MIN ? n : FILE_TURN_MIN;
	sender->budget -= n < sender->budget ? n : sender->budget;
}

enum file_turn file_send_turn(struct file_sender *sender, struct io_file_send *send)
{
	struct io_conn *conn = send->conn;
	uint64_t before = conn->sent;
	bool by_reference = file_is_by_reference(sender, send);
	enum file_turn turn = send->file->bytes ? file_sealed_turn(sender, send)
	                                        : file_take_turn(sender, send, by_reference);

	file_spend(sender, conn->sent - before, by_reference);
	return turn;
}

enum file_turn file_send_read(struct file_sender *sender, struct io_file_send *send, const void *bytes, ssize_t res)
{
	uint64_t before = send->conn->sent;
	enum file_turn turn;

	if (res <= 0)
		return file_end(send, res < 0 ? (int)res : -ESTALE);
	turn = file_send_bytes(send, bytes, (size_t)res);
	file_spend(sender, send->conn->sent - before, false);
	return turn;
}
